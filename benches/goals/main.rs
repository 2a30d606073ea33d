//! The goals of this project, measured: one table, each with its figure, met or missed.
//!
//! Two programs are only ever compared within one job, in turn. Nothing is asserted: a machine that is busy with
//! something else must not make a test fail. `make bench` builds what this needs and runs it.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that panics has said why")]

mod real;
mod scale;
mod table;

use table::Goals;

fn main() {
    // `cargo test` runs benches as well, and `cargo bench -- FILTER` means others.
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
        if wanted("scale") {
            scale::measure(&mut goals).await.unwrap();
        }
        if wanted("dedup") {
            goals.dedup();
        }
    });
    println!("{goals}");
}
