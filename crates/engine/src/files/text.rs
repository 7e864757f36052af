//! From the text of values to columns.

use super::arrays::next_element;
use super::datetime::{parse_date, parse_time, parse_timestamp};
use super::decimal::parse_decimal;
use super::interval::parse_interval;
use super::objects::{elements, unescape};
use super::scalars::{Fault, Parsed, boolean, bytes, double, narrow, real, utf8, whole};
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int16Builder, Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, ListArray, NullBufferBuilder,
    StringViewBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::Field;
use datafusion::common::ScalarValue;
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use evenkeel_storage::codec::arrow_type;
use evenkeel_storage::codec::cells::{format_uuid, parse_uuid};
use std::sync::Arc;

/// Gathers the values of one column from their text.
pub(crate) struct TextColumn {
    column_type: ColumnType,
    cells: Cells,
}

enum Cells {
    Boolean(BooleanBuilder),
    SmallInt(Int16Builder),
    Integer(Int32Builder),
    BigInt(Int64Builder),
    Real(Float32Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder, u8, i8),
    Text(StringViewBuilder),
    Uuid(StringViewBuilder),
    Json(StringViewBuilder),
    Jsonb(StringViewBuilder),
    Bytea(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    Array(Box<ListColumn>),
}

struct ListColumn {
    elements: TextColumn,
    ends: Vec<i32>,
    nulls: NullBufferBuilder,
}

/// Does the same with whichever builder a column has.
macro_rules! with_builder {
    ($cells:expr, $builder:ident => $do:expr, $list:ident => $with_list:expr) => {
        match $cells {
            Cells::Boolean($builder) => $do,
            Cells::SmallInt($builder) => $do,
            Cells::Integer($builder) => $do,
            Cells::BigInt($builder) => $do,
            Cells::Real($builder) => $do,
            Cells::Double($builder) => $do,
            Cells::Decimal($builder, ..) => $do,
            Cells::Text($builder) | Cells::Uuid($builder) | Cells::Json($builder) | Cells::Jsonb($builder) => $do,
            Cells::Bytea($builder) => $do,
            Cells::Date($builder) => $do,
            Cells::Time($builder) => $do,
            Cells::Timestamp($builder) => $do,
            Cells::Interval($builder) => $do,
            Cells::Array($list) => $with_list,
        }
    };
}

/// The value that a text stands for.
///
/// # Errors
/// 22P02, 22003 or 22007 for a text that is no value of the type.
pub fn parse_value(column_type: &ColumnType, text: &[u8]) -> Result<ScalarValue> {
    let mut column = TextColumn::new(column_type, 1);
    column.append(text)?;
    ScalarValue::try_from_array(&column.finish(), 0).map_err(|error| crate::error::query_error(error, ""))
}

impl TextColumn {
    /// An empty column with room for `capacity` values.
    pub(crate) fn new(column_type: &ColumnType, capacity: usize) -> Self {
        let cells = match column_type {
            ColumnType::Boolean => Cells::Boolean(BooleanBuilder::with_capacity(capacity)),
            ColumnType::SmallInt => Cells::SmallInt(Int16Builder::with_capacity(capacity)),
            ColumnType::Integer => Cells::Integer(Int32Builder::with_capacity(capacity)),
            ColumnType::BigInt => Cells::BigInt(Int64Builder::with_capacity(capacity)),
            ColumnType::Real => Cells::Real(Float32Builder::with_capacity(capacity)),
            ColumnType::Double => Cells::Double(Float64Builder::with_capacity(capacity)),
            ColumnType::Decimal { precision, scale } => {
                let builder = Decimal128Builder::with_capacity(capacity).with_data_type(arrow_type(column_type));
                Cells::Decimal(builder, *precision, *scale)
            }
            ColumnType::Text { .. } => Cells::Text(StringViewBuilder::with_capacity(capacity)),
            ColumnType::Uuid => Cells::Uuid(StringViewBuilder::with_capacity(capacity)),
            ColumnType::Json => Cells::Json(StringViewBuilder::with_capacity(capacity)),
            ColumnType::Jsonb => Cells::Jsonb(StringViewBuilder::with_capacity(capacity)),
            ColumnType::Bytea => Cells::Bytea(BinaryBuilder::with_capacity(capacity, capacity * 16)),
            ColumnType::Date => Cells::Date(Date32Builder::with_capacity(capacity)),
            ColumnType::Time => Cells::Time(Time64MicrosecondBuilder::with_capacity(capacity)),
            ColumnType::Timestamp | ColumnType::TimestampTz => Cells::Timestamp(
                TimestampMicrosecondBuilder::with_capacity(capacity).with_data_type(arrow_type(column_type)),
            ),
            ColumnType::Interval => Cells::Interval(IntervalMonthDayNanoBuilder::with_capacity(capacity)),
            ColumnType::Array(element) => Cells::Array(Box::new(ListColumn {
                elements: TextColumn::new(element, capacity),
                ends: vec![0],
                nulls: NullBufferBuilder::new(capacity),
            })),
        };
        Self { column_type: column_type.clone(), cells }
    }

