//! Simulated environment of an operator for Ingress certificates, in one process, over real sockets
//! on loopback.
//!
//! The simulation is used by load tests, the demo and tests with injected faults.
//! `tests/conformance` asserts the same behaviour of these servers and of the real ones; behaviour
//! that suite does not cover is not simulated.
//!
//! # Layout
//! - [`World`]: one of each server, started in order and stopped when dropped.
//! - [`kube`]: the Kubernetes API server. [`ca`]: the ACME CA. [`gateway`]: the ingress controller.
//!   [`dns`]: resolves every name to loopback.
//! - [`clock`]: the simulated time, which can be advanced. [`faults`]: reproducible random faults.
//! - [`exchange`]: requests and responses apart from the transport; [`direct`]: the same servers
//!   without sockets, on tokio's clock.
//! - [`pki`], `serving`: TLS and threads of the servers. [`trust`]: certificate verification as by
//!   a TLS client.

pub mod ca;
pub mod clock;
pub mod direct;
pub mod dns;
pub mod exchange;
pub mod faults;
pub mod gateway;
pub mod kube;
pub mod pki;
mod serving;
pub mod trust;
mod world;

pub use world::{Options, World, free_address};

/// Reason why a server or file of the simulation could not be created.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The operating system returned an error.
    #[error("cannot {what}: {source}")]
    Io {
        /// Failed action, such as `listen on 127.0.0.1:80`.
        what: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A key or certificate could not be created.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS rejected the configuration.
    #[error("cannot configure TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// An HTTP client could not be created.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

impl SimError {
    /// Wraps an operating system error that occurred during `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}
