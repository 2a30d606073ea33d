//! Reporting: metrics for Prometheus, the state for the admin port, and Kubernetes Events that are
//! recorded once per problem.

pub(crate) mod event_dedup;
pub mod metrics;
pub mod reporter;
