//! Simulated time: the time of this machine, or tokio's clock, plus an offset.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Clock of one simulated world. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Offset in milliseconds.
    ahead: Arc<AtomicI64>,
    /// Time at an instant of tokio's clock; without one, the machine's time counts.
    virtual_from: Option<(Timestamp, Instant)>,
}

impl Clock {
    /// Creates a clock that shows `now` and goes on with tokio's clock, which may be paused.
    pub fn of_tokio(now: Timestamp) -> Self {
        Self { ahead: Arc::default(), virtual_from: Some((now, Instant::now())) }
    }

    /// Returns the current simulated time.
    ///
    /// # Panics
    /// If the clock was advanced past the year 9999.
    pub fn now(&self) -> Timestamp {
        let ahead = jiff::SignedDuration::from_millis(self.ahead.load(Ordering::Relaxed));
        let base = self.virtual_from.map(|(then, since)| then + since.elapsed());
        base.unwrap_or_else(machine) + ahead
    }

    /// Sets the clock back, for a world that begins in the past.
    pub fn set_back(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.ahead.fetch_sub(millis, Ordering::Relaxed);
    }

    /// Advances the clock; timers are not affected.
    pub fn advance(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.ahead.fetch_add(millis, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where time enters the simulated world")]
fn machine() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clones_are_moved_ahead_together() {
        let clock = Clock::default();
        let (before, other) = (clock.now(), clock.clone());
        other.advance(Duration::from_hours(24));
        assert!(clock.now().duration_since(before) >= jiff::SignedDuration::from_hours(24));
    }
}
