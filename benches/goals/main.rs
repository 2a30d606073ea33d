//! The project's goals, measured: one table with a figure for each goal, met or missed.
//!
//! Two programs are compared only within one job, alternating. The bench asserts nothing: a machine
//! busy with other work must not fail a test. `make bench` builds the binaries and runs the bench.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that panics has said why")]

mod real;
mod scale;
mod table;

use table::Goals;

fn main() {
    // `cargo test` also runs this bench, but without `--bench`. The filter of
    // `cargo bench -- FILTER` may name another bench; then no goal below matches.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut goals = Goals::default();
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    actix::System::new().block_on(async {
        if wanted("real") {
            real::measure(&mut goals).await.unwrap();
        }
        if wanted("quick_ca") {
            real::measure_quick_ca(&mut goals).await.unwrap();
        }
        scale::measure(&mut goals, &chosen).await.unwrap();
        if wanted("dedup") {
            goals.dedup();
        }
    });
    println!("{goals}");
}
