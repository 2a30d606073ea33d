//! A journal in memory: it lasts as long as the process.
//!
//! It keeps only what is live, so it stays small: an issuance that ended leaves nothing, one that failed leaves
//! its failures.

use std::cell::RefCell;
use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{Event, Record};
use crate::ports::{Journal, JournalError};

/// Failures remembered per stream: enough to climb the whole backoff ladder on replay.
const FAILURES: usize = 8;

/// The journal.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    live: RefCell<BTreeMap<SecretKey, Vec<Record>>>,
}

impl MemoryJournal {
    fn keep(&self, record: &Record) {
        let mut live = self.live.borrow_mut();
        match &record.event {
            Event::CertificateInstalled { .. } | Event::IssuanceAbandoned { .. } => {
                live.remove(&record.stream);
            }
            Event::IssuanceFailed { .. } => {
                let records = live.entry(record.stream.clone()).or_default();
                records.retain(|kept| matches!(kept.event, Event::IssuanceFailed { .. }));
                let surplus = (records.len() + 1).saturating_sub(FAILURES);
                records.drain(..surplus);
                records.push(record.clone());
            }
            _ => live.entry(record.stream.clone()).or_default().push(record.clone()),
        }
    }
}

#[async_trait(?Send)]
impl Journal for MemoryJournal {
    async fn append(&self, records: &[Record]) -> Result<(), JournalError> {
        for record in records {
            self.keep(record);
        }
        Ok(())
    }

    async fn replay(&self) -> Result<Vec<Record>, JournalError> {
        Ok(self.live.borrow().values().flatten().cloned().collect())
    }
}
