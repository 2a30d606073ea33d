//! A job in the scheduler.

use super::job::Job;
use super::tickets::Ticket;
use crate::domain::scheduling::queue::Lane;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::time::Timestamp;

/// A job with at least one waiting request.
#[derive(Debug)]
pub(super) struct ScheduledJob {
    pub(super) phase: JobPhase,
    pub(super) waiting: Vec<Ticket>,
    /// Whether the Secret was requested again while its job was running: the job runs once more.
    pub(super) again: bool,
    /// Whether the job has begun and waits for its hosts.
    pub(super) between_probes: bool,
    pub(super) since: Timestamp,
    /// Lane of the most urgent request so far.
    pub(super) lane: Lane,
}

/// Phase of a job.
#[derive(Debug)]
pub(super) enum JobPhase {
    /// Queued, with nothing observed yet. Such a job is small, because there may be many.
    New(ReconcileKey),
    Queued(Box<Job>),
    Running,
    Parked {
        job: Box<Job>,
        until: Timestamp,
    },
}
