//! Values as they come over the wire, spelled as [`evenkeel_tests::text`] spells those of a session in the process.
//!
//! PostgreSQL's text differs from it in a few types, and only in how a value looks: `t` for `true`, a space for the `T` of
//! an instant and `+00` for its `Z`, fractions of seconds without trailing zeros, `1e+16` for `1e16`, quotes in arrays.
//! What is compared in scripts is the value.

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Float32Array, Float64Array, IntervalMonthDayNanoArray, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use evenkeel_tests::text;
use std::error::Error;
use std::sync::Arc;
use tokio_postgres::types::{FromSql, Kind, Type};

/// Where PostgreSQL's times begin: at 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A value's bytes, of whatever type it is.
pub struct Raw<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn spelled(array: impl arrow::array::Array + 'static) -> String {
    text(&(Arc::new(array) as ArrayRef), 0).expect("a value")
}

/// A value that came as PostgreSQL's text.
pub fn of_text(kind: &Type, value: &str) -> String {
    if let Kind::Array(element) = kind.kind() {
        let elements = elements(value).into_iter();
        let elements = elements.map(|cell| cell.map_or_else(|| "NULL".to_string(), |cell| of_text(element, &cell)));
        return format!("{{{}}}", elements.collect::<Vec<_>>().join(","));
    }
    let instant = |wanted: DataType| {
        let array: ArrayRef = Arc::new(StringArray::from(vec![value]));
        let array = cast(&array, &wanted).unwrap_or_else(|error| panic!("{value}: {error}"));
        text(&array, 0).unwrap_or_else(|| panic!("{value} is no {wanted}"))
    };
    match *kind {
        Type::BOOL => if value == "t" { "true" } else { "false" }.to_string(),
        Type::FLOAT4 => spelled(Float32Array::from(vec![value.parse::<f32>().expect("a number")])),
        Type::FLOAT8 => spelled(Float64Array::from(vec![value.parse::<f64>().expect("a number")])),
        Type::DATE => instant(DataType::Date32),
        Type::TIME => instant(DataType::Time64(TimeUnit::Microsecond)),
        Type::TIMESTAMP => instant(DataType::Timestamp(TimeUnit::Microsecond, None)),
        Type::TIMESTAMPTZ => instant(DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))),
        _ => value.to_string(),
    }
}

/// The elements of an array's text, NULL as `None`.
fn elements(array: &str) -> Vec<Option<String>> {
    let inner = array.strip_prefix('{').and_then(|array| array.strip_suffix('}')).expect("an array");
    let (mut found, mut cell, mut quoted, mut was_quoted) = (Vec::new(), String::new(), false, false);
    let mut characters = inner.chars();
    let end = |cell: &mut String, was_quoted: &mut bool, found: &mut Vec<Option<String>>| {
        let text = std::mem::take(cell);
        found.push((std::mem::take(was_quoted) || text != "NULL").then_some(text));
    };
    while let Some(character) = characters.next() {
        match character {
            '\\' => cell.extend(characters.next()),
            '"' => (quoted, was_quoted) = (!quoted, true),
            ',' if !quoted => end(&mut cell, &mut was_quoted, &mut found),
            other => cell.push(other),
        }
    }
    if !inner.is_empty() {
        end(&mut cell, &mut was_quoted, &mut found);
    }
    found
}

/// A value that came in PostgreSQL's binary form.
pub fn of_binary(kind: &Type, bytes: &[u8]) -> String {
    if let Kind::Array(element) = kind.kind() {
        return array(element, bytes);
    }
    match *kind {
        Type::BOOL => (bytes == [1]).to_string(),
        Type::INT2 => i16::from_be_bytes(fixed(bytes)).to_string(),
        Type::INT4 => i32::from_be_bytes(fixed(bytes)).to_string(),
        Type::INT8 => i64::from_be_bytes(fixed(bytes)).to_string(),
        Type::FLOAT4 => spelled(Float32Array::from(vec![f32::from_be_bytes(fixed(bytes))])),
        Type::FLOAT8 => spelled(Float64Array::from(vec![f64::from_be_bytes(fixed(bytes))])),
        Type::NUMERIC => numeric(bytes),
        Type::BYTEA => spelled(BinaryArray::from_vec(vec![bytes])),
        Type::DATE => spelled(Date32Array::from(vec![i32::from_be_bytes(fixed(bytes)) + EPOCH_DAYS])),
        Type::TIME => spelled(Time64MicrosecondArray::from(vec![i64::from_be_bytes(fixed(bytes))])),
        Type::TIMESTAMP => spelled(micros(bytes)),
        Type::TIMESTAMPTZ => spelled(micros(bytes).with_timezone("+00:00")),
        Type::INTERVAL => {
            let (micros, rest) = bytes.split_at(8);
            let (days, months) = rest.split_at(4);
            let nanoseconds = i64::from_be_bytes(fixed(micros)) * 1_000;
            let (days, months) = (i32::from_be_bytes(fixed(days)), i32::from_be_bytes(fixed(months)));
            let value = IntervalMonthDayNano { months, days, nanoseconds };
            spelled(IntervalMonthDayNanoArray::from(vec![value]))
        }
        Type::UUID => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
            parts.join("-")
        }
        Type::JSONB => String::from_utf8(bytes[1..].to_vec()).expect("UTF-8"),
        _ => String::from_utf8(bytes.to_vec()).expect("UTF-8"),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("as many bytes as the type has")
}

