//! Writer of the log: creates consecutive segment numbers, and stops when another writer has taken
//! one.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};
use zeroize::Zeroizing;

use crate::domain::failure::transient_pause;
use crate::domain::limits;
use crate::domain::log::segment::{SCHEMA, Segment, SegmentKind};
use crate::ports::{CreateError, JournalError, Segments};

/// Number of takeover attempts, in case other processes take over at the same time.
const TAKE_OVERS: u32 = 5;

/// One writer of the log.
pub(super) struct Writer {
    segments: Rc<dyn Segments>,
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

    /// Reads the log, then appends a fence so that the previous writer's next append fails.
    pub(super) async fn take_over(&self) -> Result<BTreeMap<u64, Segment>, JournalError> {
        for _ in 0..TAKE_OVERS {
            let mut log = self.read().await?;
            let last = log.keys().next_back().copied().unwrap_or(0);
            self.next.set(last + 1);
            let fence = Segment {
                schema: SCHEMA,
                writer: self.name.clone(),
                kind: SegmentKind::Fence,
                records: Vec::new(),
            };
            match self.write(&fence).await {
                Ok(number) => {
                    log.insert(number, fence);
                    return Ok(log);
                }
                Err(JournalError::Fenced) => {
                    debug!("another process wrote in the meantime; the log is read again");
                }
                Err(error) => return Err(error),
            }
        }
        Err(JournalError::Fenced)
    }

    async fn read(&self) -> Result<BTreeMap<u64, Segment>, JournalError> {
        let unanswered = |_| unavailable("the API server did not answer in time");
        let listed =
            timeout(limits::KUBE_CALL, self.segments.list()).await.map_err(unanswered)??;
        let decode = |(number, data): (u64, Vec<u8>)| {
            let segment =
                Segment::decode(number, &data).map_err(|error| unavailable(&error.to_string()))?;
            Ok((number, segment))
        };
        listed.into_iter().map(decode).collect()
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
        match timeout(limits::KUBE_CALL, self.segments.create(number, data)).await {
            Ok(Ok(())) => Ok(None),
            // Maybe by an earlier attempt, whose response was lost.
            Ok(Err(CreateError::Exists)) => match self.is_ours(number, data).await {
                Some(true) => Ok(None),
                Some(false) => Err(JournalError::Fenced),
                None => Ok(Some("it cannot be read".to_owned())),
            },
            Ok(Err(CreateError::Refused(why))) if !again => Err(JournalError::Refused(why)),
            Ok(Err(CreateError::Refused(why))) => match self.is_ours(number, data).await {
                Some(true) => Ok(None),
                Some(false) => Err(JournalError::Fenced),
                None => Err(JournalError::Refused(why)),
            },
            Ok(Err(CreateError::Unknown(why))) => Ok(Some(why)),
            Err(_) => Ok(Some("no answer in time".to_owned())),
        }
    }

    async fn is_ours(&self, number: u64, data: &[u8]) -> Option<bool> {
        let read = timeout(limits::KUBE_CALL, self.segments.read(number)).await.ok()?.ok()?;
        read.map(|found| found == data)
    }

    /// Deletes obsolete segments, and returns whether all are gone. The caller tries again at the
    /// next snapshot, and so does the next process.
    pub(super) async fn delete(&self, numbers: &[u64]) -> bool {
        let error = match timeout(limits::KUBE_CALL, self.segments.delete(numbers)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(_) => unavailable("no answer in time"),
        };
        let count = numbers.len();
        warn!(count, %error, "obsolete segments of the journal are not deleted yet");
        false
    }
}

fn unavailable(why: &str) -> JournalError {
    JournalError::Unavailable(why.to_owned())
}
