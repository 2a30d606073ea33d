//! The simulated world: what an operator for Ingress certificates meets, in one process, over real sockets on
//! loopback.
//!
//! For load tests, the demo and faults on demand. It is held to reality by `tests/conformance`, which asserts the
//! same behaviours of these servers and of the real ones; what that suite does not ask for is not here.
//!
//! # Layout
//! - [`World`]: one of everything, started in order and ended when dropped.
//! - [`kube`]: the Kubernetes API server. [`ca`]: the ACME CA. [`gateway`]: plays the ingress controller.
//!   [`dns`]: resolves every name to loopback.
//! - [`clock`]: the world's time, which can be moved ahead. [`faults`]: what goes wrong, by chance that repeats.
//! - [`pki`], `serving`: TLS of the servers, and the threads they run in. [`trust`]: what a client would make of a
//!   certificate.

pub mod ca;
pub mod clock;
pub mod dns;
pub mod faults;
pub mod gateway;
pub mod kube;
pub mod pki;
mod serving;
pub mod trust;
mod world;

pub use world::{Options, World, free_address};

/// Why a part of the world did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being done, such as `listen on 127.0.0.1:80`.
        what: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// A key or certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS refuses the configuration.
    #[error("cannot configure TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// An HTTP client could not be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

impl SimError {
    /// An error of the operating system, met while doing `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}
