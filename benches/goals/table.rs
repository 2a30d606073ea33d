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

    /// Adds criterion's latest measurement; without one, the goal counts as missed.
    pub(crate) fn dedup(&mut self) {
        const EVENTS: f64 = 100_000.0;
        let what = "events a second, watcher to dedup, one core";
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = root.join("target/criterion/dedup/watcher_to_dedup/new/estimates.json");
        let estimates = std::fs::read(file).ok();
        let estimates: Option<Value> =
            estimates.and_then(|read| serde_json::from_slice(&read).ok());
        let nanoseconds = estimates.and_then(|read| read["mean"]["point_estimate"].as_f64());
        let Some(nanoseconds) = nanoseconds else {
            return self.add(
                what,
                "≥ 500000".into(),
                "not measured: cargo bench --bench dedup".into(),
                false,
            );
        };
        let rate = EVENTS * 1e9 / nanoseconds;
        self.add(what, "≥ 500000".into(), format!("{rate:.0}"), rate >= 500_000.0);
    }
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
