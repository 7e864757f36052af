//! What a column's type asks of its values beyond what Arrow's does: lengths, JSON, UUIDs.

use crate::evaluate::at_row;
use crate::table::TableHandle;
use arrow::array::{ArrayRef, AsArray, BinaryArray, StringViewArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use evenkeel_storage::codec::cells::{format_uuid, parse_uuid};
use std::sync::Arc;

/// Checks the text columns of a batch.
///
/// # Errors
/// 22001 for text that is too long, 22P02 for what is no UUID or JSON.
pub(crate) fn columns(table: &TableHandle, batch: &RecordBatch, place: &dyn Fn(usize) -> Option<String>) -> Result<()> {
    for (position, array) in batch.columns().iter().enumerate() {
        let column = table.column(position);
        if let ColumnType::Text { max_chars: Some(max) } = &column.column_type {
            let Some(texts) = array.as_string_view_opt() else { continue };
            // Bytes are at least as many as characters: most texts are settled by their length.
            let long = |text: &str| text.len() > *max as usize && text.chars().count() > *max as usize;
            if let Some(row) = texts.iter().position(|text| text.is_some_and(long)) {
                let message = format!("text too long for column \"{}\" of type varchar({max})", column.name);
                let error = Error::new(SqlState::StringDataRightTruncation, message);
                return Err(at_row(error, table, batch, row, place));
            }
        }
    }
    Ok(())
}

/// Brings UUID and JSONB text into its one form, and refuses what is none.
///
/// # Errors
/// 22P02.
pub(crate) fn normalise(column: &ColumnType, array: ArrayRef, name: &str) -> Result<ArrayRef> {
    let Some(texts) = array.as_string_view_opt() else { return Ok(array) };
    let form: fn(&str) -> Result<Option<String>> = match column {
        ColumnType::Uuid => |text| parse_uuid(text).map(|uuid| Some(format_uuid(uuid))),
        ColumnType::Json => |text| json(text).map(|_| None),
        ColumnType::Jsonb => |text| json(text).map(|value| Some(value.to_string())),
        _ => return Ok(array),
    };
    let formed: Result<StringViewArray> = texts
        .iter()
        .map(|text| match text {
            None => Ok(None),
            Some(text) => form(text).map(|formed| Some(formed.unwrap_or_else(|| text.to_string()))),
        })
        .collect();
    formed.map(|array| Arc::new(array) as ArrayRef).map_err(|error| match name {
        "" => error,
        name => Error { message: format!("{} in column \"{name}\"", error.message), ..error },
    })
}

/// Bytes from text: `\x` and hexadecimal digits, or else the text's own bytes.
///
/// # Errors
/// 22P02.
pub(crate) fn bytes_of_text(array: &ArrayRef, name: &str) -> Result<ArrayRef> {
    let texts = arrow::compute::cast(array, &DataType::Utf8View).map_err(crate::error::arrow_error)?;
    let Some(texts) = texts.as_string_view_opt() else { return Err(Error::internal("text is no text")) };
    let bytes = |text: &str| match text.strip_prefix("\\x") {
        None => Ok(text.as_bytes().to_vec()),
        Some(digits) => hexadecimal(digits).ok_or_else(|| {
            let place = if name.is_empty() { String::new() } else { format!(" in column \"{name}\"") };
            let message = format!("invalid input for type bytea{place}: \"{text}\"");
            Error::new(SqlState::InvalidTextRepresentation, message)
                .with_hint("\\x is followed by an even number of hexadecimal digits")
        }),
    };
    let values: Vec<Option<Vec<u8>>> = texts.iter().map(|text| text.map(bytes).transpose()).collect::<Result<_>>()?;
    Ok(Arc::new(BinaryArray::from_iter(values)))
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?)).collect()
}

fn json(text: &str) -> Result<serde_json::Value> {
    serde_json::from_str(text)
        .map_err(|error| Error::new(SqlState::InvalidTextRepresentation, "invalid JSON").with_detail(error.to_string()))
}
