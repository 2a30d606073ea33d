//! Choice of the Secrets whose names are ours to choose. Until its Secret is chosen, an Ingress has
//! its hosts and no certificate: what is in the cluster decides, and is read first.

use super::Index;
use super::indexed_ingress::IndexedIngress;
use crate::domain::certificate::{KeyAlgorithm, SecretView};
use crate::domain::cut::cut;
use crate::domain::desired::plan::{PlannedCertificate, adoption, algorithm};
use crate::domain::desired::problem::Problem;
use crate::domain::desired::secret_names::{Holder, Known, Search, chosen_name, holder, reaches};
use crate::domain::ingress::{IngressKey, IngressView, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;

impl Index {
    /// Whether the Secret of the Ingress is not chosen yet.
    pub(crate) fn is_open(&self, key: &IngressKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.plan.open)
    }

    /// Ingresses whose Secrets are not chosen yet.
    pub(crate) fn open(&self) -> impl Iterator<Item = &IngressKey> {
        self.entries.iter().filter(|(_, entry)| entry.plan.open).map(|(key, _)| key)
    }

    /// Begins the search for the Secret of an Ingress.
    pub(crate) fn search(&self, key: &IngressKey) -> Option<Search> {
        let entry = self.entries.get(key).filter(|entry| entry.plan.open)?;
        Some(Search::new(&key.name, entry.is_fresh))
    }

    /// Whose a Secret is, from the point of view of an Ingress.
    pub(crate) fn holder(
        &self,
        key: &IngressKey,
        secret: &SecretKey,
        found: Option<&SecretView>,
        is_live: bool,
    ) -> Holder {
        let Some(entry) = self.entries.get(key) else { return Holder::Another };
        let is_reached = || reaches(&key.name, &secret.name, found, names_of(entry));
        let adopts = adoption(&entry.view).is_some() && is_reached();
        let is_used = self.is_wanted(secret);
        let is_namesakes = is_live && self.may_be_a_namesakes(key, secret);
        let is_named = self.left_alone.names(secret) || is_namesakes;
        let uid = &entry.view.uid;
        let of_others = found.filter(|found| !found.owners.contains(&**uid));
        let is_owned = of_others.is_some_and(|found| self.owns_any(&key.namespace, found));
        let known = Known { secret: found, is_live, is_used, is_named, is_owned };
        holder(known, uid, names_of(entry), adopts)
    }

    /// Whether an Ingress of the namespace owns the Secret. Looks at all Ingresses, and is asked
    /// for the few Secrets that are there and may be chosen.
    fn owns_any(&self, namespace: &str, secret: &SecretView) -> bool {
        let within = self.entries.iter().filter(|(key, _)| *key.namespace == *namespace);
        let mut uids = within.map(|(_, entry)| &*entry.view.uid);
        !secret.owners.is_empty() && uids.any(|uid| secret.owners.contains(uid))
    }

    /// Whether another Ingress, whose Secret is not chosen yet, has the name of the Secret, as
    /// release 0.1.0 chose it: an issuance in the journal may be that one's.
    fn may_be_a_namesakes(&self, key: &IngressKey, secret: &SecretKey) -> bool {
        let (namespace, name) = (secret.namespace.clone(), secret.name.clone());
        let namesake = IngressKey { namespace, name };
        let open = self.entries.get(&namesake).filter(|entry| entry.plan.open && !entry.is_fresh);
        namesake != *key && open.is_some()
    }

    /// The oldest of the Ingresses of the namespace with exactly the same hosts whose Secrets are
    /// not chosen yet, which chooses for all of them.
    pub(crate) fn first_to_choose(&self, key: &IngressKey) -> Option<IngressKey> {
        let alike = self.alike(key).into_iter().filter(|entry| entry.plan.open);
        let alike = alike.filter(|entry| entry.skip.is_none());
        let first = alike.min_by_key(|entry| (entry.view.created, entry.view.key.clone()))?;
        Some(first.view.key.clone())
    }

    /// The first few other Ingresses with exactly the same hosts that may have a Secret of ours
    /// which is not found yet.
    pub(crate) fn open_alike(&self, key: &IngressKey) -> Vec<IngressKey> {
        let alike = self.alike(key).into_iter().filter(|entry| entry.plan.open && !entry.is_fresh);
        let others = alike.filter(|entry| entry.view.key != *key && entry.skip.is_none());
        others.take(limits::CLAIMANTS_READ).map(|entry| entry.view.key.clone()).collect()
    }

    /// Secrets of other Ingresses of the namespace with exactly the same hosts, or with wildcards
    /// that the Ingress wants to use, each with whether its user named it: these first, then those
    /// of the oldest.
    pub(crate) fn shared(&self, key: &IngressKey) -> Vec<(SecretKey, bool)> {
        let settled = self.alike(key).into_iter().filter(|entry| !entry.plan.open);
        let settled = settled.filter(|entry| entry.view.key != *key && entry.skip.is_none());
        let mut settled: Vec<&IndexedIngress> = settled.collect();
        settled.extend(self.with_wildcards_for(key));
        settled.sort_by_key(|entry| (entry.plan.chosen, entry.view.created, &entry.view.key));
        let names = self.entries.get(key).map_or(&[][..], |entry| names_of(entry));
        let mut shared: Vec<(SecretKey, bool)> = Vec::new();
        for entry in settled {
            let fits = |planned: &&PlannedCertificate| {
                *planned.names == *names || names.iter().all(|name| planned.covers(name))
            };
            let same = entry.plan.certificates.iter().find(fits);
            let Some(PlannedCertificate { secret, .. }) = same else { continue };
            if shared.iter().all(|(known, _)| known != secret) {
                shared.push((secret.clone(), !entry.plan.chosen));
            }
        }
        shared
    }

    /// Ingresses of the namespace with a wildcard certificate for all hosts of `key`, if that wants
    /// to use one; a bounded number.
    fn with_wildcards_for(&self, key: &IngressKey) -> Vec<&IndexedIngress> {
        let Some(entry) = self.entries.get(key).filter(|entry| entry.view.uses_wildcard()) else {
            return Vec::new();
        };
        let names = names_of(entry);
        let Some(wildcard) = names.first().and_then(DnsName::covering_wildcard) else {
            return Vec::new();
        };
        let claimants = self.host_claims.of_namespace(&wildcard, &key.namespace, limits::SHARERS);
        let entries = claimants.iter().filter_map(|key| Some(&**self.entries.get(key)?));
        let fits = |entry: &&IndexedIngress| {
            let mut planned = entry.plan.certificates.iter();
            !entry.plan.open
                && entry.plan.group.is_none()
                && entry.skip.is_none()
                && planned.any(|planned| names.iter().all(|name| planned.covers(name)))
        };
        entries.filter(fits).collect()
    }

    /// Ingresses of the namespace with a certificate for exactly the hosts of `key`, and on the
    /// same terms, itself among them; a bounded number.
    fn alike(&self, key: &IngressKey) -> Vec<&IndexedIngress> {
        let Some(entry) = self.entries.get(key) else { return Vec::new() };
        let names = names_of(entry);
        let Some(host) = names.first() else { return Vec::new() };
        let claimants = self.host_claims.of_namespace(host, &key.namespace, limits::SHARERS);
        let entries = claimants.iter().filter_map(|key| Some(&**self.entries.get(key)?));
        let of_own = self.wishes(&entry.view);
        let same = |entry: &&IndexedIngress| {
            entry.plan.group.is_none()
                && self.wishes(&entry.view) == of_own
                && entry.plan.certificates.iter().any(|planned| *planned.names == *names)
        };
        entries.filter(same).collect()
    }

    /// Chooses the Secret of an Ingress, unless other Ingresses with other hosts ask for that one
    /// by now.
    pub fn choose(&mut self, key: &IngressKey, name: &str) {
        let secret = SecretKey { namespace: key.namespace.clone(), name: name.into() };
        let is_shared = || self.shared(key).iter().any(|(shared, _)| *shared == secret);
        if self.is_wanted(&secret) && !is_shared() {
            return;
        }
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.plan.open) else { return };
        entry.plan.settle(secret);
        entry.forget_refusals();
        let hosts = entry.plan.hosts();
        self.link(key);
        self.forget_non_holder(key, &hosts);
    }

    /// Records that the API server does not let us look for the Secret of an Ingress. Returns how
    /// often it has refused one after the other.
    pub(crate) fn refuse(&mut self, key: &IngressKey, why: &str) -> u32 {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.plan.open) else {
            return 0;
        };
        let why = cut(why, limits::QUOTED_MAX);
        entry.plan.problems.retain(|problem| !matches!(problem, Problem::SecretRefused { .. }));
        entry.plan.problems.insert(Problem::SecretRefused { why });
        entry.refusals = entry.refusals.saturating_add(1);
        entry.refusals
    }

    /// Leaves an Ingress without a certificate, because it has none and must not get one. It claims
    /// no host any more; who waited for one is served by the next scan.
    pub(crate) fn choose_none(&mut self, key: &IngressKey) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.plan.open) else { return };
        let hosts = entry.plan.hosts();
        (entry.plan.open, entry.plan.certificates) = (false, Vec::new());
        entry.forget_refusals();
        self.release(key, hosts.iter());
    }

    /// Whether nothing new is chosen for the Ingress: only what it has is renewed.
    pub(crate) fn only_keeps(&self, key: &IngressKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.skip.is_some())
    }

    /// Secrets that may hold the certificate of an Ingress whose Secret is not chosen yet, the most
    /// likely first.
    pub(super) fn possible_secrets(key: &IngressKey) -> impl Iterator<Item = SecretKey> {
        let IngressKey { namespace, name } = key.clone();
        let beside = namespace.clone();
        let chosen = move |number| SecretKey::new(&beside, &chosen_name(&name, number));
        let of_0_1_0 = SecretKey { namespace, name: key.name.clone() };
        let further = (2..=limits::SECRET_NAMES).map(chosen.clone());
        [chosen(1), of_0_1_0].into_iter().chain(further)
    }

    /// What an Ingress asks of its certificate beside the hosts: one shared by Ingresses that ask
    /// for different things would change for some of them.
    fn wishes<'a>(
        &self,
        view: &'a IngressView,
    ) -> ([Option<&'a str>; 2], Option<KeyAlgorithm>, bool) {
        let asked = algorithm(view).ok().map(|asked| asked.unwrap_or(self.default_algorithm));
        let texts = [view.annotation("profile"), view.annotation("ca")];
        (texts, asked, view.annotation("partial") == Some("true"))
    }
}

fn names_of(entry: &IndexedIngress) -> &[DnsName] {
    entry.plan.certificates.first().map_or(&[], |planned| &planned.names)
}

#[cfg(test)]
mod tests;
