//! Wiring of the operator: starts all actors from ports and settings, from the last stage to the
//! first. The binary, the tests and the benches share this code.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::cas::{CaClient, CaSet, CaSets, FallbackCa, OperatorCas, RehearsalCa};
use crate::context::{CertificateDates, OperatorContext};
use crate::dedup::actor::DedupDependencies;
use crate::dedup::registry::Registry;
use crate::dns::cleaner::TxtCleaner;
use crate::dns::pauses::AccountPauses;
use crate::dns::ports::DnsPorts;
use crate::domain::certificate::KeyAlgorithm;
use crate::domain::desired::index::Index;
use crate::domain::desired::selection::Selection;
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::State;
use crate::domain::limits;
use crate::domain::mode::Mode;
use crate::domain::new_orders::NewOrders;
use crate::domain::scheduling::dedup::SettleTimes;
use crate::domain::status::readiness::Awaited;
use crate::dry_run::no_ca::without_requests;
use crate::dry_run::surveyor::Surveyor;
use crate::journal::ledger::{CommitError, Ledger};
use crate::messages::{Drain, StopWriting, SwitchMoved};
use crate::pool::actor::Pool;
use crate::pool::job_runner::{JobPorts, JobRunner, RouteRecipients};
use crate::pool::known_classes::KnownClasses;
use crate::ports::{
    CertificateAuthority, Clock, EventRecorder, IngressClasses, IngressSource, Journal, Keys,
    Probe, Routes, SecretWatch, TlsSecrets,
};
use crate::reporting::event_dedup::EventDedup;
use crate::reporting::event_repeater::EventRepeater;
use crate::reporting::metrics::{Metrics, Source};
use crate::reporting::reporter::Reporter;
use crate::routes::keeper::RouteKeeper;
use crate::shared_expiries::SharedExpiries;
use crate::sources::ari_poller::AriPoller;
use crate::sources::scanner::{FirstScan, Scanner};
use crate::sources::secret_checker::SecretChecker;
use crate::sources::watcher::{Told, Watcher};
use crate::switch::Switch;

/// All ports of the operator.
#[derive(Clone)]
pub struct Ports {
    /// Ingresses.
    pub ingresses: Rc<dyn IngressSource>,
    /// Secrets and `spec.tls`.
    pub tls_secrets: Rc<dyn TlsSecrets>,
    /// Watch of the Secrets, where the operator has the right to it.
    pub secret_watch: Option<Rc<dyn SecretWatch>>,
    /// The CAs of a file, in place of those that follow.
    pub cas: Option<CaSets>,
    /// The first CA.
    pub ca: Rc<dyn CertificateAuthority>,
    /// The fallback CA, used after the first CA has failed for long.
    pub fallback: Option<FallbackCa>,
    /// The CA that validates first what the first CA could not validate.
    pub rehearsal: Option<RehearsalCa>,
    /// Solver Ingresses.
    pub routes: Rc<dyn Routes>,
    /// Ingress classes.
    pub classes: Rc<dyn IngressClasses>,
    /// Probe of a host.
    pub probe: Rc<dyn Probe>,
    /// Keys and chains.
    pub keys: Rc<dyn Keys>,
    /// Kubernetes Events.
    pub event_recorder: Rc<dyn EventRecorder>,
    /// Journal of events.
    pub journal: Rc<dyn Journal>,
    /// Challenges in DNS.
    pub dns: DnsPorts,
    /// Position of the switch for new orders.
    pub new_orders: watch::Receiver<NewOrders>,
    /// The clock.
    pub clock: Rc<dyn Clock>,
}

/// Settings of the user.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Settings {
    /// URL of the ACME directory.
    pub directory: String,
    /// Selection of the managed Ingresses.
    pub selection: Selection,
    /// `--dry-run`.
    pub mode: Mode,
    /// The operator's own namespace.
    pub own_namespace: String,
    /// `--install-id`: name of this install on its TLS Secrets.
    pub install_id: String,
    /// `--owner-references`: whether a Secret is owned by its Ingresses, and deleted with them.
    pub owner_references: bool,
    /// Whether the CA of `directory` is asked through a proxy.
    pub through_proxy: bool,
    /// `--dns-persist-01`.
    pub dns_persist_01: bool,
    /// `--profile`.
    pub profile: Option<String>,
    /// `--key-algorithm`.
    pub algorithm: KeyAlgorithm,
    /// `--settle`, `--settle-max`.
    pub settle_times: SettleTimes,
    /// `--issuers`.
    pub issuers: usize,
    /// `--scan-interval`.
    pub scan_interval: Duration,
    /// `--secret-checks`: requests per second that find deleted Secrets; 0 for none.
    pub secret_checks: usize,
    /// `--guards`: whether the operator holds back orders that the CA would soon refuse.
    pub guards: bool,
    /// `--max-orders-per-namespace`: orders of one namespace in 3 hours.
    pub orders_per_namespace: Option<u32>,
    /// Bytes that the index may use for the Ingresses of one namespace, and
    /// [`limits::NAMESPACE_ROOM`] at least.
    pub room: usize,
}

