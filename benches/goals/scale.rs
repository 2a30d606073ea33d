//! Goals on the simulated world: many Ingresses, many edits, many dead hosts, many failures. Each
//! time is divided by that of a run of the same world with one Ingress, or without the trouble.

mod failing;
mod objects;
mod page;
mod pairs;
mod scans;

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, ensure};
use ingress_acme::commands::storm::figures::Figures;
use ingress_acme::commands::storm::plan::Plan;
use ingress_acme::commands::storm::{LoadOptions, Simulated, storm};
use ingress_acme_sim::Options;
use ingress_acme_sim::dns::Trouble;

use crate::real::{mebibytes, median, the_operator};
use crate::table::Goals;
use objects::{ingress, load, namespace};

/// Number of runs whose median counts.
const RUNS: usize = 3;

/// Measures the goals named in `chosen`, or all of them, and adds their rows.
pub(crate) async fn measure(goals: &mut Goals, chosen: &[String]) -> anyhow::Result<()> {
    let wanted = |part: &str| chosen.iter().any(|chosen| chosen == "scale" || chosen == part);
    let all = chosen.is_empty();
    if all || wanted("scans") {
        scans::measure(goals).await?;
    }
    if all || wanted("page") {
        page::measure(goals).await?;
    }
    if all || wanted("pairs") {
        pairs::measure(goals).await?;
    }
    if all || wanted("edits") {
        edits(goals).await?;
    }
    if all || wanted("dead_hosts") {
        dead_hosts(goals).await?;
    }
    if all || wanted("failing") {
        failing::measure(goals).await?;
    }
    Ok(())
}

/// Number of Ingresses in a trial: the variable `STORM_SCALE` divides `usual`.
fn scaled(usual: u32) -> u32 {
    let divisor = std::env::var("STORM_SCALE").ok().and_then(|divisor| divisor.parse().ok());
    (usual / divisor.unwrap_or(1).max(1)).max(1)
}

/// Measures 20 edits of each Ingress: a certificate must cost the same in a storm of 10,000 as in
/// one of 1,000.
async fn edits(goals: &mut Goals) -> anyhow::Result<()> {
    let (few, many) = (scaled(1_000), scaled(10_000));
    let (small, large) = (edited(few).await?, edited(many).await?);
    let what = format!("{many} Ingresses × 20 edits: certificates");
    goals.exactly(&what, many.into(), large.certificates);
    let ratio = large.cpu_ms_per_certificate / small.cpu_ms_per_certificate;
    goals.at_most(&format!("  CPU a certificate, over that of {few} × 20"), 1.2, ratio, " ×");
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
/// answer, and one in the same world before.
async fn dead_hosts(goals: &mut Goals) -> anyhow::Result<()> {
    let dead = scaled(5_000);
    eprintln!("{dead} dead hosts in one namespace:");
    let simulated = Simulated::start_with(Options::default(), &[], &the_operator()).await?;
    let (world, operator) = (simulated.world(), simulated.target()?.operator);
    let alone = one_ingress(&simulated, "alone").await?;
    world.dns().zone().set("dead.example.com", Some(Trouble::Dead));
    let silent = (Ipv4Addr::new(127, 255, 255, 254), world.gateway().address().port());
    let _silent = std::net::TcpListener::bind(silent).context("no silent host can be had")?;
    load(world, namespace("dead"))?;
    for number in 0..dead {
        let host = format!("d{number}.dead.example.com");
        let name = format!("dead-{number}");
        load(world, ingress("dead", &name, &name, &[host]))?;
    }
    let piled_up = async {
        while operator.sample().await.is_ok_and(|sample| sample.busy < dead.into()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Time for every worker to take a dead host.
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    tokio::time::timeout(Duration::from_mins(2), piled_up).await.context("they do not pile up")?;
    let among = one_ingress(&simulated, "among").await?;
    eprintln!("  one Ingress alone {alone:.2} s, among them {among:.2} s");
    let what = format!("{dead} dead hosts: another namespace's Ingress, time over that before");
    goals.at_most(&what, 1.9, among / alone, " ×");
    simulated.end().await.map(drop)
}

/// Median time from one Ingress to its Secret, in seconds.
async fn one_ingress(simulated: &Simulated, run: &str) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for round in 0..RUNS {
        times.push(stormed(simulated, &format!("{run}-{round}"), 1, 0).await?.seconds);
    }
    Ok(median(times.into_iter()))
}
