//! Who waits for what: a request is answered when all its streams are done.

use std::collections::{BTreeSet, HashMap};

use crate::domain::ingress::SecretKey;
use crate::domain::scheduling::requeue::Requeue;

/// Number of a request.
pub type Ticket = u64;

/// Requests that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    open: HashMap<Ticket, Open>,
    last: Ticket,
}

#[derive(Debug)]
struct Open {
    remaining: BTreeSet<SecretKey>,
    requeue: Requeue,
}

impl Tickets {
    /// The number that the next request will have.
    pub(super) fn upcoming(&self) -> Ticket {
        self.last + 1
    }

    /// Opens the upcoming one for these streams, beginning with this outcome.
    pub(super) fn open(&mut self, remaining: BTreeSet<SecretKey>, requeue: Requeue) -> Ticket {
        self.last += 1;
        self.open.insert(self.last, Open { remaining, requeue });
        self.last
    }

    /// One of its streams is done; returns the answer when it was the last.
    pub(super) fn done(
        &mut self,
        ticket: Ticket,
        stream: &SecretKey,
        requeue: Requeue,
    ) -> Option<Requeue> {
        let open = self.open.get_mut(&ticket)?;
        open.remaining.remove(stream);
        open.requeue = open.requeue.earlier(requeue);
        if !open.remaining.is_empty() {
            return None;
        }
        self.open.remove(&ticket).map(|open| open.requeue)
    }

    /// It is answered otherwise.
    pub(super) fn close(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
    }
}
