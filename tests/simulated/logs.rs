//! The log of a real operator process: one line of JSON for each event, and a filter that changes
//! at run time.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use ingress_acme::commands::storm::Simulated;
use ingress_acme_sim::ca::Options as CaOptions;
use ingress_acme_sim::{Options, World};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::commands::{command, output, text};
use crate::opted_in::{create, secret};
use crate::{OPERATOR, alone, eventually, plan, simulated, stormed};

/// All lines of the log, each of which must be one JSON object.
fn lines(simulated: &Simulated) -> Vec<Value> {
    let log = std::fs::read_to_string(simulated.log_path()).unwrap();
    let lines = log.lines().map(|line| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the line {line}"))
    });
    lines.collect()
}

/// Texts of a field in the lines with this message, by Ingress.
fn by_ingress(lines: &[Value], message: &str, field: &str) -> BTreeMap<String, String> {
    let found = lines.iter().filter(|line| line["message"] == message);
    let text = |line: &Value, field: &str| line[field].as_str().map(str::to_owned);
    found
        .map(|line| {
            let (ingress, text) = (text(line, "ingress"), text(line, field));
            ingress.zip(text).unwrap_or_else(|| panic!("no Ingress or no {field} in {line}"))
        })
        .collect()
}

/// Lines of the log that the command of docs/operations.md selects; `None` where there is no jq.
async fn selected(simulated: &Simulated, ingress: &str) -> Option<String> {
    let page = include_str!("../../docs/operations.md");
    let (_, logs) = page.split_once("### Logs").unwrap();
    let (_, program) = logs.split_once("jq -c '").unwrap();
    let (program, _) = program.split_once('\'').unwrap();
    let program = program.replace("web/shop-tls", ingress).replace("web/shop", ingress);
    let mut jq = tokio::process::Command::new("jq");
    let jq = jq.arg("-c").arg(program).arg(simulated.log_path()).output().await;
    let Ok(selected) = jq else {
        eprintln!("jq is not installed, so the command of operations.md is not run");
        return None;
    };
    assert!(selected.status.success(), "{}", text(&selected.stderr));
    Some(text(&selected.stdout))
}

#[actix::test]
async fn each_line_of_an_issuance_has_its_ingress_secret_order_and_attempt() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    assert_eq!(stormed(&simulated, &plan(40, 0)).await.right, 40);
    let lines = lines(&simulated);
    for line in &lines {
        let times = line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>();
        assert!(times.is_ok() && line["level"].is_string() && line["target"].is_string(), "{line}");
        assert!(line["message"].is_string(), "{line}");
    }
    let opened = by_ingress(&lines, "order opened", "order");
    assert_eq!(opened.len(), 40);
    assert_eq!(by_ingress(&lines, "certificate installed", "order"), opened);
    // The Secret of a storm's Ingress has its name.
    assert!(by_ingress(&lines, "certificate installed", "secret").iter().all(|(a, b)| a == b));
    let in_jobs = lines.iter().filter(|line| line.get("ingress").is_some());
    for line in in_jobs {
        assert_eq!((&line["attempt"], &line["secret"]), (&json!(1), &line["ingress"]), "{line}");
        assert!(line.get("outcome").is_none() && line.get("step").is_none(), "{line}");
    }
    let (ingress, order) = opened.first_key_value().unwrap();
    if let Some(selected) = selected(&simulated, ingress).await {
        let orders = selected.lines().filter(|line| line.contains("\"order opened\""));
        assert!(orders.clone().all(|line| line.contains(order)));
        assert_eq!(orders.count(), 1);
    }
    assert!(simulated.end().await.unwrap().success());
}

