//! Seeds on the simulated world without sockets: the operator's own adapters and actors on the
//! simulated API server, CA, DNS and gateway within the process, and a paused clock. A seed makes a
//! small world, edits, deletions, kills and faults of requests; after the last fault all is served
//! in time, and then there is no write for a day.
//!
//! `SEED=17 cargo test --locked --test seeds` plays one seed, `SEEDS=1000` as many as that from 0
//! on.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod api_transport;
mod ca_transport;
mod faults;
mod hosts;
mod replica;
mod seed;
mod users;

use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};

use ingress_acme_actors::fakes::Fakes;

use seed::{Outcome, play};

/// Number of seeds without `SEEDS`.
const SEEDS: u64 = 40;
/// Command that plays a seed again, for the message of a failure.
const AGAIN: &str = "cargo test --locked --test seeds all_is_served -- --nocapture";

/// Seeds to play.
fn seeds() -> Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect(name));
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    }
}

fn played(seed: u64) -> Outcome {
    let outcome = Fakes::paused(play(seed));
    let Outcome { orders, certificates, faults, .. } = &outcome;
    eprintln!("seed {seed}: {faults} faults, {orders} orders, {certificates} certificates");
    outcome
}

/// Logs of one seed, where `RUST_LOG` asks for them.
fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

#[test]
fn all_is_served_in_time_after_the_last_fault_and_then_nothing_is_written_for_a_day() {
    log();
    let (seeds, failed) = (seeds(), std::sync::Mutex::new(Vec::new()));
    let next = AtomicU64::new(seeds.start);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    if catch_unwind(|| played(seed)).is_err() {
                        eprintln!("seed {seed} failed: SEED={seed} {AGAIN}");
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_unstable();
    assert!(failed.is_empty(), "seeds {failed:?} failed: SEED={} {AGAIN}", failed[0]);
}

#[test]
fn a_seed_that_is_played_again_leads_to_the_same_requests() {
    for seed in [3, 17] {
        assert_eq!(played(seed), played(seed), "seed {seed}");
    }
}
