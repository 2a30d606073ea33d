//! Resumption of the jobs that waited while new orders were stopped.

use super::Scheduler;
use super::scheduled_job::JobPhase;
use crate::domain::ingress::SecretKey;
use crate::domain::scheduling::queue::Lane;
use crate::domain::time::Timestamp;

impl Scheduler {
    /// Queues the jobs that waited while new orders were stopped, each in the lane of its most
    /// urgent request, those that came first before others. They probe their hosts again.
    pub(crate) fn resume(&mut self, now: Timestamp) {
        let since = |stream: &SecretKey| self.jobs.get(stream).map(|entry| entry.since);
        let mut stopped: Vec<SecretKey> = self.stopped.drain().collect();
        stopped.sort_by_cached_key(|stream| (since(stream), stream.clone()));
        for stream in stopped {
            let Some(entry) = self.jobs.get_mut(&stream) else { continue };
            let lane = entry.lane;
            match std::mem::replace(&mut entry.phase, JobPhase::Running) {
                JobPhase::Parked { mut job, until } => {
                    job.observed.forget_reach();
                    entry.phase = JobPhase::Queued(job);
                    self.parked.remove(&stream, until);
                }
                other => {
                    entry.phase = other;
                    continue;
                }
            }
            if !self.queue.push(stream.clone(), lane, now) {
                let taken = self.queue.push(stream, Lane::Again, now);
                debug_assert!(taken, "only new work is refused");
            }
        }
    }
}
