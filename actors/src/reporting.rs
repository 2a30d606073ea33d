//! Reporting: metrics for Prometheus, the state for the admin port, and Kubernetes Events that are
//! recorded once per problem.

pub(crate) mod event_dedup;
pub(crate) mod event_repeater;
pub(crate) mod lasting;
pub mod metrics;
pub mod reporter;
