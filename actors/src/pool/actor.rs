//! Issuer pool: hands jobs to workers, parks waiting jobs, and answers requests. The `Scheduler`
//! holds the state.

use std::collections::HashMap;
use std::rc::Rc;

use actix::prelude::*;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::issuer::Issuer;
use super::job_runner::JobRunner;
use crate::context::OperatorContext;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::plan::PlannedCertificate;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::issuance::State;
use crate::domain::limits;
use crate::domain::new_orders::NewOrders;
use crate::domain::scheduling::priority::Priority;
use crate::domain::scheduling::queue::Lane;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::scheduling::scheduler::{Scheduler, Ticket};
use crate::domain::time::Timestamp;
use crate::messages::{Drain, JobDone, PrefetchRoutes, Reconcile, RunJob, SwitchMoved};
use crate::secret_choice::choose_secret;

/// Actor that owns the scheduler and the workers.
pub struct Pool {
    context: Rc<OperatorContext>,
    runner: Rc<JobRunner>,
    scheduler: Scheduler,
    idle: Vec<Addr<Issuer>>,
    answers: HashMap<Ticket, oneshot::Sender<Requeue>>,
    timer: Option<(Timestamp, SpawnHandle)>,
    drained: Vec<oneshot::Sender<()>>,
    /// Whether the metrics show a rate limit.
    limits_shown: bool,
}

/// Capacity of the pool's mailbox. Queued Secrets wait in the scheduler instead.
const MAILBOX: usize = 1024;

impl Pool {
    /// Creates a pool with `issuers` workers and a queue for at most `capacity` Secrets.
    pub(crate) fn new(
        context: Rc<OperatorContext>,
        runner: JobRunner,
        issuers: usize,
        capacity: usize,
    ) -> Self {
        let runner = Rc::new(runner);
        let start = |_| Issuer::new(runner.clone()).start();
        let idle = (0..issuers.max(1)).map(start).collect();
        Self {
            context,
            runner,
            scheduler: Scheduler::new(issuers.max(1), capacity),
            idle,
            answers: HashMap::new(),
            timer: None,
            drained: Vec::new(),
            limits_shown: true, // so that the metrics show zeros from the start
        }
    }

    /// Sends the routes of the next queued jobs to the route keeper, which writes them in one batch
    /// with the current ones.
    fn prefetch(&mut self, ctx: &mut Context<Self>) {
        let soon = self.scheduler.prefetch();
        if soon.is_empty() {
            return;
        }
        let index = self.context.index.borrow();
        let good = |desired: &DesiredCertificate| desired.names.len() <= desired.most_names();
        let soon = soon.into_iter().filter_map(|stream| {
            let desired = index.desired(&stream).filter(good)?;
            Some((stream, desired.routes))
        });
        let sent = self.runner.ports.routes.prefetch.send(PrefetchRoutes(soon.collect()));
        ctx.spawn(sent.into_actor(self).map(|sent, _, _| {
            if let Err(gone) = sent {
                error!(%gone, "the route keeper has stopped");
            }
        }));
    }

    /// Hands jobs to idle workers, and sets the timer for the next parked job or limit queue.
    fn hand_out(&mut self, ctx: &mut Context<Self>) {
        let now = self.context.clock.now();
        self.admit(now);
        while let Some(worker) = self.idle.pop() {
            let Some(job) = self.scheduler.next_job(self.context.clock.now()) else {
                self.idle.push(worker);
                break;
            };
            let stream = job.stream.clone();
            let returned = async move {
                let returned = worker.send(RunJob(Box::new(job))).await;
                (worker, stream, returned)
            };
            ctx.spawn(returned.into_actor(self).map(|(worker, stream, returned), pool, ctx| {
                pool.idle.push(worker);
                pool.returned(&stream, returned, ctx);
            }));
        }
        self.prefetch(ctx);
        self.set_timer(ctx);
        self.context.metrics.pool(self.scheduler.load(), self.scheduler.oldest_queued());
        self.show_limits(now);
        self.answer_drains();
    }

    /// Admits waiting Secrets of all rate limits that let an order pass. Those that no Ingress
    /// names leave their queue, and their jobs end: an Ingress that is made again would wait for
    /// them.
    fn admit(&mut self, now: Timestamp) {
        let index = self.context.index.borrow();
        let mut unwanted = Vec::new();
        let mut is_wanted = |stream: &SecretKey| {
            let wanted = index.is_wanted(stream);
            unwanted.extend((!wanted).then(|| stream.clone()));
            wanted
        };
        for (_, limits) in self.context.cas.all_limits() {
            let mut rate_limits = limits.rate_limits.borrow_mut();
            while let Some(admitted) = rate_limits.admit(now, &mut is_wanted) {
                self.scheduler.admit(&admitted, now);
            }
        }
        for stream in unwanted {
            self.scheduler.admit(&stream, now);
        }
    }

