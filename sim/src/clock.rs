//! The world's time: that of this machine, moved ahead on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// The time of one world. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Milliseconds ahead of this machine.
    ahead: Arc<AtomicI64>,
}

impl Clock {
    /// Now.
    ///
    /// # Panics
    /// When it was moved past the year 9999.
    pub fn now(&self) -> Timestamp {
        let ahead = jiff::SignedDuration::from_millis(self.ahead.load(Ordering::Relaxed));
        machine() + ahead
    }

    /// Moves it ahead; timers are not moved with it.
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
