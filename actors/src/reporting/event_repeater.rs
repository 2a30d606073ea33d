//! Event repeater: sends the Events of states that last again, before the API server deletes them.

use std::rc::Rc;

use actix::prelude::*;

use crate::context::OperatorContext;
use crate::domain::ingress::IngressView;
use crate::domain::limits;
use crate::domain::status::repeats::Repeats;
use crate::reporting::lasting::{lasting, lasts};

/// Actor that repeats Events.
pub(crate) struct EventRepeater {
    context: Rc<OperatorContext>,
    repeats: Repeats,
}

impl EventRepeater {
    /// Creates the repeater. Nothing was repeated yet.
    pub(crate) fn new(context: Rc<OperatorContext>) -> Self {
        let repeats = Repeats::new(context.clock.now());
        Self { context, repeats }
    }

    /// Sends the Events of the Ingresses whose slot has come, as far as one slot has room.
    fn repeat(&mut self) {
        let (context, now) = (&self.context, self.context.clock.now());
        let is_due = self.repeats.due(now);
        for key in context.index.borrow().managed().filter(|key| is_due(key)) {
            if lasts(context, key) {
                self.repeats.add(key, now);
            }
        }
        let mut room = limits::EVENTS_REPEATED;
        while room > 0
            && let Some(key) = self.repeats.next()
        {
            let about = context.index.borrow().view(&key).map(IngressView::reference);
            let Some(about) = about else { continue }; // it is gone
            let of_each = limits::EVENTS_REPEATED_OF_EACH.min(room);
            for kube_event in lasting(context, &key).into_iter().take(of_each) {
                context.events.repeat(&about, kube_event);
                room -= 1;
            }
        }
    }
}

impl Actor for EventRepeater {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // By then the first list is complete, and jobs have told their waits.
        ctx.run_later(limits::EVENT_REPEAT_START, |repeater, ctx| {
            repeater.repeat();
            ctx.run_interval(limits::EVENT_REPEAT_SLOT, |repeater, _| repeater.repeat());
        });
    }
}
