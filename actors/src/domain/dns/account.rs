//! Accounts at DNS providers: each is a labelled Secret in the operator's namespace, which says for
//! which zones and for the Ingresses of which namespaces records are written.

use std::collections::BTreeSet;

use crate::domain::dns::txt::RecordName;
use crate::domain::name::DnsName;

/// An account at a DNS provider, without its credentials.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DnsAccount {
    /// Name of its Secret.
    pub name: String,
    /// Version of its Secret. A new one ends the pauses after failures.
    pub version: String,
    /// Value of the key `provider`, such as `rfc2136`.
    pub provider: String,
    /// Key `zones`: domains whose names are proved with this account. A name is in a zone if it is
    /// the zone or below it.
    pub zones: BTreeSet<RecordName>,
    /// Key `delegation-zones`: zones that exist for challenges alone. A CNAME of
    /// `_acme-challenge.NAME` may lead to any name in them.
    pub delegation_zones: BTreeSet<RecordName>,
    /// Key `namespaces`.
    pub namespaces: Namespaces,
}

/// Namespaces whose Ingresses an account serves.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Namespaces {
    /// `"*"`.
    All,
    /// These; without the key, none.
    These(BTreeSet<String>),
}

/// All accounts that can be read, in the order of their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DnsAccounts(Vec<DnsAccount>);

/// Provider of an account that has no credentials: its zones are proved by DNS-PERSIST-01 records
/// alone.
pub const PERSIST: &str = "dns-persist-01";

impl DnsAccounts {
    /// Sorts the accounts by name.
    pub fn new(mut accounts: Vec<DnsAccount>) -> Self {
        accounts.sort_by(|one, other| one.name.cmp(&other.name));
        Self(accounts)
    }

    /// All accounts.
    pub fn iter(&self) -> impl Iterator<Item = &DnsAccount> {
        self.0.iter()
    }

    /// The account with this name.
    pub fn get(&self, name: &str) -> Option<&DnsAccount> {
        self.0.iter().find(|account| account.name == name)
    }

    /// Whether an account proves `name` for `namespace`.
    pub fn grants(&self, namespace: &str, name: &DnsName) -> bool {
        self.0.iter().any(|one| one.namespaces.has(namespace) && one.zone_of(name).is_some())
    }

    /// Accounts whose zones cover `name`, and which serve `namespace`: those with the longest zone
    /// first, then by name.
    pub fn granted<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a DnsName,
    ) -> impl Iterator<Item = &'a DnsAccount> {
        let covering = self.0.iter().filter(|account| account.namespaces.has(namespace));
        let with_zone = covering.filter_map(|account| Some((account.zone_of(name)?, account)));
        let mut found: Vec<(usize, &DnsAccount)> = with_zone.collect();
        found.sort_by_key(|(length, _)| std::cmp::Reverse(*length)); // stable: by name
        found.into_iter().map(|(_, account)| account)
    }
}

impl DnsAccount {
    /// Length of the longest zone that covers `name`.
    fn zone_of(&self, name: &DnsName) -> Option<usize> {
        let name = name.base();
        let covering = self.zones.iter().filter(|zone| zone.covers(name));
        covering.map(|zone| zone.as_str().len()).max()
    }

    /// Whether the account may write a challenge for a name of its zones at `record`, which CNAMEs
    /// may have led to: below its zones only names that begin with `_acme-challenge.`, so that no
    /// other record is ever touched.
    pub fn may_write(&self, record: &RecordName) -> bool {
        let within =
            |zones: &BTreeSet<RecordName>| zones.iter().any(|zone| zone.covers(record.as_str()));
        within(&self.delegation_zones) || (record.is_challenge() && within(&self.zones))
    }
}

impl Namespaces {
    /// Whether the namespace is one of these.
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(some) => some.contains(namespace),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn zones(zones: &[&str]) -> BTreeSet<RecordName> {
        zones.iter().map(|zone| RecordName::parse(zone).unwrap()).collect()
    }

    pub(crate) fn account(name: &str, covered: &[&str], namespaces: &[&str]) -> DnsAccount {
        let these = namespaces.iter().map(|one| (*one).to_owned()).collect();
        DnsAccount {
            name: name.to_owned(),
            version: "1".to_owned(),
            provider: "rfc2136".to_owned(),
            zones: zones(covered),
            delegation_zones: BTreeSet::new(),
            namespaces: if namespaces == ["*"] {
                Namespaces::All
            } else {
                Namespaces::These(these)
            },
        }
    }

    fn name(text: &str) -> DnsName {
        DnsName::parse_certified(text).unwrap()
    }

    #[test]
    fn the_longest_zone_that_serves_the_namespace_is_first() {
        let accounts = DnsAccounts::new(vec![
            account("wide", &["example.com"], &["*"]),
            account("apps", &["apps.example.com"], &["web"]),
            account("other", &["apps.example.com"], &["web"]),
            account("nobodys", &["apps.example.com"], &[]),
        ]);
        let granted = |namespace, host| {
            let host = name(host);
            let found: Vec<_> =
                accounts.granted(namespace, &host).map(|one| one.name.clone()).collect();
            found
        };
        assert_eq!(granted("web", "*.apps.example.com"), ["apps", "other", "wide"]);
        assert_eq!(granted("api", "a.apps.example.com"), ["wide"]);
        assert_eq!(granted("web", "example.com"), ["wide"]);
        assert_eq!(granted("web", "badexample.com"), [""; 0]);
    }

    #[test]
    fn only_challenge_names_and_delegation_zones_are_written() {
        let mut account = account("a", &["example.com"], &["*"]);
        account.delegation_zones = zones(&["acme.example.net"]);
        let may = |record: &str| account.may_write(&RecordName::parse(record).unwrap());
        assert!(may("_acme-challenge.example.com") && may("_acme-challenge.a.example.com"));
        assert!(may("anything.acme.example.net"));
        assert!(!may("www.example.com") && !may("_acme-challenge.example.org"));
        assert!(!may("a._acme-challenge.example.com"));
    }
}
