//! Goals on the real control plane with the simulated CA: a storm of 500, alternating with the bare
//! loop. Each time is divided by the bare loop's.

mod runs;

use ingress_acme::commands::storm::figures::Figures;
use ingress_acme_actors::domain::scheduling::dedup::SettleTimes;
use ingress_acme_control_plane::{Options, World};
use ingress_acme_sim::ca;

pub(crate) use runs::the_operator;
use runs::{Bare, Operated, bare_loop, operator, own_requests};

use crate::table::Goals;

const CERTIFICATES: u32 = 500;
/// Certificates of a storm at a CA that validates within the request.
const QUICK_CERTIFICATES: u32 = 300;
const AT_ONCE: u32 = 16;
/// Number of rounds; the table shows their median.
const ROUNDS: usize = 3;
const MIB: f64 = 1024.0 * 1024.0;

/// Measures the goals and adds their rows. `STORM_REAL` is the number of certificates, for a trial.
pub(crate) async fn measure(goals: &mut Goals) -> anyhow::Result<()> {
    let certificates = named("STORM_REAL", CERTIFICATES);
    eprintln!("{certificates} certificates on the real control plane, {AT_ONCE} at once:");
    let simulated_ca = Some(ca::Options::default());
    let world = World::start_with(Options { simulated_ca, ..Options::default() }).await?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let bare = bare_loop(&world, round, certificates).await?;
        let ours = operator(&world, round, certificates).await?;
        print_round(round, certificates, &bare, &ours);
        rounds.push(Round { bare, ours });
    }
    // At the end, because the next operator would find the Ingresses.
    let mut own = Vec::new();
    for round in 0..ROUNDS {
        own.push(own_requests(&world, round, certificates).await?);
    }
    let own = median(own.into_iter());
    eprintln!(
        "  the storm's own requests: {:.2} ms of the API server's CPU each",
        each(own, certificates)
    );
    ratios(goals, &rounds, own);
    counts(goals, &rounds, certificates);
    Ok(())
}

/// The bare loop and the operator, one after the other.
struct Round {
    bare: Bare,
    ours: Operated,
}

/// Measures a storm with a CA that validates within the request, alternating with the bare loop.
/// `STORM_QUICK` is the number of certificates, for a trial.
pub(crate) async fn measure_quick_ca(goals: &mut Goals) -> anyhow::Result<()> {
    let certificates = named("STORM_QUICK", QUICK_CERTIFICATES);
    eprintln!("{certificates} certificates, the CA validates within the request:");
    let ca = ca::Options { validate_within_request: true, ..ca::Options::default() };
    let world = World::start_with(Options { simulated_ca: Some(ca), ..Options::default() }).await?;
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let bare = bare_loop(&world, round, certificates).await?.output.seconds;
        let ours = operator(&world, round, certificates).await?.figures.seconds;
        eprintln!("  round {round}: bare loop {bare:.2} s, operator {ours:.2} s");
        ratios.push(ours / bare);
    }
    let what =
        format!("storm of {certificates} at a CA that validates at once, over the bare loop");
    goals.at_most(&what, 1.3, median(ratios.into_iter()), " ×");
    Ok(())
}

/// Number of certificates in the variable `name`, or `usual`.
fn named(name: &str, usual: u32) -> u32 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

fn print_round(round: usize, certificates: u32, bare: &Bare, ours: &Operated) {
    let (times, output) = (ours.figures.time_to_secret, &bare.output);
    eprintln!(
        "  round {round}: bare loop {:.2} s, first {:.2} s, CPU {:.2} ms each, API server's {:.2} ms, {:.0} MiB",
        output.seconds,
        output.first,
        each(output.cpu_seconds, certificates),
        each(bare.api_cpu, certificates),
        mebibytes(output.memory_peak),
    );
    eprintln!(
        "    operator {:.2} s, first {:.2} s, p50 {:.2} s, p99 {:.2} s, CPU {:.2} ms each, API server's {:.2} ms",
        ours.figures.seconds,
        ours.first,
        times.map_or(0.0, |times| times.p50),
        times.map_or(0.0, |times| times.p99),
        ours.figures.cpu_ms_per_certificate,
        each(ours.api_cpu, certificates),
    );
    let kinds = ours.figures.kube_requests.iter();
    let kinds: Vec<String> =
        kinds.map(|of| format!("{} {} {}", of.count, of.verb, of.resource)).collect();
    eprintln!("    requests: {}", kinds.join(", "));
}

/// Adds the rows that divide a time by that of the bare loop. `own` is the API server's CPU for the
/// storm's own requests.
fn ratios(goals: &mut Goals, rounds: &[Round], own: f64) {
    let each = |of: &dyn Fn(&Round) -> f64| median(rounds.iter().map(of));
    let time = each(&|Round { bare, ours }| ours.figures.seconds / bare.output.seconds);
    goals.at_most("storm of 500, time over the bare loop's", 1.1, time, " ×");
    let settle = SettleTimes::default().settle.as_secs_f64();
    let first = each(&|Round { bare, ours }| ours.first / (settle + bare.output.first));
    goals.at_most(
        "  first Secret, over the settle time and the bare loop's first",
        2.0,
        first,
        " ×",
    );
    goals.at_most("  p99 over the whole", 1.0, each(&|round| share_of_p99(&round.ours)), " ×");
    let cpu = each(&|Round { bare, ours }| ours.figures.cpu_seconds / bare.output.cpu_seconds);
    goals.at_most("  operator's CPU, over the bare loop's", 3.0, cpu, " ×");
    let api_cpu = each(&|Round { bare, ours }| ours.api_cpu / (bare.api_cpu + own));
    let what = "  API server's CPU, over that for the bare loop and the storm's own requests";
    goals.at_most(what, 2.4, api_cpu, " ×");
}

/// Adds the rows of counts and memory.
fn counts(goals: &mut Goals, rounds: &[Round], certificates: u32) {
    let each = |of: &dyn Fn(&Operated) -> f64| median(rounds.iter().map(|round| of(&round.ours)));
    let audited = each(&|ours| count(ours.audited) / f64::from(certificates));
    goals.at_most("  API requests a certificate, audit log", 4.0, audited, "");
    let memory = |of: fn(&Figures) -> u64| each(&|ours| mebibytes(of(&ours.figures)));
    goals.at_most("  operator's memory, peak", 40.0, memory(|of| of.memory_peak), " MiB");
    // The later rounds find the Ingresses of the earlier ones.
    let idle = mebibytes(rounds[0].ours.figures.memory_before);
    goals.at_most("  operator's memory, idle and empty", 18.0, idle, " MiB");
    for Round { ours, .. } in rounds {
        let what = format!("  certificates for {certificates} Ingresses");
        goals.exactly(&what, certificates.into(), ours.figures.certificates);
    }
}

fn share_of_p99(ours: &Operated) -> f64 {
    ours.figures.time_to_secret.map_or(f64::INFINITY, |times| times.p99) / ours.figures.seconds
}

/// Milliseconds for each certificate.
fn each(seconds: f64, certificates: u32) -> f64 {
    1000.0 * seconds / f64::from(certificates)
}

/// Median of some figures.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn count(count: u64) -> f64 {
    count as f64
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    count(bytes) / MIB
}
