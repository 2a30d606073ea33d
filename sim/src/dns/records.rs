//! Records of the zones beside addresses and CAA: TXT, CNAME, NS and SOA.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

/// Most aliases that a look-up follows, as resolvers do.
pub(crate) const ALIASES: usize = 8;

/// Records by name, in lower case and without the trailing dot.
#[derive(Debug, Default)]
pub(super) struct Records {
    txt: HashMap<String, BTreeSet<String>>,
    aliases: HashMap<String, String>,
    /// Names of the name servers of each zone.
    zones: BTreeMap<String, Vec<String>>,
    addresses: HashMap<String, Ipv4Addr>,
    written: Writes,
}

/// Writes of TXT records so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Writes {
    /// Records added.
    pub added: u64,
    /// Records removed.
    pub removed: u64,
}

impl Records {
    /// Adds a TXT record beside others of the name.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.written.added += 1;
        self.txt.entry(normal(name)).or_default().insert(value.to_owned());
    }

    /// Removes this TXT record and no other.
    pub(super) fn remove(&mut self, name: &str, value: &str) {
        self.written.removed += 1;
        let name = normal(name);
        let Some(values) = self.txt.get_mut(&name) else { return };
        values.remove(value);
        if values.is_empty() {
            self.txt.remove(&name);
        }
    }

    /// Values of the TXT records of a name.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.txt.get(name).into_iter().flatten().cloned().collect()
    }

    /// All TXT records.
    pub(super) fn all_texts(&self) -> Vec<(String, String)> {
        let each = |(name, values): (&String, &BTreeSet<String>)| -> Vec<_> {
            values.iter().map(|value| (name.clone(), value.clone())).collect()
        };
        let mut all: Vec<_> = self.txt.iter().flat_map(each).collect();
        all.sort();
        all
    }

    pub(super) fn writes(&self) -> Writes {
        self.written
    }

    /// Sets or clears the CNAME record of a name.
    pub(super) fn set_alias(&mut self, name: &str, target: Option<&str>) {
        match target {
            Some(target) => _ = self.aliases.insert(normal(name), normal(target)),
            None => _ = self.aliases.remove(&normal(name)),
        }
    }

    pub(super) fn alias(&self, name: &str) -> Option<&str> {
        self.aliases.get(name).map(String::as_str)
    }

    /// Makes `name` a zone of its own with these name servers.
    pub(super) fn set_zone(&mut self, name: &str, servers: &[&str]) {
        let servers = servers.iter().map(|server| normal(server)).collect();
        self.zones.insert(normal(name), servers);
    }

    /// Name servers of a zone; `None` if the name is no zone. Names with two labels are zones by
    /// themselves.
    pub(super) fn servers(&self, name: &str) -> Option<Vec<String>> {
        let by_itself = || {
            let two_labels = name.matches('.').count() == 1;
            two_labels.then(|| vec![format!("ns.{name}")])
        };
        self.zones.get(name).cloned().or_else(by_itself)
    }

    pub(super) fn set_address(&mut self, name: &str, address: Ipv4Addr) {
        self.addresses.insert(normal(name), address);
    }

    pub(super) fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.addresses.get(name).copied()
    }
}

/// The form of a name in the maps.
pub(super) fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_removed_by_its_value_and_each_write_counts() {
        let mut records = Records::default();
        for value in ["one", "two", "two"] {
            records.add("_acme-challenge.Example.com.", value);
        }
        assert_eq!(records.texts("_acme-challenge.example.com"), ["one", "two"]);
        records.remove("_acme-challenge.example.com", "one");
        records.remove("_acme-challenge.example.com", "gone");
        let left = ("_acme-challenge.example.com".to_owned(), "two".to_owned());
        assert_eq!(records.all_texts(), [left]);
        assert_eq!(records.writes(), Writes { added: 3, removed: 2 });
    }

    #[test]
    fn a_zone_is_a_name_of_two_labels_or_one_that_was_made_a_zone() {
        let mut records = Records::default();
        assert_eq!(records.servers("example.com").unwrap(), ["ns.example.com"]);
        assert_eq!((records.servers("a.example.com"), records.servers("com")), (None, None));
        records.set_zone("A.example.com", &["ns1.example.net."]);
        assert_eq!(records.servers("a.example.com").unwrap(), ["ns1.example.net"]);
    }
}
