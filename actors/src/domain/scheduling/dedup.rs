//! Deduplication of the events of one Ingress, as a state machine without a clock.
//!
//! A burst settles after a quiet period, but never waits longer than a maximum. Events during a
//! reconciliation cause exactly one more. Every state has a deadline, so none lasts forever.

use std::time::Duration;

use crate::domain::limits;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;

/// `--settle` and `--settle-max`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettleTimes {
    /// Quiet period after the last event.
    pub settle: Duration,
    /// Longest wait after the first event.
    pub settle_max: Duration,
}

impl Default for SettleTimes {
    fn default() -> Self {
        Self { settle: Duration::from_secs(1), settle_max: Duration::from_secs(5) }
    }
}

/// Phase of one Ingress.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// Nothing to do: the actor may retire.
    #[default]
    Idle,
    /// Events arrived and the burst is not over.
    Settling(Burst),
    /// The pool is reconciling the Ingress.
    InFlight {
        /// Time of the request to the pool.
        since: Timestamp,
        /// Events since that request, if any.
        dirty: Option<Burst>,
    },
    /// The Ingress waits for its requeue.
    Waiting {
        /// Time of the next reconciliation.
        until: Timestamp,
    },
}

/// First and last event of a burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Burst {
    first: Timestamp,
    last: Timestamp,
}

impl Burst {
    /// A burst of one event, or of the events of a key that has no actor yet.
    pub(crate) fn since(first: Timestamp) -> Self {
        Self { first, last: first }
    }
}

/// Next action of the actor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Nothing.
    Rest,
    /// Call [`DedupMachine::timer`] at this time, and drop earlier timers.
    Wake(Timestamp),
    /// Send the key to the pool, and call [`DedupMachine::timer`] at this time if the pool has not
    /// answered.
    Reconcile(Timestamp),
    /// Leave the registry.
    Retire,
    /// Leave the registry until this time, at which a machine of
    /// [`DedupMachine::due`] continues.
    RetireUntil(Timestamp),
}

/// State machine of one Ingress. Time is an argument of each call.
#[derive(Clone, Debug)]
pub(crate) struct DedupMachine {
    settle_times: SettleTimes,
    phase: Phase,
}

impl DedupMachine {
    /// Creates an idle machine.
    pub(crate) fn new(settle_times: SettleTimes) -> Self {
        Self { settle_times, phase: Phase::Idle }
    }

    /// Creates a machine whose requeue is due.
    pub(crate) fn due(settle_times: SettleTimes, until: Timestamp) -> Self {
        Self { settle_times, phase: Phase::Waiting { until } }
    }

    /// Returns the current phase.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Handles an event. Returns `true` with the action if the event was coalesced into an earlier
    /// one.
    pub(crate) fn changed(&mut self, now: Timestamp) -> (bool, Action) {
        match &mut self.phase {
            Phase::Idle | Phase::Waiting { .. } => (false, self.settle(Burst::since(now), now)),
            Phase::Settling(burst) => {
                let burst = Burst { last: now, ..*burst };
                (true, self.settle(burst, now))
            }
            Phase::InFlight { dirty, .. } => {
                let coalesced = dirty.is_some();
                let first = dirty.map_or(now, |burst| burst.first);
                *dirty = Some(Burst { first, last: now });
                (coalesced, Action::Rest)
            }
        }
    }

    /// Handles the timer of [`Action::Wake`] or [`Action::Reconcile`].
    pub(crate) fn timer(&mut self, now: Timestamp) -> Action {
        match self.phase {
            Phase::Idle => Action::Retire,
            Phase::Settling(burst) => self.settle(burst, now),
            Phase::Waiting { until } if now >= until => self.reconcile(now),
            Phase::Waiting { until } => Action::Wake(until),
            Phase::InFlight { since, .. } if now.since(since) >= limits::IN_FLIGHT_MAX => {
                self.finished(Requeue::Busy, now)
            }
            Phase::InFlight { since, .. } => Action::Wake(since + limits::IN_FLIGHT_MAX),
        }
    }

    /// Handles the answer of the pool. A late answer is ignored.
    pub(crate) fn finished(&mut self, requeue: Requeue, now: Timestamp) -> Action {
        let Phase::InFlight { dirty, .. } = self.phase else { return Action::Rest };
        if let Some(burst) = dirty {
            return self.settle(burst, now);
        }
        let until = match requeue {
            Requeue::AwaitChange => {
                self.phase = Phase::Idle;
                return Action::Retire;
            }
            Requeue::At(until) => until,
            Requeue::Busy => now + limits::BUSY_RETRY,
        };
        self.phase = Phase::Waiting { until };
        Action::RetireUntil(until)
    }

