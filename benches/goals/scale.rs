//! Goals on the simulated world: many Ingresses, many edits, many dead hosts.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, ensure};
use ingress_acme::commands::storm::figures::Figures;
use ingress_acme::commands::storm::plan::Plan;
use ingress_acme::commands::storm::{LoadOptions, Simulated, storm};
use ingress_acme_sim::dns::Trouble;
use ingress_acme_sim::{Options, World};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::real::{mebibytes, the_operator};
use crate::table::Goals;

/// Measures the goals and adds their rows.
pub(crate) async fn measure(goals: &mut Goals) -> anyhow::Result<()> {
    valid(goals, 10_000, Some(10.0), 60.0).await?;
    valid(goals, 100_000, None, 250.0).await?;
    edits(goals).await?;
    dead_hosts(goals).await
}

/// Measures a start among Ingresses whose certificates are all valid.
async fn valid(
    goals: &mut Goals,
    ingresses: u32,
    seconds: Option<f64>,
    memory: f64,
) -> anyhow::Result<()> {
    eprintln!("{ingresses} Ingresses with valid certificates:");
    let world = World::start(Options::default())?;
    load_valid(&world, ingresses)?;
    let began = Instant::now();
    let simulated = Simulated::start_in(world, &[], &the_operator()).await?;
    let target = simulated.target()?;
    let scanned = async {
        loop {
            match target.operator.sample().await {
                Ok(sample) if sample.scanned => return sample,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let sample =
        tokio::time::timeout(Duration::from_mins(10), scanned).await.context("no first scan")?;
    let took = began.elapsed().as_secs_f64();
    if let Some(seconds) = seconds {
        goals.at_most(&format!("{ingresses} valid: start to first full scan"), seconds, took, " s");
    } else {
        eprintln!("  start to first full scan: {took:.2} s");
    }
    let peak = mebibytes(sample.memory_peak);
    goals.at_most(&format!("{ingresses} valid: operator's memory, peak"), memory, peak, " MiB");
    goals.exactly(&format!("{ingresses} valid: orders"), 0, simulated.world().ca().counts().orders);
    simulated.end().await.map(drop)
}

/// Loads Ingresses and their Secrets directly into the API server's store, without requests.
fn load_valid(world: &World, ingresses: u32) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    for namespace in 0..100 {
        load(
            world,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("n{namespace}")}}),
        )?;
    }
    for number in 0..ingresses {
        let (namespace, name) = (format!("n{}", number % 100), format!("site-{number}"));
        let host = format!("i{number}.valid.example.com");
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        let ingress = load(
            world,
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"namespace": namespace, "name": name},
                "spec": {
                    "rules": [{"host": host, "http": {"paths": [path]}}],
                    "tls": [{"hosts": [host], "secretName": name}],
                },
            }),
        )?;
        load(world, secret(world, &key, &ingress, &host)?)?;
    }
    Ok(())
}

/// A Secret like one written by the operator. Its certificate is self-signed, since the operator
/// does not check the issuer.
fn secret(world: &World, key: &KeyPair, ingress: &Value, host: &str) -> anyhow::Result<Value> {
    let mut params = CertificateParams::new([host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) =
        (now - time::Duration::hours(1), now + time::Duration::days(89));
    let chain = params.self_signed(key)?.pem();
    let metadata = &ingress["metadata"];
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {
            "namespace": metadata["namespace"], "name": metadata["name"],
            "labels": {"app.kubernetes.io/managed-by": "ingress-acme"},
            "annotations": {"ingress-acme.dev/directory": world.ca().directory_url()},
            "ownerReferences": [{
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "name": metadata["name"], "uid": metadata["uid"],
            }],
        },
        "stringData": {"tls.crt": chain, "tls.key": key.serialize_pem()},
    }))
}

fn load(world: &World, object: Value) -> anyhow::Result<Value> {
    world.api().load(object).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))
}

/// Measures 20 edits of each Ingress: a certificate must cost the same in a storm of 10,000 as in
/// one of 1,000.
async fn edits(goals: &mut Goals) -> anyhow::Result<()> {
    let (small, large) = (edited(1_000).await?, edited(10_000).await?);
    goals.exactly("10000 Ingresses × 20 edits: certificates", 10_000, large.certificates);
    let ratio = large.cpu_ms_per_certificate / small.cpu_ms_per_certificate;
    goals.at_most("  CPU a certificate, over that of 1000 × 20", 1.2, ratio, " ×");
    Ok(())
}

async fn edited(ingresses: u32) -> anyhow::Result<Figures> {
    eprintln!("{ingresses} Ingresses × 20 edits:");
    let simulated = Simulated::start_with(Options::default(), &[], &the_operator()).await?;
    let figures = stormed(&simulated, "edits", ingresses, 20).await?;
    eprintln!(
        "  {:.1} s, {} events, {} coalesced, {} orders, {:.2} ms CPU and {:.2} API requests each, {:.0} MiB",
        figures.seconds,
        figures.events_in,
        figures.events_coalesced,
        figures.orders,
        figures.cpu_ms_per_certificate,
        figures.kube_requests_per_certificate,
        mebibytes(figures.memory_peak),
    );
    ensure!(figures.right == ingresses, "only {} are right", figures.right);
    simulated.end().await?;
    Ok(figures)
}

async fn stormed(
    simulated: &Simulated,
    run: &str,
    ingresses: u32,
    edits: u32,
) -> anyhow::Result<Figures> {
    let plan = Plan {
        run: run.to_owned(),
        ingresses,
        edits,
        namespaces: ingresses.min(10),
        names: 1,
        domain: "storm.example.com".into(),
        class: None,
        spec_tls: true,
    };
    let options = LoadOptions { rate: None, deadline: Duration::from_mins(20), quiet: true };
    Ok(Figures::of(&storm(&simulated.target()?, &plan, &options).await?))
}

/// Measures one Ingress beside another namespace of 5,000 hosts that accept connections and never
/// answer.
async fn dead_hosts(goals: &mut Goals) -> anyhow::Result<()> {
    eprintln!("5000 dead hosts in one namespace:");
    let simulated = Simulated::start_with(Options::default(), &[], &the_operator()).await?;
    let (world, operator) = (simulated.world(), simulated.target()?.operator);
    let alone = stormed(&simulated, "alone", 1, 0).await?.seconds;
    world.dns().zone().set("dead.example.com", Some(Trouble::Dead));
    let silent = (Ipv4Addr::new(127, 255, 255, 254), world.gateway().address().port());
    let _silent = std::net::TcpListener::bind(silent).context("no silent host can be had")?;
    load(world, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dead"}}))?;
    for number in 0..5_000 {
        let (name, host) = (format!("dead-{number}"), format!("d{number}.dead.example.com"));
        load(
            world,
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"namespace": "dead", "name": name},
                "spec": {"rules": [{"host": host}], "tls": [{"hosts": [host], "secretName": name}]},
            }),
        )?;
    }
    let piled_up = async {
        while operator.sample().await.is_ok_and(|sample| sample.busy < 5_000) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Time for every worker to take a dead host.
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    tokio::time::timeout(Duration::from_mins(2), piled_up).await.context("they do not pile up")?;
    let among = stormed(&simulated, "among", 1, 0).await?.seconds;
    eprintln!("  one Ingress alone {alone:.2} s, among them {among:.2} s");
    goals.at_most("5000 dead hosts delay another namespace's Ingress by", 5.0, among - alone, " s");
    simulated.end().await.map(drop)
}
