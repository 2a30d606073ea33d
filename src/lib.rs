//! The adapters of ingress-acme: one per outside system, behind the ports of [`ingress_acme_actors`], which decides.
//!
//! # Layout
//! - [`process`]: the composition root, the life cycle of a replica, clock, logs, process metrics.
//! - [`kubernetes`]: the API client, Ingresses, Secrets, Events, the Lease, and the journal's segments.
//! - [`acme`]: the CA (RFC 8555), its account, its rate limits, and a second CA.
//! - [`pki`]: keys, CSRs and certificate chains.
//! - [`dns_and_http`]: the probe of a host, the solver, and the admin port.
//! - [`commands`]: the command line and every command but `run`.

pub mod acme;
pub mod commands;
pub mod dns_and_http;
pub mod kubernetes;
pub mod pki;
pub mod process;

/// The release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The `User-Agent` of every request (RFC 8555 §6.1 asks for one; audit logs are filtered by it).
pub const USER_AGENT: &str = concat!("ingress-acme/", env!("CARGO_PKG_VERSION"));
