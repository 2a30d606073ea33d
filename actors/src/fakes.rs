//! In-memory ports on tokio's clock with fault injection, for flow tests and benchmarks.
//!
//! [`FakeCluster`] stores Ingresses, Secrets, solver Ingresses and Events; [`FakeCa`] issues
//! certificates for names with a solver route. Both count the calls. [`Fakes::paused`] runs a test
//! on a paused clock, on which an hour passes in microseconds.

mod ca;
mod clock;
mod cluster;
mod crash_point;
mod dns;
mod file;
mod keys;
mod segments;
mod stable;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};

pub use ca::FakeCa;
use clock::FakeClock;
pub use clock::MachineClock;
pub use cluster::{
    Distortion, FakeCluster, FakeSecret, OfInstall, foreign_secret, ingress, named, our_secret,
    reasons, shop, with_tls,
};
pub use crash_point::CrashPoint;
use crash_point::Crashable;
pub use dns::{FakeDns, dns_account, record_name};
use file::{ByDirectory, FakeFile};
pub use segments::FakeSegments;
pub use stable::{Retries, WRITES};

use crate::cas::{FallbackCa, RehearsalCa};
use crate::dns::ports::DnsPorts;
use crate::domain::caa::CaaSet;
use crate::domain::cas::Cas;
use crate::domain::certificate::KeyAlgorithm;
use crate::domain::desired::index::Index;
use crate::domain::desired::selection::Selection;
use crate::domain::issuance::{Missed, OverIpv6, Reach};
use crate::domain::limits;
use crate::domain::mode::Mode;
use crate::domain::name::DnsName;
use crate::domain::new_orders::NewOrders;
use crate::domain::scheduling::dedup::SettleTimes;
use crate::journal::segmented::SegmentedJournal;
use crate::operator::{Observability, Operator, Ports, Settings, start};
use crate::ports::{Clock, Probe, SecretWatch, Segments};
use crate::reporting::reporter::Reporter;

/// URL of the ACME directory.
pub const DIRECTORY: &str = "https://ca.example/directory";

/// URL of the fallback CA's directory.
pub const FALLBACK_DIRECTORY: &str = "https://fallback.example/directory";

/// URL of the directory of the rehearsal CA, which is a third one for `--cas-file`.
pub const THIRD_DIRECTORY: &str = "https://rehearsal.example/directory";

/// `--install-id` of an operator with [`Fakes::settings`].
pub const INSTALL: &str = "ingress-acme";
/// `--install-id` of the second install, made by [`Fakes::second_install`].
pub const SECOND_INSTALL: &str = "second";

/// HTTP probe of a host: succeeds if a solver Ingress contains the host and no test has cut the
/// route or the host's DNS.
pub(crate) struct FakeProbe {
    cluster: Rc<FakeCluster>,
}

#[async_trait(?Send)]
impl Probe for FakeProbe {
    async fn probe(&self, host: &DnsName) -> Reach {
        self.cluster.count("probe").await;
        if self.cluster.is_unresolved(host) {
            return Reach::Unresolved("NXDOMAIN".to_owned());
        }
        let is_inside = self.cluster.is_inside(host);
        if self.cluster.leads_to_solver(host) {
            return if is_inside { Reach::ReachedInside } else { Reach::Reached };
        }
        if is_inside {
            let why = "HTTP 404".to_owned();
            return Reach::Missed(Missed { why, answered: true, private: true });
        }
        Reach::elsewhere("HTTP 404")
    }

    async fn over_ipv6(&self, host: &DnsName) -> OverIpv6 {
        self.cluster.count("over_ipv6").await;
        self.cluster.over_ipv6(host)
    }

    async fn caa(&self, host: &DnsName) -> Result<CaaSet, String> {
        self.cluster.count("caa").await;
        self.cluster.caa(host)
    }
}

/// Parts of a running operator that show its state.
struct Latest {
    index: Rc<RefCell<Index>>,
    reporter: Addr<Reporter>,
}

