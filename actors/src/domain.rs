//! Pure rules: no runtime, no clock, no randomness. Time and identifiers are arguments.
//!
//! # Folders
//! - [`desired`]: from Ingresses to desired certificates.
//! - [`validity`]: checks a certificate and computes its renewal time.
//! - [`scheduling`]: from events to jobs, in a fair order.
//! - [`issuance`]: the event-sourced state machine of one certificate.
//! - [`cas`]: the CAs, and the choice of one for each certificate.
//! - [`rate_limits`]: the CA's rate limits, and the orders queued behind them.
//! - [`log`]: the journal's segments, and the records that a snapshot keeps.
//! - [`status`]: Kubernetes Events and the status of a certificate.
//! - [`routes`]: the solver Ingresses that route challenges to the operator.
//! - [`dns`]: challenges that are answered in DNS.
//! - [`doctor`]: findings about an install.
//!
//! # Vocabulary
//! [`address`], [`aliases`], [`by_namespace`], [`certificate`], [`challenge`], [`copied`], [`cut`], `fair_share`,
//! [`failure`], [`hash`], [`ingress`], [`limits`], [`marks`], [`mode`], [`name`], [`new_orders`],
//! [`public_name`], [`rule_host`], [`time`] and [`top_k`] are shared by the folders.
//! [`clock_filter`] is for the adapter of the clock.

pub mod address;
pub mod aliases;
pub mod by_namespace;
pub mod caa;
pub mod cas;
pub mod certificate;
pub mod challenge;
pub mod clock_filter;
pub mod controllers;
pub mod copied;
pub mod cut;
pub mod desired;
pub mod dns;
pub mod doctor;
pub mod failure;
pub(crate) mod fair_share;
pub mod hash;
pub mod ingress;
pub mod issuance;
pub mod limits;
pub mod log;
pub mod marks;
pub mod mode;
pub mod name;
pub mod new_orders;
pub mod public_name;
pub mod rate_limits;
pub mod routes;
pub mod rule_host;
pub mod said;
pub mod scheduling;
pub mod solver_place;
pub mod status;
pub mod time;
pub mod top_k;
pub mod validity;
