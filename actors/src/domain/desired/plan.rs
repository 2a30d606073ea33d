//! From one Ingress to the certificates it asks for.
//!
//! Each `spec.tls` block is one certificate; a block without hosts covers all rule hosts. An Ingress without
//! `spec.tls` asks for one certificate for all rule hosts, in a Secret named as the Ingress, and gets its
//! `spec.tls` filled in once that Secret is there. A host that cannot be in a certificate is left out with a
//! [`Problem`]; the others are served.

use std::collections::BTreeSet;
use std::fmt;

use crate::domain::certificate::{KeyAlgorithm, UnknownAlgorithm};
use crate::domain::desired::grouping::{is_a_groups, registered_domain, secret_name};
use crate::domain::ingress::{IngressKey, IngressView, SecretKey, TlsBlock};
use crate::domain::name::{BadName, DnsName};

/// Our annotation that remembers which hosts we filled `spec.tls` with, comma-joined. While the block still
/// says the same it is ours to extend; once the user edits it, it is theirs.
pub const FILLED_TLS: &str = "filled-tls";

/// A certificate that one Ingress asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedCertificate {
    /// Where it goes.
    pub secret: SecretKey,
    /// Its names, sorted and each once; never empty. Not a set, which would hold room for eleven.
    pub names: Vec<DnsName>,
    /// `spec.tls` lacks it (or what we filled in before lags behind): to be filled once the Secret is there.
    pub fill: bool,
}

/// What of an Ingress cannot be served. Each is told to the user once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Problem {
    /// A host that no certificate of ours can carry.
    BadHost {
        /// As written, shortened for display.
        host: String,
        /// Why not.
        why: BadName,
    },
    /// No host at all: a default backend only, or rules without host.
    NoHosts,
    /// A `spec.tls` block without `secretName`.
    NoSecretName {
        /// Index into `spec.tls`.
        block: usize,
    },
    /// An annotation of ours with a value that we cannot read.
    BadAlgorithm(UnknownAlgorithm),
    /// The annotation `kubernetes.io/ingress.class` is not a name, so no solver Ingress can carry it.
    BadClass,
    /// It asks for a certificate together with others, and cannot have one.
    NotGrouped(Alone),
}

/// Why an Ingress is in no group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Alone {
    /// The user's own `spec.tls` says where its certificate goes.
    OwnTls,
    /// Its hosts have no registered domain in common.
    ManyDomains,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHost { host, why } => write!(f, "host `{host}` {why}"),
            Self::NoHosts => write!(f, "it has no host that a certificate could be issued for"),
            Self::NoSecretName { block } => {
                write!(
                    f,
                    "spec.tls[{block}] has no secretName, so its certificate has no place to go"
                )
            }
            Self::BadAlgorithm(unknown) => {
                write!(
                    f,
                    "annotation ingress-acme.dev/key-algorithm: {unknown}; ecdsa-p256 is used"
                )
            }
            Self::BadClass => {
                write!(f, "its annotation kubernetes.io/ingress.class is not the name of a class")
            }
            Self::NotGrouped(Alone::OwnTls) => write!(
                f,
                "annotation ingress-acme.dev/group is of no use where spec.tls names a Secret: leave out spec.tls, or \
                 name one Secret in several Ingresses"
            ),
            Self::NotGrouped(Alone::ManyDomains) => write!(
                f,
                "annotation ingress-acme.dev/group needs hosts of one registered domain; it has a certificate of its own"
            ),
        }
    }
}

/// What one Ingress asks for, and what of it cannot be served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// One entry per Secret; two blocks with one Secret are joined.
    pub certificates: Vec<PlannedCertificate>,
    /// In order of severity and name, without repetition.
    pub problems: BTreeSet<Problem>,
    /// The registered domain in whose group it is: then there is one part, and its Secret is the group's.
    pub group: Option<Box<str>>,
}

/// Reads the plan off `ingress`, which [`select`](crate::domain::desired::selection::select) has let through.
pub fn plan(ingress: &IngressView) -> Plan {
    let mut plan = Plan::default();
    if !is_class(ingress.class.name()) {
        plan.problems.insert(Problem::BadClass);
        return plan;
    }
    if let Err(unknown) = algorithm(ingress) {
        plan.problems.insert(Problem::BadAlgorithm(unknown));
    }
    if ingress.tls.is_empty() {
        plan.add(ingress, &ingress.key.name, &ingress.rule_hosts, true);
    }
    let filled = filled_by_us(ingress);
    for (index, block) in ingress.tls.iter().enumerate() {
        let hosts =
            if block.hosts.is_empty() || filled { &ingress.rule_hosts } else { &block.hosts };
        match block.secret_name.as_deref().filter(|name| !name.is_empty()) {
            // It was in a group, and is to have a certificate of its own.
            Some(secret) if filled && is_a_groups(secret) => {
                plan.add(ingress, &ingress.key.name, hosts, true);
            }
            Some(secret) => plan.add(ingress, secret, hosts, filled && !same_hosts(block, hosts)),
            None => _ = plan.problems.insert(Problem::NoSecretName { block: index }),
        }
    }
    if plan.certificates.is_empty() && plan.problems.is_empty() {
        plan.problems.insert(Problem::NoHosts);
    }
    if ingress.annotation("group") == Some("true") {
        plan.join_a_group(ingress, filled);
    }
    plan
}

