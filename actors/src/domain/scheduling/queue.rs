//! A bounded queue that is fair between namespaces: a namespace with many entries does not delay
//! the others.

mod round_robin;

use crate::domain::by_namespace::has_share;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::scheduling::priority::{Priority, Urgency};
use crate::domain::time::Timestamp;
pub(in crate::domain) use round_robin::RoundRobin;

/// Lanes of the queue. Resumed work goes first; then retries and new work alternate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Lane {
    /// A job with an open order, or requested again while running. Finishing these jobs frees
    /// resources.
    Resumed,
    /// A job that probes its hosts again. There may be thousands that never succeed.
    Again,
    /// A new attempt after an unreachable host.
    Retry,
    /// New work, by priority.
    New(Priority),
}

/// Turns of the urgencies in new work: of seven turns, `Expiring` has four, `First` two and
/// `Renewal` one.
const TURNS: [Urgency; 7] = {
    use Urgency::{Expiring, First, Renewal};
    [Renewal, Expiring, First, Expiring, First, Expiring, Expiring]
};

/// Secrets that wait for a slot, in lanes; within a lane round robin over namespaces.
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    resumed: RoundRobin,
    again: RoundRobin,
    retry: RoundRobin,
    /// New work, by urgency.
    new: [RoundRobin; 3],
    /// Index into [`TURNS`].
    turn: usize,
    /// Whether retries go before new work; toggled by each pop.
    again_first: bool,
    capacity: usize,
}

impl FairQueue {
    /// Creates an empty queue for at most `capacity` Secrets.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Adds a Secret to its lane. Returns `false` if there is no room. Only new work and new
    /// attempts are refused, because the other lanes hold work that was accepted before.
    #[must_use]
    pub(crate) fn push(&mut self, stream: SecretKey, lane: Lane, now: Timestamp) -> bool {
        let in_order = Priority::FIRST.by;
        match lane {
            Lane::Resumed => self.resumed.push(stream, in_order, now),
            Lane::Again => self.again.push(stream, in_order, now),
            Lane::Retry if !self.has_room_for_retry(&stream.namespace) => return false,
            Lane::Retry => self.retry.push(stream, in_order, now),
            Lane::New(_) if !self.has_room(&stream.namespace) => return false,
            Lane::New(priority) => {
                self.new[priority.urgency as usize].push(stream, priority.by, now);
            }
        }
        true
    }

    /// Removes and returns the next Secret of a namespace that `may` have one more slot, and, where
    /// its job has not begun, `may_begin` one more job.
    pub(crate) fn pop(
        &mut self,
        may: impl Fn(&str) -> bool,
        may_begin: impl Fn(&str) -> bool,
    ) -> Option<SecretKey> {
        let resumed = self.resumed.pop_of(&may);
        if resumed.is_some() {
            return resumed;
        }
        let begin = |namespace: &str| may_begin(namespace) && may(namespace);
        self.again_first = !self.again_first;
        let again = self.again_first.then(|| self.pop_again(&may, &begin)).flatten();
        again.or_else(|| self.pop_new(&begin)).or_else(|| self.pop_again(&may, &begin))
    }

    /// Jobs that have begun go before new attempts, because the end of a job frees memory.
    fn pop_again(
        &mut self,
        may: &impl Fn(&str) -> bool,
        begin: &impl Fn(&str) -> bool,
    ) -> Option<SecretKey> {
        self.again.pop_of(may).or_else(|| self.retry.pop_of(begin))
    }

    /// More urgent work has more turns, but never all: thousands of one urgency delay the others
    /// only for a while.
    fn pop_new(&mut self, may: &impl Fn(&str) -> bool) -> Option<SecretKey> {
        self.turn = (self.turn + 1) % TURNS.len();
        let whose = TURNS[self.turn] as usize;
        let next = self.new[whose].pop_of(may);
        next.or_else(|| self.new.iter_mut().find_map(|lane| lane.pop_of(may)))
    }

    /// Raises the priority of queued new work, if `to` is more urgent than `from`.
    pub(crate) fn expedite(
        &mut self,
        stream: &SecretKey,
        (from, to): (Priority, Priority),
        now: Timestamp,
    ) {
        if to < from && self.new[from.urgency as usize].remove(stream) {
            self.new[to.urgency as usize].push(stream.clone(), to.by, now);
        }
    }

    /// Up to `count` Secrets of new work that come next, roughly in order: the first entries of
    /// each namespace.
    pub(crate) fn upcoming(&self, count: usize) -> Vec<SecretKey> {
        self.new.iter().flat_map(|lane| lane.upcoming(count)).take(count).cloned().collect()
    }

    /// Whether a namespace has room for new work. A namespace has at most as many entries as there
    /// is free room, so one that asks for any number leaves half to the others.
    pub(crate) fn has_room(&self, namespace: &str) -> bool {
        let waiting: usize = self.lanes().map(|lane| lane.len_of(namespace)).sum();
        has_share(waiting, self.len(), self.capacity)
    }