/// Everything that a scrape reads. Created before the operator leads.
#[derive(Clone, Debug, Default)]
pub struct Observability {
    /// Counters and gauges.
    pub metrics: Metrics,
    /// Expiry and renewal time of each certificate.
    pub expiries: SharedExpiries,
}

/// Handles on a running operator, to query and drain.
pub struct Operator {
    /// All Ingresses and their desired certificates.
    pub index: Rc<RefCell<Index>>,
    /// Registry of dedup actors, which receives the events of Ingresses.
    pub registry: Rc<Registry>,
    /// States of all event streams, and the journal.
    pub ledger: Rc<Ledger>,
    /// The pool.
    pub pool: Addr<Pool>,
    /// Reporter of the state.
    pub reporter: Addr<Reporter>,
    /// The route keeper, which writes without a job, as the cleaner does.
    keeper: Addr<RouteKeeper>,
    /// The cleaner of TXT records.
    cleaner: Addr<TxtCleaner>,
}

impl Operator {
    /// Starts no more queued jobs, and waits until no job holds a slot and no solver Ingress is
    /// being written. Nothing but the journal and Events is written afterwards, and the journal is
    /// fenced, so that another replica may lead.
    ///
    /// # Errors
    /// An actor has stopped.
    pub async fn drain(&self) -> Result<(), MailboxError> {
        self.pool.send(Drain).await?;
        self.keeper.send(StopWriting).await?;
        self.cleaner.send(StopWriting).await?;
        // Without its last record, a certificate that is installed would be downloaded again.
        if let Err(error) = self.ledger.flush().await {
            warn!(%error, "the last records are not in the journal");
        }
        Ok(())
    }
}

/// Waits until the clock of this process is set back, because it was ahead. Times in memory, from
/// timers to rate limits, may be too late by any amount then: the process must start anew.
pub async fn stepped_back(clock: Rc<dyn Clock>) {
    while clock.steps_back() == 0 {
        tokio::time::sleep(limits::CLOCK_LOOK).await;
        clock.now(); // an idle replica reads the clock nowhere else
    }
}

/// Replays the journal, and starts all actors on the current arbiter. The last stage of the
/// pipeline starts first. `first_scan` is called once all Ingresses have been checked.
pub async fn start(
    ports: Ports,
    settings: Settings,
    shown: Observability,
    first_scan: FirstScan,
) -> Result<Operator, CommitError> {
    let (journal, now) = (ports.journal.clone(), ports.clock.now());
    let ledger = Ledger::open(journal, shown.metrics.clone(), now).await?;
    let context = Rc::new(context(&ports, &settings, shown, ledger));
    let keeper = RouteKeeper::new(ports.routes.clone(), ports.clock.clone()).start();
    let pool = start_pool(&ports, &settings, &context, &keeper);
    let cleaner = TxtCleaner::new(context.clone()).start();
    actix::spawn(follow_switch(ports.new_orders, pool.clone()));
    let reconciler = match settings.mode {
        Mode::Work => pool.clone().recipient(),
        Mode::DryRun => Surveyor::new(context.clone()).start().recipient(),
    };
    let downstream = DedupDependencies {
        pool: Rc::new(reconciler),
        settle_times: settings.settle_times,
        clock: ports.clock,
    };
    let registry = Registry::new(downstream, context.metrics.clone());
    follow_sources(ports.cas, &context, &registry);
    AriPoller::new(context.clone(), registry.clone()).start();
    let (watch, requests) = (ports.secret_watch, settings.secret_checks);
    SecretChecker::new(context.clone(), registry.clone(), watch, requests).start();
    let scanner =
        Scanner::new(context.clone(), registry.clone(), settings.scan_interval, first_scan).start();
    let scanner = scanner.recipient();
    let index = context.index.clone();
    let (metrics, expiries) = (context.metrics.clone(), context.dates.expiries.clone());
    let ledger = context.ledger.clone();
    let (source, live) = (ports.ingresses, ledger.clone());
    let is_failing = |state: &State| matches!(state, State::Failing(_));
    let fails = Rc::new(move |secret: &SecretKey| live.with(secret, is_failing));
    let told =
        Told { scanner, newcomers: keeper.clone().recipient(), routes: keeper.clone().recipient() };
    Watcher::new(source, index.clone(), registry.clone(), told, fails, metrics, expiries).start();
    EventRepeater::new(context.clone()).start();
    let reporter = Reporter::new(context, registry.clone(), pool.clone()).start();
    Ok(Operator { index, registry, ledger, pool, reporter, keeper, cleaner })
}

