//! Reading Parquet and Arrow files.

use super::BATCH_ROWS;
use super::input::{Consumed, open_counted, open_file, read_error, short_name};
use super::options::FileFormat;
use super::origin::RowOrigin;
use super::reader::{Others, Target, batch_of, match_columns, schema_of};
use super::text::TextColumn;
use crate::error::arrow_error;
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, ListArray, StringViewArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::compute::kernels::cmp::distinct;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader as IpcFileReader, StreamReader};
use arrow::record_batch::RecordBatch;
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use evenkeel_storage::codec::arrow_type;
use evenkeel_storage::codec::cells::format_uuid;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

type Batches = Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send>;

/// Batches as a file has them, in pieces of [`BATCH_ROWS`] at most.
pub(super) struct ColumnarReader {
    file: String,
    schema: SchemaRef,
    batches: Batches,
    current: Option<RecordBatch>,
    consumed: Consumed,
    /// Rows handed out, and how many there are where the file says so.
    rows: u64,
    rows_total: Option<u64>,
}

impl ColumnarReader {
    /// Opens a file, for all of its columns or those at these positions, which ascend.
    pub(super) fn open(path: &Path, format: FileFormat, projection: Option<&[usize]>) -> Result<Self> {
        match format {
            FileFormat::Parquet => Self::open_parquet(path, projection),
            _ => Self::open_arrow(path, projection),
        }
    }

    fn open_parquet(path: &Path, projection: Option<&[usize]>) -> Result<Self> {
        let file = short_name(path);
        let (opened, consumed) = open_file(path)?;
        let not_parquet = |error: parquet::errors::ParquetError| {
            Error::new(SqlState::BadCopyFileFormat, format!("\"{file}\" cannot be read as Parquet: {error}"))
        };
        let mut builder =
            ParquetRecordBatchReaderBuilder::try_new(opened).map_err(not_parquet)?.with_batch_size(BATCH_ROWS);
        let rows_total = u64::try_from(builder.metadata().file_metadata().num_rows()).ok();
        let mut schema = Arc::clone(builder.schema());
        if let Some(projection) = projection {
            schema = Arc::new(schema.project(projection).map_err(arrow_error)?);
            let mask = ProjectionMask::roots(builder.parquet_schema(), projection.iter().copied());
            builder = builder.with_projection(mask);
        }
        let batches: Batches = Box::new(builder.build().map_err(not_parquet)?);
        Ok(Self { file, schema, batches, current: None, consumed, rows: 0, rows_total })
    }

    fn open_arrow(path: &Path, projection: Option<&[usize]>) -> Result<Self> {
        let file = short_name(path);
        let (mut opened, consumed) = open_counted(path)?;
        let mut magic = Vec::new();
        let peeked = opened.by_ref().take(6).read_to_end(&mut magic).and_then(|_| opened.seek(SeekFrom::Start(0)));
        peeked.map_err(|error| read_error(&file, &error))?;
        let input = BufReader::with_capacity(256 << 10, opened);
        let projection = projection.map(<[usize]>::to_vec);
        let not_arrow = |error: ArrowError| {
            Error::new(SqlState::BadCopyFileFormat, format!("\"{file}\" cannot be read as Arrow IPC: {error}"))
        };
        let (schema, batches): (SchemaRef, Batches) = if magic == b"ARROW1" {
            let reader = IpcFileReader::try_new(input, projection.clone()).map_err(not_arrow)?;
            (reader.schema(), Box::new(reader))
        } else {
            let reader = StreamReader::try_new(input, projection.clone()).map_err(not_arrow)?;
            (reader.schema(), Box::new(reader))
        };
        let schema = match &projection {
            Some(projection) => Arc::new(schema.project(projection).map_err(arrow_error)?),
            None => schema,
        };
        Ok(Self { file, schema, batches, current: None, consumed, rows: 0, rows_total: None })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn consumed(&self) -> &Consumed {
        &self.consumed
    }

    /// The next piece, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.current.take().filter(|batch| batch.num_rows() > 0) {
                let rows = batch.num_rows().min(BATCH_ROWS);
                self.current = Some(batch.slice(rows, batch.num_rows() - rows));
                self.advance(rows as u64);
                return Ok(Some(batch.slice(0, rows)));
            }
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let damaged = |error: ArrowError| {
                let after = format!("after row {} of {}", self.rows, self.file);
                Error::new(SqlState::BadCopyFileFormat, format!("\"{}\" cannot be read: {error}", self.file))
                    .with_detail(after)
            };
            self.current = Some(batch.map_err(damaged)?);
        }
    }

    /// Parquet files are not read from front to back: how far we are is told by rows.
    fn advance(&mut self, rows: u64) {
        self.rows += rows;
        if let Some(total) = self.rows_total.filter(|total| *total > 0) {
            let (_, size) = self.consumed.get();
            self.consumed.set((u128::from(size) * u128::from(self.rows) / u128::from(total)) as u64);
        }
    }
}

/// Batches of a file, with the names and types of a table's columns.
pub(super) struct Conformed {
    reader: ColumnarReader,
    targets: Vec<Target>,
    provided: Vec<usize>,
    schema: SchemaRef,
    origin: RowOrigin,
    rows: u64,
}

