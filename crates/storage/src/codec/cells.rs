//! From Arrow arrays to values.

use super::Value;
use super::row::{RowSource, read_fixed, write_fixed};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use std::borrow::Cow;
use std::sync::Arc;

/// The Arrow type in which a column's values are computed with. UUID and JSON are text there.
pub fn arrow_type(column: &ColumnType) -> DataType {
    match column {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::SmallInt => DataType::Int16,
        ColumnType::Integer => DataType::Int32,
        ColumnType::BigInt => DataType::Int64,
        ColumnType::Real => DataType::Float32,
        ColumnType::Double => DataType::Float64,
        ColumnType::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
        ColumnType::Text { .. } | ColumnType::Uuid | ColumnType::Json | ColumnType::Jsonb => DataType::Utf8View,
        ColumnType::Bytea => DataType::Binary,
        ColumnType::Date => DataType::Date32,
        ColumnType::Time => DataType::Time64(TimeUnit::Microsecond),
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnType::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("+00:00"))),
        ColumnType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        ColumnType::Array(element) => DataType::List(Arc::new(Field::new_list_field(arrow_type(element), true))),
    }
}

/// An array of a column's Arrow type, whose values are read one by one.
#[derive(Debug)]
pub struct Cells<'a> {
    column: &'a ColumnType,
    array: Typed<'a>,
}

