//! The job runner takes a job from step to step: decide on the next step, make one port call,
//! append, apply.
//!
//! New jobs and jobs that a crash interrupted take the same loop: its inputs are the journaled
//! state, the newest desired certificate and the observations of the job.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use tracing::{Instrument, Span, debug, error};

use crate::cas::Deciding;
use crate::context::OperatorContext;
use crate::domain::caa::Issuer;
use crate::domain::cas::{Ca, Cas, FallbackTo, Source};
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::dns::account::DnsAccounts;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ingress::{Edition, IngressRef, SecretKey};
use crate::domain::issuance::{Fallback, Inputs, State, Step, next};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::new_orders::NewOrders;
use crate::domain::public_name::check_public;
use crate::domain::rate_limits::LimitScope;
use crate::domain::scheduling::priority::Priority;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::scheduling::scheduler::{Job, JobStatus, WaitsFor};
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::time::Timestamp;
use crate::messages::{PrefetchRoutes, Publish, Withdraw};
use crate::pool::known_classes::KnownClasses;
use crate::pool::spans::JobSpans;
use crate::ports::{Keys, Probe};
use crate::routes::keeper::RouteKeeper;

/// Runs jobs. One is shared by all issuers.
pub(crate) struct JobRunner {
    pub(super) context: Rc<OperatorContext>,
    pub(super) ports: JobPorts,
    /// End of the pause of each order that is kept, and the DNS accounts at its beginning: others
    /// end the pause.
    paused: RefCell<HashMap<SecretKey, (Timestamp, u64)>>,
    /// Edition of the Ingresses at the first look at each failure that release 0.1.0 journaled.
    first_editions: RefCell<HashMap<SecretKey, Edition>>,
    /// First Ingress of the last batch of each large group that was filled in.
    pub(super) filled: RefCell<HashMap<SecretKey, IngressRef>>,
    pub(super) spans: JobSpans,
}

/// The ports that jobs use and no other actor does.
pub(crate) struct JobPorts {
    /// The route keeper.
    pub routes: RouteRecipients,
    /// The ingress classes.
    pub classes: KnownClasses,
    /// Probes of hosts.
    pub probe: Rc<dyn Probe>,
    /// Keys and chains.
    pub keys: Rc<dyn Keys>,
}

/// The messages that the route keeper takes.
pub(crate) struct RouteRecipients {
    /// A job needs routes now.
    pub publish: Recipient<Publish>,
    /// Jobs need routes soon.
    pub prefetch: Recipient<PrefetchRoutes>,
    /// A job needs its routes no longer.
    pub withdraw: Recipient<Withdraw>,
}

impl RouteRecipients {
    /// The recipients of this keeper.
    pub(crate) fn of(keeper: &Addr<RouteKeeper>) -> Self {
        Self {
            publish: keeper.clone().recipient(),
            prefetch: keeper.clone().recipient(),
            withdraw: keeper.clone().recipient(),
        }
    }
}

impl JobRunner {
    /// A runner without paused orders.
    pub(crate) fn new(context: Rc<OperatorContext>, ports: JobPorts) -> Self {
        let (paused, first_editions, filled, spans) = Default::default();
        Self { context, ports, paused, first_editions, filled, spans }
    }

    /// The span of a job, which its worker runs the job in.
    pub(super) fn span(&self, job: &Job) -> Span {
        self.context.ledger.with(&job.stream, |state| self.spans.of(job, state))
    }

    /// Runs the job until the job is done or has to wait.
    pub(super) async fn run(&self, job: &mut Job) -> JobStatus {
        loop {
            let mut desired = self.context.desired(&job.stream);
            if let Some(desired) = desired.as_mut() {
                desired.route_exactly(&job.observed.exactly);
            }
            self.report_set_aside(&job.stream, desired.as_ref());
            let step = self.next_step(job, desired.as_ref());
            if step == Step::WaitForNewOrders {
                return self.wait_for_new_orders(job);
            }
            if !matches!(step, Step::ReadSecret | Step::CheckHosts) {
                self.context.switch.go_on(&job.stream); // reads come before each look at a wait
            }
            let step = match step {
                Step::Wait { until, at_ca } => {
                    let waits_for = if at_ca { WaitsFor::Ca } else { WaitsFor::Host };
                    return JobStatus::Parked { until, waits_for };
                }
                Step::WaitForOrder(until) => {
                    return JobStatus::Parked { until, waits_for: WaitsFor::Others };
                }
                Step::WaitForLimit(scope, priority) => {
                    return self.wait_for_limit(job, desired.as_ref(), &scope, priority);
                }
                Step::Done(requeue) => return self.end(job, requeue).await,
                _ if job.steps >= limits::JOB_STEPS => return self.give_up(job).await,
                step => step,
            };
            job.steps += 1;
            debug!(?step, "next step");
            let (name, began) = (step.name(), self.context.clock.now());
            let span = self.spans.step(&job.stream, &step);
            self.take(step, job, desired).instrument(span).await;
            self.spans.stepped(&job.stream, name, || self.order_url(job));
            self.context.metrics.step(name, self.context.clock.now().since(began));
        }
    }

