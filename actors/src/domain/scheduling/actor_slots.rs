//! Bound on the dedup actors of new and edited Ingresses. An actor whose request is queued takes
//! 1.7 KB, a key that waits for an actor 300 bytes.

use std::collections::HashMap;

use crate::domain::by_namespace::{CountByNamespace, has_share};
use crate::domain::limits;
use crate::domain::scheduling::priority::Priority;
use crate::domain::scheduling::queue::RoundRobin;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::time::Timestamp;

/// Dedup actors by namespace, and the keys that wait for one, round robin over namespaces.
#[derive(Debug, Default)]
pub(crate) struct ActorSlots {
    actors: CountByNamespace,
    /// Time of the first event of each waiting key.
    waiting: HashMap<ReconcileKey, Timestamp>,
    /// Waiting keys in the order of their events. A key that is not in `waiting` any more is
    /// passed over.
    turns: RoundRobin<ReconcileKey>,
}

/// Whether a namespace may have one more actor. It may have a few always, and else its share.
fn may_start(actors: &CountByNamespace, namespace: &str) -> bool {
    let own = actors.of(namespace);
    own < limits::DEDUP_ACTORS_OF_EACH || has_share(own, actors.total(), limits::DEDUP_ACTORS)
}

impl ActorSlots {
    /// Counts an actor, where the namespace may have one more and none of its keys waits. Returns
    /// `false` if the key waits from now on.
    pub(crate) fn start_or_wait(&mut self, key: &ReconcileKey, now: Timestamp) -> bool {
        let namespace = key.namespace();
        if self.turns.len_of(namespace) == 0 && may_start(&self.actors, namespace) {
            self.start(key);
            return true;
        }
        self.waiting.insert(key.clone(), now);
        self.turns.push(key.clone(), Priority::FIRST.by, now);
        false
    }

    /// Counts an actor, whatever the bound is: for work that may be urgent. Returns the time of the
    /// first event, if the key has waited.
    pub(crate) fn start(&mut self, key: &ReconcileKey) -> Option<Timestamp> {
        self.actors.begin(key.namespace());
        self.waiting.remove(key)
    }

    /// Counts the end of an actor. Returns the keys that have one now, with the times of their
    /// first events.
    pub(crate) fn end(&mut self, key: &ReconcileKey) -> Vec<(ReconcileKey, Timestamp)> {
        self.actors.end(key.namespace());
        let mut started = Vec::new();
        while let Some(key) = self.turns.pop_of(&|namespace| may_start(&self.actors, namespace)) {
            if let Some(since) = self.waiting.remove(&key) {
                self.actors.begin(key.namespace());
                started.push((key, since));
            }
        }
        started
    }

    /// Time of the first event of a key that waits.
    pub(crate) fn waits_since(&self, key: &ReconcileKey) -> Option<Timestamp> {
        self.waiting.get(key).copied()
    }

    /// All keys that wait, with the times of their first events.
    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = (&ReconcileKey, Timestamp)> {
        self.waiting.iter().map(|(key, since)| (key, *since))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::domain::ingress::IngressKey;

    const NOW: Timestamp = Timestamp::from_secs(0);

    fn key(namespace: &str, number: usize) -> ReconcileKey {
        IngressKey::new(namespace, &number.to_string()).into()
    }

    /// Keys of a namespace that have an actor at once, of `count`.
    fn started(slots: &mut ActorSlots, namespace: &str, count: usize) -> Vec<ReconcileKey> {
        let keys = (0..count).map(|number| key(namespace, number));
        keys.filter(|key| slots.start_or_wait(key, NOW)).collect()
    }

    #[test]
    fn a_namespace_with_any_number_of_ingresses_leaves_half_of_the_actors_to_others() {
        let mut slots = ActorSlots::default();
        let half = limits::DEDUP_ACTORS / 2;
        assert_eq!(started(&mut slots, "loud", 20_000).len(), half);
        assert_eq!(started(&mut slots, "other", 20_000).len(), half / 2);
        assert_eq!(slots.waiting().len(), 40_000 - half - half / 2);
    }

    #[test]
    fn each_namespace_has_a_few_actors_at_once_however_many_there_are() {
        let mut slots = ActorSlots::default();
        for number in 0..limits::DEDUP_ACTORS {
            started(&mut slots, &format!("ns-{number}"), 1);
        }
        let few = limits::DEDUP_ACTORS_OF_EACH;
        assert_eq!(started(&mut slots, "late", 100).len(), few);
        assert!(slots.end(&key("ns-0", 0)).is_empty(), "there is no room yet");
        assert_eq!(slots.end(&key("late", 0)), [(key("late", few), NOW)]);
    }

    #[test]
    fn all_that_wait_have_an_actor_in_turn_and_in_order() {
        let mut slots = ActorSlots::default();
        let mut live: VecDeque<_> =
            ["a", "b"].iter().flat_map(|one| started(&mut slots, one, 5_000)).collect();
        let mut ended: Vec<ReconcileKey> = Vec::new();
        while let Some(key) = live.pop_front() {
            live.extend(slots.end(&key).into_iter().map(|(key, _)| key));
            ended.push(key);
            assert!(live.len() <= limits::DEDUP_ACTORS);
        }
        for namespace in ["a", "b"] {
            let all = (0..5_000).map(|number| key(namespace, number));
            let of_it = ended.iter().filter(|key| &**key.namespace() == namespace);
            assert!(all.eq(of_it.cloned()), "{namespace}");
        }
        assert_eq!(slots.waiting().len(), 0);
        assert_eq!(slots.turns.len(), 0);
    }

    #[test]
    fn urgent_work_has_an_actor_at_once_and_its_key_does_not_wait_any_more() {
        let mut slots = ActorSlots::default();
        let live = started(&mut slots, "web", 20_000);
        let urgent = key("web", 19_999);
        assert_eq!(slots.waits_since(&urgent), Some(NOW));
        assert_eq!(slots.start(&urgent), Some(NOW));
        assert_eq!(slots.waits_since(&urgent), None);
        let mut live = VecDeque::from(live);
        let mut ended = 0;
        while let Some(one) = live.pop_front() {
            live.extend(slots.end(&one).into_iter().map(|(key, _)| key));
            ended += 1;
        }
        assert_eq!(ended, 19_999, "all but the urgent one");
    }
}
