//! Parked jobs: ordered by due time, some with a slot.

use std::collections::{BTreeSet, HashMap};

use crate::domain::ingress::SecretKey;
use crate::domain::time::Timestamp;

/// Due times and slots of the parked jobs.
#[derive(Debug, Default)]
pub(super) struct Parked {
    due: BTreeSet<(Timestamp, SecretKey)>,
    slots: HashMap<SecretKey, Timestamp>,
    /// Slots by their end, so that no call reads those that have ended.
    by_end: BTreeSet<(Timestamp, SecretKey)>,
}

impl Parked {
    /// Adds a job that is due at `until`, and keeps its slot until `slot`, if any.
    pub(super) fn add(&mut self, stream: &SecretKey, until: Timestamp, slot: Option<Timestamp>) {
        self.due.insert((until, stream.clone()));
        if let Some(slot) = slot {
            self.slots.insert(stream.clone(), slot);
            self.by_end.insert((slot, stream.clone()));
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

    /// Removes a job without a slot before it is due.
    pub(super) fn remove(&mut self, stream: &SecretKey, until: Timestamp) {
        self.due.remove(&(until, stream.clone()));
    }

    /// Removes a due job. Returns its Secret and whether the job still has its slot.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<(SecretKey, bool)> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, stream) = self.due.pop_first()?;
        let Some(end) = self.slots.remove(&stream) else { return Some((stream, false)) };
        let key = (end, stream);
        self.by_end.remove(&key);
        Some((key.1, end > now))
    }

    /// Number of slots held at `now`.
    pub(super) fn slots_kept(&self, now: Timestamp) -> usize {
        self.kept(now).count()
    }

    /// Number of slots held at `now` by jobs of one namespace.
    pub(super) fn slots_kept_by(&self, namespace: &str, now: Timestamp) -> usize {
        self.kept(now).filter(|(_, stream)| *stream.namespace == *namespace).count()
    }

    /// Slots held at `now`, latest end first.
    fn kept(&self, now: Timestamp) -> impl Iterator<Item = &(Timestamp, SecretKey)> {
        self.by_end.iter().rev().take_while(move |(end, _)| *end > now)
    }

    /// Earliest due time.
    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Earliest time at which a slot is given up.
    pub(super) fn first_slot(&self, now: Timestamp) -> Option<Timestamp> {
        self.kept(now).last().map(|(end, _)| *end)
    }

    /// Number of parked jobs.
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_kept_until_its_end_and_no_longer() {
        let at = Timestamp::from_secs;
        let stream = SecretKey::new("web", "shop");
        let taken = |until, slot, now| {
            let mut parked = Parked::default();
            parked.add(&stream, at(until), Some(at(slot)));
            parked.take_due(at(now)).map(|(_, has_slot)| has_slot)
        };
        assert_eq!(taken(30, 31, 30), Some(true));
        assert_eq!(taken(30, 30, 30), Some(false));
        assert_eq!(taken(30, 31, 29), None);
    }
}
