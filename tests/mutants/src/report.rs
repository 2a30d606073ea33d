//! Report: how many mutants were caught, of how many tried, of how many there are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::listed::Mutant;
use crate::results::Results;

/// Counts of outcomes.
#[derive(Default)]
struct Counts {
    listed: usize,
    outcomes: BTreeMap<String, usize>,
    equivalent: usize,
}

/// Writes `docs/mutants.txt`: the counts, and every mutant that no test catches, with the reason
/// why no behaviour differs, if `tests/mutants/equivalent.txt` has one.
pub(crate) fn write(root: &Path, mutants: &[Mutant], results: &Results) -> anyhow::Result<()> {
    let reasons = std::fs::read_to_string(root.join("tests/mutants/equivalent.txt"))?;
    let reasons: BTreeMap<(&str, &str), &str> = reasons
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.splitn(3, " | ");
            Some(((fields.next()?, fields.next()?), fields.next()?))
        })
        .collect();
    let (mut first, mut rest) = (Counts::default(), Counts::default());
    let mut missed = String::new();
    for mutant in mutants {
        let counts = if mutant.is_first() { &mut first } else { &mut rest };
        counts.listed += 1;
        let Some(was) = results.of(mutant).filter(|was| *was != crate::UNPLACED) else { continue };
        *counts.outcomes.entry(was.to_owned()).or_default() += 1;
        if was.starts_with("missed") {
            let line = line_of(root, mutant)?;
            let key = format!("{}: {}", mutant.file, mutant.change());
            let reason = reasons.get(&(key.as_str(), line.as_str()));
            counts.equivalent += usize::from(reason.is_some());
            writeln!(missed, "{key} | {line} | {}", reason.unwrap_or(&"NO TEST"))?;
        }
    }
    let mut text = String::new();
    describe(&mut text, "issuance, rate_limits, log, validity", &first)?;
    describe(&mut text, "the rest", &rest)?;
    print!("{text}");
    writeln!(text, "\nMissed: file, change | line | why no behaviour differs\n{missed}")?;
    Ok(std::fs::write(root.join("docs/mutants.txt"), text)?)
}

fn line_of(root: &Path, mutant: &Mutant) -> anyhow::Result<String> {
    let code = std::fs::read_to_string(root.join("actors").join(&mutant.file))?;
    Ok(code.lines().nth(mutant.span.start.line - 1).unwrap_or_default().trim().to_owned())
}

fn describe(text: &mut String, title: &str, counts: &Counts) -> std::fmt::Result {
    let of = |outcome: &str| -> usize {
        let found = counts.outcomes.iter().filter(|(was, _)| was.starts_with(outcome));
        found.map(|(_, count)| count).sum()
    };
    let (caught, missed, timeouts) = (of("caught"), of("missed"), of("timeout"));
    let flows = counts.outcomes.get("caught flows").copied().unwrap_or_default();
    let tried: usize = counts.outcomes.values().sum();
    writeln!(
        text,
        "{title}: {} caught ({flows} by flows only, {timeouts} by a timeout) and {missed} missed \
         ({} equivalent) of {} viable; {} unviable; {tried} tried of {}",
        caught + timeouts,
        counts.equivalent,
        caught + timeouts + missed,
        of("unviable"),
        counts.listed,
    )
}
