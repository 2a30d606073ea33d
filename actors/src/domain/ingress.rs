//! Ingresses, trimmed to the fields that the operator reads, and the keys of Ingresses and Secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::aliases::Alias;
use crate::domain::copied::Copied;
use crate::domain::cut::cut;
use crate::domain::limits;
use crate::domain::marks::Mark;
use crate::domain::name::DnsName;
use crate::domain::rule_host::RuleHost;
use crate::domain::time::Timestamp;

/// Prefix of all our annotations.
pub const ANNOTATION_PREFIX: &str = "ingress-acme.dev/";

/// Annotation of ours with the hosts that we filled into `spec.tls`, comma-joined. While the block
/// still equals the annotation, we may extend the block; after an edit the block belongs to the
/// user.
pub const FILLED_TLS: &str = "filled-tls";

/// Annotation of ours that says whether `spec.tls` is filled in. With any value but `"true"`, what
/// we filled in is taken back.
pub const FILL_TLS: &str = "fill-tls";

/// Annotation of ours with the place of the solver route, as in `--solver-place`.
pub const SOLVER_PLACE: &str = "solver-place";

/// Annotations of ours that the operator reads from an Ingress, without [`ANNOTATION_PREFIX`], each
/// with the longest value in bytes. Other annotations are dropped.
pub const ANNOTATIONS: [(&str, usize); 13] = [
    ("adopt-secret", limits::ANNOTATION),
    ("ca", limits::ANNOTATION),
    ("challenge", limits::ANNOTATION),
    ("enabled", limits::ANNOTATION),
    (FILL_TLS, limits::ANNOTATION),
    (FILLED_TLS, limits::FILLED_TLS),
    ("group", limits::ANNOTATION),
    ("key-algorithm", limits::ANNOTATION),
    ("partial", limits::ANNOTATION),
    ("profile", limits::ANNOTATION),
    ("renew", limits::ANNOTATION),
    (SOLVER_PLACE, limits::ANNOTATION),
    (USE_WILDCARD, limits::ANNOTATION),
];

/// Annotation by which a wildcard certificate of the namespace serves the hosts of an Ingress.
const USE_WILDCARD: &str = "use-wildcard";

/// Namespace and name of an Ingress: the key in messages and in deduplication.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct IngressKey {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

/// Namespace and name of a Secret: the key of one certificate and of its event stream in the
/// journal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SecretKey {
    /// `metadata.namespace`; always the namespace of the Ingresses that use the Secret.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

macro_rules! namespaced_name {
    ($type:ident) => {
        impl $type {
            /// Creates a key.
            pub fn new(namespace: &str, name: &str) -> Self {
                Self { namespace: namespace.into(), name: name.into() }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.namespace, self.name)
            }
        }

        impl FromStr for $type {
            type Err = BadKey;
            fn from_str(text: &str) -> Result<Self, BadKey> {
                match text.split_once('/') {
                    Some((namespace, name))
                        if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
                    {
                        Ok(Self::new(namespace, name))
                    }
                    _ => Err(BadKey(cut(text, limits::QUOTED_MAX))),
                }
            }
        }
    };
}

namespaced_name!(IngressKey);
namespaced_name!(SecretKey);

/// A text that is not `namespace/name`, cut for display.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not NAMESPACE/NAME")]
pub struct BadKey(String);

/// How an Ingress selects its controller. The solver Ingress copies this value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum IngressClass {
    /// `spec.ingressClassName`.
    Named(Arc<str>),
    /// The annotation `kubernetes.io/ingress.class`, deprecated since Kubernetes 1.18 and still in
    /// use.
    Annotated(Arc<str>),
    /// Neither: the cluster's default class.
    #[default]
    Default,
}

impl IngressClass {
    /// Name of the class; `None` for the default class.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) | Self::Annotated(name) => Some(name),
            Self::Default => None,
        }
    }
}

/// One entry of `spec.tls`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsBlock {
    /// Hosts as written; empty means all rule hosts.
    pub hosts: Vec<String>,
    /// `secretName`, if set.
    pub secret_name: Option<String>,
}

