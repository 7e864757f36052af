//! A table as Markdown writes it. Columns are not padded: whatever reads it draws its own, and rows need not wait.

use std::io::{self, Write};

use super::{Rows, printable};
use crate::rows::{Batch, Columns};
use crate::value::{self, Dialect};

/// Writes a Markdown table.
pub struct Markdown {
    /// The two lines above the first row, until they are written.
    header: Option<String>,
}

impl Markdown {
    /// A writer that starts with the names of these columns.
    pub fn new(columns: &Columns) -> Self {
        let names = columns.iter().map(|column| cell(&column.name));
        let rules = columns.iter().map(|column| if column.kind.is_numeric() { "---:" } else { "---" });
        Self { header: Some(line(names) + &line(rules.map(str::to_string))) }
    }
}

impl Rows for Markdown {
    fn batch(&mut self, out: &mut dyn Write, batch: &Batch) -> io::Result<()> {
        out.write_all(self.header.take().unwrap_or_default().as_bytes())?;
        for row in batch.rows() {
            let cells = row.map(|(column, value)| match value {
                Some(value) => cell(&value::text(column.kind, value, Dialect::Display)),
                None => "NULL".to_string(),
            });
            out.write_all(line(cells).as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.header.take().unwrap_or_default().as_bytes())
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn cell(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| printable(line).replace('|', "\\|")).collect();
    lines.join("<br>")
}