    /// Updates the metric of the switch for new orders, and logs its position.
    fn tell_switch(&self) {
        let position = self.context.switch.position();
        self.context.metrics.new_orders_stopped(position.are_stopped());
        if let Some(note) = position.note() {
            warn!("{note}");
        } else {
            info!("new orders are allowed");
        }
    }

    /// Updates the metrics of rate limits while there are any, and once more after the last one.
    fn show_limits(&mut self, now: Timestamp) {
        let all = self.context.cas.all_limits();
        let any = all.iter().any(|(_, limits)| !limits.rate_limits.borrow().is_empty());
        if std::mem::replace(&mut self.limits_shown, any) || any {
            for (ca, limits) in all {
                self.context.metrics.rate_limits(&ca, &limits.rate_limits.borrow(), now);
            }
        }
    }

    fn returned(
        &mut self,
        stream: &SecretKey,
        returned: Result<JobDone, MailboxError>,
        ctx: &mut Context<Self>,
    ) {
        let answered = match returned {
            Ok(JobDone(job, status)) => {
                let now = self.context.clock.now();
                let answered = self.scheduler.returned(*job, status, now);
                if !self.context.switch.is_off() {
                    self.scheduler.resume(now); // it may have moved while the job decided to wait
                }
                answered
            }
            Err(gone) => {
                error!(secret = %stream, %gone, "a worker has stopped; its Secret is released");
                self.context.cas.leave(stream, None, self.context.clock.now());
                self.context.switch.go_on(stream);
                self.scheduler.lost(stream)
            }
        };
        for (ticket, requeue) in answered {
            self.answer(ticket, requeue);
        }
        self.hand_out(ctx);
    }

    fn answer(&mut self, ticket: Ticket, requeue: Requeue) {
        if let Some(answer) = self.answers.remove(&ticket) {
            _ = answer.send(requeue); // a dedup actor that has given up sends a new request
        }
    }

    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        if self.idle.is_empty() {
            return; // the next returning worker calls `hand_out`, which sets the timer
        }
        let now = self.context.clock.now();
        let all = self.context.cas.all_limits().into_iter();
        let opening = all.filter_map(|(_, limits)| limits.rate_limits.borrow().next_opening());
        let Some(at) = self.scheduler.next_wake(now).into_iter().chain(opening).min() else {
            return;
        };
        match self.timer {
            Some((armed, _)) if armed <= at => return,
            Some((_, timer)) => _ = ctx.cancel_future(timer),
            None => {}
        }
        let timer = ctx.run_later(at.since(now), |pool, ctx| {
            pool.timer = None;
            pool.hand_out(ctx);
        });
        self.timer = Some((at, timer));
    }

    /// Returns the Secrets of a key with their lanes: those that the Ingress names, and those with
    /// a live event stream in the namespace that lost their last Ingress.
    fn targets(&self, key: &ReconcileKey, now: Timestamp) -> Vec<(SecretKey, Lane)> {
        let mut index = self.context.index.borrow_mut();
        let ledger = &self.context.ledger;
        let is_live = |stream: &SecretKey| ledger.with(stream, |state| *state != State::Idle);
        self.context.dates.expiries.read(|expiries| {
            // One that is only renewed has no work before a scan has seen its certificate.
            let has_work = |planned: &&PlannedCertificate| {
                let known = || expiries.validity(&planned.secret).is_some();
                !planned.renew_only || is_live(&planned.secret) || known()
            };
            let mut targets: Vec<SecretKey> = match key {
                ReconcileKey::Ingress(ingress) => {
                    let planned = index.planned(ingress).iter().filter(has_work);
                    planned.map(|planned| planned.secret.clone()).collect()
                }
                ReconcileKey::Orphan(stream) => {
                    index.return_orphans([stream.clone()]);
                    Vec::new()
                }
            };
            targets.extend(index.take_orphans(key.namespace()).into_iter().filter(is_live));
            let lane = |stream: &SecretKey| {
                if ledger.with(stream, is_probed_again) {
                    return Lane::Retry;
                }
                Lane::New(Priority::of(expiries.validity(stream), now))
            };
            targets.into_iter().map(|stream| (stream.clone(), lane(&stream))).collect()
        })
    }

    /// Whether the Secret of an Ingress has to be chosen before anything else.
    fn must_choose(&self, ingress: &IngressKey) -> bool {
        self.context.index.borrow_mut().part(ingress);
        self.context.index.borrow().is_open(ingress)
    }

    /// Chooses the Secret of an Ingress, and reconciles the Ingress then.
    fn choose_first(
        &self,
        ingress: IngressKey,
        noticed: Option<Timestamp>,
        ctx: &Context<Self>,
    ) -> ResponseFuture<Requeue> {
        let (context, pool) = (self.context.clone(), ctx.address());
        Box::pin(async move {
            if let Err(requeue) = choose_secret(&context, &ingress).await {
                return requeue;
            }
            pool.send(Reconcile(ingress.into(), noticed)).await.unwrap_or(Requeue::Busy)
        })
    }

    /// Takes back the `spec.tls` of an Ingress that must not have one from us any more.
    fn take_back(&self, ingress: &IngressKey, ctx: &mut Context<Self>) {
        let found = self.context.index.borrow().takes_back(ingress);
        if let Some((ingress, why)) = found {
            let runner = self.runner.clone();
            let taken = async move { runner.take_back(&ingress, why).await };
            ctx.spawn(taken.into_actor(self).map(|(), _, _| ()));
        }
    }

    /// Returns the scheduler, for the state dump.
    pub(crate) fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    fn answer_drains(&mut self) {
        if self.scheduler.is_drained(self.context.clock.now()) {
            for drained in self.drained.drain(..) {
                _ = drained.send(()); // the caller may be gone
            }
        }
    }
}

