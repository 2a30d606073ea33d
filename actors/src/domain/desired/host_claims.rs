//! Which namespace has a host. A host that Ingresses of several namespaces name is contested: one
//! namespace has it, and the others get no certificate for it until that one lets go.
//!
//! The namespace that holds a valid certificate of ours for the host has it, then the one whose
//! Ingress named the host first in this process, then the one with the oldest Ingress. An edit does
//! not make an Ingress older, and a host that is added by an edit counts from the edit on. Only a
//! start of the process has no such order; certificates decide then, so nothing is stored.
//!
//! Who holds a certificate is known only after the Secrets of all claimants were read. Until then a
//! contested host is undecided, and nobody but a known holder gets a certificate for it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::ingress::IngressKey;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::public_name::is_within;
use crate::domain::time::Timestamp;

/// All claims of Ingresses on hosts.
#[derive(Debug, Default)]
pub(super) struct HostClaims {
    are_shared: bool,
    by_host: HashMap<DnsName, Claims>,
    contests: HashMap<DnsName, Contest>,
    /// Number of the last claim after the first list; claims of the first list have number 0.
    last: u64,
}

/// Claims on one host. Nearly every host has one.
#[derive(Debug)]
enum Claims {
    One(Claim),
    Many(Box<ManyClaims>),
}

/// Claims on a host that several Ingresses name.
#[derive(Debug, Default)]
struct ManyClaims {
    by_namespace: BTreeMap<Arc<str>, BTreeSet<Claim>>,
    by_ingress: HashMap<IngressKey, Claim>,
}

/// Claim of one Ingress. The order is the order of precedence.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Claim {
    number: u64,
    created: Timestamp,
    ingress: IngressKey,
}

/// A host that several namespaces claim.
#[derive(Debug, Default)]
struct Contest {
    /// What is known of the namespaces whose Secrets were read.
    known: HashMap<Arc<str>, Known>,
    /// Owner that was logged last.
    said: Option<Owner>,
}

/// Who has a contested host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    /// The namespace; the first by name of those that hold certificates.
    pub(crate) namespace: Arc<str>,
    /// Whether other namespaces hold a certificate for the host too, and keep it.
    pub(crate) shares: bool,
}

/// What is known of one namespace.
#[derive(Debug)]
struct Known {
    /// Expiry of a valid certificate of ours for the host, if there is one.
    holds_until: Option<Timestamp>,
    /// Time at which the Secrets are read again.
    stale_at: Timestamp,
}

/// How a contest stands for one namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The namespace has the host alone.
    Has,
    /// Several namespaces, this one too, hold a certificate for the host, and keep it.
    Shares,
    /// Another namespace has the host.
    Taken,
    /// Secrets must be read first.
    Undecided,
}

impl HostClaims {
    /// Creates a table without claims. With `are_shared` several namespaces may have a host
    /// (`--allow-cross-namespace-hosts`).
    pub(super) fn new(are_shared: bool) -> Self {
        Self { are_shared, ..Self::default() }
    }

