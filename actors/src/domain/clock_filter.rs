//! Filter of the wall clock: a jump counts once it has lasted. A clock that is a year ahead for a
//! minute is never seen by the rules, which would close scopes and renew certificates.

use std::time::Duration;

use crate::domain::limits;
use crate::domain::time::Timestamp;

/// Wall clock of a machine, without the jumps that do not last.
///
/// The time goes on with the monotonic clock, and follows the wall clock forward within
/// [`limits::CLOCK_SKEW`]. A larger difference is a jump, which is followed when it has lasted for
/// [`limits::CLOCK_FORWARD`] or [`limits::CLOCK_BACK`]; a clock before
/// [`limits::CLOCK_EARLIEST`] was not set yet, and is followed forward at once. The time never goes
/// back but by a jump that has lasted. Everything that was computed before is to be forgotten then:
/// [`steps_back`](Self::steps_back) counts these jumps.
#[derive(Clone, Debug)]
pub struct ClockFilter {
    /// Time at `read_at`.
    time: Timestamp,
    /// Monotonic time of the last reading.
    read_at: Duration,
    jump: Option<Jump>,
    steps_back: u32,
}

/// A difference to the wall clock that has not lasted yet.
#[derive(Clone, Copy, Debug)]
struct Jump {
    /// Monotonic time of the first reading with this difference.
    since: Duration,
    /// Wall clock at that reading.
    wall: Timestamp,
}

impl ClockFilter {
    /// Starts with the wall clock, which a new process has to believe. `uptime` is the monotonic
    /// clock: the time since any fixed moment.
    pub fn new(wall: Timestamp, uptime: Duration) -> Self {
        Self { time: wall, read_at: uptime, jump: None, steps_back: 0 }
    }

    /// Returns the time at a reading of both clocks.
    pub fn now(&mut self, wall: Timestamp, uptime: Duration) -> Timestamp {
        let expected = self.time + uptime.saturating_sub(self.read_at);
        (self.time, self.read_at) = (expected, uptime);
        if is_near(wall, expected) {
            (self.time, self.jump) = (expected.max(wall), None);
            return self.time;
        }
        let same = |jump: &Jump| is_near(wall, jump.wall + uptime.saturating_sub(jump.since));
        let jump = self.jump.filter(same).unwrap_or(Jump { since: uptime, wall });
        self.jump = Some(jump);
        let back = wall < expected;
        let lasts = if back {
            limits::CLOCK_BACK
        } else if expected < Timestamp::default() + limits::CLOCK_EARLIEST {
            Duration::ZERO
        } else {
            limits::CLOCK_FORWARD
        };
        if uptime.saturating_sub(jump.since) >= lasts {
            self.steps_back = self.steps_back.saturating_add(u32::from(back));
            (self.time, self.jump) = (wall, None);
        }
        self.time
    }

    /// Number of times that the clock was followed back.
    pub fn steps_back(&self) -> u32 {
        self.steps_back
    }
}

