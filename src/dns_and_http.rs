//! DNS and HTTP: the reachability probe, the challenge solver, DNS as the CA sees it, and the ports
//! for health, metrics and administration.

pub mod admin;
pub mod challenge_dns;
pub mod listeners;
pub mod probe;
mod resolver;
mod server;
pub mod solver;

pub use server::any_address;

/// Time for open requests of a server to complete after the drain begins. With the servers, the
/// drain, queued Events and the Lease must end within the 60 s that the pod has.
const SHUTDOWN_SECS: u64 = 5;
