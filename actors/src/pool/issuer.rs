//! An issuer takes one job at a time as far as it goes: next step, one port call, decide, append, apply.
//!
//! Work that was just begun and work that a crash interrupted take the same loop, for all it knows is the
//! journaled state, the newest desired certificate and what the job has seen.

mod in_the_cluster;
mod steps;
mod with_the_ca;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tracing::{Instrument, debug, error, info_span};

use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::index::Index;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{Fallback, Inputs as NextInputs, State, Step, next};
use crate::domain::limits;
use crate::domain::rate_limits::guards::Guards;
use crate::domain::rate_limits::{LimitScope, RateLimits};
use crate::domain::scheduling::priority::Need;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::scheduling::scheduler::{Job, JobStatus};
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::time::Timestamp;
use crate::domain::validity::renewal::RenewalWindows;
use crate::journal::ledger::Ledger;
use crate::messages::{JobDone, PrefetchRoutes, Publish, RunJob, Withdraw};
use crate::ports::{CertificateAuthority, Clock, Keys, Probe, TlsSecrets};
use crate::reporting::event_dedup::EventDedup;
use crate::reporting::metrics::Metrics;
use crate::routes::keeper::RouteKeeper;
use crate::sources::needs_reconcile::id;

/// What all issuers share: the newest desired certificates, the ledger, and the ports.
pub struct OperatorContext {
    /// The Ingresses.
    pub index: Rc<RefCell<Index>>,
    /// State and journal.
    pub ledger: Rc<Ledger>,
    /// Secrets and `spec.tls`.
    pub tls_secrets: Rc<dyn TlsSecrets>,
    /// The CA.
    pub ca: Rc<dyn CertificateAuthority>,
    /// The CA that is asked when that one has failed for long.
    pub fallback: Option<FallbackCa>,
    /// Solver Ingresses.
    pub routes: RouteRecipients,
    /// The way to a host.
    pub probe: Rc<dyn Probe>,
    /// Keys and chains.
    pub keys: Rc<dyn Keys>,
    /// What users are told.
    pub events: Rc<EventDedup>,
    /// The time.
    pub clock: Rc<dyn Clock>,
    /// Orders that are kept for later: not before when.
    pub paused: RefCell<HashMap<SecretKey, Timestamp>>,
    /// What the CA has closed, and who waits for it.
    pub rate_limits: RefCell<RateLimits>,
    /// What we hold back by ourselves.
    pub guards: RefCell<Guards>,
    /// What the CA suggests for the certificates that were seen.
    pub renewal_windows: RefCell<RenewalWindows>,
    /// The ACME directory in use.
    pub directory: String,
    /// Counters.
    pub metrics: Metrics,
}

/// A second CA and when it is asked.
#[derive(Clone)]
pub struct FallbackCa {
    /// The CA.
    pub ca: Rc<dyn CertificateAuthority>,
    /// URL of its directory.
    pub directory: String,
    /// How long the first must have failed.
    pub after: Duration,
}

impl FallbackCa {
    fn terms(&self) -> Fallback<'_> {
        Fallback { directory: &self.directory, after: self.after }
    }
}

/// The route keeper's ears.
pub struct RouteRecipients {
    /// Routes are needed.
    pub publish: Recipient<Publish>,
    /// Routes will be needed soon.
    pub prefetch: Recipient<PrefetchRoutes>,
    /// Routes are needed no more.
    pub withdraw: Recipient<Withdraw>,
}

impl RouteRecipients {
    /// Those of this keeper.
    pub fn of(keeper: &Addr<RouteKeeper>) -> Self {
        Self {
            publish: keeper.clone().recipient(),
            prefetch: keeper.clone().recipient(),
            withdraw: keeper.clone().recipient(),
        }
    }
}

impl OperatorContext {
    fn desired(&self, job: &Job) -> Option<DesiredCertificate> {
        self.index.borrow().desired(&job.stream)
    }

