//! Comma-separated values after RFC 4180: a header, NULL as an empty field, quotes where they are needed.

use std::io::{self, Write};

use super::Rows;
use crate::rows::{Batch, Columns};
use crate::value::{self, Dialect};

/// Writes comma-separated values.
pub struct Delimited {
    /// The names of the columns, until they are written.
    header: Option<Vec<String>>,
}

impl Delimited {
    /// A writer that starts with the names of these columns.
    pub fn new(columns: &Columns) -> Self {
        Self { header: Some(columns.iter().map(|column| column.name.clone()).collect()) }
    }

    fn write(&mut self, out: &mut dyn Write, batch: Option<&Batch>) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        if let Some(header) = self.header.take() {
            writer.write_record(&header)?;
        }
        let Some(batch) = batch else { return writer.flush() };
        for row in batch.rows() {
            for (column, value) in row {
                let text = value.map(|value| value::text(column.kind, value, Dialect::Exchange));
                writer.write_field(text.as_deref().unwrap_or_default())?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
        writer.flush()
    }
}

impl Rows for Delimited {
    fn batch(&mut self, out: &mut dyn Write, batch: &Batch) -> io::Result<()> {
        self.write(out, Some(batch))
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.write(out, None)
    }
}
