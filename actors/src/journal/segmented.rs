//! Journal as a log of numbered segments: group commit, fencing, compaction.
//!
//! # Guarantees
//! - `append` returns when its records are durable. Exception: records that no caller awaits follow
//!   within [`limits::JOURNAL_LAZY`].
//! - One write is in flight at a time; records in the meantime are collected for the next write.
//! - Each number can be created only once. Of two writers with the same number, the second stops
//!   before any further effect. A new writer starts by writing a fence with the previous writer's
//!   next number. The last [`limits::FENCES`] fences are kept.
//! - A snapshot is complete before the segments replaced by the snapshot are deleted, so a crash
//!   after any step is safe.
//!
//! A write with an unknown result is not simply reported as failed: the writer retries and compares
//! the stored segment, and the journal stops if the result stays unknown for
//! [`limits::JOURNAL_GIVE_UP`], or an append has no result after [`limits::JOURNAL_CALL`]. All
//! callers then get [`JournalError::Fenced`]: nothing may be decided on the old state, because the
//! record may still become durable. The replay of the next start finds out.
//! A write that the API server refuses for its content is not retried:
//! the records are divided until only the refused one is left, whose caller is told.

mod compaction;
mod deletion;
mod take_over;
mod writer;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::iter::repeat_n;
use std::rc::Rc;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::domain::issuance::{Event, Record};
use crate::domain::limits;
use crate::domain::log::journaled_times;
use crate::domain::log::live::Live;
use crate::domain::log::segment::{SCHEMA, Segment, SegmentKind, chunks, replay};
use crate::domain::time::Timestamp;
use crate::ports::{Journal, JournalError, Segments};
use crate::reporting::metrics::Metrics;
use writer::Writer;

/// Journal in numbered segments.
pub struct SegmentedJournal(Rc<JournalInner>);

struct JournalInner {
    writer: Writer,
    state: RefCell<JournalState>,
    stopped: watch::Sender<bool>,
    metrics: Metrics,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct JournalState {
    /// Appends for the next write.
    pending: Vec<Append>,
    /// A task is writing or about to write.
    awake: bool,
    /// No further writes are allowed.
    stopped: bool,
    live: Live,
    /// Numbers of the current segments, oldest first, without fences.
    segments: Vec<u64>,
    fences: Vec<u64>,
    /// Number of parts of the last snapshot.
    parts: usize,
    /// Numbers of segments that are not needed any more and not deleted yet.
    obsolete: Vec<u64>,
    /// Numbers of segments before the snapshot of the take-over, oldest first: fences, or obsolete
    /// ones that could not be deleted.
    unread: Vec<u64>,
    /// The replayed log has a record that does not fit, so a snapshot is due.
    has_misfits: bool,
    /// A task is deleting segments.
    deleting: bool,
    /// Number of deletions in a row that failed.
    undeleted: u32,
    /// Number of writes; unchanged while the journal is idle.
    writes: u64,
}

/// Records that were appended together, and the caller that awaits them.
struct Append {
    records: Vec<Record>,
    done: Option<oneshot::Sender<Result<(), JournalError>>>,
}

impl Append {
    /// Tells the caller, who may be gone.
    fn answer(self, outcome: Result<(), JournalError>) {
        _ = self.done.map(|done| done.send(outcome));
    }
}

impl SegmentedJournal {
    /// Creates a journal in `segments`. `writer` identifies this process and term, and must be
    /// unique forever.
    pub fn new(segments: Rc<dyn Segments>, writer: String) -> Self {
        Self::with_metrics(segments, writer, Metrics::default())
    }

    /// Creates a journal that shows the number of its segments in `metrics`.
    pub fn with_metrics(segments: Rc<dyn Segments>, writer: String, metrics: Metrics) -> Self {
        let writer = Writer::new(segments, writer);
        let stopped = watch::Sender::new(false);
        Self(Rc::new(JournalInner { writer, state: RefCell::default(), stopped, metrics }))
    }
}

#[async_trait(?Send)]
impl Journal for SegmentedJournal {
    async fn append(&self, records: &[Record]) -> Result<(), JournalError> {
        let lazy = records.iter().all(|record| nobody_waits_for(&record.event));
        self.0.append(records, lazy).await
    }