    /// Adds the claim of an Ingress. `is_first_list` says that the order of arrival means nothing.
    /// Returns whether a host is contested now.
    pub(super) fn claim<'a>(
        &mut self,
        (ingress, created): (&IngressKey, Timestamp),
        hosts: impl IntoIterator<Item = &'a DnsName>,
        is_first_list: bool,
    ) -> bool {
        self.last += u64::from(!is_first_list);
        let (number, namespace) = (if is_first_list { 0 } else { self.last }, &ingress.namespace);
        let mut any_contested = false;
        for host in hosts {
            let claim = Claim { number, created, ingress: ingress.clone() };
            let claims = match self.by_host.entry(host.clone()) {
                Entry::Vacant(free) => {
                    free.insert(Claims::One(claim));
                    continue;
                }
                Entry::Occupied(claims) => claims.into_mut(),
            };
            claims.add(claim);
            if claims.is_of_several() {
                any_contested = true;
                let known = &mut self.contests.entry(host.clone()).or_default().known;
                // The newcomer may be a holder.
                known.retain(|other, known| other != namespace || known.holds_until.is_some());
            }
        }
        any_contested
    }

    /// Removes the claims of an Ingress. Returns Ingresses of other namespaces that may have one of
    /// the hosts now.
    pub(super) fn release<'a>(
        &mut self,
        ingress: &IngressKey,
        hosts: impl IntoIterator<Item = &'a DnsName>,
    ) -> BTreeSet<IngressKey> {
        let mut changed = BTreeSet::new();
        for host in hosts {
            let Some(claims) = self.by_host.get_mut(host) else { continue };
            if claims.remove(ingress) {
                self.by_host.remove(host);
                continue;
            }
            let left = !claims.of_namespace(&ingress.namespace, 1).is_empty();
            let Some(contest) = self.contests.get_mut(host).filter(|_| !left) else { continue };
            contest.known.remove(&ingress.namespace);
            for namespace in claims.namespaces().take(limits::CLAIMANTS_TOLD) {
                changed.extend(claims.of_namespace(namespace, 1));
            }
            if !claims.is_of_several() {
                self.contests.remove(host);
            }
        }
        changed
    }

    /// Whether no host is contested, which is so in nearly every cluster.
    pub(super) fn are_uncontested(&self) -> bool {
        self.are_shared || self.contests.is_empty()
    }

    /// How the contest for `host` stands for `namespace`.
    pub(super) fn verdict(&self, host: &DnsName, namespace: &str) -> Verdict {
        let contest = (!self.are_shared).then(|| self.contests.get(host)).flatten();
        let Some((Contest { known, .. }, claims)) = contest.zip(self.by_host.get(host)) else {
            return Verdict::Has;
        };
        let Some(own) = known.get(namespace) else { return Verdict::Undecided };
        let holders = known.values().filter(|known| known.holds_until.is_some()).count();
        let all_read = || claims.namespaces().all(|one| known.contains_key(one));
        match (own.holds_until, holders) {
            (Some(_), 1) => Verdict::Has,
            (Some(_), _) => Verdict::Shares,
            (None, 0) if !all_read() => Verdict::Undecided,
            (None, 0) if claims.first() == Some(namespace) => Verdict::Has,
            (None, _) => Verdict::Taken,
        }
    }

    /// Namespaces whose Secrets must be read to decide on `host`, each with the Ingresses that name
    /// the host: the first few, because one namespace must not crowd out another. `own` comes
    /// first.
    pub(super) fn unread(&self, host: &DnsName, own: &str) -> Vec<(Arc<str>, Vec<IngressKey>)> {
        let contest = (!self.are_shared).then(|| self.contests.get(host)).flatten();
        let Some((Contest { known, .. }, claims)) = contest.zip(self.by_host.get(host)) else {
            return Vec::new();
        };
        let unread = claims.namespaces().filter(|namespace| !known.contains_key(*namespace));
        let mut unread: Vec<&Arc<str>> = unread.take(limits::NAMESPACES_READ).collect();
        if let Some(own) = claims.namespaces().find(|namespace| ***namespace == *own)
            && !known.contains_key(own)
        {
            unread.retain(|namespace| *namespace != own);
            unread.insert(0, own);
        }
        let of = |namespace: &Arc<str>| {
            (namespace.clone(), claims.of_namespace(namespace, limits::CLAIMANTS_READ))
        };
        unread.into_iter().map(of).collect()
    }

    /// The first `count` Ingresses of a namespace that name `host`.
    pub(super) fn of_namespace(
        &self,
        host: &DnsName,
        namespace: &str,
        count: usize,
    ) -> Vec<IngressKey> {
        let claims = self.by_host.get(host);
        claims.map_or_else(Vec::new, |claims| claims.of_namespace(namespace, count))
    }

    /// Whether another namespace claims a host under `domain`. Looks at every host, so this is
    /// asked only when a share is used up.
    pub(super) fn are_elsewhere(&self, namespace: &str, domain: &str) -> bool {
        let mut hosts = self.by_host.iter().filter(|(host, _)| is_within(host.as_str(), domain));
        hosts.any(|(_, claims)| claims.namespaces().any(|other| **other != *namespace))
    }

    /// Records whether `namespace` holds a valid certificate for a contested host, and until when.
    pub(super) fn record(
        &mut self,
        host: &DnsName,
        namespace: &Arc<str>,
        holds_until: Option<Timestamp>,
        now: Timestamp,
    ) {
        let Some(Contest { known, .. }) = self.contests.get_mut(host) else { return };
        let again = now + limits::HOLDERS_KEPT;
        let stale_at = holds_until.map_or(again, |expiry| expiry.min(again));
        known.insert(namespace.clone(), Known { holds_until, stale_at });
    }

    /// Owner of a contested host, if it is another one than at the last call: the log names each
    /// owner once, although the Secrets are read again each hour. `None` while it is undecided.
    pub(super) fn news(&mut self, host: &DnsName) -> Option<Owner> {
        let contest = self.contests.get_mut(host).filter(|_| !self.are_shared)?;
        let claims = self.by_host.get(host)?;
        let holders = contest.known.iter().filter(|(_, known)| known.holds_until.is_some());
        let holders: BTreeSet<&Arc<str>> = holders.map(|(namespace, _)| namespace).collect();
        let all_read = claims.namespaces().all(|one| contest.known.contains_key(one));
        let namespace: Arc<str> = match holders.first() {
            Some(holder) => (*holder).clone(),
            None => claims.first().filter(|_| all_read)?.into(),
        };
        let owner = Some(Owner { namespace, shares: holders.len() > 1 });
        if contest.said == owner {
            return None;
        }
        contest.said.clone_from(&owner);
        owner
    }

    /// Whether something that is known about `host` is out of date.
    pub(super) fn is_stale(&self, host: &DnsName, now: Timestamp) -> bool {
        let contest = self.contests.get(host);
        contest.is_some_and(|contest| contest.known.values().any(|known| known.stale_at <= now))
    }

    /// Forgets that `namespace` holds no certificate for `host`. Returns whether it was known.
    pub(super) fn forget_non_holder(&mut self, host: &DnsName, namespace: &str) -> bool {
        let Some(Contest { known, .. }) = self.contests.get_mut(host) else { return false };
        let is_none = known.get(namespace).is_some_and(|known| known.holds_until.is_none());
        is_none && known.remove(namespace).is_some()
    }

    /// Drops everything about `host` that is out of date.
    pub(super) fn forget_stale(&mut self, host: &DnsName, now: Timestamp) {
        if let Some(Contest { known, .. }) = self.contests.get_mut(host) {
            known.retain(|_, known| now < known.stale_at);
        }
    }
}