#[derive(Debug)]
enum Typed<'a> {
    Boolean(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array),
    Text(&'a StringViewArray),
    Uuid(&'a StringViewArray),
    Binary(&'a BinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Interval(&'a IntervalMonthDayNanoArray),
    List(&'a ListArray),
}

impl<'a> Cells<'a> {
    /// # Errors
    /// XX000 when the array's type is not [`arrow_type`] of the column.
    pub fn new(column: &'a ColumnType, array: &'a ArrayRef) -> Result<Self> {
        let typed = match column {
            ColumnType::Boolean => array.as_boolean_opt().map(Typed::Boolean),
            ColumnType::SmallInt => array.as_primitive_opt::<Int16Type>().map(Typed::Int16),
            ColumnType::Integer => array.as_primitive_opt::<Int32Type>().map(Typed::Int32),
            ColumnType::BigInt => array.as_primitive_opt::<Int64Type>().map(Typed::Int64),
            ColumnType::Real => array.as_primitive_opt::<Float32Type>().map(Typed::Float32),
            ColumnType::Double => array.as_primitive_opt::<Float64Type>().map(Typed::Float64),
            ColumnType::Decimal { .. } => array.as_primitive_opt::<Decimal128Type>().map(Typed::Decimal),
            ColumnType::Text { .. } | ColumnType::Json | ColumnType::Jsonb => {
                array.as_string_view_opt().map(Typed::Text)
            }
            ColumnType::Uuid => array.as_string_view_opt().map(Typed::Uuid),
            ColumnType::Bytea => array.as_binary_opt().map(Typed::Binary),
            ColumnType::Date => array.as_primitive_opt::<Date32Type>().map(Typed::Date),
            ColumnType::Time => array.as_primitive_opt::<Time64MicrosecondType>().map(Typed::Time),
            ColumnType::Timestamp | ColumnType::TimestampTz => {
                array.as_primitive_opt::<TimestampMicrosecondType>().map(Typed::Timestamp)
            }
            ColumnType::Interval => array.as_primitive_opt::<IntervalMonthDayNanoType>().map(Typed::Interval),
            ColumnType::Array(_) => array.as_list_opt::<i32>().map(Typed::List),
        };
        let array = typed.ok_or_else(|| {
            Error::internal(format!("a column of type {column} cannot be read from an array of {}", array.data_type()))
        })?;
        Ok(Self { column, array })
    }

    /// The value of one row.
    ///
    /// # Errors
    /// 22P02 for text that is no UUID.
    #[inline]
    pub fn value(&self, row: usize) -> Result<Value<'a>> {
        if self.is_null(row) {
            return Ok(Value::Null);
        }
        Ok(match self.array {
            Typed::Boolean(a) => Value::Boolean(a.value(row)),
            Typed::Int16(a) => Value::Integer(i64::from(a.value(row))),
            Typed::Int32(a) => Value::Integer(i64::from(a.value(row))),
            Typed::Int64(a) => Value::Integer(a.value(row)),
            Typed::Float32(a) => Value::Float(f64::from(a.value(row))),
            Typed::Float64(a) => Value::Float(a.value(row)),
            Typed::Decimal(a) => Value::Wide(a.value(row)),
            Typed::Text(a) => Value::Bytes(Cow::Borrowed(a.value(row).as_bytes())),
            Typed::Uuid(a) => Value::Wide(parse_uuid(a.value(row))?),
            Typed::Binary(a) => Value::Bytes(Cow::Borrowed(a.value(row))),
            Typed::Date(a) => Value::Integer(i64::from(a.value(row))),
            Typed::Time(a) => Value::Integer(a.value(row)),
            Typed::Timestamp(a) => Value::Integer(a.value(row)),
            Typed::Interval(a) => {
                let interval = a.value(row);
                Value::Interval { months: interval.months, days: interval.days, nanoseconds: interval.nanoseconds }
            }
            Typed::List(a) => Value::Bytes(Cow::Owned(encode_list(self.column, &a.value(row))?)),
        })
    }

    /// Writes the value of a column of fixed width to exactly its bytes; `false` for NULL, which leaves them.
    ///
    /// # Errors
    /// 22P02 for text that is no UUID.
    #[inline]
    pub fn write_fixed(&self, row: usize, out: &mut [u8]) -> Result<bool> {
        if self.is_null(row) {
            return Ok(false);
        }
        match self.array {
            Typed::Boolean(a) => out[0] = u8::from(a.value(row)),
            Typed::Int16(a) => out.copy_from_slice(&a.value(row).to_le_bytes()),
            Typed::Int32(a) => out.copy_from_slice(&a.value(row).to_le_bytes()),
            Typed::Int64(a) => out.copy_from_slice(&a.value(row).to_le_bytes()),
            Typed::Float32(a) => out.copy_from_slice(&a.value(row).to_le_bytes()),
            Typed::Float64(a) => out.copy_from_slice(&a.value(row).to_le_bytes()),
            Typed::Date(a) => out.copy_from_slice(&a.value(row).to_le_bytes()),
            Typed::Time(a) => out.copy_from_slice(&a.value(row).to_le_bytes()),
            Typed::Timestamp(a) => out.copy_from_slice(&a.value(row).to_le_bytes()),
            Typed::Decimal(_) | Typed::Uuid(_) | Typed::Interval(_) => {
                write_fixed(out, self.column, &self.value(row)?);
            }
            Typed::Text(_) | Typed::Binary(_) | Typed::List(_) => {
                return Err(Error::internal(format!("a column of type {} has no fixed width", self.column)));
            }
        }
        Ok(true)
    }

    /// Appends the bytes of a value of a column without fixed width; `false` for NULL.
    ///
    /// # Errors
    /// XX000 for a column of fixed width.
    #[inline]
    pub fn append(&self, row: usize, out: &mut Vec<u8>) -> Result<bool> {
        match self.value(row)? {
            Value::Null => return Ok(false),
            Value::Bytes(bytes) => out.extend_from_slice(&bytes),
            _ => return Err(Error::internal(format!("a column of type {} has a fixed width", self.column))),
        }
        Ok(true)
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        match self.array {
            Typed::Boolean(a) => a.is_null(row),
            Typed::Int16(a) => a.is_null(row),
            Typed::Int32(a) => a.is_null(row),
            Typed::Int64(a) => a.is_null(row),
            Typed::Float32(a) => a.is_null(row),
            Typed::Float64(a) => a.is_null(row),
            Typed::Decimal(a) => a.is_null(row),
            Typed::Text(a) | Typed::Uuid(a) => a.is_null(row),
            Typed::Binary(a) => a.is_null(row),
            Typed::Date(a) => a.is_null(row),
            Typed::Time(a) => a.is_null(row),
            Typed::Timestamp(a) => a.is_null(row),
            Typed::Interval(a) => a.is_null(row),
            Typed::List(a) => a.is_null(row),
        }
    }
}

/// One row of some columns' arrays.
#[derive(Debug)]
pub struct RowOfCells<'c, 'a> {
    pub cells: &'c [Cells<'a>],
    /// For each column of the row's version the place in `cells`; behind its end for a column that has none, and is NULL.
    pub positions: &'c [usize],
    pub row: usize,
}