/// Hash of everything that users write into an Ingress, but for `spec.tls`, which is planned for,
/// and our own marks. An edit changes it, whatever it edits; a change of the status does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Edition(pub u64);

/// Fields of an Ingress that the operator reads; all others are dropped on arrival.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct IngressView {
    /// Namespace and name.
    pub key: IngressKey,
    /// `metadata.uid`, for owner references and Events.
    pub uid: Arc<str>,
    /// `metadata.creationTimestamp`: the oldest Ingresses own a Secret that many share.
    pub created: Timestamp,
    /// Ingress class.
    pub class: IngressClass,
    /// `spec.tls` as written: the first [`limits::TLS_BLOCKS_READ`] blocks, with the hosts that
    /// [`distinct_hosts`](crate::domain::desired::hosts::distinct_hosts) keeps.
    pub tls: Vec<TlsBlock>,
    /// Number of blocks of `spec.tls` after those in `tls`.
    pub tls_left_out: usize,
    /// Hosts of `spec.rules` that
    /// [`distinct_hosts`](crate::domain::desired::hosts::distinct_hosts) keeps, in order.
    pub rule_hosts: Vec<String>,
    /// Whether a rule has no host, and serves all that no other rule is for.
    pub has_hostless_rule: bool,
    /// Our annotations, without [`ANNOTATION_PREFIX`].
    pub annotations: BTreeMap<String, String>,
    /// Our annotations that are not read because their value is too long, without
    /// [`ANNOTATION_PREFIX`].
    pub long_annotations: Vec<&'static str>,
    /// Annotations that the Secrets of the Ingress get too.
    pub copied: Copied,
    /// Names that annotations of the controller serve beside the hosts.
    pub aliases: Vec<Alias>,
    /// Mark of another program that decides about the certificate.
    pub mark: Option<Mark>,
    /// Whether its controller (F5 NGINX) merges paths into it from Ingresses that are its minions,
    /// and from no others.
    pub is_master: bool,
    /// Whether the Ingress has our label, which marks a solver Ingress.
    pub is_solver: bool,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Edition of the Ingress.
    pub edition: Edition,
    /// `metadata.generation`, which each change of the spec raises.
    pub generation: i64,
    /// Routes to the solver in it. The watcher takes them out for the route keeper, so that the
    /// index does not keep them.
    pub routed: Option<Box<RoutedHosts>>,
}

/// Routes to the solver in an Ingress outside the operator's namespace: a solver Ingress of ours,
/// or a user's with our path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoutedHosts {
    /// Hosts of the rules with our path.
    pub hosts: BTreeSet<RuleHost>,
    /// Field manager that wrote the rules last, if it is not ours (`metadata.managedFields`).
    pub writer: Option<Arc<str>>,
}

/// An Ingress as the owner of a Secret or the subject of an Event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct IngressRef {
    /// Namespace and name.
    pub key: IngressKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
}

impl IngressView {
    /// Returns the reference for Events and owner references.
    pub fn reference(&self) -> IngressRef {
        IngressRef { key: self.key.clone(), uid: self.uid.clone() }
    }

    /// Whether a wildcard certificate of the namespace serves the hosts, if there is one.
    pub(crate) fn uses_wildcard(&self) -> bool {
        self.annotation(USE_WILDCARD) == Some("true")
    }

    /// Whether `spec.tls` is left as it is, as the Ingress says; `None` if it says nothing.
    pub fn leaves_tls(&self) -> Option<bool> {
        Some(!self.annotation(FILL_TLS)?.eq_ignore_ascii_case("true"))
    }

    /// Host of the rule that serves `name`, unless a rule of another Ingress is for exactly that
    /// name; `None` if no rule does, or if not all rules are known.
    pub(crate) fn rule_serving(&self, name: &DnsName) -> Option<RuleHost> {
        let has = |host: &RuleHost| self.rule_hosts.iter().any(|written| host.is_written(written));
        let exact = RuleHost::from(name.clone());
        if has(&exact) {
            return Some(exact);
        }
        if self.rule_hosts.len() > limits::MAX_NAMES || self.wildcards() > limits::BAD_HOSTS {
            return None;
        }
        let any = || self.has_hostless_rule.then(RuleHost::any);
        RuleHost::wildcard_of(name).filter(has).or_else(any)
    }

