//! Life cycle of an operator process: prepare, wait for leadership, work, drain. A termination
//! signal ends every phase.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::mode::Mode;
use ingress_acme_actors::journal::ledger::CommitError;
use ingress_acme_actors::operator::{
    Observability, Operator, Ports, Settings, start, stepped_back,
};
use ingress_acme_actors::ports::PortError;
use kube::Client;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::acme::Acme;
use crate::acme::proxy::is_proxied;
use crate::commands::cli::PublicCaArg;
use crate::dns_and_http::admin::Health;
use crate::dns_and_http::solver::Thumbprint;
use crate::kubernetes::api_groups::serves_cert_manager;
use crate::kubernetes::lease::{Lease, STEP_BACK, Term};
use crate::process::ca_sets::FileCas;
use crate::process::key_changes::follow;
use crate::process::servers::Servers;
use crate::process::succession::Succession;
use crate::process::terminate::Terminate;
use crate::process::{memory_limit, public_ca};

/// Time between attempts to load or create the account key.
const PREPARE_RETRY: Duration = Duration::from_secs(5);

/// A replica before its start, as built by `assembly::assemble`.
pub struct Replica {
    /// Ports to the external systems.
    pub ports: Ports,
    /// Settings chosen by the user.
    pub settings: Settings,
    /// Client for the cluster, to ask for its API groups before the work begins.
    pub client: Client,
    /// Whether the CA is public; decided before the work begins.
    pub public_ca: PublicCaArg,
    /// ACME client of the first CA, for its account key.
    pub acme: Rc<Acme>,
    /// ACME clients of the fallback CA and the rehearsal CA, whose accounts have the same key.
    pub further_acmes: Vec<Rc<Acme>>,
    /// The CAs of `--cas-file`.
    pub file_cas: Option<Rc<FileCas>>,
    /// Lease for leader election among several replicas, and of the switch for new orders.
    pub lease: Lease,
    /// `--leader-elect`.
    pub leader_elect: bool,
    /// State shown by health, metrics and administration.
    pub health: Health,
    /// Counters.
    pub shown: Observability,
    /// Servers to be stopped last: until then challenges are answered.
    pub servers: Servers,
    /// Thumbprint that challenges are answered with.
    pub thumbprint: Thumbprint,
    /// Time after the request to end for which challenges are answered at least.
    pub solver_linger: Duration,
}

impl Replica {
    /// Runs until terminated, or until leadership or the journal is lost.
    pub async fn run(self, mut terminate: Terminate) -> anyhow::Result<Exit> {
        actix::spawn(dump_on_signal(self.health.clone(), signal(SignalKind::user_defined1())?));
        // The thumbprint of the process before is enough to answer challenges.
        self.health.set_ready(self.is_answering());
        let ended = tokio::select! {
            ended = self.live(&mut terminate) => ended?,
            () = stepped_back(self.ports.clock.clone()) => {
                error!("the clock was ahead and is set back: this process restarts, because times in \
                        its memory are too late");
                None
            }
        };
        let Some(term) = ended else {
            // At once: another replica may lead at any moment.
            let succession = self.servers.succession(&self.thumbprint);
            return Ok(Exit::Restart(succession.terminating(terminate.came_before())));
        };
        self.health.set_ready(false);
        if self.is_answering() {
            terminate.linger(self.solver_linger).await;
        }
        self.servers.stop(true).await;
        // A Lease that is still held is released last: work in progress may write the solver
        // Ingresses, which belong to the next leader after the release.
        if let Leadership(Some(term)) = term {
            term.release().await;
        }
        info!("process ended");
        Ok(Exit::Done)
    }

    async fn live(&self, terminate: &mut Terminate) -> anyhow::Result<Option<Leadership>> {
        match self.settings.mode {
            Mode::Work => self.work(terminate).await,
            Mode::DryRun => self.survey(terminate).await,
        }
    }

