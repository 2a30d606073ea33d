//! Who is in which group, and so which Ingresses share a certificate.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Index;
use super::entry::Entry;
use crate::domain::grouping::{self, Member};
use crate::domain::ingress::IngressKey;

/// A namespace and a registered domain.
pub(super) type GroupKey = (Arc<str>, Box<str>);

/// The groups.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<GroupKey, BTreeSet<IngressKey>>);

impl Groups {
    fn join(&mut self, group: GroupKey, key: IngressKey) {
        self.0.entry(group).or_default().insert(key);
    }

    fn leave(&mut self, group: &GroupKey, key: &IngressKey) {
        let Some(members) = self.0.get_mut(group) else { return };
        members.remove(key);
        if members.is_empty() {
            self.0.remove(group);
        }
    }
}

impl Entry {
    /// Its group, if it is in one.
    pub(super) fn group(&self) -> Option<GroupKey> {
        Some((self.view.key.namespace.clone(), self.plan.group.clone()?))
    }

    /// Keeps the place in the group that `old` has, until the group says otherwise.
    pub(super) fn keep_place(&mut self, old: &Self) {
        let place = old.plan.parts.first().filter(|_| self.plan.group == old.plan.group);
        if let (Some(domain), Some(part)) = (&self.plan.group, place)
            && let Some(path) = grouping::path(domain, &part.secret.name)
        {
            self.plan.go_to(&self.view, path);
        }
    }

    /// What its group goes by.
    fn member(&self) -> Option<Member<'_>> {
        let (domain, part) = (self.plan.group.as_deref()?, self.plan.parts.first()?);
        let named = self.view.tls.first().and_then(|block| block.secret_name.as_deref());
        let in_use = named.and_then(|secret| grouping::path(domain, secret));
        Some(Member { ingress: &self.view.key.name, names: &part.names, in_use })
    }
}

impl Index {
    /// An Ingress was `old` and is `new`: its groups follow. Returns whose Secrets are others now.
    pub(super) fn regroup(
        &mut self,
        key: &IngressKey,
        (old, new): (Option<GroupKey>, Option<GroupKey>),
    ) -> BTreeSet<IngressKey> {
        let mut changed = BTreeSet::new();
        if let Some(left) = old.filter(|old| Some(old) != new.as_ref()) {
            self.groups.leave(&left, key);
            changed.append(&mut self.settle(&left));
        }
        if let Some(joined) = new {
            self.groups.join(joined.clone(), key.clone());
            changed.append(&mut self.settle(&joined));
        }
        changed
    }

    /// Gives each member of a group its place.
    fn settle(&mut self, group: &GroupKey) -> BTreeSet<IngressKey> {
        let mut changed = BTreeSet::new();
        for (key, path) in self.places(group) {
            let Some(mut entry) = self.entries.remove(&key) else { continue };
            let wanted = grouping::secret_name(&group.1, &path);
            if entry.plan.parts.first().is_some_and(|part| *part.secret.name != *wanted) {
                changed.append(&mut self.unlink(&key, &entry.plan));
                let Entry { plan, view, .. } = &mut *entry;
                plan.go_to(view, &path);
                self.entries.insert(key.clone(), entry);
                self.link(&key);
                changed.insert(key);
            } else {
                self.entries.insert(key, entry);
            }
        }
        changed
    }

    fn places(&self, group: &GroupKey) -> Vec<(IngressKey, String)> {
        let keys: Vec<&IngressKey> = self.groups.0.get(group).into_iter().flatten().collect();
        let member = |key: &&IngressKey| self.entries.get(*key)?.member();
        let members: Vec<Member<'_>> = keys.iter().filter_map(member).collect();
        let paths = grouping::paths(&members);
        keys.into_iter().cloned().zip(paths).collect()
    }
}