#[actix::test]
async fn text_of_others_stays_in_its_line() {
    let _alone = alone().await;
    let ca = CaOptions { remote_networks: 5, ..CaOptions::default() };
    let world = World::start(Options { ca, ..Options::default() }).unwrap();
    for network in 1..=2 {
        world.ca().block_network(network, Some("one.example.com"));
    }
    // Read by the watch as a class, by the planner as an unknown value, and shown by both.
    let hostile = "x\n{\"level\":\"ERROR\"}\r\u{1b}[2J\u{9b}31m\u{202e}\"";
    let annotations = json!({"ingress-acme.dev/solver-place": hostile, "ingress-acme.dev/key-algorithm": hostile});
    let simulated = Simulated::start_in(world, &[], Path::new(OPERATOR)).await.unwrap();
    let client = simulated.target().unwrap().client;
    create(&client, "one", "one.example.com", annotations).await;
    create(&client, "two", "two.example.com", json!({"ingress-acme.dev/renew": hostile})).await;
    eventually("a certificate", async || secret(&client, "two-tls").await.is_some()).await;
    let events: Api<Event> = Api::namespaced(client.clone(), "web");
    eventually("an Event about the first one", async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        events.items.iter().any(|event| event.involved_object.name.as_deref() == Some("one"))
    })
    .await;
    let all = lines(&simulated);
    assert!(by_ingress(&all, "certificate installed", "secret").contains_key("web/two"));
    let log = std::fs::read_to_string(simulated.log_path()).unwrap();
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!log.chars().any(steers));
    assert!(simulated.end().await.unwrap().success());
}

async fn log_level(simulated: &Simulated, args: &[&str]) -> Output {
    let address = simulated.metrics_url().replace("http://", "").replace("/metrics", "");
    let mut command = command(&["log-level", "--admin-bind", &address]);
    command.args(args).env_remove("KUBECONFIG");
    output(command).await
}

#[actix::test]
async fn the_level_is_shown_changed_for_a_while_and_put_back() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let client = simulated.target().unwrap().client;
    let first = "info,actix_server=warn,actix_http=off\n";
    assert_eq!(text(&log_level(&simulated, &[]).await.stdout), first);
    let has_debug = || lines(&simulated).iter().any(|line| line["level"] == "DEBUG");
    create(&client, "one", "one.example.com", json!({})).await;
    eventually("a certificate", async || secret(&client, "one-tls").await.is_some()).await;
    assert!(!has_debug());

    let refused = log_level(&simulated, &["verbose"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("`verbose` is no log filter"), "{refused:?}");
    assert_eq!(text(&log_level(&simulated, &[]).await.stdout), first);

    let changed = log_level(&simulated, &["debug", "--for", "1h"]).await;
    assert!(changed.status.success(), "{changed:?}");
    assert!(text(&changed.stdout).contains("ingress_acme=debug (for "), "{changed:?}");
    create(&client, "two", "two.example.com", json!({})).await;
    eventually("a line about a step of the second one", async || {
        let all = lines(&simulated);
        all.iter().any(|line| line["level"] == "DEBUG" && line["ingress"] == "web/two")
    })
    .await;
    eventually("a certificate", async || secret(&client, "two-tls").await.is_some()).await;

    // All lines of one Ingress.
    let of_one = "info,[issuance{ingress=web/three}]=debug";
    assert!(log_level(&simulated, &[of_one]).await.status.success());
    for (name, host) in [("three", "three.example.com"), ("four", "four.example.com")] {
        create(&client, name, host, json!({})).await;
        let of_it = format!("{name}-tls");
        eventually("a certificate", async || secret(&client, &of_it).await.is_some()).await;
    }
    let debugs = |ingress: &str| {
        let all = lines(&simulated);
        all.iter().filter(|line| line["level"] == "DEBUG" && line["ingress"] == ingress).count()
    };
    assert!(debugs("web/three") > 0);
    assert_eq!(debugs("web/four"), 0);

    assert_eq!(text(&log_level(&simulated, &["default"]).await.stdout), first);
    let said = lines(&simulated);
    assert!(said.iter().any(|line| line["message"] == "the log filter of the start is back"));
    // By itself, after its time.
    log_level(&simulated, &["warn", "--for", "1s"]).await;
    eventually("the filter of the start", async || {
        text(&log_level(&simulated, &[]).await.stdout) == first
    })
    .await;
    assert!(simulated.end().await.unwrap().success());
}

#[actix::test]
async fn a_port_without_an_operator_is_an_error_that_says_where_to_run_the_command() {
    let address = ingress_acme_sim::free_address().unwrap().to_string();
    let refused = output(command(&["log-level", "--admin-bind", &address])).await;
    assert_eq!(refused.status.code(), Some(1));
    let why = text(&refused.stderr);
    assert!(
        why.contains("no operator answers") && why.contains("kubectl -n ingress-acme exec"),
        "{why}"
    );
}