fn micros(bytes: &[u8]) -> TimestampMicrosecondArray {
    TimestampMicrosecondArray::from(vec![i64::from_be_bytes(fixed(bytes)) + EPOCH_MICROS])
}

/// dimensions (4) · whether NULLs are there (4) · element's type (4) · [length (4) · first index (4)] · length (4) · element …
fn array(element: &Type, bytes: &[u8]) -> String {
    let number = |at: usize| i32::from_be_bytes(fixed(&bytes[at..at + 4]));
    let mut cells = Vec::new();
    let mut at = 20;
    while number(0) > 0 && at < bytes.len() {
        let length = number(at);
        at += 4;
        match usize::try_from(length) {
            Ok(length) => {
                cells.push(of_binary(element, &bytes[at..at + length]));
                at += length;
            }
            Err(_) => cells.push("NULL".to_string()),
        }
    }
    format!("{{{}}}", cells.join(","))
}

/// groups (2) · the first group's power of 10,000 (2) · sign (2) · digits behind the point (2) · group (2) …
fn numeric(bytes: &[u8]) -> String {
    let number = |at: usize| i16::from_be_bytes(fixed(&bytes[2 * at..2 * at + 2]));
    let (groups, weight, sign, scale) = (number(0), number(1), number(2), number(3));
    let group = |power: i16| {
        let at = weight - power;
        if (0..groups).contains(&at) { number(4 + at as usize) } else { 0 }
    };
    let whole: String = (0..=weight.max(0)).rev().map(|power| format!("{:04}", group(power))).collect();
    let whole = whole.trim_start_matches('0');
    let behind: String = (1..=(scale + 3) / 4).map(|power| format!("{:04}", group(-power))).collect();
    let (sign, whole) = (if sign == 0x4000 { "-" } else { "" }, if whole.is_empty() { "0" } else { whole });
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{}", &behind[..scale as usize]) }
}

#[test]
fn both_forms_are_spelled_alike() {
    for (kind, text, bytes, expected) in [
        (Type::BOOL, "t", &[1][..], "true"),
        (Type::INT4, "-5", &[255, 255, 255, 251], "-5"),
        (Type::FLOAT8, "1e+300", &1e300_f64.to_be_bytes(), "1e300"),
        (Type::NUMERIC, "-12345.6700", &[0, 3, 0, 1, 64, 0, 0, 4, 0, 1, 9, 41, 26, 44], "-12345.6700"),
        (Type::NUMERIC, "0.05", &[0, 1, 255, 255, 0, 0, 0, 2, 1, 244], "0.05"),
        (Type::DATE, "2000-01-02", &[0, 0, 0, 1], "2000-01-02"),
        (Type::TIMESTAMP, "2000-01-01 00:00:00.5", &500_000_i64.to_be_bytes(), "2000-01-01T00:00:00.500"),
        (Type::TIMESTAMPTZ, "2000-01-01 00:00:00+00", &0_i64.to_be_bytes(), "2000-01-01T00:00:00Z"),
        (Type::TEXT, "NULL", b"NULL", "NULL"),
    ] {
        assert_eq!(of_text(&kind, text), expected);
        assert_eq!(of_binary(&kind, bytes), expected);
    }
    assert_eq!(of_text(&Type::BOOL_ARRAY, "{t,NULL}"), "{true,NULL}");
    assert_eq!(of_text(&Type::TEXT_ARRAY, r#"{"a,b","NULL",NULL,"\"",""}"#), "{a,b,NULL,NULL,\",}");
    let pair = [&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 21, 0, 0, 0, 2, 0, 0, 0, 1][..], &[0, 0, 0, 2, 0, 7], &[255; 4]];
    assert_eq!(of_binary(&Type::INT2_ARRAY, &pair.concat()), "{7,NULL}");
    assert_eq!(of_binary(&Type::INT2_ARRAY, &[0; 12]), "{}");
}