/// The name of an `IngressClass` is a DNS subdomain (RFC 1123); the annotation may hold anything.
fn is_class(name: Option<&str>) -> bool {
    let legal =
        |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-.".contains(&octet);
    name.is_none_or(|name| (1..=253).contains(&name.len()) && name.bytes().all(legal))
}

/// The key algorithm that `ingress` asks for.
pub fn algorithm(ingress: &IngressView) -> Result<KeyAlgorithm, UnknownAlgorithm> {
    ingress.annotation("key-algorithm").map_or(Ok(KeyAlgorithm::default()), str::parse)
}

/// The value of [`FILLED_TLS`] for `hosts`.
pub fn filled_tls_value<'a>(hosts: impl IntoIterator<Item = &'a str>) -> String {
    let hosts: BTreeSet<&str> = hosts.into_iter().collect();
    hosts.into_iter().collect::<Vec<_>>().join(",")
}

fn filled_by_us(ingress: &IngressView) -> bool {
    match (&ingress.tls[..], ingress.annotation(FILLED_TLS)) {
        ([block], Some(filled)) => {
            filled_tls_value(block.hosts.iter().map(String::as_str)) == filled
        }
        _ => false,
    }
}

/// The block already lists the hosts that a certificate for `hosts` would have.
fn same_hosts(block: &TlsBlock, hosts: &[String]) -> bool {
    let names = |hosts: &[String]| -> BTreeSet<DnsName> {
        hosts.iter().filter_map(|host| DnsName::parse(host).ok()).collect()
    };
    names(&block.hosts) == names(hosts)
}

impl Plan {
    /// Only what we fill in may go into a Secret that others share.
    fn join_a_group(&mut self, ingress: &IngressView, filled: bool) {
        let [planned] = &self.certificates[..] else { return };
        if !ingress.tls.is_empty() && !filled {
            self.problems.insert(Problem::NotGrouped(Alone::OwnTls));
        } else if let Some(domain) = registered_domain(&planned.names) {
            self.group = Some(domain.into());
            self.go_to(ingress, "");
        } else {
            self.problems.insert(Problem::NotGrouped(Alone::ManyDomains));
        }
    }

    /// Its place in the group is at `path`; `spec.tls` is to say so.
    pub(super) fn go_to(&mut self, ingress: &IngressView, path: &str) {
        let (Some(domain), Some(planned)) = (&self.group, self.certificates.first_mut()) else {
            return;
        };
        planned.secret = secret_beside(&ingress.key, &secret_name(domain, path));
        let named = |block: &TlsBlock| block.secret_name.as_deref() == Some(&*planned.secret.name);
        let hosts = &ingress.rule_hosts;
        planned.fill = !ingress.tls.iter().any(|block| named(block) && same_hosts(block, hosts));
    }

    fn add(&mut self, ingress: &IngressView, secret: &str, hosts: &[String], fill: bool) {
        let mut names = Vec::with_capacity(hosts.len());
        for host in hosts {
            match DnsName::parse(host) {
                Ok(name) => names.push(name),
                Err(why) => _ = self.problems.insert(Problem::BadHost { host: shorten(host), why }),
            }
        }
        let secret = secret_beside(&ingress.key, secret);
        if let Some(planned) = self.certificates.iter_mut().find(|planned| planned.secret == secret)
        {
            planned.names.append(&mut names);
            in_order(&mut planned.names);
        } else if !names.is_empty() {
            in_order(&mut names);
            self.certificates.reserve_exact(1);
            self.certificates.push(PlannedCertificate { secret, names, fill });
        }
    }
}

fn in_order(names: &mut Vec<DnsName>) {
    names.sort_unstable();
    names.dedup();
}

/// The Secret of this name in the namespace of `ingress`. It shares the texts: there is one for nearly every Ingress.
fn secret_beside(ingress: &IngressKey, name: &str) -> SecretKey {
    let name = if *ingress.name == *name { ingress.name.clone() } else { name.into() };
    SecretKey { namespace: ingress.namespace.clone(), name }
}

