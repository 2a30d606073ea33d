//! Room for the Ingresses of each namespace: the hosts and blocks that the index keeps of one
//! namespace are bounded, so that a namespace cannot take all memory.
//!
//! An Ingress without room is left out: its hosts are dropped, and one [`Problem`] says so. Small
//! Ingresses have room of their own, so that large ones of the same namespace do not crowd them
//! out.
//!
//! [`Problem`]: crate::domain::desired::problem::Problem

use std::collections::HashMap;
use std::sync::Arc;

use super::Index;
use crate::domain::ingress::{FILLED_TLS, IngressKey, IngressView};
use crate::domain::limits;

/// What one Ingress takes up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Space {
    /// Number of hosts and blocks of the Ingress.
    entries: usize,
    /// Whether there was no room for them.
    pub(super) is_left_out: bool,
}

/// Entries that are kept of each namespace.
#[derive(Debug)]
pub(super) struct Rooms {
    by_namespace: HashMap<Arc<str>, Room>,
    /// Number of times that the usual room is available, since there is more memory.
    times: usize,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { by_namespace: HashMap::new(), times: 1 }
    }
}

/// Entries that are kept of one namespace.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    of_small: usize,
    of_large: usize,
    left_out: usize,
}

impl Room {
    /// Entries of Ingresses of this size, and the largest number of them.
    fn of(&mut self, entries: usize) -> (&mut usize, usize) {
        if entries <= limits::SMALL_INGRESS {
            (&mut self.of_small, limits::ROOM_OF_SMALL)
        } else {
            (&mut self.of_large, limits::ROOM_OF_LARGE)
        }
    }
}

impl Rooms {
    /// Takes room for the newest view of an Ingress, in place of `old`. Empties a view that is left
    /// out.
    pub(super) fn make_room(&mut self, view: &mut IngressView, old: Space) -> Space {
        let space = self.replace(&view.key.namespace, old, entries(view));
        if space.is_left_out {
            (view.tls, view.rule_hosts) = (Vec::new(), Vec::new());
            view.annotations.remove(FILLED_TLS);
        }
        space
    }

    /// Takes room for an Ingress with this number of entries, in place of `old`.
    fn replace(&mut self, namespace: &Arc<str>, old: Space, entries: usize) -> Space {
        if old == (Space { entries, is_left_out: false }) {
            return old;
        }
        self.leave(namespace, old);
        let room = self.by_namespace.entry(namespace.clone()).or_default();
        let (used, most) = room.of(entries);
        let is_left_out = *used + entries > most * self.times;
        if is_left_out {
            room.left_out += 1;
        } else {
            *used += entries;
        }
        Space { entries, is_left_out }
    }

    /// Gives back the room of an Ingress.
    pub(super) fn leave(&mut self, namespace: &str, space: Space) {
        let Some(room) = self.by_namespace.get_mut(namespace) else { return };
        if space.is_left_out {
            room.left_out -= 1;
        } else {
            *room.of(space.entries).0 -= space.entries;
        }
        if room.left_out + room.of_small + room.of_large == 0 {
            self.by_namespace.remove(namespace);
        }
    }

    fn fits(&self, namespace: &str, entries: usize) -> bool {
        let mut room = self.by_namespace.get(namespace).copied().unwrap_or_default();
        let (used, most) = room.of(entries);
        *used + entries <= most * self.times
    }

    fn any_left_out(&self) -> bool {
        self.by_namespace.values().any(|room| room.left_out > 0)
    }
}

impl Index {
    /// Keeps `times` the usual number of hosts and blocks of each namespace.
    #[must_use]
    pub fn with_room(mut self, times: usize) -> Self {
        self.rooms.times = times.max(1);
        self
    }

    /// Whether an Ingress that is left out has room by now, so that a new list would keep it.
    pub(crate) fn has_room_again(&self) -> bool {
        let fits = |key: &IngressKey, space: &Space| {
            space.is_left_out && self.rooms.fits(&key.namespace, space.entries)
        };
        self.rooms.any_left_out() && self.entries.iter().any(|(key, entry)| fits(key, &entry.space))
    }
}

