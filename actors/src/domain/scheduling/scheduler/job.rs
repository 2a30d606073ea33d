//! What goes over the scheduler: runs, and how they come back.

use crate::domain::ingress::SecretKey;
use crate::domain::issuance::Observed;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;

/// One stream's way through the pool, with what it has learned.
#[derive(Clone, Debug)]
pub struct Job {
    /// The stream.
    pub stream: SecretKey,
    /// The key that requested the job first; logs carry it.
    pub requested_by: ReconcileKey,
    /// Knowledge that survives parking.
    pub observed: Observed,
    /// Steps taken so far.
    pub steps: u32,
    /// When it last got its slot.
    pub(super) slot_since: Timestamp,
}

/// How a worker gives a job back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobStatus {
    /// It is over.
    Finished(Requeue),
    /// It has nothing to do until then; `at_ca` when the CA is at work for it.
    Parked {
        /// When to go on.
        until: Timestamp,
        /// The CA is at work.
        at_ca: bool,
    },
}

/// What the scheduler holds, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Streams that wait for a slot.
    pub queued: usize,
    /// Streams a worker is on.
    pub running: usize,
    /// Streams that wait for the CA, a route or a pause.
    pub parked: usize,
}
