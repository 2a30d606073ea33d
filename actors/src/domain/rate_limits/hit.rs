//! What a refusal closes, until when, and at which pace it lets in from then on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LimitScope, RateLimit};
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// A scope that the CA has closed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LimitHit {
    /// What is closed.
    pub scope: LimitScope,
    /// Since when, without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when.
    pub until: Timestamp,
    /// From then on, one order in so many milliseconds.
    pub pace_ms: u64,
    /// In the words of the CA.
    pub detail: String,
}

impl LimitHit {
    /// What a refusal at `now` closes. Up to a minute is added to the CA's time, so that those who share a limit do
    /// not all come back in the same moment.
    pub fn new(limit: &RateLimit, enqueue: Duration, detail: &str, now: Timestamp) -> Self {
        let enqueue = enqueue.clamp(limits::RATE_LIMIT_MIN, limits::LIMIT_MAX);
        let thousandths = crate::domain::hash::stable_hash((&limit.scope, now)) % 1000;
        let thousandths = u32::try_from(thousandths).unwrap_or(0);
        let jitter = (enqueue / 10).min(limits::LIMIT_JITTER) * thousandths / 1000;
        let pace = limit.pace.unwrap_or(limits::LIMIT_PACE);
        let pace = pace.clamp(limits::BUSY_PACE, limits::LIMIT_MAX);
        let pace_ms = u64::try_from((pace + pace / 100).as_millis()).unwrap_or(u64::MAX);
        let (scope, until) = (limit.scope.clone(), now + enqueue + jitter);
        Self { scope, since: Some(now), until, pace_ms, detail: detail.to_owned() }
    }

    /// A CA that is busy (RFC 9110 §15.6.4) is left alone as long as it says.
    pub fn of_busy(enqueue: Duration, detail: &str, now: Timestamp) -> Self {
        let limit = RateLimit { scope: LimitScope::Address, pace: Some(limits::BUSY_PACE) };
        Self::new(&limit, enqueue, detail, now)
    }

    pub(super) fn pace(&self) -> Duration {
        Duration::from_millis(self.pace_ms)
    }

    /// It opened so long ago that nobody is in queue any more, or whoever is there may go.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until + limits::LIMIT_MEMORY.max(self.pace()) <= now
    }
}
