//! Certificates that fail lastingly: what the journal writes for each record, and memory.

use std::time::Duration;

use anyhow::Context;
use ingress_acme::commands::storm::Simulated;
use ingress_acme::commands::storm::operator::{Sample, Source};
use ingress_acme_sim::Options;
use ingress_acme_sim::dns::Trouble;

use super::objects::{ingress, load, namespace};
use super::scaled;
use crate::real::{count, mebibytes, the_operator};
use crate::table::Goals;

const NAMESPACES: u32 = 100;
/// Number of further failures, one after another, once all others have failed.
const APPENDS: u32 = 100;
/// Time between two of them, so that each is an append of its own, unless the retry of another one
/// comes at the same time.
const BETWEEN: Duration = Duration::from_millis(300);

/// Measures 20,000 Ingresses whose hosts do not exist, then a few more, one by one.
pub(super) async fn measure(goals: &mut Goals) -> anyhow::Result<()> {
    let failing = scaled(20_000);
    eprintln!("{failing} certificates that fail:");
    let simulated = Simulated::start_with(Options::default(), &[], &the_operator()).await?;
    let (world, operator) = (simulated.world(), simulated.target()?.operator);
    world.dns().zone().set("gone.example.com", Some(Trouble::NxDomain));
    for number in 0..NAMESPACES {
        load(world, namespace(&format!("n{number}")))?;
    }
    let add = |number: u32| {
        let (name, host) = (format!("site-{number}"), format!("i{number}.gone.example.com"));
        load(world, ingress(&format!("n{}", number % NAMESPACES), &name, &name, &[host])).map(drop)
    };
    (0..failing).try_for_each(add)?;
    let before = failed(&operator, failing.into()).await?;
    print("all have failed", &before);
    for number in failing..failing + APPENDS {
        add(number)?;
        tokio::time::sleep(BETWEEN).await;
    }
    let after = operator.sample().await?;
    print("some more", &after);
    let writes = segments(&after) - segments(&before);
    let ratio = count(writes) / count(after.journaled - before.journaled);
    goals.at_most(&format!("{failing} failing: journal writes for a record"), 2.0, ratio, "");
    let peak = mebibytes(after.memory_peak);
    goals.at_most("  operator's memory, peak", 100.0, peak, " MiB");
    simulated.end().await.map(drop)
}

/// Waits for this number of failures.
async fn failed(operator: &Source, number: u64) -> anyhow::Result<Sample> {
    let failed = async {
        loop {
            match operator.sample().await {
                Ok(sample) if failures(&sample) >= number => return sample,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(10), failed).await.context("they do not fail")
}

fn failures(sample: &Sample) -> u64 {
    sample.failed.values().sum()
}

/// Number of segments written: only the journal creates Secrets; certificates are applied.
fn segments(sample: &Sample) -> u64 {
    let create = ("create".to_owned(), "secrets".to_owned());
    sample.kube_requests.get(&create).copied().unwrap_or_default()
}

fn print(what: &str, sample: &Sample) {
    eprintln!(
        "  {what}: {} failures, {} records in {} segments, {:.1} MiB",
        failures(sample),
        sample.journaled,
        segments(sample),
        mebibytes(sample.memory_peak),
    );
}
