//! Take-over of the log: list the numbers page by page, read the newest segments down to the last
//! complete snapshot, append a fence, and list the numbers again.
//!
//! The second list is needed because the previous writer may still be at work: between list and
//! fence it may write a snapshot and delete the segments before, also one with the number of the
//! fence, which is then free and fences nobody. The highest number is never deleted, so a fence
//! with the highest number is the last segment of the log that was read.
//!
//! Segments before the snapshot are not read, so that a log whose deletions are refused costs a
//! start one list of numbers, and no memory for their content.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::writer::{Writer, unavailable};
use crate::domain::failure::transient_pause;
use crate::domain::limits;
use crate::domain::log::segment::{SCHEMA, Segment, SegmentKind, is_enough};
use crate::ports::{JournalError, SegmentNumbers};

/// Number of takeover attempts, in case other processes take over at the same time.
const TAKE_OVERS: u32 = 5;

/// The newest segments of the log, and the numbers of those before, oldest first.
pub(super) type TakenOver = (BTreeMap<u64, Segment>, Vec<u64>);

impl Writer {
    /// Reads the log, then appends a fence so that the previous writer's next append fails.
    pub(super) async fn take_over(&self) -> Result<TakenOver, JournalError> {
        for _ in 0..TAKE_OVERS {
            let numbers = self.numbers().await?;
            let last = numbers.last().copied().unwrap_or(0);
            let Some((mut log, unread)) = self.newest(numbers).await? else { continue };
            self.start_after(last);
            let fence = Segment {
                schema: SCHEMA,
                writer: self.name().to_owned(),
                kind: SegmentKind::Fence,
                records: Vec::new(),
            };
            match self.write(&fence).await {
                Ok(number) if self.numbers().await?.last() == Some(&number) => {
                    log.insert(number, fence);
                    return Ok((log, unread));
                }
                Ok(number) => {
                    debug!(number, "another process compacted the log; the log is read again");
                }
                Err(JournalError::Fenced) => {
                    debug!("another process wrote in the meantime; the log is read again");
                }
                Err(error) => return Err(error),
            }
        }
        Err(JournalError::Fenced)
    }

    /// Numbers of all segments, in order. Each page has its deadline.
    async fn numbers(&self) -> Result<Vec<u64>, JournalError> {
        let (mut all, mut page) = (Vec::new(), None);
        loop {
            let list = async || self.segments.list(page.as_deref()).await;
            let SegmentNumbers { numbers, next } = tried("a page of its segments", list).await?;
            all.extend(numbers);
            page = next;
            if page.is_none() {
                all.sort_unstable();
                all.dedup(); // a page may be listed again
                return Ok(all);
            }
        }
    }

    /// Reads the newest of these segments, down to the last complete snapshot. `None` if one of
    /// them has gone: its writer is still at work.
    async fn newest(&self, mut numbers: Vec<u64>) -> Result<Option<TakenOver>, JournalError> {
        let mut log = BTreeMap::new();
        while !numbers.is_empty() && !is_enough(&log) {
            let before = numbers.len().saturating_sub(limits::SEGMENTS_READ_AT_ONCE);
            for (number, segment) in self.segments(numbers.split_off(before)).await? {
                let Some(segment) = segment else {
                    debug!(number, "a segment was deleted in the meantime; the log is read again");
                    return Ok(None);
                };
                let segment = Segment::decode(number, &segment);
                log.insert(number, segment.map_err(|error| unavailable(&error.to_string()))?);
            }
        }
        Ok(Some((log, numbers)))
    }

    /// Reads these segments at the same time.
    async fn segments(
        &self,
        numbers: Vec<u64>,
    ) -> Result<Vec<(u64, Option<Vec<u8>>)>, JournalError> {
        let reads = stream::iter(numbers).map(|number| async move {
            let read = tried("a segment", async || self.segments.read(number).await).await?;
            Ok((number, read))
        });
        reads.buffered(limits::SEGMENTS_READ_AT_ONCE).try_collect().await
    }

    /// Whether each of these segments is a fence. One that has gone is left out, and one that
    /// cannot be decoded is none: the segment is older than a complete snapshot.
    pub(super) async fn are_fences(
        &self,
        numbers: &[u64],
    ) -> Result<Vec<(u64, bool)>, JournalError> {
        let is_fence = |number, data: &[u8]| {
            Segment::decode(number, data).is_ok_and(|read| read.kind == SegmentKind::Fence)
        };
        let read = self.segments(numbers.to_vec()).await?.into_iter();
        Ok(read.filter_map(|(number, data)| Some((number, is_fence(number, &data?)))).collect())
    }
}

/// Makes a request that reads the log, each time under the deadline of a call, at most
/// [`limits::JOURNAL_READ_TRIES`] times.
async fn tried<T>(
    what: &str,
    request: impl AsyncFn() -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    let mut errors = 0;
    loop {
        let late = |_| Err(unavailable("the API server did not answer in time"));
        let error = match timeout(limits::KUBE_CALL, request()).await.unwrap_or_else(late) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        errors += 1;
        let pause = transient_pause(errors, None).filter(|_| errors < limits::JOURNAL_READ_TRIES);
        let Some(pause) = pause else { return Err(error) };
        warn!(%error, retry_in = ?pause, "the journal: {what} cannot be read yet");
        sleep(pause).await;
    }
}