    /// Records an Event about a stream whose issuance was set aside at the replay, once.
    fn report_set_aside(&self, stream: &SecretKey, desired: Option<&DesiredCertificate>) {
        let Some(desired) = desired else { return };
        if let Some(why) = self.context.ledger.take_set_aside(stream) {
            let kube_event = KubeEvent::set_aside(desired, &why.to_string());
            self.context.events.record(desired, &kube_event);
        }
    }

    fn next_step(&self, job: &Job, desired: Option<&DesiredCertificate>) -> Step {
        let context = &self.context;
        let (set, found) = (context.cas.set(), job.observed.found());
        let issuance = self.issuance(job);
        let Deciding { ca, is_gone } = set.deciding(issuance.as_ref(), desired, found);
        let limits = context.cas.limits(&ca.directory);
        let rate_limits = limits.rate_limits.borrow();
        let windows = context.dates.windows.borrow();
        let in_flight = context.ledger.in_flight();
        // An issuance that is under way keeps its CA until it is abandoned.
        let requested = issuance.as_ref().map(|issuance| &issuance.names);
        let names = requested.or(desired.map(|desired| &desired.names));
        let fallbacks = names.map(|names| self.fallbacks(&job.stream, (&set.cas, ca), names));
        let fallbacks = fallbacks.unwrap_or_default();
        let first_edition = self.first_edition(&job.stream, desired);
        let new_orders = context.switch.position();
        let (dns_accounts, persist) = (self.dns_accounts(), self.persist_issuer(job));
        let inputs = Inputs {
            stream: &job.stream,
            desired,
            observed: &job.observed,
            assessment: context.assessment(&windows, (&ca.directory, &set), &job.stream, found),
            paused_until: self.paused_until(&job.stream, desired),
            fallbacks: &fallbacks,
            first_ca: &set.cas.first.directory,
            mark: set.cas.mark(&ca.directory),
            of_known_ca: set.is_known(found),
            is_public: set.cas.source == Source::File && ca.is_public(),
            ca_is_gone: is_gone,
            first_edition,
            rate_limits: &rate_limits,
            install_id: &context.install_id,
            owner_references: context.owner_references,
            through_proxy: set.client(&ca.directory).is_some_and(|client| client.through_proxy),
            dns_accounts: &dns_accounts,
            persist: persist.as_ref(),
            rehearses: ca.rehearsal.is_some(),
            in_flight: &in_flight,
            new_orders: &new_orders,
        };
        context.ledger.with(&job.stream, |state| next(state, inputs))
    }

