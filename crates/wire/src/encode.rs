//! Rows of an answer as DataRow messages, in text or binary.

use crate::error::Fault;
use crate::numeric;
use crate::types::of_field;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use bytes::{BufMut, BytesMut};
use evenkeel_engine::ColumnText;
use evenkeel_model::{ColumnType, Error, SqlState};

/// From 1970-01-01 to 2000-01-01, where PostgreSQL's times begin.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
pub(crate) const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// A row is one message, whose length is a signed number of 32 bits.
const ROW_BYTES_MAX: usize = 1 << 30;

/// How a value goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}

impl Format {
    /// # Errors
    /// 08P01 for a code that is neither 0 nor 1.
    pub(crate) fn of_code(code: i16) -> Result<Self, Fault> {
        match code {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            other => Err(Fault::protocol(format!("there is no format {other}: 0 is text, 1 is binary"))),
        }
    }

    fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }
}

/// Format codes as messages have them: none is text, one is for all, else one each.
///
/// # Errors
/// 08P01 when there are neither none, one nor as many as values.
pub(crate) fn formats(codes: &[i16], values: usize) -> Result<Vec<Format>, Fault> {
    match codes {
        [] => Ok(vec![Format::Text; values]),
        [one] => Ok(vec![Format::of_code(*one)?; values]),
        codes if codes.len() == values => codes.iter().copied().map(Format::of_code).collect(),
        codes => Err(Fault::protocol(format!("{} formats for {values} values", codes.len()))),
    }
}

/// Appends a RowDescription.
pub(crate) fn describe(schema: &Schema, formats: &[Format], out: &mut BytesMut) {
    out.put_u8(b'T');
    let start = out.len();
    out.put_i32(0);
    out.put_i16(schema.fields().len() as i16);
    for (at, field) in schema.fields().iter().enumerate() {
        let info = of_field(field).oid();
        out.extend(field.name().bytes().filter(|byte| *byte != 0));
        out.put_u8(0);
        out.put_i32(0); // no table
        out.put_i16(0); // no column of one
        out.put_u32(info.oid);
        out.put_i16(info.size);
        out.put_i32(info.modifier);
        out.put_i16(formats.get(at).copied().unwrap_or(Format::Text).code());
    }
    close(out, start);
}

