//! The namespace of each host, as the index knows it from all plans.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::indexed_ingress::IndexedIngress;
use super::{Index, covers};
use crate::domain::desired::host_claims::{Owner, Verdict};
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// A contested host and a namespace that claims the host, with the Secrets that show whether the
/// namespace holds a certificate for it.
pub(crate) type UnreadClaim = (DnsName, Arc<str>, Vec<SecretKey>);

impl Index {
    /// Returns the Secrets to read before `hosts` are decided for `namespace`: those of a few hosts
    /// at a time, and a bounded number in all.
    pub(crate) fn unread_claims(
        &self,
        namespace: &str,
        hosts: &BTreeSet<DnsName>,
    ) -> Vec<UnreadClaim> {
        let (mut claims, mut count) = (Vec::new(), 0);
        for host in hosts.iter().take(limits::HOSTS_CHECKED) {
            for (claimant, ingresses) in self.host_claims.unread(host, namespace) {
                let secrets = self.secrets_with(host, &ingresses);
                count += secrets.len();
                claims.push((host.clone(), claimant, secrets));
                if count >= limits::HOLDER_SECRETS {
                    return claims;
                }
            }
        }
        claims
    }

    /// Records whether a namespace holds a valid certificate for a contested host.
    pub(crate) fn record_holder(
        &mut self,
        (host, namespace): (&DnsName, &Arc<str>),
        holds_until: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.host_claims.record(host, namespace, holds_until, now);
        self.forget_merged_with(host);
    }

    /// Owner of a contested host, if it is another one than at the last call.
    pub(crate) fn owner_news(&mut self, host: &DnsName) -> Option<Owner> {
        self.host_claims.news(host)
    }

    /// Whether a host of the Ingress is undecided, so that its problems are not known yet.
    pub(crate) fn has_undecided_hosts(&self, key: &IngressKey) -> bool {
        let verdict = |host: DnsName| self.host_claims.verdict(&host, &key.namespace);
        self.hosts_in_contests(key).any(|host| verdict(host) == Verdict::Undecided)
    }

    /// Whether something that is known about the contested hosts of an Ingress is out of date.
    pub(crate) fn has_stale_hosts(&self, key: &IngressKey, now: Timestamp) -> bool {
        self.stale_hosts(key, now).next().is_some()
    }

    /// Drops everything about the contested hosts of an Ingress that is out of date, so that the
    /// next job reads the Secrets again.
    pub(crate) fn forget_stale_hosts(&mut self, key: &IngressKey, now: Timestamp) {
        let stale: Vec<DnsName> = self.stale_hosts(key, now).collect();
        for host in stale {
            self.host_claims.forget_stale(&host, now);
            self.forget_merged_with(&host);
        }
    }

    fn stale_hosts(&self, key: &IngressKey, now: Timestamp) -> impl Iterator<Item = DnsName> {
        self.hosts_in_contests(key).filter(move |host| self.host_claims.is_stale(host, now))
    }

    /// Hosts of an Ingress; none while no host is contested, which is so in nearly every cluster.
    pub(super) fn hosts_in_contests(&self, key: &IngressKey) -> impl Iterator<Item = DnsName> {
        let contested = !self.host_claims.are_uncontested();
        let entry = self.entries.get(key).filter(|_| contested);
        let hosts = entry.map(|entry| entry.plan.hosts()).unwrap_or_default();
        (0..hosts.len()).map(move |place| hosts[place].clone())
    }

    /// Secrets of these Ingresses in which a certificate for the host is expected, a few.
    fn secrets_with(&self, host: &DnsName, ingresses: &[IngressKey]) -> Vec<SecretKey> {
        let plans = ingresses.iter().flat_map(|key| self.planned(key));
        let with_host = plans.filter(|planned| planned.names.binary_search(host).is_ok());
        let chosen = with_host.map(|planned| planned.secret.clone());
        let open = ingresses.iter().filter(|key| self.is_open(key));
        let mut secrets = Vec::new();
        for secret in chosen.chain(open.flat_map(Self::possible_secrets)) {
            if !secrets.contains(&secret) {
                secrets.push(secret);
            }
            if secrets.len() >= limits::CLAIMANTS_READ {
                break;
            }
        }
        secrets
    }

