//! Failure classes, and the backoff of each.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::cut::cut;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::RateLimit;
use crate::domain::time::Timestamp;

/// Why an issuance failed. The set is closed, because it is a metric label and part of the Event's
/// note.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Requests to a host do not reach our solver; no request went to the CA.
    Unreachable,
    /// A host does not resolve; no request went to the CA.
    Dns,
    /// The CA could not validate a host (RFC 8555 §6.7 `unauthorized`, `connection`, `dns`, `tls`).
    Authorization,
    /// A CAA record forbids the CA to issue (RFC 8659).
    Caa,
    /// A rate limit of the CA (RFC 8555 §6.6).
    RateLimited,
    /// The CA does not issue this certificate: a name is refused or paused, or the profile is
    /// unknown. Only an edit helps.
    Policy,
    /// The CA rejects the request, and would reject a retry: key, account or request.
    Rejected,
    /// The CA does not answer, answers 5xx, or lost the order.
    AcmeServer,
    /// The Secret is not ours, is immutable, or has another type.
    Conflict,
    /// The API server refuses or fails a request for the Secret, its owners or `spec.tls`.
    SecretWrite,
    /// The CA's chain does not match the key or the names.
    BadCertificate,
    /// The desired certificate is impossible, for example because of too many names.
    InvalidSpec,
}

impl FailureClass {
    /// Returns the metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Dns => "dns",
            Self::Authorization => "authorization",
            Self::Caa => "caa",
            Self::RateLimited => "rate_limited",
            Self::Policy => "policy",
            Self::Rejected => "rejected",
            Self::AcmeServer => "acme_server",
            Self::Conflict => "conflict",
            Self::SecretWrite => "secret_write",
            Self::BadCertificate => "bad_certificate",
            Self::InvalidSpec => "invalid_spec",
        }
    }

    /// All classes, so that metrics show a zero before the first failure.
    pub const ALL: [Self; 12] = [
        Self::Unreachable,
        Self::Dns,
        Self::Authorization,
        Self::Caa,
        Self::RateLimited,
        Self::Policy,
        Self::Rejected,
        Self::AcmeServer,
        Self::Conflict,
        Self::SecretWrite,
        Self::BadCertificate,
        Self::InvalidSpec,
    ];

    /// Whether a failure of this class says nothing about the CA.
    pub(crate) fn is_before_the_ca(self) -> bool {
        matches!(self, Self::Unreachable | Self::Dns | Self::Conflict | Self::InvalidSpec)
    }

    /// Whether the CA itself caused the failure, so that another CA may succeed.
    pub(crate) fn is_of_the_ca(self) -> bool {
        matches!(self, Self::AcmeServer | Self::Rejected)
    }

    /// Whether the failure may pass without any act of the user: the CA's own errors, rate limits,
    /// and writes that the API server refuses for now.
    pub(crate) fn may_pass(self) -> bool {
        let by_itself =
            matches!(self, Self::RateLimited | Self::SecretWrite | Self::BadCertificate);
        self.is_of_the_ca() || by_itself
    }

    /// Whether two failures count in the same backoff sequence. Waiting for DNS says nothing about
    /// the CA, so failures before and at the CA are counted apart.
    pub(crate) fn same_backoff(self, other: Self) -> bool {
        self.is_before_the_ca() == other.is_before_the_ca()
    }

    /// Returns the backoff after the `attempts`-th failure in a row (1 is the first).
    ///
    /// A longer `retry_after` of the CA wins, because the CA knows its limits. For
    /// [`Self::RateLimited`] a `retry_after` replaces the backoff, with [`limits::RATE_LIMIT_MIN`]
    /// as the minimum.
    pub fn pause(self, attempts: u32, retry_after: Option<Duration>) -> Duration {
        let backoff: &[Duration] = match self {
            Self::Unreachable | Self::Dns => &limits::UNREACHABLE_BACKOFF,
            Self::Conflict | Self::InvalidSpec => &[limits::CONFLICT_BACKOFF],
            Self::Caa | Self::Policy => &[limits::PERMANENT_BACKOFF],
            _ => &limits::BACKOFF,
        };
        if let (Self::RateLimited, Some(named)) = (self, retry_after) {
            return named.max(limits::RATE_LIMIT_MIN); // the CA knows when; backoff only adds
        }
        let backoff_index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let pause = backoff[backoff_index.min(backoff.len() - 1)];
        retry_after.map_or(pause, |named| named.max(pause))
    }
}

