//! Writer of the log: creates consecutive segment numbers, and stops when another writer has taken
//! one.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::warn;
use zeroize::Zeroizing;

use crate::domain::failure::transient_pause;
use crate::domain::limits;
use crate::domain::log::fence::{CreateAnswer, Stored, WriteStep, after_compare, after_create};
use crate::domain::log::segment::Segment;
use crate::ports::{CreateError, JournalError, Segments};

/// One writer of the log.
pub(super) struct Writer {
    pub(super) segments: Rc<dyn Segments>,
    name: String,
    next: Cell<u64>,
}

impl Writer {
    pub(super) fn new(segments: Rc<dyn Segments>, name: String) -> Self {
        Self { segments, name, next: Cell::new(1) }
    }

    /// Name of the writer in its segments.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Continues after the segment `last`.
    pub(super) fn start_after(&self, last: u64) {
        self.next.set(last + 1);
    }

    /// Writes one segment and returns its number.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] when another writer has taken the number, and
    /// [`JournalError::Refused`] when the segment will never be accepted: then nothing was written.
    pub(super) async fn write(&self, segment: &Segment) -> Result<u64, JournalError> {
        let (number, began) = (self.next.get(), Instant::now());
        let data = Zeroizing::new(segment.encode()); // may contain private keys
        let mut errors = 0;
        loop {
            let Some(why) = self.attempt(number, &data, errors > 0).await? else { break };
            if began.elapsed() >= limits::JOURNAL_GIVE_UP {
                return Err(unavailable(&why));
            }
            errors += 1;
            let pause = transient_pause(errors, None).unwrap_or(Duration::from_secs(10));
            warn!(number, why, retry_in = ?pause, "a segment of the journal is not written yet");
            sleep(pause).await;
        }
        self.next.set(number + 1);
        Ok(number)
    }

    /// Attempts to create a segment; `again` after an attempt with an unknown result. Returns why
    /// the result is unknown, or `None` once the segment exists.
    async fn attempt(
        &self,
        number: u64,
        data: &[u8],
        again: bool,
    ) -> Result<Option<String>, JournalError> {
        let (answer, why) = self.create(number, data).await;
        let step = match after_create(answer, again) {
            WriteStep::Compare => after_compare(answer, self.stored(number, data).await),
            step => step,
        };
        match step {
            WriteStep::Durable => Ok(None),
            WriteStep::Compare | WriteStep::Again => Ok(Some(why)),
            WriteStep::Refused => Err(JournalError::Refused(why)),
            WriteStep::Fenced => Err(JournalError::Fenced),
        }
    }

    /// Creates the segment, and returns the answer with its words.
    async fn create(&self, number: u64, data: &[u8]) -> (CreateAnswer, String) {
        match timeout(limits::KUBE_CALL, self.segments.create(number, data)).await {
            Ok(Ok(())) => (CreateAnswer::Created, String::new()),
            // Maybe by an earlier attempt, whose response was lost.
            Ok(Err(CreateError::Exists)) => (CreateAnswer::Exists, "it cannot be read".to_owned()),
            Ok(Err(CreateError::Refused(why))) => (CreateAnswer::Refused, why),
            Ok(Err(CreateError::Unknown(why))) => (CreateAnswer::Unknown, why),
            Err(_) => (CreateAnswer::Unknown, "no answer in time".to_owned()),
        }
    }

    async fn stored(&self, number: u64, data: &[u8]) -> Stored {
        match timeout(limits::KUBE_CALL, self.segments.read(number)).await {
            Ok(Ok(Some(found))) if found == data => Stored::Ours,
            Ok(Ok(Some(_))) => Stored::Others,
            Ok(Ok(None)) => Stored::Nothing,
            Ok(Err(_)) | Err(_) => Stored::Unknown,
        }
    }

    /// Deletes segments.
    pub(super) async fn delete(&self, numbers: &[u64]) -> Result<(), JournalError> {
        let late = |_| Err(unavailable("no answer in time"));
        timeout(limits::KUBE_CALL, self.segments.delete(numbers)).await.unwrap_or_else(late)
    }
}

pub(super) fn unavailable(why: &str) -> JournalError {
    JournalError::Unavailable(why.to_owned())
}