    /// Appends NULL.
    #[inline]
    pub(crate) fn append_null(&mut self) {
        with_builder!(&mut self.cells, builder => builder.append_null(), list => list.close(false));
    }

    /// Appends the value that a text stands for. White space around anything but text and bytes is passed over.
    ///
    /// # Errors
    /// 22P02, 22003 or 22007, without a place; the column is of no use then.
    #[inline]
    pub(crate) fn append(&mut self, text: &[u8]) -> Result<()> {
        self.parse(text).map_err(|fault| self.error(fault, text))
    }

    /// Appends the value of a JSON text.
    ///
    /// # Errors
    /// As [`TextColumn::append`].
    pub(super) fn append_json(&mut self, value: &[u8]) -> Result<()> {
        self.parse_json(value).map_err(|fault| self.error(fault, value))
    }

    /// The array of what was appended; the column is empty again.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        with_builder!(&mut self.cells, builder => Arc::new(builder.finish()), list => Arc::new(list.finish()))
    }

    #[inline]
    fn parse(&mut self, text: &[u8]) -> Parsed<()> {
        match &mut self.cells {
            Cells::Text(builder) => builder.append_value(utf8(text)?),
            Cells::Integer(builder) => builder.append_value(narrow(whole(text)?)?),
            Cells::BigInt(builder) => builder.append_value(whole(text)?),
            Cells::SmallInt(builder) => builder.append_value(narrow(whole(text)?)?),
            Cells::Double(builder) => builder.append_value(double(text.trim_ascii())?),
            Cells::Real(builder) => builder.append_value(real(text.trim_ascii())?),
            Cells::Boolean(builder) => builder.append_value(boolean(text.trim_ascii())?),
            Cells::Decimal(builder, precision, scale) => {
                builder.append_value(parse_decimal(text.trim_ascii(), *precision, *scale)?);
            }
            Cells::Date(builder) => builder.append_value(parse_date(text.trim_ascii())?),
            Cells::Time(builder) => builder.append_value(parse_time(text.trim_ascii())?),
            Cells::Timestamp(builder) => builder.append_value(parse_timestamp(text.trim_ascii())?),
            Cells::Interval(builder) => builder.append_value(parse_interval(text.trim_ascii())?),
            Cells::Uuid(builder) => {
                let uuid = parse_uuid(utf8(text)?).map_err(|_| Fault::Syntax)?;
                builder.append_value(format_uuid(uuid));
            }
            Cells::Json(builder) => {
                serde_json::from_slice::<serde_json::Value>(text).map_err(|error| Fault::Json(error.to_string()))?;
                builder.append_value(utf8(text)?);
            }
            Cells::Jsonb(builder) => {
                let value: serde_json::Value =
                    serde_json::from_slice(text).map_err(|error| Fault::Json(error.to_string()))?;
                builder.append_value(value.to_string());
            }
            Cells::Bytea(builder) => builder.append_value(bytes(text)?),
            Cells::Array(list) => list.parse(text.trim_ascii())?,
        }
        Ok(())
    }

