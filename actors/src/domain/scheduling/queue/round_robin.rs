//! Round robin over namespaces; within one, by when each is needed and then in the order in which they came.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::ingress::SecretKey;
use crate::domain::time::Timestamp;

/// A line for each namespace, and whose turn it is.
#[derive(Debug, Default)]
pub(in crate::domain) struct RoundRobin {
    turns: VecDeque<Arc<str>>,
    by_namespace: HashMap<Arc<str>, Line>,
    /// Since when each waits.
    waiting: BTreeSet<(Timestamp, u64)>,
    /// How many have come so far.
    came: u64,
}

/// By when each is needed and when it came; with the time since when it waits.
type Line = BTreeMap<(Timestamp, u64), (SecretKey, Timestamp)>;

impl RoundRobin {
    pub(in crate::domain) fn push(&mut self, stream: SecretKey, by: Timestamp, now: Timestamp) {
        let namespace = stream.namespace.clone();
        let line = self.by_namespace.entry(namespace.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(namespace);
        }
        line.insert((by, self.came), (stream, now));
        self.waiting.insert((now, self.came));
        self.came += 1;
    }

    pub(in crate::domain) fn pop(&mut self) -> Option<SecretKey> {
        let namespace = self.turns.pop_front()?;
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

    /// Takes one out before its turn; whether it was there.
    pub(in crate::domain) fn remove(&mut self, stream: &SecretKey) -> bool {
        let Some(line) = self.by_namespace.get_mut(&stream.namespace) else { return false };
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
            self.by_namespace.remove(&stream.namespace);
            self.turns.retain(|namespace| *namespace != stream.namespace);
            return before > 0;
        }
        line.len() < before
    }

    pub(in crate::domain) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Some of those that come next, about in their order: those at the head of each namespace's line.
    pub(super) fn upcoming(&self, count: usize) -> impl Iterator<Item = &SecretKey> {
        let each = count.div_ceil(self.turns.len().max(1));
        let lines = self.turns.iter().filter_map(|namespace| self.by_namespace.get(namespace));
        lines.flat_map(move |line| line.values().take(each)).take(count).map(|(key, _)| key)
    }

    /// Since when the one that has waited longest waits.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(since, _)| *since)
    }

    /// How many come before this one, if it is there.
    pub(in crate::domain) fn ahead_of(&self, stream: &SecretKey) -> Option<usize> {
        let line = self.by_namespace.get(&stream.namespace)?;
        let place = line.values().position(|(other, _)| other == stream)?;
        let turn = self.turns.iter().position(|namespace| *namespace == stream.namespace)?;
        let lines = self.turns.iter().enumerate().filter_map(|(other, namespace)| {
            let rounds = place + usize::from(other < turn);
            Some(self.by_namespace.get(namespace)?.len().min(rounds))
        });
        Some(lines.sum())
    }
}
