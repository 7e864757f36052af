//! A table as Markdown writes it. Columns are not padded: whatever reads it draws its own, and rows need not wait.

use std::io::{self, Write};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::{Rows, printable};
use crate::value::{self, Dialect};

/// Writes a Markdown table.
pub struct Markdown {
    /// The two lines above the first row, until they are written.
    header: Option<String>,
}

impl Markdown {
    /// A writer that starts with the names of these columns.
    pub fn new(schema: &SchemaRef) -> Self {
        let names = schema.fields().iter().map(|field| cell(field.name()));
        let rules =
            schema.fields().iter().map(|field| if value::is_numeric(field.data_type()) { "---:" } else { "---" });
        Self { header: Some(line(names) + &line(rules.map(str::to_string))) }
    }
}

impl Rows for Markdown {
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()> {
        out.write_all(self.header.take().unwrap_or_default().as_bytes())?;
        for row in 0..batch.num_rows() {
            let texts = batch.columns().iter().map(|column| value::text(column, row, Dialect::Display));
            out.write_all(
                line(texts.map(|text| text.map_or_else(|| "NULL".to_string(), |text| cell(&text)))).as_bytes(),
            )?;
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
