//! Reproducible random faults of a server: the same seed and the same requests give the same
//! faults.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Probability of each fault, from 0 (never) to 1 (always).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Chances {
    /// The connection breaks before the request is executed.
    pub dropped: f64,
    /// The request is executed, but the connection breaks before the answer.
    pub unanswered: f64,
    /// The answer is 429 with `Retry-After: 1`.
    pub throttled: f64,
    /// The answer is 500.
    pub failed: f64,
    /// The answer is delayed by [`delay`](Self::delay).
    pub delayed: f64,
    /// Delay of delayed answers.
    pub delay: Duration,
    /// The request is executed, but the connection breaks in the middle of the answer.
    pub truncated: f64,
    /// The connection stays open without an answer, and the request is not executed.
    pub half_open: f64,
}

/// Fault of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks without the request being executed.
    Dropped,
    /// The request is executed, then the connection breaks.
    Unanswered,
    /// The answer is 429.
    Throttled,
    /// The answer is 500.
    Failed,
    /// The answer is delayed.
    Delayed(Duration),
    /// The request is executed, and half of the answer comes.
    Truncated,
    /// Nothing comes for [`HALF_OPEN`].
    HalfOpen,
}

/// Time for which a connection stays half open: longer than a client may wait.
pub const HALF_OPEN: Duration = Duration::from_mins(1);

/// Faults of one server. Clones share the state.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    chances: Chances,
    met: u64,
}

impl Faults {
    /// Creates a source without faults; `seed` determines all future ones.
    pub fn seeded(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self(Arc::new(Mutex::new(State { random, chances: Chances::default(), met: 0 })))
    }

    /// Sets the probabilities.
    pub fn set(&self, chances: Chances) {
        self.with(|state| state.chances = chances);
    }

    /// Number of faults so far.
    pub fn met(&self) -> u64 {
        self.with(|state| state.met)
    }

    /// Returns the fault of the next request, if any.
    pub fn next(&self) -> Option<Fault> {
        self.with(|state| {
            let Chances { dropped, unanswered, throttled, failed, .. } = state.chances;
            let Chances { delayed, delay, truncated, half_open, .. } = state.chances;
            let faults = [
                (dropped, Fault::Dropped),
                (unanswered, Fault::Unanswered),
                (throttled, Fault::Throttled),
                (failed, Fault::Failed),
                (delayed, Fault::Delayed(delay)),
                (truncated, Fault::Truncated),
                (half_open, Fault::HalfOpen),
            ];
            if faults.iter().all(|(chance, _)| *chance <= 0.0) {
                return None;
            }
            let mut dice = state.random.f64();
            let met = faults.into_iter().find_map(|(chance, fault)| {
                dice -= chance;
                (dice < 0.0).then_some(fault)
            });
            state.met += u64::from(met.is_some());
            met
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(seed: u64) -> Vec<Option<Fault>> {
        let faults = Faults::seeded(seed);
        faults.set(Chances { dropped: 0.2, failed: 0.3, ..Chances::default() });
        (0..100).map(|_| faults.next()).collect()
    }

    #[test]
    fn the_same_seed_meets_the_same_faults_about_as_often_as_asked() {
        assert_eq!(faults(1), faults(1));
        assert_ne!(faults(1), faults(2));
        let failed = faults(1).into_iter().filter(|fault| *fault == Some(Fault::Failed)).count();
        assert!((15..45).contains(&failed), "{failed}");
    }

    #[test]
    fn without_chances_nothing_goes_wrong() {
        assert!((0..100).all(|_| Faults::seeded(1).next().is_none()));
    }
}
