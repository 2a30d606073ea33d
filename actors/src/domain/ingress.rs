//! An Ingress, trimmed to what the job reads, and the keys everything is addressed by.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Prefix of every annotation that is ours.
pub const ANNOTATION_PREFIX: &str = "ingress-acme.dev/";

/// An Ingress by namespace and name: what messages carry, and what deduplication is keyed by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct IngressKey {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

/// A Secret by namespace and name: one certificate, and one stream of events in the journal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SecretKey {
    /// `metadata.namespace`; always that of the Ingresses that use it.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

macro_rules! namespaced_name {
    ($type:ident) => {
        impl $type {
            /// A key from its two parts.
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
                    _ => Err(BadKey(text.to_owned())),
                }
            }
        }
    };
}

namespaced_name!(IngressKey);
namespaced_name!(SecretKey);

/// A text that is not `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not NAMESPACE/NAME")]
pub struct BadKey(String);

/// How an Ingress names its controller; the solver Ingress says the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum IngressClass {
    /// `spec.ingressClassName`.
    Named(Arc<str>),
    /// The annotation `kubernetes.io/ingress.class`, deprecated since 1.18 and still in use.
    Annotated(Arc<str>),
    /// Neither: the cluster's default class.
    #[default]
    Default,
}

impl IngressClass {
    /// The class's name, where it has one.
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
    /// `secretName`, where given.
    pub secret_name: Option<String>,
}

/// What the job reads of an Ingress; everything else is dropped when it arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IngressView {
    /// Namespace and name.
    pub key: IngressKey,
    /// `metadata.uid`, for owner references and Events.
    pub uid: Arc<str>,
    /// Its controller.
    pub class: IngressClass,
    /// `spec.tls` as written.
    pub tls: Vec<TlsBlock>,
    /// Hosts of `spec.rules`, in order, without empty ones.
    pub rule_hosts: Vec<String>,
    /// Our annotations, without [`ANNOTATION_PREFIX`].
    pub annotations: BTreeMap<String, String>,
    /// An annotation of another issuer, such as `cert-manager.io/cluster-issuer`.
    pub other_issuer: Option<String>,
    /// It carries our own label: a solver Ingress.
    pub is_solver: bool,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
}

/// An Ingress that owns a Secret or that an Event is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct IngressRef {
    /// Namespace and name.
    pub key: IngressKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
}

impl IngressView {
    /// The reference that Events and owner references are made from.
    pub fn reference(&self) -> IngressRef {
        IngressRef { key: self.key.clone(), uid: self.uid.clone() }
    }

    /// One of our annotations by its short name.
    pub fn annotation(&self, short: &str) -> Option<&str> {
        self.annotations.get(short).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_namespace_slash_name() {
        assert_eq!("web/shop".parse(), Ok(IngressKey::new("web", "shop")));
        for bad in ["web", "/shop", "web/", "a/b/c", ""] {
            assert_eq!(bad.parse::<IngressKey>(), Err(BadKey(bad.to_owned())));
        }
    }
}