    /// Forgets that the namespace of an Ingress holds nothing for these hosts, because the Secret
    /// of the Ingress was not known when that was found out.
    pub(super) fn forget_non_holder(&mut self, key: &IngressKey, hosts: &[DnsName]) {
        if self.host_claims.are_uncontested() {
            return;
        }
        for host in hosts {
            if self.host_claims.forget_non_holder(host, &key.namespace) {
                self.forget_merged_with(host);
            }
        }
    }

    /// How the contest for a host stands for a namespace.
    pub(super) fn verdicts(&self, namespace: &str) -> impl Fn(&DnsName) -> Verdict {
        let all = self.host_claims.are_uncontested();
        move |host| if all { Verdict::Has } else { self.host_claims.verdict(host, namespace) }
    }

    /// Adds the claims of an Ingress.
    pub(super) fn claim<'a>(
        &mut self,
        key: &IngressKey,
        created: Timestamp,
        hosts: impl IntoIterator<Item = &'a DnsName>,
    ) {
        let is_first_list = self.is_first_list(&key.namespace);
        if self.host_claims.claim((key, created), hosts, is_first_list) {
            self.merged.borrow_mut().clear();
        }
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
        let missing_in = |others: &[DnsName], host: &DnsName| others.binary_search(host).is_err();
        let freed = self.release(key, before.iter().filter(|host| missing_in(&after, host)));
        self.claim(key, created, after.iter().filter(|host| missing_in(&before, host)));
        freed
    }

    /// Removes claims. Returns the Ingresses of other namespaces that may have a host now.
    pub(super) fn release<'a>(
        &mut self,
        key: &IngressKey,
        hosts: impl IntoIterator<Item = &'a DnsName>,
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
    use crate::domain::desired::plan::tests::{block, named as ingress, names};
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

    /// Records that the Secrets of `a` and `b` were read, and who holds a certificate.
    fn read(index: &mut Index, holder: Option<&str>) {
        let host = DnsName::parse(HOST).unwrap();
        for namespace in ["a", "b"] {
            let until = (holder == Some(namespace)).then(|| Timestamp::from_secs(9));
            index.record_holder((&host, &namespace.into()), until, now());
        }
    }

    #[test]
    fn a_host_of_another_namespace_is_left_out_and_the_other_hosts_are_served() {
        let mut index = listed();
        index.apply(ingress("a", "shop", &[HOST]));
        index.apply(ingress("b", "shop", &[HOST, "own.example.com"]));
        read(&mut index, None);
        assert_eq!(names_of(&index, "a"), Some(names(&[HOST])));
        assert_eq!(names_of(&index, "b"), Some(names(&["own.example.com"])));
        let host = DnsName::parse(HOST).unwrap();
        assert_eq!(index.problems(&key("b")), Some([Problem::HostTaken { host }].into()));
        assert_eq!(index.problems(&key("a")), Some(BTreeSet::new()));
        assert_eq!(index.remove(&key("a")), [key("a"), key("b")]);
        assert_eq!(names_of(&index, "b"), Some(names(&[HOST, "own.example.com"])));
    }

    #[test]
    fn a_wildcard_host_takes_no_host_of_another_namespace() {
        let mut index = listed();
        index.apply(ingress("a", "shop", &["*.example.com", "own.example.com"]));
        index.apply(ingress("b", "shop", &[HOST]));
        assert_eq!(names_of(&index, "b"), Some(names(&[HOST])));
        assert_eq!(names_of(&index, "a"), Some(names(&["own.example.com"])));
        assert_eq!(index.problems(&key("b")), Some(BTreeSet::new()));
    }

    #[test]
    fn an_edit_that_drops_a_host_gives_it_to_the_next() {
        let mut index = listed();
        index.apply(ingress("a", "shop", &[HOST]));
        index.apply(ingress("b", "shop", &[HOST]));
        read(&mut index, None);
        assert_eq!(names_of(&index, "b"), None);
        let changed = index.apply(ingress("a", "shop", &["other.example.com"]));
        assert_eq!(changed, [key("a"), key("b")]);
        assert_eq!(names_of(&index, "b"), Some(names(&[HOST])));
        index.apply(ingress("a", "shop", &["other.example.com", HOST]));
        read(&mut index, None);
        assert_eq!(names_of(&index, "a"), Some(names(&["other.example.com"])));
    }

    #[test]
    fn an_undecided_host_is_in_no_certificate_and_names_the_secrets_that_decide() {
        let mut index = Index::default();
        index.apply(ingress("b", "shop", &[HOST]));
        let older = Timestamp::from_secs(-1);
        index.apply(IngressView { created: older, ..ingress("a", "shop", &[HOST]) });
        let undecided = index.desired(&SecretKey::new("b", "shop")).unwrap();
        assert_eq!((undecided.names, undecided.undecided.clone()), (names(&[]), names(&[HOST])));
        let secrets: Vec<_> = index
            .unread_claims("b", &undecided.undecided)
            .into_iter()
            .flat_map(|(_, _, secrets)| secrets)
            .collect();
        assert_eq!(secrets, ["b", "a"].map(|namespace| SecretKey::new(namespace, "shop")));
        read(&mut index, Some("b"));
        assert!(index.unread_claims("b", &undecided.undecided).is_empty());
        assert_eq!((names_of(&index, "a"), names_of(&index, "b")), (None, Some(names(&[HOST]))));
    }

    #[test]
    fn the_secrets_to_read_are_few_however_many_blocks_claim_a_host() {
        let mut index = Index::default();
        let hosts: Vec<String> = (0..101).map(|n| format!("h{n:03}.example.com")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        for number in 0..20 {
            let tls = (0..5_000).map(|n| block(&format!("s{n}"), &[])).collect();
            index.apply(IngressView { tls, ..ingress("a", &format!("i{number}"), &hosts) });
        }
        index.apply(ingress("b", "shop", &hosts[..100]));
        let claims = index.unread_claims("b", &names(&hosts[..100]));
        let secrets: usize = claims.iter().map(|(_, _, secrets)| secrets.len()).sum();
        assert!(secrets <= limits::HOSTS_CHECKED * (limits::CLAIMANTS_READ + 1), "{secrets}");
        assert!(claims.iter().any(|(_, namespace, _)| &**namespace == "b"));
    }

    #[test]
    fn hosts_are_undecided_until_they_are_read_and_again_once_that_is_out_of_date() {
        let mut index = listed();
        let answers = |index: &Index, at: i64| {
            let at = Timestamp::from_secs(at);
            (index.has_undecided_hosts(&key("a")), index.has_stale_hosts(&key("a"), at))
        };
        index.apply(ingress("a", "shop", &[HOST]));
        assert_eq!(answers(&index, 0), (false, false), "nobody else names it");
        index.apply(ingress("b", "shop", &[HOST]));
        assert_eq!(answers(&index, 0), (true, false));
        read(&mut index, Some("b"));
        assert_eq!((answers(&index, 8), answers(&index, 9)), ((false, false), (false, true)));
        index.forget_stale_hosts(&key("a"), Timestamp::from_secs(9));
        assert_eq!(answers(&index, 9), (true, false));
    }

    #[test]
    fn before_the_first_list_ends_the_older_ingress_has_a_host_and_after_it_the_first() {
        let owner = |mut index: Index| {
            index.apply(ingress("b", "shop", &[HOST]));
            let created = Timestamp::from_secs(-1);
            index.apply(IngressView { created, ..ingress("a", "shop", &[HOST]) });
            read(&mut index, None);
            ["a", "b"].into_iter().find(|namespace| names_of(&index, namespace).is_some())
        };
        assert_eq!(owner(Index::default()), Some("a"));
        assert_eq!(owner(listed()), Some("b"));
    }

    #[test]
    fn a_kept_answer_for_many_sharers_follows_what_is_read_of_their_host() {
        let mut index = listed();
        index.apply(ingress("b", "shop", &[HOST]));
        for number in 0..2 * limits::SHARERS_KEPT {
            let name = format!("i{number}");
            let tls = vec![block("shared", &[HOST, "own.example.com"])];
            index.apply(IngressView { tls, ..ingress("a", &name, &[]) });
        }
        let shared = SecretKey::new("a", "shared");
        let undecided = |index: &Index| index.desired(&shared).unwrap().undecided;
        assert_eq!(undecided(&index), names(&[HOST]));
        read(&mut index, Some("a"));
        assert_eq!(undecided(&index), names(&[]));
        index.forget_stale_hosts(&IngressKey::new("a", "i0"), Timestamp::from_secs(9));
        assert_eq!(undecided(&index), names(&[HOST]));
    }
}
