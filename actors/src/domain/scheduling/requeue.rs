//! When a key is reconciled again: the one answer of a job, of a request to the pool and of deduplication.

use crate::domain::time::Timestamp;

/// When to reconcile again. The counterpart of kube-runtime's `Action::requeue`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Requeue {
    /// Nothing is left to do until something changes.
    AwaitChange,
    /// The attempt failed: reconcile again at this time.
    At(Timestamp),
    /// The queue is full, or no answer came: reconcile again after a pause.
    Busy,
}

impl Requeue {
    /// The answer for several keys together: the earliest time, and busy where one of them is.
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
