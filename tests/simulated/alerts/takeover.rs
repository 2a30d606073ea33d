//! Faults of the journal, of the Lease, of the replicas themselves, and of their watch.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Alerts, Site};
use crate::{OPERATOR, PATIENCE};

const JOB: &str = "other";
/// Segments before the snapshot, more than the 200 of the alert.
const OBSOLETE: u64 = 250;

/// A segment of the journal as its Secret.
fn segment(number: u64, schema: u32, kind: &Value) -> Value {
    let segment =
        json!({"schema": schema, "writer": "an earlier one", "kind": kind, "records": []});
    let labels =
        json!({"app.kubernetes.io/managed-by": "ingress-acme", "ingress-acme.dev/journal": "1"});
    json!({
        "apiVersion": "v1", "kind": "Secret", "immutable": true, "type": "Opaque",
        "metadata": {
            "namespace": "ingress-acme", "name": format!("ingress-acme-journal-{number:012}"), "labels": labels,
        },
        "data": {"segment.json": STANDARD.encode(segment.to_string())},
    })
}

/// The journal has old segments, a snapshot, and a segment of a release to come.
fn load_journal(site: &Site) -> Value {
    let api = site.world.api();
    for number in 1..=OBSOLETE {
        api.load(segment(number, 3, &json!("batch"))).unwrap();
    }
    let snapshot = json!({"snapshot": {"part": 1, "of": 1}});
    api.load(segment(OBSOLETE + 1, 3, &snapshot)).unwrap();
    let unreadable = segment(OBSOLETE + 2, 99, &json!("batch"));
    api.load(unreadable.clone()).unwrap();
    unreadable
}

/// Starts the program as a replica: it restarts itself, which a thread of this process cannot.
fn replica(site: &Site) -> Child {
    let binds = ["admin", "metrics", "health"].map(|port| format!("--{port}-bind={}", site.admin));
    let mut command = Command::new(OPERATOR);
    command.arg("run").args(site.world.operator_flags()).args(binds);
    command.args(["--solver-bind=127.0.0.1:0", "--solver-linger=0s"]);
    command.env("KUBECONFIG", site.world.operator_kubeconfig()).env("POD_NAME", "replica");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().unwrap()
}

async fn end(mut replica: Child) {
    let pid = replica.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    kill_process(pid.unwrap(), Signal::TERM).unwrap();
    let ended = timeout(PATIENCE, replica.wait()).await.expect("it ends").unwrap();
    assert!(ended.success(), "{ended}");
}

pub(super) async fn of_leaders_and_the_journal(site: &Site, second: SocketAddr, alerts: &Alerts) {
    let unreadable = load_journal(site);
    site.world.api().forbid("deletecollection", "secrets", true);
    let first = replica(site);
    alerts.fires("IngressAcmeJournalUnreadable", JOB).await;
    alerts.fires("IngressAcmeNoLeader", JOB).await;
    site.world.api().unload(&unreadable);
    alerts.clears("IngressAcmeNoLeader", JOB).await;
    alerts.clears("IngressAcmeJournalUnreadable", JOB).await;
    alerts.fires("IngressAcmeJournalGrows", JOB).await;
    site.world.api().forbid("deletecollection", "secrets", false);
    end(first).await;
    let next = replica(site);
    alerts.clears("IngressAcmeJournalGrows", JOB).await;
    two_leaders(second, alerts).await;
    the_watch_is_forbidden(site, alerts).await;
    end(next).await;
}

/// A second operator that takes itself for a replica of the first, with a Lease of its own.
async fn two_leaders(address: SocketAddr, alerts: &Alerts) {
    alerts.are_quiet(&["IngressAcmeTwoLeaders"], JOB).await;
    let mut site = Site { admin: address, ..Site::new(Duration::ZERO) };
    site.start();
    alerts.fires("IngressAcmeTwoLeaders", JOB).await;
    site.end().await;
    alerts.clears("IngressAcmeTwoLeaders", JOB).await;
}

/// The operator loses its right to watch, and gets it back.
async fn the_watch_is_forbidden(site: &Site, alerts: &Alerts) {
    let api = site.world.api();
    for verb in ["list", "watch"] {
        api.forbid(verb, "ingresses", true);
    }
    api.cut_watches();
    alerts.fires("IngressAcmeWatchFails", JOB).await;
    for verb in ["list", "watch"] {
        api.forbid(verb, "ingresses", false);
    }
    alerts.clears("IngressAcmeWatchFails", JOB).await;
}
