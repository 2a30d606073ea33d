//! `storm` as users call it.

use std::process::{Output, Stdio};

use ingress_acme_sim::Options;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;

use crate::{OPERATOR, PATIENCE, alone, eventually, simulated};

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(OPERATOR);
    command.args(args).kill_on_drop(true).stdin(Stdio::null());
    command
}

pub(crate) async fn output(mut command: Command) -> Output {
    tokio::time::timeout(2 * PATIENCE, command.output()).await.unwrap().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[actix::test]
async fn a_storm_tells_its_figures_to_programs_and_to_people() {
    let _alone = alone().await;
    let report = tempfile::NamedTempFile::new().unwrap();
    let path = report.path().to_str().unwrap();
    let args = ["storm", "--ingresses", "12", "--edits", "3", "--names", "2", "--rate", "50"];
    let args = [&args[..], &["--spec-tls", "false", "--output", "json", "--report", path]].concat();
    let output = output(command(&args)).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["right"], 12);
    assert_eq!(figures["certificates"], 12);
    assert!(figures["time_to_secret"]["p99"].as_f64().unwrap() > 0.0);
    assert!(figures["cpu_seconds"].as_f64().unwrap() > 0.0);
    assert!(figures["memory_peak"].as_u64().unwrap() > 1 << 20);
    let html = std::fs::read_to_string(report.path()).unwrap();
    assert_eq!(html.matches("<svg").count(), 4);
    assert!(!html.contains("http://") || !html.contains("src="), "it must need no other file");
}

#[actix::test]
async fn a_storm_plays_the_ca_of_2029_where_that_is_asked_for() {
    let _alone = alone().await;
    let args = ["storm", "--ingresses", "6", "--ca", "2029", "--output", "json"];
    let output = output(command(&args)).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&figures["right"], &figures["orders"]), (&Value::from(6), &Value::from(6)));
    // The certificate is there a second of the CA's clock after its order, not at once.
    assert!(figures["time_to_secret"]["p50"].as_f64().unwrap() > 1.0, "{figures}");
}

#[actix::test]
async fn a_storm_on_a_cluster_leaves_nothing_even_when_it_is_interrupted() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let metrics = simulated.metrics_url();
    let storm = |ingresses: &str| {
        let mut command = command(&["storm", "--target", "cluster", "--ingresses", ingresses]);
        command.args(["--metrics-url", &metrics, "--output", "json"]);
        command.env("KUBECONFIG", simulated.world().kubeconfig());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let whole = output(storm("10")).await;
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let figures: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!((&figures["right"], &figures["orders"]), (&Value::from(10), &Value::from(10)));

    let namespaces: Api<Namespace> = Api::all(simulated.target().unwrap().client);
    let ours = ListParams::default().labels("ingress-acme.dev/storm");
    assert_eq!(namespaces.list(&ours).await.unwrap().items.len(), 0);
    let interrupted = storm("2000").spawn().unwrap();
    eventually("the storm to begin", async || {
        !namespaces.list(&ours).await.unwrap().items.is_empty()
    })
    .await;
    let pid = Pid::from_raw(i32::try_from(interrupted.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = interrupted.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", text(&ended.stderr));
    assert_eq!(namespaces.list(&ours).await.unwrap().items.len(), 0);
    assert!(simulated.end().await.unwrap().success());
}

#[actix::test]
async fn a_storm_refuses_a_ca_that_the_world_relies_on() {
    let _alone = alone().await;
    // The operator sends its CA no request before the first order, and this test makes none.
    let flags = ["--acme-directory=https://acme-v02.api.letsencrypt.org/directory".to_owned()];
    let simulated = crate::simulated_with(Options::default(), &flags).await;
    let metrics = simulated.metrics_url();
    let mut storm = command(&["storm", "--target", "cluster", "--metrics-url", &metrics]);
    storm.env("KUBECONFIG", simulated.world().kubeconfig());
    let refused = output(storm).await;
    assert_eq!(refused.status.code(), Some(1));
    let why = text(&refused.stderr);
    assert!(why.contains("letsencrypt.org") && why.contains("--i-know"), "{why}");
    assert_eq!(simulated.world().ca().counts().orders, 0);
    assert!(simulated.end().await.unwrap().success());
}
