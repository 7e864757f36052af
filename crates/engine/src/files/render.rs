//! Values as the text that the reader takes back.

use super::datetime::{write_date, write_time, write_timestamp};
use super::decimal::write_decimal;
use super::interval::write_interval;
use crate::error::arrow_error;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int64Array, IntervalMonthDayNanoArray, ListArray, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use evenkeel_model::{Error, Result, SqlState};
use std::fmt::Display;
use std::io::Write;
use std::ops::Range;

/// A column whose values are written as text.
pub struct ColumnText {
    cells: Cells,
    style: Style,
    nulls: Option<NullBuffer>,
}

/// How booleans, time zones and numbers with an exponent are spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `true`, `2013-01-01T05:00:00Z`, `1e20`
    Files,
    /// `t`, `2013-01-01 05:00:00+00`, `1e+20`: as PostgreSQL sends them.
    Wire,
}

enum Cells {
    Null,
    Boolean(BooleanArray),
    Integer(Int64Array),
    Real(Float32Array),
    Double(Float64Array),
    Decimal(Decimal128Array),
    Text(StringViewArray),
    Bytea(BinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    List(ListArray, Box<ColumnText>),
}

impl ColumnText {
    /// Prepares to write a column's values.
    ///
    /// # Errors
    /// What the conversion to one of our own types says, for types that only queries have.
    pub(super) fn new(array: &ArrayRef) -> Result<Self> {
        Self::styled(array, Style::Files)
    }

    /// Prepares to write a column's values as PostgreSQL sends them to its clients.
    ///
    /// # Errors
    /// What the conversion to one of our own types says, for types that only queries have.
    pub fn wire(array: &ArrayRef) -> Result<Self> {
        Self::styled(array, Style::Wire)
    }

    fn styled(array: &ArrayRef, style: Style) -> Result<Self> {
        let to = |wanted: DataType| match *array.data_type() == wanted {
            true => Ok(ArrayRef::clone(array)),
            false => cast(array, &wanted).map_err(arrow_error),
        };
        let cells = match array.data_type() {
            DataType::Null => Cells::Null,
            DataType::Boolean => Cells::Boolean(array.as_boolean().clone()),
            DataType::UInt64 => Cells::Integer(fitting(array)?.as_primitive().clone()),
            integer if integer.is_integer() => Cells::Integer(to(DataType::Int64)?.as_primitive().clone()),
            DataType::Float16 | DataType::Float32 => Cells::Real(to(DataType::Float32)?.as_primitive().clone()),
            DataType::Float64 => Cells::Double(array.as_primitive().clone()),
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
                Cells::Decimal(to(DataType::Decimal128(*p, *s))?.as_primitive().clone())
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Cells::Bytea(to(DataType::Binary)?.as_binary().clone())
            }
            DataType::Date32 | DataType::Date64 => Cells::Date(to(DataType::Date32)?.as_primitive().clone()),
            DataType::Time32(_) | DataType::Time64(_) => {
                Cells::Time(to(DataType::Time64(TimeUnit::Microsecond))?.as_primitive().clone())
            }
            DataType::Timestamp(_, zone) => {
                let wanted = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                Cells::Timestamp(to(wanted)?.as_primitive().clone())
            }
            DataType::Interval(_) | DataType::Duration(_) => {
                Cells::Interval(to(DataType::Interval(IntervalUnit::MonthDayNano))?.as_primitive().clone())
            }
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                let list = to(DataType::List(item.clone()))?.as_list::<i32>().clone();
                let values = ColumnText::styled(list.values(), style)?;
                Cells::List(list, Box::new(values))
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Cells::Text(to(DataType::Utf8View)?.as_string_view().clone())
            }
            DataType::Dictionary(_, values) => return ColumnText::styled(&to(values.as_ref().clone())?, style),
            _ => Cells::Text(described(array)?),
        };
        Ok(Self { cells, style, nulls: array.logical_nulls() })
    }

    /// Whether the value in a row is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends a value that is not NULL.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        match &self.cells {
            Cells::Null => {}
            Cells::Boolean(cells) => match (self.style, cells.value(row)) {
                (Style::Files, value) => show(value, out),
                (Style::Wire, value) => out.push(if value { b't' } else { b'f' }),
            },
            Cells::Integer(cells) => show(cells.value(row), out),
            Cells::Real(cells) => {
                let value = cells.value(row);
                let full = f64::from(1e-4_f32)..1e6;
                write_float(f64::from(value), (&value, format_args!("{value:e}")), self.style, full, out);
            }
            Cells::Double(cells) => {
                let value = cells.value(row);
                write_float(value, (&value, format_args!("{value:e}")), self.style, 1e-4..1e15, out);
            }
            Cells::Decimal(cells) => write_decimal(cells.value(row), cells.scale(), out),
            Cells::Text(cells) => out.extend_from_slice(cells.value(row).as_bytes()),
            Cells::Bytea(cells) => write_bytes(cells.value(row), out),
            Cells::Date(cells) => write_date(i64::from(cells.value(row)), out),
            Cells::Time(cells) => write_time(cells.value(row), out),
            Cells::Timestamp(cells) => {
                let between = if self.style == Style::Wire { b' ' } else { b'T' };
                write_timestamp(cells.value(row), between, out);
                if matches!(cells.data_type(), DataType::Timestamp(_, Some(_))) {
                    out.extend_from_slice(match self.style {
                        Style::Files => b"Z",
                        Style::Wire => b"+00",
                    });
                }
            }
            Cells::Interval(cells) => write_interval(cells.value(row), out),
            Cells::List(list, values) => {
                out.push(b'{');
                for at in range(list, row) {
                    if at > list.value_offsets()[row] as usize {
                        out.push(b',');
                    }
                    values.write_element(at, out);
                }
                out.push(b'}');
            }
        }
    }

    /// Appends an element of `{…}`.
    fn write_element(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"NULL");
            return;
        }
        let start = out.len();
        self.write(row, out);
        let text = &out[start..];
        let special = |byte: &u8| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace();
        let plain = !text.is_empty() && !text.eq_ignore_ascii_case(b"null") && !text.iter().any(special);
        if plain || matches!(self.cells, Cells::List(..)) {
            return;
        }
        let text = out.split_off(start);
        out.push(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    }

    /// Appends a value, or null, as JSON: numbers as numbers with all their digits, NaN and infinity as strings.
    pub(super) fn write_json(&self, row: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        let bare = match &self.cells {
            _ if self.is_null(row) => {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            Cells::Text(cells) => return serde_json::to_writer(out, cells.value(row)).map_err(Into::into),
            Cells::List(list, values) => {
                out.push(b'[');
                for at in range(list, row) {
                    if at > list.value_offsets()[row] as usize {
                        out.push(b',');
                    }
                    values.write_json(at, out)?;
                }
                out.push(b']');
                return Ok(());
            }
            Cells::Boolean(_) | Cells::Integer(_) | Cells::Decimal(_) => true,
            Cells::Real(cells) => cells.value(row).is_finite(),
            Cells::Double(cells) => cells.value(row).is_finite(),
            _ => false,
        };
        if !bare {
            out.push(b'"');
        }
        // None of these texts needs an escape but the backslash before bytes.
        if matches!(self.cells, Cells::Bytea(_)) {
            out.push(b'\\');
        }
        self.write(row, out);
        if !bare {
            out.push(b'"');
        }
        Ok(())
    }
}

