//! Mutation tests of the rules in `actors/src/domain`: every mutant of cargo-mutants is run, and a
//! test has to fail on it. `make mutants` runs this program; docs/testing.md has the result.
//!
//! All mutants are built at once, each behind a switch of the environment, so that a mutant costs
//! the tests that reach it and no build. The passes:
//! 1. `rules`: the domain alone, copied into a package of its own, with its unit tests.
//! 2. `alone`: mutants that do not compile behind a switch, one build each, by cargo-mutants.
//! 3. `flows`: mutants that the unit tests miss, with the actors and their tests on fakes.
//!
//! A run that was stopped goes on where it was. A mutant has a result as long as the code of its
//! file is the same; one that was missed is run again, because there may be a new test.

mod alone;
mod build;
mod listed;
mod packages;
mod report;
mod results;
mod splice;
mod suite;

use std::collections::HashSet;
use std::path::Path;

use listed::Mutant;
use results::Results;
use suite::{Outcome, Suite};

/// Result of a mutant that does not compile behind a switch and was not built alone yet.
const UNPLACED: &str = "unplaced rules";

/// Passes that this process runs, and the shard of the mutants.
struct Chosen {
    passes: Vec<String>,
    /// `k` and `n`: mutants whose number is `k` modulo `n`.
    shard: (usize, usize),
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let work = root.join("target/mutants");
    let chosen = chosen()?;
    packages::copy(&root, &work)?;
    let mutants = listed::mutants_of(&work.join("sources"))?;
    let mut results = Results::read(&work.join("results.tsv"), &work.join("sources"), &mutants)?;
    for pass in &chosen.passes {
        match pass.as_str() {
            "rules" => run_rules(&work, &mutants, &mut results, &chosen)?,
            "alone" => alone::run(&work, &mutants, &mut results, chosen.shard)?,
            "flows" => run_flows(&work, &mutants, &mut results, &chosen)?,
            "report" => {}
            other => anyhow::bail!("no such pass: {other}"),
        }
        report::write(&root, &mutants, &results)?;
    }
    Ok(())
}

fn chosen() -> anyhow::Result<Chosen> {
    let passes = std::env::var("PASSES").unwrap_or_else(|_| "rules alone flows".to_owned());
    let shard = std::env::var("SHARD").unwrap_or_else(|_| "0/1".to_owned());
    let (k, n) = shard.split_once('/').unwrap_or(("0", "1"));
    Ok(Chosen {
        passes: passes.split_whitespace().map(str::to_owned).collect(),
        shard: (k.parse()?, n.parse::<usize>()?.max(1)),
    })
}

fn run_rules(
    work: &Path,
    mutants: &[Mutant],
    results: &mut Results,
    chosen: &Chosen,
) -> anyhow::Result<()> {
    let known = mutants.iter().enumerate().filter(|(_, mutant)| {
        let is_known = |was: &str| was.ends_with("alone") || was.starts_with("un");
        results.of(mutant).is_some_and(is_known)
    });
    let left_out: HashSet<usize> = known.map(|(number, _)| number).collect();
    let package = packages::rules(work);
    let built = package.build(&work.join("sources"), mutants, left_out)?;
    for (number, mutant) in mutants.iter().enumerate() {
        if built.unviable.contains(&number) {
            results.add(mutant, "unviable", "rules")?;
        } else if !built.placed.contains(&number) && results.of(mutant).is_none() {
            results.add(mutant, "unplaced", "rules")?;
        }
    }
    let suite = Suite::traced(&package.folder, &built.programs)?;
    let open =
        |number: &usize| results.of(&mutants[*number]).is_none_or(|was| was.starts_with("missed"));
    let open = built.placed.into_iter().filter(open).collect();
    run_pass("rules", open, &suite, mutants, results, chosen.shard)
}

fn run_flows(
    work: &Path,
    mutants: &[Mutant],
    results: &mut Results,
    chosen: &Chosen,
) -> anyhow::Result<()> {
    let missed =
        |number: &usize| results.of(&mutants[*number]).is_some_and(|was| was.starts_with("missed"));
    let left_out = (0..mutants.len()).filter(|number| !missed(number)).collect();
    let package = packages::flows(work);
    let built = package.build(&work.join("sources"), mutants, left_out)?;
    let suite = Suite::traced(&package.folder, &built.programs)?;
    run_pass("flows", built.placed.into_iter().collect(), &suite, mutants, results, chosen.shard)
}

fn run_pass(
    pass: &str,
    mut numbers: Vec<usize>,
    suite: &Suite,
    mutants: &[Mutant],
    results: &mut Results,
    (k, n): (usize, usize),
) -> anyhow::Result<()> {
    numbers.retain(|number| number % n == k % n);
    numbers.sort_unstable();
    println!("{pass}: {} tests, {} mutants to be run", suite.len(), numbers.len());
    for number in numbers {
        let mutant = &mutants[number];
        let outcome = match suite.outcome(number)? {
            Outcome::Caught => "caught",
            Outcome::Missed => "missed",
            Outcome::Timeout => "timeout",
        };
        if outcome != "caught" {
            println!("{outcome} {}", mutant.name);
        }
        results.add(mutant, outcome, pass)?;
    }
    Ok(())
}
