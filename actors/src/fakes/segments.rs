//! In-memory journal segments: each number can be created only once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::cluster::FakeCluster;
use crate::domain::limits;
use crate::domain::log::segment::Segment;
use crate::ports::{CreateError, JournalError, PortError, SegmentNumbers, Segments};

/// Journal segments; they survive an operator.
pub struct FakeSegments {
    cluster: Rc<FakeCluster>,
    stored: RefCell<BTreeMap<u64, Vec<u8>>>,
    largest: Cell<usize>,
    /// Time of each list of a page.
    list_takes: Cell<Duration>,
    /// Time of each creation.
    create_takes: Cell<Duration>,
}

impl FakeSegments {
    /// Creates an empty journal.
    pub fn new(cluster: Rc<FakeCluster>) -> Self {
        Self {
            cluster,
            stored: RefCell::default(),
            largest: Cell::new(usize::MAX),
            list_takes: Cell::default(),
            create_takes: Cell::default(),
        }
    }

    /// Answers each page of a list after this time, and each creation after that time.
    pub fn take_time(&self, list: Duration, create: Duration) {
        self.list_takes.set(list);
        self.create_takes.set(create);
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
    async fn list(&self, page: Option<&str>) -> Result<SegmentNumbers, JournalError> {
        sleep(self.list_takes.get()).await;
        self.cluster.call("journal_list").await.map_err(unavailable)?;
        let after: u64 = page.map_or(0, |page| page.parse().expect("a token of ours"));
        let stored = self.stored.borrow();
        let most = usize::try_from(limits::SEGMENTS_PAGE).unwrap_or(usize::MAX);
        let numbers: Vec<u64> = stored.keys().copied().filter(|n| *n > after).take(most).collect();
        let last = numbers.last().filter(|last| stored.range(**last + 1..).next().is_some());
        let next = last.map(u64::to_string);
        Ok(SegmentNumbers { numbers, next })
    }

    async fn read(&self, number: u64) -> Result<Option<Vec<u8>>, JournalError> {
        self.cluster.call("journal_read").await.map_err(unavailable)?;
        Ok(self.stored.borrow().get(&number).cloned())
    }

    async fn create(&self, number: u64, data: &[u8]) -> Result<(), CreateError> {
        sleep(self.create_takes.get()).await;
        let failing = self.cluster.call("journal_create").await;
        if self.cluster.is_busy() {
            return failing.map_err(|error| CreateError::Unknown(error.to_string()));
        }
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
        assert!(numbers.len() <= limits::SEGMENTS_DELETED_AT_ONCE, "the URL is too long");
        for number in numbers {
            self.cluster.call("journal_delete").await.map_err(unavailable)?;
            self.stored.borrow_mut().remove(number);
        }
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
fn unavailable(error: PortError) -> JournalError {
    JournalError::Unavailable(error.to_string())
}