/// A value as text; empty for NULL.
pub(crate) fn text_of(value: &ScalarValue) -> Result<String> {
    let array = value.to_array().map_err(|error| crate::error::query_error(error, ""))?;
    let mut out = Vec::new();
    let column = ColumnText::new(&array)?;
    if !column.is_null(0) {
        column.write(0, &mut out);
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The texts of a column, for formats that lack its type.
pub(super) fn texts(array: &ArrayRef) -> Result<StringViewArray> {
    let column = ColumnText::new(array)?;
    let mut out = Vec::new();
    let text = |row: usize| {
        out.clear();
        (!column.is_null(row)).then(|| {
            column.write(row, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        })
    };
    Ok((0..array.len()).map(text).collect())
}

/// Unsigned integers as signed ones, which all of them are in practice: counts, positions and lengths.
///
/// # Errors
/// 22003 where one does not fit; it is never NULL instead.
fn fitting(array: &ArrayRef) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, &DataType::Int64, &options)
        .map_err(|error| Error::new(SqlState::NumericValueOutOfRange, error.to_string()))
}

/// What Arrow shows for types that no column has.
fn described(array: &ArrayRef) -> Result<StringViewArray> {
    let text = |row: usize| match array.is_null(row) {
        true => Ok(None),
        false => array_value_to_string(array, row).map(Some).map_err(arrow_error),
    };
    (0..array.len()).map(text).collect()
}

fn range(list: &ListArray, row: usize) -> Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

fn show(value: impl Display, out: &mut Vec<u8>) {
    let written = write!(out, "{value}");
    debug_assert!(written.is_ok(), "writing to memory does not fail");
}

/// The shortest text that is read as the same number: in full, or with an exponent where that would be long. PostgreSQL
/// writes numbers in the range of `wire` in full.
fn write_float(
    value: f64,
    (full, exponent): (impl Display, impl Display),
    style: Style,
    wire: Range<f64>,
    out: &mut Vec<u8>,
) {
    let in_full = if style == Style::Wire { wire } else { 1e-5..1e16 };
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else if value == 0.0 || in_full.contains(&value.abs()) {
        show(full, out);
    } else if style == Style::Wire {
        // A sign and two digits at least.
        let text = exponent.to_string();
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let size = exponent.trim_start_matches('-');
        let sign = if size.len() < exponent.len() { '-' } else { '+' };
        show(format_args!("{digits}e{sign}{size:0>2}"), out);
    } else {
        show(exponent, out);
    }
}

/// `\xdeadbeef`
fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn sent(array: ArrayRef) -> Vec<String> {
        let column = ColumnText::wire(&array).expect("a column");
        let text = |row| {
            let mut out = Vec::new();
            column.write(row, &mut out);
            String::from_utf8(out).expect("UTF-8")
        };
        (0..array.len()).map(text).collect()
    }

    #[test]
    fn numbers_are_sent_as_postgresql_spells_them() {
        let doubles = [1.0, 0.1, -0.0, 1e14, -1e15, 1.5e20, 1e-4, 1e-5, f64::NAN, f64::NEG_INFINITY];
        let expected =
            ["1", "0.1", "-0", "100000000000000", "-1e+15", "1.5e+20", "0.0001", "1e-05", "NaN", "-Infinity"];
        assert_eq!(sent(Arc::new(Float64Array::from(doubles.to_vec()))), expected);
        let singles = vec![0.1, 1e-4, 123_456.0, 1e6, 1e-38];
        assert_eq!(sent(Arc::new(Float32Array::from(singles))), ["0.1", "0.0001", "123456", "1e+06", "1e-38"]);
    }
}