fn close(out: &mut BytesMut, start: usize) {
    let length = (out.len() - start) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Writes the rows of a batch.
pub(crate) struct Rows {
    columns: Vec<Column>,
    next: usize,
    rows: usize,
    scratch: Vec<u8>,
}

enum Column {
    Text(ColumnText),
    Binary(Binary),
}

impl Rows {
    /// # Errors
    /// XX000 for a batch that is not of its schema.
    pub(crate) fn new(batch: &RecordBatch, formats: &[Format]) -> Result<Self, Fault> {
        let schema = batch.schema();
        let column = |(at, array): (usize, &ArrayRef)| match formats.get(at) {
            Some(Format::Binary) => Binary::new(array, &of_field(schema.field(at))).map(Column::Binary),
            _ => Ok(Column::Text(ColumnText::wire(array)?)),
        };
        let columns = batch.columns().iter().enumerate().map(column).collect::<Result<_, Fault>>()?;
        Ok(Self { columns, next: 0, rows: batch.num_rows(), scratch: Vec::new() })
    }

    /// The rows that are left of the batch, in other formats.
    ///
    /// # Errors
    /// XX000 for a batch that is not of its schema.
    pub(crate) fn in_formats(&self, batch: &RecordBatch, formats: &[Format]) -> Result<Self, Fault> {
        Ok(Self { next: self.next, ..Self::new(batch, formats)? })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.rows
    }

    /// Appends the next row, if there is one.
    ///
    /// # Errors
    /// 54000 for a row that is too large for a message.
    pub(crate) fn write(&mut self, out: &mut BytesMut) -> Result<bool, Fault> {
        if self.is_empty() {
            return Ok(false);
        }
        let row = self.next;
        self.next += 1;
        out.put_u8(b'D');
        let start = out.len();
        out.put_i32(0);
        out.put_i16(self.columns.len() as i16);
        for column in &self.columns {
            let at = out.len();
            out.put_i32(-1);
            match column {
                Column::Text(column) if column.is_null(row) => continue,
                Column::Binary(column) if column.is_null(row) => continue,
                Column::Text(column) => {
                    self.scratch.clear();
                    column.write(row, &mut self.scratch);
                    out.extend_from_slice(&self.scratch);
                }
                Column::Binary(column) => column.write(row, out),
            }
            let length = (out.len() - at - 4) as i32;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        if out.len() - start > ROW_BYTES_MAX {
            out.truncate(start - 1);
            return Err(Fault::new(SqlState::ProgramLimitExceeded, "a row is larger than 1 GiB"));
        }
        close(out, start);
        Ok(true)
    }
}

/// A column whose values are written in PostgreSQL's binary forms.
struct Binary {
    cells: Cells,
    nulls: Option<arrow::buffer::NullBuffer>,
}

enum Cells {
    Null,
    Boolean(BooleanArray),
    SmallInt(Int16Array),
    Integer(Int32Array),
    BigInt(Int64Array),
    Real(Float32Array),
    Double(Float64Array),
    Decimal(Decimal128Array),
    Text(StringViewArray),
    Jsonb(StringViewArray),
    Uuid(StringViewArray),
    Bytea(BinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    Array {
        list: ListArray,
        elements: Box<Binary>,
        oid: u32,
    },
    /// What only queries have.
    Other(ColumnText),
}

impl Binary {
    fn new(array: &ArrayRef, column: &ColumnType) -> Result<Self, Fault> {
        let to = |wanted: DataType| {
            if *array.data_type() == wanted {
                return Ok(ArrayRef::clone(array));
            }
            // What does not fit is an error, not NULL.
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(array, &wanted, &options)
                .map_err(|error| Error::new(SqlState::NumericValueOutOfRange, error.to_string()))
        };
        let micros = TimeUnit::Microsecond;
        let cells = match (array.data_type(), column) {
            (DataType::Null, _) => Cells::Null,
            (_, ColumnType::Boolean) => Cells::Boolean(to(DataType::Boolean)?.as_boolean().clone()),
            (_, ColumnType::SmallInt) => Cells::SmallInt(to(DataType::Int16)?.as_primitive().clone()),
            (_, ColumnType::Integer) => Cells::Integer(to(DataType::Int32)?.as_primitive().clone()),
            (_, ColumnType::BigInt) => Cells::BigInt(to(DataType::Int64)?.as_primitive().clone()),
            (_, ColumnType::Real) => Cells::Real(to(DataType::Float32)?.as_primitive().clone()),
            (_, ColumnType::Double) => Cells::Double(to(DataType::Float64)?.as_primitive().clone()),
            (_, ColumnType::Decimal { precision, scale }) => {
                Cells::Decimal(to(DataType::Decimal128(*precision, *scale))?.as_primitive().clone())
            }
            (_, ColumnType::Jsonb) => Cells::Jsonb(to(DataType::Utf8View)?.as_string_view().clone()),
            (_, ColumnType::Uuid) => Cells::Uuid(to(DataType::Utf8View)?.as_string_view().clone()),
            (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _) => {
                Cells::Text(to(DataType::Utf8View)?.as_string_view().clone())
            }
            (_, ColumnType::Bytea) => Cells::Bytea(to(DataType::Binary)?.as_binary().clone()),
            (_, ColumnType::Date) => Cells::Date(to(DataType::Date32)?.as_primitive().clone()),
            (_, ColumnType::Time) => Cells::Time(to(DataType::Time64(micros))?.as_primitive().clone()),
            (DataType::Timestamp(_, zone), _) => {
                let wanted = DataType::Timestamp(micros, zone.clone());
                Cells::Timestamp(to(wanted)?.as_primitive().clone())
            }
            (_, ColumnType::Interval) => {
                Cells::Interval(to(DataType::Interval(IntervalUnit::MonthDayNano))?.as_primitive().clone())
            }
            (
                DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _),
                ColumnType::Array(element),
            ) => {
                let list = to(DataType::List(item.clone()))?.as_list::<i32>().clone();
                let elements = Box::new(Binary::new(list.values(), element)?);
                Cells::Array { list, elements, oid: element.oid().oid }
            }
            _ => Cells::Other(ColumnText::wire(array)?),
        };
        Ok(Self { cells, nulls: array.logical_nulls() })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends a value that is not NULL.
    fn write(&self, row: usize, out: &mut BytesMut) {
        match &self.cells {
            Cells::Null => {}
            Cells::Boolean(cells) => out.put_u8(u8::from(cells.value(row))),
            Cells::SmallInt(cells) => out.put_i16(cells.value(row)),
            Cells::Integer(cells) => out.put_i32(cells.value(row)),
            Cells::BigInt(cells) => out.put_i64(cells.value(row)),
            Cells::Real(cells) => out.put_f32(cells.value(row)),
            Cells::Double(cells) => out.put_f64(cells.value(row)),
            Cells::Decimal(cells) => numeric::write(cells.value(row), cells.scale(), out),
            Cells::Text(cells) => out.put_slice(cells.value(row).as_bytes()),
            Cells::Jsonb(cells) => {
                out.put_u8(1);
                out.put_slice(cells.value(row).as_bytes());
            }
            Cells::Uuid(cells) => uuid(cells.value(row), out),
            Cells::Bytea(cells) => out.put_slice(cells.value(row)),
            Cells::Date(cells) => out.put_i32(cells.value(row).saturating_sub(EPOCH_DAYS)),
            Cells::Time(cells) => out.put_i64(cells.value(row)),
            Cells::Timestamp(cells) => out.put_i64(cells.value(row).saturating_sub(EPOCH_MICROS)),
            Cells::Interval(cells) => {
                let IntervalMonthDayNano { months, days, nanoseconds } = cells.value(row);
                out.put_i64(nanoseconds / 1_000);
                out.put_i32(days);
                out.put_i32(months);
            }
            Cells::Array { list, elements, oid } => array(list, elements, *oid, row, out),
            Cells::Other(text) => {
                let mut bytes = Vec::new();
                text.write(row, &mut bytes);
                out.put_slice(&bytes);
            }
        }
    }
}

/// dimensions (4) · whether NULLs are there (4) · element's type (4) · length (4) · first index (4) · length (4) · element …
fn array(list: &ListArray, elements: &Binary, oid: u32, row: usize, out: &mut BytesMut) {
    let offsets = list.value_offsets();
    let range = offsets[row] as usize..offsets[row + 1] as usize;
    out.put_i32(i32::from(!range.is_empty()));
    out.put_i32(i32::from(range.clone().any(|at| elements.is_null(at))));
    out.put_u32(oid);
    if range.is_empty() {
        return;
    }
    out.put_i32(range.len() as i32);
    out.put_i32(1);
    for at in range {
        let start = out.len();
        out.put_i32(-1);
        if !elements.is_null(at) {
            elements.write(at, out);
            let length = (out.len() - start - 4) as i32;
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
}

fn uuid(text: &str, out: &mut BytesMut) {
    let digits: Vec<u8> = text.bytes().filter_map(|byte| char::from(byte).to_digit(16)).map(|d| d as u8).collect();
    out.extend(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
}
