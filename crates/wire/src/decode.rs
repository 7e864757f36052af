//! Values of parameters, from text or from PostgreSQL's binary forms.

use crate::encode::{EPOCH_DAYS, EPOCH_MICROS, Format};
use crate::error::Fault;
use crate::numeric;
use crate::types::declared;
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use bytes::Buf;
use evenkeel_engine::{ColumnText, ScalarValue, parse_value};
use evenkeel_model::{ColumnType, Error, SqlState};
use std::sync::Arc;

/// The value of a parameter.
///
/// # Errors
/// 22P02, 22003 or 22007 for text, 22P03 for bytes, that are no value of the type; 22021 for text that is not UTF-8.
pub(crate) fn value(column: &ColumnType, format: Format, bytes: Option<&[u8]>) -> Result<ScalarValue, Fault> {
    let Some(bytes) = bytes else { return Ok(ScalarValue::Null) };
    match (format, column) {
        (Format::Text, ColumnType::Text { .. }) | (Format::Binary, ColumnType::Text { .. }) => text(bytes),
        (Format::Text, column) => Ok(parse_value(column, bytes)?),
        (Format::Binary, column) => binary(column, bytes),
    }
}

fn text(bytes: &[u8]) -> Result<ScalarValue, Fault> {
    Ok(ScalarValue::Utf8View(Some(utf8(bytes)?.to_string())))
}

fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| Fault::new(SqlState::CharacterNotInRepertoire, "a text is not UTF-8"))
}

/// Exactly as many bytes as a type has.
fn exact<const N: usize>(bytes: &[u8], column: &ColumnType) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::binary(format!("a {column} has {N} bytes, not {}", bytes.len())))
}

fn binary(column: &ColumnType, bytes: &[u8]) -> Result<ScalarValue, Fault> {
    Ok(match column {
        ColumnType::Boolean => ScalarValue::Boolean(Some(exact::<1>(bytes, column)? != [0])),
        ColumnType::SmallInt => ScalarValue::Int16(Some(i16::from_be_bytes(exact(bytes, column)?))),
        ColumnType::Integer => ScalarValue::Int32(Some(i32::from_be_bytes(exact(bytes, column)?))),
        ColumnType::BigInt => ScalarValue::Int64(Some(whole(bytes, column)?)),
        ColumnType::Real => ScalarValue::Float32(Some(f32::from_be_bytes(exact(bytes, column)?))),
        ColumnType::Double => ScalarValue::Float64(Some(f64::from_be_bytes(exact(bytes, column)?))),
        ColumnType::Decimal { .. } => parse_value(column, numeric::read(bytes)?.as_bytes())?,
        ColumnType::Text { .. } => text(bytes)?,
        ColumnType::Bytea => ScalarValue::Binary(Some(bytes.to_vec())),
        ColumnType::Date => {
            let days = i32::from_be_bytes(exact(bytes, column)?);
            let days = days.checked_add(EPOCH_DAYS).ok_or_else(|| Fault::out_of_range("a date out of range"))?;
            ScalarValue::Date32(Some(days))
        }
        ColumnType::Time => {
            let micros = i64::from_be_bytes(exact(bytes, column)?);
            if !(0..86_400_000_000).contains(&micros) {
                return Err(Fault::out_of_range("a time is within a day"));
            }
            ScalarValue::Time64Microsecond(Some(micros))
        }
        ColumnType::Timestamp => ScalarValue::TimestampMicrosecond(Some(micros(bytes, column)?), None),
        ColumnType::TimestampTz => {
            ScalarValue::TimestampMicrosecond(Some(micros(bytes, column)?), Some(Arc::from("+00:00")))
        }
        ColumnType::Interval => {
            let mut bytes = &exact::<16>(bytes, column)?[..];
            let (micros, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
            let nanoseconds =
                micros.checked_mul(1_000).ok_or_else(|| Fault::out_of_range("an interval out of range"))?;
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano { months, days, nanoseconds }))
        }
        ColumnType::Uuid => {
            let bytes: [u8; 16] = exact(bytes, column)?;
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            parse_value(column, hex.as_bytes())?
        }
        ColumnType::Json => parse_value(column, bytes)?,
        ColumnType::Jsonb => match bytes.split_first() {
            Some((1, rest)) => parse_value(column, rest)?,
            _ => return Err(Fault::binary("a jsonb begins with its version, 1")),
        },
        ColumnType::Array(element) => array(column, element, bytes)?,
    })
}

/// Clients send numbers of other widths for a parameter that they have not asked the type of.
fn whole(bytes: &[u8], column: &ColumnType) -> Result<i64, Fault> {
    Ok(match bytes.len() {
        4 => i64::from(i32::from_be_bytes(exact(bytes, column)?)),
        2 => i64::from(i16::from_be_bytes(exact(bytes, column)?)),
        _ => i64::from_be_bytes(exact(bytes, column)?),
    })
}

fn micros(bytes: &[u8], column: &ColumnType) -> Result<i64, Fault> {
    let micros = i64::from_be_bytes(exact(bytes, column)?);
    micros.checked_add(EPOCH_MICROS).ok_or_else(|| Fault::out_of_range("a timestamp out of range"))
}

fn array(column: &ColumnType, element: &ColumnType, mut bytes: &[u8]) -> Result<ScalarValue, Fault> {
    let short = || Fault::binary("an array that is shorter than it says");
    if bytes.len() < 12 {
        return Err(short());
    }
    let (dimensions, _, oid) = (bytes.get_i32(), bytes.get_i32(), bytes.get_u32());
    if dimensions == 0 {
        return Ok(parse_value(column, b"{}")?);
    }
    if dimensions != 1 {
        return Err(Fault::new(SqlState::FeatureNotSupported, "arrays have one dimension"));
    }
    let sent = declared(oid).unwrap_or_else(|| element.clone());
    if let ColumnType::Array(_) = sent {
        return Err(Fault::binary("an array of arrays"));
    }
    if bytes.len() < 8 {
        return Err(short());
    }
    let (count, _) = (bytes.get_i32(), bytes.get_i32());
    let mut text = String::from("{");
    for at in 0..count {
        if bytes.len() < 4 {
            return Err(short());
        }
        let length = bytes.get_i32();
        if at > 0 {
            text.push(',');
        }
        let Ok(length) = usize::try_from(length) else {
            text.push_str("NULL");
            continue;
        };
        let (one, rest) = bytes.split_at_checked(length).ok_or_else(short)?;
        bytes = rest;
        quote(&shown(&binary(&sent, one)?)?, &mut text);
    }
    text.push('}');
    Ok(parse_value(column, text.as_bytes())?)
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

fn shown(value: &ScalarValue) -> Result<String, Fault> {
    let array = value.to_array().map_err(|error| Error::internal(error.to_string()))?;
    debug_assert_ne!(array.data_type(), &DataType::Null, "an element that is there");
    let mut text = Vec::new();
    ColumnText::wire(&array)?.write(0, &mut text);
    Ok(String::from_utf8_lossy(&text).into_owned())
}