    fn parse_json(&mut self, value: &[u8]) -> Parsed<()> {
        let whole_value = matches!(self.column_type, ColumnType::Text { .. } | ColumnType::Json | ColumnType::Jsonb);
        match value.first() {
            Some(b'n') if value == b"null" => self.append_null(),
            Some(b'"') => {
                let text = unescape(value).map_err(Fault::Json)?;
                self.parse(text.as_bytes())?;
            }
            Some(b'{' | b'[') if whole_value => {
                serde_json::from_slice::<serde_json::Value>(value).map_err(|error| Fault::Json(error.to_string()))?;
                self.parse(value)?;
            }
            Some(b'[') => match &mut self.cells {
                Cells::Array(list) => list.parse(value)?,
                _ => return Err(Fault::Syntax),
            },
            Some(b't' | b'f') if value == b"true" || value == b"false" => self.parse(value)?,
            Some(b'-' | b'0'..=b'9') => self.parse_json_number(value)?,
            _ => return Err(Fault::Syntax),
        }
        Ok(())
    }

    /// Numbers keep their digits, so that decimals are exact. Writers that know only floats write 5 as `5.0`.
    fn parse_json_number(&mut self, value: &[u8]) -> Parsed<()> {
        let whole_type = matches!(self.column_type, ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt);
        serde_json::from_slice::<serde_json::Number>(value).map_err(|error| Fault::Json(error.to_string()))?;
        if whole_type && value.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            let exact = parse_decimal(value, 38, 12)?;
            if exact % 1_000_000_000_000 != 0 {
                return Err(Fault::Syntax);
            }
            return self.parse((exact / 1_000_000_000_000).to_string().as_bytes());
        }
        self.parse(value)
    }

    #[cold]
    fn error(&self, fault: Fault, text: &[u8]) -> Error {
        let shown = String::from_utf8_lossy(&text[..text.len().min(240)]);
        let shown = match shown.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", &shown[..end]),
            None => shown.into_owned(),
        };
        let column_type = &self.column_type;
        match fault {
            Fault::Range => Error::new(
                SqlState::NumericValueOutOfRange,
                format!("value \"{shown}\" is out of range for type {column_type}"),
            ),
            Fault::Datetime => Error::new(
                SqlState::InvalidDatetimeFormat,
                format!("invalid input for type {column_type}: \"{shown}\""),
            ),
            Fault::Syntax => Error::new(
                SqlState::InvalidTextRepresentation,
                format!("invalid input for type {column_type}: \"{shown}\""),
            ),
            Fault::Json(why) => Error::new(
                SqlState::InvalidTextRepresentation,
                format!("invalid input for type {column_type}: \"{shown}\" ({why})"),
            ),
        }
    }
}

impl ListColumn {
    fn close(&mut self, present: bool) {
        let end = self.ends.last().copied().unwrap_or(0);
        self.ends.push(end);
        self.nulls.append(present);
    }

    /// `{1,2,NULL,"x y"}`, or a JSON array.
    fn parse(&mut self, text: &[u8]) -> Parsed<()> {
        let mut length = 0;
        match text.first() {
            Some(b'{') => {
                let mut rest = &text[1..];
                while let Some((element, after)) = next_element(rest, length == 0)? {
                    match element {
                        None => self.elements.append_null(),
                        Some(element) => self.elements.parse(&element)?,
                    }
                    length += 1;
                    rest = after;
                }
            }
            Some(b'[') => {
                let mut found = elements(text);
                while let Some(entry) = found.next_entry().map_err(Fault::Json)? {
                    self.elements.parse_json(entry.value)?;
                    length += 1;
                }
            }
            _ => return Err(Fault::Syntax),
        }
        let end = self.ends.last().copied().unwrap_or(0);
        self.ends.push(end.checked_add(length).ok_or(Fault::Range)?);
        self.nulls.append_non_null();
        Ok(())
    }

