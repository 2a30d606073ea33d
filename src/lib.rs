//! ingress-acme talks to the world here: one adapter per outside system, behind the ports of
//! [`ingress_acme_actors`], which decides.
//!
//! # Layout
//! - The process: [`cli`], [`logging`], [`assembly`] (the composition root), [`lifecycle`], [`clock`].
//! - Kubernetes: [`cluster`] (the client), [`ingresses`], [`tls_secrets`], [`solver_ingresses`], [`event_recorder`],
//!   [`account_secret`], [`segments`] (the journal), [`lease`].
//! - The CA: [`acme`]. Keys and chains: [`keys`]. The way to a host: [`probe`].
//! - HTTP of our own: [`solver`] answers challenges, [`admin`] tells how it goes, [`process_metrics`] what the process takes.
//! - The other commands: [`status`]; [`revoke`] and [`rollover`], which ask first ([`consent`]); with the cargo feature `sim` also `demo` and `storm`.

pub mod account_secret;
pub mod acme;
pub mod admin;
pub mod assembly;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod consent;
#[cfg(feature = "sim")]
pub mod demo;
pub mod events;
pub mod fallback_account;
pub mod ingresses;
pub mod keys;
pub mod lease;
pub mod lifecycle;
pub mod logging;
pub mod probe;
pub mod process_metrics;
pub mod revoke;
pub mod rollover;
pub mod segments;
pub mod solver;
pub mod solver_ingresses;
pub mod status;
#[cfg(feature = "sim")]
pub mod storm;
pub mod tls_secrets;

/// The release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What every request of ours carries as `User-Agent` (RFC 8555 §6.1 asks for one; audit logs are read by it).
pub const USER_AGENT: &str = concat!("ingress-acme/", env!("CARGO_PKG_VERSION"));
