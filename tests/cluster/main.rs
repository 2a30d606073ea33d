//! The operator as in production: the real binary against a real etcd, kube-apiserver,
//! kube-controller-manager and Pebble, with exactly the rights of `deploy/install.yaml`.
//!
//! Tests run one at a time, since each has its own control plane and the machine has few cores.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

/// Prints a figure directly to stderr, past the test runner's capture, so that CI's output shows
/// the figure.
macro_rules! figure {
    ($($text:tt)*) => {
        _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("figure: {}\n", format_args!($($text)*)))
    };
}

mod account;
mod bad_input;
mod commands;
mod deploy;
mod dns01;
mod doctor;
mod documented;
#[path = "../documents/mod.rs"]
mod documents;
mod dry_run;
mod edits;
mod failover;
mod fifty;
mod image;
mod ingresses;
mod installs;
mod ipv6;
mod life;
mod load_balancer;
mod manifests;
mod migration;
mod new_orders;
mod one_namespace;
mod openshift;
mod overlays;
mod places;
mod plugin;
mod proxy;
mod restore;
mod rollback;
mod runbook;
mod several_cas;
mod sites;
mod worst_tenant;

use ingress_acme_control_plane::{Operator, OperatorOptions, World};
use tokio::sync::{Mutex, MutexGuard};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Waits for the other tests to finish.
async fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// Starts this build's operator.
async fn operator(world: &World) -> Operator {
    operator_with(world, &[]).await
}

/// Starts this build's operator with further flags.
async fn operator_with(world: &World, args: &[&str]) -> Operator {
    let options =
        OperatorOptions::new(env!("CARGO_BIN_EXE_ingress-acme")).args(args.iter().copied());
    world.start_operator(options).await.expect("the operator starts")
}
