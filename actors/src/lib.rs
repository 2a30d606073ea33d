//! What decides in ingress-acme, and the thin actors around it.
//!
//! This crate names neither a Kubernetes client nor ACME: it asks the world through [`ports`].
//!
//! # Layout
//! - [`domain`]: pure rules; time and randomness are arguments.
//! - [`ports`]: what the world must be able to do, one small trait per outside system.

pub mod domain;
pub mod ports;
