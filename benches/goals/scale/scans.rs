//! Starts among Ingresses whose certificates are all valid: time to the end of the first full
//! scan, and memory.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use ingress_acme::commands::storm::Simulated;
use ingress_acme_actors::domain::limits;
use ingress_acme_sim::{Options, World};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::{Api, Client};
use procfs::process::Process;
use rcgen::KeyPair;
use serde_json::Value;
use tokio::time::Instant;

use super::objects::{ingress, load, namespace, secret};
use super::{RUNS, scaled};
use crate::real::{mebibytes, median, the_operator};
use crate::table::Goals;

const NAMESPACES: u32 = 100;

/// How many Ingresses there are, and whether those of a namespace share one Secret.
#[derive(Clone, Copy)]
pub(super) struct Site {
    pub(super) ingresses: u32,
    pub(super) shared: bool,
}

/// Measurements of one start.
struct Start {
    /// Time to the first full scan, in seconds.
    seconds: f64,
    /// Time of a loop that only reads the same objects, in seconds.
    plain: f64,
    /// Peak memory in bytes.
    memory: u64,
    orders: u64,
}

/// Measures one Ingress, 10,000 with and without a shared Secret, in turn; then 100,000.
pub(super) async fn measure(goals: &mut Goals) -> anyhow::Result<()> {
    let (many, most) = (scaled(10_000), scaled(100_000));
    let sites = [(1, false), (many, false), (many, true)];
    let mut starts = sites.map(|_| Vec::new());
    for _ in 0..RUNS {
        for (starts, (ingresses, shared)) in starts.iter_mut().zip(sites) {
            starts.push(start(Site { ingresses, shared }).await?);
        }
    }
    let [alone, plain, shared] = starts.each_ref().map(|starts| median_seconds(starts));
    rows(goals, &format!("{many} valid"), &starts[1], 60.0);
    goals.at_most("  start to first full scan, over that of 1", 50.0, plain / alone, " ×");
    let what = format!("{many} that share {NAMESPACES} Secrets: first full scan, over none shared");
    goals.at_most(&what, 1.2, shared / plain, " ×");
    goals.exactly("  orders", 0, orders(&starts[2]));
    let last = start(Site { ingresses: most, shared: false }).await?;
    let (seconds, plain_loop) = (last.seconds, last.plain);
    rows(goals, &format!("{most} valid"), &[last], 180.0);
    let what = "  start to first full scan, over a loop that reads the Ingresses and Secrets and drops them";
    goals.at_most(what, 3.0, seconds / plain_loop, " ×");
    let each = |seconds: f64, ingresses: u32| (seconds - alone) / f64::from(ingresses);
    let ratio = each(seconds, most) / each(plain, many);
    let what = format!("  the same for an Ingress, less that of 1, over that of {many}");
    goals.at_most(&what, 1.5, ratio, " ×");
    Ok(())
}

fn rows(goals: &mut Goals, what: &str, starts: &[Start], memory: f64) {
    let peak = median(starts.iter().map(|start| mebibytes(start.memory)));
    goals.at_most(&format!("{what}: operator's memory, peak"), memory, peak, " MiB");
    goals.exactly("  orders", 0, orders(starts));
}

fn orders(starts: &[Start]) -> u64 {
    starts.iter().map(|start| start.orders).sum()
}

fn median_seconds(starts: &[Start]) -> f64 {
    median(starts.iter().map(|start| start.seconds))
}

async fn start(site: Site) -> anyhow::Result<Start> {
    let world = World::start(Options::default())?;
    load_valid(&world, site)?;
    let simulated = Simulated::start_in(world, &[], &the_operator()).await?;
    let seconds = tokio::time::timeout(Duration::from_mins(10), scanned(simulated.log_path()));
    let seconds = seconds.await.context("no first scan")??;
    // A scrape may be a second old.
    let pid = i32::try_from(simulated.pid().context("the operator has ended")?)?;
    let memory = Process::new(pid)?.status()?.vmhwm.unwrap_or_default() * 1024;
    let orders = simulated.world().ca().counts().orders;
    let plain = read_plainly(&simulated.target()?.client, site).await?;
    let Site { ingresses, shared } = site;
    eprintln!(
        "  {ingresses} Ingresses, shared: {shared}: {seconds:.3} s, reads alone {plain:.3} s, {:.1} MiB, {orders} orders",
        mebibytes(memory)
    );
    simulated.end().await?;
    Ok(Start { seconds, plain, memory, orders })
}

/// Lists the Ingresses of a site and reads its Secrets with kube's client, as many at once as the
/// operator does, and drops them: no view, plan, host, key or certificate is looked at. Returns the
/// seconds.
async fn read_plainly(client: &Client, site: Site) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut page = ListParams::default().limit(limits::OBJECTS_PAGE);
    loop {
        let listed = Api::<Ingress>::all(client.clone()).list(&page).await?;
        let Some(next) = listed.metadata.continue_.filter(|next| !next.is_empty()) else { break };
        page = page.continue_token(&next);
    }
    let secrets = if site.shared { NAMESPACES.min(site.ingresses) } else { site.ingresses };
    let reads = stream::iter(0..secrets).map(|number| async move {
        let (namespace, name) = (format!("n{}", number % NAMESPACES), format!("site-{number}"));
        let name = if site.shared { "shared" } else { &name };
        Api::<Secret>::namespaced(client.clone(), &namespace).get(name).await.map(drop)
    });
    reads.buffer_unordered(limits::SCAN_AT_ONCE).try_collect::<()>().await?;
    Ok(began.elapsed().as_secs_f64())
}

/// Waits for the end of the first full scan, and returns the seconds since the start, both by the
/// operator's log. The metric of the last scan is no such sign: later scans, of a few Ingresses
/// each, may end before the first one.
pub(super) async fn scanned(log: &Path) -> anyhow::Result<f64> {
    loop {
        let lines = std::fs::read_to_string(log)?;
        let ended = lines.lines().find(|line| line.contains("the first scan has ended"));
        if let Some((first, ended)) = lines.lines().next().zip(ended) {
            return Ok(written(ended)?.saturating_sub(written(first)?).as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Time of a line of the log.
fn written(line: &str) -> anyhow::Result<Duration> {
    let line: Value = serde_json::from_str(line)?;
    let time = line["timestamp"].as_str().context("a line without a time")?;
    let since = time.parse::<jiff::Timestamp>()?.as_microsecond();
    Ok(Duration::from_micros(u64::try_from(since)?))
}

/// Loads the Ingresses with their Secrets. A shared Secret has the hosts of all its Ingresses.
pub(super) fn load_valid(world: &World, site: Site) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    for number in 0..NAMESPACES {
        let of_it = format!("n{number}");
        load(world, namespace(&of_it))?;
        let (mut owners, mut hosts) = (Vec::<Value>::new(), Vec::new());
        for number in (number..site.ingresses).step_by(NAMESPACES as usize) {
            let (name, host) = (format!("site-{number}"), format!("i{number}.valid.example.com"));
            let named = if site.shared { "shared" } else { &name };
            let loaded = load(world, ingress(&of_it, &name, named, std::slice::from_ref(&host)))?;
            if site.shared {
                owners.push(loaded);
                hosts.push(host);
            } else {
                load(world, secret(world, &key, &name, &[loaded], &[host])?)?;
            }
        }
        if !owners.is_empty() {
            load(world, secret(world, &key, "shared", &owners, &hosts)?)?;
        }
    }
    Ok(())
}
