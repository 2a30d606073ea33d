//! The zone of a stand-in: TXT records with the numbers that an API gives them.

use serde_json::Value;

/// The zone.
pub(crate) const ZONE: &str = "example.test";
/// Name of the challenge of the zone itself.
pub(crate) const NAME: &str = "_acme-challenge.example.test";
/// That name without the zone.
pub(crate) const SUB: &str = "_acme-challenge";
/// Value that the owner of the zone has at the name.
pub(crate) const OWNERS: &str = "of-the-owner";

/// A TXT record.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Records of the zone.
pub(crate) struct Zone {
    records: Vec<Record>,
    next: u64,
}

impl Default for Zone {
    fn default() -> Self {
        let mut zone = Self { records: Vec::new(), next: 100 };
        zone.add(NAME, OWNERS);
        zone.add("www.example.test", "of-another-name");
        zone
    }
}

impl Zone {
    pub(crate) fn all(&self) -> &[Record] {
        &self.records
    }

    /// Adds a record of a name with or without the zone.
    pub(crate) fn add(&mut self, name: &str, value: &str) -> u64 {
        let name = name.trim_end_matches('.');
        let is_full = name == ZONE || name.ends_with(&format!(".{ZONE}"));
        let name = if is_full { name.to_owned() } else { format!("{name}.{ZONE}") };
        self.next += 1;
        self.records.push(Record { id: self.next, name, value: plain(value) });
        self.next
    }

    /// Deletes the record with this number; `None` if there is none.
    pub(crate) fn delete(&mut self, id: &str) -> Option<()> {
        let before = self.records.len();
        self.records.retain(|record| record.id.to_string() != id);
        (self.records.len() < before).then_some(())
    }

    /// Values of a name.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let of_name = self.records.iter().filter(|record| record.name == name);
        of_name.map(|record| record.value.clone()).collect()
    }

    /// Replaces the values of the challenge.
    pub(crate) fn set<'a>(&mut self, values: impl IntoIterator<Item = &'a str>) {
        self.records.retain(|record| record.name != NAME);
        for value in values {
            self.add(NAME, value);
        }
    }

    /// Each record as an object.
    pub(crate) fn each(&self, shown: impl Fn(&Record) -> Value) -> Value {
        self.records.iter().map(shown).collect()
    }

    /// Each record of the challenge as an object.
    pub(crate) fn of_challenge(&self, shown: impl Fn(&Record) -> Value) -> Value {
        self.records.iter().filter(|record| record.name == NAME).map(shown).collect()
    }
}

impl Record {
    /// The name without the zone.
    pub(crate) fn sub(&self) -> &str {
        self.name.strip_suffix(&format!(".{ZONE}")).unwrap_or("")
    }

    /// The value in quotes, as in a zone file.
    pub(crate) fn quoted(&self) -> String {
        format!("\"{}\"", self.value)
    }
}

/// A value without quotes.
pub(crate) fn plain(value: &str) -> String {
    value.trim_matches('"').to_owned()
}
