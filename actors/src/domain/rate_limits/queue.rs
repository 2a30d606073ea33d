//! Limit queue: ordered by urgency, then round robin over namespaces.

use std::collections::HashMap;

use crate::domain::ingress::SecretKey;
use crate::domain::scheduling::priority::{Priority, URGENCIES, Urgency};
use crate::domain::scheduling::queue::RoundRobin;
use crate::domain::time::Timestamp;

/// The queue of one rate limit.
#[derive(Debug, Default)]
pub(super) struct LimitQueue {
    lanes: [RoundRobin; 3],
    /// Members, with the lane of each.
    members: HashMap<SecretKey, Urgency>,
}

impl LimitQueue {
    /// Adds `stream` to the lane of its urgency, by expiry within its namespace. Returns `false` if
    /// `stream` is in that lane or in a more urgent one already.
    pub(super) fn enqueue(
        &mut self,
        stream: &SecretKey,
        priority: Priority,
        now: Timestamp,
    ) -> bool {
        let Priority { urgency, by } = priority;
        match self.members.get(stream) {
            Some(joined) if *joined <= urgency => return false,
            Some(_) => self.leave(stream), // now more urgent
            None => {}
        }
        self.lanes[urgency as usize].push(stream.clone(), by, now);
        self.members.insert(stream.clone(), urgency).is_none()
    }

    pub(super) fn leave(&mut self, stream: &SecretKey) {
        if let Some(urgency) = self.members.remove(stream) {
            self.lanes[urgency as usize].remove(stream);
        }
    }

    /// Removes and returns the next member for which `is_wanted` is `true`. Members before that one
    /// are dropped.
    pub(super) fn next(
        &mut self,
        mut is_wanted: impl FnMut(&SecretKey) -> bool,
    ) -> Option<SecretKey> {
        while let Some(stream) = self.lanes.iter_mut().find_map(RoundRobin::pop) {
            self.members.remove(&stream);
            if is_wanted(&stream) {
                return Some(stream);
            }
        }
        None
    }

    pub(super) fn has(&self, stream: &SecretKey) -> bool {
        self.members.contains_key(stream)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Number of members ahead of `stream`, if `stream` is a member.
    pub(super) fn ahead_of(&self, stream: &SecretKey) -> Option<u32> {
        let urgency = *self.members.get(stream)?;
        let before = URGENCIES.into_iter().take_while(|other| *other < urgency);
        let before: usize = before.map(|other| self.lanes[other as usize].len()).sum();
        let within = self.lanes[urgency as usize].ahead_of(stream)?;
        Some(u32::try_from(before + within).unwrap_or(u32::MAX))
    }
}