impl RowSource for RowOfCells<'_, '_> {
    #[inline]
    fn write_fixed(&self, position: usize, out: &mut [u8]) -> Result<bool> {
        self.cells.get(self.positions[position]).map_or(Ok(false), |cells| cells.write_fixed(self.row, out))
    }

    #[inline]
    fn append(&self, position: usize, out: &mut Vec<u8>) -> Result<bool> {
        self.cells.get(self.positions[position]).map_or(Ok(false), |cells| cells.append(self.row, out))
    }
}

/// The number of a UUID's 16 bytes, big-endian; upper and lower case, with or without hyphens and braces.
///
/// # Errors
/// 22P02.
pub fn parse_uuid(text: &str) -> Result<i128> {
    let invalid =
        || Error::new(SqlState::InvalidTextRepresentation, format!("invalid input for type uuid: \"{text}\""));
    let digits: String = text.trim().trim_start_matches('{').trim_end_matches('}').replace('-', "");
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid());
    }
    u128::from_str_radix(&digits, 16).map(|n| n as i128).map_err(|_| invalid())
}

/// The lower-case text of a UUID.
pub fn format_uuid(uuid: i128) -> String {
    let hex = format!("{:032x}", uuid as u128);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// An array's bytes: count (4) · null bitmap · each element: its fixed width, or length (4) and bytes.
fn encode_list(list: &ColumnType, elements: &ArrayRef) -> Result<Vec<u8>> {
    let ColumnType::Array(element) = list else {
        return Err(Error::internal("a list in a column that is no array"));
    };
    let cells = Cells::new(element, elements)?;
    let mut out = (elements.len() as u32).to_le_bytes().to_vec();
    out.resize(4 + elements.len().div_ceil(8), 0);
    for row in 0..elements.len() {
        let value = cells.value(row)?;
        if value.is_null() {
            out[4 + row / 8] |= 1 << (row % 8);
            continue;
        }
        match (element.fixed_width(), &value) {
            (Some(width), value) => {
                let at = out.len();
                out.resize(at + width, 0);
                write_fixed(&mut out[at..], element, value);
            }
            (None, Value::Bytes(bytes)) => {
                out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                out.extend_from_slice(bytes);
            }
            (None, _) => return Err(Error::internal("a list element of the wrong kind")),
        }
    }
    Ok(out)
}

/// Reads what [`encode_list`] wrote, calling `each` with every element. Stops quietly at the end of damaged bytes: rows
/// are checked as a whole, and the store's checksums guard what is inside.
pub(super) fn decode_list<'r>(element: &ColumnType, bytes: &'r [u8], mut each: impl FnMut(Value<'r>)) {
    let Some((count, rest)) = split_u32(bytes) else { return };
    let Some((nulls, mut rest)) = rest.split_at_checked(count.div_ceil(8)) else { return };
    for index in 0..count {
        if nulls[index / 8] >> (index % 8) & 1 == 1 {
            each(Value::Null);
            continue;
        }
        let (width, tail) = match element.fixed_width() {
            Some(width) => (width, rest),
            None => match split_u32(rest) {
                Some(split) => split,
                None => return,
            },
        };
        let Some((value, tail)) = tail.split_at_checked(width) else { return };
        rest = tail;
        each(if element.fixed_width().is_some() {
            read_fixed(value, element)
        } else {
            Value::Bytes(Cow::Borrowed(value))
        });
    }
}

fn split_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, tail) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*head) as usize, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_normalised() {
        let uuid = parse_uuid("{550E8400-E29B-41D4-A716-446655440000}").unwrap();
        assert_eq!(format_uuid(uuid), "550e8400-e29b-41d4-a716-446655440000");
        assert_eq!(parse_uuid("550e8400").unwrap_err().state, SqlState::InvalidTextRepresentation);
    }
}