fn is_near(one: Timestamp, other: Timestamp) -> bool {
    one.since(other).max(other.since(one)) <= limits::CLOCK_SKEW
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_795_478_400);
    const SECOND: Duration = Duration::from_secs(1);
    const YEAR: Duration = Duration::from_hours(365 * 24);

    /// A machine whose wall clock is wrong by some seconds, read once a second.
    struct Machine(ClockFilter, Duration);

    impl Machine {
        fn started(wrong: i64) -> Self {
            Self(ClockFilter::new(off(START, wrong), Duration::ZERO), Duration::ZERO)
        }

        /// Passes this time with a clock that is wrong by `wrong` seconds. Returns how far the
        /// filtered clock is ahead of the true time, in seconds.
        fn pass(&mut self, time: Duration, wrong: i64) -> i64 {
            let Self(filter, uptime) = self;
            let (end, mut read) = (*uptime + time, Timestamp::default());
            while *uptime < end {
                *uptime += SECOND;
                read = filter.now(off(START + *uptime, wrong), *uptime);
            }
            (read.as_millis() - (START + *uptime).as_millis()) / 1000
        }
    }

    fn off(at: Timestamp, seconds: i64) -> Timestamp {
        Timestamp::from_millis(at.as_millis() + seconds * 1000)
    }

    const A_YEAR: i64 = YEAR.as_secs().cast_signed();

    #[test]
    fn a_clock_that_is_a_year_off_for_a_minute_is_not_followed() {
        for wrong in [A_YEAR, -A_YEAR] {
            let mut machine = Machine::started(0);
            assert_eq!(machine.pass(59 * SECOND, wrong), 0);
            assert_eq!(machine.pass(Duration::from_mins(20), 0), 0);
            assert_eq!(machine.0.steps_back(), 0);
        }
    }

    #[test]
    fn a_jump_that_lasts_is_followed_and_one_back_is_counted() {
        let mut machine = Machine::started(0);
        assert_eq!(machine.pass(limits::CLOCK_FORWARD, A_YEAR), 0);
        assert_eq!(machine.pass(SECOND, A_YEAR), A_YEAR);
        assert_eq!(machine.0.steps_back(), 0);
        assert_eq!(machine.pass(limits::CLOCK_BACK, 0), A_YEAR);
        assert_eq!(machine.pass(SECOND, 0), 0);
        assert_eq!(machine.0.steps_back(), 1);
    }

    #[test]
    fn a_process_that_starts_with_a_clock_a_year_ahead_recovers() {
        let mut machine = Machine::started(A_YEAR);
        assert_eq!(machine.pass(Duration::from_mins(1), A_YEAR), A_YEAR);
        assert_eq!(machine.pass(limits::CLOCK_BACK + SECOND, 0), 0);
        assert_eq!(machine.0.steps_back(), 1);
    }

    #[test]
    fn a_clock_that_is_not_set_yet_at_the_start_is_followed_as_soon_as_it_is() {
        let mut machine = Machine::started(-50 * A_YEAR);
        assert_eq!(machine.pass(SECOND, -50 * A_YEAR), -50 * A_YEAR);
        assert_eq!(machine.pass(SECOND, 0), 0);
        assert_eq!(machine.0.steps_back(), 0);
    }

    #[test]
    fn a_small_step_forward_is_followed_at_once_and_a_small_one_back_delays_nothing() {
        let mut machine = Machine::started(0);
        assert_eq!(machine.pass(SECOND, 200), 200);
        assert_eq!(machine.pass(Duration::from_hours(1), 0), 200);
        assert_eq!(machine.0.steps_back(), 0);
    }

    #[test]
    fn a_clock_that_jumps_to_and_fro_is_followed_nowhere() {
        let mut machine = Machine::started(0);
        for wrong in [A_YEAR, -A_YEAR, 7200, -7200].repeat(20) {
            assert_eq!(machine.pass(50 * SECOND, wrong), 0);
        }
        assert_eq!(machine.0.steps_back(), 0);
    }

    proptest! {
        /// However a clock is set, the time that is seen goes back by counted steps only, and is
        /// right soon after the clock is.
        #[test]
        fn any_clock_is_seen_without_uncounted_steps_back_and_ends_right(
            first in -4_000_i64..4_000,
            settings in prop::collection::vec((1..900_u64, -4_000_i64..4_000), 0..12),
        ) {
            let mut machine = Machine::started(first);
            let (mut before, mut steps) = (Timestamp::from_millis(i64::MIN), 0);
            for (seconds, wrong) in settings {
                for _ in 0..seconds {
                    machine.pass(SECOND, wrong);
                    let Machine(filter, _) = &machine;
                    prop_assert!(filter.time >= before || filter.steps_back() > steps);
                    (before, steps) = (filter.time, filter.steps_back());
                }
            }
            let ahead = machine.pass(limits::CLOCK_FORWARD + SECOND, 0);
            prop_assert!(ahead.unsigned_abs() <= limits::CLOCK_SKEW.as_secs(), "{ahead}");
        }
    }

    #[test]
    fn a_clock_at_the_earliest_time_of_a_set_clock_is_set() {
        let jump = |start: Timestamp| {
            let mut filter = ClockFilter::new(start, Duration::ZERO);
            filter.now(start + YEAR, Duration::ZERO).since(start)
        };
        let earliest = Timestamp::default() + limits::CLOCK_EARLIEST;
        assert_eq!(jump(earliest), Duration::ZERO, "a jump has to last");
        assert_eq!(jump(earliest - SECOND), YEAR, "it was not set before");
    }
}