fn shorten(host: &str) -> String {
    match host.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &host[..end]),
        None => host.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::ingress::IngressClass;

    pub(crate) fn ingress(namespace: &str, name: &str, hosts: &[&str]) -> IngressView {
        IngressView {
            key: IngressKey::new(namespace, name),
            uid: format!("uid-{namespace}-{name}").into(),
            class: IngressClass::Default,
            tls: Vec::new(),
            rule_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            annotations: std::collections::BTreeMap::new(),
            other_issuer: None,
            is_solver: false,
            deleting: false,
        }
    }

    pub(crate) fn block(secret: &str, hosts: &[&str]) -> TlsBlock {
        TlsBlock {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            secret_name: Some(secret.to_owned()).filter(|name| !name.is_empty()),
        }
    }

    pub(crate) fn names(hosts: &[&str]) -> BTreeSet<DnsName> {
        hosts.iter().map(|host| DnsName::parse(host).unwrap()).collect()
    }

    fn planned(secret: &str, hosts: &[&str], fill: bool) -> PlannedCertificate {
        PlannedCertificate {
            secret: SecretKey::new("web", secret),
            names: names(hosts).into_iter().collect(),
            fill,
        }
    }

    #[test]
    fn without_spec_tls_all_rule_hosts_go_into_a_secret_named_as_the_ingress() {
        let view = ingress("web", "shop", &["a.example.com", "b.example.com"]);
        assert_eq!(
            plan(&view).certificates,
            [planned("shop", &["a.example.com", "b.example.com"], true)]
        );
    }

    #[test]
    fn each_tls_block_is_one_certificate_and_an_empty_one_means_all_rule_hosts() {
        let mut view = ingress("web", "shop", &["a.example.com", "b.example.com"]);
        view.tls = vec![block("one", &["a.example.com"]), block("all", &[])];
        let all = planned("all", &["a.example.com", "b.example.com"], false);
        assert_eq!(plan(&view).certificates, [planned("one", &["a.example.com"], false), all]);
    }

    #[test]
    fn a_class_that_is_no_name_is_a_problem() {
        for class in [String::new(), "a\u{1b}b".to_owned(), "x".repeat(254)] {
            let class = IngressClass::Annotated(class.as_str().into());
            let view = IngressView { class, ..ingress("web", "shop", &["a.example.com"]) };
            assert_eq!(
                plan(&view),
                Plan { certificates: vec![], problems: [Problem::BadClass].into(), group: None }
            );
        }
    }

    #[test]
    fn two_blocks_with_one_secret_are_one_certificate() {
        let mut view = ingress("web", "shop", &[]);
        view.tls = vec![block("one", &["a.example.com"]), block("one", &["b.example.com"])];
        assert_eq!(
            plan(&view).certificates,
            [planned("one", &["a.example.com", "b.example.com"], false)]
        );
    }

    #[test]
    fn a_bad_host_is_a_problem_and_the_others_are_served() {
        let view = ingress("web", "shop", &["*.example.com", "a.example.com", "localhost"]);
        let plan = plan(&view);
        assert_eq!(plan.certificates, [planned("shop", &["a.example.com"], true)]);
        assert_eq!(plan.problems.len(), 2);
    }

    #[test]
    fn no_hosts_and_no_secret_name_are_problems() {
        assert_eq!(plan(&ingress("web", "shop", &[])).problems, [Problem::NoHosts].into());
        let mut view = ingress("web", "shop", &["a.example.com"]);
        view.tls = vec![block("", &[])];
        assert_eq!(plan(&view).problems, [Problem::NoSecretName { block: 0 }].into());
        assert_eq!(plan(&view).certificates, []);
    }

    #[test]
    fn what_we_filled_in_stays_ours_until_the_user_edits_it() {
        let mut view = ingress("web", "shop", &["a.example.com", "b.example.com"]);
        view.tls = vec![block("shop", &["a.example.com"])];
        view.annotations.insert(FILLED_TLS.into(), "a.example.com".into());
        assert_eq!(
            plan(&view).certificates,
            [planned("shop", &["a.example.com", "b.example.com"], true)]
        );

        view.tls = vec![block("shop", &["b.example.com"])];
        assert_eq!(plan(&view).certificates, [planned("shop", &["b.example.com"], false)]);

        view.tls = vec![block("shop", &["b.example.com", "a.example.com"])];
        view.annotations.insert(FILLED_TLS.into(), "a.example.com,b.example.com".into());
        assert_eq!(
            plan(&view).certificates,
            [planned("shop", &["a.example.com", "b.example.com"], false)]
        );
    }
}
