//! Guards: our own rate limits, just below the two limits of Let's Encrypt that a mistake hits
//! first: repeated certificates for the same names, and repeated failures of one host
//! (<https://letsencrypt.org/docs/rate-limits/>).
//!
//! Guards only add to the CA's rate limits. A restart resets the counts, but not the hits that they
//! have caused.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::domain::hash::stable_hash;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::{LimitHit, LimitScope, RateLimit};
use crate::domain::time::Timestamp;

/// A burst of `count`, then one more per `interval`.
#[derive(Clone, Copy, Debug)]
struct Rate {
    count: u32,
    interval: Duration,
}

/// Certificates for the same set of names; Let's Encrypt allows 5 in 7 days.
const CERTIFICATES: Rate =
    Rate { count: limits::GUARD_CERTIFICATES, interval: limits::GUARD_CERTIFICATES_INTERVAL };
/// Failed validations of one name; Let's Encrypt allows 5 in an hour.
const FAILURES: Rate =
    Rate { count: limits::GUARD_FAILURES, interval: limits::GUARD_FAILURES_INTERVAL };

/// Counts by stable hash of the names. Each value is the time at which the full burst is available
/// again.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    certificates: HashMap<u64, Timestamp>,
    failures: HashMap<u64, Timestamp>,
    off: bool,
}

impl Guards {
    /// Creates the guards; with `on` false they never cause a hit.
    pub(crate) fn new(on: bool) -> Self {
        Self { off: !on, ..Self::default() }
    }

    /// Whether they may cause a hit.
    pub(crate) fn are_on(&self) -> bool {
        !self.off
    }

    /// Counts a certificate for `names`. Returns the hit that closes this set of names, if the
    /// burst is used up.
    pub(crate) fn issued(&mut self, names: &BTreeSet<DnsName>, now: Timestamp) -> Option<LimitHit> {
        if self.off {
            return None;
        }
        let wait = CERTIFICATES.take(&mut self.certificates, stable_hash(names), now)?;
        let detail = format!(
            "a guard of ingress-acme delays certificates for exactly the same names after {} of them, because \
             Let's Encrypt allows 5 a week; find out what deletes or changes their Secret (--guards off removes \
             the guard)",
            CERTIFICATES.count
        );
        Some(hit(LimitScope::Set(names.clone()), wait, &detail, now))
    }

    /// Counts a failed validation of each of `names`. Returns one hit for each name whose burst is
    /// used up.
    pub(crate) fn failed(&mut self, names: &BTreeSet<DnsName>, now: Timestamp) -> Vec<LimitHit> {
        if self.off {
            return Vec::new();
        }
        let detail = format!(
            "a guard of ingress-acme delays validations of one name after {} failures, because Let's Encrypt \
             allows 5 an hour (--guards off removes the guard)",
            FAILURES.count
        );
        let mut close = |name: &DnsName| {
            let wait = FAILURES.take(&mut self.failures, stable_hash(name), now)?;
            Some(hit(LimitScope::Name(name.clone()), wait, &detail, now))
        };
        names.iter().filter_map(&mut close).collect()
    }
}

fn hit(scope: LimitScope, wait: Duration, detail: &str, now: Timestamp) -> LimitHit {
    LimitHit::new(&RateLimit { scope, pace: None }, wait, detail, now)
}

impl Rate {
    /// Takes one from the burst of `key`. Returns the time until the next is available, if this was
    /// the last.
    fn take(
        self,
        given_back: &mut HashMap<u64, Timestamp>,
        key: u64,
        now: Timestamp,
    ) -> Option<Duration> {
        if given_back.len() >= given_back.capacity() {
            given_back.retain(|_, at| now < *at);
        }
        let at = given_back.entry(key).or_insert(now);
        *at = (*at).max(now) + self.interval;
        let all_but_one = self.interval * (self.count - 1);
        Some(at.since(now + all_but_one)).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::names;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn the_fourth_certificate_in_a_row_is_the_last_for_a_while_and_other_names_are_free() {
        let (mut guards, now) = (Guards::new(true), Timestamp::from_secs(0));
        let set = names(&["a.example.com", "b.example.com"]);
        let closed: Vec<_> = (0..4).map(|_| guards.issued(&set, now)).collect();
        assert!(closed[..3].iter().all(Option::is_none));
        let hit = closed[3].as_ref().unwrap();
        assert_eq!(hit.scope, LimitScope::Set(set.clone()));
        assert!(hit.until >= now + 42 * HOUR && hit.until <= now + 43 * HOUR);
        assert_eq!(guards.issued(&names(&["a.example.com"]), now), None);
        // A renewal every two weeks never hits the guard.
        let each = |weeks: u32| guards.issued(&set, now + 336 * HOUR * weeks);
        assert!((1..50).map(each).all(|closed| closed.is_none()));
    }

    #[test]
    fn a_name_that_fails_four_times_in_a_row_waits_a_quarter_of_an_hour() {
        let (mut guards, now) = (Guards::new(true), Timestamp::from_secs(0));
        let bad = names(&["bad.example.com"]);
        let closed: Vec<_> = (0..4).flat_map(|_| guards.failed(&bad, now)).collect();
        assert_eq!(closed.len(), 1);
        let wait = closed[0].until.since(now);
        assert!(wait >= HOUR / 4 && wait <= HOUR / 3, "{wait:?}");
    }

    #[test]
    fn switched_off_it_holds_back_nothing_and_it_forgets_what_is_over() {
        let mut off = Guards::new(false);
        let set = names(&["a.example.com"]);
        assert!((0..50).all(|_| off.issued(&set, Timestamp::from_secs(0)).is_none()));
        let mut guards = Guards::new(true);
        for number in 0..10_000 {
            let host = names(&[&format!("h{number}.example.com")]);
            guards.failed(&host, Timestamp::from_secs(3600 * number));
        }
        assert!(guards.failures.len() < 100, "{}", guards.failures.len());
    }

    #[test]
    fn a_failure_is_not_forgotten_because_many_other_names_fail() {
        let (mut guards, now) = (Guards::new(true), Timestamp::from_secs(0));
        let bad = names(&["bad.example.com"]);
        for _ in 0..3 {
            assert_eq!(guards.failed(&bad, now), []);
        }
        for number in 0..1_000 {
            guards.failed(&names(&[&format!("h{number}.example.com")]), now);
        }
        assert_eq!(guards.failed(&bad, now).len(), 1);
    }
}
