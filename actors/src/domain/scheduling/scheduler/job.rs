//! Jobs, and the status with which a worker returns one.

use crate::domain::ingress::SecretKey;
use crate::domain::issuance::Observed;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;

/// The way of one Secret through the pool, with the observations so far.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The Secret.
    pub stream: SecretKey,
    /// The key that requested the job first; logs carry it.
    pub requested_by: ReconcileKey,
    /// Knowledge that survives parking.
    pub observed: Observed,
    /// Steps taken so far.
    pub steps: u32,
    /// Time at which the job last received a slot.
    pub(super) slot_since: Timestamp,
}

impl Job {
    /// Creates a job without a slot.
    pub(super) fn new(stream: &SecretKey, requested_by: ReconcileKey) -> Self {
        let (observed, slot_since) = (Observed::default(), Timestamp::default());
        Self { stream: stream.clone(), requested_by, observed, steps: 0, slot_since }
    }
}

/// Status with which a worker returns a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum JobStatus {
    /// The job has ended.
    Finished(Requeue),
    /// The job waits.
    Parked {
        /// Time at which the job continues.
        until: Timestamp,
        /// What the job waits for.
        waits_for: WaitsFor,
    },
}

/// What a parked job waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WaitsFor {
    /// The CA, which is working on the order. The job keeps its slot.
    Ca,
    /// A host that the next probe may reach, or a port that failed, before there is an order.
    Host,
    /// Orders of other Secrets: in the queue of a rate limit, or for the same names.
    Others,
    /// The user, who has stopped new orders.
    NewOrders,
}

/// Number of jobs in each phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Secrets that wait for a slot.
    pub queued: usize,
    /// Secrets with a job at a worker.
    pub running: usize,
    /// Secrets that wait for the CA, a route or a pause.
    pub parked: usize,
}
