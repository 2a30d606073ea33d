//! Decides which connection must leave when too many are open. No I/O and no clock: an entrance and
//! an answer each take the next turn of a counter.
//!
//! A newcomer is never refused, because a client with a request in hand needs a millisecond. The
//! connection that has waited for an answer the longest leaves instead, so that idle and slow
//! connections go first.

use std::collections::HashMap;
use std::net::IpAddr;

/// Open connections of one port. `T` is a means to end a connection.
#[derive(Debug)]
pub(super) struct Seats<T> {
    all: usize,
    per_peer: usize,
    turn: u64,
    taken: HashMap<u64, Seat<T>>,
}

#[derive(Debug)]
struct Seat<T> {
    peer: IpAddr,
    /// Turn of the last answer, or of the entrance.
    since: u64,
    end: T,
}

impl<T> Seats<T> {
    /// No connections yet; at most `all` in total and `per_peer` from one address.
    pub(super) fn new(all: usize, per_peer: usize) -> Self {
        Self { all, per_peer, turn: 0, taken: HashMap::new() }
    }

    /// Seats a connection from `peer`. Returns the number of its seat, and the connection that must
    /// leave, if any.
    pub(super) fn enter(&mut self, peer: IpAddr, end: T) -> (u64, Option<T>) {
        let leaver = self.leaver(peer).and_then(|number| self.leave(number));
        self.turn += 1;
        self.taken.insert(self.turn, Seat { peer, since: self.turn, end });
        (self.turn, leaver)
    }

    /// Records an answer to the connection on seat `number`.
    pub(super) fn answered(&mut self, number: u64) {
        if let Some(seat) = self.taken.get_mut(&number) {
            self.turn += 1;
            seat.since = self.turn;
        }
    }

    /// Frees a seat. Returns `None` if the connection had to leave before.
    pub(super) fn leave(&mut self, number: u64) -> Option<T> {
        self.taken.remove(&number).map(|seat| seat.end)
    }

    /// Number of open connections.
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// Whether more than half of the seats are taken, so that none is kept for a client without a
    /// request.
    pub(super) fn is_crowded(&self) -> bool {
        self.taken.len() * 2 > self.all
    }

    /// The seat that a newcomer from `peer` takes over: of its own address if that has its share,
    /// of the address with the most connections if all seats are taken.
    fn leaver(&self, peer: IpAddr) -> Option<u64> {
        if self.count(peer) >= self.per_peer {
            return self.longest_waiting(peer);
        }
        if self.taken.len() < self.all {
            return None;
        }
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        self.taken.values().for_each(|seat| *counts.entry(seat.peer).or_default() += 1);
        let most = counts.values().max().copied()?;
        let crowds = counts.into_iter().filter(|(_, count)| *count == most);
        let seats = crowds.filter_map(|(peer, _)| self.longest_waiting(peer));
        seats.min_by_key(|number| self.taken.get(number).map(|seat| seat.since))
    }

    fn count(&self, peer: IpAddr) -> usize {
        self.taken.values().filter(|seat| seat.peer == peer).count()
    }

    fn longest_waiting(&self, peer: IpAddr) -> Option<u64> {
        let of_peer = self.taken.iter().filter(|(_, seat)| seat.peer == peer);
        of_peer.min_by_key(|(_, seat)| seat.since).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn with_free_seats_nobody_leaves() {
        let mut seats = Seats::new(4, 3);
        for name in ["a", "b", "c"] {
            assert_eq!(seats.enter(peer(1), name).1, None);
        }
        assert_eq!(seats.enter(peer(2), "d").1, None);
        assert_eq!(seats.len(), 4);
    }

    #[test]
    fn an_address_above_its_share_loses_its_own_longest_unanswered_connection() {
        let mut seats = Seats::new(10, 2);
        let (first, _) = seats.enter(peer(1), "first");
        seats.enter(peer(1), "second");
        seats.enter(peer(2), "other");
        seats.answered(first);
        assert_eq!(seats.enter(peer(1), "third").1, Some("second"));
        assert_eq!(seats.len(), 3);
    }

    #[test]
    fn when_all_seats_are_taken_the_address_with_the_most_connections_makes_room() {
        let mut seats = Seats::new(4, 3);
        seats.enter(peer(2), "alone and first");
        for name in ["a", "b", "c"] {
            seats.enter(peer(1), name);
        }
        assert_eq!(seats.enter(peer(3), "newcomer").1, Some("a"));
    }

    #[test]
    fn among_many_addresses_the_longest_unanswered_connection_makes_room() {
        let mut seats = Seats::new(4, 2);
        let numbers: Vec<u64> = (1..5).map(|n| seats.enter(peer(n), n).0).collect();
        seats.answered(numbers[0]);
        assert_eq!(seats.enter(peer(9), 9).1, Some(2));
    }

    #[test]
    fn an_idle_crowd_of_one_address_never_closes_the_connection_of_another() {
        let mut seats = Seats::new(8, 4);
        seats.enter(peer(1), "controller");
        for _ in 0..1_000 {
            assert_ne!(seats.enter(peer(2), "idle").1, Some("controller"));
        }
        assert_eq!(seats.len(), 5);
    }

    #[test]
    fn a_freed_seat_is_free_and_a_second_time_nothing_happens() {
        let mut seats = Seats::new(2, 2);
        let (number, _) = seats.enter(peer(1), "a");
        assert!(!seats.is_crowded());
        seats.enter(peer(1), "b");
        assert!(seats.is_crowded());
        assert_eq!((seats.leave(number), seats.leave(number)), (Some("a"), None));
        seats.answered(number);
        assert_eq!(seats.enter(peer(1), "c").1, None);
    }
}
