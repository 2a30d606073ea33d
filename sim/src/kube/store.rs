//! All objects and every decision about them, without sockets, clock or randomness.
//!
//! # Layout
//! - This file: state, reads, and the single place of all changes.
//! - `writing`: create, replace, merge, apply. `dry_run`: the last two without effect.
//!   `identity`: keys, uids, versions. `deleting`: deletions. `garbage`: objects without owners and
//!   namespaces under deletion. `listing`: paged lists and the events of watches.

mod deleting;
mod dry_run;
mod garbage;
mod identity;
mod listing;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::history::{Change, History, WatchEventType};
use super::object::{Key, Stored};
use super::refusal::Refusal;
use super::resource::Resource;
pub(crate) use deleting::Deleted;
use garbage::Garbage;
pub(crate) use listing::{Listing, Page};

/// Revision of an empty store; above 0, because a real server has had earlier writes.
const FIRST: u64 = 100;

/// State of the cluster.
#[derive(Debug)]
pub(crate) struct Store {
    /// Objects by kind, in the order of [`Resource::ALL`].
    tables: [ResourceTable; Resource::ALL.len()],
    /// Revision of the last write of any object.
    revision: u64,
    /// Lists from before this revision cannot continue.
    lists_forgotten: u64,
    garbage: Garbage,
}

/// Objects of one kind.
#[derive(Debug)]
struct ResourceTable {
    objects: BTreeMap<Key, Arc<Stored>>,
    history: History,
}

impl Store {
    /// Creates a store without objects.
    pub(crate) fn new() -> Self {
        let table = |_| ResourceTable { objects: BTreeMap::new(), history: History::after(FIRST) };
        Self {
            tables: Resource::ALL.map(table),
            revision: FIRST,
            lists_forgotten: 0,
            garbage: Garbage::default(),
        }
    }

    /// Returns the revision of the last write.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns one object.
    pub(crate) fn get(&self, resource: Resource, key: &Key) -> Result<Arc<Stored>, Refusal> {
        let found = self.find(resource, key);
        found.cloned().ok_or_else(|| Refusal::not_found(resource, &key.name))
    }

    /// Forgets all changes so far; only watches that are up to date can continue, and lists must
    /// restart.
    pub(crate) fn forget_history(&mut self) {
        // A list of the current revision is outdated too, as after any compaction.
        self.revision += 1;
        self.lists_forgotten = self.revision;
        for table in &mut self.tables {
            table.history.forget(self.revision);
        }
    }

    fn find(&self, resource: Resource, key: &Key) -> Option<&Arc<Stored>> {
        self.table(resource).objects.get(key)
    }

    fn table(&self, resource: Resource) -> &ResourceTable {
        &self.tables[resource as usize]
    }

    /// Stores a new version of an object; the only place that adds or changes objects.
    fn keep(&mut self, resource: Resource, key: &Key, mut object: Value) -> Arc<Stored> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(Stored::new(key.clone(), self.revision, &object));
        let table = &mut self.tables[resource as usize];
        let before = table.objects.insert(key.clone(), Arc::clone(&object));
        let event_type =
            if before.is_some() { WatchEventType::Modified } else { WatchEventType::Added };
        self.notify(resource, event_type, &object, before.as_deref());
        self.garbage.note(resource, before.as_deref(), Some(&object));
        object
    }

    /// Removes an object.
    fn remove(&mut self, resource: Resource, key: &Key) -> Option<Arc<Stored>> {
        let last = self.tables[resource as usize].objects.remove(key)?;
        self.revision += 1;
        let mut object = last.value();
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(Stored::new(key.clone(), self.revision, &object));
        self.notify(resource, WatchEventType::Deleted, &object, Some(&last));
        self.garbage.note(resource, Some(&last), None);
        Some(object)
    }

    fn notify(
        &mut self,
        resource: Resource,
        event_type: WatchEventType,
        object: &Arc<Stored>,
        before: Option<&Stored>,
    ) {
        let labels = before.map(|before| &before.labels).filter(|before| **before != object.labels);
        let change =
            Change { event_type, object: Arc::clone(object), labels_before: labels.cloned() };
        self.tables[resource as usize].history.push(change);
    }
}
