//! System clock. No other module reads the time of the machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::Clock;
use tokio::time::Instant;

/// Wall clock of this machine that never falls behind the monotonic clock. A clock set back, by NTP
/// or by hand, would delay all timers.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    began: Timestamp,
    since: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { began: wall(), since: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        steady(self.began, self.since.elapsed(), wall())
    }
}

fn steady(began: Timestamp, elapsed: Duration, wall: Timestamp) -> Timestamp {
    wall.max(began + elapsed)
}

#[expect(clippy::disallowed_methods, reason = "this adapter is where time enters")]
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_forward_is_followed_and_one_set_back_is_not() {
        let (began, hour) = (Timestamp::from_secs(1_000_000), Duration::from_hours(1));
        assert_eq!(steady(began, hour, began + 3 * hour), began + 3 * hour);
        assert_eq!(steady(began, hour, began - hour), began + hour);
    }
}
