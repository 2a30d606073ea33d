//! The key of a reconciliation, from the sources of events to the pool. From the pool on, work is
//! keyed by Secret.

use std::fmt;
use std::sync::Arc;

use crate::domain::ingress::{IngressKey, SecretKey};

/// Key of deduplication and of requests to the pool.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ReconcileKey {
    /// An Ingress: every Secret that the Ingress names.
    Ingress(IngressKey),
    /// A Secret whose event stream is not idle and that no Ingress names any more: the issuance is
    /// abandoned.
    Orphan(SecretKey),
}

impl ReconcileKey {
    /// Namespace of the Ingress or the Secret.
    pub fn namespace(&self) -> &Arc<str> {
        match self {
            Self::Ingress(key) => &key.namespace,
            Self::Orphan(secret) => &secret.namespace,
        }
    }
}

impl From<IngressKey> for ReconcileKey {
    fn from(key: IngressKey) -> Self {
        Self::Ingress(key)
    }
}

impl fmt::Display for ReconcileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ingress(key) => key.fmt(f),
            Self::Orphan(secret) => secret.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_by_namespace_and_name() {
        let ingress = ReconcileKey::from(IngressKey::new("web", "shop"));
        let orphan = ReconcileKey::Orphan(SecretKey::new("api", "tls"));
        assert_eq!((ingress.to_string(), &**ingress.namespace()), ("web/shop".to_owned(), "web"));
        assert_eq!((orphan.to_string(), &**orphan.namespace()), ("api/tls".to_owned(), "api"));
    }
}
