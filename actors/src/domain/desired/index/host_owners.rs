//! The namespace of each host, as the index knows it from all plans.

use std::collections::BTreeSet;

use super::indexed_ingress::IndexedIngress;
use super::{Index, covers};
use crate::domain::desired::host_claims::Holders;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// A contested host, and the Secrets that decide which namespace has it.
pub(crate) type ContestedHost = (DnsName, Vec<SecretKey>);

impl Index {
    /// Returns the contested hosts of an Ingress whose holders must be looked up before anything is
    /// ordered, each with the Secrets to read.
    pub(crate) fn unchecked_hosts(&self, key: &IngressKey, now: Timestamp) -> Vec<ContestedHost> {
        if self.host_claims.are_uncontested() {
            return Vec::new();
        }
        let Some(entry) = self.entries.get(key) else { return Vec::new() };
        let hosts = entry.plan.hosts().into_iter();
        let unchecked = hosts.filter(|host| self.host_claims.is_unchecked(host, now));
        unchecked.map(|host| (host.clone(), self.secrets_with(&host))).collect()
    }

    /// Records who holds valid certificates for a contested host; `None` if a Secret could not be
    /// read.
    pub(crate) fn record_holders(
        &mut self,
        host: &DnsName,
        holders: Option<Holders>,
        now: Timestamp,
    ) {
        self.host_claims.record(host, holders, now);
        self.merged.borrow_mut().clear();
    }

    /// Secrets of the claimants of a host in which a certificate for the host is expected.
    fn secrets_with(&self, host: &DnsName) -> Vec<SecretKey> {
        let claimants = self.host_claims.claimants(host);
        let plans = claimants.iter().flat_map(|key| self.planned(key));
        let with_host = plans.filter(|planned| planned.names.binary_search(host).is_ok());
        let secrets: BTreeSet<SecretKey> = with_host.map(|one| one.secret.clone()).collect();
        secrets.into_iter().collect()
    }

    /// Whether a namespace may have a certificate for a host.
    pub(super) fn may_have(&self, namespace: &str) -> impl Fn(&DnsName) -> bool {
        let all = self.host_claims.are_uncontested();
        move |host| all || self.host_claims.may_have(host, namespace)
    }

    /// Changes the claims of an Ingress after an edit. Returns the Ingresses of other namespaces
    /// that may have a host now.
    pub(super) fn reclaim(
        &mut self,
        key: &IngressKey,
        old: &IndexedIngress,
    ) -> BTreeSet<IngressKey> {
        let Some(entry) = self.entries.get(key) else { return BTreeSet::new() };
        if entry.plan.certificates == old.plan.certificates {
            return BTreeSet::new();
        }
        let (before, after) = (old.plan.hosts(), entry.plan.hosts());
        let created = entry.view.created;
        let gone: BTreeSet<DnsName> = before.difference(&after).cloned().collect();
        let freed = self.release(key, &gone);
        let is_first_list = self.is_first_list(&key.namespace);
        let new = after.difference(&before).cloned();
        self.host_claims.claim((key, created), new, is_first_list);
        freed
    }

    /// Removes claims. Returns the Ingresses of other namespaces that may have a host now.
    pub(super) fn release(
        &mut self,
        key: &IngressKey,
        hosts: &BTreeSet<DnsName>,
    ) -> BTreeSet<IngressKey> {
        let freed = self.host_claims.release(key, hosts);
        if !freed.is_empty() {
            self.merged.borrow_mut().clear();
        }
        freed
    }

    /// Whether the namespace is listed for the first time, so that the order in which its Ingresses
    /// arrive means nothing.
    pub(super) fn is_first_list(&self, namespace: &str) -> bool {
        !self.listed.iter().any(|scope| covers(scope, namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::{ingress, names};
    use crate::domain::desired::problem::Problem;
    use crate::domain::ingress::IngressView;

    const HOST: &str = "www.example.com";

    fn listed() -> Index {
        let mut index = Index::default();
        index.list_begins(None);
        index.list_ends(&None);
        index
    }

    fn key(namespace: &str) -> IngressKey {
        IngressKey::new(namespace, "shop")
    }

    fn names_of(index: &Index, namespace: &str) -> Option<BTreeSet<DnsName>> {
        index.desired(&SecretKey::new(namespace, "shop")).map(|desired| desired.names)
    }

    fn now() -> Timestamp {
        Timestamp::from_secs(0)
    }

    #[test]
    fn a_host_of_another_namespace_is_left_out_and_the_other_hosts_are_served() {
        let mut index = listed();
        index.apply(ingress("a", "shop", &[HOST]));
        index.apply(ingress("b", "shop", &[HOST, "own.example.com"]));
        assert_eq!(names_of(&index, "a"), Some(names(&[HOST])));
        assert_eq!(names_of(&index, "b"), Some(names(&["own.example.com"])));
        let host = DnsName::parse(HOST).unwrap();
        assert_eq!(index.problems(&key("b")), Some([Problem::HostTaken { host }].into()));
        assert_eq!(index.problems(&key("a")), Some(BTreeSet::new()));
        assert_eq!(index.remove(&key("a")), [key("a"), key("b")]);
        assert_eq!(names_of(&index, "b"), Some(names(&[HOST, "own.example.com"])));
    }

    #[test]
    fn an_edit_that_drops_a_host_gives_it_to_the_next() {
        let mut index = listed();
        index.apply(ingress("a", "shop", &[HOST]));
        index.apply(ingress("b", "shop", &[HOST]));
        assert_eq!(names_of(&index, "b"), None);
        let changed = index.apply(ingress("a", "shop", &["other.example.com"]));
        assert_eq!(changed, [key("a"), key("b")]);
        assert_eq!(names_of(&index, "b"), Some(names(&[HOST])));
        index.apply(ingress("a", "shop", &["other.example.com", HOST]));
        assert_eq!(names_of(&index, "a"), Some(names(&["other.example.com"])));
    }

    #[test]
    fn a_contested_host_names_the_secrets_that_decide() {
        let mut index = Index::default();
        index.apply(ingress("b", "shop", &[HOST]));
        let older = Timestamp::from_secs(-1);
        index.apply(IngressView { created: older, ..ingress("a", "shop", &[HOST]) });
        let unchecked = index.unchecked_hosts(&key("b"), now());
        let secrets = ["a", "b"].map(|namespace| SecretKey::new(namespace, "shop"));
        assert_eq!(unchecked, [(DnsName::parse(HOST).unwrap(), secrets.to_vec())]);
        let holders = [("b".into(), Timestamp::from_secs(9))].into();
        index.record_holders(&unchecked[0].0, Some(holders), now());
        assert!(index.unchecked_hosts(&key("b"), now()).is_empty());
        assert_eq!((names_of(&index, "a"), names_of(&index, "b")), (None, Some(names(&[HOST]))));
    }
}
