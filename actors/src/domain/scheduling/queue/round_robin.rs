//! Round robin over namespaces; within a namespace ordered by deadline, then by arrival.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::time::Timestamp;

/// Key of something in a namespace.
pub(in crate::domain) trait Namespaced: Eq {
    fn namespace(&self) -> &Arc<str>;
}

impl Namespaced for SecretKey {
    fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }
}

impl Namespaced for IngressKey {
    fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }
}

impl Namespaced for ReconcileKey {
    fn namespace(&self) -> &Arc<str> {
        self.namespace()
    }
}

/// One queue per namespace, and the order of the namespaces.
#[derive(Debug)]
pub(in crate::domain) struct RoundRobin<K = SecretKey> {
    turns: VecDeque<Arc<str>>,
    by_namespace: HashMap<Arc<str>, Line<K>>,
    /// Arrival time and number of each entry.
    waiting: BTreeSet<(Timestamp, u64)>,
    /// Number of entries so far.
    came: u64,
}

/// Entries by deadline and arrival number, each with its arrival time.
type Line<K> = BTreeMap<(Timestamp, u64), (K, Timestamp)>;

impl<K> Default for RoundRobin<K> {
    fn default() -> Self {
        let (turns, by_namespace, waiting) = Default::default();
        Self { turns, by_namespace, waiting, came: 0 }
    }
}

impl<K: Namespaced> RoundRobin<K> {
    pub(in crate::domain) fn push(&mut self, stream: K, by: Timestamp, now: Timestamp) {
        let namespace = stream.namespace().clone();
        let line = self.by_namespace.entry(namespace.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(namespace);
        }
        line.insert((by, self.came), (stream, now));
        self.waiting.insert((now, self.came));
        self.came += 1;
    }

    pub(in crate::domain) fn pop(&mut self) -> Option<K> {
        self.pop_of(&|_| true)
    }

    /// Like [`pop`](Self::pop), but passes over the namespaces that `may` not have a turn now.
    pub(in crate::domain) fn pop_of(&mut self, may: &impl Fn(&str) -> bool) -> Option<K> {
        let turn = self.turns.iter().position(|namespace| may(namespace))?;
        let namespace = self.turns.remove(turn)?;
        let line = self.by_namespace.get_mut(&namespace)?;
        let ((_, came), (stream, since)) = line.pop_first()?;
        self.waiting.remove(&(since, came));
        if line.is_empty() {
            self.by_namespace.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        Some(stream)
    }

    /// Removes an entry before its turn. Returns whether it existed.
    pub(in crate::domain) fn remove(&mut self, stream: &K) -> bool {
        let Some(line) = self.by_namespace.get_mut(stream.namespace()) else { return false };
        let before = line.len();
        let waiting = &mut self.waiting;
        line.retain(|(_, came), (other, since)| {
            let stays = other != stream;
            if !stays {
                waiting.remove(&(*since, *came));
            }
            stays
        });
        if line.is_empty() {
            self.by_namespace.remove(stream.namespace());
            self.turns.retain(|namespace| namespace != stream.namespace());
            return true; // a line is never empty before
        }
        line.len() < before
    }

    pub(in crate::domain) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Number of entries of one namespace.
    pub(in crate::domain) fn len_of(&self, namespace: &str) -> usize {
        self.by_namespace.get(namespace).map_or(0, BTreeMap::len)
    }

    /// Up to `count` entries that come next, roughly in order: the first entries of each namespace.
    pub(super) fn upcoming(&self, count: usize) -> impl Iterator<Item = &K> {
        let each = count.div_ceil(self.turns.len().max(1));
        let lines = self.turns.iter().filter_map(|namespace| self.by_namespace.get(namespace));
        lines.flat_map(move |line| line.values().take(each)).take(count).map(|(key, _)| key)
    }

    /// Arrival time of the entry that has waited longest.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(since, _)| *since)
    }

    /// Number of entries ahead of `stream`, if `stream` is an entry.
    pub(in crate::domain) fn ahead_of(&self, stream: &K) -> Option<usize> {
        let line = self.by_namespace.get(stream.namespace())?;
        let place = line.values().position(|(other, _)| other == stream)?;
        let turn = self.turns.iter().position(|namespace| namespace == stream.namespace())?;
        let lines = self.turns.iter().enumerate().filter_map(|(other, namespace)| {
            let rounds = place + usize::from(other < turn);
            Some(self.by_namespace.get(namespace)?.len().min(rounds))
        });
        Some(lines.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str) -> SecretKey {
        SecretKey::new(namespace, name)
    }

    fn queue(all: &[(&str, &str)]) -> RoundRobin {
        let mut queue = RoundRobin::default();
        for (second, (namespace, name)) in (0..).zip(all) {
            let (by, now) = (Timestamp::default(), Timestamp::from_secs(second));
            queue.push(key(namespace, name), by, now);
        }
        queue
    }

    fn drain(queue: &mut RoundRobin) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).map(|key| key.to_string()).collect()
    }

    #[test]
    fn what_is_removed_is_not_popped_and_the_others_keep_their_turns() {
        let mut queue = queue(&[("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")]);
        assert!(queue.remove(&key("a", "1")));
        assert!(!queue.remove(&key("a", "1")), "it is gone");
        assert!(!queue.remove(&key("a", "3")) && !queue.remove(&key("d", "1")));
        assert_eq!((queue.len(), queue.oldest()), (3, Some(Timestamp::from_secs(1))));
        assert!(queue.remove(&key("b", "1")), "the last of its namespace");
        assert_eq!(drain(&mut queue), ["a/2", "c/1"]);
        queue.push(key("b", "2"), Timestamp::default(), Timestamp::default());
        assert_eq!(drain(&mut queue), ["b/2"], "once");
        assert_eq!((queue.len(), queue.oldest()), (0, None));
    }

    #[test]
    fn the_place_in_the_queue_is_the_number_that_are_popped_before() {
        let all = [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("b", "2"), ("a", "3")];
        for (namespace, name) in all {
            let mut queue = queue(&all);
            let ahead = queue.ahead_of(&key(namespace, name)).unwrap();
            let popped = drain(&mut queue);
            let place = popped.iter().position(|one| *one == format!("{namespace}/{name}"));
            assert_eq!(Some(ahead), place, "{namespace}/{name} of {popped:?}");
        }
        assert_eq!(queue(&all).ahead_of(&key("a", "4")), None);
    }
}