/// All fake ports of one cluster.
pub struct Fakes {
    /// Kubernetes API server.
    pub cluster: Rc<FakeCluster>,
    /// DNS and the DNS provider.
    pub dns: Rc<FakeDns>,
    /// The CA.
    pub ca: Rc<FakeCa>,
    /// The fallback CA, used only with `fallback_after`.
    pub fallback: Rc<FakeCa>,
    /// Duration of the CA's outage before the fallback CA is used; `None` (the default) disables
    /// the fallback.
    pub fallback_after: Cell<Option<Duration>>,
    /// The rehearsal CA, used only with `rehearses`.
    pub rehearsal: Rc<FakeCa>,
    /// Whether there is a rehearsal CA.
    pub rehearses: Cell<bool>,
    /// The CAs of `--cas-file`, where there is one.
    file: FakeFile,
    /// Whether the operator has the right to watch Secrets.
    pub watches_secrets: Cell<bool>,
    /// The true time, which the API server and the CA have.
    pub clock: Rc<dyn Clock>,
    /// Clock of the operator's machine.
    pub machine: Rc<MachineClock>,
    /// Journal segments; they survive an operator.
    pub segments: Rc<FakeSegments>,
    /// Switch for new orders.
    pub new_orders: watch::Sender<NewOrders>,
    /// `--install-id`.
    pub install_id: &'static str,
    /// Metrics and expiries of every operator started here.
    pub shown: Observability,
    crash_point: RefCell<Rc<CrashPoint>>,
    /// Clock of the latest operator's process.
    process_clock: RefCell<Rc<dyn Clock>>,
    /// All tasks of the latest operator.
    process: RefCell<Option<JoinHandle<()>>>,
    /// State of the latest operator.
    latest: RefCell<Option<Latest>>,
    operators: Cell<u32>,
}

impl Default for Fakes {
    fn default() -> Self {
        let clock: Rc<dyn Clock> = Rc::new(FakeClock::default());
        let cluster = Rc::new(FakeCluster::new(clock.clone()));
        let dns = Rc::new(FakeDns::new(cluster.clone(), clock.clone()));
        let ca = |host| Rc::new(FakeCa::new(host, cluster.clone(), dns.clone(), clock.clone()));
        let (first, fallback) = (ca("ca.example"), ca("fallback.example"));
        let segments = Rc::new(FakeSegments::new(cluster.clone()));
        let machine = Rc::new(MachineClock::new(clock.clone()));
        Self {
            rehearsal: ca("rehearsal.example"),
            dns: dns.clone(),
            cluster: cluster.clone(),
            ca: first,
            fallback,
            fallback_after: Cell::new(None),
            rehearses: Cell::new(false),
            file: FakeFile::default(),
            watches_secrets: Cell::new(false),
            process_clock: RefCell::new(machine.of_a_process()),
            machine,
            clock,
            segments,
            new_orders: watch::Sender::default(),
            install_id: INSTALL,
            shown: Observability::default(),
            crash_point: RefCell::default(),
            process: RefCell::default(),
            latest: RefCell::default(),
            operators: Cell::new(0),
        }
    }
}

impl Fakes {
    /// Another install in the same cluster, with a CA, an account and a journal of its own.
    #[must_use]
    pub fn second_install(&self) -> Self {
        let (cluster, clock) = (self.cluster.clone(), self.clock.clone());
        let dns = Rc::new(FakeDns::new(cluster.clone(), clock.clone()));
        let ca = |host| Rc::new(FakeCa::new(host, cluster.clone(), dns.clone(), clock.clone()));
        let (first, fallback) = (ca("second.example"), ca("fallback.second.example"));
        let segments = Rc::new(FakeSegments::new(cluster.clone()));
        Self {
            rehearsal: ca("rehearsal.example"),
            dns: dns.clone(),
            cluster: cluster.clone(),
            ca: first,
            fallback,
            fallback_after: Cell::new(None),
            rehearses: Cell::new(false),
            file: FakeFile::default(),
            watches_secrets: Cell::new(false),
            process_clock: RefCell::new(self.machine.of_a_process()),
            machine: self.machine.clone(),
            clock,
            segments,
            new_orders: watch::Sender::default(),
            install_id: SECOND_INSTALL,
            latest: RefCell::default(),
            shown: Observability::default(),
            crash_point: RefCell::default(),
            process: RefCell::default(),
            operators: Cell::new(100), // the names of its writers
        }
    }