    /// The fallbacks of a CA that certify all of `names`.
    fn fallbacks<'a>(
        &self,
        stream: &SecretKey,
        (cas, ca): (&'a Cas, &'a Ca),
        names: &BTreeSet<DnsName>,
    ) -> Vec<Fallback<'a>> {
        let now = self.context.clock.now();
        let terms = |to: &'a FallbackTo| {
            let is_public = cas.at(&to.directory)?.is_public();
            let certifies = !is_public || names.iter().all(|name| check_public(name).is_ok());
            let limits = self.context.cas.limits(&to.directory);
            let limited = limits.rate_limits.borrow().blocking(stream, names, false, now);
            let (directory, is_limited) = (&*to.directory, limited.is_some());
            certifies.then_some(Fallback { directory, after: to.after, is_limited })
        };
        ca.fallbacks.iter().filter_map(terms).collect()
    }

    /// End of the pause of an order that is kept.
    fn paused_until(
        &self,
        stream: &SecretKey,
        desired: Option<&DesiredCertificate>,
    ) -> Option<Timestamp> {
        let (until, dns_accounts) = self.paused.borrow().get(stream).copied()?;
        desired.is_none_or(|desired| desired.dns_accounts == dns_accounts).then_some(until)
    }

    /// The DNS accounts as they are by now.
    fn dns_accounts(&self) -> Arc<DnsAccounts> {
        self.context.dns.accounts.borrow().clone()
    }

    /// The CA of the job in terms of DNS-PERSIST-01 records, where that method is in use.
    pub(super) fn persist_issuer(&self, job: &Job) -> Option<Issuer> {
        if !self.context.dns_persist_01 {
            return None;
        }
        let (set, issuance) = (self.context.cas.set(), self.issuance(job));
        if let Some(issuance) = &issuance {
            return Some(self.ca(issuance)?.issuer());
        }
        let desired = self.context.desired(&job.stream);
        let deciding = set.deciding(None, desired.as_ref(), job.observed.found());
        Some(set.client(&deciding.ca.directory)?.ca.issuer())
    }

    /// Edition of the Ingresses at the first look at a failure without one. An edit after that look
    /// ends the pause.
    fn first_edition(
        &self,
        stream: &SecretKey,
        desired: Option<&DesiredCertificate>,
    ) -> Option<Edition> {
        let is_unmarked =
            |state: &State| state.failing().is_some_and(|failing| failing.edition.is_none());
        let mut first = self.first_editions.borrow_mut();
        if !self.context.ledger.with(stream, is_unmarked) {
            first.remove(stream);
            return None;
        }
        Some(*first.entry(stream.clone()).or_insert(desired?.edition))
    }

    /// Parks the job in the queue of a rate limit. The job is evaluated once in a while, in case
    /// the Secret needs no order any more.
    fn wait_for_limit(
        &self,
        job: &mut Job,
        desired: Option<&DesiredCertificate>,
        scope: &LimitScope,
        priority: Priority,
    ) -> JobStatus {
        let (context, now) = (&self.context, self.context.clock.now());
        let (set, issuance) = (context.cas.set(), self.issuance(job));
        let deciding = set.deciding(issuance.as_ref(), desired, job.observed.found());
        let directory = &*deciding.ca.directory;
        job.steps = 0; // the wait may take days, with an evaluation each hour
        job.observed.secret = None; // too old by then, and it may be large
        context.cas.leave(&job.stream, Some(directory), now);
        let limits = context.cas.limits(directory);
        let mut rate_limits = limits.rate_limits.borrow_mut();
        let is_new = rate_limits.enqueue(scope, &job.stream, priority, now);
        drop(rate_limits);
        let wait = is_new.then(|| context.cas.waiting(&job.stream)).flatten();
        if let Some((wait, desired)) = wait.zip(context.desired(&job.stream)) {
            context.events.record(&desired, &KubeEvent::waiting_for_limit(&desired, &wait));
        }
        JobStatus::Parked { until: now + limits::LIMIT_LOOK, waits_for: WaitsFor::Others }
    }

    /// Parks the job until new orders are allowed. The job is evaluated once in a while, in case
    /// the Secret needs no new order any more.
    fn wait_for_new_orders(&self, job: &mut Job) -> JobStatus {
        job.steps = 0; // the wait may take weeks, with an evaluation each hour
        job.observed.secret = None; // too old by then, and it may be large
        let (context, now) = (&self.context, self.context.clock.now());
        context.cas.leave(&job.stream, None, now);
        if context.switch.wait(&job.stream)
            && let Some(desired) = context.desired(&job.stream)
            && let NewOrders::Stopped { reason } = context.switch.position()
        {
            let kube_event =
                KubeEvent::new_orders_stopped(&desired, &reason, &context.own_namespace);
            context.events.record(&desired, &kube_event);
        }
        JobStatus::Parked { until: now + limits::LIMIT_LOOK, waits_for: WaitsFor::NewOrders }
    }

    async fn end(&self, job: &Job, requeue: Requeue) -> JobStatus {
        let context = &self.context;
        context.cas.leave(&job.stream, None, context.clock.now());
        context.awaited.borrow_mut().job_ended(&job.stream);
        self.report_problems(&job.stream);
        let ordered = |state: &State| matches!(state, State::Ordered { .. });
        let ordered = context.ledger.with(&job.stream, ordered);
        match (requeue, context.desired(&job.stream)) {
            (Requeue::At(until), Some(desired)) if ordered => {
                let pause = (until, desired.dns_accounts);
                self.paused.borrow_mut().insert(job.stream.clone(), pause);
                self.report_hold_up(job, &desired);
                // The routes stay: the CA may validate at any moment.
                return JobStatus::Finished(requeue);
            }
            _ => {
                self.paused.borrow_mut().remove(&job.stream);
                context.events.forget_held_up(&job.stream);
            }
        }
        self.withdraw_routes(job).await;
        JobStatus::Finished(requeue)
    }

    /// Releases the routes of the job.
    pub(super) async fn withdraw_routes(&self, job: &Job) {
        if let Err(gone) = self.ports.routes.withdraw.send(Withdraw(job.stream.clone())).await {
            error!(%gone, "the route keeper has stopped");
        }
    }

    /// Reports the problems of the Ingresses that use a Secret: a job of another namespace may have
    /// found out who has a host of theirs.
    fn report_problems(&self, secret: &SecretKey) {
        let index = self.context.index.borrow();
        index.users(secret).for_each(|user| self.context.events.report(&index, user));
    }

    /// Fails a job without progress. Such a job is a bug; the pause after the failure keeps it from
    /// the CA.
    async fn give_up(&self, job: &mut Job) -> JobStatus {
        error!(steps = job.steps, "the job makes no progress; it is stopped");
        job.steps = 0;
        let detail = format!(
            "the job made no progress in {} steps; please report this bug",
            limits::JOB_STEPS
        );
        self.fail(job, Failure::new(FailureClass::AcmeServer, detail)).await;
        let retry_at = self.context.clock.now() + limits::BUSY_RETRY;
        self.end(job, Requeue::At(retry_at)).await
    }
}