    /// Whether a namespace has room for another attempt, by the same rule. The pause after "busy"
    /// takes less memory than an entry of the queue and its dedup actor.
    fn has_room_for_retry(&self, namespace: &str) -> bool {
        has_share(self.retry.len_of(namespace), self.retry.len(), limits::RETRIES_QUEUED)
    }

    /// Number of waiting Secrets.
    pub(crate) fn len(&self) -> usize {
        self.lanes().map(RoundRobin::len).sum()
    }

    /// Whether no Secret waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Arrival time of the Secret that has waited longest.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.lanes().filter_map(RoundRobin::oldest).min()
    }

    fn lanes(&self) -> impl Iterator<Item = &RoundRobin> {
        [&self.resumed, &self.again, &self.retry].into_iter().chain(&self.new)
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
        std::iter::from_fn(|| queue.pop(|_| true, |_| true)).map(|key| key.to_string()).collect()
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
    fn a_namespace_that_may_have_no_more_is_passed_over_and_keeps_its_turn() {
        let mut queue = FairQueue::new(10);
        for (namespace, name) in [("a", "1"), ("b", "1"), ("c", "1"), ("b", "2")] {
            assert!(push(&mut queue, namespace, name, NEW));
        }
        let mut pop =
            |full: &str| queue.pop(|namespace| namespace != full, |_| true).unwrap().to_string();
        assert_eq!([pop("a"), pop("a"), pop(""), pop("")], ["b/1", "c/1", "a/1", "b/2"]);
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
        let before = std::iter::from_fn(|| queue.pop(|_| true, |_| true))
            .position(|one| &*one.namespace == "small");
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
    fn a_namespace_with_thousands_of_dead_hosts_leaves_room_for_the_retries_of_others() {
        let mut queue = FairQueue::new(100_000);
        let taken = (0..limits::RETRIES_QUEUED)
            .filter(|number| push(&mut queue, "dead", &number.to_string(), Lane::Retry));
        assert_eq!(taken.count(), limits::RETRIES_QUEUED / 2);
        assert!(push(&mut queue, "other", "retry", Lane::Retry));
        assert!(push(&mut queue, "dead", "in work", Lane::Again));
        assert!(push(&mut queue, "dead", "new", NEW));
    }

    #[test]
    fn those_that_try_again_and_new_work_take_turns() {
        let mut queue = FairQueue::new(10);
        for name in ["1", "2", "3"] {
            assert!(push(&mut queue, "dead", name, Lane::Again));
        }
        assert!(push(&mut queue, "other", "new", NEW));
        let first_two = [queue.pop(|_| true, |_| true), queue.pop(|_| true, |_| true)]
            .map(|stream| stream.unwrap().namespace);
        assert!(first_two.contains(&"other".into()), "{first_two:?}");
        assert_eq!(queue.len(), 2);
        assert!(
            queue.pop(|_| true, |_| true).is_some()
                && queue.pop(|_| true, |_| true).is_some()
                && queue.pop(|_| true, |_| true).is_none()
        );
    }

    #[test]
    fn the_oldest_entry_of_any_lane_is_known() {
        let mut queue = FairQueue::new(10);
        assert!(queue.is_empty());
        assert_eq!(queue.oldest(), None);
        for (name, lane, at) in [("1", NEW, 30), ("2", Lane::Again, 10), ("3", NEW, 20)] {
            assert!(queue.push(SecretKey::new("a", name), lane, Timestamp::from_secs(at)));
        }
        assert!(!queue.is_empty());
        assert_eq!(queue.oldest(), Some(Timestamp::from_secs(10)));
        assert_eq!(queue.pop(|_| true, |_| true).unwrap().to_string(), "a/2");
        assert_eq!(queue.oldest(), Some(Timestamp::from_secs(20)));
    }

    #[test]
    fn after_new_work_one_that_tries_again_has_its_turn() {
        let mut queue = FairQueue::new(10);
        for name in ["1", "2"] {
            assert!(push(&mut queue, "again", name, Lane::Again));
            assert!(push(&mut queue, "new", name, NEW));
        }
        assert_eq!(drain(&mut queue), ["again/1", "new/1", "again/2", "new/2"]);
    }

    #[test]
    fn what_is_as_urgent_as_before_keeps_its_place() {
        let mut queue = FairQueue::new(10);
        for name in ["1", "2"] {
            assert!(push(&mut queue, "a", name, NEW));
        }
        let same = (Priority::FIRST, Priority::FIRST);
        queue.expedite(&SecretKey::new("a", "1"), same, Timestamp::default());
        assert_eq!(drain(&mut queue), ["a/1", "a/2"]);
    }
}
