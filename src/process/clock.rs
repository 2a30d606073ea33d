//! System clock. No other module reads the time of the machine.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ingress_acme_actors::domain::clock_filter::ClockFilter;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::Clock;
use tokio::time::Instant;

/// Wall clock of this machine, behind a filter: a jump counts once it has lasted, and the time
/// never falls behind the monotonic clock otherwise, which would delay all timers.
#[derive(Debug)]
pub struct SystemClock {
    began: Instant,
    filter: Mutex<ClockFilter>,
}

impl Default for SystemClock {
    fn default() -> Self {
        let filter = ClockFilter::new(wall(), Duration::ZERO);
        Self { began: Instant::now(), filter: Mutex::new(filter) }
    }
}

impl SystemClock {
    fn filtered<T>(&self, look: impl FnOnce(&mut ClockFilter) -> T) -> T {
        look(&mut self.filter.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.filtered(|filter| filter.now(wall(), self.began.elapsed()))
    }

    fn steps_back(&self) -> u32 {
        self.filtered(|filter| filter.steps_back())
    }
}

#[expect(clippy::disallowed_methods, reason = "this adapter is where time enters")]
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use ingress_acme_actors::domain::limits;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_is_that_of_the_machine_and_goes_on_with_the_monotonic_clock() {
        let clock = SystemClock::default();
        let began = clock.now();
        assert!(began.since(wall()) + wall().since(began) < limits::CLOCK_SKEW);
        tokio::time::advance(limits::CLOCK_BACK).await; // the machine's clock stands still meanwhile
        assert!(clock.now() >= began + limits::CLOCK_BACK);
        assert_eq!(clock.steps_back(), 0);
    }
}
