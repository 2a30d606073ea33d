//! Garbage collector and namespace controller: objects whose owners are all gone are deleted,
//! references to missing owners are removed from other objects, and a Namespace under deletion is
//! emptied and then removed.
//!
//! An owner is valid only in the namespace of the dependent, or if the owner is cluster-scoped.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Store;
use crate::kube::object::{Key, Stored};
use crate::kube::ownership::Author;
use crate::kube::resource::Resource;

/// Number of objects checked in one round, so that requests are answered in between.
const ROUND: usize = 500;
/// Field manager of the changes.
const CONTROLLER: &str = "kube-controller-manager";

/// Owner references, and the objects to check.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    /// Namespaces of existing objects, by uid.
    alive: HashMap<Arc<str>, Arc<str>>,
    /// Dependents of each owner, by uid of the owner.
    dependents: HashMap<Arc<str>, HashSet<(Resource, Key)>>,
    /// Objects with an owner that may be gone.
    pending_checks: Vec<(Resource, Key)>,
    /// Namespaces under deletion.
    leaving: Vec<Key>,
}

impl Garbage {
    /// Records one change of an object.
    pub(super) fn note(
        &mut self,
        resource: Resource,
        before: Option<&Stored>,
        after: Option<&Stored>,
    ) {
        let Some(key) = before.or(after).map(|object| &object.key) else { return };
        for owner in before.into_iter().flat_map(|object| &object.owners) {
            if let Some(dependents) = self.dependents.get_mut(owner) {
                dependents.remove(&(resource, key.clone()));
                if dependents.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        for owner in after.into_iter().flat_map(|object| &object.owners) {
            let dependents = self.dependents.entry(Arc::clone(owner)).or_default();
            dependents.insert((resource, key.clone()));
        }
        match (before, after) {
            (None, Some(new)) => {
                self.alive.insert(Arc::clone(&new.uid), Arc::clone(&key.namespace));
            }
            (Some(gone), None) => {
                self.alive.remove(&gone.uid);
                self.pending_checks
                    .extend(self.dependents.get(&gone.uid).into_iter().flatten().cloned());
            }
            _ => {}
        }
        if let Some(object) = after {
            if object.owners.iter().any(|owner| !self.is_owner(owner, &object.key)) {
                self.pending_checks.push((resource, key.clone()));
            }
            if resource == Resource::Namespaces && object.is_terminating {
                self.leaving.push(key.clone());
            }
        }
    }

    /// Whether no owners, dependents or pending checks are recorded.
    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.dependents.is_empty() && self.pending_checks.is_empty() && self.leaving.is_empty()
    }

    fn is_owner(&self, uid: &str, of: &Key) -> bool {
        let namespace = self.alive.get(uid);
        namespace.is_some_and(|namespace| namespace.is_empty() || *namespace == of.namespace)
    }
}

impl Store {
    /// Whether there is something to collect.
    pub(crate) fn has_garbage(&self) -> bool {
        !self.garbage.pending_checks.is_empty() || !self.garbage.leaving.is_empty()
    }

    /// Runs one round of collection.
    pub(crate) fn collect(&mut self, now: Timestamp) {
        let by = Author { manager: CONTROLLER, now, status: false };
        let pending_checks = &mut self.garbage.pending_checks;
        let some = pending_checks.split_off(pending_checks.len().saturating_sub(ROUND));
        for (resource, key) in some {
            self.collect_orphan(resource, &key, &by);
        }
        for namespace in std::mem::take(&mut self.garbage.leaving) {
            if self.empty(&namespace.name, &by) {
                self.remove(Resource::Namespaces, &namespace);
            } else {
                self.garbage.leaving.push(namespace);
            }
        }
    }

    /// Removes the references to this owner from all dependents.
    pub(super) fn orphan(&mut self, owner: &str, by: &Author<'_>) {
        let dependents = self.garbage.dependents.get(owner).cloned();
        for (resource, key) in dependents.into_iter().flatten() {
            if let Some(live) = self.find(resource, &key).cloned() {
                self.remove_owner_refs(resource, &live, &[owner.into()], by);
            }
        }
    }

    fn collect_orphan(&mut self, resource: Resource, key: &Key, by: &Author<'_>) {
        let Some(live) = self.find(resource, key).cloned() else { return };
        let is_gone = |owner: &&Arc<str>| !self.garbage.is_owner(owner, key);
        let gone: Vec<Arc<str>> = live.owners.iter().filter(is_gone).cloned().collect();
        if gone.is_empty() {
            return;
        }
        if gone.len() == live.owners.len() {
            // Cannot be refused: the object exists.
            _ = self.delete(resource, key, &serde_json::Value::Null, by);
        } else {
            self.remove_owner_refs(resource, &live, &gone, by);
        }
    }

    fn remove_owner_refs(
        &mut self,
        resource: Resource,
        live: &Arc<Stored>,
        gone: &[Arc<str>],
        by: &Author<'_>,
    ) {
        let mut object = live.value();
        let references = &mut object["metadata"]["ownerReferences"];
        if let Some(references) = references.as_array_mut() {
            let uid = |reference: &serde_json::Value| reference["uid"].as_str().map(Arc::from);
            references.retain(|reference| uid(reference).is_none_or(|uid| !gone.contains(&uid)));
        }
        if references.as_array().is_some_and(Vec::is_empty) {
            *references = serde_json::Value::Null;
        }
        if crate::kube::defaults::complete(resource, &mut object).is_ok() {
            _ = self.change(resource, live, object, by); // all other fields were valid before
        }
    }

    /// Deletes up to a round of objects of each kind in a namespace. Returns whether the namespace
    /// was already empty.
    fn empty(&mut self, namespace: &str, by: &Author<'_>) -> bool {
        let mut is_empty = true;
        for resource in Resource::ALL.into_iter().filter(|resource| resource.is_namespaced()) {
            let inside: Vec<Key> = self.within(resource, namespace).take(ROUND).cloned().collect();
            is_empty &= inside.is_empty();
            for key in inside {
                _ = self.delete(resource, &key, &serde_json::Value::Null, by);
            }
        }
        is_empty
    }

    fn within(&self, resource: Resource, namespace: &str) -> impl Iterator<Item = &Key> {
        let all = self.table(resource).objects.range(Key::new(namespace, "")..);
        all.map(|(key, _)| key).take_while(move |key| *key.namespace == *namespace)
    }
}
