//! Issuances under way, by their exact set of names.
//!
//! A CA may answer a new order with an open one of the same account for the same names (RFC 8555
//! §7.4 permits this, and Let's Encrypt does so). Then the order gets the certificate of whoever
//! sends the first CSR, and the key of any other Secret does not match. So Secrets that ask for
//! exactly the same names at the same CA have their orders one after the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::state::{Issuance, State};
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// All issuances under way.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    by_names: HashMap<BTreeSet<DnsName>, BTreeMap<SecretKey, Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// Directory URL of the CA; `None` for the first CA of the flags.
    directory: Option<String>,
    started_at: Timestamp,
    /// When the order was opened, or the CA was asked for one.
    opened_at: Option<Timestamp>,
}

impl InFlight {
    /// Records that `stream` went from state `before` to state `after`.
    pub(crate) fn changed(&mut self, stream: &SecretKey, before: &State, after: &State) {
        if let Some(issuance) = before.issuance()
            && let Some(entries) = self.by_names.get_mut(&issuance.names)
        {
            entries.remove(stream);
            if entries.is_empty() {
                self.by_names.remove(&issuance.names);
            }
        }
        if let Some(issuance) = after.issuance() {
            let Issuance { names, directory, started_at, .. } = issuance;
            let (directory, started_at) = (directory.clone(), *started_at);
            let entry = Entry { directory, started_at, opened_at: after.opened_at() };
            self.by_names.entry(names.clone()).or_default().insert(stream.clone(), entry);
        }
    }

    /// Records that `stream` asks the CA for an order for `names` at `now`: the CA has the order
    /// before the journal does, and another issuance may come into the journal meanwhile.
    pub(crate) fn asks(&mut self, stream: &SecretKey, names: &BTreeSet<DnsName>, now: Timestamp) {
        let entry = self.by_names.get_mut(names).and_then(|entries| entries.get_mut(stream));
        if let Some(entry) = entry {
            entry.opened_at.get_or_insert(now);
        }
    }

    /// Returns the start of an issuance that goes before one of `stream` for `names`: that of
    /// another Secret whose order is open or asked for, or else one that started earlier. Of two
    /// that have asked, the first one goes first. One that started
    /// [`limits::SAME_NAMES_WAIT`] ago holds up nobody.
    ///
    /// `started_at` is the start of the issuance of `stream`; `None` before it has started.
    /// `first_ca` is the CA of issuances that name none.
    pub(super) fn ahead_of(
        &self,
        stream: &SecretKey,
        (names, directory): (&BTreeSet<DnsName>, Option<&str>),
        first_ca: &str,
        started_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let entries = self.by_names.get(names)?;
        let own = entries.get(stream).and_then(|entry| entry.opened_at);
        let directory = directory.unwrap_or(first_ca);
        let same_ca = |other: Option<&str>| other.unwrap_or(first_ca) == directory;
        let others = entries
            .iter()
            .filter(|(other, entry)| *other != stream && same_ca(entry.directory.as_deref()));
        let ahead = others.filter_map(|(other, entry)| {
            let began = entry.opened_at.unwrap_or(entry.started_at);
            let goes_first = match (entry.opened_at, own) {
                (Some(theirs), Some(own)) => (theirs, other) < (own, stream),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => {
                    started_at.is_none_or(|own| (entry.started_at, other) < (own, stream))
                }
            };
            (goes_first && now.since(began) < limits::SAME_NAMES_WAIT).then_some(began)
        });
        ahead.min()
    }

    /// Number of sets of names with an issuance under way.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_names.len()
    }
}
