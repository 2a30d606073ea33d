//! A bounded queue that is fair between namespaces: each gets its turn, however much another one asks for.

mod round_robin;

use crate::domain::ingress::SecretKey;
use crate::domain::scheduling::priority::{Priority, Urgency};
use crate::domain::time::Timestamp;
pub(in crate::domain) use round_robin::RoundRobin;

/// Lanes. Resumed work goes first; then those that tried before and new work take turns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lane {
    /// An order is open at the CA, or it was asked for once more: finishing frees what it holds.
    Resumed,
    /// A host could not be reached, and it is looked at again. There may be thousands that never will be.
    Again,
    /// New work, in the order in which it is needed.
    New(Priority),
}

/// Whose turn it is among new work: four, two and one of seven.
const TURNS: [Urgency; 7] = {
    use Urgency::{Expiring, First, Renewal};
    [Renewal, Expiring, First, Expiring, First, Expiring, Expiring]
};

/// Streams that wait for a slot, in lanes, round robin over namespaces within a lane.
#[derive(Debug, Default)]
pub struct FairQueue {
    resumed: RoundRobin,
    again: RoundRobin,
    /// By urgency.
    new: [RoundRobin; 3],
    /// How far the turns of these have come.
    turn: usize,
    /// Whose turn it is of the last two.
    again_first: bool,
    capacity: usize,
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
        let in_order = Priority::FIRST.by;
        match lane {
            Lane::Resumed => self.resumed.push(stream, in_order, now),
            Lane::Again => self.again.push(stream, in_order, now),
            Lane::New(_) if self.is_full() => return false,
            Lane::New(priority) => {
                self.new[priority.urgency as usize].push(stream, priority.by, now)
            }
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
        let again = self.again_first.then(|| self.again.pop()).flatten();
        again.or_else(|| self.pop_new()).or_else(|| self.again.pop())
    }

    /// The more urgent have more turns, and none has all: thousands of one kind hold up the others' for a while only.
    fn pop_new(&mut self) -> Option<SecretKey> {
        self.turn = (self.turn + 1) % TURNS.len();
        let whose = TURNS[self.turn] as usize;
        self.new[whose].pop().or_else(|| self.new.iter_mut().find_map(RoundRobin::pop))
    }

    /// New work is needed sooner than was thought when it came.
    pub fn expedite(
        &mut self,
        stream: &SecretKey,
        (from, to): (Priority, Priority),
        now: Timestamp,
    ) {
        if to < from && self.new[from.urgency as usize].remove(stream) {
            self.new[to.urgency as usize].push(stream.clone(), to.by, now);
        }
    }

    /// Some of the new streams that come next, about in their order: those at the head of each namespace's line.
    pub fn upcoming(&self, count: usize) -> Vec<SecretKey> {
        self.new.iter().flat_map(|lane| lane.upcoming(count)).take(count).cloned().collect()
    }

    /// Whether new work is refused.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// Streams that wait.
    pub fn len(&self) -> usize {
        let new: usize = self.new.iter().map(RoundRobin::len).sum();
        self.resumed.len() + self.again.len() + new
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Since when the one that has waited longest waits.
    pub fn oldest(&self) -> Option<Timestamp> {
        let lanes = [&self.resumed, &self.again].into_iter().chain(&self.new);
        lanes.filter_map(RoundRobin::oldest).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &mut FairQueue, namespace: &str, name: &str, lane: Lane) -> bool {
        queue.push(SecretKey::new(namespace, name), lane, Timestamp::default())
    }

    const NEW: Lane = Lane::New(Priority::FIRST);

    fn drain(queue: &mut FairQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).map(|key| key.to_string()).collect()
    }

    #[test]
    fn a_namespace_with_much_work_delays_no_other() {
        let mut queue = FairQueue::new(10);
        for name in ["1", "2", "3"] {
            assert!(push(&mut queue, "big", name, NEW));
        }
        assert!(push(&mut queue, "small", "1", NEW));
        assert_eq!(drain(&mut queue), ["big/1", "small/1", "big/2", "big/3"]);
    }

