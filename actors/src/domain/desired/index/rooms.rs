//! Room for the Ingresses of each namespace: the memory that the index uses for one namespace is
//! bounded, so that a namespace cannot take all memory (decision 19).
//!
//! An Ingress without room is left out: its hosts are dropped, and one [`Problem`] says so. Large
//! Ingresses have a part of the room only, so that they do not crowd the small ones out.
//!
//! [`Problem`]: crate::domain::desired::problem::Problem

use std::collections::HashMap;
use std::sync::Arc;

use super::Index;
use crate::domain::copied::Copied;
use crate::domain::ingress::{FILLED_TLS, IngressKey, IngressView};
use crate::domain::limits;

/// Bytes of an Ingress without hosts: its marks, its entry, and the entry of its watch.
const BASE: usize = 700;
/// Bytes of a host beside its text: in the view, in the plan and among the claims.
const HOST: usize = 240;
/// Number of times that the text of a host is kept.
const COPIES: usize = 3;
/// Bytes of a block beside its texts: its certificate, and the index from its Secret.
const BLOCK: usize = 400;

/// What one Ingress takes up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Space {
    /// Estimated bytes of the whole Ingress.
    bytes: usize,
    /// Whether there was no room for it.
    pub(super) is_left_out: bool,
}

impl Space {
    /// Space of an Ingress. It is the same before and after the operator fills in `spec.tls`, which
    /// must not take the room of the Ingress.
    fn of(view: &IngressView) -> Self {
        let filled = is_covered(view);
        let text = |host: &String| HOST + COPIES * host.len();
        let blocks = view.tls.iter().filter(|_| !filled).map(|block| {
            let secret = block.secret_name.as_ref().map_or(0, String::len);
            BLOCK + 2 * secret + block.hosts.iter().map(text).sum::<usize>()
        });
        let hosts = view.rule_hosts.iter().map(|host| text(host) + 2 * host.len());
        let marks = view.annotations.iter().filter(|(name, _)| !filled || *name != FILLED_TLS);
        let marks = marks.map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let aliases = view.aliases.iter().map(|alias| HOST + alias.name.as_str().len());
        let own_block = if view.tls.is_empty() || filled { BLOCK } else { 0 };
        let bytes = BASE
            + own_block
            + marks
            + aliases.sum::<usize>()
            + view.copied.bytes()
            + hosts.sum::<usize>()
            + blocks.sum::<usize>();
        Self { bytes, is_left_out: false }
    }

    /// Bytes in use by an Ingress in its namespace.
    fn used(self) -> usize {
        if self.is_left_out { BASE } else { self.bytes }
    }

    fn is_large(self) -> bool {
        self.bytes > limits::LARGE_INGRESS
    }
}

/// Memory in use for each namespace.
#[derive(Debug)]
pub(super) struct Rooms {
    by_namespace: HashMap<Arc<str>, Room>,
    /// Bytes for one namespace.
    most: usize,
    /// Namespaces of which a first Ingress was left out, for the log.
    full: Vec<Arc<str>>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { by_namespace: HashMap::new(), most: limits::NAMESPACE_ROOM, full: Vec::new() }
    }
}

/// Memory in use for one namespace, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    all: usize,
    of_large: usize,
    /// Number of Ingresses.
    left_out: usize,
}

impl Room {
    fn fits(self, space: Space, most: usize) -> bool {
        let large = self.of_large + space.bytes <= most / limits::LARGE_SHARE;
        self.all + space.bytes <= most && (large || !space.is_large())
    }

    fn add(&mut self, space: Space) {
        self.all += space.used();
        if space.is_left_out {
            self.left_out += 1;
        } else if space.is_large() {
            self.of_large += space.bytes;
        }
    }

    fn remove(&mut self, space: Space) {
        self.all = self.all.saturating_sub(space.used());
        if space.is_left_out {
            self.left_out = self.left_out.saturating_sub(1);
        } else if space.is_large() {
            self.of_large = self.of_large.saturating_sub(space.bytes);
        }
    }
}

