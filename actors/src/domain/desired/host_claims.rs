//! Which namespace has a host. A host that Ingresses of several namespaces name is contested: one
//! namespace has it, and the others get no certificate for it until that one lets go.
//!
//! The namespace that holds a valid certificate of ours for the host has it, then the one whose
//! Ingress named the host first in this process, then the one with the oldest Ingress. An edit does
//! not make an Ingress older, and a host that is added by an edit counts from the edit on. Only a
//! start of the process has no such order; certificates decide then, so nothing is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::ingress::IngressKey;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// Namespaces that hold a valid certificate of ours for one host, each with its expiry.
pub(crate) type Holders = BTreeMap<Arc<str>, Timestamp>;

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
    Many(BTreeSet<Claim>),
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
    holders: Holders,
    /// Time until which `holders` are taken as current.
    checked_until: Option<Timestamp>,
}

/// How a contest ends for one namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The namespace has the host alone.
    Has,
    /// Several namespaces, this one too, hold a certificate for the host, and keep it.
    Shares,
    /// Another namespace has the host.
    Taken,
}

impl HostClaims {
    /// Creates a table without claims. With `are_shared` several namespaces may have a host
    /// (`--allow-cross-namespace-hosts`).
    pub(super) fn new(are_shared: bool) -> Self {
        Self { are_shared, ..Self::default() }
    }

    /// Adds the claim of an Ingress. `is_first_list` says that the order of arrival means nothing.
    pub(super) fn claim(
        &mut self,
        (ingress, created): (&IngressKey, Timestamp),
        hosts: impl IntoIterator<Item = DnsName>,
        is_first_list: bool,
    ) {
        self.last += u64::from(!is_first_list);
        let number = if is_first_list { 0 } else { self.last };
        for host in hosts {
            let claim = Claim { number, created, ingress: ingress.clone() };
            let Some(claims) = self.by_host.get_mut(&host) else {
                self.by_host.insert(host, Claims::One(claim));
                continue;
            };
            // Without a contest all claims are of one namespace.
            let is_rival = claims.is_rival(&ingress.namespace);
            claims.add(claim);
            match self.contests.get_mut(&host) {
                None if is_rival => _ = self.contests.insert(host, Contest::default()),
                None => {}
                Some(contest) if contest.holders.contains_key(&ingress.namespace) => {}
                Some(contest) => contest.checked_until = None, // the newcomer may be a holder
            }
        }
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
            let left = claims.in_order().any(|claim| claim.ingress.namespace == ingress.namespace);
            let Some(contest) = self.contests.get_mut(host).filter(|_| !left) else { continue };
            contest.holders.remove(&ingress.namespace);
            let next = claims.in_order().map(|claim| claim.ingress.clone());
            changed.extend(next.take(limits::CLAIMANTS_TOLD));
            let first = claims.in_order().next().map(|claim| claim.ingress.namespace.clone());
            if first
                .is_none_or(|first| !claims.in_order().any(|one| one.ingress.namespace != first))
            {
                self.contests.remove(host);
            }
        }
        changed
    }

    /// Whether no host is contested, which is so in nearly every cluster.
    pub(super) fn are_uncontested(&self) -> bool {
        self.are_shared || self.contests.is_empty()
    }

    /// Whether Ingresses of `namespace` may have a certificate for `host`.
    pub(super) fn may_have(&self, host: &DnsName, namespace: &str) -> bool {
        self.verdict(host, namespace) != Verdict::Taken
    }

    /// Which namespace has `host`, as seen from `namespace`.
    pub(super) fn verdict(&self, host: &DnsName, namespace: &str) -> Verdict {
        let contest = (!self.are_shared).then(|| self.contests.get(host)).flatten();
        let Some(Contest { holders, .. }) = contest else { return Verdict::Has };
        let first = || self.by_host.get(host)?.in_order().next();
        match (holders.len(), holders.contains_key(namespace)) {
            (0, _) if first().is_none_or(|one| *one.ingress.namespace == *namespace) => {
                Verdict::Has
            }
            (1, true) => Verdict::Has,
            (_, true) => Verdict::Shares,
            _ => Verdict::Taken,
        }
    }

    /// Whether the holders of a contested host must be looked up (again).
    pub(super) fn is_unchecked(&self, host: &DnsName, now: Timestamp) -> bool {
        let contest = (!self.are_shared).then(|| self.contests.get(host)).flatten();
        contest.is_some_and(|contest| contest.checked_until.is_none_or(|until| until <= now))
    }

    /// Ingresses whose Secrets decide on a contested host: the first few of each namespace, because
    /// one namespace must not crowd out another.
    pub(super) fn claimants(&self, host: &DnsName) -> Vec<IngressKey> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let mut few = Vec::new();
        for Claim { ingress, .. } in self.by_host.get(host).into_iter().flat_map(Claims::in_order) {
            let count = counts.entry(&ingress.namespace).or_default();
            *count += 1;
            if *count <= limits::CLAIMANTS_READ {
                few.push(ingress.clone());
            }
        }
        few
    }

    /// Whether another namespace claims a host under `domain`. Looks at every host, so this is
    /// asked only when a share is used up.
    pub(super) fn are_elsewhere(&self, namespace: &str, domain: &str) -> bool {
        let under = |host: &DnsName| {
            let above = host.as_str().strip_suffix(domain);
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        };
        let mut hosts = self.by_host.iter().filter(|(host, _)| under(host));
        hosts.any(|(_, claims)| {
            claims.in_order().any(|claim| *claim.ingress.namespace != *namespace)
        })
    }

    /// Records who holds a certificate for a contested host. `None`: a Secret could not be read, so
    /// the last answer stays for a short while.
    pub(super) fn record(&mut self, host: &DnsName, holders: Option<Holders>, now: Timestamp) {
        let Some(contest) = self.contests.get_mut(host) else { return };
        let kept: Duration = holders.as_ref().map_or(limits::BUSY_RETRY, |_| limits::HOLDERS_KEPT);
        if let Some(holders) = holders {
            contest.holders = holders;
        }
        let expiry = contest.holders.values().copied().filter(|at| now < *at).min();
        let until = now + kept;
        contest.checked_until = Some(expiry.map_or(until, |expiry| expiry.min(until)));
    }
}

