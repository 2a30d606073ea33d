//! What goes wrong at a server, by chance that repeats: the same seed and the same requests meet the same faults.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use bytes::Bytes;
use futures_util::stream;

/// How often what goes wrong; each chance is from 0 (never) to 1 (always).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Chances {
    /// The connection breaks before anything is done.
    pub dropped: f64,
    /// The request is carried out, and the connection breaks before the answer.
    pub unanswered: f64,
    /// 429, with `Retry-After: 1`.
    pub throttled: f64,
    /// 500.
    pub failed: f64,
    /// The answer comes late, by [`delay`](Self::delay).
    pub delayed: f64,
    /// How late.
    pub delay: Duration,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and the connection breaks.
    Dropped,
    /// It is done, and the connection breaks.
    Unanswered,
    /// It is answered 429.
    Throttled,
    /// It is answered 500.
    Failed,
    /// It is answered late.
    Delayed(Duration),
}

/// The faults of one server. Clones are the same.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    chances: Chances,
    met: u64,
}

impl Faults {
    /// None yet; `seed` decides on all that come.
    pub fn seeded(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self(Arc::new(Mutex::new(State { random, chances: Chances::default(), met: 0 })))
    }

    /// From now on with these chances.
    pub fn set(&self, chances: Chances) {
        self.with(|state| state.chances = chances);
    }

    /// How many there were.
    pub fn met(&self) -> u64 {
        self.with(|state| state.met)
    }

    /// What happens to the next request.
    pub fn next(&self) -> Option<Fault> {
        self.with(|state| {
            let Chances { dropped, unanswered, throttled, failed, delayed, delay } = state.chances;
            if dropped + unanswered + throttled + failed + delayed <= 0.0 {
                return None;
            }
            let faults = [
                (dropped, Fault::Dropped),
                (unanswered, Fault::Unanswered),
                (throttled, Fault::Throttled),
                (failed, Fault::Failed),
                (delayed, Fault::Delayed(delay)),
            ];
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

/// An answer whose connection breaks before its body comes.
pub(crate) fn broken() -> HttpResponse {
    let gone = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let body = stream::iter([Err::<Bytes, _>(gone)]);
    HttpResponse::Ok().body(SizedStream::new(1, body))
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
