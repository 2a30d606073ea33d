//! Desired certificate of a Secret: the union over all Ingresses that use the Secret.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::certificate::KeyAlgorithm;
use crate::domain::copied::Copied;
use crate::domain::hash::StableHash;
use crate::domain::ingress::{Edition, IngressClass, IngressRef, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::rule_host::RuleHost;
use crate::domain::solver_place::SolverPlace;
use crate::domain::time::Timestamp;

/// A rule with the challenge path of a host, and the class that routes it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Route {
    /// Class of the user's Ingress, copied by the solver Ingress.
    pub class: IngressClass,
    /// Host of the rule: the one that serves the host to validate.
    pub rule: RuleHost,
    /// Place of the route.
    pub place: SolverPlace,
}

/// A route that a certificate needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WantedRoute {
    /// Host to validate.
    pub host: DnsName,
    /// The route.
    pub route: Route,
    /// `metadata.creationTimestamp` of the newest Ingress with the host: the solver Ingress of the
    /// host has to be younger.
    pub newest: Timestamp,
}

impl WantedRoute {
    /// Whether the rule is for the host alone.
    pub(crate) fn is_exact(&self) -> bool {
        self.route.rule.is(&self.host)
    }

    /// The route by a rule of its own, which a user's Ingress has not.
    pub(crate) fn exactly(mut self) -> Self {
        self.route.rule = self.host.clone().into();
        if matches!(self.route.place, SolverPlace::InPlace(_)) {
            self.route.place = SolverPlace::Shared;
        }
        self
    }
}

/// The certificate that one Secret should hold, according to the newest Ingresses.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent wish of the Ingresses")]
pub struct DesiredCertificate {
    /// Secret for the certificate.
    pub secret: SecretKey,
    /// Exact names of the certificate; empty only while all hosts are undecided.
    pub names: BTreeSet<DnsName>,
    /// Those of the names that the user wants proved in DNS, and may have so. Wildcards are always
    /// proved there.
    pub in_dns: BTreeSet<DnsName>,
    /// Names that the Ingresses ask for and that wildcards of the certificate cover. CAs refuse an
    /// order with both; where such a wildcard fails, these names are ordered in its place.
    pub covered: BTreeSet<DnsName>,
    /// Hash of the DNS accounts that prove names of it; 0 without any. A change of them may mend
    /// the cause of a failure.
    pub dns_accounts: u64,
    /// Ingresses that own the Secret, so that the Secret is deleted with the last one: all that use
    /// the Secret, or the [`limits::SHARERS`] oldest.
    pub owners: BTreeSet<IngressRef>,
    /// Routes for the challenge of each name, through [`limits::CLASSES_PER_HOST`] classes at most;
    /// sorted by class and host, and without duplicates. Jobs that wait keep them, so that they are
    /// small.
    pub routes: Arc<[WantedRoute]>,
    /// Algorithm of the key.
    pub algorithm: KeyAlgorithm,
    /// Whether an Ingress asks for that algorithm, at whatever CA.
    pub asks_algorithm: bool,
    /// ACME profile (draft-aaron-acme-profiles), if any.
    pub profile: Option<String>,
    /// The CA that the annotation `ingress-acme.dev/ca` asks for.
    pub ca: Option<String>,
    /// Whether that CA is not to be had. Then nothing new is ordered, and what is there is renewed.
    pub refuses_ca: bool,
    /// Whether a Secret that is not ours may be adopted.
    pub adopt: bool,
    /// Whether it is replaced at once where browsers do not trust its certificate.
    pub adopts_at_once: bool,
    /// Whether the certificate belongs to a group.
    pub grouped: bool,
    /// Whether surplus names stay until the next renewal: those of a group, and those that an
    /// Ingress may ask for which is left out.
    pub keeps_surplus: bool,
    /// Whether a certificate for a subset of the names is acceptable: all Ingresses say so, or the
    /// certificate belongs to a group.
    pub partial: bool,
    /// Values of `ingress-acme.dev/renew` of the owners, comma-joined; hashes of them where they
    /// are long. A new value requests a new certificate.
    pub renew: Option<String>,
    /// Ingresses whose `spec.tls` will be filled in, each with its own names; the first
    /// [`limits::SHARERS`] of a large group.
    pub fill: BTreeMap<IngressRef, BTreeSet<DnsName>>,
    /// Whether more Ingresses wait for their `spec.tls`.
    pub fill_more: bool,
    /// Whether no new certificate is issued, because all Ingresses have too many `spec.tls` blocks.
    /// A present one of ours is renewed.
    pub renew_only: bool,
    /// Ingresses in `fill` that use another Secret so far. They keep the old one until the new
    /// certificate has their names.
    pub moving: BTreeSet<IngressRef>,
    /// Names that the Ingresses ask for and that are left out: the public CA never certifies them,
    /// or another namespace has them.
    pub refused: BTreeSet<DnsName>,
    /// Names that several namespaces ask for, and whose Secrets must be read first.
    pub undecided: BTreeSet<DnsName>,
    /// Annotations of the owners that the Secret gets too.
    pub copied: Copied,
    /// Editions of all Ingresses that use the Secret, in one hash.
    pub edition: Edition,
}

/// Identifies a request to the CA. Failures are remembered per fingerprint, and an edit changes the
/// fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fingerprint(u64);

