//! One value of a column as text: the only place that knows how values look.
//!
//! Spellings are PostgreSQL's, so that what the shell shows is what psql would show through the wire. There are two
//! dialects: [`Dialect::Display`] for people, and [`Dialect::Exchange`] for files (CSV, JSON), which differs in
//! timestamps only. JSON has its own writer, because there numbers and lists stay what they are; NaN and the infinities
//! are strings, as JSON has no numbers for them.
//!
//! Dictionaries and run-end encoded columns are looked through first: everything below sees plain values.

use std::fmt::Write;

use arrow::array::{Array, AsArray, downcast_dictionary_array, downcast_run_array};
use arrow::datatypes::*;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::temporal;

/// Who reads the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// People: PostgreSQL's spelling.
    Display,
    /// Programs: RFC 3339 for timestamps.
    Exchange,
}

/// Whether values of the type are numbers, and so stand at the right of their column.
pub fn is_numeric(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_numeric(values),
        DataType::RunEndEncoded(_, values) => is_numeric(values.data_type()),
        other => other.is_numeric(),
    }
}

/// The text of the value at `row`, or `None` for NULL.
pub fn text(array: &dyn Array, row: usize, dialect: Dialect) -> Option<String> {
    let (array, row) = resolve(array, row)?;
    let mut out = String::new();
    write_text(&mut out, array, row, dialect);
    Some(out)
}

/// Writes the value at `row` as JSON.
pub fn write_json(out: &mut String, array: &dyn Array, row: usize) {
    let Some((array, row)) = resolve(array, row) else {
        out.push_str("null");
        return;
    };
    match array.data_type() {
        DataType::Boolean => write_text(out, array, row, Dialect::Exchange),
        data_type if data_type.is_numeric() => {
            let mut number = String::new();
            write_text(&mut number, array, row, Dialect::Exchange);
            match number.as_str() {
                "NaN" | "Infinity" | "-Infinity" => write_json_string(out, &number),
                finite => out.push_str(finite),
            }
        }
        _ => match nested(array, row) {
            Some(nested) => write_json_nested(out, &nested),
            None => write_json_string(out, &text(array, row, Dialect::Exchange).unwrap_or_default()),
        },
    }
}

/// Writes a JSON string, quotes and escapes included.
pub fn write_json_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// The array and position that really hold the value, or `None` for NULL.
fn resolve(array: &dyn Array, row: usize) -> Option<(&dyn Array, usize)> {
    let (mut array, mut row) = (array, row);
    loop {
        if array.is_null(row) {
            return None;
        }
        (array, row) = match array.data_type() {
            DataType::Null => return None,
            DataType::Dictionary(..) => downcast_dictionary_array!(
                array => (array.values().as_ref(), array.key(row)?),
                _ => return None
            ),
            DataType::RunEndEncoded(..) => downcast_run_array!(
                array => (array.values().as_ref(), array.get_physical_index(row)),
                _ => return None
            ),
            _ => return Some((array, row)),
        };
    }
}