/// A failure before its backoff is computed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Failure class.
    pub class: FailureClass,
    /// Message of the CA or the API server, with advice for the user; at most
    /// [`limits::DETAIL_MAX`] bytes.
    pub detail: String,
    /// Retry-After of the answer, if there was one.
    pub retry_after: Option<Duration>,
    /// Names that caused the failure, at most [`limits::MAX_NAMES`]; empty means all names.
    pub names: BTreeSet<DnsName>,
    /// Rate limit that refused the request, parsed by the adapter of the CA (RFC 8555 §6.6).
    pub limit: Option<RateLimit>,
}

impl Failure {
    /// Creates a failure without `retry_after` and without names. Cuts a long text, because every
    /// text ends here that an outsider wrote, and goes on into the journal, Events and logs.
    pub fn new(class: FailureClass, detail: impl Into<String>) -> Self {
        Self {
            class,
            detail: cut(detail, limits::DETAIL_MAX),
            retry_after: None,
            names: BTreeSet::new(),
            limit: None,
        }
    }

    /// Adds the names that caused the failure, up to [`limits::MAX_NAMES`] in all: a CA may name
    /// any number of others.
    #[must_use]
    pub fn about(mut self, names: impl IntoIterator<Item = DnsName>) -> Self {
        self.names.extend(names.into_iter().take(limits::MAX_NAMES));
        while self.names.len() > limits::MAX_NAMES {
            self.names.pop_last();
        }
        self
    }
}

/// Returns the pause after the `errors`-th transient error in a row (1 is the first).
///
/// `None` ends the attempt: the pauses of [`limits::TRANSIENT`] are used up, or `retry_after`
/// exceeds [`limits::POLL_MAX`].
pub(crate) fn transient_pause(errors: u32, retry_after: Option<Duration>) -> Option<Duration> {
    let backoff_index = usize::try_from(errors.checked_sub(1)?).ok()?;
    let pause = *limits::TRANSIENT.get(backoff_index)?;
    match retry_after {
        Some(named) if named > limits::POLL_MAX => None,
        Some(named) => Some(named.max(pause)),
        None => Some(pause),
    }
}

