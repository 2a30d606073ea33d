//! Pure rules: no runtime, no clock, no randomness. Time and identifiers are arguments.
//!
//! # Folders
//! - [`desired`]: from Ingresses to desired certificates.
//! - [`validity`]: whether a certificate is good, and when to renew it.
//! - [`scheduling`]: from events to jobs, in a fair order.
//! - [`issuance`]: the event-sourced state machine of one certificate.
//! - [`rate_limits`]: the CA's limits, and the orders that wait for them.
//! - [`log`]: the journal's segments, and the records that a snapshot keeps.
//! - [`status`]: Kubernetes Events and the status of a certificate.
//! - [`routes`]: the solver Ingresses that lead challenges to the operator.
//!
//! # Vocabulary
//! [`certificate`], [`failure`], [`hash`], [`ingress`], [`limits`], [`name`], [`time`] and [`top_k`] import none of the
//! folders.

pub mod certificate;
pub mod desired;
pub mod failure;
pub mod hash;
pub mod ingress;
pub mod issuance;
pub mod limits;
pub mod log;
pub mod name;
pub mod rate_limits;
pub mod routes;
pub mod scheduling;
pub mod status;
pub mod time;
pub mod top_k;
pub mod validity;
