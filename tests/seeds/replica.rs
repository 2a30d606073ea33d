//! A replica within the process: the operator's own adapters and actors on a runtime of the test,
//! which is killed by dropping everything that it has started.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use ingress_acme::commands::cli::{Cli, Command};
use ingress_acme::dns_and_http::solver::{Thumbprint, key_authorization};
use ingress_acme::process::assembly::{Adapters, Environment, Network, adapters};
use ingress_acme_actors::domain::clock_filter::ClockFilter;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::operator::{Observability, Operator, start, stepped_back};
use ingress_acme_actors::ports::Clock;
use ingress_acme_sim::clock::Clock as SimClock;
use ingress_acme_sim::direct::DirectWorld;
use ingress_acme_sim::kube::User;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep};

use crate::faults::Schedule;
use crate::hosts::Hosts;
use crate::{api_transport, ca_transport};

/// Pause before a replica that could not start begins anew, as the process does.
const RESTART: Duration = Duration::from_secs(30);
const PREPARE_RETRY: Duration = Duration::from_secs(5);

/// Clock of the operator's machine, which may be wrong.
#[derive(Clone)]
pub(crate) struct Machine {
    right: SimClock,
    /// Seconds ahead of the right time.
    ahead: Arc<AtomicI64>,
}

impl Machine {
    pub(crate) fn new(right: SimClock) -> Self {
        Self { right, ahead: Arc::default() }
    }

    pub(crate) fn set_ahead(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::Relaxed);
    }

    fn read(&self) -> Timestamp {
        let ahead = 1_000 * self.ahead.load(Ordering::Relaxed);
        Timestamp::from_millis(self.right.now().as_millisecond() + ahead)
    }
}

/// Clock of one process, with the filter that the adapter has too.
struct ProcessClock {
    machine: Machine,
    began: Instant,
    filter: Mutex<ClockFilter>,
}

impl ProcessClock {
    fn new(machine: Machine) -> Self {
        let filter = Mutex::new(ClockFilter::new(machine.read(), Duration::ZERO));
        Self { machine, began: Instant::now(), filter }
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        filter.now(self.machine.read(), self.began.elapsed())
    }

    fn steps_back(&self) -> u32 {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).steps_back()
    }
}

/// A running replica. Dropping the value kills the replica.
pub(crate) struct Replica {
    process: JoinHandle<()>,
    /// The operator, while this replica leads.
    pub(crate) operator: Rc<RefCell<Option<Operator>>>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.process.abort();
    }
}

/// Everything that replicas are started with.
pub(crate) struct Start {
    pub(crate) world: Rc<DirectWorld>,
    pub(crate) machine: Machine,
    pub(crate) faults: Arc<Schedule>,
    pub(crate) leader_elect: bool,
}

impl Start {
    /// Starts the replica `number`.
    pub(crate) fn replica(self: &Rc<Self>, number: usize) -> Replica {
        let operator = Rc::<RefCell<Option<Operator>>>::default();
        let (start, shown) = (self.clone(), operator.clone());
        let process = actix::spawn(async move {
            loop {
                let life = LocalSet::new();
                life.run_until(start.live(number, &shown)).await;
                shown.take();
                drop(life);
                sleep(RESTART).await;
            }
        });
        Replica { process, operator }
    }

    /// One life of a replica, as in `src/process/replica.rs`: until leadership or the journal is
    /// lost, or the clock steps back.
    async fn live(&self, number: usize, shown: &RefCell<Option<Operator>>) {
        let args = ["ingress-acme", "run"].map(str::to_owned).into_iter().chain(self.flags());
        let Ok(Command::Run(args)) = Cli::try_parse_from(args).map(|cli| cli.command) else {
            panic!("the flags of the test are legal")
        };
        let (settings, config) = args.split();
        let (thumbprint, seen) = (Thumbprint::default(), Observability::default());
        let environment = self.environment(number);
        let built = adapters((&settings, &config), &environment, &seen.metrics, &thumbprint);
        let Adapters { ports, acme, lease, .. } = built.expect("the adapters are built");
        while acme.prepare().await.is_err() {
            sleep(PREPARE_RETRY).await;
        }
        self.answer_with(thumbprint);
        let term = if self.leader_elect { Some(lease.acquire().await) } else { None };
        let (journal, clock) = (ports.journal.clone(), ports.clock.clone());
        match start(ports, settings, seen, None).await {
            Ok(operator) => *shown.borrow_mut() = Some(operator),
            Err(_) => return,
        }
        let lost = async {
            match &term {
                Some(term) => term.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = lost => {}
            () = journal.stopped() => {}
            () = stepped_back(clock) => {}
        }
    }

    fn flags(&self) -> Vec<String> {
        vec![
            format!("--acme-directory={}", self.world.ca.directory_url()),
            "--namespace=ingress-acme".to_owned(),
            "--public-ca=false".to_owned(),
            "--probe-port=80".to_owned(),
            "--issuers=8".to_owned(),
            "--secret-checks=0".to_owned(),
            format!("--leader-elect={}", self.leader_elect),
        ]
    }

    fn environment(&self, number: usize) -> Environment {
        let (world, faults) = (&self.world, self.faults.clone());
        let wire = world.api.transport();
        let hosts = Hosts {
            zone: world.zone.clone(),
            gateway: world.hosts.clone(),
            faults: faults.clone(),
        };
        let ca = ca_transport::wire(world.ca.transport(), faults.clone());
        Environment {
            client: api_transport::client(wire, User::Operator, Some(faults)),
            pod: format!("operator-{number}"),
            clock: Arc::new(ProcessClock::new(self.machine.clone())),
            network: Network::InProcess(ca, Arc::new(hosts)),
        }
    }

    /// Puts this replica behind the solver's Service.
    fn answer_with(&self, thumbprint: Thumbprint) {
        self.world.set_solver(Arc::new(move |path| {
            let token = path.strip_prefix("/.well-known/acme-challenge/").unwrap_or_default();
            match key_authorization(token, &thumbprint) {
                Ok(answer) => (200, answer),
                Err(status) => (status.as_u16(), String::new()),
            }
        }));
    }
}
