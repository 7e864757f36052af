//! Comma-separated values after RFC 4180: a header, NULL as an empty field, quotes where they are needed.

use std::io::{self, Write};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::Rows;
use crate::value::{self, Dialect};

/// Writes comma-separated values.
pub struct Delimited {
    /// The names of the columns, until they are written.
    header: Option<Vec<String>>,
}

impl Delimited {
    /// A writer that starts with the names of these columns.
    pub fn new(schema: &SchemaRef) -> Self {
        Self { header: Some(schema.fields().iter().map(|field| field.name().clone()).collect()) }
    }

    fn write(&mut self, out: &mut dyn Write, batch: Option<&RecordBatch>) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        if let Some(header) = self.header.take() {
            writer.write_record(&header)?;
        }
        let Some(batch) = batch else { return writer.flush() };
        for row in 0..batch.num_rows() {
            for column in batch.columns() {
                writer.write_field(value::text(column, row, Dialect::Exchange).unwrap_or_default())?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
        writer.flush()
    }
}

impl Rows for Delimited {
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()> {
        self.write(out, Some(batch))
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.write(out, None)
    }
}
