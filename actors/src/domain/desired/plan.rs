//! Plan: the certificates that one Ingress asks for.
//!
//! Each `spec.tls` block is one certificate; a block without hosts covers all rule hosts. An
//! Ingress without `spec.tls` gets one certificate for all rule hosts, in a Secret with the name of
//! the Ingress; `spec.tls` is filled in once that Secret exists. A host that no certificate can
//! contain is left out with a [`Problem`]; the others are served.

use std::collections::BTreeSet;
use std::fmt;

use crate::domain::certificate::{KeyAlgorithm, UnknownAlgorithm};
use crate::domain::desired::grouping::{is_a_groups, registered_domain, secret_name};
use crate::domain::ingress::{IngressKey, IngressView, SecretKey, TlsBlock};
use crate::domain::name::{BadName, DnsName};
use crate::domain::public_name::NotPublic;

/// Annotation of ours with the hosts that we filled into `spec.tls`, comma-joined. While the block
/// still equals the annotation, we may extend the block; after an edit the block belongs to the
/// user.
pub const FILLED_TLS: &str = "filled-tls";

/// A certificate planned for one Ingress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedCertificate {
    /// Secret for the certificate.
    pub secret: SecretKey,
    /// Names, sorted and without duplicates; never empty. Not a set, which would allocate room for
    /// eleven.
    pub names: Vec<DnsName>,
    /// Whether to fill in `spec.tls` once the Secret exists, because the block is missing or lags
    /// behind.
    pub fill: bool,
    /// Names left out because the CA is public and never certifies them.
    pub refused: Box<[DnsName]>,
}

/// Part of an Ingress that cannot be served. Reported to the user once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Problem {
    /// A host that our certificates cannot contain.
    BadHost {
        /// The host as written, shortened for display.
        host: String,
        /// Reason.
        why: BadName,
    },
    /// No host at all: only a default backend, or rules without hosts.
    NoHosts,
    /// A `spec.tls` block without `secretName`.
    NoSecretName {
        /// Index into `spec.tls`.
        block: usize,
    },
    /// An unknown value of the annotation `ingress-acme.dev/key-algorithm`; the default is used.
    BadAlgorithm(UnknownAlgorithm),
    /// The annotation `kubernetes.io/ingress.class` is not a valid name, so no solver Ingress can
    /// have that class.
    BadClass,
    /// The Ingress asks for a group and cannot join one.
    NotGrouped(NotGrouped),
    /// Hosts that no public CA certifies, while the CA in use is public.
    NotPublic {
        /// The first of them.
        host: String,
        /// Reason against the first.
        why: NotPublic,
        /// Number of the others.
        others: usize,
    },
}

/// Reason why an Ingress is in no group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NotGrouped {
    /// The user's own `spec.tls` names the Secret.
    OwnTls,
    /// The hosts have no common registered domain.
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
                    "spec.tls[{block}] has no secretName, so its certificate cannot be stored"
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
            Self::NotPublic { host, why, others } => {
                let others = match others {
                    0 => String::new(),
                    1 => " (and 1 other host likewise)".to_owned(),
                    more => format!(" (and {more} other hosts likewise)"),
                };
                write!(
                    f,
                    "host `{host}` {why}, so no public CA certifies it and none is asked{others}; use a public name, or a \
                     private CA (--public-ca false, if this one is)"
                )
            }
            Self::NotGrouped(NotGrouped::OwnTls) => write!(
                f,
                "annotation ingress-acme.dev/group has no effect where spec.tls names a Secret: leave out spec.tls, or \
                 name one Secret in several Ingresses"
            ),
            Self::NotGrouped(NotGrouped::ManyDomains) => write!(
                f,
                "annotation ingress-acme.dev/group needs hosts of one registered domain; the Ingress has a certificate of its own"
            ),
        }
    }
}

/// Certificates of one Ingress, and the problems that keep parts of the Ingress from being served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// One entry per Secret; blocks with the same Secret are merged.
    pub certificates: Vec<PlannedCertificate>,
    /// Problems, ordered by kind and content, without duplicates.
    pub problems: BTreeSet<Problem>,
    /// Registered domain of the group, if the Ingress is in one. Then there is one certificate, in
    /// a Secret of the group.
    pub group: Option<Box<str>>,
}

/// Computes the plan of an Ingress that [`select`](crate::domain::desired::selection::select)
/// accepted.
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
            // The Ingress has left a group, and needs a Secret of its own.
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

/// Whether `name` can be the name of an `IngressClass`: a DNS subdomain (RFC 1123). The annotation
/// may hold any text.
fn is_class(name: Option<&str>) -> bool {
    let legal =
        |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-.".contains(&octet);
    name.is_none_or(|name| (1..=253).contains(&name.len()) && name.bytes().all(legal))
}

/// Returns the key algorithm of `ingress`; the default without the annotation.
///
/// # Errors
/// [`UnknownAlgorithm`] if the annotation has another value.
pub fn algorithm(ingress: &IngressView) -> Result<KeyAlgorithm, UnknownAlgorithm> {
    ingress.annotation("key-algorithm").map_or(Ok(KeyAlgorithm::default()), str::parse)
}

/// Returns the value of [`FILLED_TLS`] for `hosts`.
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

/// Whether `block` already lists the names of a certificate for `hosts`.
fn same_hosts(block: &TlsBlock, hosts: &[String]) -> bool {
    let names = |hosts: &[String]| -> BTreeSet<DnsName> {
        hosts.iter().filter_map(|host| DnsName::parse(host).ok()).collect()
    };
    names(&block.hosts) == names(hosts)
}

impl Plan {
    /// Joins a group. The Ingress must leave `spec.tls` to ingress-acme, because the group chooses
    /// the Secret.
    fn join_a_group(&mut self, ingress: &IngressView, filled: bool) {
        let [planned] = &self.certificates[..] else { return };
        if !ingress.tls.is_empty() && !filled {
            self.problems.insert(Problem::NotGrouped(NotGrouped::OwnTls));
        } else if let Some(domain) = registered_domain(&planned.names) {
            self.group = Some(domain.into());
            self.go_to(ingress, "");
        } else {
            self.problems.insert(Problem::NotGrouped(NotGrouped::ManyDomains));
        }
    }

    /// Moves the planned certificate to the bucket at `path`, and plans a matching `spec.tls`.
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
            self.certificates.push(PlannedCertificate {
                secret,
                names,
                fill,
                refused: Box::default(),
            });
        }
    }
}

fn in_order(names: &mut Vec<DnsName>) {
    names.sort_unstable();
    names.dedup();
}

/// Key of the Secret `name` in the namespace of `ingress`. Shares the strings of the Ingress,
/// because nearly every Ingress has a Secret of its own name.
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
            refused: Box::default(),
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