    /// Whether a rule is for more than one name.
    pub(crate) fn has_general_rule(&self) -> bool {
        self.has_hostless_rule || self.wildcards() > 0
    }

    fn wildcards(&self) -> usize {
        self.rule_hosts.iter().filter(|host| host.starts_with('*')).count()
    }

    /// Hosts of the rules.
    pub(crate) fn rules(&self) -> impl Iterator<Item = RuleHost> {
        let any = self.has_hostless_rule.then(RuleHost::any);
        self.rule_hosts.iter().filter_map(|host| RuleHost::parse(host)).chain(any)
    }

    /// Returns one of our annotations by its name without the prefix.
    pub fn annotation(&self, short: &str) -> Option<&str> {
        self.annotations.get(short).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::desired::plan::tests::ingress;

    #[test]
    fn a_key_is_namespace_slash_name() {
        assert_eq!("web/shop".parse(), Ok(IngressKey::new("web", "shop")));
        for bad in ["web", "/shop", "web/", "a/b/c", ""] {
            assert_eq!(bad.parse::<IngressKey>(), Err(BadKey(bad.to_owned())));
        }
    }

    fn serving(name: &str, view: &IngressView) -> Option<String> {
        let name = DnsName::parse(name).unwrap();
        let host = view.rule_serving(&name)?;
        assert!(host.serves(&name));
        Some(host.to_string())
    }

    #[test]
    fn the_most_specific_rule_that_serves_a_name_has_its_challenge_path() {
        let all = ["A.example.com", "*.EXAMPLE.com", "*.b.example.com"];
        let hostless = |view| IngressView { has_hostless_rule: true, ..view };
        let cases: [(&[&str], bool, &str, Option<&str>); 8] = [
            (&all, true, "a.example.com", Some("a.example.com")),
            (&all, false, "n.example.com", Some("*.example.com")),
            (&all, true, "n.b.example.com", Some("*.b.example.com")),
            (&all, true, "x.y.b.example.com", Some("*")),
            (&all, false, "x.y.b.example.com", None),
            (&all, false, "example.com", None),
            (&[], true, "example.com", Some("*")),
            (&[], false, "example.com", None),
        ];
        for (rules, any, name, expected) in cases {
            let view = ingress("web", "shop", rules);
            let view = if any { hostless(view) } else { view };
            assert_eq!(serving(name, &view).as_deref(), expected, "{rules:?} {name}");
        }
    }

    #[test]
    fn a_name_beyond_the_rules_that_are_read_has_a_rule_of_its_own() {
        let rules: Vec<String> = (0..101).map(|n| format!("h{n}.example.com")).collect();
        let view = ingress("web", "shop", &rules.iter().map(String::as_str).collect::<Vec<_>>());
        let view = IngressView { has_hostless_rule: true, ..view };
        assert_eq!(serving("h5.example.com", &view).as_deref(), Some("h5.example.com"));
        assert_eq!(serving("h120.example.com", &view), None);
        let wildcards: Vec<String> = (0..11).map(|n| format!("*.w{n}.example.com")).collect();
        let rule_hosts = IngressView { rule_hosts: wildcards, ..view };
        assert_eq!(serving("a.w20.example.com", &rule_hosts), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_that_reads_as_it_was_written_or_a_bounded_reason(
            text in "([a-z]{0,9}/[a-z.]{0,9}|.{0,60}|/)(x{0,2000})",
        ) {
            match text.parse::<SecretKey>() {
                Ok(key) => prop_assert_eq!(key.to_string(), text),
                Err(why) => prop_assert!(why.to_string().len() <= limits::QUOTED_MAX + 30),
            }
        }
    }
}
