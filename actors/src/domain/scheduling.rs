//! From events to jobs: deduplication, priorities, the fair queue, the scheduler, and the spread of scans.
//!
//! Two coalescers follow each other. [`dedup`] coalesces the events of one Ingress over time, and holds back while a
//! request for the Ingress is in flight. [`scheduler`] coalesces requests of many Ingresses for one Secret: they share
//! one job.

pub mod dedup;
pub mod priority;
pub mod queue;
pub mod reconcile_key;
pub mod requeue;
pub mod scan;
pub mod scheduler;
