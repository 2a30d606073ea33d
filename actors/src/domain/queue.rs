//! A bounded queue that is fair between namespaces: each gets its turn, however much another one asks for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::ingress::SecretKey;
use super::time::Timestamp;

/// Lanes. Resumed work goes first; then those that tried before and new work take turns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lane {
    /// An order is open at the CA, or it was asked for once more: finishing frees what it holds.
    Resumed,
    /// A host could not be reached, and it is looked at again. There may be thousands that never will be.
    Again,
    /// New work.
    New,
}

/// Streams that wait for a place, in lanes, round robin over namespaces within a lane.
#[derive(Debug, Default)]
pub struct FairQueue {
    resumed: RoundRobin,
    again: RoundRobin,
    new: RoundRobin,
    /// Whose turn it is of the last two.
    again_first: bool,
    capacity: usize,
}

/// A line for each namespace, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    turns: VecDeque<Arc<str>>,
    by_namespace: HashMap<Arc<str>, VecDeque<(SecretKey, Timestamp)>>,
    len: usize,
}

impl FairQueue {
    /// An empty queue for at most `capacity` streams.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Puts a stream at the end of its namespace's line. `false` when the queue is full; only new work can
    /// be refused, for the other was let in before.
    #[must_use]
    pub fn push(&mut self, stream: SecretKey, lane: Lane, now: Timestamp) -> bool {
        match lane {
            Lane::Resumed => self.resumed.push(stream, now),
            Lane::Again => self.again.push(stream, now),
            Lane::New if self.len() >= self.capacity => return false,
            Lane::New => self.new.push(stream, now),
        }
        true
    }

    /// The next stream.
    pub fn pop(&mut self) -> Option<SecretKey> {
        let resumed = self.resumed.pop();
        if resumed.is_some() {
            return resumed;
        }
        self.again_first = !self.again_first;
        if self.again_first {
            return self.again.pop().or_else(|| self.new.pop());
        }
        self.new.pop().or_else(|| self.again.pop())
    }

    /// Some of the new streams that come next, about in their order: those at the head of each namespace's line.
    pub fn upcoming(&self, count: usize) -> Vec<SecretKey> {
        let each = count.div_ceil(self.new.turns.len().max(1));
        let lines =
            self.new.turns.iter().filter_map(|namespace| self.new.by_namespace.get(namespace));
        lines
            .flat_map(|line| line.iter().take(each))
            .take(count)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Streams that wait.
    pub fn len(&self) -> usize {
        self.resumed.len + self.again.len + self.new.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Since when the one that has waited longest waits.
    pub fn oldest(&self) -> Option<Timestamp> {
        let lanes = [&self.resumed, &self.again, &self.new].into_iter();
        let heads = lanes.flat_map(|lane| lane.by_namespace.values());
        heads.filter_map(|line| line.front()).map(|(_, since)| *since).min()
    }
}

impl RoundRobin {
    pub(super) fn push(&mut self, stream: SecretKey, now: Timestamp) {
        let namespace = stream.namespace.clone();
        let line = self.by_namespace.entry(namespace.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(namespace);
        }
        line.push_back((stream, now));
        self.len += 1;
    }

    pub(super) fn pop(&mut self) -> Option<SecretKey> {
        let namespace = self.turns.pop_front()?;
        let line = self.by_namespace.get_mut(&namespace)?;
        let (stream, _) = line.pop_front()?;
        self.len -= 1;
        if line.is_empty() {
            self.by_namespace.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        Some(stream)
    }

    /// Takes one out before its turn.
    pub(super) fn remove(&mut self, stream: &SecretKey) {
        let Some(line) = self.by_namespace.get_mut(&stream.namespace) else { return };
        let before = line.len();
        line.retain(|(other, _)| other != stream);
        self.len -= before - line.len();
        if line.is_empty() {
            self.by_namespace.remove(&stream.namespace);
            self.turns.retain(|namespace| *namespace != stream.namespace);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many come before this one, if it is there.
    pub(super) fn ahead_of(&self, stream: &SecretKey) -> Option<usize> {
        let line = self.by_namespace.get(&stream.namespace)?;
        let place = line.iter().position(|(other, _)| other == stream)?;
        let turn = self.turns.iter().position(|namespace| *namespace == stream.namespace)?;
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

    fn push(queue: &mut FairQueue, namespace: &str, name: &str, lane: Lane) -> bool {
        queue.push(SecretKey::new(namespace, name), lane, Timestamp::default())
    }

    fn drain(queue: &mut FairQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).map(|key| key.to_string()).collect()
    }

    #[test]
    fn a_namespace_with_much_work_delays_no_other() {
        let mut queue = FairQueue::new(10);
        for name in ["1", "2", "3"] {
            assert!(push(&mut queue, "big", name, Lane::New));
        }
        assert!(push(&mut queue, "small", "1", Lane::New));
        assert_eq!(drain(&mut queue), ["big/1", "small/1", "big/2", "big/3"]);
    }

    #[test]
    fn who_comes_next_can_be_foreseen() {
        let mut queue = FairQueue::new(10);
        for (namespace, name) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1")] {
            assert!(push(&mut queue, namespace, name, Lane::New));
        }
        let upcoming: Vec<String> = queue.upcoming(2).iter().map(ToString::to_string).collect();
        assert_eq!(upcoming, ["a/1", "b/1"]);
        assert_eq!(queue.upcoming(10).len(), 4);
    }

    #[test]
    fn resumed_work_goes_first() {
        let mut queue = FairQueue::new(10);
        assert!(push(&mut queue, "a", "new", Lane::New));
        assert!(push(&mut queue, "b", "resumed", Lane::Resumed));
        assert_eq!(drain(&mut queue), ["b/resumed", "a/new"]);
    }

    #[test]
    fn a_full_queue_refuses_new_work_only() {
        let mut queue = FairQueue::new(1);
        assert!(push(&mut queue, "a", "1", Lane::New));
        assert!(!push(&mut queue, "a", "2", Lane::New));
        assert!(push(&mut queue, "a", "3", Lane::Resumed));
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn those_that_try_again_and_new_work_take_turns() {
        let mut queue = FairQueue::new(10);
        for name in ["1", "2", "3"] {
            assert!(push(&mut queue, "dead", name, Lane::Again));
        }
        assert!(push(&mut queue, "other", "new", Lane::New));
        let first_two = [queue.pop(), queue.pop()].map(|stream| stream.unwrap().namespace);
        assert!(first_two.contains(&"other".into()), "{first_two:?}");
        assert_eq!(queue.len(), 2);
        assert!(queue.pop().is_some() && queue.pop().is_some() && queue.pop().is_none());
    }
}
