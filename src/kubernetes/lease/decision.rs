//! Decides whether a candidate may take the Lease: a pure function of the record seen, and since
//! when.

use std::time::Duration;

use ingress_acme_actors::domain::limits;
use k8s_openapi::api::coordination::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

use super::{DURATION, RETRY};

/// Fields of a Lease that show whether its holder is alive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LeaseRecord {
    /// `None` after a release.
    pub(super) holder: Option<String>,
    /// Time on the holder's clock. Compared for equality only.
    pub(super) renewed: Option<MicroTime>,
    pub(super) duration: Duration,
}

impl LeaseRecord {
    pub(super) fn of(lease: &api::Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            renewed: spec.renew_time,
            duration: seconds.map_or(DURATION, Duration::from_secs).min(limits::LEASE_DURATION_MAX),
        }
    }
}

/// A record, and since when the record is unchanged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ObservedRecord {
    record: LeaseRecord,
    since: Instant,
}

impl ObservedRecord {
    /// Returns the sighting of `record` at `at`, after the sighting `before`.
    pub(super) fn of(record: LeaseRecord, before: Option<Self>, at: Instant) -> Self {
        match before {
            Some(before) if before.record == record => before,
            _ => Self { record, since: at },
        }
    }
}

/// Next step of a candidate.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum LeaseStep {
    /// Create the Lease, since there is none.
    Create,
    /// Take the Lease: free, expired, or held by this candidate since before a restart.
    Take,
    /// Check again after this time; another candidate holds the Lease.
    Wait(Duration),
}

/// Decides for the candidate `me` at `now`.
pub(super) fn decide(seen: Option<&ObservedRecord>, me: &str, now: Instant) -> LeaseStep {
    let Some(ObservedRecord { record, since }) = seen else { return LeaseStep::Create };
    match record.holder.as_deref() {
        None => LeaseStep::Take,
        Some(holder) if holder == me => LeaseStep::Take,
        Some(_) => match record.duration.saturating_sub(now.duration_since(*since)) {
            Duration::ZERO => LeaseStep::Take,
            rest => LeaseStep::Wait(rest.min(RETRY)),
        },
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::STEP_BACK;
    use super::*;

    fn record(holder: &str, renewed: i64) -> LeaseRecord {
        LeaseRecord::of(&api::Lease {
            spec: Some(api::LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
                ..api::LeaseSpec::default()
            }),
            ..api::Lease::default()
        })
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn no_lease_is_made_and_a_free_one_is_taken() {
        let now = Instant::now();
        assert_eq!(decide(None, "a", now), LeaseStep::Create);
        let released = ObservedRecord::of(record("", 0), None, now);
        assert_eq!(decide(Some(&released), "a", now), LeaseStep::Take);
        let bare = ObservedRecord::of(LeaseRecord::of(&api::Lease::default()), None, now);
        assert_eq!(decide(Some(&bare), "a", now), LeaseStep::Take);
    }

    #[test]
    fn ones_own_from_before_a_restart_is_taken_at_once() {
        let now = Instant::now();
        let own = ObservedRecord::of(record("a", 0), None, now);
        assert_eq!(decide(Some(&own), "a", now), LeaseStep::Take);
    }

    #[test]
    fn anothers_is_waited_for_until_it_has_not_changed_for_its_duration_here() {
        let start = Instant::now();
        let first = ObservedRecord::of(record("b", 0), None, start);
        assert_eq!(decide(Some(&first), "a", start), LeaseStep::Wait(RETRY));
        let same = ObservedRecord::of(record("b", 0), Some(first), start + secs(14));
        assert_eq!(decide(Some(&same), "a", start + secs(14)), LeaseStep::Wait(secs(1)));
        let same = ObservedRecord::of(record("b", 0), Some(same), start + secs(15));
        assert_eq!(decide(Some(&same), "a", start + secs(15)), LeaseStep::Take);
    }

    /// Also where the answer to the release was lost, and the Lease has to expire.
    #[test]
    fn another_candidate_leads_before_one_that_cannot_read_the_journal_tries_again() {
        let start = Instant::now();
        let released = ObservedRecord::of(record("", 0), None, start);
        assert_eq!(decide(Some(&released), "b", start), LeaseStep::Take);
        let held = ObservedRecord::of(record("a", 0), None, start);
        let mut now = start;
        while let LeaseStep::Wait(pause) = decide(Some(&held), "b", now) {
            now += pause;
        }
        assert!(now + RETRY < start + STEP_BACK, "it looks once more in that time");
    }

    #[test]
    fn a_renewal_starts_the_wait_anew_whatever_its_clock_says() {
        let start = Instant::now();
        let mut seen = None;
        for (step, renewed) in [1_000_000_000_i64, 5, 4_000_000_000, 5].into_iter().enumerate() {
            let now = start + secs(14 * step as u64);
            seen = Some(ObservedRecord::of(record("b", renewed), seen, now));
            assert_eq!(decide(seen.as_ref(), "a", now), LeaseStep::Wait(RETRY));
        }
    }

    #[test]
    fn another_holder_starts_the_wait_anew() {
        let start = Instant::now();
        let first = ObservedRecord::of(record("b", 0), None, start);
        let later = start + secs(15);
        let other = ObservedRecord::of(record("c", 0), Some(first), later);
        assert_eq!(decide(Some(&other), "a", later), LeaseStep::Wait(RETRY));
    }

    #[test]
    fn an_absurd_duration_is_not_waited_for() {
        let mut long = record("b", 0);
        long.duration = secs(1_000_000);
        let spec =
            api::LeaseSpec { lease_duration_seconds: Some(1_000_000), ..api::LeaseSpec::default() };
        let lease = api::Lease { spec: Some(spec), ..api::Lease::default() };
        assert_eq!(LeaseRecord::of(&lease).duration, limits::LEASE_DURATION_MAX);
    }

    proptest! {
        /// Whatever somebody writes into the Lease, a candidate looks again soon, and takes a Lease
        /// that does not change within a minute.
        #[test]
        fn any_lease_is_free_or_waited_for_a_bounded_time(
            holder in proptest::option::of(".{0,300}"), seconds in any::<Option<i32>>(),
            renewed in proptest::option::of("2026-11-2[0-9]T08:00:00\\.[0-9]{6}Z|.{0,30}"),
            transitions in any::<Option<i32>>(), waited in 0..100_u64,
        ) {
            let spec = json!({
                "holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": renewed,
                "leaseTransitions": transitions,
            });
            let Ok(lease) = serde_json::from_value::<api::Lease>(json!({ "spec": spec })) else { return Ok(()) };
            let start = Instant::now();
            let seen = ObservedRecord::of(LeaseRecord::of(&lease), None, start);
            let seen = ObservedRecord::of(LeaseRecord::of(&lease), Some(seen), start + secs(waited));
            match decide(Some(&seen), "me", start + secs(waited)) {
                LeaseStep::Create => prop_assert!(false, "there is one"),
                LeaseStep::Wait(pause) => prop_assert!(pause <= RETRY && waited < limits::LEASE_DURATION_MAX.as_secs()),
                LeaseStep::Take => {}
            }
        }
    }
}
