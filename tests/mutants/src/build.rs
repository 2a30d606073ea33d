//! One build with all mutants. Those that do not compile are taken out, as the errors name them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::listed::Mutant;
use crate::splice::{SWITCH, splice};

/// Rounds of compiler errors; each takes out one mutant at least.
const ROUNDS: usize = 200;

/// A copy of sources that is compiled with the switches of all mutants.
pub(crate) struct Package {
    /// Folder of the package that has `src/domain`.
    pub(crate) folder: PathBuf,
    /// Target directory.
    pub(crate) target: PathBuf,
    /// Arguments of `cargo test` that choose its test programs.
    pub(crate) targets: Vec<String>,
}

/// Test programs of a package, with the mutants that are in them.
pub(crate) struct Built {
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) placed: HashSet<usize>,
    /// Mutants whose types do not fit, with other mutants or without.
    pub(crate) unviable: HashSet<usize>,
}

/// Errors of an expression by itself: a trait that its type does not have, such as `Default`, and
/// an operator that its operands do not have.
const OF_TYPES: [&str; 2] = ["E0277", "E0369"];

impl Package {
    /// Builds the tests with all mutants that compile beside each other. `originals` is the folder
    /// of the unchanged sources.
    pub(crate) fn build(
        &self,
        originals: &Path,
        mutants: &[Mutant],
        mut left_out: HashSet<usize>,
    ) -> anyhow::Result<Built> {
        let mut unviable = HashSet::new();
        for round in 0..ROUNDS {
            let placed = self.write(originals, mutants, &left_out)?;
            let messages = self.compile()?;
            let broken = self.broken(&messages)?;
            if broken.is_empty() {
                let programs = programs(&messages);
                ensure!(!programs.is_empty(), "no test program was built: {}", errors(&messages));
                return Ok(Built { programs, placed, unviable });
            }
            eprintln!(
                "round {round}: {} mutants do not compile, or not beside others",
                broken.len()
            );
            unviable.extend(broken.iter().filter(|(_, of_types)| **of_types).map(|(one, _)| *one));
            left_out.extend(broken.into_keys());
        }
        anyhow::bail!("the mutants do not compile after {ROUNDS} rounds")
    }

    fn write(
        &self,
        originals: &Path,
        mutants: &[Mutant],
        left_out: &HashSet<usize>,
    ) -> anyhow::Result<HashSet<usize>> {
        let mut files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
        for (number, mutant) in mutants.iter().enumerate() {
            let of_file = files.entry(&mutant.file).or_default();
            if !left_out.contains(&number) {
                of_file.push((number, mutant));
            }
        }
        let mut placed = HashSet::new();
        for (file, mutants) in files {
            let code = std::fs::read_to_string(originals.join(file)).context(file.to_owned())?;
            let spliced = splice(&code, &mutants).context(file.to_owned())?;
            let to = self.folder.join(file);
            if std::fs::read_to_string(&to).is_ok_and(|old| old == spliced.code) {
                placed.extend(spliced.placed);
                continue;
            }
            std::fs::write(to, spliced.code)?;
            placed.extend(spliced.placed);
        }
        Ok(placed)
    }

    fn compile(&self) -> anyhow::Result<Vec<Value>> {
        let output = Command::new("cargo")
            .args(["test", "--no-run", "--quiet", "--message-format=json"])
            .args(&self.targets)
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", &self.target)
            .stderr(Stdio::inherit())
            .output()?;
        let lines = String::from_utf8(output.stdout)?;
        Ok(lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Mutants that errors of the compiler point at: the last switch before each error. Each with
    /// whether the error is one of [`OF_TYPES`].
    fn broken(&self, messages: &[Value]) -> anyhow::Result<HashMap<usize, bool>> {
        let mut broken = HashMap::new();
        for message in messages.iter().filter(|message| is_error(message)) {
            let spans = message["message"]["spans"].as_array().context("an error has spans")?;
            let Some(span) = spans.iter().find(|span| span["is_primary"] == true) else { continue };
            let file = span["file_name"].as_str().context("a span has a file")?;
            let line = span["line_start"].as_u64().context("a span has a line")?;
            let column = span["column_start"].as_u64().context("a span has a column")?;
            let number =
                self.switch_before(file, usize::try_from(line)?, usize::try_from(column)?)?;
            let rendered = || message["message"]["rendered"].to_string();
            let number =
                number.with_context(|| format!("an error of no mutant: {}", rendered()))?;
            let code = message["message"]["code"]["code"].as_str().unwrap_or_default();
            *broken.entry(number).or_default() |= OF_TYPES.contains(&code);
        }
        Ok(broken)
    }

    fn switch_before(
        &self,
        file: &str,
        line: usize,
        column: usize,
    ) -> anyhow::Result<Option<usize>> {
        // Paths are relative to the root of the workspace, which has the package or is the package.
        let path =
            self.folder.ancestors().map(|folder| folder.join(file)).find(|path| path.exists());
        let code = std::fs::read_to_string(path.with_context(|| format!("{file} is there"))?)?;
        let before: String = code
            .split_inclusive('\n')
            .enumerate()
            .take(line)
            .map(|(at, text)| {
                let until = if at + 1 < line { usize::MAX } else { column };
                text.chars().take(until).collect::<String>()
            })
            .collect();
        let number = before.rfind(SWITCH).map(|at| &before[at + SWITCH.len()..]);
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
        Ok(number.and_then(|text| digits(text).parse().ok()))
    }
}

fn is_error(message: &Value) -> bool {
    message["reason"] == "compiler-message" && message["message"]["level"] == "error"
}

fn errors(messages: &[Value]) -> String {
    let errors = messages.iter().filter(|message| is_error(message));
    errors.map(|message| message["message"]["rendered"].to_string()).collect()
}

fn programs(messages: &[Value]) -> Vec<PathBuf> {
    let tests = messages.iter().filter(|message| message["profile"]["test"] == true);
    tests.filter_map(|message| message["executable"].as_str()).map(PathBuf::from).collect()
}