/// Number of hosts and blocks of an Ingress. The annotation with the filled-in hosts counts as if
/// each had 32 bytes.
fn entries(view: &IngressView) -> usize {
    let blocks = view.tls.iter().map(|block| 1 + block.hosts.len()).sum::<usize>();
    let filled = view.annotation(FILLED_TLS).map_or(0, str::len);
    view.rule_hosts.len() + blocks + filled / 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::{block, ingress};
    use crate::domain::desired::problem::Problem;
    use crate::domain::ingress::SecretKey;

    /// An Ingress with this number of hosts and blocks, and one certificate.
    fn site(namespace: &str, name: &str, entries: usize) -> IngressView {
        let mut view = ingress(namespace, name, &[]);
        let host = format!("{name}.example.com");
        view.tls = vec![block(name, &[&host]), block("", &[])];
        view.tls[1].hosts = vec![host; entries - 3];
        view
    }

    fn large(number: usize) -> IngressView {
        site("bad", &format!("large-{number}"), limits::ROOM_OF_LARGE / 4)
    }

    fn is_served(index: &Index, view: &IngressView) -> bool {
        index.desired(&SecretKey::new(&view.key.namespace, &view.key.name)).is_some()
    }

    fn is_told(index: &Index, view: &IngressView) -> bool {
        index.problems(&view.key).unwrap().contains(&Problem::NamespaceFull)
    }

    #[test]
    fn large_ingresses_without_room_are_left_out_and_small_ones_and_others_are_served() {
        let mut index = Index::default();
        for number in 0..9 {
            assert_eq!(index.apply(large(number)).len(), 1, "each is reported");
        }
        let served = |index: &Index| (0..9).filter(|n| is_served(index, &large(*n))).count();
        assert_eq!(served(&index), 4);
        let left_out = index.view(&large(8).key).unwrap();
        assert!(left_out.tls.is_empty() && is_told(&index, left_out));
        let others = [site("bad", "small", 201), site("good", "shop", 100_000)];
        for other in others {
            index.apply(other.clone());
            assert!(is_served(&index, &other), "{}", other.key);
        }
        assert!(!index.has_room_again());
        assert_eq!(index.apply(large(8)), [], "nothing new");
        index.remove(&large(0).key);
        assert!(index.has_room_again());
        index.apply(large(8));
        assert!(is_served(&index, &large(8)) && !is_told(&index, &large(8)));
        assert!(!index.has_room_again());
    }

    #[test]
    fn an_edit_gives_back_room_and_takes_room() {
        let mut index = Index::default();
        (0..5).for_each(|number| _ = index.apply(large(number)));
        assert!(!is_served(&index, &large(4)));
        index.apply(site("bad", "large-0", 200));
        index.apply(large(4));
        assert!(is_served(&index, &large(4)));
        index.apply(large(0));
        assert!(!is_served(&index, &large(0)) && is_told(&index, &large(0)));
        (0..5).for_each(|number| _ = index.remove(&large(number).key));
        assert!(index.rooms.by_namespace.is_empty(), "nothing is counted of what is gone");
    }

    #[test]
    fn more_memory_has_room_for_more() {
        let mut index = Index::default().with_room(2);
        (0..9).for_each(|number| _ = index.apply(large(number)));
        assert_eq!((0..9).filter(|number| is_served(&index, &large(*number))).count(), 8);
    }

    #[test]
    fn a_hundred_and_fifty_thousand_ingresses_of_one_host_have_room() {
        let view = ingress("web", "shop", &["a.example.com"]);
        let one = IngressView { tls: vec![block("shop", &["a.example.com"])], ..view };
        assert!(150_000 * entries(&one) <= limits::ROOM_OF_SMALL);
    }
}
