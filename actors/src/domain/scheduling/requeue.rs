//! Requeue: the common result of a job, of a request to the pool, and of deduplication.

use crate::domain::time::Timestamp;

/// Time of the next reconciliation. The counterpart of kube-runtime's `Action::requeue`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Requeue {
    /// Nothing to do until a change.
    AwaitChange,
    /// The attempt failed: reconcile again at this time.
    At(Timestamp),
    /// The queue is full, or no answer arrived: reconcile again after
    /// [`BUSY_RETRY`](crate::domain::limits::BUSY_RETRY).
    Busy,
}

impl Requeue {
    /// Combines the results of several keys: busy if one of them is busy, else the earliest time.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        match (self, other) {
            (Self::Busy, _) | (_, Self::Busy) => Self::Busy,
            (Self::At(one), Self::At(other)) => Self::At(one.min(other)),
            (Self::At(at), Self::AwaitChange) | (Self::AwaitChange, Self::At(at)) => Self::At(at),
            (Self::AwaitChange, Self::AwaitChange) => Self::AwaitChange,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_keys_are_reconciled_again_when_the_first_of_them_is() {
        let at = |secs| Requeue::At(Timestamp::from_secs(secs));
        assert_eq!(at(2).earlier(at(1)), at(1));
        assert_eq!(at(2).earlier(Requeue::AwaitChange), at(2));
        assert_eq!(Requeue::AwaitChange.earlier(at(2)), at(2));
        assert_eq!(at(2).earlier(Requeue::Busy), Requeue::Busy);
        assert_eq!(Requeue::Busy.earlier(Requeue::AwaitChange), Requeue::Busy);
    }
}
