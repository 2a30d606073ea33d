//! Parting of Ingresses that share a chosen Secret, when their hosts are not the same any more: no
//! certificate has hosts of two Ingresses that did not ask for one certificate.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::indexed_ingress::IndexedIngress;
use super::{Index, WatchScope, covers};
use crate::domain::desired::hosts::same_names;
use crate::domain::desired::plan::PlannedCertificate;
use crate::domain::desired::secret_names::is_choosable;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;

impl Index {
    /// Lets an Ingress choose another Secret where an edit of its hosts would add names to the
    /// certificate of others. Returns one of the others, which settles the owners.
    pub(crate) fn part(&mut self, key: &IngressKey) -> BTreeSet<IngressKey> {
        // A block with the hosts of the rules has been settled with the others.
        let settled = |entry: &IndexedIngress| match &entry.view.tls[..] {
            [block] => same_names(&block.hosts, &entry.view.rule_hosts),
            _ => false,
        };
        if self.entries.get(key).is_none_or(|entry| settled(entry)) {
            return BTreeSet::new();
        }
        self.part_unless_covered(key)
    }

    /// Lets the Ingresses of a scope part that were edited while nobody looked. Called before the
    /// first scan, because a job of the others would order a certificate for all.
    pub fn part_all(&mut self, scope: &WatchScope) {
        let within = |key: &IngressKey| covers(scope, &key.namespace);
        let chosen = self.entries.iter().filter(|(key, entry)| entry.plan.chosen && within(key));
        let chosen: Vec<IngressKey> = chosen.map(|(key, _)| key.clone()).collect();
        for key in chosen {
            self.part(&key);
        }
    }

    /// Shared Secrets of an Ingress whose names its user chose, with the names of their
    /// certificates.
    pub(super) fn named_and_shared(&self, key: &IngressKey) -> Vec<(SecretKey, Arc<[DnsName]>)> {
        if self.entries.get(key).is_none_or(|entry| entry.plan.chosen) {
            return Vec::new();
        }
        let shared = self.planned(key).iter().filter(|planned| self.is_shared(&planned.secret));
        shared.map(|planned| (planned.secret.clone(), planned.names.clone())).collect()
    }

    /// Lets those part that were given a Secret of an Ingress for having its hosts, after an edit
    /// of these hosts. `before` is what [`named_and_shared`](Self::named_and_shared) said before
    /// the edit.
    pub(super) fn part_sharers(
        &mut self,
        key: &IngressKey,
        before: &[(SecretKey, Arc<[DnsName]>)],
    ) -> BTreeSet<IngressKey> {
        let mut changed = BTreeSet::new();
        for (secret, names) in before {
            let now = self.planned(key).iter().find(|planned| planned.secret == *secret);
            if now.is_none_or(|planned| planned.names == *names) {
                continue;
            }
            let users = self.users.get(secret).into_iter().flatten();
            let sharers = users.filter(|user| *user != key).take(limits::SHARERS);
            for sharer in sharers.cloned().collect::<Vec<_>>() {
                let others = self.part_unless_covered(&sharer);
                if !others.is_empty() {
                    changed.insert(sharer);
                    changed.extend(others);
                }
            }
        }
        changed
    }

    /// Lets an Ingress choose another Secret if it adds names to the certificate of others.
    fn part_unless_covered(&mut self, key: &IngressKey) -> BTreeSet<IngressKey> {
        let nobody = BTreeSet::new();
        let Some(entry) = self.entries.get(key) else { return nobody };
        let ([planned], true) = (&entry.plan.certificates[..], entry.plan.chosen) else {
            return nobody;
        };
        let secret = planned.secret.clone();
        if !self.is_shared(&secret) || !self.may_be_our_choice(key, &secret) {
            return nobody;
        }
        let users = self.users.get(&secret).into_iter().flatten().filter(|user| *user != key);
        let others = users.filter_map(|user| self.entries.get(user)?.planned(&secret));
        let covers = |other: &PlannedCertificate, name: &DnsName| {
            other.names.contains(name) || (entry.view.uses_wildcard() && other.covers(name))
        };
        let is_theirs = |name: &DnsName| others.clone().any(|other| covers(other, name));
        if planned.names.iter().all(is_theirs) {
            return nobody;
        }
        let plan = entry.plan.clone();
        let others = self.unlink(key, &plan);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.plan.reopen(key);
        }
        others
    }

    /// Whether we may have chosen a shared Secret for an Ingress: its name is one that we choose,
    /// or another Ingress names it. Any other name is an edit of its user, which leaves our
    /// annotation as it is: `spec.tls` is theirs then, and goes on naming that Secret.
    fn may_be_our_choice(&self, key: &IngressKey, secret: &SecretKey) -> bool {
        let users = self.users.get(secret).into_iter().flatten();
        let names_it = |user: &IngressKey| {
            user != key && self.entries.get(user).is_some_and(|entry| !entry.plan.chosen)
        };
        let mut choices =
            users.map(|user| is_choosable(&user.name, &secret.name) || names_it(user));
        choices.any(|is_choice| is_choice)
    }
}
