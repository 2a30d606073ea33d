//! Invariants of the operator under random edits, deletions, kills, depositions, errors, distorted
//! views and waits. Each case ends with a quiet period, after which the invariants are checked.
//!
//! A case is made from its seed: `SEED=17 cargo test -p ingress-acme-actors --all-features --test
//! invariants` plays one, `SEEDS=1000` as many as that from 0 on.

use std::time::Duration;

use ingress_acme_actors::domain::ingress::{IngressKey, IngressView, SecretKey, TlsBlock};
use ingress_acme_actors::domain::log::segment::replay;
use ingress_acme_actors::fakes::{Distortion, Fakes, ingress};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
/// Number of Ingresses.
const INGRESSES: usize = 5;
/// The Ingress that accepts a certificate for a subset of its names.
const PARTIAL: usize = 1;
/// The Ingresses that share a certificate.
const GROUPED: std::ops::Range<usize> = 3..5;

/// One random step of a case.
#[derive(Clone, Debug)]
enum Move {
    /// Gives the Ingress this subset (a bit mask) of its three hosts; an empty subset deletes the
    /// Ingress.
    Edit(usize, u8),
    /// Deletes the Secret, as a user would.
    DeleteSecret(usize),
    /// Kills the process and starts another.
    Kill,
    /// Starts another process, which takes over while the first keeps running.
    Depose,
    /// Makes the next calls of this name fail transiently.
    Fail(&'static str, usize),
    /// Whether a host resolves.
    Resolve(usize, bool),
    /// Whether the CA's validation of a host fails.
    Doubt(usize, bool),
    /// Makes the CA busy for this many seconds.
    Busy(u16),
    /// Distorts the change of an Ingress that comes after this number of others.
    Distort(usize, Distortion),
    /// Lets the read of a Secret after this number of others show an older state.
    ReadOld(usize),
    /// Lets this many milliseconds pass.
    Pass(u32),
}

fn any_move() -> impl Strategy<Value = Move> {
    let calls = prop::sample::select(vec![
        "read",
        "install",
        "open_order",
        "accept",
        "refresh",
        "finalize",
        "download",
        "write_routes",
        "journal_create",
    ]);
    prop_oneof![
        4 => (0..INGRESSES, 0_u8..8).prop_map(|(n, hosts)| Move::Edit(n, hosts)),
        1 => (0..INGRESSES).prop_map(Move::DeleteSecret),
        1 => Just(Move::Kill),
        1 => Just(Move::Depose),
        2 => (calls, 1_usize..4).prop_map(|(call, times)| Move::Fail(call, times)),
        1 => (0..INGRESSES, any::<bool>()).prop_map(|(n, resolves)| Move::Resolve(n, resolves)),
        1 => (0..INGRESSES, any::<bool>()).prop_map(|(n, doubted)| Move::Doubt(n, doubted)),
        1 => (0_u16..900).prop_map(Move::Busy),
        2 => (0_usize..4, prop::sample::select(Distortion::ALL.to_vec()))
            .prop_map(|(changes, how)| Move::Distort(changes, how)),
        1 => (0_usize..8).prop_map(Move::ReadOld),
        4 => (0_u32..8000).prop_map(Move::Pass),
        1 => (0_u32..900_000).prop_map(Move::Pass),
    ]
}

fn hosts(n: usize, chosen: u8) -> Vec<String> {
    (0..3)
        .filter(|bit| chosen & (1 << bit) != 0)
        .map(|bit| format!("h{bit}.s{n}.example.com"))
        .collect()
}

fn site(n: usize, chosen: u8) -> IngressView {
    let hosts = hosts(n, chosen);
    let secret_name = Some(format!("s{n}"));
    let name = format!("s{n}");
    let plain = ingress("web", &name, &hosts.iter().map(String::as_str).collect::<Vec<_>>());
    let annotations = |short: &str| [(short.to_owned(), "true".to_owned())].into();
    if GROUPED.contains(&n) {
        return IngressView { annotations: annotations("group"), ..plain };
    }
    let annotations = if n == PARTIAL { annotations("partial") } else { plain.annotations };
    let plain = IngressView { annotations, ..ingress("web", &name, &[]) };
    IngressView { tls: vec![TlsBlock { hosts, secret_name }], ..plain }
}

/// Name of the Secret in the newest version of the Ingress.
fn secret_of(fakes: &Fakes, n: usize) -> String {
    let view = fakes.cluster.view("web", &format!("s{n}"));
    let block = view.and_then(|view| view.tls.first().cloned());
    block.and_then(|block| block.secret_name).unwrap_or_default()
}

async fn play(fakes: &Fakes, moves: Vec<Move>) -> [u8; INGRESSES] {
    let mut wanted = [0; INGRESSES];
    fakes.cluster.set_latency(SECOND / 20);
    fakes.operator(Fakes::settings()).await;
    for next in moves {
        match next {
            Move::Edit(n, 0) => {
                wanted[n] = 0;
                fakes.cluster.delete(&IngressKey::new("web", &format!("s{n}")));
            }
            Move::Edit(n, chosen) => {
                wanted[n] = chosen;
                fakes.cluster.apply(site(n, chosen));
            }
            Move::DeleteSecret(n) => {
                fakes.cluster.delete_secret(&SecretKey::new("web", &secret_of(fakes, n)));
            }
            Move::Kill => {
                fakes.kill();
                fakes.operator(Fakes::settings()).await;
            }
            Move::Depose => depose(fakes).await,
            Move::Pass(millis) => fakes.pass(Duration::from_millis(millis.into())).await,
            trouble => make(fakes, &trouble),
        }
    }
    for host in (0..INGRESSES).map(|n| format!("h0.s{n}.example.com")) {
        fakes.cluster.unresolve(&host, false);
        fakes.cluster.doubt(&host, false);
    }
    // The last fault is over: a watch that has lost a change ends with 410 Gone and a list.
    fakes.cluster.end_distortions();
    fakes.cluster.relist();
    wanted
}

/// Starts or ends a fault of the world.
fn make(fakes: &Fakes, trouble: &Move) {
    let host = |n: &usize| format!("h0.s{n}.example.com");
    match trouble {
        Move::Fail(call, times) => fakes.cluster.fail(call, *times),
        Move::Resolve(n, resolves) => fakes.cluster.unresolve(&host(n), !resolves),
        Move::Doubt(n, doubted) => fakes.cluster.doubt(&host(n), *doubted),
        Move::Busy(secs) => {
            fakes.ca.set_busy_until(fakes.clock.now() + SECOND * u32::from(*secs));
        }
        Move::Distort(changes, how) => fakes.cluster.distort(*changes, *how),
        Move::ReadOld(reads) => fakes.cluster.read_old(*reads),
        Move::Edit(..) | Move::DeleteSecret(_) | Move::Kill | Move::Depose | Move::Pass(_) => {}
    }
}

/// Starts another process, which takes over; the previous one keeps running until it notices the
/// loss of its lease.
async fn depose(fakes: &Fakes) {
    let before = fakes.crash_point();
    fakes.operator(Fakes::settings()).await;
    actix::spawn(async move {
        tokio::time::sleep(10 * SECOND).await;
        before.end_after(0);
    });
}

/// Asserts that no set of names has two open orders, except one per kill that the killed process
/// had no time to record.
fn at_most_one_issuance_in_flight_per_key(fakes: &Fakes, kills: usize) {
    let most = fakes.ca.most_open_for_one_set();
    assert!(most <= 1 + kills, "{most} orders open at once, {kills} kills");
}

fn the_newest_ingresses_is_always_served(fakes: &Fakes, wanted: [u8; INGRESSES]) {
    for (n, chosen) in wanted.into_iter().enumerate().filter(|(_, chosen)| *chosen != 0) {
        let mut names = fakes.cluster.names("web", &secret_of(fakes, n));
        if GROUPED.contains(&n) {
            let of_it = format!(".s{n}.example.com");
            names.retain(|name| name.ends_with(&of_it)); // removed hosts stay until renewal
            assert!(hosts(n, chosen).iter().all(|host| names.contains(host)), "s{n}: {names:?}");
        } else {
            assert_eq!(names, hosts(n, chosen));
        }
    }
}

fn no_key_stays_busy_for_ever(fakes: &Fakes) {
    let log = replay(&fakes.segments.log());
    assert_eq!(log.live.len(), 0, "{:?}", log.live);
    assert!(fakes.cluster.routed().is_empty(), "{:?}", fakes.cluster.routed());
}

/// Asserts that two quiet hours of scans after a restart issue nothing.
async fn nothing_is_issued_where_a_valid_certificate_exists(fakes: &Fakes) {
    let issued = fakes.ca.issued().len();
    fakes.kill();
    fakes.operator(Fakes::settings()).await;
    fakes.pass(2 * HOUR).await;
    assert_eq!(fakes.ca.issued().len(), issued);
}

/// Number of cases without `SEEDS`.
const SEEDS: u64 = 200;

/// Seeds of the cases to play.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect(name));
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    }
}

/// A runner of one case, which is always the same for a seed.
fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = ProptestConfig {
        cases: 1,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn hold(moves: Vec<Move>) {
    let kills = moves.iter().filter(|next| matches!(next, Move::Kill | Move::Depose)).count();
    Fakes::paused(async move {
        let fakes = Fakes::default();
        let wanted = play(&fakes, moves).await;
        fakes.assert_stable().await;
        at_most_one_issuance_in_flight_per_key(&fakes, kills);
        the_newest_ingresses_is_always_served(&fakes, wanted);
        no_key_stays_busy_for_ever(&fakes);
        nothing_is_issued_where_a_valid_certificate_exists(&fakes).await;
    });
}

#[test]
fn whatever_happens_the_invariants_hold() {
    for seed in seeds() {
        let played = runner(seed).run(&prop::collection::vec(any_move(), 1..25), |moves| {
            hold(moves);
            Ok(())
        });
        if let Err(failed) = played {
            panic!("SEED={seed} plays it again: {failed}");
        }
    }
}