    fn next(&self, job: &Job, desired: Option<&DesiredCertificate>) -> Step {
        let now = self.clock.now();
        let rate_limits = self.rate_limits.borrow();
        let renewal_windows = self.renewal_windows.borrow();
        let found = job.observed.found();
        let known = NextInputs {
            stream: &job.stream,
            desired,
            ari: renewal_windows.of(&job.stream, id(found)),
            observed: &job.observed,
            directory: &self.directory,
            installed_at: self.ledger.installed_at(&job.stream),
            paused_until: self.paused.borrow().get(&job.stream).copied(),
            fallback: self.fallback.as_ref().map(FallbackCa::terms),
            rate_limits: &rate_limits,
            now,
        };
        self.ledger.with(&job.stream, |state| next(state, known))
    }

    /// Takes the run as far as it goes.
    async fn carry_on(&self, job: &mut Job) -> JobStatus {
        loop {
            let desired = self.desired(job);
            let step = match self.next(job, desired.as_ref()) {
                Step::Wait { until, at_ca } => return JobStatus::Parked { until, at_ca },
                Step::WaitForLimit(scope, need) => return self.wait_for_limit(job, &scope, need),
                Step::Done(requeue) => return self.end(job, requeue).await,
                _ if job.steps >= limits::RUN_STEPS => return self.give_up(job).await,
                step => step,
            };
            job.steps += 1;
            debug!(?step, "next step");
            let (name, began) = (steps::name(&step), self.clock.now());
            self.take(step, job, desired).await;
            self.metrics.step(name, self.clock.now().since(began));
        }
    }

    /// The job waits for its turn, and looks at the world now and then.
    fn wait_for_limit(&self, job: &mut Job, scope: &LimitScope, need: Need) -> JobStatus {
        job.steps = 0; // it may wait for days, and look at the world each hour
        let now = self.clock.now();
        let joined = self.rate_limits.borrow_mut().enqueue(scope, &job.stream, need, now);
        if joined && let Some(desired) = self.desired(job) {
            let waiting = self.rate_limits.borrow().waiting(&job.stream);
            let event = waiting.map(|waiting| KubeEvent::waiting_for_limit(&desired, &waiting));
            event.inspect(|waiting_for_limit| self.events.record(&desired, waiting_for_limit));
        }
        JobStatus::Parked { until: now + limits::LIMIT_LOOK, at_ca: false }
    }

    async fn end(&self, job: &Job, requeue: Requeue) -> JobStatus {
        self.rate_limits.borrow_mut().leave(&job.stream, self.clock.now());
        let desired = self.desired(job);
        let ordered = self.ledger.with(&job.stream, |state| matches!(state, State::Ordered { .. }));
        match (requeue, desired) {
            (Requeue::At(until), Some(desired)) if ordered => {
                self.paused.borrow_mut().insert(job.stream.clone(), until);
                self.tell_of_hold_up(job, &desired);
                return JobStatus::Finished(requeue); // its routes stay: the CA may come any moment
            }
            _ => _ = self.paused.borrow_mut().remove(&job.stream),
        }
        if let Err(gone) = self.routes.withdraw.send(Withdraw(job.stream.clone())).await {
            error!(%gone, "the route keeper is gone");
        }
        JobStatus::Finished(requeue)
    }

    /// A job that goes round in circles is a bug: it fails loudly, and its pause keeps it from the CA.
    async fn give_up(&self, job: &mut Job) -> JobStatus {
        error!(steps = job.steps, "the run goes round in circles; it is given up");
        job.steps = 0;
        let detail = format!(
            "the work went round in circles for {} steps; please report it",
            limits::RUN_STEPS
        );
        self.fail(job, Failure::new(FailureClass::AcmeServer, detail)).await;
        let retry_at = self.clock.now() + limits::BUSY_RETRY;
        self.end(job, Requeue::At(retry_at)).await
    }
}

/// The actor.
pub struct Issuer {
    context: Rc<OperatorContext>,
}

impl Issuer {
    /// An idle one.
    pub fn new(context: Rc<OperatorContext>) -> Self {
        Self { context }
    }
}

impl Actor for Issuer {
    type Context = Context<Self>;
}

impl Handler<RunJob> for Issuer {
    type Result = ResponseFuture<JobDone>;

    fn handle(&mut self, RunJob(mut job): RunJob, _: &mut Context<Self>) -> Self::Result {
        let context = self.context.clone();
        let span = info_span!("job", ingress = %job.for_ingress, secret = %job.stream);
        let carried = async move {
            let status = context.carry_on(&mut job).await;
            JobDone(job, status)
        };
        Box::pin(carried.instrument(span))
    }
}
