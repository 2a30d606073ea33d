//! Writes that a controller has observed and not applied yet.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

/// Watch events in order, each with the time at which it takes effect.
#[derive(Debug, Default)]
pub(super) struct Lag {
    longest: Duration,
    /// Whether each event has a delay of its own, from none to the longest.
    is_varied: bool,
    observed: u64,
    waiting: VecDeque<(Instant, Event<Ingress>)>,
}

/// Steps of a varied delay, in a period of which no two are the same.
const STEPS: u32 = 101;

impl Lag {
    /// Delays later events by `longest`, or by anything up to it.
    pub(super) fn set(&mut self, longest: Duration, is_varied: bool) {
        (self.longest, self.is_varied) = (longest, is_varied);
    }

    /// Adds an event. No event overtakes an earlier one, as in any controller.
    pub(super) fn add(&mut self, event: Event<Ingress>, now: Instant) {
        let step = u32::try_from(self.observed * 37 % u64::from(STEPS)).unwrap_or(STEPS);
        let delay = if self.is_varied { self.longest * step / STEPS } else { self.longest };
        self.observed += 1;
        let last = self.waiting.back().map_or(now, |(due, _)| *due);
        self.waiting.push_back((last.max(now + delay), event));
    }

    /// Takes the next event that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Event<Ingress>> {
        self.waiting.pop_front_if(|(due, _)| *due <= now).map(|(_, event)| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_late_and_in_order() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        let after = |secs| start + Duration::from_secs(secs);
        lag.set(Duration::from_secs(10), false);
        lag.add(Event::Init, start);
        lag.set(Duration::ZERO, false);
        lag.add(Event::InitDone, start);
        assert!(lag.due(after(9)).is_none());
        assert!(matches!(lag.due(after(10)), Some(Event::Init)));
        assert!(matches!(lag.due(after(10)), Some(Event::InitDone)));
        assert!(lag.due(after(10)).is_none());
    }

    #[test]
    fn varied_delays_reach_from_none_to_the_longest() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        lag.set(Duration::from_secs(10), true);
        let mut delays: Vec<u64> = Vec::new();
        for _ in 0..STEPS {
            lag.waiting.clear();
            lag.add(Event::Init, start);
            delays.extend(lag.waiting.iter().map(|(due, _)| (*due - start).as_secs()));
        }
        assert_eq!((delays.iter().min(), delays.iter().max()), (Some(&0), Some(&9)));
    }
}
