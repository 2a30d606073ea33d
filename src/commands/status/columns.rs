//! Tables as kubectl prints them: three spaces between columns, and a column as wide as its longest
//! cell. A cell longer than [`WIDEST`] widens no column: it pushes the rest of its own row to the
//! right, and that row is back in line where a shorter cell leaves room.

/// Number of characters up to which a cell widens its column. A name may have 253, and a table in
/// which one Ingress of a thousand has such a name is to fit a terminal.
pub(super) const WIDEST: usize = 40;
/// Number of spaces between columns.
const GAP: usize = 3;

/// First character of each column.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Columns(Vec<usize>);

impl Columns {
    /// Lays out the columns of these rows, the header among them.
    pub(in crate::commands) fn of(rows: &[Vec<String>]) -> Self {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut starts = Vec::with_capacity(columns);
        let mut start = 0;
        for column in 0..columns {
            starts.push(start);
            let cells = rows.iter().filter_map(|row| row.get(column));
            let lengths = cells.map(|cell| length(cell)).filter(|length| *length <= WIDEST);
            start += lengths.max().unwrap_or(0) + GAP;
        }
        Self(starts)
    }

    /// Formats one row.
    pub(in crate::commands) fn line(&self, cells: &[String]) -> String {
        let (mut line, mut at) = (String::new(), 0);
        for (cell, start) in cells.iter().zip(&self.0) {
            if *start > 0 {
                let gap = start.saturating_sub(at).max(GAP);
                line.push_str(&" ".repeat(gap));
                at += gap;
            }
            line.push_str(cell);
            at += length(cell);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

fn length(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    fn table(rows: &[Vec<String>]) -> Vec<String> {
        let columns = Columns::of(rows);
        rows.iter().map(|row| columns.line(row)).collect()
    }

    #[test]
    fn a_name_of_250_characters_moves_no_other_row_and_the_end_of_its_own_only() {
        let long = "x".repeat(250);
        let rows = [
            row(&["NAME", "READY", "AGE"]),
            row(&["shop", "True", "2d"]),
            row(&[&long, "True", "3d"]),
        ];
        let lines = table(&rows);
        assert_eq!(lines[..2], ["NAME   READY   AGE", "shop   True    2d"]);
        assert_eq!(lines[2], format!("{long}   True   3d"));
    }

    #[test]
    fn a_row_is_back_in_line_where_shorter_cells_leave_room() {
        let (long, wide) = ("x".repeat(WIDEST + 4), "y".repeat(20));
        let lines = table(&[row(&["a", &wide, &wide, "end"]), row(&[&long, "b", "c", "end"])]);
        let ends: Vec<_> = lines.iter().map(|line| line.find("end")).collect();
        assert_eq!(ends, [Some(1 + GAP + 20 + GAP + 20 + GAP), Some(WIDEST + 4 + 3 * GAP + 2)]);
        let wide = "y".repeat(WIDEST);
        let lines = table(&[row(&["a", &wide, &wide, "end"]), row(&[&long, "b", "c", "end"])]);
        assert_eq!(lines[0].find("end"), lines[1].find("end"));
    }

    proptest! {
        #[test]
        fn any_cells_are_in_their_row_in_order_and_apart(
            cells in proptest::collection::vec(
                proptest::collection::vec("[a-zé]{1,60}", 3), 1..6,
            ),
        ) {
            let bound = 3 * (WIDEST + GAP);
            for (row, line) in cells.iter().zip(table(&cells)) {
                let read: Vec<&str> = line.split_whitespace().collect();
                prop_assert_eq!(&read, row);
                let apart = row[..2].iter().all(|cell| line.contains(&format!("{cell}   ")));
                prop_assert!(apart, "{}", line);
                let own: usize = row.iter().map(|cell| length(cell)).sum();
                prop_assert!(length(&line) <= bound + own);
            }
        }
    }
}
