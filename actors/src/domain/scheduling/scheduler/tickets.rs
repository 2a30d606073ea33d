//! Tickets: a request is answered when all its Secrets are done.

use std::collections::HashMap;

use crate::domain::scheduling::requeue::Requeue;

/// Number of a request.
pub(crate) type Ticket = u64;

/// Unanswered requests.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    open: HashMap<Ticket, Open>,
    last: Ticket,
}

#[derive(Debug)]
struct Open {
    /// Number of Secrets that are not done.
    remaining: usize,
    requeue: Requeue,
}

impl Tickets {
    /// Number of the next request.
    pub(super) fn upcoming(&self) -> Ticket {
        self.last + 1
    }

    /// Opens the next request, for `remaining` Secrets and with `requeue` as the first result.
    pub(super) fn open(&mut self, remaining: usize, requeue: Requeue) -> Ticket {
        self.last += 1;
        self.open.insert(self.last, Open { remaining, requeue });
        self.last
    }

    /// Marks one Secret of a request as done. Returns the answer if this was the last one.
    pub(super) fn done(&mut self, ticket: Ticket, requeue: Requeue) -> Option<Requeue> {
        let open = self.open.get_mut(&ticket)?;
        open.remaining = open.remaining.saturating_sub(1);
        open.requeue = open.requeue.earlier(requeue);
        if open.remaining > 0 {
            return None;
        }
        self.open.remove(&ticket).map(|open| open.requeue)
    }

    /// Drops a request that is answered elsewhere.
    pub(super) fn close(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_answered_with_the_last_of_its_secrets_unless_it_is_closed() {
        let mut tickets = Tickets::default();
        let first = tickets.open(2, Requeue::AwaitChange);
        assert_eq!(tickets.done(first, Requeue::Busy), None);
        assert_eq!(tickets.done(first, Requeue::AwaitChange), Some(Requeue::Busy));
        let second = tickets.open(1, Requeue::AwaitChange);
        assert_eq!(tickets.upcoming(), second + 1);
        tickets.close(second);
        assert_eq!(tickets.done(second, Requeue::AwaitChange), None);
        assert!(tickets.open.is_empty());
    }
}
