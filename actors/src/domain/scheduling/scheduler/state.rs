//! State of the scheduler, as metrics and the state dump show it.

use super::scheduled_job::JobPhase;
use super::{Load, Scheduler};
use crate::domain::ingress::SecretKey;
use crate::domain::time::Timestamp;

impl Scheduler {
    /// Number of jobs in each phase.
    pub(crate) fn load(&self) -> Load {
        let (queued, parked) = (self.queue.len(), self.parked.len());
        Load { queued, running: self.running.total(), parked }
    }

    /// Arrival time of the job that has waited longest for a slot.
    pub(crate) fn oldest_queued(&self) -> Option<Timestamp> {
        self.queue.oldest()
    }

    /// All Secrets with the phase of their job and the time of the first request, for the state
    /// dump.
    pub(crate) fn describe(&self) -> impl Iterator<Item = (&SecretKey, &'static str, Timestamp)> {
        self.jobs.iter().map(|(stream, entry)| {
            let phase = match entry.phase {
                JobPhase::New(_) | JobPhase::Queued(_) => "queued",
                JobPhase::Running => "running",
                JobPhase::Parked { .. } => "parked",
            };
            (stream, phase, entry.since)
        })
    }
}
