//! From events to jobs: deduplication, priorities, the fair queue, the scheduler, and the spread of
//! scans.
//!
//! Events are coalesced twice. [`dedup`] coalesces the events of one Ingress over time, and waits
//! while a request for the Ingress is in flight. [`scheduler`] coalesces the requests of many
//! Ingresses for one Secret into one job.

pub(crate) mod actor_slots;
pub mod dedup;
pub(crate) mod priority;
pub mod queue;
pub mod reconcile_key;
pub mod requeue;
pub mod scan;
pub mod scheduler;
pub(crate) mod secret_checks;
