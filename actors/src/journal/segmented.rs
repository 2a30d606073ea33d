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
//! [`limits::JOURNAL_GIVE_UP`].

mod writer;

use std::cell::RefCell;
use std::rc::Rc;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::domain::issuance::{Event, Record};
use crate::domain::limits;
use crate::domain::log::live::Live;
use crate::domain::log::segment::{SCHEMA, Segment, SegmentKind, chunks, replay, snapshot};
use crate::ports::{Journal, JournalError, Segments};
use writer::Writer;

/// Journal in numbered segments.
pub struct SegmentedJournal(Rc<JournalInner>);

struct JournalInner {
    writer: Writer,
    state: RefCell<JournalState>,
    stopped: watch::Sender<bool>,
}

#[derive(Default)]
struct JournalState {
    /// Records for the next write, and the callers that await them.
    pending: Vec<Record>,
    waiting: Vec<oneshot::Sender<Result<(), JournalError>>>,
    /// A task is writing or about to write.
    awake: bool,
    /// No further writes are allowed.
    stopped: bool,
    live: Live,
    /// Numbers of the current segments, oldest first, without fences.
    segments: Vec<u64>,
    fences: Vec<u64>,
    /// Number of writes; unchanged while the journal is idle.
    writes: u64,
}

impl SegmentedJournal {
    /// Creates a journal in `segments`. `writer` identifies this process and term, and must be
    /// unique forever.
    pub fn new(segments: Rc<dyn Segments>, writer: String) -> Self {
        let writer = Writer::new(segments, writer);
        let stopped = watch::Sender::new(false);
        Self(Rc::new(JournalInner { writer, state: RefCell::default(), stopped }))
    }
}

#[async_trait(?Send)]
impl Journal for SegmentedJournal {
    async fn append(&self, records: &[Record]) -> Result<(), JournalError> {
        let lazy = records.iter().all(|record| nobody_waits_for(&record.event));
        let (done, written) = oneshot::channel();
        {
            let mut state = self.0.state.borrow_mut();
            if state.stopped {
                return Err(JournalError::Fenced);
            }
            state.pending.extend_from_slice(records);
            if !lazy {
                state.waiting.push(done);
            }
        }
        self.0.wake(lazy);
        if lazy {
            return Ok(());
        }
        written.await.unwrap_or(Err(JournalError::Fenced))
    }

    async fn replay(&self) -> Result<Vec<Record>, JournalError> {
        let log = self.0.writer.take_over().await?;
        let found = replay(&log);
        info!(
            segments = log.len(),
            live = found.live.len(),
            last = found.last,
            "took over the journal"
        );
        {
            let mut state = self.0.state.borrow_mut();
            state.live = found.live;
            state.fences = found.fences;
            let kept = log.keys().filter(|number| !state.fences.contains(number));
            state.segments = kept.copied().collect();
        }
        self.0.clone().compact_when_idle();
        Ok(found.records)
    }

    async fn stopped(&self) {
        // Never fails: `self` owns the sender.
        _ = self.0.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }
}

/// Whether no caller awaits the event's write. The certificate is already in its Secret, so that a
/// restart finds out without the journal.
fn nobody_waits_for(event: &Event) -> bool {
    matches!(event, Event::CertificateInstalled(_))
}

impl JournalInner {
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
            while let Some((records, waiting)) = self.next_batch() {
                let written = self.write(records).await;
                for waits in waiting {
                    _ = waits.send(written.clone()); // the caller may be gone
                }
                if self.is_loaded() {
                    sleep(limits::JOURNAL_LINGER).await;
                }
            }
            self.compact_when_idle();
        });
    }

    /// Takes all pending records and their callers; `None` ends the writer task.
    fn next_batch(&self) -> Option<Batch> {
        let mut state = self.state.borrow_mut();
        if state.pending.is_empty() || state.stopped {
            state.awake = false;
            return None;
        }
        Some((std::mem::take(&mut state.pending), std::mem::take(&mut state.waiting)))
    }

    fn is_loaded(&self) -> bool {
        self.state.borrow().waiting.len() > 1
    }

    async fn write(&self, records: Vec<Record>) -> Result<(), JournalError> {
        for records in chunks(records) {
            self.write_segment(SegmentKind::Batch, records).await?;
        }
        if self.state.borrow().segments.len() >= limits::JOURNAL_SEGMENTS {
            self.compact().await?;
        }
        Ok(())
    }

    async fn write_segment(
        &self,
        kind: SegmentKind,
        records: Vec<Record>,
    ) -> Result<u64, JournalError> {
        let segment =
            Segment { schema: SCHEMA, writer: self.writer.name().to_owned(), kind, records };
        let written = self.writer.write(&segment).await;
        let mut state = self.state.borrow_mut();
        state.writes += 1;
        match &written {
            Ok(number) => {
                state.segments.push(*number);
                if kind == SegmentKind::Batch {
                    segment.records.into_iter().for_each(|record| state.live.keep(record));
                }
            }
            Err(error) => {
                warn!(%error, "the journal stops");
                state.stopped = true;
                self.stopped.send_replace(true);
                for waits in state.waiting.drain(..) {
                    _ = waits.send(Err(error.clone())); // the caller may be gone
                }
            }
        }
        written
    }

    /// Writes a snapshot of all live records, and deletes the segments replaced by the snapshot.
    async fn compact(&self) -> Result<(), JournalError> {
        let (parts, old, fences) = {
            let state = self.state.borrow();
            let parts = snapshot(&state.live, self.writer.name());
            (parts, state.segments.clone(), state.fences.clone())
        };
        for part in parts {
            self.write_segment(part.kind, part.records).await?;
        }
        let surplus = fences.len().saturating_sub(limits::FENCES);
        let replaced: Vec<u64> = old.iter().chain(&fences[..surplus]).copied().collect();
        self.writer.delete(&replaced).await;
        let mut state = self.state.borrow_mut();
        state.segments.retain(|number| !old.contains(number));
        state.fences.drain(..surplus);
        Ok(())
    }

    /// Compacts the log to one snapshot after an idle time.
    fn compact_when_idle(self: Rc<Self>) {
        let writes = self.state.borrow().writes;
        actix::spawn(async move {
            sleep(limits::JOURNAL_IDLE).await;
            let idle = {
                let mut state = self.state.borrow_mut();
                let quiet = state.writes == writes && !state.awake && !state.stopped;
                let idle = quiet && state.segments.len() > 1;
                state.awake |= idle; // blocks other writes during the compaction
                idle
            };
            if idle {
                _ = self.compact().await; // on failure, the journal is already stopped
                self.state.borrow_mut().awake = false;
                self.start_writing();
            }
        });
    }
}

/// Records of one write, and the callers that await them.
type Batch = (Vec<Record>, Vec<oneshot::Sender<Result<(), JournalError>>>);
