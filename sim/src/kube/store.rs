//! All objects, and every decision about them: no sockets, no clock, no randomness of its own.
//!
//! # Layout
//! - here: what is there, how it is read, and the one place where it changes.
//! - `writing`: create, replace, merge, apply; `identity`: how objects are told apart. `deleting`: deletions. `garbage`: owners that are gone, and
//!   namespaces that go. `listing`: lists page by page, and what a watch is told.

mod deleting;
mod garbage;
mod identity;
mod listing;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::history::{Change, Happened, History};
use super::object::{Key, Stored};
use super::refusal::Refusal;
use super::resource::Resource;
pub(crate) use deleting::Deleted;
use garbage::Garbage;
pub(crate) use listing::{Listing, Page};

/// The first revision: as on a real server, where others have written before.
const FIRST: u64 = 100;

/// The state of the cluster.
#[derive(Debug)]
pub(crate) struct Store {
    /// In the order of [`Resource::ALL`].
    shelves: [Shelf; Resource::ALL.len()],
    /// That of the last write of any object.
    revision: u64,
    /// Lists that began before this revision cannot go on.
    lists_forgotten: u64,
    garbage: Garbage,
}

/// The objects of one kind.
#[derive(Debug)]
struct Shelf {
    objects: BTreeMap<Key, Arc<Stored>>,
    history: History,
}

impl Store {
    /// Without any object.
    pub(crate) fn new() -> Self {
        let shelf = |_| Shelf { objects: BTreeMap::new(), history: History::after(FIRST) };
        Self {
            shelves: Resource::ALL.map(shelf),
            revision: FIRST,
            lists_forgotten: 0,
            garbage: Garbage::default(),
        }
    }

    /// The revision of the last write.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    pub(crate) fn get(&self, resource: Resource, key: &Key) -> Result<Arc<Stored>, Refusal> {
        let found = self.find(resource, key);
        found.cloned().ok_or_else(|| Refusal::not_found(resource, &key.name))
    }

    /// Forgets all changes so far: a watch must be up to date to go on, and a list must begin anew.
    pub(crate) fn forget_history(&mut self) {
        // A list of this very moment is outdated too, as after any compaction.
        self.revision += 1;
        self.lists_forgotten = self.revision;
        for shelf in &mut self.shelves {
            shelf.history.forget(self.revision);
        }
    }

    fn find(&self, resource: Resource, key: &Key) -> Option<&Arc<Stored>> {
        self.shelf(resource).objects.get(key)
    }

    fn shelf(&self, resource: Resource) -> &Shelf {
        &self.shelves[resource as usize]
    }

    /// Keeps a version of an object: the one place where anything changes.
    fn keep(&mut self, resource: Resource, key: &Key, mut object: Value) -> Arc<Stored> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(Stored::new(key.clone(), self.revision, &object));
        let shelf = &mut self.shelves[resource as usize];
        let before = shelf.objects.insert(key.clone(), Arc::clone(&object));
        let happened = if before.is_some() { Happened::Modified } else { Happened::Added };
        self.tell(resource, happened, &object, before.as_deref());
        self.garbage.note(resource, before.as_deref(), Some(&object));
        object
    }

    /// Takes an object away.
    fn remove(&mut self, resource: Resource, key: &Key) -> Option<Arc<Stored>> {
        let last = self.shelves[resource as usize].objects.remove(key)?;
        self.revision += 1;
        let mut object = last.value();
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(Stored::new(key.clone(), self.revision, &object));
        self.tell(resource, Happened::Deleted, &object, Some(&last));
        self.garbage.note(resource, Some(&last), None);
        Some(object)
    }

    fn tell(
        &mut self,
        resource: Resource,
        happened: Happened,
        object: &Arc<Stored>,
        before: Option<&Stored>,
    ) {
        let labels = before.map(|before| &before.labels).filter(|before| **before != object.labels);
        let change =
            Change { happened, object: Arc::clone(object), labels_before: labels.cloned() };
        self.shelves[resource as usize].history.push(change);
    }
}
