//! Claims of the demo, and whether each held.

use std::fmt::Display;

use comfy_table::{Table, presets};

/// All claims so far.
#[derive(Debug, Default)]
pub(super) struct Checks(Vec<(String, bool, String)>);

impl Checks {
    /// Adds a claim, whether the claim held, and a figure as evidence.
    pub(super) fn claim(&mut self, what: &str, held: bool, figure: impl Display) {
        self.0.push((what.to_owned(), held, figure.to_string()));
    }

    /// Whether all claims held.
    pub(super) fn all_held(&self) -> bool {
        self.0.iter().all(|(_, held, _)| *held)
    }

    /// Formats the claims as a table for people.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["", "What", "Seen"]);
        for (what, held, figure) in &self.0 {
            table.add_row([if *held { "ok" } else { "FAILED" }, what, figure]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_claim_that_did_not_hold_is_enough() {
        let mut checks = Checks::default();
        checks.claim("one", true, 1);
        assert!(checks.all_held());
        checks.claim("two", false, 2);
        assert!(!checks.all_held());
        assert!(checks.table().to_string().contains("FAILED"));
    }
}