fn start_pool(
    ports: &Ports,
    settings: &Settings,
    context: &Rc<OperatorContext>,
    keeper: &Addr<RouteKeeper>,
) -> Addr<Pool> {
    let job_ports = JobPorts {
        routes: RouteRecipients::of(keeper),
        classes: KnownClasses::new(ports.classes.clone()),
        probe: ports.probe.clone(),
        keys: ports.keys.clone(),
    };
    let runner = JobRunner::new(context.clone(), job_ports);
    Pool::new(context.clone(), runner, settings.issuers, limits::QUEUE_MAX).start()
}

/// Follows the DNS accounts and the file of the CAs, where there is one.
fn follow_sources(cas: Option<CaSets>, context: &Rc<OperatorContext>, registry: &Rc<Registry>) {
    actix::spawn(follow_accounts(context.clone(), registry.clone()));
    if let Some(cas) = cas {
        actix::spawn(follow_cas(cas, context.clone(), registry.clone()));
    }
}

/// Plans the Ingresses anew whose names other DNS accounts prove from now on, until the accounts
/// are no longer followed.
async fn follow_accounts(context: Rc<OperatorContext>, registry: Rc<Registry>) {
    let mut accounts = context.dns.accounts.clone();
    while accounts.changed().await.is_ok() {
        let newest = accounts.borrow_and_update().clone();
        let changed = context.index.borrow_mut().set_dns_accounts(newest);
        for key in changed {
            registry.notify(&key.into(), Source::Watch);
        }
    }
}

/// Tells the pool of each move of the switch, until one of them is gone.
async fn follow_switch(mut new_orders: watch::Receiver<NewOrders>, pool: Addr<Pool>) {
    while new_orders.changed().await.is_ok() && pool.send(SwitchMoved).await.is_ok() {}
}

/// The CAs of the flags.
fn of_flags(ports: &Ports, settings: &Settings) -> CaSet {
    let (through_proxy, guards) = (settings.through_proxy, settings.guards);
    let client = CaClient { ca: ports.ca.clone(), through_proxy, guards };
    let first = (settings.directory.as_str(), client, settings.selection.public_ca);
    CaSet::of_flags(first, ports.fallback.as_ref(), ports.rehearsal.as_ref())
}

/// The CAs, which a dry run never asks.
fn of_mode(mode: Mode, set: Rc<CaSet>) -> Rc<CaSet> {
    if mode == Mode::DryRun { Rc::new(without_requests(&set)) } else { set }
}

/// Uses the CAs of the file anew after each change of it, and has the Ingresses checked for which
/// another CA counts now.
async fn follow_cas(mut cas: CaSets, context: Rc<OperatorContext>, registry: Rc<Registry>) {
    while cas.changed().await.is_ok() {
        let set = of_mode(context.mode, cas.borrow_and_update().clone());
        context.cas.replace(set.clone(), &context.ledger, context.clock.now());
        context.metrics.cas_replaced();
        let mut changed = context.index.borrow_mut().set_cas(&set.cas);
        // Another CA may be about to order all of them: the one that ends first goes first.
        changed.sort_by_cached_key(|key| context.first_expiry(key));
        info!(
            cas = set.clients.len(),
            ingresses = changed.len(),
            "the CAs are those of the changed file"
        );
        for key in changed {
            registry.notify(&key.into(), Source::Scan);
        }
    }
}

fn context(
    ports: &Ports,
    settings: &Settings,
    shown: Observability,
    ledger: Ledger,
) -> OperatorContext {
    let index = Index::new(settings.selection.clone(), settings.profile.clone());
    let index = index.with_room(settings.room).with_algorithm(settings.algorithm);
    let of_flags = || Rc::new(of_flags(ports, settings));
    let of_file = |cas: &CaSets| of_mode(settings.mode, cas.borrow().clone());
    let set = ports.cas.as_ref().map_or_else(of_flags, of_file);
    let mut index = index.with_cas(set.cas.clone());
    _ = index.set_dns_accounts(ports.dns.accounts.borrow().clone()); // it has no Ingress yet
    let cas = OperatorCas::new(set.clone(), settings.orders_per_namespace);
    cas.replace(set, &ledger, ports.clock.now());
    OperatorContext {
        index: Rc::new(RefCell::new(index)),
        ledger: Rc::new(ledger),
        tls_secrets: ports.tls_secrets.clone(),
        events: EventDedup::new(ports.event_recorder.clone()),
        clock: ports.clock.clone(),
        metrics: shown.metrics,
        mode: settings.mode,
        own_namespace: settings.own_namespace.clone(),
        install_id: settings.install_id.clone(),
        owner_references: settings.owner_references,
        cas,
        dates: CertificateDates { windows: RefCell::default(), expiries: shown.expiries },
        dns: ports.dns.clone(),
        dns_pauses: AccountPauses::default(),
        dns_persist_01: settings.dns_persist_01,
        switch: Switch::new(ports.new_orders.clone()),
        awaited: RefCell::new(Awaited::new(ports.clock.now())),
    }
}
