//! Compaction of the log: all live records are written as a snapshot, and the segments before are
//! deleted (`deletion`).
//!
//! The parts of a snapshot have consecutive numbers, so appends wait while they are written: one
//! write for each part.

use std::rc::Rc;

use tokio::time::sleep;
use tracing::warn;

use super::JournalInner;
use crate::domain::limits;
use crate::domain::log::segment::{is_due, parts, plan, snapshot_part};
use crate::ports::JournalError;

impl JournalInner {
    /// Compacts the log if it has grown enough. An error concerns no append: the records before are
    /// durable, and their callers know.
    pub(super) async fn compact_when_due(self: &Rc<Self>) {
        if self.is_due(false) {
            self.compact().await;
        }
    }

    /// Compacts the log after an idle time.
    pub(super) fn compact_when_idle(self: Rc<Self>) {
        let writes = self.state.borrow().writes;
        actix::spawn(async move {
            sleep(limits::JOURNAL_IDLE).await;
            let quiet = {
                let state = self.state.borrow();
                state.writes == writes && !state.awake && !state.stopped
            };
            if quiet && self.is_due(true) {
                self.state.borrow_mut().awake = true; // blocks other writes during the compaction
                self.compact().await;
                self.state.borrow_mut().awake = false;
                self.start_writing();
            } else if quiet {
                self.delete_obsolete();
            }
        });
    }

    fn is_due(&self, idle: bool) -> bool {
        let state = self.state.borrow();
        let due = || is_due(state.segments.len(), state.parts, idle);
        !state.stopped && (due() || idle && state.has_misfits)
    }

    async fn compact(self: &Rc<Self>) {
        match self.write_snapshot().await {
            Ok(()) => self.delete_obsolete(),
            // The log is left as it is; the next attempt follows once the log has doubled.
            Err(error @ JournalError::Refused(_)) => {
                warn!(%error, "the journal is not compacted, and grows for now");
                let mut state = self.state.borrow_mut();
                state.parts = state.segments.len();
                state.has_misfits = false;
            }
            Err(_) => {} // the journal has stopped
        }
    }

    /// Writes a snapshot of all live records. All segments before are obsolete then.
    async fn write_snapshot(&self) -> Result<(), JournalError> {
        let (plan, old) = {
            let state = self.state.borrow();
            (plan(&state.live), state.segments.clone())
        };
        for part in 1..=parts(&plan) {
            let writer = self.writer.name();
            let mut segment = snapshot_part(&self.state.borrow().live, &plan, part, writer);
            self.write_segment(&mut segment).await?;
        }
        let mut state = self.state.borrow_mut();
        let surplus = state.fences.len().saturating_sub(limits::FENCES);
        let fences: Vec<u64> = state.fences.drain(..surplus).collect();
        state.segments.retain(|number| !old.contains(number));
        state.obsolete.extend(old.into_iter().chain(fences));
        state.parts = plan.len();
        state.has_misfits = false;
        drop(state);
        self.show_size();
        Ok(())
    }
}
