//! Recent changes of one kind of object, for watches: bounded in number, and forgotten on demand.

use std::collections::VecDeque;
use std::sync::Arc;

use super::object::Stored;
use super::refusal::Refusal;
use super::selector::Labels;

/// Number of changes kept; a watch further behind must list again.
const CAPACITY: usize = 32_768;

/// Type of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchEventType {
    Added,
    Modified,
    Deleted,
}

impl WatchEventType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) event_type: WatchEventType,
    /// New version of the object; for a deletion, the last version with the revision of the
    /// deletion.
    pub(crate) object: Arc<Stored>,
    /// Previous labels, if changed: the object may have entered or left a selection.
    pub(crate) labels_before: Option<Labels>,
}

/// Changes, oldest first.
#[derive(Debug)]
pub(crate) struct History {
    changes: VecDeque<Change>,
    /// Last forgotten revision; all earlier changes are forgotten too.
    forgotten: u64,
    capacity: usize,
}

impl History {
    /// Creates an empty history; changes up to this revision are unknown.
    pub(crate) fn after(revision: u64) -> Self {
        Self { changes: VecDeque::new(), forgotten: revision, capacity: CAPACITY }
    }

    pub(crate) fn push(&mut self, change: Change) {
        if self.changes.len() >= self.capacity
            && let Some(oldest) = self.changes.pop_front()
        {
            self.forgotten = oldest.object.revision;
        }
        self.changes.push_back(change);
    }

    /// Forgets all changes up to this revision, which must be the newest.
    pub(crate) fn forget(&mut self, revision: u64) {
        self.changes.clear();
        self.forgotten = revision;
    }

    /// Returns the changes after a revision.
    pub(crate) fn since(&self, revision: u64) -> Result<impl Iterator<Item = &Change>, Refusal> {
        if revision < self.forgotten {
            return Err(Refusal::too_old(revision, self.forgotten));
        }
        let begin = self.changes.partition_point(|change| change.object.revision <= revision);
        Ok(self.changes.range(begin..))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::object::Key;
    use super::*;

    fn change(revision: u64) -> Change {
        let object = Stored::new(Key::new("", "a"), revision, &json!({}));
        Change { event_type: WatchEventType::Added, object: object.into(), labels_before: None }
    }

    fn revisions(history: &History, since: u64) -> Option<Vec<u64>> {
        let changes = history.since(since).ok()?;
        Some(changes.map(|change| change.object.revision).collect())
    }

    #[test]
    fn a_watch_goes_on_where_it_was_unless_that_is_forgotten() {
        let mut history = History { capacity: 3, ..History::after(10) };
        assert_eq!(revisions(&history, 10), Some(vec![]));
        for revision in [12, 14, 16, 18] {
            history.push(change(revision));
        }
        assert_eq!(revisions(&history, 11), None);
        assert_eq!(revisions(&history, 12), Some(vec![14, 16, 18]));
        assert_eq!(revisions(&history, 15), Some(vec![16, 18]));
        assert_eq!(revisions(&history, 99), Some(vec![]));
        history.forget(20);
        assert_eq!((revisions(&history, 18), revisions(&history, 20)), (None, Some(vec![])));
    }
}
