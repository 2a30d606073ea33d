//! Priority of a certificate: the order of work in the queue and in limit queues.

use crate::domain::time::Timestamp;
use crate::domain::validity::expiries::Validity;

/// Class of priorities.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Urgency {
    /// The certificate expires soon, or has expired.
    Expiring,
    /// There is no certificate yet.
    First,
    /// The certificate is valid for some time.
    Renewal,
}

/// All urgencies, most urgent first.
pub(crate) const URGENCIES: [Urgency; 3] = [Urgency::Expiring, Urgency::First, Urgency::Renewal];

/// Priority of a certificate. Within one urgency, certificates that expire first go first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Priority {
    /// Class of the priority.
    pub urgency: Urgency,
    /// Expiry of the existing certificate.
    pub by: Timestamp,
}

impl Priority {
    /// Priority of a missing certificate. Missing certificates come in the order of their requests.
    pub(crate) const FIRST: Self =
        Self { urgency: Urgency::First, by: Timestamp::from_millis(i64::MAX) };

    /// Computes the priority from the last observed validity.
    ///
    /// `Expiring` starts when less than a third of the time between renewal and expiry is left:
    /// about a tenth of the lifetime.
    pub(crate) fn of(validity: Option<Validity>, now: Timestamp) -> Self {
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

    #[test]
    fn a_certificate_ends_soon_in_the_last_third_after_its_renewal() {
        let at = Timestamp::from_secs;
        let validity = Some(Validity { renewal: at(60), not_after: at(90) });
        let urgency = |now| Priority::of(validity, at(now)).urgency;
        assert_eq!([urgency(80), urgency(81)], [Urgency::Renewal, Urgency::Expiring]);
    }
}