    fn settle(&mut self, burst: Burst, now: Timestamp) -> Action {
        let quiet = burst.last + self.settle_times.settle;
        let due = quiet.min(burst.first + self.settle_times.settle_max);
        if now >= due {
            return self.reconcile(now);
        }
        self.phase = Phase::Settling(burst);
        Action::Wake(due)
    }

    fn reconcile(&mut self, now: Timestamp) -> Action {
        self.phase = Phase::InFlight { since: now, dirty: None };
        Action::Reconcile(now + limits::IN_FLIGHT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn settled() -> DedupMachine {
        let mut dedup = DedupMachine::new(SettleTimes::default());
        dedup.changed(at(0));
        assert!(matches!(dedup.timer(at(1000)), Action::Reconcile(_)));
        dedup
    }

    #[test]
    fn a_burst_settles_after_a_quiet_period() {
        let mut dedup = DedupMachine::new(SettleTimes::default());
        assert_eq!(dedup.changed(at(0)), (false, Action::Wake(at(1000))));
        assert_eq!(dedup.changed(at(600)), (true, Action::Wake(at(1600))));
        assert_eq!(dedup.timer(at(1000)), Action::Wake(at(1600)));
        assert!(matches!(dedup.timer(at(1600)), Action::Reconcile(_)));
    }

    #[test]
    fn a_constant_stream_still_runs_within_the_maximum_wait() {
        let mut dedup = DedupMachine::new(SettleTimes::default());
        let issued = (0..100)
            .map(|n| at(n * 100))
            .find(|now| matches!(dedup.changed(*now).1, Action::Reconcile(_)));
        assert_eq!(issued, Some(at(5000)));
    }

    #[test]
    fn events_in_flight_become_exactly_one_more_run() {
        let mut dedup = settled();
        assert_eq!(dedup.changed(at(1100)), (false, Action::Rest));
        assert_eq!(dedup.changed(at(1200)), (true, Action::Rest));
        assert!(matches!(dedup.finished(Requeue::AwaitChange, at(9000)), Action::Reconcile(_)));
        assert_eq!(dedup.finished(Requeue::AwaitChange, at(9500)), Action::Retire);
    }

    #[test]
    fn a_run_that_ends_amid_a_burst_lets_it_settle_first() {
        let mut dedup = settled();
        dedup.changed(at(1900));
        assert_eq!(dedup.finished(Requeue::AwaitChange, at(2000)), Action::Wake(at(2900)));
    }

    #[test]
    fn a_failure_is_asked_for_again_and_an_event_does_not_wait_for_that() {
        let mut dedup = settled();
        let retired = dedup.finished(Requeue::At(at(60_000)), at(2000));
        assert_eq!(retired, Action::RetireUntil(at(60_000)));
        let mut due = DedupMachine::due(SettleTimes::default(), at(60_000));
        assert!(matches!(due.timer(at(60_000)), Action::Reconcile(_)));
        let mut edited = dedup.clone();
        assert!(matches!(dedup.timer(at(60_000)), Action::Reconcile(_)));
        assert_eq!(edited.changed(at(5000)), (false, Action::Wake(at(6000))));
    }

    #[test]
    fn a_downstream_that_never_answers_releases_its_key() {
        let mut dedup = settled();
        let late = at(1000) + limits::IN_FLIGHT_MAX;
        assert_eq!(dedup.timer(late), Action::RetireUntil(late + limits::BUSY_RETRY));
        assert!(matches!(dedup.timer(late + limits::BUSY_RETRY), Action::Reconcile(_)));
    }

    #[test]
    fn an_answer_that_comes_too_late_is_ignored() {
        let mut dedup = settled();
        dedup.finished(Requeue::AwaitChange, at(2000));
        assert_eq!(dedup.finished(Requeue::AwaitChange, at(3000)), Action::Rest);
    }

    #[test]
    fn a_timer_that_comes_early_is_set_again() {
        let mut waits = DedupMachine::due(SettleTimes::default(), at(9_000));
        assert_eq!(waits.phase(), Phase::Waiting { until: at(9_000) });
        assert_eq!(waits.timer(at(8_999)), Action::Wake(at(9_000)));
        let answer_by = at(9_000) + limits::IN_FLIGHT_MAX;
        assert_eq!(waits.timer(at(9_000)), Action::Reconcile(answer_by));
        assert_eq!(waits.phase(), Phase::InFlight { since: at(9_000), dirty: None });
        let early = answer_by - Duration::from_millis(1);
        assert_eq!(waits.timer(early), Action::Wake(answer_by));
        assert!(matches!(waits.timer(answer_by), Action::RetireUntil(_)));
    }
}