/// What an attempt was made for. The edition is no part of the fingerprint: an edit that changes
/// the edition only must not abandon an order that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempted {
    /// Fingerprint of the desired certificate.
    pub fingerprint: Fingerprint,
    /// Edition of its Ingresses.
    pub edition: Edition,
}

impl DesiredCertificate {
    /// Returns the fingerprint of all fields that matter to the CA or to the write of the Secret.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = StableHash::default();
        (&self.names, self.algorithm, &self.profile, self.adopt, &self.renew).hash(&mut hash);
        // Without the annotation, the fingerprint is that of release 0.1.0.
        if let Some(ca) = &self.ca {
            ca.hash(&mut hash);
        }
        Fingerprint(hash.finish())
    }

    /// The names of a certificate that leaves out `failed`: the others, and those that a wildcard
    /// among `failed` covers.
    pub(crate) fn without(&self, failed: &BTreeSet<DnsName>) -> BTreeSet<DnsName> {
        let is_uncovered =
            |name: &&DnsName| name.covering_wildcard().is_some_and(|one| failed.contains(&one));
        let others = self.names.difference(failed);
        let uncovered =
            self.covered.iter().filter(is_uncovered).filter(|name| !failed.contains(*name));
        others.chain(uncovered).cloned().collect()
    }

    /// Gives rules of their own to the hosts of `exactly` that a wildcard or hostless rule serves.
    pub(crate) fn route_exactly(&mut self, exactly: &BTreeSet<DnsName>) {
        let is_meant = |wanted: &WantedRoute| !wanted.is_exact() && exactly.contains(&wanted.host);
        if !self.routes.iter().any(is_meant) {
            return; // nearly all
        }
        let routes = self.routes.iter().cloned();
        let routed = |wanted: WantedRoute| {
            if is_meant(&wanted) { wanted.exactly() } else { wanted }
        };
        self.routes = routes.map(routed).collect();
    }

    /// Returns what an attempt that begins now is made for.
    pub fn attempted(&self) -> Attempted {
        Attempted { fingerprint: self.fingerprint(), edition: self.edition }
    }

    /// Largest number of names that the profile allows. For profiles that are not Let's Encrypt's,
    /// the CA itself refuses too many.
    pub(crate) fn most_names(&self) -> usize {
        match self.profile.as_deref() {
            Some("tlsserver" | "shortlived") => limits::MAX_NAMES_SHORT,
            _ => limits::MAX_NAMES,
        }
    }

    /// Names in one line, in order; after the third only the number of the others.
    pub(crate) fn display_names(&self) -> String {
        display_names(&self.names)
    }
}

/// Names in one line, in order; after the third only the number of the others.
pub(crate) fn display_names(names: &BTreeSet<DnsName>) -> String {
    let shown: Vec<&str> = names.iter().take(3).map(DnsName::as_str).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::names;
    use crate::domain::ingress::IngressKey;

    pub(crate) fn desired(secret: &str, hosts: &[&str]) -> DesiredCertificate {
        let class = IngressClass::Default;
        let route = |host: &DnsName| WantedRoute {
            host: host.clone(),
            route: Route {
                class: class.clone(),
                rule: host.clone().into(),
                place: SolverPlace::Shared,
            },
            newest: Timestamp::default(),
        };
        let owner = IngressRef { key: IngressKey::new("web", secret), uid: "uid".into() };
        DesiredCertificate {
            secret: SecretKey::new("web", secret),
            names: names(hosts),
            in_dns: BTreeSet::new(),
            covered: BTreeSet::new(),
            dns_accounts: 0,
            owners: [owner].into(),
            routes: names(hosts).iter().filter(|name| !name.is_wildcard()).map(route).collect(),
            algorithm: KeyAlgorithm::default(),
            asks_algorithm: false,
            profile: None,
            ca: None,
            refuses_ca: false,
            adopt: false,
            adopts_at_once: false,
            partial: false,
            grouped: false,
            keeps_surplus: false,
            renew: None,
            fill: BTreeMap::new(),
            fill_more: false,
            renew_only: false,
            moving: BTreeSet::new(),
            refused: BTreeSet::new(),
            undecided: BTreeSet::new(),
            copied: Copied::default(),
            edition: Edition::default(),
        }
    }

    #[test]
    fn owners_and_routes_do_not_change_the_fingerprint_and_names_do() {
        let one = desired("shop", &["a.example.com"]);
        let moved =
            DesiredCertificate { owners: BTreeSet::new(), routes: Arc::default(), ..one.clone() };
        assert_eq!(one.fingerprint(), moved.fingerprint());
        assert_ne!(one.fingerprint(), desired("shop", &["b.example.com"]).fingerprint());
    }

    #[test]
    fn short_lived_profiles_take_fewer_names() {
        let most = |profile: Option<&str>| {
            DesiredCertificate { profile: profile.map(str::to_owned), ..desired("shop", &[]) }
                .most_names()
        };
        let cases = [
            (None, 100),
            (Some("classic"), 100),
            (Some("tlsserver"), 25),
            (Some("shortlived"), 25),
        ];
        for (profile, names) in cases {
            assert_eq!(most(profile), names, "{profile:?}");
        }
    }

    #[test]
    fn many_names_are_counted() {
        let hosts = ["a.example.com", "b.example.com", "c.example.com", "d.example.com"];
        assert!(desired("shop", &hosts).display_names().ends_with("c.example.com and 1 more"));
    }
}
