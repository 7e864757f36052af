//! Writing batches to a file.
//!
//! The file grows under a temporary name beside its own and takes its name when it is whole and on the disk.

use super::input::short_name;
use super::options::{Compression, CopyOptions, FileFormat};
use super::plain::write_field;
use super::render::{ColumnText, texts};
use crate::error::arrow_error;
use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter as IpcWriter;
use arrow::record_batch::RecordBatch;
use evenkeel_model::{Error, Result, SqlState};
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as ParquetCompression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Encoded bytes of a Parquet row group that are kept in memory.
const ROW_GROUP_BYTES: usize = 64 << 20;

static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Writes batches to a file, which appears when it is finished. Dropped before, nothing is left.
pub(crate) struct FileWriter {
    encoder: Encoder,
    unfinished: Unfinished,
}

enum Encoder {
    Text(Box<TextEncoder>, Sink),
    Parquet(Box<ArrowWriter<File>>, SchemaRef),
    Arrow(Box<IpcWriter<BufWriter<File>>>),
}

impl FileWriter {
    /// # Errors
    /// 58030 when a file cannot be made there.
    pub(crate) fn create(path: &Path, options: &CopyOptions, schema: SchemaRef) -> Result<Self> {
        let (unfinished, file) = Unfinished::create(path)?;
        let encoder = match options.format {
            FileFormat::Parquet => {
                let stored = Arc::new(Schema::new(schema.fields().iter().map(storable).collect::<Vec<_>>()));
                let level = ZstdLevel::try_new(3).map_err(parquet_error)?;
                let properties = WriterProperties::builder().set_compression(ParquetCompression::ZSTD(level)).build();
                let writer = ArrowWriter::try_new(file, Arc::clone(&stored), Some(properties));
                Encoder::Parquet(Box::new(writer.map_err(parquet_error)?), stored)
            }
            FileFormat::Arrow => {
                Encoder::Arrow(Box::new(IpcWriter::try_new_buffered(file, &schema).map_err(arrow_error)?))
            }
            _ => {
                let sink = Sink::new(file, options.compression).map_err(|error| unfinished.error(&error))?;
                Encoder::Text(Box::new(TextEncoder::new(options, &schema)), sink)
            }
        };
        Ok(Self { encoder, unfinished })
    }

    /// Writes the rows of a batch.
    ///
    /// # Errors
    /// 53100 or 58030 when the disk does not take them.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.encoder {
            Encoder::Text(encoder, sink) => {
                let rows = encoder.batch(batch)?;
                sink.write_all(&rows).map_err(|error| self.unfinished.error(&error))
            }
            Encoder::Arrow(writer) => writer.write(batch).map_err(arrow_error),
            Encoder::Parquet(writer, schema) => {
                let columns = batch.columns().iter().map(store).collect::<Result<Vec<_>>>()?;
                let stored = super::reader::batch_of(schema, columns, batch.num_rows())?;
                writer.write(&stored).map_err(parquet_error)?;
                if writer.in_progress_size() > ROW_GROUP_BYTES {
                    writer.flush().map_err(parquet_error)?;
                }
                Ok(())
            }
        }
    }

    /// Completes the file and gives it its name. Returns its bytes.
    ///
    /// # Errors
    /// As [`FileWriter::write`]; nothing is left then.
    pub(crate) fn finish(self) -> Result<u64> {
        let unfinished = self.unfinished;
        let file = match self.encoder {
            Encoder::Text(mut encoder, mut sink) => {
                let rest = encoder.finish();
                let written = sink.write_all(&rest).and_then(|()| sink.finish());
                written.map_err(|error| unfinished.error(&error))?
            }
            Encoder::Parquet(writer, _) => writer.into_inner().map_err(parquet_error)?,
            Encoder::Arrow(writer) => {
                let buffered = writer.into_inner().map_err(arrow_error)?;
                buffered.into_inner().map_err(|error| unfinished.error(error.error()))?
            }
        };
        unfinished.finish(&file)
    }
}

