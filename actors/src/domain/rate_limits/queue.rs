//! The line before a rate limit: by urgency, and within one urgency round robin over namespaces.

use std::collections::HashMap;

use crate::domain::ingress::SecretKey;
use crate::domain::scheduling::priority::{Priority, URGENCIES, Urgency};
use crate::domain::scheduling::queue::RoundRobin;
use crate::domain::time::Timestamp;

/// The line itself.
#[derive(Debug, Default)]
pub(super) struct LimitQueue {
    lanes: [RoundRobin; 3],
    /// Who is in it, and in which lane.
    members: HashMap<SecretKey, Urgency>,
}

impl LimitQueue {
    /// Joins at the end of its namespace's part; `false` when it is there already.
    pub(super) fn enqueue(
        &mut self,
        stream: &SecretKey,
        priority: Priority,
        now: Timestamp,
    ) -> bool {
        let Priority { urgency, by } = priority;
        match self.members.get(stream) {
            Some(joined) if *joined <= urgency => return false,
            Some(_) => self.leave(stream), // it has become more urgent
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

    /// The next one that is wanted. Those before it that nobody wants any more are gone from the queue.
    pub(super) fn next(&mut self, is_wanted: impl Fn(&SecretKey) -> bool) -> Option<SecretKey> {
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

    /// How many have their turn before it, if it is in queue.
    pub(super) fn ahead_of(&self, stream: &SecretKey) -> Option<u32> {
        let urgency = *self.members.get(stream)?;
        let before = URGENCIES.into_iter().take_while(|other| *other < urgency);
        let before: usize = before.map(|other| self.lanes[other as usize].len()).sum();
        let within = self.lanes[urgency as usize].ahead_of(stream)?;
        Some(u32::try_from(before + within).unwrap_or(u32::MAX))
    }
}
