//! Reports: metrics for Prometheus, state for the admin port, Events that are recorded once per problem.

pub mod event_dedup;
pub mod metrics;
pub mod reporter;
