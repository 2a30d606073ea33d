//! A real Kubernetes control plane, a real ACME CA and a real DNS server on free loopback ports,
//! for the tests and benches of ingress-acme.
//!
//! One [`World`] holds one of each: etcd, kube-apiserver, kube-controller-manager (garbage
//! collector and namespaces only), Pebble, pebble-challtestsrv and an ingress gateway. Worlds share
//! nothing but the built binaries, so tests may run side by side, memory permitting.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use ingress_acme_control_plane::{OperatorOptions, World, apply_yaml};
//!
//! let world = World::start().await?;
//! let operator = world.start_operator(OperatorOptions::new("target/debug/ingress-acme")).await?;
//! let shop = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}";
//! apply_yaml(&world.admin(), shop).await?;
//! operator.terminate().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! - [`World`]: starts all parts in order, and ends them when dropped.
//! - [`Operator`]: the program under test, run against a world.
//! - `pebble`, `kubernetes`, `dns`: configuration and requests of each server.
//! - `process`, `ports`, `directory`, `binaries`: processes, ports and files of the servers.
//! - [`Controller`]: a real ingress controller (Traefik, or Contour with Envoy) in place of the
//!   gateway.
//! - [`Bind`], [`PowerDns`]: name servers whose zones a test changes.
//! - [`in_own_network`]: a network namespace for a test.
//! - `audit`, `manifest`: the API server's audit log, and server-side apply.
//! - [`eventually()`], [`retry_when_wedged`]: waits and restarts of tests.
//!
//! The gateway and the servers' certificates come from `ingress-acme-sim`. The gateway plays the
//! ingress controller: the CA reaches the operator's solver only over a route that exists.
//!
//! # End of the processes
//!
//! Dropping the [`World`] ends all processes. If this process is killed outright, the end of the
//! pipe read by each child's shell does the same (see `process`).

mod audit;
mod binaries;
mod controllers;
mod directory;
mod dns;
mod error;
mod eventually;
mod kubernetes;
mod manifest;
mod name_servers;
mod namespace;
mod operator;
mod options;
mod pebble;
mod ports;
mod process;
mod retry;
mod setup;
mod world;

pub use audit::AuditEntry;
pub use binaries::{Part, kubectl};
pub use controllers::Controller;
pub use error::{ApplyError, OperatorError, StartError};
pub use eventually::eventually;
pub use manifest::{apply_yaml, solver_route};
pub use name_servers::{API_KEY, Bind, PowerDns, TSIG_KEY_NAME, TSIG_SECRET, installed};
pub use namespace::{ADDRESS, in_own_network};
pub use operator::{Operator, OperatorOptions};
pub use options::Options;
pub use retry::{Outcome, retry_when_wedged, retry_when_wedged_with};
pub use world::{AnotherPebble, World};
