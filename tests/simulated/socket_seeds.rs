//! Seeds over real sockets: what a network does to connections. Half-open connections and cut
//! bodies belong here; `tests/seeds/` has more faults, days of time, and no sockets.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use ingress_acme::commands::storm::Simulated;
use ingress_acme_sim::Options;
use ingress_acme_sim::faults::Chances;

use crate::users::Users;
use crate::{OPERATOR, alone, eventually};

/// Number of seeds without `SEED`.
const SEEDS: u64 = 30;
/// Worlds at once: each waits for deadlines most of the time.
const AT_ONCE: usize = 10;
const SITES: usize = 6;
/// Changes by users, and the time between two of them: some come while work is under way.
const CHANGES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(300);

/// Chances of a seed, at the API server and at the CA: two kinds of faults each, often.
fn chances(random: &mut fastrand::Rng) -> Chances {
    let mut chances = Chances { delay: Duration::from_millis(300), ..Chances::default() };
    for _ in 0..2 {
        let chance = match random.u8(..7) {
            0 => &mut chances.dropped,
            1 => &mut chances.unanswered,
            2 => &mut chances.throttled,
            3 => &mut chances.failed,
            4 => &mut chances.delayed,
            5 => &mut chances.truncated,
            _ => &mut chances.half_open,
        };
        *chance = 0.02 + 0.06 * random.f64();
    }
    // Each one takes a deadline of 20 to 30 s.
    chances.half_open = chances.half_open.min(0.02);
    chances
}

/// Plays one seed: users change things amid faults, then all is served, and orders are few.
/// Returns the number of faults.
async fn play(seed: u64) -> u64 {
    let options = Options { seed, ..Options::default() };
    let simulated = Simulated::start_with(options, &[], Path::new(OPERATOR)).await.unwrap();
    let world = simulated.world();
    let mut users = Users::of(world, SITES, seed).await;
    let mut random = fastrand::Rng::with_seed(seed);
    world.api().faults().set(chances(&mut random));
    world.ca().faults().set(chances(&mut random));
    for _ in 0..CHANGES {
        users.change().await;
        tokio::time::sleep(PAUSE).await;
    }
    let met = world.api().faults().met() + world.ca().faults().met();
    world.api().faults().set(Chances::default());
    world.ca().faults().set(Chances::default());
    users.touch_all().await;
    let what = format!("seed {seed}: every Ingress is served; {}", simulated.log_path().display());
    eventually(&what, async || users.are_served().await).await;
    let counts = world.ca().counts();
    let most = u64::from(CHANGES) + met;
    assert!(counts.orders <= most, "seed {seed}: {} orders, {met} faults", counts.orders);
    assert!(counts.certificates <= most, "seed {seed}: {counts:?}");
    assert!(simulated.end().await.unwrap().success(), "seed {seed}");
    met
}

#[actix::test]
async fn broken_connections_cut_bodies_and_half_open_sockets_leave_every_ingress_served() {
    let _alone = alone().await;
    let seed = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds: Vec<u64> = seed.map_or_else(|| (0..SEEDS).collect(), |seed| vec![seed]);
    let mut met = 0;
    for some in seeds.chunks(AT_ONCE) {
        eprintln!("SEED=… of {some:?} plays one of them alone");
        met += join_all(some.iter().map(|seed| play(*seed))).await.into_iter().sum::<u64>();
    }
    assert!(seed.is_some() || met > 100, "{met} faults");
}