    /// Runs `test` under actix on a paused clock.
    ///
    /// # Panics
    /// When no runtime can be built.
    pub fn paused<T: 'static>(test: impl Future<Output = T> + 'static) -> T {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime needs threads and sockets only")
        };
        actix::System::with_tokio_rt(runtime).block_on(test)
    }

    /// Returns the ports for an operator that crashes at `crash_point`.
    pub fn ports(&self, crash_point: &Rc<CrashPoint>) -> Ports {
        let cluster =
            Rc::new(Crashable { port: self.cluster.clone(), crash_point: crash_point.clone() });
        let of_install = Rc::new(OfInstall { cluster: self.cluster.clone(), id: self.install_id });
        let of_install = Rc::new(Crashable { port: of_install, crash_point: crash_point.clone() });
        let segments: Rc<dyn Segments> =
            Rc::new(Crashable { port: self.segments.clone(), crash_point: crash_point.clone() });
        let clock = self.machine.of_a_process();
        *self.process_clock.borrow_mut() = clock.clone();
        let number = self.operators.replace(self.operators.get() + 1);
        let probe = Rc::new(FakeProbe { cluster: self.cluster.clone() });
        let fallback = |after| FallbackCa {
            ca: Rc::new(Crashable {
                port: self.fallback.clone(),
                crash_point: crash_point.clone(),
            }),
            directory: FALLBACK_DIRECTORY.to_owned(),
            after,
            is_public: true,
        };
        let secret_watch: Rc<dyn SecretWatch> = self.cluster.clone();
        Ports {
            ingresses: cluster.clone(),
            secret_watch: self.watches_secrets.get().then_some(secret_watch),
            tls_secrets: of_install.clone(),
            routes: of_install,
            classes: cluster.clone(),
            event_recorder: cluster,
            cas: self.file.read(self.by_directory(), crash_point),
            ca: Rc::new(Crashable { port: self.ca.clone(), crash_point: crash_point.clone() }),
            fallback: self.fallback_after.get().map(fallback),
            rehearsal: self.rehearses.get().then(|| self.rehearsal_ca()),
            probe: Rc::new(Crashable { port: probe, crash_point: crash_point.clone() }),
            keys: self.ca.clone(),
            journal: self.journal(segments, number),
            dns: self.dns_ports(crash_point),
            new_orders: self.new_orders.subscribe(),
            clock,
        }
    }

    /// Writes the file of `--cas-file`, which a running operator with one follows. Its CAs are
    /// those of [`DIRECTORY`], [`FALLBACK_DIRECTORY`] and [`THIRD_DIRECTORY`].
    pub fn write_file(&self, cas: Cas) {
        self.file.write(cas, self.by_directory());
    }

    fn by_directory(&self) -> ByDirectory<'_> {
        [
            (DIRECTORY, &self.ca),
            (FALLBACK_DIRECTORY, &self.fallback),
            (THIRD_DIRECTORY, &self.rehearsal),
        ]
    }

    fn journal(&self, segments: Rc<dyn Segments>, number: u32) -> Rc<SegmentedJournal> {
        let (writer, metrics) = (format!("writer-{number}"), self.shown.metrics.clone());
        Rc::new(SegmentedJournal::with_metrics(segments, writer, metrics))
    }

    fn dns_ports(&self, crash_point: &Rc<CrashPoint>) -> DnsPorts {
        let dns = Rc::new(Crashable { port: self.dns.clone(), crash_point: crash_point.clone() });
        DnsPorts { accounts: self.dns.subscribe(), records: dns.clone(), lookups: dns }
    }

    fn rehearsal_ca(&self) -> RehearsalCa {
        let directory = THIRD_DIRECTORY.to_owned();
        RehearsalCa { ca: self.rehearsal.clone(), directory, is_public: false }
    }

    /// Kills the operator's process at once.
    pub fn kill(&self) {
        self.crash_point.borrow().end_after(0);
        if let Some(process) = self.process.take() {
            process.abort();
        }
    }

    /// Default settings of `run`, with 4 issuers, and without checks of Secrets, which would take
    /// most of the time of tests that take weeks on the paused clock.
    pub fn settings() -> Settings {
        Settings {
            directory: DIRECTORY.to_owned(),
            selection: Selection::default(),
            mode: Mode::Work,
            own_namespace: "ingress-acme".to_owned(),
            install_id: INSTALL.to_owned(),
            owner_references: true,
            through_proxy: false,
            dns_persist_01: false,
            profile: None,
            algorithm: KeyAlgorithm::default(),
            settle_times: SettleTimes::default(),
            issuers: 4,
            scan_interval: Duration::from_hours(1),
            secret_checks: 0,
            guards: false,
            orders_per_namespace: None,
            room: limits::NAMESPACE_ROOM,
        }
    }

    /// Starts an operator and waits for its first scan.
    ///
    /// # Panics
    /// When the journal cannot be replayed, or the operator is killed during the start.
    pub async fn operator(&self, settings: Settings) -> Operator {
        let scanned = Rc::new(Cell::new(false));
        let flag = scanned.clone();
        let first_scan: Option<Box<dyn FnOnce()>> = Some(Box::new(move || flag.set(true)));
        let crash_point = Rc::new(CrashPoint::default());
        *self.crash_point.borrow_mut() = crash_point.clone();
        let (ports, shown) = (self.ports(&crash_point), self.shown.clone());
        let (result_of_start, started) = oneshot::channel();
        let process = LocalSet::new();
        process.spawn_local(async move {
            drop(result_of_start.send(start(ports, settings, shown, first_scan).await));
        });
        *self.process.borrow_mut() = Some(actix::spawn(process));
        let started = started.await.expect("nobody kills it while it starts");
        let operator = started.expect("the journal is legal");
        self.look_at(&operator);
        while !scanned.get() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        operator
    }

    /// Starts an operator with some of its ports replaced, in the process of the test.
    ///
    /// # Panics
    /// When the journal cannot be replayed.
    pub async fn operator_with(&self, change: impl FnOnce(&mut Ports)) -> Operator {
        let mut ports = self.ports(&Rc::new(CrashPoint::default()));
        change(&mut ports);
        let started = start(ports, Self::settings(), self.shown.clone(), None).await;
        let operator = started.expect("the journal is legal");
        self.look_at(&operator);
        operator
    }

    fn look_at(&self, operator: &Operator) {
        let (index, reporter) = (operator.index.clone(), operator.reporter.clone());
        *self.latest.borrow_mut() = Some(Latest { index, reporter });
    }

    /// Starts an operator that crashes after `calls` port calls; does not wait.
    pub fn operator_crashing_after(&self, settings: Settings, calls: u64) -> Rc<CrashPoint> {
        let crash_point = Rc::new(CrashPoint::default());
        crash_point.end_after(calls);
        *self.crash_point.borrow_mut() = crash_point.clone();
        let (ports, shown) = (self.ports(&crash_point), self.shown.clone());
        actix::spawn(async move {
            drop(start(ports, settings, shown, None).await); // may crash during the start
        });
        crash_point
    }

    /// Crash point of the latest operator.
    pub fn crash_point(&self) -> Rc<CrashPoint> {
        self.crash_point.borrow().clone()
    }

    /// Clock of the latest operator's process.
    pub fn process_clock(&self) -> Rc<dyn Clock> {
        self.process_clock.borrow().clone()
    }

    /// Advances the clock by `time`.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
