//! Rate limit hits: the scope that a refusal closes, its end, and the pace afterwards.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LimitScope, RateLimit};
use crate::domain::cut::cut;
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// A rate limit hit: a scope closed by the CA.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LimitHit {
    /// Closed scope.
    pub scope: LimitScope,
    /// Time of the first hit, kept while the scope is hit again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Time at which the scope opens.
    pub until: Timestamp,
    /// Time between orders once the scope is open, in milliseconds.
    pub pace_ms: u64,
    /// Message of the CA, at most [`limits::DETAIL_MAX`] bytes.
    pub detail: String,
}

impl LimitHit {
    /// Creates the hit of a refusal at `now`. The scope is closed for `wait`, but at least
    /// [`limits::RATE_LIMIT_MIN`] and at most [`limits::LIMIT_MAX`].
    ///
    /// Adds a jitter of up to a tenth of that time, at most [`limits::LIMIT_JITTER`], so that
    /// clients with the same limit do not all return at once. The pace gets a margin of 1 %.
    pub fn new(limit: &RateLimit, wait: Duration, detail: &str, now: Timestamp) -> Self {
        let wait = wait.clamp(limits::RATE_LIMIT_MIN, limits::LIMIT_MAX);
        let thousandths = crate::domain::hash::stable_hash((&limit.scope, now)) % 1000;
        let thousandths = u32::try_from(thousandths).unwrap_or(0);
        let jitter = (wait / 10).min(limits::LIMIT_JITTER) * thousandths / 1000;
        let pace = limit.pace.unwrap_or(limits::LIMIT_PACE);
        let pace = pace.clamp(limits::BUSY_PACE, limits::LIMIT_MAX);
        let pace_ms = u64::try_from((pace + pace / 100).as_millis()).unwrap_or(u64::MAX);
        let (scope, until) = (limit.scope.clone(), now + wait + jitter);
        Self { scope, since: Some(now), until, pace_ms, detail: cut(detail, limits::DETAIL_MAX) }
    }

    /// Creates the hit of a busy CA: no requests for `wait`, which a transient refusal named as
    /// `Retry-After` (HTTP 503, RFC 9110 §15.6.4, for example).
    pub(crate) fn of_busy(wait: Duration, detail: &str, now: Timestamp) -> Self {
        let limit = RateLimit { scope: LimitScope::Address, pace: Some(limits::BUSY_PACE) };
        Self::new(&limit, wait, detail, now)
    }

    pub(super) fn pace(&self) -> Duration {
        Duration::from_millis(self.pace_ms)
    }

    /// Whether the hit has no effect any more: the scope opened so long ago that its queue is empty
    /// or may pass at once.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until + limits::LIMIT_MEMORY.max(self.pace()) <= now
    }
}
