//! Scope of a rate limit: the account, domain or names that share one count.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::name::DnsName;

/// Scope of a rate limit (<https://letsencrypt.org/docs/rate-limits/>).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// All requests from our address: the CA is overloaded, or its load balancer limits us (HTTP
    /// 503).
    Address,
    /// All orders of the account.
    Account,
    /// Orders with a name under this registered domain (one label below a public suffix), as named
    /// by the CA.
    Domain(String),
    /// Orders for exactly these names.
    Set(BTreeSet<DnsName>),
    /// Orders with this name.
    Name(DnsName),
    /// Orders of one namespace, all or under one registered domain: its share of a limit of the CA.
    /// Never journaled.
    Share(Box<Share>),
}

/// Share of one namespace in a limit of the CA.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Share {
    /// The namespace.
    pub namespace: String,
    /// The registered domain; `None` for all orders of the account.
    pub domain: Option<String>,
}

impl LimitScope {
    /// Labels of all kinds, for metrics.
    pub(super) const KINDS: [&str; 6] =
        ["address", "account", "domain", "exact_set", "name", "namespace"];

    /// Label of the kind, for metrics.
    pub(super) fn kind(&self) -> &'static str {
        Self::KINDS[match self {
            Self::Address => 0,
            Self::Account => 1,
            Self::Domain(_) => 2,
            Self::Set(_) => 3,
            Self::Name(_) => 4,
            Self::Share(_) => 5,
        }]
    }

    /// Whether the scope has a wildcard among its names.
    pub(crate) fn has_wildcard(&self) -> bool {
        match self {
            Self::Set(names) => names.iter().any(DnsName::is_wildcard),
            Self::Name(name) => name.is_wildcard(),
            _ => false,
        }
    }

    /// Whether this is the share of a namespace.
    pub(crate) fn is_share(&self) -> bool {
        matches!(self, Self::Share(_))
    }

    /// The share of `namespace`: all orders, or those under a registered domain.
    pub(super) fn share(namespace: &str, domain: Option<&str>) -> Self {
        let (namespace, domain) = (namespace.to_owned(), domain.map(str::to_owned));
        Self::Share(Box::new(Share { namespace, domain }))
    }

    /// All scopes that count an order of `namespace` for `names`.
    ///
    /// Includes every domain above each name. Only the CA knows which one is the registered domain:
    /// its refusal names that one.
    pub(super) fn all_of(namespace: &str, names: &BTreeSet<DnsName>) -> BTreeSet<Self> {
        let share = |domain| Self::share(namespace, domain);
        let registered = names.iter().filter_map(DnsName::registered_domain);
        let shares: Vec<Self> = registered.map(|domain| share(Some(domain))).collect();
        let above =
            names.iter().flat_map(DnsName::domains).map(|domain| Self::Domain(domain.to_owned()));
        let each = names.iter().cloned().map(Self::Name);
        let all = [Self::Address, Self::Account, Self::Set(names.clone()), share(None)];
        all.into_iter().chain(above).chain(each).chain(shares).collect()
    }
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => write!(f, "requests from this address"),
            Self::Account => write!(f, "this account"),
            Self::Domain(domain) => write!(f, "certificates under {domain}"),
            Self::Set(names) => {
                write!(
                    f,
                    "certificates for {}",
                    crate::domain::desired::desired_certificate::display_names(names)
                )
            }
            Self::Name(name) => write!(f, "orders with {name}"),
            Self::Share(share) => {
                let Share { namespace, domain } = &**share;
                write!(f, "orders of namespace {namespace}")?;
                domain.as_ref().map_or(Ok(()), |domain| write!(f, " under {domain}"))
            }
        }
    }
}
