//! A stream at the scheduler.

use super::job::Job;
use super::tickets::Ticket;
use crate::domain::scheduling::queue::Lane;
use crate::domain::time::Timestamp;

/// A stream that somebody waits for.
#[derive(Debug)]
pub(super) struct ScheduledJob {
    pub(super) phase: JobPhase,
    pub(super) waiting: Vec<Ticket>,
    /// It was asked for again while a worker was on it: look once more before it is over.
    pub(super) again: bool,
    pub(super) since: Timestamp,
    /// In which it came.
    pub(super) lane: Lane,
}

/// Where its job is.
#[derive(Debug)]
pub(super) enum JobPhase {
    Queued(Box<Job>),
    Running,
    Parked { job: Box<Job>, until: Timestamp },
}