    #[test]
    fn who_comes_next_can_be_prefetched() {
        let mut queue = FairQueue::new(10);
        for (namespace, name) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1")] {
            assert!(push(&mut queue, namespace, name, NEW));
        }
        let upcoming: Vec<String> = queue.upcoming(2).iter().map(ToString::to_string).collect();
        assert_eq!(upcoming, ["a/1", "b/1"]);
        assert_eq!(queue.upcoming(10).len(), 4);
    }

    #[test]
    fn resumed_work_goes_first() {
        let mut queue = FairQueue::new(10);
        assert!(push(&mut queue, "a", "new", NEW));
        assert!(push(&mut queue, "b", "resumed", Lane::Resumed));
        assert_eq!(drain(&mut queue), ["b/resumed", "a/new"]);
    }

    #[test]
    fn the_more_urgent_have_more_turns_and_what_ends_first_goes_first() {
        let until = |urgency, at| Lane::New(Priority { urgency, by: Timestamp::from_secs(at) });
        let mut queue = FairQueue::new(10);
        for (namespace, name, lane) in [
            ("a", "renewal-9", until(Urgency::Renewal, 9)),
            ("a", "renewal-8", until(Urgency::Renewal, 8)),
            ("a", "first", NEW),
            ("b", "first", NEW),
            ("b", "ending-2", until(Urgency::Expiring, 2)),
            ("b", "ending-1", until(Urgency::Expiring, 1)),
        ] {
            assert!(push(&mut queue, namespace, name, lane));
        }
        let order =
            ["b/ending-1", "a/first", "b/ending-2", "b/first", "a/renewal-8", "a/renewal-9"];
        assert_eq!(drain(&mut queue), order);
    }

    #[test]
    fn thousands_that_are_more_urgent_do_not_hold_up_a_renewal_for_ever() {
        let priority = |urgency| Lane::New(Priority { urgency, ..Priority::FIRST });
        let mut queue = FairQueue::new(10_000);
        for number in 0..1000 {
            let name = number.to_string();
            assert!(push(&mut queue, "dead", &name, priority(Urgency::First)));
            assert!(push(&mut queue, "ending", &name, priority(Urgency::Expiring)));
        }
        assert!(push(&mut queue, "small", "renewal", priority(Urgency::Renewal)));
        let before = std::iter::from_fn(|| queue.pop()).position(|one| &*one.namespace == "small");
        assert!(before.unwrap() < TURNS.len(), "{before:?}");
    }

    #[test]
    fn what_has_become_urgent_while_it_waited_goes_first() {
        let at = |urgency, secs| Priority { urgency, by: Timestamp::from_secs(secs) };
        let (before, after) = (at(Urgency::Renewal, 9), at(Urgency::Expiring, 9));
        let mut queue = FairQueue::new(10);
        assert!(push(&mut queue, "a", "1", NEW));
        assert!(push(&mut queue, "a", "2", Lane::New(before)));
        queue.expedite(&SecretKey::new("a", "2"), (before, after), Timestamp::default());
        queue.expedite(&SecretKey::new("a", "3"), (before, after), Timestamp::default());
        assert_eq!(drain(&mut queue), ["a/2", "a/1"]);
    }

    #[test]
    fn a_full_queue_refuses_new_work_only() {
        let mut queue = FairQueue::new(1);
        assert!(push(&mut queue, "a", "1", NEW));
        assert!(!push(&mut queue, "a", "2", NEW));
        assert!(push(&mut queue, "a", "3", Lane::Resumed));
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn those_that_try_again_and_new_work_take_turns() {
        let mut queue = FairQueue::new(10);
        for name in ["1", "2", "3"] {
            assert!(push(&mut queue, "dead", name, Lane::Again));
        }
        assert!(push(&mut queue, "other", "new", NEW));
        let first_two = [queue.pop(), queue.pop()].map(|stream| stream.unwrap().namespace);
        assert!(first_two.contains(&"other".into()), "{first_two:?}");
        assert_eq!(queue.len(), 2);
        assert!(queue.pop().is_some() && queue.pop().is_some() && queue.pop().is_none());
    }
}
