//! Faults of what the operator sees: changes that a watch loses, repeats, delays or shows after an
//! older list, and reads of a Secret that show the state before its last write.

use std::collections::{BTreeMap, BTreeSet};

use super::{ClusterState, FakeCluster, FakeSecret};
use crate::domain::ingress::{IngressKey, IngressView, SecretKey};
use crate::ports::IngressChange;

/// Fault of one change in the watch of Ingresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Distortion {
    /// The change is lost, until the next full list.
    Lost,
    /// The change comes twice.
    Twice,
    /// The change comes after the next one.
    Late,
    /// The watch breaks, and the list that follows is of the time before the change and the one
    /// before, as from the cache of another API server; then the changes since come again.
    OldList,
}

impl Distortion {
    /// All faults.
    pub const ALL: [Self; 4] = [Self::Lost, Self::Twice, Self::Late, Self::OldList];
}

/// An Ingress before a change; `None` where there was none.
type Before = (IngressKey, Option<IngressView>);

/// Faults that a test has asked for, each at its position.
#[derive(Default)]
pub(super) struct Distortions {
    /// Number of changes so far.
    changes: usize,
    of_changes: BTreeMap<usize, Distortion>,
    late: Option<IngressChange>,
    /// Ingress of the last change as it was before, and that of the change before.
    past: [Option<Before>; 2],
    /// Number of reads of Secrets so far.
    reads: usize,
    old_reads: BTreeSet<usize>,
    /// Secrets before their last write; `None` where there was none.
    secrets: BTreeMap<SecretKey, Option<FakeSecret>>,
    /// Secrets that were last read as they were before.
    read_old: BTreeSet<SecretKey>,
}

impl FakeCluster {
    /// Distorts the change that comes after `changes` further ones.
    pub fn distort(&self, changes: usize, how: Distortion) {
        let distortions = &mut self.state.borrow_mut().distortions;
        let position = distortions.changes + changes;
        distortions.of_changes.insert(position, how);
    }

    /// Lets the read of a Secret after `reads` further ones show the state before the last write.
    pub fn read_old(&self, reads: usize) {
        let distortions = &mut self.state.borrow_mut().distortions;
        let position = distortions.reads + reads;
        distortions.old_reads.insert(position);
    }

    /// Drops the faults that are still to come, and a change that is late.
    pub fn end_distortions(&self) {
        let distortions = &mut self.state.borrow_mut().distortions;
        distortions.of_changes.clear();
        distortions.old_reads.clear();
        distortions.late = None;
    }

    /// Number of changes and of reads of Secrets so far.
    pub fn distortable(&self) -> (usize, usize) {
        let distortions = &self.state.borrow().distortions;
        (distortions.changes, distortions.reads)
    }
}

impl ClusterState {
    /// Sends a change of the Ingresses to all watches. `before` is the Ingress before the change.
    pub(super) fn changed(&mut self, change: IngressChange, before: Before) {
        let distortions = &mut self.distortions;
        let how = distortions.of_changes.remove(&distortions.changes);
        distortions.changes += 1;
        distortions.past.swap(0, 1);
        distortions.past[0] = Some(before);
        let late = distortions.late.take();
        match how {
            None => self.notify(&change),
            Some(Distortion::Lost) => {}
            Some(Distortion::Twice) => {
                self.notify(&change);
                self.notify(&change);
            }
            Some(Distortion::Late) => self.distortions.late = Some(change),
            Some(Distortion::OldList) => self.list_of_the_past(),
        }
        if let Some(late) = late {
            self.notify(&late);
        }
    }

    /// Sends a list of the state two changes ago, and then what differs from it.
    fn list_of_the_past(&mut self) {
        let mut past = self.ingresses.clone();
        for (key, before) in self.distortions.past.iter().flatten() {
            match before {
                Some(view) => _ = past.insert(key.clone(), view.clone()),
                None => _ = past.remove(key),
            }
        }
        for change in listed(&past) {
            self.notify(&change);
        }
        let now = self.ingresses.clone();
        for view in now.values().filter(|view| past.get(&view.key) != Some(view)) {
            self.notify(&IngressChange::Applied(view.clone()));
        }
        for key in past.keys().filter(|key| !now.contains_key(key)) {
            self.notify(&IngressChange::Deleted(key.clone()));
        }
    }

    /// Remembers a Secret as it is before a write.
    pub(super) fn before_write(&mut self, key: &SecretKey) {
        let before = self.secrets.get(key).cloned();
        self.distortions.secrets.insert(key.clone(), before);
    }

    /// Reads a Secret, where a test has asked for it as it was before its last write.
    pub(super) fn read_secret(&mut self, key: &SecretKey) -> Option<FakeSecret> {
        let distortions = &mut self.distortions;
        let is_old = distortions.old_reads.remove(&distortions.reads);
        distortions.reads += 1;
        if let Some(before) = distortions.secrets.get(key).filter(|_| is_old) {
            let before = before.clone();
            distortions.read_old.insert(key.clone());
            return before;
        }
        distortions.read_old.remove(key);
        self.secrets.get(key).cloned()
    }

    /// Whether a write must be refused, because the Secret was not read as it is (409 Conflict).
    pub(super) fn is_conflict(&mut self, key: &SecretKey) -> bool {
        self.distortions.read_old.remove(key)
    }
}

/// A full list of these Ingresses.
pub(super) fn listed(ingresses: &BTreeMap<IngressKey, IngressView>) -> Vec<IngressChange> {
    let views = ingresses.values().cloned().map(IngressChange::Listed);
    let begins = std::iter::once(IngressChange::ListBegins(None));
    begins.chain(views).chain([IngressChange::ListEnds(None)]).collect()
}
