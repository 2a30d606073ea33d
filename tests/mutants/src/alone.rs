//! Mutants that do not compile behind a switch, each built alone by cargo-mutants.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use crate::listed::Mutant;
use crate::results::Results;

/// Mutants of one run of cargo-mutants, after which their results are kept.
const SHARD: usize = 25;

/// Runs the mutants that have no result after the pass with switches.
pub(crate) fn run(
    work: &Path,
    mutants: &[Mutant],
    results: &mut Results,
    (k, n): (usize, usize),
) -> anyhow::Result<()> {
    let again = |was: &str| was == "missed alone" || was == crate::UNPLACED;
    let open: Vec<&Mutant> = mutants
        .iter()
        .enumerate()
        .filter(|(number, _)| number % n == k % n)
        .map(|(_, mutant)| mutant)
        .filter(|mutant| results.of(mutant).is_none_or(again))
        .collect();
    println!("alone: {} mutants to be run", open.len());
    for shard in open.chunks(SHARD) {
        run_shard(work, shard, results)?;
    }
    Ok(())
}

fn run_shard(work: &Path, shard: &[&Mutant], results: &mut Results) -> anyhow::Result<()> {
    let out = work.join("alone");
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir_all(&out)?;
    let names: Vec<String> =
        shard.iter().map(|mutant| format!("  '''^{}$''',\n", escaped(&mutant.name))).collect();
    let config = out.join("mutants.toml");
    std::fs::write(&config, format!("examine_re = [\n{}]\n", names.concat()))?;
    // The expressions choose no mutant that deletes a field: cargo-mutants 27.1 runs those of all
    // files that it reads.
    let files: BTreeSet<&str> = shard.iter().map(|mutant| mutant.file.as_str()).collect();
    let status = Command::new("cargo")
        .args(["mutants", "--baseline", "skip", "--timeout", "20", "--build-timeout", "600"])
        .args(["--in-place", "--no-times", "--colors", "never", "--config"])
        .arg(&config)
        .arg("--output")
        .arg(&out)
        .args(files.iter().flat_map(|file| ["--file", file]))
        .args(["--", "--lib"])
        .env("PROPTEST_CASES", "32")
        .env("CARGO_TARGET_DIR", work.join("build"))
        .current_dir(work.join("sources"))
        .status()?;
    // 2: some were missed; 3: some took too long.
    ensure!(matches!(status.code(), Some(0 | 2 | 3)), "cargo mutants failed");
    for outcome in ["caught", "missed", "timeout", "unviable"] {
        let file = out.join(format!("mutants.out/{outcome}.txt"));
        for name in std::fs::read_to_string(file)?.lines() {
            if let Some(mutant) = shard.iter().find(|mutant| mutant.name == name) {
                results.add(mutant, outcome, "alone")?;
            }
        }
    }
    Ok(())
}

/// A name as a regular expression.
fn escaped(name: &str) -> String {
    let special = |letter| r"\.+*?()|[]{}^$&-~#".contains(letter);
    name.chars()
        .flat_map(|letter| special(letter).then_some('\\').into_iter().chain([letter]))
        .collect()
}
