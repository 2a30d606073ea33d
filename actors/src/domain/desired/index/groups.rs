//! Membership of groups: the Ingresses that share a certificate.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Index;
use super::indexed_ingress::IndexedIngress;
use crate::domain::desired::grouping::{self, Member};
use crate::domain::ingress::IngressKey;

/// Namespace and registered domain.
pub(super) type GroupKey = (Arc<str>, Box<str>);

/// Members of each group, by the path of their bucket.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<GroupKey, BTreeMap<String, BTreeSet<IngressKey>>>);

impl Groups {
    fn leave(&mut self, group: &GroupKey, key: &IngressKey) {
        let Some(buckets) = self.0.get_mut(group) else { return };
        buckets.retain(|_, members| {
            members.remove(key);
            !members.is_empty()
        });
        if buckets.is_empty() {
            self.0.remove(group);
        }
    }

    /// Takes out the bucket for an Ingress with the name `ingress`. Returns its path and members.
    fn take_bucket_of(
        &mut self,
        group: &GroupKey,
        ingress: &str,
    ) -> (String, BTreeSet<IngressKey>) {
        let buckets = self.0.entry(group.clone()).or_default();
        let mut path = String::new();
        loop {
            if let Some(members) = buckets.remove(&path) {
                return (path, members);
            }
            let first_from = buckets.range(path.clone()..).next();
            if !first_from.is_some_and(|(other, _)| other.starts_with(&path)) {
                return (path, BTreeSet::new());
            }
            grouping::deeper(&mut path, ingress);
        }
    }
}

impl IndexedIngress {
    /// Group of the Ingress, if any.
    pub(super) fn group(&self) -> Option<GroupKey> {
        Some((self.view.key.namespace.clone(), self.plan.group.clone()?))
    }

    /// Keeps the bucket of `old` until the group is computed again.
    pub(super) fn keep_place(&mut self, old: &Self) {
        let place = old.plan.certificates.first().filter(|_| self.plan.group == old.plan.group);
        if let (Some(domain), Some(planned)) = (&self.plan.group, place)
            && let Some(path) = grouping::path(domain, &planned.secret.name)
        {
            self.plan.go_to(&self.view, path);
        }
    }

    /// Input of the group's computation.
    fn member(&self) -> Option<Member<'_>> {
        let (domain, planned) = (self.plan.group.as_deref()?, self.plan.certificates.first()?);
        let named = self.view.tls.first().and_then(|block| block.secret_name.as_deref());
        let in_use = named.and_then(|secret| grouping::path(domain, secret));
        Some(Member { ingress: &self.view.key.name, names: &planned.names, in_use })
    }
}

impl Index {
    /// Moves an Ingress from the group `old` to the group `new`. Returns the Ingresses with a new
    /// Secret, all of them in the bucket that the Ingress joins.
    pub(super) fn regroup(
        &mut self,
        key: &IngressKey,
        (old, new): (Option<GroupKey>, Option<GroupKey>),
    ) -> BTreeSet<IngressKey> {
        if let Some(left) = &old {
            self.groups.leave(left, key);
        }
        let Some(group) = new else { return BTreeSet::new() };
        let (at, mut members) = self.groups.take_bucket_of(&group, &key.name);
        members.insert(key.clone());
        let known = members.iter().filter_map(|key| self.entries.get(key)?.member());
        let paths = grouping::paths(&at, &known.collect::<Vec<_>>());
        let mut changed = BTreeSet::new();
        for (key, path) in members.into_iter().zip(paths) {
            if self.move_to(&key, &grouping::secret_name(&group.1, &path), &path) {
                changed.insert(key.clone());
            }
            let buckets = self.groups.0.entry(group.clone()).or_default();
            buckets.entry(path).or_default().insert(key);
        }
        changed
    }

    /// Moves an Ingress to a bucket of its group. Returns whether the Secret changed.
    fn move_to(&mut self, key: &IngressKey, secret: &str, path: &str) -> bool {
        let Some(mut entry) = self.entries.remove(key) else { return false };
        let moves =
            entry.plan.certificates.first().is_some_and(|planned| *planned.secret.name != *secret);
        if moves {
            // The old bucket loses a name, which a group's certificate may keep: no neighbour has
            // work.
            self.unlink(key, &entry.plan);
            let IndexedIngress { plan, view, .. } = &mut *entry;
            plan.go_to(view, path);
        }
        self.entries.insert(key.clone(), entry);
        if moves {
            self.link(key);
        }
        moves
    }
}
