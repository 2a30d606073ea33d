//! Kinds of failure, and how long each waits before it is tried again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// Why an issuance failed. A closed set: it is a metric label and the first word of what the user is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// A host does not lead to our solver; the CA was not asked.
    Unreachable,
    /// A host does not resolve; the CA was not asked.
    Dns,
    /// The CA could not validate a host (RFC 8555 §6.7 `unauthorized`, `connection`, `dns`, `tls`).
    Authorization,
    /// A CAA record forbids the CA to issue (RFC 8659).
    Caa,
    /// The CA's rate limit (RFC 8555 §6.6).
    RateLimited,
    /// The CA issues no such certificate: it refuses or has paused a name, or lacks the profile. It waits for an edit.
    Policy,
    /// The CA refuses what was asked, and would again: key, account, request.
    Rejected,
    /// The CA does not answer, answers 5xx, or lost the order.
    AcmeServer,
    /// The Secret is not ours, is immutable or of another type.
    Conflict,
    /// The API server refuses or fails to take the Secret.
    SecretWrite,
    /// The CA's chain does not fit the key or the names.
    BadCertificate,
    /// What was asked can never be one certificate, such as too many names.
    InvalidSpec,
}

impl FailureClass {
    /// The metric label.
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

    /// All classes, for metrics that show a zero before the first failure.
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

    /// Failures before which nothing was asked of the CA.
    pub fn is_before_the_ca(self) -> bool {
        matches!(self, Self::Unreachable | Self::Dns | Self::Conflict | Self::InvalidSpec)
    }

    /// Failures that are the CA's own, so that another CA may do better.
    pub fn is_of_the_ca(self) -> bool {
        matches!(self, Self::AcmeServer | Self::Rejected)
    }

    /// Failures of one kind climb one ladder: waiting for DNS says nothing about the CA.
    pub fn same_ladder(self, other: Self) -> bool {
        self.is_before_the_ca() == other.is_before_the_ca()
    }

    /// The pause after the `attempts`-th failure in a row (1 for the first). The CA's own `retry_after` is
    /// obeyed where it is longer, for it knows its limits.
    pub fn pause(self, attempts: u32, retry_after: Option<Duration>) -> Duration {
        let ladder: &[Duration] = match self {
            Self::Unreachable | Self::Dns => &limits::UNREACHABLE_BACKOFF,
            Self::Conflict | Self::InvalidSpec => &[limits::CONFLICT_BACKOFF],
            Self::Caa | Self::Policy => &[limits::PERMANENT_BACKOFF],
            _ => &limits::BACKOFF,
        };
        if let (Self::RateLimited, Some(named)) = (self, retry_after) {
            return named.max(limits::RATE_LIMIT_MIN); // the CA knows when, and a ladder would only add to it
        }
        let rung = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let pause = ladder[rung.min(ladder.len() - 1)];
        retry_after.map_or(pause, |named| named.max(pause))
    }
}

/// A failure as it was met, before the backoff is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Its kind.
    pub class: FailureClass,
    /// The CA's or the API server's own words, with what the user can do.
    pub detail: String,
    /// When the CA wants to be asked again, where it said so.
    pub retry_after: Option<Duration>,
    /// The names that it is about, where it is not about all of them.
    pub names: BTreeSet<DnsName>,
}

impl Failure {
    /// A failure without a word on when to retry.
    pub fn new(class: FailureClass, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into(), retry_after: None, names: BTreeSet::new() }
    }

    /// It is about these names.
    #[must_use]
    pub fn about(mut self, names: impl IntoIterator<Item = DnsName>) -> Self {
        self.names.extend(names);
        self
    }
}

/// A pause for the `errors`-th transient error in a row (1 for the first); `None` when it is enough.
pub fn transient_pause(errors: u32, retry_after: Option<Duration>) -> Option<Duration> {
    let rung = usize::try_from(errors.checked_sub(1)?).ok()?;
    let pause = *limits::TRANSIENT.get(rung)?;
    match retry_after {
        Some(named) if named > limits::POLL_MAX => None,
        Some(named) => Some(named.max(pause)),
        None => Some(pause),
    }
}

/// When to look at an order again after `polls` looks (RFC 8555 §7.5.1: Retry-After where it is given).
pub fn poll_at(polls: u32, retry_after: Option<Duration>, now: Timestamp) -> Timestamp {
    let rung = usize::try_from(polls).unwrap_or(usize::MAX).min(limits::POLL.len() - 1);
    now + retry_after.unwrap_or(limits::POLL[rung]).clamp(limits::POLL[0], limits::POLL_MAX)
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
    fn a_poll_is_never_at_once() {
        let now = Timestamp::from_secs(0);
        assert_eq!(poll_at(0, Some(Duration::ZERO), now), now + limits::POLL[0]);
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
}