impl Claims {
    fn add(&mut self, claim: Claim) {
        if let Self::One(one) = self {
            let mut many = ManyClaims::default();
            many.add(one.clone());
            *self = Self::Many(Box::new(many));
        }
        if let Self::Many(many) = self {
            many.add(claim);
        }
    }

    /// Removes the claim of `ingress`. Returns whether no claim is left.
    fn remove(&mut self, ingress: &IngressKey) -> bool {
        match self {
            Self::One(claim) => claim.ingress == *ingress,
            Self::Many(many) => {
                many.remove(ingress);
                many.by_ingress.is_empty()
            }
        }
    }

    fn namespaces(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, many) = match self {
            Self::One(claim) => (Some(&claim.ingress.namespace), None),
            Self::Many(many) => (None, Some(many.by_namespace.keys())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn is_of_several(&self) -> bool {
        self.namespaces().nth(1).is_some()
    }

    /// Namespace of the first claim.
    fn first(&self) -> Option<&str> {
        match self {
            Self::One(claim) => Some(&*claim.ingress.namespace),
            Self::Many(many) => {
                let firsts = many.by_namespace.values().filter_map(BTreeSet::first);
                firsts.min().map(|claim| &*claim.ingress.namespace)
            }
        }
    }

    /// The first `count` Ingresses of a namespace that claim the host.
    fn of_namespace(&self, namespace: &str, count: usize) -> Vec<IngressKey> {
        match self {
            Self::One(claim) if *claim.ingress.namespace == *namespace => {
                vec![claim.ingress.clone()]
            }
            Self::One(_) => Vec::new(),
            Self::Many(many) => {
                let claims = many.by_namespace.get(namespace).into_iter().flatten();
                claims.take(count).map(|claim| claim.ingress.clone()).collect()
            }
        }
    }
}

impl ManyClaims {
    fn add(&mut self, claim: Claim) {
        let of_namespace = self.by_namespace.entry(claim.ingress.namespace.clone()).or_default();
        of_namespace.insert(claim.clone());
        self.by_ingress.insert(claim.ingress.clone(), claim);
    }

    fn remove(&mut self, ingress: &IngressKey) {
        let Some(claim) = self.by_ingress.remove(ingress) else { return };
        if let Some(claims) = self.by_namespace.get_mut(&ingress.namespace) {
            claims.remove(&claim);
            if claims.is_empty() {
                self.by_namespace.remove(&ingress.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> DnsName {
        DnsName::parse("www.example.com").unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn claim(claims: &mut HostClaims, namespace: &str, created: i64, is_first_list: bool) {
        let key = IngressKey::new(namespace, "shop");
        claims.claim((&key, at(created)), [&host()], is_first_list);
    }

    /// Records what was read of `a` and `b`: the expiry of a certificate.
    fn read(claims: &mut HostClaims, expiries: [Option<i64>; 2]) {
        for (namespace, expiry) in ["a", "b"].into_iter().zip(expiries) {
            claims.record(&host(), &namespace.into(), expiry.map(at), at(0));
        }
    }

    fn verdicts(claims: &HostClaims) -> [Verdict; 2] {
        ["a", "b"].map(|namespace| claims.verdict(&host(), namespace))
    }

    #[test]
    fn whoever_names_a_host_first_has_it_and_an_older_ingress_does_not_take_it_by_an_edit() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "b", 100, false);
        claim(&mut claims, "a", 0, false);
        read(&mut claims, [None, None]);
        assert_eq!(verdicts(&claims), [Verdict::Taken, Verdict::Has]);
    }

    #[test]
    fn at_a_start_nothing_is_decided_until_all_secrets_are_read() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "b", 100, true);
        claim(&mut claims, "a", 0, true);
        assert_eq!(verdicts(&claims), [Verdict::Undecided, Verdict::Undecided]);
        claims.record(&host(), &"a".into(), None, at(0));
        assert_eq!(verdicts(&claims), [Verdict::Undecided, Verdict::Undecided]);
        read(&mut claims, [None, None]);
        assert_eq!(verdicts(&claims), [Verdict::Has, Verdict::Taken], "the older one");
        read(&mut claims, [None, Some(1_000)]);
        assert_eq!(verdicts(&claims), [Verdict::Taken, Verdict::Has], "the holder");
        read(&mut claims, [Some(1_000), Some(1_000)]);
        assert_eq!(verdicts(&claims), [Verdict::Shares, Verdict::Shares]);
    }

    #[test]
    fn a_known_holder_goes_on_whatever_is_not_read_yet() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "b", 100, true);
        for number in 0..1_000 {
            claim(&mut claims, &format!("n{number}"), 0, true);
        }
        claims.record(&host(), &"b".into(), Some(at(1_000)), at(0));
        assert_eq!(claims.verdict(&host(), "b"), Verdict::Has);
        let unread = claims.unread(&host(), "n999");
        assert_eq!(unread.len(), limits::NAMESPACES_READ + 1);
        assert_eq!(&*unread[0].0, "n999", "one's own first");
    }

    #[test]
    fn what_is_known_goes_out_of_date_within_the_hour_or_with_the_certificate() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "b", 100, false);
        claim(&mut claims, "a", 0, false);
        read(&mut claims, [None, Some(600)]);
        assert!(!claims.is_stale(&host(), at(599)) && claims.is_stale(&host(), at(600)));
        claims.forget_stale(&host(), at(600));
        assert_eq!(verdicts(&claims), [Verdict::Undecided, Verdict::Undecided]);
    }

    #[test]
    fn an_owner_is_news_once_and_not_each_time_that_the_secrets_are_read() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "b", 100, false);
        claim(&mut claims, "a", 0, false);
        let news = |claims: &mut HostClaims, expiries: [Option<i64>; 2]| {
            read(claims, expiries);
            claims.news(&host()).map(|owner| (owner.namespace.to_string(), owner.shares))
        };
        assert_eq!(claims.news(&host()), None, "undecided");
        assert_eq!(news(&mut claims, [None, None]), Some(("b".to_owned(), false)));
        assert_eq!(news(&mut claims, [None, None]), None);
        assert_eq!(news(&mut claims, [None, Some(600)]), None, "it has its certificate");
        for hour in 1..24 {
            claims.forget_stale(&host(), at(hour * 3_600));
            assert_eq!(claims.news(&host()), None, "nothing is known");
            assert_eq!(news(&mut claims, [None, Some(600)]), None, "hour {hour}");
        }
        assert_eq!(news(&mut claims, [Some(600), None]), Some(("a".to_owned(), false)));
        assert_eq!(news(&mut claims, [Some(600), Some(600)]), Some(("a".to_owned(), true)));
        claims.release(&IngressKey::new("a", "shop"), &[host()]);
        assert_eq!(claims.news(&host()), None, "the contest has ended");
    }

    #[test]
    fn the_next_is_told_when_the_owner_goes_and_one_of_the_same_namespace_is_no_rival() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "a", 0, false);
        claims.claim((&IngressKey::new("a", "other"), at(0)), [&host()], false);
        assert!(claims.are_uncontested());
        claim(&mut claims, "b", 0, false);
        read(&mut claims, [None, None]);
        let told = claims.release(&IngressKey::new("a", "shop"), &[host()]);
        assert_eq!((told, verdicts(&claims)), (BTreeSet::new(), [Verdict::Has, Verdict::Taken]));
        let told = claims.release(&IngressKey::new("a", "other"), &[host()]);
        assert_eq!(told, [IngressKey::new("b", "shop")].into());
        assert!(claims.are_uncontested());
        assert_eq!(claims.verdict(&host(), "b"), Verdict::Has);
        assert_eq!(claims.release(&IngressKey::new("b", "shop"), &[host()]), BTreeSet::new());
        assert!(claims.by_host.is_empty());
    }

    #[test]
    fn a_namespace_with_thousands_of_claims_does_not_hide_the_holder() {
        let mut claims = HostClaims::default();
        for number in 0..5_000 {
            let key = IngressKey::new("a", &format!("i{number}"));
            claims.claim((&key, at(0)), [&host()], true);
        }
        claim(&mut claims, "b", 100, true);
        let sizes: Vec<usize> =
            claims.unread(&host(), "b").iter().map(|(_, ingresses)| ingresses.len()).collect();
        assert_eq!(sizes, [1, limits::CLAIMANTS_READ]);
    }

    #[test]
    fn shared_hosts_are_everybodys() {
        let mut claims = HostClaims::new(true);
        claim(&mut claims, "a", 0, false);
        claim(&mut claims, "b", 0, false);
        assert_eq!(verdicts(&claims), [Verdict::Has, Verdict::Has]);
        assert!(claims.are_uncontested() && claims.unread(&host(), "a").is_empty());
    }

    /// Namespaces whose Secrets were read.
    fn known(claims: &HostClaims) -> BTreeSet<&str> {
        claims.contests[&host()].known.keys().map(|namespace| &**namespace).collect()
    }

    #[test]
    fn a_new_claim_is_read_again_unless_its_namespace_holds_the_host() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "a", 0, false);
        claim(&mut claims, "b", 0, false);
        let again = IngressKey::new("a", "another");
        read(&mut claims, [None, None]);
        claims.claim((&again, at(0)), [&host()], false);
        assert_eq!(known(&claims), ["b"].into());
        read(&mut claims, [Some(1_000), None]);
        claims.claim((&again, at(0)), [&host()], false);
        assert_eq!(known(&claims), ["a", "b"].into(), "the holder stays");
    }

    #[test]
    fn only_what_is_out_of_date_is_forgotten() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "a", 0, false);
        claim(&mut claims, "b", 0, false);
        read(&mut claims, [None, Some(600)]);
        claims.forget_stale(&host(), at(600));
        assert_eq!(known(&claims), ["a"].into());
    }

    #[test]
    fn a_namespace_without_a_certificate_is_read_again_when_its_secret_is_chosen() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "a", 0, false);
        claim(&mut claims, "b", 0, false);
        read(&mut claims, [None, Some(1_000)]);
        assert!(claims.forget_non_holder(&host(), "a") && !claims.forget_non_holder(&host(), "b"));
        assert_eq!(known(&claims), ["b"].into());
    }

    #[test]
    fn a_claim_is_released_by_its_own_ingress() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "a", 0, false);
        claims.release(&IngressKey::new("b", "shop"), &[host()]);
        let one = &claims.by_host[&host()];
        assert_eq!(one.of_namespace("a", 1), [IngressKey::new("a", "shop")]);
        assert_eq!(one.of_namespace("b", 1), []);
        claims.release(&IngressKey::new("a", "shop"), &[host()]);
        assert!(claims.by_host.is_empty());
    }

    #[test]
    fn a_domain_is_used_elsewhere_if_another_namespace_claims_a_host_under_it() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "a", 0, false);
        assert!(!claims.are_elsewhere("a", "example.com"));
        assert!(claims.are_elsewhere("b", "example.com"));
        assert!(!claims.are_elsewhere("b", "example.org"));
    }
}
