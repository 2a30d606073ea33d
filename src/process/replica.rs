//! The life of an operator's process: prepare, wait to lead, work, drain. Every phase ends at a signal.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::Context;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::journal::ledger::CommitError;
use ingress_acme_actors::messages::Drain;
use ingress_acme_actors::operator::{Observability, Operator, Ports, Settings, start};
use ingress_acme_actors::ports::{PortError, bounded};
use ingress_acme_actors::reporting::metrics::Metrics;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::acme::Acme;
use crate::commands::cli::AdapterConfig;
use crate::dns_and_http::admin::{self, Health};
use crate::dns_and_http::solver::{self, Thumbprints};
use crate::kubernetes::lease::{Lease, Term};

/// Pauses between attempts to load or make the account key.
const PREPARE_RETRY: Duration = Duration::from_secs(5);
/// Every replica looks at the account this often, should its key have been replaced: one small read.
const FOLLOW: Duration = Duration::from_mins(1);
/// Pause before a journal that could not be read is read again, by a process that has begun anew.
const REPLAY_RETRY: Duration = Duration::from_secs(5);
/// Longest wait for Events that are still to be sent.
const FLUSH: Duration = Duration::from_secs(5);

/// A process that is about to live: what `main` has built.
pub struct Replica {
    /// The world.
    pub ports: Ports,
    /// What the user chose.
    pub settings: Settings,
    /// The CA, for its account key.
    pub acme: Rc<Acme>,
    /// The second CA, whose account has the same key.
    pub second: Option<Rc<Acme>>,
    /// Whether one of several replicas must be chosen.
    pub lease: Option<Lease>,
    /// What the admin port knows.
    pub health: Health,
    /// Counters.
    pub shown: Observability,
    /// Servers to be stopped last: until then challenges are answered.
    pub servers: Servers,
}

/// The servers of both ports.
#[derive(Clone)]
pub struct Servers {
    /// Where challenges are answered.
    pub solver: SocketAddr,
    /// Where health, metrics and state are.
    pub admin: SocketAddr,
    handles: Vec<ServerHandle>,
}

impl Servers {
    /// Stops them; gracefully, or at once.
    pub async fn stop(&self, graceful: bool) {
        for server in &self.handles {
            server.stop(graceful).await;
        }
    }
}

impl Replica {
    /// Lives until it is told to end, or until leadership is lost.
    pub async fn run(self, mut terminate: Terminate) -> anyhow::Result<Exit> {
        actix::spawn(dump_on_signal(self.health.clone(), signal(SignalKind::user_defined1())?));
        let Some(term) = self.work(&mut terminate).await? else {
            return Ok(Exit::Restart); // at once: somebody else may lead any moment
        };
        self.servers.stop(true).await;
        // Last of all: what still moves here may touch the solver Ingresses, which are then the next leader's.
        if let Leadership(Some(term)) = term {
            term.release().await;
        }
        info!("ended");
        Ok(Exit::Done)
    }

    /// Works until a signal, and drains; `None` when leadership is lost before that.
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
        self.shown.metrics.leads(true);
        let (ports, settings) = (self.ports.clone(), self.settings.clone());
        let operator = match start(ports, settings, self.shown.clone(), None).await {
            Ok(operator) => operator,
            Err(CommitError::Journal(error)) => {
                error!(%error, retry_in = ?REPLAY_RETRY, "the journal cannot be taken over");
                tokio::select! {
                    () = sleep(REPLAY_RETRY) => return Ok(None),
                    () = terminate.wait() => return Ok(Some(Leadership(term))),
                }
            }
            Err(error) => return Err(error.into()),
        };
        self.health.set_reporter(operator.reporter.clone());
        let drained = async {
            terminate.wait().await;
            self.drain(&operator).await;
        };
        tokio::select! {
            () = drained => Ok(Some(Leadership(term))),
            () = lost(term.as_ref()) => {
                error!("leadership is lost: this process begins anew, as a standby");
                Ok(None)
            }
            () = self.ports.journal.stopped() => {
                error!("the journal has stopped: this process begins anew, as a standby");
                Ok(None)
            }
        }
    }

    /// Loads or makes the account key, however long it takes: without it no challenge can be answered.
    async fn prepare(&self) {
        loop {
            match self.acme.prepare().await {
                Ok(_) => {
                    self.health.set_ready(true);
                    return;
                }
                Err(error @ (PortError::Transient { .. } | PortError::Permanent(_))) => {
                    warn!(%error, retry_in = ?PREPARE_RETRY, "the account key cannot be loaded");
                }
            }
            sleep(PREPARE_RETRY).await;
        }
    }

    fn follow_accounts(&self) {
        for acme in std::iter::once(&self.acme).chain(&self.second) {
            actix::spawn(Self::follow(acme.clone()));
        }
    }

    /// Follows the account's key for ever: whoever answers challenges must do so with the newest.
    async fn follow(acme: Rc<Acme>) {
        loop {
            sleep(FOLLOW).await;
            if let Err(error) = bounded(limits::KUBE_CALL, "API server", acme.follow()).await {
                warn!(%error, retry_in = ?FOLLOW, "the account key cannot be looked at");
            }
        }
    }

    async fn lead(&self) -> Option<Term> {
        match &self.lease {
            Some(lease) => {
                info!("standing by until this replica leads; challenges are answered meanwhile");
                Some(lease.acquire().await)
            }
            None => None,
        }
    }

    /// What the CA is at work for is finished, nothing is begun, users are told, challenges are answered.
    async fn drain(&self, operator: &Operator) {
        info!(deadline = ?limits::DRAIN, "draining");
        match timeout(limits::DRAIN, operator.pool.send(Drain)).await {
            Ok(Ok(())) => info!("drained"),
            Ok(Err(gone)) => error!(%gone, "the pool is gone"),
            Err(_) => {
                warn!("not all work could be finished in time; the next start goes on with it");
            }
        }
        if timeout(FLUSH, self.ports.event_recorder.flush()).await.is_err() {
            warn!("not all Events could be sent in time");
        }
        self.health.set_ready(false);
    }
}

