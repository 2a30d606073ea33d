//! The operator as its own process on the simulated world: storms, faults, and the commands that
//! need that world. Counts are exact; times are only deadlines.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod account;
mod alerts;
mod ca_of_2029;
mod caa;
mod commands;
mod controllers;
mod demo;
mod dns;
mod faults;
mod logs;
mod no_harm;
mod opted_in;
mod page;
mod prometheus;
mod rehearsal;
mod rollout;
mod soak;
mod socket_seeds;
mod storms;
#[cfg(feature = "otlp")]
mod traces;
mod users;

use std::path::Path;
use std::time::Duration;

use ingress_acme::commands::storm::figures::Figures;
use ingress_acme::commands::storm::plan::Plan;
use ingress_acme::commands::storm::{LoadOptions, Simulated, storm};
use ingress_acme_sim::kube::User;
use ingress_acme_sim::{Options, World};
use tokio::sync::{Mutex, MutexGuard};

/// The program under test.
const OPERATOR: &str = env!("CARGO_BIN_EXE_ingress-acme");
const PATIENCE: Duration = Duration::from_mins(3);

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Waits for the other tests to finish, since the machine has few cores.
async fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

async fn simulated(options: Options) -> Simulated {
    simulated_with(options, &[]).await
}

async fn simulated_with(options: Options, flags: &[String]) -> Simulated {
    Simulated::start_with(options, flags, Path::new(OPERATOR)).await.unwrap()
}

fn plan(ingresses: u32, edits: u32) -> Plan {
    Plan {
        run: "test".into(),
        ingresses,
        edits,
        namespaces: 3,
        names: 2,
        domain: "example.com".into(),
        class: None,
        spec_tls: true,
    }
}

async fn stormed(simulated: &Simulated, plan: &Plan) -> Figures {
    let options = LoadOptions { rate: None, deadline: PATIENCE, quiet: true };
    Figures::of(&storm(&simulated.target().unwrap(), plan, &options).await.unwrap())
}

/// Number of the operator's requests that the API server has answered.
fn audited(world: &World) -> u64 {
    let audit = world.api().audit().into_iter();
    audit.filter(|of| of.user == User::Operator).map(|of| of.count).sum()
}

/// Polls until `is_so` holds; panics after [`PATIENCE`].
async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let so = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, so).await.unwrap_or_else(|_| panic!("never: {what}"));
}
