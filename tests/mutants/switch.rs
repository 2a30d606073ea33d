//! Switches of the mutants: the environment turns one of them on.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

static CHOSEN: OnceLock<usize> = OnceLock::new();
static TRACE: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
static REACHED: [AtomicU64; 128] = [const { AtomicU64::new(0) }; 128];

/// Whether the mutant of this number is in effect. With MUTANT_TRACE, notes that it was reached.
pub fn on(number: usize) -> bool {
    let variable = || std::env::var("MUTANT").ok().and_then(|number| number.parse().ok());
    let chosen = *CHOSEN.get_or_init(|| variable().unwrap_or(usize::MAX));
    let trace = TRACE.get_or_init(|| std::env::var_os("MUTANT_TRACE").map(Into::into));
    if let Some(file) = trace {
        let bit = 1 << (number % 64);
        if REACHED[number / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
            writeln!(file, "{number}").unwrap();
        }
    }
    chosen == number
}
