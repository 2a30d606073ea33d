//! The operator as its users run it: the real binary, against a real etcd, kube-apiserver,
//! kube-controller-manager and Pebble, with exactly the rights of `deploy/install.yaml`.
//!
//! One test at a time: each has a control plane of its own, and the machine has few cores.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

/// Prints a figure past the capture of the test runner, so that it stands in CI's output.
macro_rules! figure {
    ($($text:tt)*) => {
        _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("figure: {}\n", format_args!($($text)*)))
    };
}

mod bad_input;
mod commands;
mod deploy;
mod failover;
mod fifty;
mod life;
mod sites;

use ingress_acme_control_plane::{Operator, OperatorOptions, World};
use tokio::sync::{Mutex, MutexGuard};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Waits for the tests before this one.
async fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// Starts the operator of this build.
async fn operator(world: &World) -> Operator {
    operator_with(world, &[]).await
}

/// Starts the operator of this build with further flags.
async fn operator_with(world: &World, args: &[&str]) -> Operator {
    let options =
        OperatorOptions::new(env!("CARGO_BIN_EXE_ingress-acme")).args(args.iter().copied());
    world.start_operator(options).await.expect("the operator starts")
}
