//! TXT records that may be in DNS: those that were journaled as added, and not as removed.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::dns::txt::TxtRecord;
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{Event, Record, State, TxtAdded};

/// An order that a record was written for: its Secret and its URL.
pub(crate) type Purpose = (SecretKey, String);

/// All records, each with the orders that it was written for. A CA may give two orders the same
/// challenge (RFC 8555 §7.4), and so the same record.
#[derive(Debug, Default)]
pub(crate) struct TxtRecords(BTreeMap<TxtRecord, BTreeSet<Purpose>>);

impl TxtRecords {
    /// Folds the next record of the journal.
    pub(crate) fn fold(&mut self, record: &Record) {
        match &record.event {
            Event::TxtAdded(TxtAdded { order, txt }) => {
                let purposes = self.0.entry(txt.clone()).or_default();
                purposes.insert((record.stream.clone(), order.clone()));
            }
            Event::TxtRemoved(TxtAdded { order, txt }) => {
                let Some(purposes) = self.0.get_mut(txt) else { return };
                purposes.remove(&(record.stream.clone(), order.clone()));
                if purposes.is_empty() {
                    self.0.remove(txt);
                }
            }
            _ => {}
        }
    }

    /// Whether the record is journaled for this order.
    pub(crate) fn has(&self, txt: &TxtRecord, purpose: &Purpose) -> bool {
        self.0.get(txt).is_some_and(|purposes| purposes.contains(purpose))
    }

    /// Records that no order `needs` any more, with the orders that they were written for.
    pub(crate) fn unneeded<'a>(
        &'a self,
        needs: impl Fn(&Purpose) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a TxtRecord, &'a BTreeSet<Purpose>)> {
        self.0.iter().filter(move |(_, purposes)| !purposes.iter().any(&needs))
    }

    /// Whether there is no record.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether the stream has this order open, so that the CA may look for its records.
pub(crate) fn is_open(state: &State, order: &str) -> bool {
    matches!(state, State::Ordered { url, .. } if url == order)
}