impl Rooms {
    /// Takes room for the newest view of an Ingress, in place of `old`. Empties a view that is left
    /// out, and one that is not managed, of which nothing is needed.
    pub(super) fn make_room(
        &mut self,
        view: &mut IngressView,
        old: Option<Space>,
        is_managed: bool,
    ) -> Space {
        if !is_managed {
            empty(view);
        }
        let mut space = Space::of(view);
        if old == Some(space) {
            return space;
        }
        let room = self.by_namespace.entry(view.key.namespace.clone()).or_default();
        if let Some(old) = old {
            room.remove(old);
        }
        let most = match old {
            // An edit of a kept Ingress does not drop it for a few bytes.
            Some(old) if !old.is_left_out && space.bytes <= old.bytes + limits::EDIT_ROOM => {
                self.most.saturating_add(self.most / 10)
            }
            _ => self.most,
        };
        let shrinks = old.is_some_and(|old| !old.is_left_out && space.bytes <= old.bytes);
        space.is_left_out = is_managed && !shrinks && !room.fits(space, most);
        if space.is_left_out {
            if room.left_out == 0 && old.is_none_or(|old| !old.is_left_out) {
                self.full.push(view.key.namespace.clone());
            }
            empty(view);
        }
        room.add(space);
        space
    }

    /// Gives back the room of an Ingress.
    pub(super) fn leave(&mut self, namespace: &str, space: Space) {
        let Some(room) = self.by_namespace.get_mut(namespace) else { return };
        room.remove(space);
        if room.all == 0 {
            self.by_namespace.remove(namespace);
        }
    }
}

/// Whether the rules of an Ingress account for its one block and for our annotation, as they do
/// where the operator has filled in `spec.tls`.
fn is_covered(view: &IngressView) -> bool {
    let ([block], Some(filled)) = (&view.tls[..], view.annotation(FILLED_TLS)) else {
        return false;
    };
    let bytes = |hosts: &[String]| hosts.iter().map(String::len).sum::<usize>();
    let (rules, most) = (&view.rule_hosts, bytes(&view.rule_hosts));
    block.hosts.len() <= rules.len()
        && bytes(&block.hosts) <= most
        && filled.len() <= most + rules.len()
}

/// Drops everything of a view that may be large.
fn empty(view: &mut IngressView) {
    (view.tls, view.rule_hosts) = (Vec::new(), Vec::new());
    view.has_hostless_rule = false;
    view.aliases = Vec::new();
    view.copied = Copied::default();
    view.annotations.retain(|name, _| name == "enabled");
}

impl Index {
    /// Keeps up to `bytes` of the Ingresses of each namespace.
    #[must_use]
    pub fn with_room(mut self, bytes: usize) -> Self {
        self.rooms.most = bytes.max(limits::NAMESPACE_ROOM);
        self
    }

