//! What commands write to standard output: lines, JSON, tables.

use std::io::{self, IsTerminal as _, Write as _};

use crate::exit::Failure;

/// Writes one line. A reader that went away (`| head`) is no error: the process has said what it could.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Passed(0)),
        Err(error) => Err(Failure::doing("writing to standard output", error)),
    }
}

/// Writes a JSON value, in one line.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Writes one JSON object, its fields in the order in which they are declared.
pub(crate) fn json_of(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::doing("writing JSON", error))?;
    line(&text)
}

/// Writes one line to standard error; if that is closed, there is nobody to tell.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether somebody watches standard error.
pub(crate) fn watched() -> bool {
    io::stderr().is_terminal()
}

/// Lays rows out in columns: the first left, `right` of them (by index) to the right. A row of headings comes first.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn numbers_stand_under_each_other() {
        let rows = [["limit", "left"], ["requests", "7"], ["auth", "600"]];
        let rows: Vec<Vec<String>> = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(table(&rows, &[1]), "limit     left\nrequests     7\nauth       600");
    }
}
