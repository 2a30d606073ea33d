//! Terms of the fallback CAs.

use std::time::Duration;

use super::failing::Failing;
use crate::domain::time::Timestamp;

/// A fallback CA: opt-in, by `--fallback-directory` or `--cas-file`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fallback<'a> {
    /// Directory URL.
    pub directory: &'a str,
    /// Time that the first CA must have failed for.
    pub after: Duration,
    /// Whether a rate limit of this CA stops the order. It is not asked then, nor waited for.
    pub is_limited: bool,
}

/// The fallbacks that come after the last failure: all of them after one of the first CA, and those
/// after the one that failed last. After the last of them, the first CA is asked again.
pub(super) fn following<'a, 'b>(
    fallbacks: &'a [Fallback<'b>],
    failing: Option<&Failing>,
) -> &'a [Fallback<'b>] {
    let Some(failing) = failing.filter(|failing| failing.at_fallback) else { return fallbacks };
    let is_it = |one: &Fallback<'_>| failing.fallback.as_deref() == Some(one.directory);
    let after = fallbacks.iter().position(is_it).map_or(fallbacks.len(), |place| place + 1);
    fallbacks.get(after..).unwrap_or_default()
}

/// The fallback that is asked now: the first one whose time has come, of those that `failing`
/// leaves. A CA that is busy for long has failed since then.
pub(super) fn due<'a>(
    fallbacks: &[Fallback<'a>],
    failing: Option<&Failing>,
    busy_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<&'a str> {
    let first_due = |since: Option<Timestamp>, all: &[Fallback<'a>]| {
        let since = since?;
        let is_due = |one: &&Fallback<'a>| since + one.after <= now && !one.is_limited;
        Some(all.iter().find(is_due)?.directory)
    };
    let failed = failing.and_then(|failing| failing.down_since);
    let since = failed.into_iter().chain(busy_since).min();
    first_due(since, following(fallbacks, failing)).or_else(|| first_due(busy_since, fallbacks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::desired_certificate::tests::desired;
    use crate::domain::failure::FailureClass;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(hours: u32) -> Timestamp {
        Timestamp::from_secs(1_795_478_400) + HOUR * hours
    }

    /// A sequence of failures of the CA since hour 0, the last one at this fallback.
    fn failing(fallback: Option<&str>) -> Failing {
        Failing {
            fingerprint: desired("shop", &["a.example.com"]).fingerprint(),
            attempts: 2,
            since: at(0),
            last: at(1),
            retry_at: at(99),
            class: FailureClass::AcmeServer,
            detail: "serverInternal".into(),
            names: std::sync::Arc::default(),
            subset_retry_at: None,
            subset_attempts: 0,
            down_since: Some(at(0)),
            at_fallback: fallback.is_some(),
            fallback: fallback.map(Into::into),
            edition: None,
            edits_until: None,
        }
    }

    #[test]
    fn fallbacks_are_due_in_their_order_and_the_ca_itself_after_the_last() {
        let fallback =
            |directory, hours| Fallback { directory, after: HOUR * hours, is_limited: false };
        let both = [fallback("b", 6), fallback("c", 12)];
        let next = |last: Option<&str>, now| due(&both, Some(&failing(last)), None, now);
        assert_eq!(next(None, at(5)), None);
        assert_eq!(next(None, at(6)), Some("b"));
        assert_eq!(next(Some("b"), at(11)), None, "the CA itself is asked meanwhile");
        assert_eq!(next(Some("b"), at(12)), Some("c"));
        assert_eq!(next(Some("c"), at(99)), None);
        assert_eq!(next(Some("gone"), at(99)), None, "it is no fallback any more");
        assert_eq!(failing(Some("b")).fallback_from(&both), Some(at(12)));
        assert_eq!(failing(Some("c")).fallback_from(&both), None);
    }

    #[test]
    fn a_fallback_that_a_limit_of_its_own_stops_is_passed_over() {
        let limited = Fallback { directory: "b", after: HOUR, is_limited: true };
        let other = Fallback { directory: "c", after: 2 * HOUR, is_limited: false };
        let next = |all: &[Fallback<'static>]| due(all, Some(&failing(None)), None, at(3));
        assert_eq!(next(&[limited, other]), Some("c"));
        assert_eq!(next(&[limited]), None);
        assert_eq!(failing(None).fallback_from(&[limited]), None);
    }

    #[test]
    fn a_ca_that_is_busy_for_long_is_not_waited_for() {
        let all = [Fallback { directory: "b", after: HOUR, is_limited: false }];
        assert_eq!(due(&all, None, Some(at(0)), at(1)), Some("b"));
        assert_eq!(due(&all, Some(&failing(Some("b"))), Some(at(0)), at(1)), Some("b"));
        assert_eq!(due(&all, None, None, at(9)), None);
    }
}
