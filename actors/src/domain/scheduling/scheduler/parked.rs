//! Parked jobs: ordered by due time, some with a slot.

use std::collections::{BTreeSet, HashMap};

use crate::domain::ingress::SecretKey;
use crate::domain::time::Timestamp;

/// Due times and slots of the parked jobs.
#[derive(Debug, Default)]
pub(super) struct Parked {
    due: BTreeSet<(Timestamp, SecretKey)>,
    slots: HashMap<SecretKey, Timestamp>,
}

impl Parked {
    /// Adds a job that is due at `until`, and keeps its slot until `slot`, if any.
    pub(super) fn add(&mut self, stream: &SecretKey, until: Timestamp, slot: Option<Timestamp>) {
        self.due.insert((until, stream.clone()));
        if let Some(slot) = slot {
            self.slots.insert(stream.clone(), slot);
        }
    }

    /// Moves the due time of a job from `until` to `sooner`.
    pub(super) fn expedite(
        &mut self,
        stream: &SecretKey,
        until: &mut Timestamp,
        sooner: Timestamp,
    ) {
        self.due.remove(&(*until, stream.clone()));
        self.due.insert((sooner, stream.clone()));
        *until = sooner;
    }

    /// Removes a due job. Returns its Secret and whether the job still has its slot.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<(SecretKey, bool)> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, stream) = self.due.pop_first()?;
        let has_slot = self.slots.remove(&stream).is_some_and(|until| until > now);
        Some((stream, has_slot))
    }

    /// Number of slots held at `now`.
    pub(super) fn slots_kept(&self, now: Timestamp) -> usize {
        self.slots.values().filter(|until| **until > now).count()
    }

    /// Earliest due time.
    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Earliest time at which a slot is given up.
    pub(super) fn first_slot(&self, now: Timestamp) -> Option<Timestamp> {
        self.slots.values().copied().filter(|until| *until > now).min()
    }

    /// Number of parked jobs.
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}