    async fn flush(&self) -> Result<(), JournalError> {
        self.0.append(&[], false).await
    }

    async fn replay(&self, now: Timestamp) -> Result<Vec<Record>, JournalError> {
        let (mut log, unread) = self.0.writer.take_over().await?;
        let ahead = journaled_times::correct(&mut log, now);
        if ahead > 0 {
            warn!(
                records = ahead,
                %now,
                "the journal has records of a later time: the clock was ahead when they were written, or is \
                 behind now; they count as written now"
            );
        }
        let found = replay(&log);
        info!(
            segments = log.len(),
            unread = unread.len(),
            live = found.live.len(),
            last = found.last,
            "took over the journal"
        );
        {
            let mut state = self.0.state.borrow_mut();
            state.live = found.live;
            state.fences = found.fences;
            (state.segments, state.parts) = (found.needed, found.parts);
            (state.obsolete, state.unread) = (found.obsolete, unread);
            state.has_misfits = found.misfits > 0;
        }
        self.0.show_size();
        self.0.clone().compact_when_idle();
        Ok(found.records)
    }

    async fn stopped(&self) {
        // Never fails: `self` owns the sender.
        _ = self.0.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }
}

/// Whether no caller awaits the event's write. The certificate is already in its Secret, so that a
/// restart finds out without the journal; and a TXT record that is gone may be removed again.
fn nobody_waits_for(event: &Event) -> bool {
    matches!(event, Event::CertificateInstalled(_) | Event::TxtRemoved(_))
}

impl JournalInner {
    /// Appends records, and waits for them and all before, unless the append is `lazy`.
    async fn append(self: &Rc<Self>, records: &[Record], lazy: bool) -> Result<(), JournalError> {
        let (done, written) = oneshot::channel();
        {
            let mut state = self.state.borrow_mut();
            if state.stopped {
                return Err(JournalError::Fenced);
            }
            let done = Some(done).filter(|_| !lazy);
            state.pending.push(Append { records: records.to_vec(), done });
        }
        self.wake(lazy);
        if lazy {
            return Ok(());
        }
        if let Ok(outcome) = timeout(limits::JOURNAL_CALL, written).await {
            return outcome.unwrap_or(Err(JournalError::Fenced));
        }
        let why = "an append has no result in time";
        self.stop(&JournalError::Unavailable(why.to_owned()));
        Err(JournalError::Fenced)
    }

    /// Schedules a write of the pending records: at once, or after a delay if no caller awaits
    /// them.
    fn wake(self: &Rc<Self>, lazy: bool) {
        let inner = self.clone();
        if lazy {
            actix::spawn(async move {
                sleep(limits::JOURNAL_LAZY).await;
                inner.start_writing();
            });
        } else {
            inner.start_writing();
        }
    }

    fn start_writing(self: Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if state.awake || state.stopped || state.pending.is_empty() {
            return;
        }
        state.awake = true;
        drop(state);
        actix::spawn(async move {
            while let Some(appends) = self.next_batch() {
                self.write(appends).await;
                self.compact_when_due().await;
                if self.is_loaded() {
                    sleep(limits::JOURNAL_LINGER).await;
                }
            }
            self.compact_when_idle();
        });
    }

    /// Takes all pending appends; `None` ends the writer task.
    fn next_batch(&self) -> Option<Vec<Append>> {
        let mut state = self.state.borrow_mut();
        if state.pending.is_empty() || state.stopped {
            state.awake = false;
            return None;
        }
        Some(std::mem::take(&mut state.pending))
    }

    fn is_loaded(&self) -> bool {
        self.state.borrow().pending.iter().filter(|append| append.done.is_some()).count() > 1
    }