    /// Works until terminated, then drains. Returns `None` if the process must restart: leadership
    /// was lost, or the journal cannot be read or has stopped.
    async fn work(&self, terminate: &mut Terminate) -> anyhow::Result<Option<Leadership>> {
        tokio::select! {
            () = self.prepare() => {}
            () = terminate.wait() => return Ok(Some(Leadership(None))),
        }
        self.follow_accounts();
        let term = tokio::select! {
            term = self.lead() => term,
            () = terminate.wait() => return Ok(Some(Leadership(None))),
        };
        let started = tokio::select! {
            started = self.begin() => started?,
            () = lost(term.as_ref()) => return Ok(None),
            () = terminate.wait() => return Ok(Some(Leadership(term))),
        };
        let operator = match started {
            Ok(operator) => operator,
            Err(error) => return Ok(self.step_back(&error, term, terminate).await),
        };
        self.shown.metrics.leads(true); // not before: another replica may have to lead
        self.health.set_reporter(operator.reporter.clone());
        let drained = async {
            terminate.wait().await;
            self.drain(&operator).await
        };
        tokio::select! {
            is_idle = drained => Ok(Some(Leadership(self.hand_over(is_idle, term).await))),
            () = lost(term.as_ref()) => {
                error!("leadership is lost: this process restarts as a standby");
                Ok(None)
            }
            () = self.ports.journal.stopped() => {
                error!("the journal has stopped: this process restarts as a standby");
                Ok(None)
            }
        }
    }

    /// Tells the plans, until terminated. A dry run needs no account, takes no Lease from
    /// the operator beside, and reads no journal.
    async fn survey(&self, terminate: &mut Terminate) -> anyhow::Result<Option<Leadership>> {
        info!("dry run: nothing is written but Events, and the CA is not asked");
        let operator = tokio::select! {
            started = self.begin() => started??,
            () = terminate.wait() => return Ok(Some(Leadership(None))),
        };
        self.health.set_reporter(operator.reporter.clone());
        self.health.set_ready(true);
        terminate.wait().await;
        self.flush_events().await;
        Ok(Some(Leadership(None)))
    }

    /// Starts the operator. Look-ups of CAs and of API groups come before: their answers may take
    /// long, so that whoever waits for this has to wait for the loss of leadership too.
    async fn begin(&self) -> anyhow::Result<Result<Operator, CommitError>> {
        let settings = self.settings().await;
        self.follow_file().await?;
        Ok(start(self.ports.clone(), settings, self.shown.clone(), None).await)
    }

    /// Lets another replica lead, because this one cannot take over the journal: the other one may
    /// run on another node, with other rights, or be of a newer release. Challenges are answered
    /// meanwhile.
    async fn step_back(
        &self,
        error: &CommitError,
        term: Option<Term>,
        terminate: &mut Terminate,
    ) -> Option<Leadership> {
        self.shown.metrics.journal_unreadable();
        error!(
            %error,
            retry_in = ?STEP_BACK,
            "the journal cannot be taken over: another replica may lead, and this one tries again later"
        );
        if let Some(term) = term {
            term.release().await;
        }
        tokio::select! {
            () = sleep(STEP_BACK) => None,
            () = terminate.wait() => Some(Leadership(None)),
        }
    }

    /// The settings, with the kind of the CA and the presence of cert-manager, which take look-ups,
    /// with the room that the memory allows, and with the proxy of the environment.
    async fn settings(&self) -> Settings {
        let mut settings = self.settings.clone();
        settings.room = memory_limit::room();
        settings.through_proxy = is_proxied(&settings.directory);
        if settings.through_proxy {
            info!(settings.directory, "the CA is asked through the proxy of the environment");
        }
        let public = public_ca::public_ca(self.public_ca, &settings.directory);
        settings.selection.public_ca = public.await;
        settings.selection.cert_manager = serves_cert_manager(&self.client).await;
        settings
    }

    /// Loads or creates the account key, without a time limit: no challenge can be answered without
    /// the key.
    async fn prepare(&self) {
        loop {
            match self.acme.prepare().await {
                Ok(_) => {
                    self.health.set_ready(true);
                    return self.list_dns_accounts().await;
                }
                Err(error @ (PortError::Transient { .. } | PortError::Permanent(_))) => {
                    warn!(%error, retry_in = ?PREPARE_RETRY, "the account key cannot be loaded");
                }
            }
            sleep(PREPARE_RETRY).await;
        }
    }