impl Claims {
    fn in_order(&self) -> impl Iterator<Item = &Claim> {
        let (one, many) = match self {
            Self::One(claim) => (Some(claim), None),
            Self::Many(claims) => (None, Some(claims.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Whether the first claim is of another namespace.
    fn is_rival(&self, namespace: &str) -> bool {
        self.in_order().next().is_some_and(|first| *first.ingress.namespace != *namespace)
    }

    fn add(&mut self, claim: Claim) {
        match self {
            Self::One(one) => *self = Self::Many([one.clone(), claim].into()),
            Self::Many(claims) => _ = claims.insert(claim),
        }
    }

    /// Removes the claim of `ingress`. Returns whether no claim is left.
    fn remove(&mut self, ingress: &IngressKey) -> bool {
        match self {
            Self::One(claim) => claim.ingress == *ingress,
            Self::Many(claims) => {
                claims.retain(|claim| claim.ingress != *ingress);
                claims.is_empty()
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
        claims.claim((&key, at(created)), [host()], is_first_list);
    }

    fn may_have(claims: &HostClaims) -> [bool; 2] {
        ["a", "b"].map(|namespace| claims.may_have(&host(), namespace))
    }

    #[test]
    fn whoever_names_a_host_first_has_it_and_an_older_ingress_does_not_take_it_by_an_edit() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "b", 100, false);
        claim(&mut claims, "a", 0, false);
        assert_eq!(may_have(&claims), [false, true]);
    }

    #[test]
    fn at_a_start_the_older_ingress_has_the_host_unless_another_holds_a_certificate() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "b", 100, true);
        claim(&mut claims, "a", 0, true);
        assert!(claims.is_unchecked(&host(), at(0)));
        assert_eq!(may_have(&claims), [true, false]);
        claims.record(&host(), Some([("b".into(), at(1_000))].into()), at(0));
        assert_eq!(
            (may_have(&claims), claims.is_unchecked(&host(), at(0))),
            ([false, true], false)
        );
        assert!(claims.is_unchecked(&host(), at(1_000)), "the certificate has expired");
        let both = [("a".into(), at(1_000)), ("b".into(), at(1_000))];
        claims.record(&host(), Some(both.into()), at(0));
        assert_eq!(claims.verdict(&host(), "a"), Verdict::Shares);
        assert_eq!(claims.verdict(&host(), "b"), Verdict::Shares);
    }

    #[test]
    fn the_next_is_told_when_the_owner_goes_and_one_of_the_same_namespace_is_no_rival() {
        let mut claims = HostClaims::default();
        claim(&mut claims, "a", 0, false);
        claims.claim((&IngressKey::new("a", "other"), at(0)), [host()], false);
        assert!(claims.are_uncontested());
        claim(&mut claims, "b", 0, false);
        let told = claims.release(&IngressKey::new("a", "shop"), &[host()]);
        assert_eq!((told, may_have(&claims)), (BTreeSet::new(), [true, false]));
        let told = claims.release(&IngressKey::new("a", "other"), &[host()]);
        assert_eq!(told, [IngressKey::new("b", "shop")].into());
        assert!(claims.are_uncontested() && claims.may_have(&host(), "b"));
        assert_eq!(claims.release(&IngressKey::new("b", "shop"), &[host()]), BTreeSet::new());
        assert!(claims.by_host.is_empty());
    }

    #[test]
    fn a_namespace_with_thousands_of_claims_does_not_hide_the_holder() {
        let mut claims = HostClaims::default();
        for number in 0..5_000 {
            let key = IngressKey::new("a", &format!("i{number}"));
            claims.claim((&key, at(0)), [host()], true);
        }
        claim(&mut claims, "b", 100, true);
        let read = claims.claimants(&host());
        assert_eq!(read.len(), limits::CLAIMANTS_READ + 1);
        assert!(read.contains(&IngressKey::new("b", "shop")));
    }

    #[test]
    fn shared_hosts_are_everybodys() {
        let mut claims = HostClaims::new(true);
        claim(&mut claims, "a", 0, false);
        claim(&mut claims, "b", 0, false);
        assert_eq!(may_have(&claims), [true, true]);
        assert!(claims.are_uncontested() && !claims.is_unchecked(&host(), at(0)));
    }
}
