//! Results in a file that grows by a line with each mutant, so that a run can stop at any moment.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::listed::Mutant;

/// Results of mutants: `outcome TAB pass TAB checksum of the code TAB name`; the last line counts.
pub(crate) struct Results {
    file: PathBuf,
    sums: HashMap<String, u64>,
    found: HashMap<(u64, String), String>,
}

impl Results {
    /// Results of an earlier run, as far as the code of the files is still the same.
    pub(crate) fn read(file: &Path, sources: &Path, mutants: &[Mutant]) -> anyhow::Result<Self> {
        let mut results =
            Self { file: file.to_owned(), sums: HashMap::new(), found: HashMap::new() };
        for mutant in mutants {
            if !results.sums.contains_key(&mutant.file) {
                let code = std::fs::read_to_string(sources.join(&mutant.file))?;
                results.sums.insert(mutant.file.clone(), sum(&code));
            }
        }
        for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
            let mut fields = line.splitn(4, '\t');
            let mut field = || fields.next().context("a result has four fields");
            let (outcome, pass, sum, name) = (field()?, field()?, field()?, field()?);
            let key = (sum.parse()?, name.to_owned());
            results.found.insert(key, format!("{outcome} {pass}"));
        }
        Ok(results)
    }

    /// `OUTCOME PASS` of a mutant that was run.
    pub(crate) fn of(&self, mutant: &Mutant) -> Option<&str> {
        let sum = self.sums.get(&mutant.file)?;
        self.found.get(&(*sum, mutant.name.clone())).map(String::as_str)
    }

    pub(crate) fn add(&mut self, mutant: &Mutant, outcome: &str, pass: &str) -> anyhow::Result<()> {
        let sum = self.sums[&mutant.file];
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.file)?;
        writeln!(file, "{outcome}\t{pass}\t{sum}\t{}", mutant.name)?;
        self.found.insert((sum, mutant.name.clone()), format!("{outcome} {pass}"));
        Ok(())
    }
}

/// Checksum of the code of a file, without its tests.
fn sum(code: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    code.split("\n#[cfg(test)]").next().unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}
