//! A real Kubernetes control plane, a real ACME CA and a real DNS server on
//! free loopback ports, for the tests and the `demo` command of ingress-acme.
//!
//! One [`World`] is one of everything: etcd, kube-apiserver,
//! kube-controller-manager (garbage collector and namespaces only), Pebble,
//! pebble-challtestsrv and an ingress gateway. Worlds share nothing but the
//! built binaries, so tests may run side by side, memory permitting.
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
//! - [`World`]: starts everything in order, and ends it when dropped.
//! - [`Operator`]: the program under test, run against a world.
//! - `gateway`: plays the ingress controller; the only way for the CA to
//!   reach the operator's solver is a route the operator really made.
//! - `pebble`, `kubernetes`, `dns`: how each server is configured and asked.
//! - `process`, `ports`, `directory`, `binaries`, `pki`: what each server
//!   needs from the machine.
//! - [`eventually`], [`retry_when_wedged`]: how tests wait and start over.
//!
//! # What ends the processes
//!
//! Dropping the [`World`]; and, should this process be killed outright, the
//! end of the pipe each child's shell reads (see `process`).

mod audit;
mod binaries;
mod directory;
mod dns;
mod error;
mod eventually;
mod kubernetes;
mod manifest;
mod operator;
mod pebble;
mod ports;
mod process;
mod retry;
mod world;

pub use audit::AuditEntry;
pub use error::{ApplyError, OperatorError, StartError};
pub use eventually::eventually;
pub use manifest::{apply_yaml, solver_route};
pub use operator::{Operator, OperatorOptions};
pub use retry::{Outcome, retry_when_wedged, retry_when_wedged_with};
pub use world::{Options, World};