/// Writes a value that is neither NULL nor encoded.
fn write_text(out: &mut String, array: &dyn Array, row: usize, dialect: Dialect) {
    macro_rules! primitive {
        ($type:ty) => {
            array.as_primitive::<$type>().value(row)
        };
    }
    macro_rules! number {
        ($type:ty) => {{
            let _ = write!(out, "{}", primitive!($type));
        }};
    }
    match array.data_type() {
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float16 => write_single(out, primitive!(Float16Type).to_f32()),
        DataType::Float32 => write_single(out, primitive!(Float32Type)),
        DataType::Float64 => write_double(out, primitive!(Float64Type)),
        DataType::Decimal32(..) => out.push_str(&array.as_primitive::<Decimal32Type>().value_as_string(row)),
        DataType::Decimal64(..) => out.push_str(&array.as_primitive::<Decimal64Type>().value_as_string(row)),
        DataType::Decimal128(..) => out.push_str(&array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(..) => out.push_str(&array.as_primitive::<Decimal256Type>().value_as_string(row)),
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => out.push_str(array.as_string::<i64>().value(row)),
        DataType::Utf8View => out.push_str(array.as_string_view().value(row)),
        DataType::Binary => write_bytes(out, array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => write_bytes(out, array.as_binary::<i64>().value(row)),
        DataType::BinaryView => write_bytes(out, array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(16) => write_uuid(out, array.as_fixed_size_binary().value(row)),
        DataType::FixedSizeBinary(_) => write_bytes(out, array.as_fixed_size_binary().value(row)),
        data_type if data_type.is_temporal() => write_temporal(out, array, row, dialect),
        _ => match nested(array, row) {
            Some(nested) => write_nested(out, &nested, dialect),
            None => write_other(out, array, row),
        },
    }
}

fn write_temporal(out: &mut String, array: &dyn Array, row: usize, dialect: Dialect) {
    macro_rules! primitive {
        ($type:ty) => {
            array.as_primitive::<$type>().value(row)
        };
    }
    match array.data_type() {
        DataType::Date32 => temporal::write_date(out, i64::from(primitive!(Date32Type))),
        DataType::Date64 => temporal::write_date(out, primitive!(Date64Type).div_euclid(86_400_000)),
        DataType::Time32(unit) => {
            let count = match unit {
                TimeUnit::Second => primitive!(Time32SecondType),
                _ => primitive!(Time32MillisecondType),
            };
            let (seconds, nanos) = temporal::split_units(i64::from(count), *unit);
            temporal::write_time(out, seconds, nanos);
        }
        DataType::Time64(unit) => {
            let count = match unit {
                TimeUnit::Microsecond => primitive!(Time64MicrosecondType),
                _ => primitive!(Time64NanosecondType),
            };
            let (seconds, nanos) = temporal::split_units(count, *unit);
            temporal::write_time(out, seconds, nanos);
        }
        DataType::Timestamp(unit, zone) => {
            let count = match unit {
                TimeUnit::Second => primitive!(TimestampSecondType),
                TimeUnit::Millisecond => primitive!(TimestampMillisecondType),
                TimeUnit::Microsecond => primitive!(TimestampMicrosecondType),
                TimeUnit::Nanosecond => primitive!(TimestampNanosecondType),
            };
            let (seconds, nanos) = temporal::split_units(count, *unit);
            temporal::write_timestamp(out, seconds, nanos, zone.as_deref(), dialect);
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            temporal::write_interval(out, i64::from(primitive!(IntervalYearMonthType)), 0, 0);
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = primitive!(IntervalDayTimeType);
            temporal::write_interval(out, 0, i64::from(value.days), i64::from(value.milliseconds) * 1_000_000);
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = primitive!(IntervalMonthDayNanoType);
            temporal::write_interval(out, i64::from(value.months), i64::from(value.days), value.nanoseconds);
        }
        DataType::Duration(unit) => {
            let nanos = match unit {
                TimeUnit::Second => primitive!(DurationSecondType).saturating_mul(1_000_000_000),
                TimeUnit::Millisecond => primitive!(DurationMillisecondType).saturating_mul(1_000_000),
                TimeUnit::Microsecond => primitive!(DurationMicrosecondType).saturating_mul(1_000),
                TimeUnit::Nanosecond => primitive!(DurationNanosecondType),
            };
            temporal::write_interval(out, 0, 0, nanos);
        }
        _ => write_other(out, array, row),
    }
}

/// A value that has others inside.
enum Nested<'a> {
    List(arrow::array::ArrayRef),
    Struct(&'a arrow::array::StructArray, usize),
    Map(arrow::array::StructArray),
}

fn nested(array: &dyn Array, row: usize) -> Option<Nested<'_>> {
    Some(match array.data_type() {
        DataType::List(_) => Nested::List(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Nested::List(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Nested::List(array.as_fixed_size_list().value(row)),
        DataType::ListView(_) => Nested::List(array.as_list_view::<i32>().value(row)),
        DataType::LargeListView(_) => Nested::List(array.as_list_view::<i64>().value(row)),
        DataType::Struct(_) => Nested::Struct(array.as_struct(), row),
        DataType::Map(..) => Nested::Map(array.as_map().value(row)),
        _ => return None,
    })
}

fn write_nested(out: &mut String, nested: &Nested<'_>, dialect: Dialect) {
    let shown = |array: &dyn Array, row| text(array, row, dialect).unwrap_or_else(|| "NULL".to_string());
    let (open, close, parts): (_, _, Vec<String>) = match nested {
        Nested::List(values) => ('[', ']', (0..values.len()).map(|row| shown(values, row)).collect()),
        Nested::Struct(fields, row) => {
            let pairs = fields.column_names().into_iter().zip(fields.columns());
            ('{', '}', pairs.map(|(name, values)| format!("{name}: {}", shown(values, *row))).collect())
        }
        Nested::Map(entries) => {
            let pair = |row| format!("{}: {}", shown(entries.column(0), row), shown(entries.column(1), row));
            ('{', '}', (0..entries.len()).map(pair).collect())
        }
    };
    let _ = write!(out, "{open}{}{close}", parts.join(", "));
}

fn write_json_nested(out: &mut String, nested: &Nested<'_>) {
    let member = |name: &str, values: &dyn Array, row| {
        let mut member = String::new();
        write_json_string(&mut member, name);
        member.push(':');
        write_json(&mut member, values, row);
        member
    };
    let element = |values: &dyn Array, row| {
        let mut element = String::new();
        write_json(&mut element, values, row);
        element
    };
    let (open, close, parts): (_, _, Vec<String>) = match nested {
        Nested::List(values) => ('[', ']', (0..values.len()).map(|row| element(values, row)).collect()),
        Nested::Struct(fields, row) => {
            let pairs = fields.column_names().into_iter().zip(fields.columns());
            ('{', '}', pairs.map(|(name, values)| member(name, values, *row)).collect())
        }
        Nested::Map(entries) => {
            let name = |row| text(entries.column(0), row, Dialect::Exchange).unwrap_or_default();
            ('{', '}', (0..entries.len()).map(|row| member(&name(row), entries.column(1), row)).collect())
        }
    };
    let _ = write!(out, "{open}{}{close}", parts.join(","));
}

/// Unions, and whatever arrow has that PQL has no type for, look as arrow shows them.
fn write_other(out: &mut String, array: &dyn Array, row: usize) {
    match ArrayFormatter::try_new(array, &FormatOptions::default()) {
        Ok(formatter) => {
            let _ = write!(out, "{}", formatter.value(row));
        }
        Err(_) => out.push('?'),
    }
}

fn write_bytes(out: &mut String, bytes: &[u8]) {
    out.push_str("\\x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

fn write_uuid(out: &mut String, bytes: &[u8]) {
    for (position, byte) in bytes.iter().enumerate() {
        let dash = if matches!(position, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(out, "{dash}{byte:02x}");
    }
}

/// Decimal exponents from which PostgreSQL writes `real` and `double precision` with an exponent: where digits end.
const SINGLE_EXPONENT_MIN: i32 = 6;
const DOUBLE_EXPONENT_MIN: i32 = 15;

fn write_single(out: &mut String, value: f32) {
    if value.is_finite() {
        write_shortest(out, &format!("{value:e}"), &format!("{value}"), SINGLE_EXPONENT_MIN);
    } else {
        write_special(out, f64::from(value));
    }
}

fn write_double(out: &mut String, value: f64) {
    if value.is_finite() {
        write_shortest(out, &format!("{value:e}"), &format!("{value}"), DOUBLE_EXPONENT_MIN);
    } else {
        write_special(out, value);
    }
}

/// Chooses between the shortest digits with an exponent (`1.5e20`) and without, as `%g` does.
fn write_shortest(out: &mut String, scientific: &str, plain: &str, exponent_min: i32) {
    let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..exponent_min).contains(&exponent) {
        out.push_str(plain);
    } else {
        let _ = write!(out, "{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
}

fn write_special(out: &mut String, value: f64) {
    out.push_str(if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::*;

    use super::*;

    fn shown(array: &dyn Array) -> Vec<String> {
        (0..array.len()).map(|row| text(array, row, Dialect::Display).unwrap_or_else(|| "∅".to_string())).collect()
    }

    fn json(array: &dyn Array) -> String {
        let mut out = String::new();
        (0..array.len()).for_each(|row| {
            write_json(&mut out, array, row);
            out.push(' ');
        });
        out.trim_end().to_string()
    }

    #[test]
    fn floats_are_the_shortest_text_that_reads_back() {
        let doubles = [1.0, 0.1, -0.0, 1e14, 1e15, 1.5e20, 1e-4, 1e-5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let expected = [
            "1",
            "0.1",
            "-0",
            "100000000000000",
            "1e+15",
            "1.5e+20",
            "0.0001",
            "1e-05",
            "NaN",
            "Infinity",
            "-Infinity",
        ];
        assert_eq!(shown(&Float64Array::from(doubles.to_vec())), expected);
        assert_eq!(shown(&Float32Array::from(vec![0.1, 123_456.0, 1e6])), ["0.1", "123456", "1e+06"]);
        assert_eq!(json(&Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY])), r#"1.5 "NaN" "Infinity""#);
    }

    #[test]
    fn scalars_are_spelled_as_postgresql_does() {
        assert_eq!(shown(&BooleanArray::from(vec![Some(true), Some(false), None])), ["true", "false", "∅"]);
        assert_eq!(shown(&BinaryArray::from(vec![&b"\x00\xffa"[..]])), ["\\x00ff61"]);
        let decimals = Decimal128Array::from(vec![12_345, -5]).with_precision_and_scale(10, 2);
        assert_eq!(shown(&decimals.expect("fits")), ["123.45", "-0.05"]);
        assert_eq!(shown(&Date32Array::from(vec![15_706])), ["2013-01-01"]);
        assert_eq!(shown(&Time64MicrosecondArray::from(vec![36_000_500_000])), ["10:00:00.5"]);
        assert_eq!(shown(&StringViewArray::from(vec!["a", "b"])), ["a", "b"]);
        assert_eq!(shown(&NullArray::new(1)), ["∅"]);
        let uuids = FixedSizeBinaryArray::try_from_iter([[0x12_u8; 16]].into_iter()).expect("sixteen bytes");
        assert_eq!(shown(&uuids), ["12121212-1212-1212-1212-121212121212"]);
    }

    #[test]
    fn timestamps_with_a_zone_say_so() {
        let plain = TimestampMicrosecondArray::from(vec![1_357_034_400_000_000]);
        assert_eq!(shown(&plain), ["2013-01-01 10:00:00"]);
        let zoned = plain.clone().with_timezone("+00:00");
        assert_eq!(shown(&zoned), ["2013-01-01 10:00:00+00"]);
        assert_eq!(text(&zoned, 0, Dialect::Exchange).as_deref(), Some("2013-01-01T10:00:00Z"));
        assert_eq!(json(&plain), r#""2013-01-01T10:00:00""#);
    }

    #[test]
    fn encodings_are_looked_through() {
        let dictionary: DictionaryArray<Int32Type> = vec![Some("x"), None, Some("x"), Some("y")].into_iter().collect();
        assert_eq!(shown(&dictionary), ["x", "∅", "x", "y"]);
        let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2, 3]), &Int64Array::from(vec![7, 8]));
        let runs = runs.expect("run ends ascend");
        assert_eq!(shown(&runs), ["7", "7", "8"]);
        assert!(is_numeric(runs.data_type()) && !is_numeric(dictionary.data_type()));
    }

    #[test]
    fn nested_values_keep_their_shape() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
        assert_eq!(shown(&list), ["[1, NULL]", "∅", "[]"]);
        assert_eq!(json(&list), "[1,null] null []");
        let columns: Vec<(Arc<Field>, ArrayRef)> = vec![
            (Arc::new(Field::new("n", DataType::Int32, true)), Arc::new(Int32Array::from(vec![1]))),
            (Arc::new(Field::new("s", DataType::Utf8, true)), Arc::new(StringArray::from(vec!["a\"b"]))),
        ];
        let structs = StructArray::from(columns);
        assert_eq!(shown(&structs), ["{n: 1, s: a\"b}"]);
        assert_eq!(json(&structs), r#"{"n":1,"s":"a\"b"}"#);
    }
}
