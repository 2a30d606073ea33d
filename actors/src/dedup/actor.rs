//! One actor per Ingress that has something going on: the shell around [`domain::dedup`](crate::domain::scheduling::dedup).

use std::cell::Cell;
use std::rc::Rc;

use actix::prelude::*;

use crate::dedup::registry::Registry;
use crate::domain::limits;
use crate::domain::scheduling::dedup::{Action, DedupMachine, Phase, Windows};
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
use crate::messages::{Changed, Reconcile};
use crate::ports::Clock;

/// One event being looked at and one behind it are all that ever matter; more are coalesced.
const MAILBOX: usize = 2;

/// What all dedup actors share.
#[derive(Clone)]
pub struct Downstream {
    /// Where work goes. Shared, because each clone of an address adds a slot to its mailbox.
    pub pool: Rc<Recipient<Reconcile>>,
    /// Settle window and maximum wait.
    pub windows: Windows,
    /// The time.
    pub clock: Rc<dyn Clock>,
}

/// The actor.
pub struct Dedup {
    key: ReconcileKey,
    machine: DedupMachine,
    downstream: Downstream,
    registry: Rc<Registry>,
    handled: u64,
    timer: Option<(Timestamp, SpawnHandle)>,
    /// The answer that is waited for: that of an earlier request would be taken for it.
    answer: Option<SpawnHandle>,
    phase: Rc<Cell<Phase>>,
}

impl Dedup {
    /// An idle one.
    pub fn new(
        key: ReconcileKey,
        downstream: Downstream,
        registry: Rc<Registry>,
        phase: Rc<Cell<Phase>>,
    ) -> Self {
        let machine = DedupMachine::new(downstream.windows);
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
            Action::Retire => self.retire(ctx),
        }
    }

    /// Stops, unless an event is on its way here.
    fn retire(&self, ctx: &mut Context<Self>) {
        if self.registry.retire(&self.key, self.handled) {
            ctx.stop();
        }
    }

    /// One timer at a time; one that is due earlier is left to go off, for the machine then says how long is
    /// left. It is never longer than the longest legal wait, so that a clock that was set back cannot hold a key.
    fn wake(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        match self.timer {
            Some((armed, _)) if armed <= at => return,
            Some((_, timer)) => _ = ctx.cancel_future(timer),
            None => {}
        }
        let longest = match self.machine.phase() {
            Phase::Settling(_) => self.downstream.windows.settle_max,
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

    /// Hands the key over; whatever becomes of the pool, the answer releases the key.
    fn reconcile(&mut self, ctx: &mut Context<Self>) {
        let answer = self.downstream.pool.send(Reconcile(self.key.clone())).into_actor(self);
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
