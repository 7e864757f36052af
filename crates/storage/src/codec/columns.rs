//! From values to Arrow arrays.

use super::Value;
use super::cells::{arrow_type, decode_list, format_uuid};
use super::row::read_fixed;
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int16Builder, Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, ListArray, NullBufferBuilder,
    StringViewBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, IntervalMonthDayNano};
use evenkeel_model::ColumnType;
use std::borrow::Cow;
use std::sync::Arc;

/// Gathers the values of one column into an array of its Arrow type.
#[derive(Debug)]
pub struct ColumnBuilder(Typed);

#[derive(Debug)]
enum Typed {
    Boolean(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Text(StringViewBuilder),
    Uuid(StringViewBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    List { element: ColumnType, values: Box<ColumnBuilder>, ends: Vec<i32>, nulls: NullBufferBuilder },
}

macro_rules! append {
    ($builder:expr, $value:expr, $pattern:pat => $item:expr) => {
        match $value {
            $pattern => $builder.append_value($item),
            _ => $builder.append_null(),
        }
    };
}

impl ColumnBuilder {
    /// An empty column with room for `capacity` values.
    pub fn new(column: &ColumnType, capacity: usize) -> Self {
        Self(match column {
            ColumnType::Boolean => Typed::Boolean(BooleanBuilder::with_capacity(capacity)),
            ColumnType::SmallInt => Typed::Int16(Int16Builder::with_capacity(capacity)),
            ColumnType::Integer => Typed::Int32(Int32Builder::with_capacity(capacity)),
            ColumnType::BigInt => Typed::Int64(Int64Builder::with_capacity(capacity)),
            ColumnType::Real => Typed::Float32(Float32Builder::with_capacity(capacity)),
            ColumnType::Double => Typed::Float64(Float64Builder::with_capacity(capacity)),
            ColumnType::Decimal { .. } => {
                Typed::Decimal(Decimal128Builder::with_capacity(capacity).with_data_type(arrow_type(column)))
            }
            ColumnType::Text { .. } | ColumnType::Json | ColumnType::Jsonb => {
                Typed::Text(StringViewBuilder::with_capacity(capacity))
            }
            ColumnType::Uuid => Typed::Uuid(StringViewBuilder::with_capacity(capacity)),
            ColumnType::Bytea => Typed::Binary(BinaryBuilder::with_capacity(capacity, capacity * 16)),
            ColumnType::Date => Typed::Date(Date32Builder::with_capacity(capacity)),
            ColumnType::Time => Typed::Time(Time64MicrosecondBuilder::with_capacity(capacity)),
            ColumnType::Timestamp | ColumnType::TimestampTz => Typed::Timestamp(
                TimestampMicrosecondBuilder::with_capacity(capacity).with_data_type(arrow_type(column)),
            ),
            ColumnType::Interval => Typed::Interval(IntervalMonthDayNanoBuilder::with_capacity(capacity)),
            ColumnType::Array(element) => Typed::List {
                element: element.as_ref().clone(),
                values: Box::new(ColumnBuilder::new(element, capacity)),
                ends: vec![0],
                nulls: NullBufferBuilder::new(capacity),
            },
        })
    }

    /// Appends a value of the column's type.
    #[inline]
    pub fn append(&mut self, value: &Value<'_>) {
        match &mut self.0 {
            Typed::Boolean(b) => append!(b, value, Value::Boolean(v) => *v),
            Typed::Int16(b) => append!(b, value, Value::Integer(n) => *n as i16),
            Typed::Int32(b) => append!(b, value, Value::Integer(n) => *n as i32),
            Typed::Int64(b) => append!(b, value, Value::Integer(n) => *n),
            Typed::Float32(b) => append!(b, value, Value::Float(f) => *f as f32),
            Typed::Float64(b) => append!(b, value, Value::Float(f) => *f),
            Typed::Decimal(b) => append!(b, value, Value::Wide(n) => *n),
            Typed::Text(b) => match value {
                Value::Bytes(bytes) => b.append_value(text(bytes)),
                _ => b.append_null(),
            },
            Typed::Uuid(b) => append!(b, value, Value::Wide(n) => format_uuid(*n)),
            Typed::Binary(b) => append!(b, value, Value::Bytes(bytes) => bytes),
            Typed::Date(b) => append!(b, value, Value::Integer(n) => *n as i32),
            Typed::Time(b) => append!(b, value, Value::Integer(n) => *n),
            Typed::Timestamp(b) => append!(b, value, Value::Integer(n) => *n),
            Typed::Interval(b) => append!(b, value, Value::Interval { months, days, nanoseconds } =>
                IntervalMonthDayNano::new(*months, *days, *nanoseconds)),
            Typed::List { element, values, ends, nulls } => {
                let mut length = ends.last().copied().unwrap_or(0);
                if let Value::Bytes(bytes) = value {
                    decode_list_into(element, bytes, values, &mut length);
                    nulls.append_non_null();
                } else {
                    nulls.append_null();
                }
                ends.push(length);
            }
        }
    }

    /// Appends a value from its bytes in a row; `None` is NULL.
    #[inline]
    pub fn append_bytes(&mut self, bytes: Option<&[u8]>) {
        fn number<const N: usize>(bytes: &[u8]) -> [u8; N] {
            let mut number = [0; N];
            number.copy_from_slice(bytes);
            number
        }
        match (&mut self.0, bytes) {
            (Typed::Int16(b), Some(bytes)) => b.append_value(i16::from_le_bytes(number(bytes))),
            (Typed::Int32(b), Some(bytes)) => b.append_value(i32::from_le_bytes(number(bytes))),
            (Typed::Int64(b), Some(bytes)) => b.append_value(i64::from_le_bytes(number(bytes))),
            (Typed::Float64(b), Some(bytes)) => b.append_value(f64::from_le_bytes(number(bytes))),
            (Typed::Date(b), Some(bytes)) => b.append_value(i32::from_le_bytes(number(bytes))),
            (Typed::Timestamp(b), Some(bytes)) => b.append_value(i64::from_le_bytes(number(bytes))),
            (Typed::Decimal(b), Some(bytes)) => b.append_value(i128::from_le_bytes(number(bytes))),
            (Typed::Boolean(b), Some(bytes)) => b.append_value(bytes != [0]),
            (Typed::Text(b), Some(bytes)) => b.append_value(text(bytes)),
            (_, None) => self.append(&Value::Null),
            (Typed::Float32(_), Some(bytes)) => self.append(&read_fixed(bytes, &ColumnType::Real)),
            (Typed::Uuid(_), Some(bytes)) => self.append(&read_fixed(bytes, &ColumnType::Uuid)),
            (Typed::Time(_), Some(bytes)) => self.append(&read_fixed(bytes, &ColumnType::Time)),
            (Typed::Interval(_), Some(bytes)) => self.append(&read_fixed(bytes, &ColumnType::Interval)),
            (Typed::Binary(_) | Typed::List { .. }, Some(bytes)) => self.append(&Value::Bytes(Cow::Borrowed(bytes))),
        }
    }

    /// The array of what was appended; the builder is empty again.
    pub fn finish(&mut self) -> ArrayRef {
        match &mut self.0 {
            Typed::Boolean(b) => Arc::new(b.finish()),
            Typed::Int16(b) => Arc::new(b.finish()),
            Typed::Int32(b) => Arc::new(b.finish()),
            Typed::Int64(b) => Arc::new(b.finish()),
            Typed::Float32(b) => Arc::new(b.finish()),
            Typed::Float64(b) => Arc::new(b.finish()),
            Typed::Decimal(b) => Arc::new(b.finish()),
            Typed::Text(b) | Typed::Uuid(b) => Arc::new(b.finish()),
            Typed::Binary(b) => Arc::new(b.finish()),
            Typed::Date(b) => Arc::new(b.finish()),
            Typed::Time(b) => Arc::new(b.finish()),
            Typed::Timestamp(b) => Arc::new(b.finish()),
            Typed::Interval(b) => Arc::new(b.finish()),
            Typed::List { element, values, ends, nulls } => {
                let offsets = OffsetBuffer::new(std::mem::replace(ends, vec![0]).into());
                let field = Arc::new(Field::new_list_field(arrow_type(element), true));
                Arc::new(ListArray::new(field, offsets, values.finish(), nulls.finish()))
            }
        }
    }
}

/// Stored text, which was text when it was stored.
#[inline]
fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn decode_list_into(element: &ColumnType, bytes: &[u8], values: &mut ColumnBuilder, length: &mut i32) {
    decode_list(element, bytes, |value| {
        values.append(&value);
        *length += 1;
    });
}

#[cfg(test)]
mod tests {
    use super::super::row::RowColumn;
    use super::super::{Cells, RowFormat, RowOfCells, RowVersion};
    use super::*;
    use arrow::array::{Array, Int32Builder as Ints, ListBuilder, StringViewArray};

    #[test]
    fn arrays_survive_the_way_through_a_row() {
        let mut lists = ListBuilder::new(Ints::new());
        lists.append_value([Some(1), None, Some(-3)]);
        lists.append_null();
        lists.append_value([]);
        let uuid = "550e8400-e29b-41d4-a716-446655440000";
        let columns: Vec<(ColumnType, ArrayRef)> = vec![
            (ColumnType::Array(Box::new(ColumnType::Integer)), Arc::new(lists.finish())),
            (ColumnType::Uuid, Arc::new(StringViewArray::from(vec![Some(uuid), None, Some(uuid)]))),
            (ColumnType::Text { max_chars: None }, Arc::new(StringViewArray::from(vec![None, Some(""), Some("ß")]))),
        ];
        for (column, array) in columns {
            let version = RowVersion::new(1, vec![RowColumn { id: 1, column_type: column.clone() }]);
            let format = RowFormat::new(vec![version], vec![]);
            let cells = [Cells::new(&column, &array).unwrap()];
            let mut builder = ColumnBuilder::new(&column, array.len());
            for row in 0..array.len() {
                let mut bytes = Vec::new();
                let row = RowOfCells { cells: &cells, positions: &[0], row };
                format.current().encode(&mut bytes, &row).unwrap();
                format.projection(&[1]).read(&bytes, |_, value| builder.append(value)).unwrap();
            }
            assert_eq!(builder.finish().as_ref(), array.as_ref());
        }
    }
}