/// Listens on both ports and serves them on this arbiter, so that health is seen and challenges are answered
/// from the first moment on.
pub fn listen(
    config: &AdapterConfig,
    health: &Health,
    thumbprints: &Thumbprints,
    metrics: &Metrics,
) -> anyhow::Result<Servers> {
    let (metrics, solver, admin) = (metrics.clone(), config.solver_bind, config.admin_bind);
    let answered = Arc::new(move || metrics.answered());
    let (solving, solver) = solver::serve(solver, thumbprints.clone(), answered)
        .with_context(|| format!("cannot listen on --solver-bind {solver}"))?;
    let (telling, admin) = admin::serve(admin, health.clone())
        .with_context(|| format!("cannot listen on --admin-bind {admin}"))?;
    info!(solver_address = %solver, admin_address = %admin, "listening");
    let handles = vec![solving.handle(), telling.handle()];
    actix::spawn(solving);
    actix::spawn(telling);
    actix::spawn(health.clone().beat());
    Ok(Servers { solver, admin, handles })
}

/// How a process ends.
pub enum Exit {
    /// By a signal, drained.
    Done,
    /// It may have no further effect, and everything in it is to be forgotten: the same program begins anew in its
    /// place. What was in flight is in the journal.
    Restart,
}

impl Exit {
    /// The code to exit with; or nothing, for this process is replaced by a fresh one: same program, same arguments,
    /// same pid.
    pub fn carry_out(self) -> anyhow::Result<ExitCode> {
        if let Self::Done = self {
            return Ok(ExitCode::SUCCESS);
        }
        let program = std::env::current_exe().context("this program cannot find itself")?;
        let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
        Err(error).context("this program cannot begin anew")
    }
}

/// The term that was led, where a Lease is used at all.
struct Leadership(Option<Term>);

async fn lost(term: Option<&Term>) {
    match term {
        Some(term) => term.lost().await,
        None => std::future::pending().await,
    }
}

/// What tells a process to drain and end.
pub enum Terminate {
    /// SIGTERM, which the kubelet sends, or Ctrl-C.
    Signals {
        /// SIGTERM.
        terminate: Signal,
        /// SIGINT.
        interrupt: Signal,
    },
    /// Whoever runs it in a process of their own: it turns true, or its sender is dropped.
    OnRequest(watch::Receiver<bool>),
}

impl Terminate {
    /// Listens from now on.
    pub fn on_signals() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self::Signals { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits until it is told.
    pub async fn wait(&mut self) {
        match self {
            Self::Signals { terminate, interrupt } => tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            },
            Self::OnRequest(signal) => _ = signal.wait_for(|signal| *signal).await,
        }
    }
}

async fn dump_on_signal(health: Health, mut signal: Signal) {
    while signal.recv().await.is_some() {
        match health.state().await {
            Ok(state) => info!(%state, "state"),
            Err(why) => error!(%why, "no state"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use async_trait::async_trait;
    use ingress_acme_actors::domain::certificate::PrivateKey;
    use ingress_acme_actors::ports::{AccountStore, ExternalAccount, StoredAccount};
    use rcgen::KeyPair;

    use super::*;
    use crate::acme::{AcmeOptions, thumbprint};

    /// An account that others change.
    struct Shared(RefCell<StoredAccount>);

    #[async_trait(?Send)]
    impl AccountStore for Shared {
        async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
            Ok(Some(self.0.borrow().clone()))
        }

        async fn create(&self, _key: &PrivateKey) -> Result<StoredAccount, PortError> {
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

    #[tokio::test(start_paused = true)]
    async fn within_a_minute_challenges_are_answered_with_a_key_that_others_have_stored() {
        let directory = "https://ca.example/dir".to_owned();
        let account = StoredAccount {
            key: key(),
            next: None,
            previous: None,
            url: None,
            directory: directory.clone(),
            version: "1".to_owned(),
        };
        let store = Rc::new(Shared(RefCell::new(account)));
        let thumbprints = Thumbprints::default();
        let answering = thumbprints.clone();
        let options = AcmeOptions {
            directory,
            extra_roots: None,
            preferred_chain: None,
            contacts: Vec::new(),
            hook: Arc::new(|_, _, _| {}),
            answering: Rc::new(move |thumbprint| answering.add(thumbprint)),
        };
        let acme = Rc::new(Acme::new(options, store.clone()).unwrap());
        let old = acme.prepare().await.unwrap();
        assert_eq!(thumbprints.newest(), Some(old.clone()));
        store.0.borrow_mut().key = key();
        tokio::select! {
            () = Replica::follow(acme) => panic!("it has no end"),
            () = sleep(FOLLOW + PREPARE_RETRY) => {}
        }
        let new = thumbprint(&store.0.borrow().key).unwrap();
        assert_eq!(thumbprints.newest(), Some(new));
        assert!(thumbprints.is_answer("token", &format!("token.{old}")), "others may still say so");
    }
}
