//! Soak: the operator as a process under continuing edits, deletions, renewals and faults. Its
//! resident memory must stay flat, and at the end everything is served and nothing is written.
//! `make soak` plays 30 minutes, `SOAK_MINUTES=3 make soak` as many as that.

use std::time::Duration;

use ingress_acme_sim::faults::Chances;
use ingress_acme_sim::kube::User;
use ingress_acme_sim::{Options, World};
use tokio::time::{Instant, sleep, timeout};

use crate::users::Users;
use crate::{alone, eventually, simulated_with};

const MINUTE: Duration = Duration::from_mins(1);
const DEFAULT_MINUTES: u32 = 30;
/// Number of Ingresses.
const SITES: usize = 100;
/// Time between two changes of users.
const CHANGE: Duration = Duration::from_millis(100);
/// Memory samples in a minute.
const SAMPLES: u32 = 6;
/// The last third of the samples may be that much larger than the second: a tenth, and the pages
/// that an allocator keeps by chance.
const SLACK: u64 = 4 << 20;
/// Time after the last fault in which all is served: an order whose CA or API server failed is
/// resumed after pauses that grow with its age.
const SERVED: Duration = Duration::from_mins(10);
/// Quiet time at the end.
const QUIET: Duration = Duration::from_secs(45);

/// Resident memory of a process in bytes (`VmRSS` of proc(5)).
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Writes of the operator, but of the Lease.
fn writes(world: &World) -> u64 {
    let audit = world.api().audit().into_iter().filter(|one| {
        one.user == User::Operator
            && !matches!(one.verb, "get" | "list" | "watch")
            && one.resource != "leases"
    });
    audit.map(|one| one.count).sum()
}

fn faults(world: &World, random: &mut fastrand::Rng) {
    let mut some = || {
        let chance = |random: &mut fastrand::Rng| 0.02 * random.f64();
        Chances {
            dropped: chance(random),
            unanswered: chance(random),
            throttled: chance(random),
            failed: chance(random),
            delayed: chance(random),
            delay: MINUTE / 120,
            truncated: chance(random),
            half_open: chance(random) / 20.0,
        }
    };
    world.api().faults().set(some());
    world.ca().faults().set(some());
    if random.bool() {
        world.api().forget_history();
        world.api().cut_watches();
    }
}

#[actix::test]
#[ignore = "takes half an hour: make soak"]
async fn memory_stays_flat_under_half_an_hour_of_edits_deletions_renewals_and_faults() {
    let _alone = alone().await;
    let minutes = std::env::var("SOAK_MINUTES").ok().map(|text| text.parse().unwrap());
    let minutes: u32 = minutes.unwrap_or(DEFAULT_MINUTES);
    let flags = ["--scan-interval=1m".to_owned(), "--issuers=16".to_owned()];
    let simulated = simulated_with(Options::default(), &flags).await;
    let (world, pid) = (simulated.world(), simulated.pid().unwrap());
    let (mut users, mut random) = (Users::of(world, SITES, 1).await, fastrand::Rng::with_seed(2));
    let mut samples = Vec::new();
    let began = Instant::now();
    for sample in 0..minutes * SAMPLES {
        faults(world, &mut random);
        while began.elapsed() < (sample + 1) * MINUTE / SAMPLES {
            users.change().await;
            sleep(CHANGE).await;
        }
        samples.push(resident(pid));
        if sample % SAMPLES == SAMPLES - 1 {
            let counts = world.ca().counts();
            let (mib, minute) = (samples[samples.len() - 1] >> 20, sample / SAMPLES + 1);
            eprintln!("minute {minute}: {mib} MiB, {} certificates so far", counts.certificates);
        }
    }
    world.api().faults().set(Chances::default());
    world.ca().faults().set(Chances::default());
    // The first third is the warm-up.
    let third = samples.len() / 3;
    let [second, last] = [&samples[third..2 * third], &samples[2 * third..]].map(median);
    eprintln!("median of the second third {second} bytes, of the last {last}");
    assert!(last <= second + second / 10 + SLACK, "memory grows: {samples:?}");
    users.touch_all().await;
    let served = async {
        while !users.are_served().await {
            sleep(MINUTE / 60).await;
        }
    };
    timeout(SERVED, served).await.expect("every Ingress is served");
    eventually("a time without a write", async || {
        let before = writes(world);
        sleep(QUIET).await;
        writes(world) == before
    })
    .await;
    assert!(users.are_served().await);
    assert!(simulated.end().await.unwrap().success());
}
