//! Mutants as `cargo mutants --list --json` describes them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// One mutant: a small change of one place in the code.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Mutant {
    /// File, position and change, unique.
    pub(crate) name: String,
    /// Path inside the package.
    pub(crate) file: String,
    pub(crate) genre: Genre,
    /// New text of the place: an operator, an expression, or nothing.
    pub(crate) replacement: String,
    pub(crate) span: Place,
}

/// Kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// Changed text, from its first character on.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Place {
    pub(crate) start: Position,
}

/// Line and column of a character, both from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Mutant {
    /// The name without its position, which an edit elsewhere in the file moves.
    pub(crate) fn change(&self) -> &str {
        self.name.splitn(4, ':').nth(3).unwrap_or_default().trim()
    }

    /// Whether the mutant belongs to those that are run first: what decides about orders, limits,
    /// renewal and the journal.
    pub(crate) fn is_first(&self) -> bool {
        ["issuance", "rate_limits", "log", "validity"].iter().any(|folder| {
            let rest = self.file.strip_prefix("src/domain/");
            rest.and_then(|rest| rest.strip_prefix(folder))
                .is_some_and(|rest| rest.starts_with(['/', '.']))
        })
    }
}

/// All mutants of a package, those to be run first in front.
pub(crate) fn mutants_of(package: &Path) -> anyhow::Result<Vec<Mutant>> {
    let listed = Command::new("cargo")
        .args(["mutants", "--list", "--json", "--no-config"])
        .current_dir(package)
        .output()?;
    ensure!(listed.status.success(), "cargo mutants --list failed: install cargo-mutants");
    let mut mutants: Vec<Mutant> =
        serde_json::from_slice(&listed.stdout).context("the list of cargo-mutants changed")?;
    mutants.sort_by_key(|mutant| !mutant.is_first());
    Ok(mutants)
}