    /// Waits until the DNS accounts are listed. Planned without them, a wildcard would be refused,
    /// and the certificate ordered again once they are there.
    async fn list_dns_accounts(&self) {
        let mut accounts = self.ports.dns.accounts.clone();
        if timeout(limits::DNS_ACCOUNTS_LIST, accounts.changed()).await.is_err() {
            warn!("the DNS accounts cannot be listed, so names are planned without them for now");
        }
    }

    fn follow_accounts(&self) {
        for acme in std::iter::once(&self.acme).chain(&self.further_acmes) {
            actix::spawn(follow(Rc::downgrade(acme)));
        }
    }

    /// Completes the CAs of the file, and follows the file from now on.
    async fn follow_file(&self) -> anyhow::Result<()> {
        let Some(file) = self.file_cas.clone() else { return Ok(()) };
        file.begin().await?;
        actix::spawn(async move { file.follow().await });
        Ok(())
    }

    async fn lead(&self) -> Option<Term> {
        if self.leader_elect {
            info!("standing by until this replica leads; challenges are answered meanwhile");
            return Some(self.lease.acquire().await);
        }
        self.follow_switch(true).await;
        None
    }

    /// Follows the switch for new orders without leader election. Returns when it is known.
    async fn follow_switch(&self, makes_lease: bool) {
        let (tell, known) = oneshot::channel();
        let lease = self.lease.clone();
        actix::spawn(async move {
            lease.follow(makes_lease, || _ = tell.send(())).await;
        });
        _ = known.await; // the task has no end
    }

    /// Whether challenges are answered: a thumbprint is known.
    fn is_answering(&self) -> bool {
        self.thumbprint.current().is_some()
    }

    /// Releases the Lease of an idle replica, so that another one leads while this one still
    /// answers challenges. Returns the term of one that may still write.
    async fn hand_over(&self, is_idle: bool, term: Option<Term>) -> Option<Term> {
        let term = term?;
        if !is_idle {
            return Some(term);
        }
        self.shown.metrics.leads(false);
        term.release().await;
        None
    }

    /// Finishes the work that the CA has in progress, starts no new work and sends pending Events.
    /// Challenges are answered meanwhile, but endpoints are to follow at once. Returns whether all
    /// work is finished.
    async fn drain(&self, operator: &Operator) -> bool {
        self.health.set_ready(false);
        info!(deadline = ?limits::DRAIN, "draining");
        let drained = timeout(limits::DRAIN, operator.drain()).await;
        match &drained {
            Ok(Ok(())) => info!("drained"),
            Ok(Err(gone)) => error!(%gone, "the pool has stopped"),
            Err(_) => {
                warn!("not all work could be finished in time; the next start resumes it");
            }
        }
        self.flush_events().await;
        matches!(drained, Ok(Ok(())))
    }

    async fn flush_events(&self) {
        if timeout(limits::EVENTS_FLUSH, self.ports.event_recorder.flush()).await.is_err() {
            warn!("not all Events could be sent in time");
        }
    }
}

/// How a process ends.
pub enum Exit {
    /// Terminated by a signal, after a drain.
    Done,
    /// The process must have no further effect and must discard its state: the same program
    /// restarts in its place, and goes on answering challenges. The journal contains the work in
    /// flight.
    Restart(Succession),
}

impl Exit {
    /// Returns the exit code, or replaces this process with a fresh one: same program, same
    /// arguments, same pid.
    pub fn carry_out(self) -> anyhow::Result<ExitCode> {
        let Self::Restart(succession) = self else { return Ok(ExitCode::SUCCESS) };
        let program =
            std::env::current_exe().context("the path of this program cannot be determined")?;
        let mut program = std::process::Command::new(program);
        succession.hand_over(program.args(std::env::args_os().skip(1)));
        Err(program.exec()).context("this program cannot restart")
    }
}

/// Term of this replica; `None` without leader election, or before this replica has led.
struct Leadership(Option<Term>);

async fn lost(term: Option<&Term>) {
    match term {
        Some(term) => term.lost().await,
        None => std::future::pending().await,
    }
}

