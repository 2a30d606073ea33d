//! The wiring: from ports and settings to a running operator. The binary, the tests and the benches all start
//! it here, from the last stage to the first.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;

use crate::context::{CaLimits, CertificateDates, OperatorContext};
use crate::dedup::actor::Downstream;
use crate::dedup::registry::Registry;
use crate::domain::desired::index::Index;
use crate::domain::desired::selection::Selection;
use crate::domain::limits;
use crate::domain::rate_limits::RateLimits;
use crate::domain::rate_limits::guards::Guards;
use crate::domain::scheduling::dedup::Windows;
use crate::journal::ledger::{CommitError, Ledger};
use crate::pool::actor::Pool;
use crate::pool::job_runner::{FallbackCa, JobPorts, JobRunner, RouteRecipients};
use crate::ports::{
    CertificateAuthority, Clock, EventRecorder, IngressSource, Journal, Keys, Probe, Routes,
    TlsSecrets,
};
use crate::reporting::event_dedup::EventDedup;
use crate::reporting::metrics::Metrics;
use crate::reporting::reporter::Reporter;
use crate::routes::keeper::RouteKeeper;
use crate::shared_expiries::SharedExpiries;
use crate::sources::ari_poller::AriPoller;
use crate::sources::scanner::{FirstScan, Scanner};
use crate::sources::watcher::Watcher;

/// The world.
#[derive(Clone)]
pub struct Ports {
    /// Ingresses.
    pub ingresses: Rc<dyn IngressSource>,
    /// Secrets and `spec.tls`.
    pub tls_secrets: Rc<dyn TlsSecrets>,
    /// The CA.
    pub ca: Rc<dyn CertificateAuthority>,
    /// The CA that is asked when that one has failed for long.
    pub fallback: Option<FallbackCa>,
    /// Solver Ingresses.
    pub routes: Rc<dyn Routes>,
    /// The way to a host.
    pub probe: Rc<dyn Probe>,
    /// Keys and chains.
    pub keys: Rc<dyn Keys>,
    /// Kubernetes Events.
    pub event_recorder: Rc<dyn EventRecorder>,
    /// The log of events.
    pub journal: Rc<dyn Journal>,
    /// The time.
    pub clock: Rc<dyn Clock>,
}

/// What users choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The ACME directory's URL.
    pub directory: String,
    /// Which Ingresses.
    pub selection: Selection,
    /// `--profile`.
    pub profile: Option<String>,
    /// `--settle`, `--settle-max`.
    pub windows: Windows,
    /// `--issuers`.
    pub issuers: usize,
    /// `--scan-interval`.
    pub scan_interval: Duration,
    /// `--guards`: whether to hold back by ourselves what the CA would soon refuse.
    pub guards: bool,
}

/// Everything that is scraped, created before the operator leads.
#[derive(Clone, Debug, Default)]
pub struct Observability {
    /// Counters and gauges.
    pub metrics: Metrics,
    /// Expiry and renewal time of each certificate.
    pub expiries: SharedExpiries,
}

/// A running operator, to be asked and drained.
pub struct Operator {
    /// Where the Ingresses are known.
    pub index: Rc<RefCell<Index>>,
    /// Where events on Ingresses go.
    pub registry: Rc<Registry>,
    /// State and journal.
    pub ledger: Rc<Ledger>,
    /// The pool.
    pub pool: Addr<Pool>,
    /// Tells what is going on.
    pub reporter: Addr<Reporter>,
}

/// Replays the journal and starts all actors on the current arbiter, from the last stage of the pipeline to the first.
/// `first_scan` is called when all Ingresses have been checked once.
pub async fn start(
    ports: Ports,
    settings: Settings,
    shown: Observability,
    first_scan: FirstScan,
) -> Result<Operator, CommitError> {
    let ledger = Ledger::open(ports.journal.clone(), shown.metrics.clone()).await?;
    let context = Rc::new(context(&ports, &settings, shown, ledger));
    let keeper = RouteKeeper::new(ports.routes, ports.clock.clone()).start();
    let job_ports = JobPorts {
        ca: ports.ca.clone(),
        fallback: ports.fallback,
        routes: RouteRecipients::of(&keeper),
        probe: ports.probe,
        keys: ports.keys,
    };
    let runner = JobRunner::new(context.clone(), job_ports);
    let pool = Pool::new(context.clone(), runner, settings.issuers, limits::QUEUE_MAX).start();
    let downstream = Downstream {
        pool: Rc::new(pool.clone().recipient()),
        windows: settings.windows,
        clock: ports.clock,
    };
    let registry = Registry::new(downstream, context.metrics.clone());
    AriPoller::new(context.clone(), ports.ca, registry.clone()).start();
    let scanner =
        Scanner::new(context.clone(), registry.clone(), settings.scan_interval, first_scan).start();
    let scanner = scanner.recipient();
    let index = context.index.clone();
    let (metrics, expiries) = (context.metrics.clone(), context.dates.expiries.clone());
    Watcher::new(ports.ingresses, index.clone(), registry.clone(), scanner, metrics, expiries)
        .start();
    let ledger = context.ledger.clone();
    let reporter = Reporter::new(context, registry.clone(), pool.clone()).start();
    Ok(Operator { index, registry, ledger, pool, reporter })
}

fn context(
    ports: &Ports,
    settings: &Settings,
    shown: Observability,
    ledger: Ledger,
) -> OperatorContext {
    let index = Index::new(settings.selection.clone(), settings.profile.clone());
    let hits = ledger.limit_hits(&settings.directory);
    let limits = CaLimits {
        rate_limits: RefCell::new(RateLimits::of(hits, ports.clock.now())),
        guards: RefCell::new(Guards::new(settings.guards)),
    };
    OperatorContext {
        index: Rc::new(RefCell::new(index)),
        ledger: Rc::new(ledger),
        tls_secrets: ports.tls_secrets.clone(),
        events: EventDedup::new(ports.event_recorder.clone()),
        clock: ports.clock.clone(),
        metrics: shown.metrics,
        directory: settings.directory.clone(),
        limits,
        dates: CertificateDates { windows: RefCell::default(), expiries: shown.expiries },
    }
}
