//! When the Event of a state that lasts is sent again.
//!
//! The API server deletes an Event after an hour. So the Events of an Ingress whose state lasts are
//! sent again once a period, which is shorter than that. Each Ingress has its own slot of the
//! period, so that thousands are spread; those without room in their slot wait, and the namespaces
//! take turns. The number of the period is part of the Event's name, so that a new leader, which
//! remembers nothing, sends none twice.

use std::collections::HashSet;

use crate::domain::hash::stable_hash;
use crate::domain::ingress::IngressKey;
use crate::domain::limits;
use crate::domain::scheduling::queue::RoundRobin;
use crate::domain::time::Timestamp;

/// Slots of a period.
const SLOTS: i64 =
    (limits::EVENT_REPEAT.as_secs() / limits::EVENT_REPEAT_SLOT.as_secs()).cast_signed();

/// Number of the period that an Ingress is in. A period of its own begins with its slot.
pub fn period(key: &IngressKey, now: Timestamp) -> i64 {
    (number(now) - slot(key)).div_euclid(SLOTS)
}

/// Slot of an Ingress, `0..SLOTS`.
fn slot(key: &IngressKey) -> i64 {
    i64::try_from(stable_hash(key) % SLOTS.unsigned_abs()).unwrap_or(0)
}

/// Number of the slot that `now` is in, of all times.
fn number(now: Timestamp) -> i64 {
    let length = i64::try_from(limits::EVENT_REPEAT_SLOT.as_secs()).unwrap_or(1);
    now.as_secs().div_euclid(length)
}

/// The Ingresses whose slot has come.
#[derive(Debug)]
pub(crate) struct Repeats {
    /// Number of the last slot that was looked at.
    done: i64,
    waiting: RoundRobin<IngressKey>,
    /// Those in `waiting`.
    queued: HashSet<IngressKey>,
}

impl Repeats {
    /// Begins with a whole period, whose Events the leader before may not have sent.
    pub(crate) fn new(now: Timestamp) -> Self {
        let (waiting, queued) = Default::default();
        Self { done: number(now) - SLOTS, waiting, queued }
    }

    /// Returns whether the slot of an Ingress has come since the last call.
    pub(crate) fn due(&mut self, now: Timestamp) -> impl Fn(&IngressKey) -> bool + use<> {
        let (before, now) = (self.done, number(now));
        self.done = before.max(now);
        let (first, count) = (before + 1, now - before);
        move |key| (slot(key) - first).rem_euclid(SLOTS) < count
    }

    /// Adds an Ingress, unless it waits already.
    pub(crate) fn add(&mut self, key: &IngressKey, now: Timestamp) {
        if self.queued.insert(key.clone()) {
            self.waiting.push(key.clone(), now, now);
        }
    }

    /// Removes the next Ingress: the namespaces take turns.
    pub(crate) fn next(&mut self) -> Option<IngressKey> {
        let key = self.waiting.pop()?;
        self.queued.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_795_478_403);

    fn key(namespace: &str, number: usize) -> IngressKey {
        IngressKey::new(namespace, &format!("i{number}"))
    }

    #[test]
    fn each_ingress_is_due_once_a_period_and_its_number_changes_then() {
        for key in (0..500).map(|number| key("web", number)) {
            let mut repeats = Repeats::new(START);
            assert!(repeats.due(START)(&key), "the first look has a whole period");
            let mut turns = Vec::new();
            for second in (1..=3 * 3_000 + 10).step_by(7) {
                let now = START + Duration::from_secs(second);
                if repeats.due(now)(&key) {
                    turns.push((now, period(&key, now)));
                }
            }
            assert!((3..=4).contains(&turns.len()), "{turns:?}");
            for two in turns.windows(2) {
                let pause = two[1].0.since(two[0].0);
                assert!(pause.abs_diff(limits::EVENT_REPEAT) <= Duration::from_secs(10));
                assert_eq!(two[1].1, two[0].1 + 1);
            }
            let just_before = turns[1].0 - Duration::from_secs(10);
            assert_eq!(period(&key, just_before), turns[0].1, "the number changes with the slot");
        }
    }

    #[test]
    fn a_late_look_misses_nobody_and_a_clock_set_back_repeats_nobody() {
        let all: Vec<IngressKey> = (0..500).map(|number| key("web", number)).collect();
        let due = |repeats: &mut Repeats, now: Timestamp| {
            let is_due = repeats.due(now);
            all.iter().filter(|key| is_due(key)).count()
        };
        let mut repeats = Repeats::new(START);
        assert_eq!(due(&mut repeats, START), 500);
        assert_eq!(due(&mut repeats, START), 0);
        assert_eq!(due(&mut repeats, START + 3 * limits::EVENT_REPEAT), 500);
        assert_eq!(due(&mut repeats, START), 0);
        assert_eq!(due(&mut repeats, START + 3 * limits::EVENT_REPEAT), 0);
    }

    #[test]
    fn a_namespace_with_thousands_leaves_the_others_their_turn_and_nobody_waits_twice() {
        let mut repeats = Repeats::new(START);
        for _ in 0..2 {
            (0..1_000).for_each(|number| repeats.add(&key("bad", number), START));
            (0..3).for_each(|number| repeats.add(&key("good", number), START));
        }
        let first: Vec<IngressKey> = std::iter::from_fn(|| repeats.next()).take(6).collect();
        assert_eq!(first.iter().filter(|key| &*key.namespace == "good").count(), 3);
        assert_eq!(std::iter::from_fn(|| repeats.next()).count(), 997);
        assert_eq!(repeats.next(), None);
    }

    #[test]
    fn an_event_is_sent_again_well_before_the_api_server_deletes_it() {
        let kept = Duration::from_hours(1); // --event-ttl of kube-apiserver
        assert!(limits::EVENT_REPEAT + 30 * limits::EVENT_REPEAT_SLOT <= kept);
        assert_eq!(limits::EVENT_REPEAT.as_secs() % limits::EVENT_REPEAT_SLOT.as_secs(), 0);
    }
}
