//! The list of `status` in each output format.

use ingress_acme_actors::domain::time::Timestamp;

use super::columns::Columns;
use super::row::Row;
use crate::commands::cli::ListOutput;

/// Output of one call: with `-w`, the list and the rows that change later.
pub(super) struct Listing {
    output: ListOutput,
    /// Whether rows name their namespace, as with `-A`.
    all_namespaces: bool,
    /// Whether rows follow the list: then each row is a JSON or YAML document of its own.
    watched: bool,
    /// Layout of the first table, which the rows that follow keep.
    columns: Option<Columns>,
}

impl Listing {
    pub(super) fn new(output: ListOutput, all_namespaces: bool, watched: bool) -> Self {
        Self { output, all_namespaces, watched, columns: None }
    }

    /// Formats rows, without the end of the last line; empty if there is nothing to print.
    pub(super) fn show(&mut self, rows: &[Row], now: Timestamp) -> anyhow::Result<String> {
        Ok(match self.output {
            ListOutput::Table | ListOutput::Wide => self.table(rows, now),
            ListOutput::Name => names(rows),
            ListOutput::Json if self.watched => {
                let documents = rows.iter().map(serde_json::to_string);
                documents.collect::<Result<Vec<_>, _>>()?.join("\n")
            }
            ListOutput::Json => serde_json::to_string_pretty(rows)?,
            ListOutput::Yaml if self.watched => {
                let documents = rows.iter().map(serde_saphyr::to_string);
                let documents = documents.collect::<Result<Vec<_>, _>>()?;
                documents
                    .iter()
                    .map(|one| format!("---\n{}", one.trim_end()))
                    .collect::<Vec<_>>()
                    .join("\n")
            }
            ListOutput::Yaml => serde_saphyr::to_string(&rows)?.trim_end().to_owned(),
        })
    }

    fn table(&mut self, rows: &[Row], now: Timestamp) -> String {
        let wide = self.output == ListOutput::Wide;
        let cells = rows.iter().map(|row| row.cells(self.all_namespaces, wide, now));
        let mut cells: Vec<Vec<String>> = cells.collect();
        if cells.is_empty() {
            return String::new();
        }
        if self.columns.is_none() {
            cells.insert(0, Row::header(self.all_namespaces, wide));
        }
        let columns = self.columns.get_or_insert_with(|| Columns::of(&cells));
        let lines: Vec<String> = cells.iter().map(|row| columns.line(row)).collect();
        lines.join("\n")
    }
}

/// Names of the Ingresses as kubectl prints and takes them, each once.
fn names(rows: &[Row]) -> String {
    let mut names: Vec<String> = rows.iter().map(Row::resource).collect();
    names.dedup();
    names.join("\n")
}