impl Conformed {
    pub(super) fn new(reader: ColumnarReader, file: &str, targets: &[Target], origin: RowOrigin) -> Result<Self> {
        let names = reader.schema().fields().iter().map(|field| field.name().as_str());
        let matched = match_columns(names, targets, Others::Refused)
            .map_err(|error| error.with_detail(format!("a column of {file}")))?;
        let provided: Vec<usize> = matched.into_iter().flatten().collect();
        let targets: Vec<Target> = provided.iter().map(|at| targets[*at].clone()).collect();
        Ok(Self { schema: schema_of(&targets), reader, targets, provided, origin, rows: 0 })
    }

    pub(super) fn provided(&self) -> &[usize] {
        &self.provided
    }

    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.reader.next()? else { return Ok(None) };
        let columns = batch.columns().iter().zip(&self.targets).map(|(array, target)| {
            conform(array, &target.column_type).map_err(|error| self.placed(error, array, target))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        self.rows += batch.num_rows() as u64;
        batch_of(&self.schema, columns, batch.num_rows()).map(Some)
    }

    /// Says which row an error is about, by looking for the first that fails alone.
    fn placed(&self, error: Error, array: &ArrayRef, target: &Target) -> Error {
        let alone = |row: usize| conform(&array.slice(row, 1), &target.column_type).err().map(|error| (row, error));
        match (0..array.len()).find_map(alone) {
            Some((row, error)) => {
                let place = self.origin.place(self.rows + row as u64);
                error.with_detail(format!("{place}, column {}", target.name))
            }
            None => error.with_detail(format!("{}, column {}", self.reader.file, target.name)),
        }
    }
}

/// Converts an array to a column's type. Texts are read as in text files; nothing is rounded to whole numbers.
fn conform(array: &ArrayRef, column_type: &ColumnType) -> Result<ArrayRef> {
    match (array.data_type(), column_type) {
        (DataType::Dictionary(_, values), _) => conform(&cast(array, values).map_err(arrow_error)?, column_type),
        (DataType::RunEndEncoded(_, values), _) => {
            conform(&cast(array, values.data_type()).map_err(arrow_error)?, column_type)
        }
        (DataType::Utf8 | DataType::LargeUtf8, _) => {
            conform(&cast(array, &DataType::Utf8View).map_err(arrow_error)?, column_type)
        }
        (DataType::Utf8View, ColumnType::Text { .. }) => Ok(Arc::clone(array)),
        (DataType::Utf8View, _) => parse_texts(array.as_string_view(), column_type),
        (DataType::FixedSizeBinary(16), ColumnType::Uuid) => Ok(uuids(array.as_fixed_size_binary())),
        (DataType::LargeList(item) | DataType::FixedSizeList(item, _), ColumnType::Array(_)) => {
            let list = DataType::List(Arc::clone(item));
            conform(&cast(array, &list).map_err(arrow_error)?, column_type)
        }
        (DataType::List(_), ColumnType::Array(element)) => conform_list(array.as_list(), element),
        (from, ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt)
            if from.is_floating() || matches!(from, DataType::Decimal128(..) | DataType::Decimal256(..)) =>
        {
            let whole = strict(array, column_type)?;
            let back = cast(&whole, from).map_err(arrow_error)?;
            if distinct(&back, array).map_err(arrow_error)?.has_true() {
                let message = format!("a value is not of type {column_type}: it has a fraction");
                return Err(Error::new(SqlState::InvalidTextRepresentation, message));
            }
            Ok(whole)
        }
        (_, ColumnType::Uuid | ColumnType::Json | ColumnType::Jsonb) => {
            conform(&cast(array, &DataType::Utf8View).map_err(arrow_error)?, column_type)
        }
        _ => strict(array, column_type),
    }
}

/// A cast as in an assignment, whose error has no detail of its own.
fn strict(array: &ArrayRef, column_type: &ColumnType) -> Result<ArrayRef> {
    crate::evaluate::cast(array, column_type, "").map_err(|mut error| {
        if let Some(detail) = error.detail.take() {
            error.message = format!("{}: {detail}", error.message);
        }
        error
    })
}

fn parse_texts(texts: &StringViewArray, column_type: &ColumnType) -> Result<ArrayRef> {
    let mut column = TextColumn::new(column_type, texts.len());
    for text in texts {
        match text {
            Some(text) => column.append(text.as_bytes())?,
            None => column.append_null(),
        }
    }
    Ok(column.finish())
}

fn uuids(array: &FixedSizeBinaryArray) -> ArrayRef {
    let text = |bytes: &[u8]| {
        let number = bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        format_uuid(number as i128)
    };
    Arc::new(array.iter().map(|bytes| bytes.map(text)).collect::<StringViewArray>())
}

fn conform_list(list: &ListArray, element: &ColumnType) -> Result<ArrayRef> {
    let offsets = list.value_offsets();
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let values = conform(&list.values().slice(first as usize, (last - first) as usize), element)?;
    let offsets: Vec<i32> = offsets.iter().map(|offset| offset - first).collect();
    let field = Arc::new(Field::new_list_field(arrow_type(element), true));
    let list = ListArray::try_new(field, OffsetBuffer::new(offsets.into()), values, list.nulls().cloned());
    list.map(|list| Arc::new(list) as ArrayRef).map_err(arrow_error)
}
