//! Wildcard and apex pairs, both proved by DNS-01 at a provider of the simulated world, by the time
//! of as many pairs of hosts that HTTP-01 proves.

use std::time::Duration;

use anyhow::Context;
use ingress_acme::commands::storm::Simulated;
use ingress_acme_sim::kube::User;
use ingress_acme_sim::{Options, World};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::objects::{ingress, load, namespace};
use super::scaled;
use crate::real::{count, the_operator};
use crate::table::Goals;

/// Figures of one storm.
struct Pairs {
    seconds: f64,
    certificates: u64,
    /// Requests of the operator to the API server.
    requests: u64,
    /// TXT records added and removed.
    writes: (u64, u64),
}

/// Measures 500 pairs by each method.
pub(super) async fn measure(goals: &mut Goals) -> anyhow::Result<()> {
    let number = scaled(500);
    eprintln!("{number} pairs of names, by HTTP-01 and as wildcard and apex by DNS-01:");
    let (http, dns) = (storm(number, "www").await?, storm(number, "*").await?);
    eprintln!("  by HTTP-01 {:.2} s, by DNS-01 {:.2} s", http.seconds, dns.seconds);
    let (pairs, what) = (u64::from(number), format!("{number} wildcard and apex pairs"));
    goals.at_most(
        &format!("{what}: time over that of pairs by HTTP-01"),
        1.5,
        dns.seconds / http.seconds,
        " ×",
    );
    goals.exactly("  certificates", pairs, dns.certificates);
    let requests = count(dns.requests) / f64::from(number);
    goals.at_most("  API requests a certificate", 4.0, requests, "");
    goals.exactly("  TXT records added: one a name", 2 * pairs, dns.writes.0);
    goals.exactly("  TXT records removed: one a name", 2 * pairs, dns.writes.1);
    Ok(())
}

/// A storm of pairs of a domain and its name with this first label.
async fn storm(number: u32, label: &str) -> anyhow::Result<Pairs> {
    let world = World::start(Options::default())?;
    let provider = world.dns_provider()?;
    load(&world, account(&provider.url()))?;
    let simulated = Simulated::start_in(world, &[], &the_operator()).await?;
    let world = simulated.world();
    load(world, namespace("pairs"))?;
    let (before, began) = (audited(world), Instant::now());
    for number in 0..number {
        load(world, pair(number, label))?;
    }
    let issued = async {
        while world.ca().counts().certificates < u64::from(number) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(10), issued).await.context("not all are issued")?;
    let seconds = began.elapsed().as_secs_f64();
    let clean = async {
        while !world.dns().zone().all_txt().is_empty() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(5), clean).await.context("records are left")?;
    let (writes, requests) = (world.dns().zone().writes(), audited(world) - before);
    let certificates = world.ca().counts().certificates;
    simulated.end().await?;
    Ok(Pairs { seconds, certificates, requests, writes: (writes.added, writes.removed) })
}

/// The DNS account of the zone, at a provider.
fn account(endpoint: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "namespace": "ingress-acme", "name": "dns-httpreq",
            "labels": {"ingress-acme.dev/dns-account": "true"},
        },
        "stringData": {
            "provider": "httpreq", "endpoint": endpoint, "zones": "example.com",
            "namespaces": "pairs",
        },
    })
}

fn pair(number: u32, label: &str) -> Value {
    let (name, apex) = (format!("pair-{number}"), format!("d{number}.example.com"));
    let mut object = ingress("pairs", &name, &name, &[format!("{label}.{apex}"), apex]);
    if label == "*" {
        object["metadata"]["annotations"] = json!({"ingress-acme.dev/challenge": "dns-01"});
    }
    object
}

/// Number of the operator's requests that the API server has answered.
fn audited(world: &World) -> u64 {
    let audit = world.api().audit().into_iter();
    audit.filter(|of| of.user == User::Operator).map(|of| of.count).sum()
}
