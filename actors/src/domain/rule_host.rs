//! Host of a rule of an Ingress: a name, a wildcard, or none for all hosts (Kubernetes API,
//! `IngressRule.host`).
//!
//! Most ingress controllers choose the host first and the path afterwards, and never go on to a
//! less specific host. So the challenge path of a name has to be in a rule of the host that serves
//! the name: in a more specific one, it would hide all other paths of the site.

use std::fmt;
use std::sync::Arc;

use crate::domain::name::DnsName;

/// Text of the host that matches all hosts. The API server takes it in no rule.
const ANY: &str = "*";

/// Host of a rule: a name, `*.` and a domain, or all hosts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleHost(Arc<str>);

impl RuleHost {
    /// The host of a rule without one, which serves all names that no other rule is for.
    pub fn any() -> Self {
        Self(ANY.into())
    }

    /// Reads `IngressRule.host`, or the text of a host; `None` if it is no host that a certificate
    /// of ours has a name of.
    pub fn parse(host: &str) -> Option<Self> {
        if matches!(host, "" | ANY) {
            return Some(Self::any());
        }
        let Some(domain) = host.strip_prefix("*.") else { return Self::exact(host) };
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        // The domain of a wildcard may be a single label, which no name is.
        DnsName::parse(&format!("a.{domain}")).ok()?;
        Some(Self(format!("*.{domain}").into()))
    }

    fn exact(host: &str) -> Option<Self> {
        DnsName::parse(host).ok().map(Self::from)
    }

    /// `IngressRule.host`; `None` for all hosts.
    pub fn in_a_rule(&self) -> Option<&str> {
        (&*self.0 != ANY).then_some(&*self.0)
    }

    /// Whether both are for one name alone, for a wildcard, or for all hosts.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.is_exact(), &*self.0 == ANY) == (other.is_exact(), &*other.0 == ANY)
    }

    /// Whether the rule is for one name alone.
    pub fn is_exact(&self) -> bool {
        !self.0.starts_with('*')
    }

    /// The wildcard that serves `name`: of one label, as the API has it.
    pub(crate) fn wildcard_of(name: &DnsName) -> Option<Self> {
        let (_, domain) = name.as_str().split_once('.')?;
        Some(Self(format!("*.{domain}").into()))
    }

    /// Whether the rule is for exactly this name.
    pub(crate) fn is(&self, name: &DnsName) -> bool {
        *self.0 == *name.as_str()
    }

    /// Whether a host as written is this one.
    pub(crate) fn is_written(&self, host: &str) -> bool {
        host.trim_end_matches('.').eq_ignore_ascii_case(&self.0)
    }

    /// Whether requests for `name` may meet a rule of this host.
    pub fn serves(&self, name: &DnsName) -> bool {
        self.is(name)
            || &*self.0 == ANY
            || Self::wildcard_of(name).is_some_and(|wildcard| wildcard == *self)
    }
}

impl From<DnsName> for RuleHost {
    fn from(name: DnsName) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for RuleHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RuleHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any text is a host or none, and a host reads back the same.
        #[test]
        fn any_text_is_read_in_bounds(text in "(\\*\\.)?([a-zA-Z0-9.-]{0,20}|.{0,300})") {
            if let Some(host) = RuleHost::parse(&text) {
                prop_assert!(host.to_string().len() <= text.len() + ANY.len());
                prop_assert_eq!(RuleHost::parse(&host.to_string()), Some(host.clone()));
                prop_assert_eq!(RuleHost::parse(host.in_a_rule().unwrap_or_default()), Some(host));
            }
        }
    }
}
