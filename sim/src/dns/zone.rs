//! Names of the simulated DNS, with their records and troubles.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

use hickory_proto::rr::rdata::CAA;
use hickory_proto::rr::rdata::caa::KeyValue;

use super::records::{ALIASES, Records, Writes, normal};

/// Simulated failure of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The name does not exist.
    NxDomain,
    /// The name server fails.
    ServFail,
    /// The name resolves to an address without a listener.
    Dead,
    /// The DNSSEC signatures of the name are wrong: a resolver that validates answers SERVFAIL (RFC
    /// 4035 §5.5), as those of CAs must (CA/B Forum ballot SC-085v2), and any other one resolves
    /// the name.
    Bogus,
    /// Only the CAA look-ups of the name are so.
    BogusCaa,
}

/// Type of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Address,
    Caa,
    Txt,
}

/// Address for [`Trouble::Dead`]: on loopback, without any simulated server.
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);

/// An `issue` property (RFC 8659 §4.2): the CA, if any, and its parameters.
pub type Issue<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)]);

fn caa_record((ca, parameters): &Issue<'_>) -> CAA {
    let options = parameters.iter().map(|(key, value)| KeyValue::new(*key, *value)).collect();
    CAA::new_issue(false, ca.and_then(|ca| ca.parse().ok()), options)
}

/// Names with trouble, each including all names below, CAA records and the other records. Clones
/// share the state.
#[derive(Clone, Debug, Default)]
pub struct Zone(
    Arc<RwLock<HashMap<String, Option<Trouble>>>>,
    Arc<RwLock<HashMap<String, Vec<CAA>>>>,
    Arc<RwLock<Records>>,
);

impl Zone {
    /// Sets or clears the trouble of `name` and all names below.
    pub fn set(&self, name: &str, trouble: Option<Trouble>) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(_) => _ = names.insert(name.to_ascii_lowercase(), trouble),
            None => _ = names.remove(&name.to_ascii_lowercase()),
        }
    }

    /// Exempts this name, and all names below, from the trouble of its parent domains.
    pub fn exempt(&self, name: &str) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_ascii_lowercase(), None);
    }

    /// Sets the CAA records of a name.
    pub fn set_caa(&self, name: &str, issue: &[Issue<'_>]) {
        let mut names = self.1.write().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_ascii_lowercase(), issue.iter().map(caa_record).collect());
    }

    /// CAA records of a name (RFC 8659).
    pub fn caa(&self, name: &str) -> Vec<CAA> {
        let names = self.1.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&name.trim_end_matches('.').to_ascii_lowercase()).cloned().unwrap_or_default()
    }

    /// Adds a TXT record beside others of the name.
    pub fn add_txt(&self, name: &str, value: &str) {
        self.change(|records| records.add(name, value));
    }

    /// Removes this TXT record and no other.
    pub fn remove_txt(&self, name: &str, value: &str) {
        self.change(|records| records.remove(name, value));
    }

    /// All TXT records, by name and value.
    pub fn all_txt(&self) -> Vec<(String, String)> {
        self.records(Records::all_texts)
    }

    /// Number of writes of TXT records so far.
    pub fn writes(&self) -> Writes {
        self.records(Records::writes)
    }

    /// Sets or clears the CNAME record of a name.
    pub fn set_alias(&self, name: &str, target: Option<&str>) {
        self.change(|records| records.set_alias(name, target));
    }

    /// Makes a name a zone of its own, with these name servers. Names with two labels are zones by
    /// themselves.
    pub fn set_zone(&self, name: &str, servers: &[&str]) {
        self.change(|records| records.set_zone(name, servers));
    }

    /// Resolves a name to this address, in place of 127.0.0.1.
    pub fn set_address(&self, name: &str, address: Ipv4Addr) {
        self.change(|records| records.set_address(name, address));
    }

    /// Target of the CNAME record of a name.
    pub fn alias(&self, name: &str) -> Option<String> {
        self.records(|records| records.alias(&normal(name)).map(str::to_owned))
    }

    /// Name servers of a zone; `None` if the name is no zone.
    pub fn servers(&self, name: &str) -> Option<Vec<String>> {
        self.records(|records| records.servers(&normal(name)))
    }

    /// Values of the TXT records of a name, as a resolver follows its aliases.
    pub fn txt(&self, name: &str) -> Result<Vec<String>, Trouble> {
        let name = self.followed(name).ok_or(Trouble::ServFail)?;
        match self.trouble(&name) {
            Some(trouble @ (Trouble::NxDomain | Trouble::ServFail)) => Err(trouble),
            _ => Ok(self.records(|records| records.texts(&name))),
        }
    }

    /// The same as a resolver that validates DNSSEC.
    pub(crate) fn txt_validated(&self, name: &str) -> Result<Vec<String>, Trouble> {
        let followed = self.followed(name).ok_or(Trouble::ServFail)?;
        self.resolve_validated(&followed, Record::Txt)?;
        self.txt(&followed)
    }

    /// The name to which the aliases of a name lead; `None` for a circle.
    fn followed(&self, name: &str) -> Option<String> {
        let mut name = normal(name);
        for _ in 0..=ALIASES {
            match self.alias(&name) {
                Some(next) => name = next,
                None => return Some(name),
            }
        }
        None
    }

    fn records<T>(&self, read: impl FnOnce(&Records) -> T) -> T {
        read(&self.2.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Records)) {
        change(&mut self.2.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns the address of a name, or its trouble, as a resolver without DNSSEC.
    pub fn resolve(&self, name: &str) -> Result<Ipv4Addr, Trouble> {
        let name = self.followed(name).ok_or(Trouble::ServFail)?;
        match self.trouble(&name) {
            Some(Trouble::Dead) => Ok(NOBODY),
            Some(trouble @ (Trouble::NxDomain | Trouble::ServFail)) => Err(trouble),
            Some(Trouble::Bogus | Trouble::BogusCaa) | None => {
                Ok(self.records(|records| records.address(&name)).unwrap_or(Ipv4Addr::LOCALHOST))
            }
        }
    }

    /// Returns the address of a name as a resolver that validates DNSSEC, or the trouble of a
    /// look-up of this type.
    pub(crate) fn resolve_validated(
        &self,
        name: &str,
        record: Record,
    ) -> Result<Ipv4Addr, Trouble> {
        match self.trouble(name) {
            Some(trouble @ Trouble::Bogus) => Err(trouble),
            Some(trouble @ Trouble::BogusCaa) if record == Record::Caa => Err(trouble),
            _ => self.resolve(name),
        }
    }

    /// Returns the trouble of a name or of its closest parent that has any.
    fn trouble(&self, name: &str) -> Option<Trouble> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut zone = Some(name.as_str());
        while let Some(name) = zone {
            match names.get(name) {
                Some(trouble) => return *trouble,
                None => zone = name.split_once('.').map(|(_, parent)| parent),
            }
        }
        None
    }
}
