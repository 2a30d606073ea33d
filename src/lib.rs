//! Adapters of ingress-acme: one per external system, behind the ports of [`ingress_acme_actors`],
//! which makes all decisions.
//!
//! # Layout
//! - [`process`]: composition root, replica life cycle, clock, logging, process metrics.
//! - [`kubernetes`]: API client, Ingresses, Secrets, Events, the Lease, journal segments.
//! - [`acme`]: ACME client (RFC 8555), account, rate limits, fallback CA.
//! - [`pki`]: keys, CSRs and certificate chains.
//! - [`dns_providers`]: TXT records at DNS providers.
//! - [`dns_and_http`]: reachability probe, challenge solver, admin port.
//! - [`commands`]: command line and all commands except `run`.

pub mod acme;
pub mod commands;
pub mod dns_and_http;
pub mod dns_providers;
pub mod kubernetes;
pub mod pki;
pub mod process;

/// Version of this release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// `User-Agent` of every request. RFC 8555 §6.1 asks for one; audit logs can be filtered by this
/// value.
pub const USER_AGENT: &str =
    concat!("ingress-acme/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_HOMEPAGE"), ")");
