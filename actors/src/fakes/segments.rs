//! In-memory journal segments: each number can be created only once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use async_trait::async_trait;

use super::cluster::FakeCluster;
use crate::domain::log::segment::Segment;
use crate::ports::{CreateError, JournalError, Segments};

/// Journal segments; they survive an operator.
pub struct FakeSegments {
    cluster: Rc<FakeCluster>,
    stored: RefCell<BTreeMap<u64, Vec<u8>>>,
    largest: Cell<usize>,
}

impl FakeSegments {
    /// Creates an empty journal.
    pub fn new(cluster: Rc<FakeCluster>) -> Self {
        Self { cluster, stored: RefCell::default(), largest: Cell::new(usize::MAX) }
    }

    /// Refuses segments of more bytes than this, like an API server.
    pub fn refuse_above(&self, bytes: usize) {
        self.largest.set(bytes);
    }

    /// Stores a segment as another process would.
    pub fn put(&self, number: u64, data: Vec<u8>) {
        self.stored.borrow_mut().insert(number, data);
    }

    /// Decodes the segment with the highest number.
    ///
    /// # Panics
    /// When the segment cannot be decoded.
    pub fn last(&self) -> Option<Segment> {
        let stored = self.stored.borrow();
        let (number, data) = stored.last_key_value()?;
        Some(Segment::decode(*number, data).expect("it was written here"))
    }

    /// Decodes all segments.
    ///
    /// # Panics
    /// When a segment cannot be decoded.
    pub fn log(&self) -> BTreeMap<u64, Segment> {
        let stored = self.stored.borrow();
        let decoded = stored.iter().map(|(number, data)| (*number, Segment::decode(*number, data)));
        decoded.map(|(number, segment)| (number, segment.expect("it was written here"))).collect()
    }
}

#[async_trait(?Send)]
impl Segments for FakeSegments {
    async fn list(&self) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
        self.cluster.count("journal_list").await;
        Ok(self.stored.borrow().clone().into_iter().collect())
    }

    async fn read(&self, number: u64) -> Result<Option<Vec<u8>>, JournalError> {
        self.cluster.count("journal_read").await;
        Ok(self.stored.borrow().get(&number).cloned())
    }

    async fn create(&self, number: u64, data: &[u8]) -> Result<(), CreateError> {
        let failing = self.cluster.call("journal_create").await;
        if data.len() > self.largest.get() {
            return Err(CreateError::Refused("Request entity too large".to_owned()));
        }
        if self.stored.borrow().contains_key(&number) {
            return Err(CreateError::Exists);
        }
        self.stored.borrow_mut().insert(number, data.to_vec());
        // The write succeeded, but the response is lost.
        failing.map_err(|error| CreateError::Unknown(error.to_string()))
    }

    /// Deletes one segment after another, like an API server: a crash is possible between any two.
    async fn delete(&self, numbers: &[u64]) -> Result<(), JournalError> {
        for number in numbers {
            let failing = self.cluster.call("journal_delete").await;
            failing.map_err(|error| JournalError::Unavailable(error.to_string()))?;
            self.stored.borrow_mut().remove(number);
        }
        Ok(())
    }
}
