//! How soon a certificate is needed: the order of work, in the queue and in line before a rate limit.

use crate::domain::time::Timestamp;
use crate::domain::validity::expiries::Validity;

/// How soon, in kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Urgency {
    /// The one that is there ends soon, or has ended.
    Expiring,
    /// There is none yet.
    First,
    /// The one that is there serves for some time.
    Renewal,
}

/// All of them, most urgent first.
pub const URGENCIES: [Urgency; 3] = [Urgency::Expiring, Urgency::First, Urgency::Renewal];

/// How soon, to the moment: within one urgency, those go first whose certificates end first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Priority {
    /// In kind.
    pub urgency: Urgency,
    /// End of the certificate that is there.
    pub by: Timestamp,
}

impl Priority {
    /// Of a certificate that is not there yet: such come in the order in which they are asked for.
    pub const FIRST: Self = Self { urgency: Urgency::First, by: Timestamp::from_millis(i64::MAX) };

    /// Of a Secret with these dates, as they were last seen. Less than a third of the time between renewal and end is
    /// about a tenth of a life.
    pub fn of(validity: Option<Validity>, now: Timestamp) -> Self {
        let Some(Validity { not_after, renewal }) = validity else { return Self::FIRST };
        let soon = not_after.since(now) < not_after.since(renewal) / 3;
        let ending = soon || not_after <= now;
        Self { urgency: if ending { Urgency::Expiring } else { Urgency::Renewal }, by: not_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_soon_goes_before_what_is_missing_and_that_before_what_has_time() {
        let at = Timestamp::from_secs;
        let validity =
            |renewal, not_after| Some(Validity { renewal: at(renewal), not_after: at(not_after) });
        let [ended, soon, later] = [validity(60, 90), validity(70, 100), validity(95, 125)];
        let priorities = [ended, soon, None, later].map(|validity| Priority::of(validity, at(96)));
        assert!(priorities.is_sorted(), "{priorities:?}");
        assert_eq!(priorities.map(|priority| priority.urgency)[1..], URGENCIES);
    }
}