async fn dump_on_signal(health: Health, mut signal: Signal) {
    while signal.recv().await.is_some() {
        match health.state().await {
            Ok(state) => info!(state = %String::from_utf8_lossy(&state), "state"),
            Err(why) => error!(%why, "the state could not be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use clap::Parser;
    use ingress_acme_actors::domain::certificate::PrivateKey;
    use ingress_acme_actors::ports::{AccountStore, ExternalAccount, StoredAccount};
    use rcgen::KeyPair;

    use super::*;
    use crate::acme::{AcmeOptions, Wire, thumbprint};
    use crate::commands::cli::{Cli, Command};
    use crate::dns_and_http::solver::Thumbprint;
    use crate::process::assembly::{Environment, Network, assemble};
    use crate::process::clock::SystemClock;
    use crate::process::key_changes::FOLLOW;

    /// An account whose key other replicas change.
    struct Shared(RefCell<StoredAccount>);

    #[async_trait(?Send)]
    impl AccountStore for Shared {
        async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
            Ok(Some(self.0.borrow().clone()))
        }

        async fn create(
            &self,
            _: &PrivateKey,
            _: Option<&PrivateKey>,
        ) -> Result<StoredAccount, PortError> {
            Ok(self.0.borrow().clone())
        }

        async fn replace(&self, _: &StoredAccount) -> Result<Option<StoredAccount>, PortError> {
            Ok(None)
        }

        async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError> {
            Ok(None)
        }
    }

    fn key() -> PrivateKey {
        PrivateKey::from_pem(KeyPair::generate().unwrap().serialize_pem())
    }

    /// The API server answers nothing, so that the look-ups before the start would go on.
    #[tokio::test(start_paused = true)]
    async fn a_request_to_end_is_heard_while_the_start_waits_for_an_answer() {
        let (end, ends) = tokio::sync::watch::channel(false);
        let asked = Arc::new(AtomicUsize::new(0));
        let asks = asked.clone();
        let mute = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            asks.fetch_add(1, Ordering::Relaxed);
            end.send_replace(true);
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        });
        let flags = [
            "ingress-acme",
            "run",
            "--dry-run",
            "--public-ca=false",
            "--solver-bind=127.0.0.1:0",
            "--admin-bind=127.0.0.1:0",
            "--metrics-bind=127.0.0.1:0",
            "--health-bind=127.0.0.1:0",
        ];
        let Ok(Command::Run(args)) = Cli::try_parse_from(flags).map(|cli| cli.command) else {
            panic!("the flags are legal")
        };
        let environment = Environment {
            client: Client::new(mute, "ingress-acme"),
            pod: "operator-1".to_owned(),
            clock: Arc::new(SystemClock::default()),
            network: Network::Sockets,
        };
        let life = tokio::task::LocalSet::new();
        let live = async {
            let replica = assemble(*args, &environment, Succession::default()).unwrap();
            let ended = replica.live(&mut Terminate::on_request(ends)).await;
            replica.servers.stop(false).await;
            ended.unwrap()
        };
        assert!(life.run_until(live).await.is_some_and(|Leadership(term)| term.is_none()));
        assert_eq!(asked.load(Ordering::Relaxed), 1, "nothing more is asked");
    }

    #[tokio::test(start_paused = true)]
    async fn within_a_minute_challenges_are_answered_with_a_key_that_others_have_stored() {
        let directory = "https://ca.example/dir".to_owned();
        let account = StoredAccount {
            key: key(),
            next: None,
            former: None,
            retired: Vec::new(),
            url: None,
            directory: directory.clone(),
            version: "1".to_owned(),
        };
        let store = Rc::new(Shared(RefCell::new(account)));
        let answers = Thumbprint::default();
        let answering = answers.clone();
        let options = AcmeOptions {
            directory,
            extra_roots: None,
            preferred_chain: None,
            contacts: Vec::new(),
            wire: Wire::Tls,
            hook: Arc::new(|_, _, _| {}),
            answering: Rc::new(move |new| answering.set(new)),
        };
        let acme = Rc::new(Acme::new(options, store.clone()).unwrap());
        let old = acme.prepare().await.unwrap();
        assert_eq!(answers.current(), Some(old));
        store.0.borrow_mut().key = key();
        tokio::select! {
            () = follow(Rc::downgrade(&acme)) => panic!("it has no end"),
            () = sleep(FOLLOW + PREPARE_RETRY) => {}
        }
        let new = thumbprint(&store.0.borrow().key).unwrap();
        assert_eq!(answers.current(), Some(new));
    }
}
