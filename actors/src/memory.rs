//! A journal in memory: it lasts as long as the process, and keeps only what is live.

use std::cell::RefCell;

use async_trait::async_trait;

use crate::domain::issuance::Record;
use crate::domain::live::Live;
use crate::ports::{Journal, JournalError};

/// The journal.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    live: RefCell<Live>,
}

#[async_trait(?Send)]
impl Journal for MemoryJournal {
    async fn append(&self, records: &[Record]) -> Result<(), JournalError> {
        for record in records {
            self.live.borrow_mut().keep(record.clone());
        }
        Ok(())
    }

    async fn replay(&self) -> Result<Vec<Record>, JournalError> {
        Ok(self.live.borrow().records().cloned().collect())
    }
}