/// A file that has not got its name yet, and is removed when it never does.
struct Unfinished {
    temporary: PathBuf,
    path: PathBuf,
}

impl Unfinished {
    fn create(path: &Path) -> Result<(Self, File)> {
        if path.is_dir() {
            let message = format!("\"{}\" is a directory, not a file", path.display());
            return Err(Error::new(SqlState::IoError, message));
        }
        let number = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let name = format!(".{}.{}-{number}.tmp", short_name(path), std::process::id());
        let unfinished = Self { temporary: path.with_file_name(name), path: path.to_path_buf() };
        let file = File::create(&unfinished.temporary).map_err(|error| unfinished.error(&error))?;
        Ok((unfinished, file))
    }

    fn finish(self, file: &File) -> Result<u64> {
        let complete = || {
            file.sync_all()?;
            let bytes = file.metadata()?.len();
            std::fs::rename(&self.temporary, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(bytes)
        };
        complete().map_err(|error: std::io::Error| self.error(&error))
    }

    fn error(&self, error: &std::io::Error) -> Error {
        let state = match error.kind() {
            ErrorKind::StorageFull => SqlState::DiskFull,
            _ => SqlState::IoError,
        };
        let failed = Error::new(state, format!("cannot write \"{}\": {error}", self.path.display()));
        match error.kind() {
            ErrorKind::NotFound => failed.with_hint("the directory has to be there already"),
            _ => failed,
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is nothing of that name.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// Where text goes.
enum Sink {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Sink {
    fn new(file: File, compression: Compression) -> std::io::Result<Self> {
        let file = BufWriter::with_capacity(256 << 10, file);
        Ok(match compression {
            Compression::None => Self::Plain(file),
            Compression::Gzip => Self::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> std::io::Result<File> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        file.into_inner().map_err(std::io::IntoInnerError::into_error)
    }
}

/// Puts rows into text, for a client.
pub(crate) struct StreamEncoder(TextEncoder);

impl StreamEncoder {
    pub(crate) fn new(options: &CopyOptions, schema: &Schema) -> Self {
        Self(TextEncoder::new(options, schema))
    }

    /// # Errors
    /// XX000 for columns that have no text.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.0.batch(batch)
    }

    /// What comes after the last row.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.finish()
    }
}

/// Writes rows as text.
struct TextEncoder {
    options: CopyOptions,
    /// The columns' names: as JSON keys with their colons, or as they are.
    names: Vec<Vec<u8>>,
    begun: bool,
    /// Rows of the batch, and one field.
    rows: Vec<u8>,
    field: Vec<u8>,
}

impl TextEncoder {
    fn new(options: &CopyOptions, schema: &Schema) -> Self {
        let name = |field: &Arc<Field>| match options.format.is_delimited() {
            true => field.name().clone().into_bytes(),
            false => format!("{}:", serde_json::Value::from(field.name().as_str())).into_bytes(),
        };
        let names = schema.fields().iter().map(name).collect();
        Self { options: options.clone(), names, begun: false, rows: Vec::new(), field: Vec::new() }
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let of = |array: &ArrayRef| match self.options.format {
            FileFormat::Text => ColumnText::wire(array),
            _ => ColumnText::new(array),
        };
        let columns = batch.columns().iter().map(of).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            if self.options.format.is_delimited() {
                self.begin_delimited();
                self.delimited_row(&columns, row);
            } else {
                self.json_row(&columns, row).map_err(|error| Error::internal(format!("a row has no JSON: {error}")))?;
            }
        }
        Ok(std::mem::take(&mut self.rows))
    }

    /// Writes the names of the columns, once.
    fn begin_delimited(&mut self) {
        if std::mem::replace(&mut self.begun, true) || !self.options.header {
            return;
        }
        for index in 0..self.names.len() {
            self.field.clear();
            self.field.extend_from_slice(&self.names[index]);
            self.push_field(index);
        }
        self.rows.push(b'\n');
    }

    fn delimited_row(&mut self, columns: &[ColumnText], row: usize) {
        for (index, column) in columns.iter().enumerate() {
            if column.is_null(row) {
                if index > 0 {
                    self.rows.push(self.options.delimiter);
                }
                self.rows.extend_from_slice(self.options.null.as_bytes());
            } else {
                self.field.clear();
                column.write(row, &mut self.field);
                self.push_field(index);
            }
        }
        self.rows.push(b'\n');
    }

    /// Appends the field, in quotes where it would otherwise be read as something else.
    fn push_field(&mut self, index: usize) {
        let (delimiter, quote) = (self.options.delimiter, self.options.quote);
        if index > 0 {
            self.rows.push(delimiter);
        }
        if self.options.format == FileFormat::Text {
            return write_field(&self.field, delimiter, &mut self.rows);
        }
        let special = |byte: &u8| *byte == delimiter || *byte == quote || matches!(byte, b'\n' | b'\r');
        // Text that begins with a byte order mark would lose it at the start of the file.
        let quoted = self.field == self.options.null.as_bytes()
            || self.field.is_empty()
            || self.field.starts_with(b"\xef\xbb\xbf")
            || self.field.iter().any(special);
        if !quoted {
            self.rows.extend_from_slice(&self.field);
            return;
        }
        self.rows.push(quote);
        for byte in &self.field {
            if *byte == quote {
                self.rows.push(quote);
            }
            self.rows.push(*byte);
        }
        self.rows.push(quote);
    }

    fn json_row(&mut self, columns: &[ColumnText], row: usize) -> std::io::Result<()> {
        let before: &[u8] = match (self.options.format, std::mem::replace(&mut self.begun, true)) {
            (FileFormat::Json, false) => b"[\n",
            (FileFormat::Json, true) => b",\n",
            _ => b"",
        };
        self.rows.extend_from_slice(before);
        self.rows.push(b'{');
        for (index, (name, column)) in self.names.iter().zip(columns).enumerate() {
            if index > 0 {
                self.rows.push(b',');
            }
            self.rows.extend_from_slice(name);
            column.write_json(row, &mut self.rows)?;
        }
        self.rows.push(b'}');
        if self.options.format != FileFormat::Json {
            self.rows.push(b'\n');
        }
        Ok(())
    }

    /// What comes after the last row.
    fn finish(&mut self) -> Vec<u8> {
        match (self.options.format, self.begun) {
            (FileFormat::Json, true) => self.rows.extend_from_slice(b"\n]\n"),
            (FileFormat::Json, false) => self.rows.extend_from_slice(b"[]\n"),
            (FileFormat::Ndjson, _) => {}
            _ => self.begin_delimited(),
        }
        std::mem::take(&mut self.rows)
    }
}

/// A field with the type in which Parquet keeps it: it has no intervals that are exact to the nanosecond.
fn storable(field: &Arc<Field>) -> Arc<Field> {
    let stored = match field.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::Utf8View,
        DataType::List(item) => DataType::List(storable(item)),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(stored))
}

fn store(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => Ok(Arc::new(texts(array)?)),
        DataType::List(item) if storable(item).data_type() != item.data_type() => {
            let list: &ListArray = array.as_list();
            let values = store(list.values())?;
            let stored = ListArray::try_new(storable(item), list.offsets().clone(), values, list.nulls().cloned());
            stored.map(|list| Arc::new(list) as ArrayRef).map_err(arrow_error)
        }
        _ => Ok(Arc::clone(array)),
    }
}

fn parquet_error(error: ParquetError) -> Error {
    let ParquetError::External(inner) = error else { return arrow_error(ArrowError::from(error)) };
    arrow_error(match inner.downcast::<std::io::Error>() {
        Ok(error) => ArrowError::IoError(format!("cannot write a Parquet file: {error}"), *error),
        Err(inner) => ArrowError::ExternalError(inner),
    })
}