    fn finish(&mut self) -> ListArray {
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.ends, vec![0]).into());
        let field = Arc::new(Field::new_list_field(arrow_type(&self.elements.column_type), true));
        ListArray::new(field, offsets, self.elements.finish(), self.nulls.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::array_value_to_string;

    fn read(column_type: &ColumnType, text: &str) -> std::result::Result<String, SqlState> {
        let mut column = TextColumn::new(column_type, 1);
        column.append(text.as_bytes()).map_err(|error| error.state)?;
        Ok(array_value_to_string(&column.finish(), 0).unwrap())
    }

    #[test]
    fn texts_become_values_or_errors() {
        use SqlState::{InvalidTextRepresentation as Invalid, NumericValueOutOfRange as Range};
        let ok = |text: &str| Ok(text.to_string());
        let texts = ColumnType::Array(Box::new(ColumnType::Text { max_chars: None }));
        for (column_type, text, expected) in [
            (ColumnType::SmallInt, " 12 ", ok("12")),
            (ColumnType::SmallInt, "32768", Err(Range)),
            (ColumnType::Integer, "abc", Err(Invalid)),
            (ColumnType::Integer, "", Err(Invalid)),
            (ColumnType::Boolean, "ON", ok("true")),
            (ColumnType::Boolean, "maybe", Err(Invalid)),
            (ColumnType::Double, "1e400", Err(Range)),
            (ColumnType::Double, "-Infinity", ok("-inf")),
            (ColumnType::Decimal { precision: 5, scale: 2 }, "123.456", ok("123.46")),
            (ColumnType::Date, "2013-02-30", Err(SqlState::InvalidDatetimeFormat)),
            (ColumnType::Uuid, "{550E8400-E29B-41D4-A716-446655440000}", ok("550e8400-e29b-41d4-a716-446655440000")),
            (ColumnType::Uuid, "550e8400", Err(Invalid)),
            (ColumnType::Json, "{\"b\": 1,  \"a\":2}", ok("{\"b\": 1,  \"a\":2}")),
            (ColumnType::Json, "{", Err(Invalid)),
            (ColumnType::Jsonb, "[1,  2]", ok("[1,2]")),
            (ColumnType::Bytea, "\\xDEADbeef", ok("deadbeef")),
            (ColumnType::Bytea, "a\\\\\\001", ok("615c01")),
            (ColumnType::Bytea, "\\xabc", Err(Invalid)),
            (texts.clone(), "{a, \"b,\\\"c\" ,NULL,\"NULL\"}", ok("[a, b,\"c, , NULL]")),
            (texts.clone(), "[\"x\", null, 5]", ok("[x, , 5]")),
            (texts.clone(), "{}", ok("[]")),
            (texts.clone(), "{a", Err(Invalid)),
            (texts.clone(), "{a,}", Err(Invalid)),
            (texts, "{a}b", Err(Invalid)),
            (
                ColumnType::Array(Box::new(ColumnType::Array(Box::new(ColumnType::Integer)))),
                "{{1,2},{},NULL}",
                ok("[[1, 2], [], ]"),
            ),
        ] {
            assert_eq!(read(&column_type, text), expected, "{column_type} {text}");
        }
    }

    #[test]
    fn json_numbers_are_exact() {
        let mut column = TextColumn::new(&ColumnType::Integer, 1);
        column.append_json(b"5.0").unwrap();
        column.append_json(b"12e1").unwrap();
        assert!(column.append_json(b"5.5").is_err());
        assert!(column.append_json(b"{}").is_err());
        let mut column = TextColumn::new(&ColumnType::Decimal { precision: 38, scale: 10 }, 1);
        column.append_json(b"1234567890123456789012345678.0123456789").unwrap();
        assert_eq!(array_value_to_string(&column.finish(), 0).unwrap(), "1234567890123456789012345678.0123456789");
    }
}
