//! What a Secret should hold: the union of what the Ingresses that use it ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::domain::certificate::KeyAlgorithm;
use crate::domain::hash::StableHash;
use crate::domain::ingress::{IngressClass, IngressRef, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;

/// A host that the solver must answer for, and the controller that brings it there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Route {
    /// Class of the user's Ingress; the solver Ingress copies it.
    pub class: IngressClass,
    /// The host to be validated.
    pub host: DnsName,
}

/// The certificate that one Secret should hold, read from the newest Ingresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredCertificate {
    /// Where it goes.
    pub secret: SecretKey,
    /// Exactly these names; never empty.
    pub names: BTreeSet<DnsName>,
    /// The Ingresses that use the Secret; each is an owner, so the Secret goes when the last one goes.
    pub owners: BTreeSet<IngressRef>,
    /// Where the challenge for each name arrives.
    pub routes: BTreeSet<Route>,
    /// Kind of key.
    pub algorithm: KeyAlgorithm,
    /// ACME profile (draft-aaron-acme-profiles), where one is asked for.
    pub profile: Option<String>,
    /// A Secret that is not ours may be taken over.
    pub adopt: bool,
    /// It is a group's: names that its certificate has beyond them are left in it until it is renewed.
    pub grouped: bool,
    /// A part of the names is better than nothing: all of the Ingresses say so, or it is a group's.
    pub partial: bool,
    /// The values of `ingress-acme.dev/renew`, comma-joined: a new one asks for a new certificate.
    pub renew: Option<String>,
    /// Ingresses whose `spec.tls` is to be filled in, each with its own names.
    pub fill: BTreeMap<IngressRef, BTreeSet<DnsName>>,
    /// Those of them that have another Secret so far, which is not to be given up for one without their names.
    pub moving: BTreeSet<IngressRef>,
}

/// Identifies what was asked of the CA: a failure is remembered for it, and an edit changes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fingerprint(u64);

impl DesiredCertificate {
    /// The fingerprint of all that the CA or the Secret's fate depends on.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = StableHash::default();
        (&self.names, self.algorithm, &self.profile, self.adopt, &self.renew).hash(&mut hash);
        Fingerprint(hash.finish())
    }

    /// Most names that its profile allows; of other profiles than Let's Encrypt's the CA itself says when it is too many.
    pub fn most_names(&self) -> usize {
        match self.profile.as_deref() {
            Some("tlsserver" | "shortlived") => limits::MAX_NAMES_SHORT,
            _ => limits::MAX_NAMES,
        }
    }

    /// The names of the certificate in one line, in order.
    pub fn display_names(&self) -> String {
        display_names(&self.names)
    }
}

/// Names in one line, in order; from the fourth on only their number.
pub fn display_names(names: &BTreeSet<DnsName>) -> String {
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
        let route = |host: &DnsName| Route { class: class.clone(), host: host.clone() };
        let owner = IngressRef { key: IngressKey::new("web", secret), uid: "uid".into() };
        DesiredCertificate {
            secret: SecretKey::new("web", secret),
            names: names(hosts),
            owners: [owner].into(),
            routes: names(hosts).iter().map(route).collect(),
            algorithm: KeyAlgorithm::default(),
            profile: None,
            adopt: false,
            partial: false,
            grouped: false,
            renew: None,
            fill: BTreeMap::new(),
            moving: BTreeSet::new(),
        }
    }

    #[test]
    fn owners_and_routes_do_not_change_the_fingerprint_and_names_do() {
        let one = desired("shop", &["a.example.com"]);
        let moved =
            DesiredCertificate { owners: BTreeSet::new(), routes: BTreeSet::new(), ..one.clone() };
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