/// Whether the last attempt failed before a request to the CA. The next attempt then starts with
/// the probes again.
fn is_probed_again(state: &State) -> bool {
    state.failing().is_some_and(|failing| failing.class.is_before_the_ca())
}

impl Actor for Pool {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if self.context.switch.position() != NewOrders::Allowed {
            self.tell_switch();
        }
        ctx.run_interval(limits::READY_LOOK, |pool, _| pool.context.look_whether_late());
    }
}

impl Handler<Reconcile> for Pool {
    type Result = ResponseFuture<Requeue>;

    fn handle(
        &mut self,
        Reconcile(key, noticed): Reconcile,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        if let ReconcileKey::Ingress(ingress) = &key
            && self.must_choose(ingress)
        {
            return self.choose_first(ingress.clone(), noticed, ctx);
        }
        let now = self.context.clock.now();
        if let ReconcileKey::Ingress(ingress) = &key {
            self.context.index.borrow_mut().forget_stale_hosts(ingress, now);
            let index = self.context.index.borrow();
            self.context.events.report(&index, ingress);
            for sharer in index.refused_beside(ingress) {
                self.context.events.report(&index, &sharer);
            }
            drop(index);
            self.take_back(ingress, ctx);
        }
        let targets = self.targets(&key, now);
        let secrets: Vec<SecretKey> = targets.iter().map(|(secret, _)| secret.clone()).collect();
        if let Some(at) = noticed {
            let mut awaited = self.context.awaited.borrow_mut();
            for secret in &secrets {
                awaited.noticed(secret, at);
            }
        }
        let ticket = match self.scheduler.request(&key, targets, now) {
            Ok(ticket) => ticket,
            Err(requeue) => {
                self.context.index.borrow_mut().return_orphans(secrets);
                return Box::pin(async move { requeue });
            }
        };
        let (answer, answered) = oneshot::channel();
        self.answers.insert(ticket, answer);
        self.hand_out(ctx);
        Box::pin(async { answered.await.unwrap_or(Requeue::Busy) })
    }
}

impl Handler<SwitchMoved> for Pool {
    type Result = ();

    fn handle(&mut self, _: SwitchMoved, ctx: &mut Context<Self>) {
        self.tell_switch();
        if !self.context.switch.is_off() {
            self.scheduler.resume(self.context.clock.now());
        }
        self.hand_out(ctx);
    }
}

impl Handler<Drain> for Pool {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) -> Self::Result {
        self.scheduler.begin_drain();
        let load = self.scheduler.load();
        info!(running = load.running, parked = load.parked, "draining: no new work is started");
        let (drained, all_done) = oneshot::channel();
        self.drained.push(drained);
        self.hand_out(ctx);
        Box::pin(async { all_done.await.unwrap_or(()) })
    }
}