    /// Writes the records of all appends, and tells each caller the result of its own ones.
    async fn write(&self, mut appends: Vec<Append>) {
        let counts: Vec<usize> = appends.iter().map(|append| append.records.len()).collect();
        let records = appends.iter_mut().flat_map(|append| std::mem::take(&mut append.records));
        let results = self.write_records(records.collect()).await;
        let of_all = results.iter().cloned().fold(Ok(()), Result::and);
        let mut results = results.into_iter();
        for (append, count) in appends.into_iter().zip(counts) {
            // An append without records waits for all before it.
            let of_it = results.by_ref().take(count).fold(Ok(()), Result::and);
            let of_it = if count == 0 { of_all.clone() } else { of_it };
            match of_it {
                // The state of the stream is ahead of the journal, and nobody would be told.
                Err(error @ JournalError::Refused(_)) if append.done.is_none() => self.stop(&error),
                Err(error @ JournalError::Refused(_)) => append.answer(Err(error)),
                Err(_) => append.answer(Err(JournalError::Fenced)), // the journal has stopped
                Ok(()) => append.answer(Ok(())),
            }
        }
    }

    /// Writes records in as few segments as possible, and returns the result of each record. A
    /// refused segment is halved until only the refused record is left: the other ones are durable.
    async fn write_records(&self, records: Vec<Record>) -> Vec<Result<(), JournalError>> {
        let mut results = Vec::with_capacity(records.len());
        if records.is_empty() {
            return results;
        }
        let mut chunks = VecDeque::from(chunks(records));
        while let Some(chunk) = chunks.pop_front() {
            let mut segment = self.segment(SegmentKind::Batch, chunk);
            let count = segment.records.len();
            match self.write_segment(&mut segment).await {
                Ok(_) => results.extend(repeat_n(Ok(()), count)),
                Err(JournalError::Refused(_)) if count > 1 => {
                    let rest = segment.records.split_off(count / 2);
                    chunks.push_front(rest);
                    chunks.push_front(segment.records);
                }
                Err(error @ JournalError::Refused(_)) => {
                    let stream = segment.records.first().map(|record| record.stream.to_string());
                    error!(stream, %error, "a record is not in the journal, and is not tried again");
                    results.push(Err(error));
                }
                Err(error) => {
                    let unwritten = count + chunks.iter().map(Vec::len).sum::<usize>();
                    results.extend(repeat_n(Err(error), unwritten));
                    break;
                }
            }
        }
        results
    }

    fn segment(&self, kind: SegmentKind, records: Vec<Record>) -> Segment {
        Segment { schema: SCHEMA, writer: self.writer.name().to_owned(), kind, records }
    }

    /// Writes a segment. The records of a batch are then live, and taken out of `segment`.
    async fn write_segment(&self, segment: &mut Segment) -> Result<u64, JournalError> {
        if self.state.borrow().stopped {
            return Err(JournalError::Fenced);
        }
        let written = self.writer.write(segment).await;
        let mut state = self.state.borrow_mut();
        state.writes += 1;
        match &written {
            Ok(number) => {
                state.segments.push(*number);
                if segment.kind == SegmentKind::Batch {
                    let records = std::mem::take(&mut segment.records);
                    for record in records {
                        state.live.keep(record);
                    }
                }
                drop(state);
                self.show_size();
            }
            Err(JournalError::Refused(_)) => {}
            Err(error) => {
                drop(state);
                self.stop(error);
            }
        }
        written
    }

    /// Accepts no more records, and tells all callers. Their records may be durable or not.
    fn stop(&self, error: &JournalError) {
        warn!(%error, "the journal stops");
        let mut state = self.state.borrow_mut();
        state.stopped = true;
        self.stopped.send_replace(true);
        for append in state.pending.drain(..) {
            append.answer(Err(JournalError::Fenced));
        }
    }

    /// Shows the number of segments in the metrics.
    fn show_size(&self) {
        let state = self.state.borrow();
        let needed = state.segments.len() + state.fences.len();
        self.metrics.journal_segments(needed, state.obsolete.len() + state.unread.len());
    }
}
