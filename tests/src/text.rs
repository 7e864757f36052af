//! A value of an Arrow array as text.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, IntervalMonthDayNanoType, IntervalUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::fmt::{Display, LowerExp};

/// A value as text; `None` for NULL.
#[must_use]
pub fn text(array: &ArrayRef, row: usize) -> Option<String> {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return None;
    }
    Some(match array.data_type() {
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            float(value, f64::from(value))
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            float(value, value)
        }
        DataType::Binary => bytes(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => bytes(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => bytes(array.as_binary_view().value(row)),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            interval(value.months, value.days, value.nanoseconds)
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row)),
        _ => {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(array.as_ref(), &options).expect("a type that can be shown");
            formatter.value(row).to_string()
        }
    })
}

/// The shortest text that is the same number.
fn float(shown: impl Display + LowerExp, value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_string();
    }
    let plain = value == 0.0 || value.is_nan() || (1e-5..1e16).contains(&value.abs());
    if plain { shown.to_string() } else { format!("{shown:e}") }
}

fn bytes(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("\\x".to_string()).chain(digits).collect()
}

/// `1 year 2 mons 3 days 04:05:06.5`
fn interval(months: i32, days: i32, nanoseconds: i64) -> String {
    let plural = |count: i32, unit: &str| match count {
        0 => None,
        1 => Some(format!("1 {unit}")),
        count => Some(format!("{count} {unit}s")),
    };
    let mut parts: Vec<String> =
        [plural(months / 12, "year"), plural(months % 12, "mon"), plural(days, "day")].into_iter().flatten().collect();
    if nanoseconds != 0 || parts.is_empty() {
        let (sign, total) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
        let (seconds, fraction) = (total / 1_000_000_000, total % 1_000_000_000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:09}") };
        let fraction = fraction.trim_end_matches('0');
        parts.push(format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}"));
    }
    parts.join(" ")
}

fn list(values: &ArrayRef) -> String {
    let cells: Vec<String> =
        (0..values.len()).map(|row| text(values, row).unwrap_or_else(|| "NULL".to_string())).collect();
    format!("{{{}}}", cells.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_one_spelling() {
        assert_eq!([float(1.0, 1.0), float(0.1_f32, 0.1), float(1e300, 1e300)], ["1", "0.1", "1e300"]);
        assert_eq!([float(f64::NAN, f64::NAN), float(f64::NEG_INFINITY, f64::NEG_INFINITY)], ["NaN", "-Infinity"]);
        assert_eq!(interval(14, 3, 14_706_500_000_000), "1 year 2 mons 3 days 04:05:06.5");
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(0, 0, -1_000_000_000), "-00:00:01");
        assert_eq!(bytes(&[0xde, 0xad]), "\\xdead");
    }
}
