//! One line a value, a block a row: for rows that are wider than the terminal.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::{Rows, printable, row_count};
use crate::rows::{Batch, Column, Columns};
use crate::value::{self, Dialect};

/// Writes a block a row.
pub struct Vertical {
    /// The names of the columns, padded to the width of the longest.
    names: Vec<String>,
    rows: usize,
}

impl Vertical {
    /// A writer for these columns.
    pub fn new(columns: &Columns) -> Self {
        let names: Vec<_> = columns.iter().map(|column| printable(&column.name)).collect();
        let widest = names.iter().map(|name| name.width()).max().unwrap_or(0);
        let padded = names.iter().map(|name| format!("{name}{}", " ".repeat(widest - name.width())));
        Self { names: padded.collect(), rows: 0 }
    }

    /// Writes the next row, whose values are printable already; `None` is NULL.
    pub fn row(&mut self, out: &mut dyn Write, values: &[Option<String>]) -> io::Result<()> {
        self.rows += 1;
        writeln!(out, "-[ RECORD {} ]---", self.rows)?;
        for (name, value) in self.names.iter().zip(values) {
            let line = format!("{name} | {}", value.as_deref().unwrap_or("NULL"));
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Rows for Vertical {
    fn batch(&mut self, out: &mut dyn Write, batch: &Batch) -> io::Result<()> {
        for row in batch.rows() {
            self.row(out, &cells(row))?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", row_count(self.rows))
    }
}

/// The printable texts of a row.
pub fn cells<'b>(row: impl Iterator<Item = (&'b Column, Option<&'b str>)>) -> Vec<Option<String>> {
    let shown = |kind, value| printable(&value::text(kind, value, Dialect::Display)).into_owned();
    row.map(|(column, value)| Some(shown(column.kind, value?))).collect()
}