    /// Returns the namespaces of which a first Ingress was left out since the last call.
    pub(crate) fn take_full(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.rooms.full)
    }

    /// Whether Ingresses of the namespace are left out, so that not all wishes of the namespace are
    /// known.
    pub(crate) fn leaves_out(&self, namespace: &str) -> bool {
        self.rooms.by_namespace.get(namespace).is_some_and(|room| room.left_out > 0)
    }

    /// Stamp of an Ingress that is left out, which a newer view changes; `None` for any other one,
    /// and while a list is under way.
    pub(crate) fn left_out_stamp(&self, key: &IngressKey) -> Option<(usize, Arc<str>)> {
        let entry = self.entries.get(key).filter(|entry| entry.space.is_left_out)?;
        self.listing.is_empty().then(|| (entry.space.bytes, entry.view.uid.clone()))
    }

    /// Largest number of bytes of the Ingresses of one namespace.
    pub(super) fn most_bytes(&self) -> usize {
        self.rooms.most
    }

    /// The first few Ingresses that are left out and have room by now.
    pub(crate) fn with_room_again(&self) -> Vec<IngressKey> {
        if !self.rooms.by_namespace.values().any(|room| room.left_out > 0) {
            return Vec::new();
        }
        let mut rooms: HashMap<&str, Room> = HashMap::new();
        let mut fits = |namespace, space: Space| {
            let kept = self.rooms.by_namespace.get(namespace).copied();
            let room = rooms.entry(namespace).or_insert(kept.unwrap_or_default());
            let (before, again) = (*room, Space { is_left_out: false, ..space });
            room.remove(space);
            let fits = room.fits(again, self.rooms.most);
            if fits {
                room.add(again);
            } else {
                *room = before;
            }
            fits
        };
        let left_out = self.entries.iter().filter(|(_, entry)| entry.space.is_left_out);
        let fitting = left_out.filter(|(key, entry)| fits(&key.namespace, entry.space));
        fitting.take(limits::LOOKED_AT_AGAIN).map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::{block, ingress};
    use crate::domain::desired::problem::Problem;
    use crate::domain::desired::selection::{Manage, Selection};
    use crate::domain::ingress::SecretKey;

    /// An Ingress with one certificate, and with hosts that take this number of bytes.
    fn site(namespace: &str, name: &str, bytes: usize) -> IngressView {
        let mut view = ingress(namespace, name, &[]);
        let host = format!("{name}.example.com");
        view.tls = vec![block(name, &[&host]), block("", &[])];
        let each = HOST + COPIES * host.len();
        view.tls[1].hosts = vec![host; bytes / each];
        view
    }

    /// A fifth of the room of large Ingresses, or a little more.
    fn large(number: usize) -> IngressView {
        let bytes = limits::NAMESPACE_ROOM / limits::LARGE_SHARE / 5;
        site("bad", &format!("large-{number}"), bytes)
    }

    fn is_served(index: &Index, view: &IngressView) -> bool {
        index.desired(&SecretKey::new(&view.key.namespace, &view.key.name)).is_some()
    }

    fn is_told(index: &Index, view: &IngressView) -> bool {
        let problems = index.problems(&view.key).unwrap();
        problems.iter().any(|one| matches!(one, Problem::NamespaceFull { .. }))
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
        for other in [site("bad", "small", 20_000), site("good", "shop", 9_000_000)] {
            index.apply(other.clone());
            assert!(is_served(&index, &other), "{}", other.key);
        }
        assert!(index.with_room_again().is_empty());
        assert_eq!(index.apply(large(8)), [], "nothing new");
        index.remove(&large(0).key);
        let [again] = &index.with_room_again()[..] else { panic!("one has room") };
        let number = again.name.trim_start_matches("large-").parse().unwrap();
        index.apply(large(number));
        assert!(is_served(&index, &large(number)) && !is_told(&index, &large(number)));
        assert!(index.with_room_again().is_empty());
    }

    #[test]
    fn an_edit_gives_back_room_and_takes_room() {
        let mut index = Index::default();
        (0..5).for_each(|number| _ = index.apply(large(number)));
        assert!(!is_served(&index, &large(4)) && index.leaves_out("bad"));
        index.apply(site("bad", "large-0", 2_000));
        index.apply(large(4));
        assert!(is_served(&index, &large(4)) && !index.leaves_out("bad"));
        index.apply(large(0));
        assert!(!is_served(&index, &large(0)) && is_told(&index, &large(0)));
        (0..5).for_each(|number| _ = index.remove(&large(number).key));
        assert!(index.rooms.by_namespace.is_empty(), "nothing is counted of what is gone");
    }

    #[test]
    fn filling_in_spec_tls_takes_no_room() {
        let before = ingress("web", "shop", &["a.example.com", "b.example.com"]);
        let mut after = before.clone();
        after.tls = vec![block("shop", &["a.example.com", "b.example.com"])];
        after.annotations.insert(FILLED_TLS.into(), "a.example.com,b.example.com".into());
        assert_eq!(Space::of(&before), Space::of(&after));
    }

    #[test]
    fn an_annotation_of_ours_that_the_user_wrote_gives_no_room_away() {
        let long = "a".repeat(200);
        let mut view = ingress("web", "shop", &["a.example.com"]);
        view.tls = vec![block("shop", &vec![long.as_str(); 100])];
        let before = Space::of(&view).bytes;
        view.annotations.insert(FILLED_TLS.into(), "x".repeat(20_000));
        assert!(Space::of(&view).bytes >= before + 20_000);
        view.annotations.insert(FILLED_TLS.into(), "x".into());
        assert!(Space::of(&view).bytes >= before);
    }

    #[test]
    fn an_ingress_that_is_not_managed_takes_the_room_of_its_marks_only() {
        let selection = Selection { manage: Manage::Annotated, ..Selection::default() };
        let mut index = Index::new(selection, None);
        for number in 0..50 {
            index.apply(large(number));
        }
        assert!(!index.leaves_out("bad"));
        let mut ours = large(50);
        ours.annotations.insert("enabled".into(), "true".into());
        index.apply(ours.clone());
        assert!(is_served(&index, &ours));
    }

    #[test]
    fn a_surplus_name_stays_while_ingresses_of_the_namespace_are_left_out() {
        let mut index = Index::default();
        (0..4).for_each(|number| _ = index.apply(large(number)));
        let desired = |index: &Index| index.desired(&SecretKey::new("bad", "large-0")).unwrap();
        assert!(!desired(&index).keeps_surplus);
        index.apply(large(4));
        assert!(desired(&index).keeps_surplus);
    }

    #[test]
    fn more_memory_has_room_for_more() {
        let mut index = Index::default().with_room(2 * limits::NAMESPACE_ROOM);
        (0..12).for_each(|number| _ = index.apply(large(number)));
        assert_eq!((0..12).filter(|number| is_served(&index, &large(*number))).count(), 9);
        let mut unbounded = Index::default().with_room(usize::MAX);
        (0..50).for_each(|number| _ = unbounded.apply(large(number)));
        assert!(!unbounded.leaves_out("bad"));
    }

    #[test]
    fn a_hundred_thousand_ingresses_of_one_host_have_room() {
        let view = ingress("web", "shop-1000000", &["shop-1000000.example.com"]);
        assert!(
            100_000 * Space::of(&view).bytes <= limits::NAMESPACE_ROOM,
            "{:?}",
            Space::of(&view)
        );
    }

    #[test]
    fn hosts_blocks_and_marks_take_room_by_their_length() {
        let bytes = |view: &IngressView| Space::of(view).bytes;
        let hosts = ["a.example.com", "bb.example.com"];
        let mut view = ingress("web", "shop", &hosts);
        let of_rules = 2 * HOST + (COPIES + 2) * (13 + 14);
        assert_eq!(bytes(&view), BASE + BLOCK + of_rules);
        view.annotations.insert("renew".into(), "2026".into());
        assert_eq!(bytes(&view), BASE + BLOCK + of_rules + 5 + 4);
        view.tls = vec![block("tls", &hosts[..1]), block("", &hosts)];
        let of_blocks = 2 * BLOCK + 2 * 3 + 3 * HOST + COPIES * (13 + 13 + 14);
        assert_eq!(bytes(&view), BASE + of_rules + 9 + of_blocks);
    }

    #[test]
    fn a_filled_in_block_costs_one_block_as_long_as_it_is_no_longer_than_the_rules() {
        let of = |hosts: &[&str], filled: &str| {
            let mut view = ingress("web", "shop", &["a.example.com", "b.example.com"]);
            view.tls = vec![block("shop", hosts)];
            view.annotations.insert(FILLED_TLS.into(), filled.into());
            is_covered(&view)
        };
        let both = ["a.example.com", "b.example.com"];
        assert!(of(&both, &"x".repeat(28)), "13 + 13, and a comma for each host");
        assert!(!of(&both, &"x".repeat(29)));
        assert!(!of(&["aa.example.com", "b.example.com"], "x"), "a longer host");
        assert!(!of(&["a.b", "b.b", "c.b"], "x"), "one more host");
    }

    #[test]
    fn an_ingress_is_large_above_its_bound_and_takes_little_once_it_is_left_out() {
        let of = |bytes: usize, is_left_out: bool| Space { bytes, is_left_out };
        assert!(!of(limits::LARGE_INGRESS, false).is_large());
        assert!(of(limits::LARGE_INGRESS + 1, false).is_large());
        assert_eq!((of(9_000, false).used(), of(9_000, true).used()), (9_000, BASE));
    }

    #[test]
    fn a_namespace_is_told_to_be_full_once_and_its_ingresses_have_stamps() {
        let mut index = Index::default();
        (0..4).for_each(|number| _ = index.apply(large(number)));
        assert_eq!(index.take_full(), []);
        assert!(index.left_out_stamp(&large(0).key).is_none());
        (4..6).for_each(|number| _ = index.apply(large(number)));
        assert_eq!(index.take_full(), ["bad".into()]);
        assert_eq!(index.take_full(), []);
        let stamp = index.left_out_stamp(&large(4).key).unwrap();
        assert_eq!(stamp, (Space::of(&large(4)).bytes, large(4).uid));
        let told = index.problems(&large(4).key).unwrap();
        let mebibytes = limits::NAMESPACE_ROOM / 1024 / 1024;
        assert!(told.contains(&Problem::NamespaceFull { mebibytes }), "{told:?}");
        index.list_begins(None);
        assert!(index.left_out_stamp(&large(4).key).is_none(), "a list is under way");
    }

    #[test]
    fn an_edit_of_a_few_bytes_leaves_nothing_out() {
        let mut index = Index::default();
        (0..4).for_each(|number| _ = index.apply(large(number)));
        let bytes = limits::NAMESPACE_ROOM / limits::LARGE_SHARE / 5;
        let mut longer = large(0);
        let edited = site("bad", "large-0", bytes + limits::EDIT_ROOM / 2);
        longer.tls = edited.tls;
        index.apply(longer.clone());
        assert!(is_served(&index, &longer));
    }

    #[test]
    fn an_ingress_that_grows_beyond_the_room_is_told_at_once_and_looked_at_when_there_is_room() {
        let mut index = Index::default();
        (0..4).for_each(|number| _ = index.apply(large(number)));
        index.apply(site("bad", "large-0", limits::NAMESPACE_ROOM));
        assert_eq!(index.take_full(), ["bad".into()]);
        assert!(index.leaves_out("bad"));
        let shown = index.view(&large(0).key).unwrap();
        assert!(shown.tls.is_empty() && shown.annotations.is_empty());
        index.apply(large(0));
        assert!(is_served(&index, &large(0)));
        (4..6).for_each(|number| _ = index.apply(large(number)));
        assert_eq!(index.take_full(), ["bad".into()], "once more");
        (0..2).for_each(|number| _ = index.remove(&large(number).key));
        assert_eq!(index.with_room_again().len(), 2);
    }

    #[test]
    fn of_an_ingress_that_is_not_managed_the_mark_for_that_is_kept() {
        let selection = Selection { manage: Manage::Annotated, ..Selection::default() };
        let mut index = Index::new(selection, None);
        let mut view = large(0);
        for (name, value) in [("enabled", "false"), ("renew", "now")] {
            view.annotations.insert(name.into(), value.into());
        }
        index.apply(view.clone());
        let kept = &index.view(&view.key).unwrap().annotations;
        assert_eq!(kept.keys().map(|name| &**name).collect::<Vec<_>>(), ["enabled"]);
    }
}
