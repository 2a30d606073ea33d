//! Dedup actor of one Ingress with work: runs a `DedupMachine` with timers and messages.

use std::cell::Cell;
use std::rc::Rc;

use actix::prelude::*;

use crate::dedup::registry::Registry;
use crate::domain::limits;
use crate::domain::scheduling::dedup::{Action, DedupMachine, Phase, SettleTimes};
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
use crate::messages::{Changed, Reconcile};
use crate::ports::Clock;

/// Mailbox capacity: one event in processing and one behind are enough; more are coalesced.
const MAILBOX: usize = 2;

/// Dependencies shared by all dedup actors.
#[derive(Clone)]
pub struct DedupDependencies {
    /// Recipient of reconcile requests. Shared, because each clone of an address adds a slot to its
    /// mailbox.
    pub pool: Rc<Recipient<Reconcile>>,
    /// Settle window and maximum wait.
    pub settle_times: SettleTimes,
    /// The clock.
    pub clock: Rc<dyn Clock>,
}

/// Actor that deduplicates the events of one Ingress.
pub(crate) struct Dedup {
    key: ReconcileKey,
    machine: DedupMachine,
    downstream: DedupDependencies,
    registry: Rc<Registry>,
    handled: u64,
    timer: Option<(Timestamp, SpawnHandle)>,
    /// Pending answer of the pool. A new request cancels the previous answer, which could otherwise
    /// be mistaken for its own.
    answer: Option<SpawnHandle>,
    phase: Rc<Cell<Phase>>,
}

impl Dedup {
    /// Creates an idle actor, or one whose requeue is `due`.
    pub(crate) fn new(
        key: ReconcileKey,
        downstream: DedupDependencies,
        registry: Rc<Registry>,
        phase: Rc<Cell<Phase>>,
        due: Option<Timestamp>,
    ) -> Self {
        let times = downstream.settle_times;
        let machine = due.map_or(DedupMachine::new(times), |due| DedupMachine::due(times, due));
        Self { key, machine, downstream, registry, handled: 0, timer: None, answer: None, phase }
    }

    fn act(&mut self, action: Action, ctx: &mut Context<Self>) {
        self.phase.set(self.machine.phase());
        match action {
            Action::Rest => {}
            Action::Wake(at) => self.wake(at, ctx),
            Action::Reconcile(deadline) => {
                self.wake(deadline, ctx);
                self.reconcile(ctx);
            }
            Action::Retire => _ = self.retire(None, ctx),
            Action::RetireUntil(until) => {
                if !self.retire(Some(until), ctx) {
                    self.wake(until, ctx);
                }
            }
        }
    }

    /// Stops the actor, unless an event is in its mailbox; the registry starts another one at
    /// `until`.
    fn retire(&self, until: Option<Timestamp>, ctx: &mut Context<Self>) -> bool {
        let retires = self.registry.retire(&self.key, self.handled, until);
        if retires {
            ctx.stop();
        }
        retires
    }

    /// Arms the timer for `at`. A timer that is due earlier stays: the machine then returns the
    /// remaining time. The delay is capped at the longest legal wait, so that a clock set back
    /// cannot block a key.
    fn wake(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        match self.timer {
            Some((armed, _)) if armed <= at => return,
            Some((_, timer)) => _ = ctx.cancel_future(timer),
            None => {}
        }
        let longest = match self.machine.phase() {
            Phase::Settling(_) => self.downstream.settle_times.settle_max,
            _ => limits::IN_FLIGHT_MAX,
        };
        let pause = at.since(self.downstream.clock.now()).min(longest);
        let timer = ctx.run_later(pause, |dedup, ctx| {
            dedup.timer = None;
            let action = dedup.machine.timer(dedup.downstream.clock.now());
            dedup.act(action, ctx);
        });
        self.timer = Some((at, timer));
    }

    /// Sends the key to the pool. The answer releases the key; a dead pool counts as busy.
    fn reconcile(&mut self, ctx: &mut Context<Self>) {
        let request = Reconcile(self.key.clone(), self.registry.take_noticed(&self.key));
        let answer = self.downstream.pool.send(request).into_actor(self);
        self.answer.take().map(|earlier| ctx.cancel_future(earlier));
        let answer = ctx.spawn(answer.map(|requeue, dedup, ctx| {
            dedup.answer = None;
            let requeue = requeue.unwrap_or(Requeue::Busy);
            let action = dedup.machine.finished(requeue, dedup.downstream.clock.now());
            dedup.act(action, ctx);
        }));
        self.answer = Some(answer);
    }
}

impl Actor for Dedup {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Phase::Waiting { until } = self.machine.phase() {
            let action = self.machine.timer(until);
            self.act(action, ctx);
        }
    }
}

impl Handler<Changed> for Dedup {
    type Result = ();

    fn handle(&mut self, _: Changed, ctx: &mut Context<Self>) {
        self.handled += 1;
        let (coalesced, action) = self.machine.changed(self.downstream.clock.now());
        if coalesced {
            self.registry.coalesced();
        }
        self.act(action, ctx);
    }
}
