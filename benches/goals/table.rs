//! The table of goals.

use std::fmt;
use std::path::Path;

use comfy_table::{Table, presets};
use serde_json::Value;

/// All measured goals.
#[derive(Default)]
pub(crate) struct Goals(Vec<Goal>);

struct Goal {
    what: String,
    aim: String,
    figure: String,
    met: bool,
}

impl Goals {
    /// Adds a figure with an upper limit.
    pub(crate) fn at_most(&mut self, what: &str, limit: f64, figure: f64, unit: &str) {
        self.add(what, format!("≤ {limit}{unit}"), format!("{figure:.2}{unit}"), figure <= limit);
    }

    /// Adds a count with an exact goal.
    pub(crate) fn exactly(&mut self, what: &str, goal: u64, figure: u64) {
        self.add(what, format!("= {goal}"), figure.to_string(), figure == goal);
    }

    fn add(&mut self, what: &str, aim: String, figure: String, met: bool) {
        eprintln!("  {what}: {figure} (goal {aim})");
        self.0.push(Goal { what: what.to_owned(), aim, figure, met });
    }

    /// Adds the ratio of two measurements of criterion; without them, the goal counts as missed.
    pub(crate) fn dedup(&mut self) {
        let what = "events, watcher to dedup, one core: time over a plain loop's";
        let figures = criterion("watcher_to_dedup").zip(criterion("plain_loop"));
        let Some((ours, plain)) = figures else {
            let missing = "not measured: cargo bench --bench dedup".into();
            return self.add(what, "≤ 3 ×".into(), missing, false);
        };
        eprintln!("  {:.0} and {:.0} events a second", EVENTS / ours, EVENTS / plain);
        self.at_most(what, 3.0, ours / plain, " ×");
    }
}

/// Number of events of one iteration of `benches/dedup.rs`.
const EVENTS: f64 = 100_000.0;

/// Returns criterion's latest measurement of a bench in the group `dedup`, in seconds.
fn criterion(bench: &str) -> Option<f64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("target/criterion/dedup").join(bench).join("new/estimates.json");
    let estimates: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    estimates["mean"]["point_estimate"].as_f64().map(|nanoseconds| nanoseconds / 1e9)
}

impl fmt::Display for Goals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["What", "Goal", "Figure", ""]);
        for Goal { what, aim, figure, met } in &self.0 {
            table.add_row([what.as_str(), aim, figure, if *met { "met" } else { "MISSED" }]);
        }
        write!(f, "{table}")
    }
}
