//! The parked: by the time they are due, and those that keep their slot meanwhile.

use std::collections::{BTreeSet, HashMap};

use crate::domain::ingress::SecretKey;
use crate::domain::time::Timestamp;

/// Order among the parked.
#[derive(Debug, Default)]
pub(super) struct Parked {
    due: BTreeSet<(Timestamp, SecretKey)>,
    slots: HashMap<SecretKey, Timestamp>,
}

impl Parked {
    /// A stream is due at `until`; it keeps its slot until `slot`, if it has one.
    pub(super) fn add(&mut self, stream: &SecretKey, until: Timestamp, slot: Option<Timestamp>) {
        self.due.insert((until, stream.clone()));
        if let Some(slot) = slot {
            self.slots.insert(stream.clone(), slot);
        }
    }

    /// A stream that was due at `until` is due at `sooner`.
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

    /// Takes out a stream that is due, with whether it still has its slot.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<(SecretKey, bool)> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, stream) = self.due.pop_first()?;
        let has_slot = self.slots.remove(&stream).is_some_and(|until| until > now);
        Some((stream, has_slot))
    }

    /// Places that are kept at this moment.
    pub(super) fn slots_kept(&self, now: Timestamp) -> usize {
        self.slots.values().filter(|until| **until > now).count()
    }

    /// When the first is due.
    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(until, _)| *until)
    }

    /// When the first slot is given up.
    pub(super) fn first_slot(&self, now: Timestamp) -> Option<Timestamp> {
        self.slots.values().copied().filter(|until| *until > now).min()
    }

    /// How many are parked.
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}