/// Returns the time of the next poll of an order after `polls` polls.
///
/// Uses Retry-After if there is one (RFC 8555 §7.5.1), else [`limits::POLL`]; never at once, after
/// the first polls not sooner than [`limits::POLL_MIN`], and never later than [`limits::POLL_MAX`].
pub(crate) fn poll_at(polls: u32, retry_after: Option<Duration>, now: Timestamp) -> Timestamp {
    let backoff_index = usize::try_from(polls).unwrap_or(usize::MAX).min(limits::POLL.len() - 1);
    let pause = limits::POLL[backoff_index];
    now + retry_after.unwrap_or(pause).clamp(pause.min(limits::POLL_MIN), limits::POLL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_at_the_ca_climb_the_ladder_and_stay_at_a_day() {
        let minutes = |attempts| FailureClass::Authorization.pause(attempts, None).as_secs() / 60;
        assert_eq!([1, 2, 3, 4, 9].map(minutes), [1, 10, 100, 1440, 1440]);
    }

    #[test]
    fn what_only_an_edit_or_a_new_record_can_help_is_asked_once_a_day() {
        let hours = |class: FailureClass| class.pause(1, None).as_secs() / 3600;
        assert_eq!([FailureClass::Caa, FailureClass::Policy].map(hours), [24, 24]);
    }

    #[test]
    fn a_rate_limit_is_waited_out_as_the_ca_says_but_never_hammered() {
        let pause = |named| FailureClass::RateLimited.pause(1, Some(Duration::from_secs(named)));
        assert_eq!(pause(7200), Duration::from_hours(2));
        assert_eq!(pause(1), limits::RATE_LIMIT_MIN);
    }

    #[test]
    fn the_text_and_the_names_of_a_failure_are_bounded_whoever_wrote_them() {
        let failure = Failure::new(FailureClass::Policy, "\"".repeat(400_000));
        assert!(failure.detail.len() <= limits::DETAIL_MAX);
        assert!(failure.detail.ends_with("bytes)"), "{}", failure.detail);
        let name = |n| DnsName::parse(&format!("{n}.example.com")).unwrap();
        let failure = failure.about((0..500).map(name)).about((500..900).map(name));
        assert_eq!(failure.names.len(), limits::MAX_NAMES);
    }

    #[test]
    fn a_poll_is_never_at_once() {
        let now = Timestamp::from_secs(0);
        let zeros = [0, 1, 2, 3, 9].map(|polls| poll_at(polls, Some(Duration::ZERO), now));
        assert_eq!(zeros.map(|at| at.since(now).as_millis()), [100, 200, 400, 500, 500]);
        let unnamed = [0, 1, 2, 3, 9].map(|polls| poll_at(polls, None, now));
        assert_eq!(unnamed.map(|at| at.since(now).as_millis()), [100, 200, 400, 1000, 5000]);
        assert_eq!(poll_at(9, Some(Duration::from_hours(9)), now), now + limits::POLL_MAX);
    }

    #[test]
    fn passing_errors_are_few_and_their_pauses_short() {
        let pauses: Vec<u64> = (1..)
            .map_while(|errors| transient_pause(errors, None))
            .map(|pause| pause.as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16]);
        assert_eq!(transient_pause(1, Some(Duration::from_hours(1))), None);
    }

    #[test]
    fn hosts_are_tried_again_soon_and_a_conflict_once_an_hour() {
        let pauses = |class: FailureClass| [1, 5, 9].map(|row| class.pause(row, None).as_secs());
        assert_eq!(pauses(FailureClass::Unreachable), [10, 600, 600]);
        assert_eq!(pauses(FailureClass::Dns), [10, 600, 600]);
        assert_eq!(pauses(FailureClass::Conflict), [3_600; 3]);
        assert_eq!(pauses(FailureClass::InvalidSpec), [3_600; 3]);
    }

    #[test]
    fn a_class_says_who_failed_and_whether_it_may_pass_by_itself() {
        use FailureClass as Class;
        let may_pass = FailureClass::ALL.into_iter().filter(|class| class.may_pass());
        let may_pass: Vec<Class> = may_pass.collect();
        let expected = [
            Class::RateLimited,
            Class::Rejected,
            Class::AcmeServer,
            Class::SecretWrite,
            Class::BadCertificate,
        ];
        assert_eq!(may_pass, expected);
        assert!(Class::Dns.same_backoff(Class::Unreachable));
        assert!(Class::Caa.same_backoff(Class::AcmeServer));
        assert!(!Class::Dns.same_backoff(Class::AcmeServer));
        let labels: BTreeSet<&str> = FailureClass::ALL.iter().map(|class| class.label()).collect();
        assert_eq!(labels.len(), 12);
        for class in FailureClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.label());
        }
    }

    #[test]
    fn a_retry_that_the_ca_names_is_waited_for_up_to_a_minute() {
        let pause = |named| transient_pause(1, Some(named));
        assert_eq!(pause(limits::POLL_MAX), Some(limits::POLL_MAX));
        assert_eq!(pause(limits::POLL_MAX + Duration::from_millis(1)), None);
        assert_eq!(pause(Duration::ZERO), Some(limits::TRANSIENT[0]));
    }
}
