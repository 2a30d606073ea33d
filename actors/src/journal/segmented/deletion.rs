//! Deletion of obsolete segments, beside later appends. A deletion delays neither an append nor a
//! start: the segments that are left are counted in the metrics, and tried again on a timer.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use super::JournalInner;
use crate::domain::limits;
use crate::ports::JournalError;

impl JournalInner {
    /// Deletes obsolete segments, and after an error once more later. Fences among the segments
    /// that the take-over did not read are kept.
    pub(super) fn delete_obsolete(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let nothing = state.obsolete.is_empty() && state.unread.is_empty();
        if nothing || std::mem::replace(&mut state.deleting, true) {
            return;
        }
        drop(state);
        let inner = self.clone();
        actix::spawn(async move {
            let deleted = inner.delete_all().await;
            inner.state.borrow_mut().deleting = false;
            inner.show_size();
            if let Err(error) = deleted {
                inner.delete_later(&error);
            }
        });
    }

    /// Deletes all that is obsolete, some at a time.
    async fn delete_all(&self) -> Result<(), JournalError> {
        loop {
            let some = self.obsolete(limits::SEGMENTS_DELETED_AT_ONCE);
            if some.len() < limits::SEGMENTS_DELETED_AT_ONCE && self.read_unread().await? {
                continue; // fewer and larger deletions
            }
            if some.is_empty() {
                self.state.borrow_mut().undeleted = 0;
                return Ok(());
            }
            self.writer.delete(&some).await?;
            self.state.borrow_mut().obsolete.retain(|number| !some.contains(number));
            self.show_size();
        }
    }

    fn obsolete(&self, most: usize) -> Vec<u64> {
        self.state.borrow().obsolete.iter().take(most).copied().collect()
    }

    /// Reads some of the segments that the take-over did not read, to tell fences from obsolete
    /// ones. Returns whether there were any.
    async fn read_unread(&self) -> Result<bool, JournalError> {
        let newest: Vec<u64> = {
            let state = self.state.borrow();
            state.unread.iter().rev().take(limits::SEGMENTS_READ_AT_ONCE).copied().collect()
        };
        let kinds = self.writer.are_fences(&newest).await?;
        let mut state = self.state.borrow_mut();
        state.unread.retain(|number| !newest.contains(number));
        for (number, is_fence) in kinds {
            if is_fence { state.fences.push(number) } else { state.obsolete.push(number) }
        }
        state.fences.sort_unstable();
        let surplus = state.fences.len().saturating_sub(limits::FENCES);
        let surplus: Vec<u64> = state.fences.drain(..surplus).collect();
        state.obsolete.extend(surplus);
        Ok(!newest.is_empty())
    }

    /// Tries again later, whether or not anything is written until then.
    fn delete_later(self: &Rc<Self>, error: &JournalError) {
        let mut state = self.state.borrow_mut();
        let count = state.obsolete.len() + state.unread.len();
        let pause = retry_pause(state.undeleted);
        state.undeleted = state.undeleted.saturating_add(1);
        let errors = state.undeleted;
        drop(state);
        warn!(
            count,
            %error,
            retry_in = ?pause,
            "obsolete segments of the journal are not deleted; they take space in etcd, and nothing waits for them"
        );
        let inner = self.clone();
        actix::spawn(async move {
            sleep(pause).await;
            let state = inner.state.borrow();
            let is_latest = state.undeleted == errors && !state.stopped;
            drop(state);
            if is_latest {
                inner.delete_obsolete();
            }
        });
    }
}

/// Pause after a deletion that failed, with this number of failures before it.
fn retry_pause(before: u32) -> Duration {
    let last = limits::JOURNAL_DELETE_RETRY.len() - 1;
    let index = usize::try_from(before).unwrap_or(last).min(last);
    limits::JOURNAL_DELETE_RETRY[index]
}
