//! Runs test programs: once without a mutant, to know which tests reach which mutants, then for
//! each mutant those tests alone.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};

/// Most CPU time in seconds of a batch of tests, because a mutant may loop for ever. Without a
/// mutant the slowest batch takes a third. Time by the clock would depend on other processes.
const CPU_SECONDS: &str = "30";
/// Longest time in seconds by the clock, because a mutant may wait for ever.
const DEADLINE: &str = "300";
/// Tests that run in one process, after which a failure ends the run of a mutant.
const BATCH: usize = 12;
/// Most memory of a test program, in KiB: a mutant may fill a queue without end.
const MEMORY: &str = "6000000";

/// Outcome of the tests under one mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A test failed.
    Caught,
    /// All tests passed, or none reaches the mutant.
    Missed,
    /// The tests did not end.
    Timeout,
}

/// One test of one program.
#[derive(Debug, Clone)]
struct Test {
    program: PathBuf,
    name: String,
    /// Duration without a mutant, in milliseconds.
    millis: u64,
}

/// Tests, with the mutants that each reaches.
pub(crate) struct Suite {
    folder: PathBuf,
    tests: Vec<Test>,
    /// Tests that reach a mutant, as places in `tests`, the quickest first.
    reaching: HashMap<usize, Vec<usize>>,
}

impl Suite {
    /// Runs each test alone, without a mutant. A test that takes longer than a mutant may is left
    /// out.
    pub(crate) fn traced(folder: &Path, programs: &[PathBuf]) -> anyhow::Result<Self> {
        let mut suite =
            Self { folder: folder.to_owned(), tests: Vec::new(), reaching: HashMap::new() };
        for program in programs {
            let listed = Command::new(program).args(["--list", "--format", "terse"]).output()?;
            for line in String::from_utf8(listed.stdout)?.lines() {
                if let Some(name) = line.strip_suffix(": test") {
                    suite.trace(program, name)?;
                }
            }
        }
        let Self { tests, reaching, .. } = &mut suite;
        for of_mutant in reaching.values_mut() {
            of_mutant.sort_by_key(|at| tests[*at].millis);
        }
        Ok(suite)
    }

    fn trace(&mut self, program: &Path, name: &str) -> anyhow::Result<()> {
        let trace = self.folder.join("trace");
        let _ = std::fs::remove_file(&trace);
        let trace_to = [("MUTANT_TRACE", trace.as_os_str())];
        let output = run(&self.folder, program, &[name], &trace_to)?;
        if is_too_long(&output) {
            println!("left out, because it takes too long: {name}");
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "fails without a mutant: {name}: {text}");
        if text.contains("1 ignored") {
            return Ok(());
        }
        let seconds = text.rsplit("finished in ").next().and_then(|text| text.split('s').next());
        let seconds: f64 = seconds.and_then(|text| text.parse().ok()).context("a duration")?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds")]
        let millis = (seconds * 1000.0) as u64;
        for line in std::fs::read_to_string(&trace).unwrap_or_default().lines() {
            self.reaching.entry(line.parse()?).or_default().push(self.tests.len());
        }
        self.tests.push(Test { program: program.to_owned(), name: name.to_owned(), millis });
        Ok(())
    }

    /// Number of tests.
    pub(crate) fn len(&self) -> usize {
        self.tests.len()
    }

    /// Runs the tests that reach a mutant, until one fails.
    pub(crate) fn outcome(&self, mutant: usize) -> anyhow::Result<Outcome> {
        let number = mutant.to_string();
        let mut batches: Vec<(&Path, Vec<&str>)> = Vec::new();
        for at in self.reaching.get(&mutant).into_iter().flatten() {
            let test = &self.tests[*at];
            let same = batches
                .iter_mut()
                .rev()
                .find(|(program, names)| *program == test.program && names.len() < BATCH);
            match same {
                Some((_, names)) => names.push(&test.name),
                None => batches.push((&test.program, vec![&test.name])),
            }
        }
        for (program, names) in batches {
            let output = run(&self.folder, program, &names, &[("MUTANT", number.as_ref())])?;
            if is_too_long(&output) {
                return Ok(Outcome::Timeout);
            }
            if !output.status.success() {
                return Ok(Outcome::Caught);
            }
        }
        Ok(Outcome::Missed)
    }
}

/// Whether a run was ended for its time: killed by `timeout` (as the shell reports it, or by its
/// signal), or for its CPU time (SIGXCPU).
fn is_too_long(output: &Output) -> bool {
    matches!(output.status.code(), Some(137 | 152))
        || matches!(output.status.signal(), Some(9 | 24))
}

/// Runs tests of a program by their names, with bounds on time and memory.
fn run(
    folder: &Path,
    program: &Path,
    names: &[&str],
    environment: &[(&str, &std::ffi::OsStr)],
) -> anyhow::Result<Output> {
    let bounded = format!(
        "ulimit -v {MEMORY}; ulimit -t {CPU_SECONDS}; exec timeout -s KILL {DEADLINE} \"$0\" \"$@\""
    );
    let mut command = Command::new("sh");
    command.args(["-c", &bounded]).arg(program).arg("--exact").args(names);
    // A property is tried with fewer cases than by `make test`: more found no further mutant.
    command.env("PROPTEST_CASES", "32").env("RUST_BACKTRACE", "0");
    command.envs(environment.iter().copied()).current_dir(folder);
    Ok(command.output()?)
}
