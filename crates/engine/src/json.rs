//! `->` and `->>`: what an object has under a name, or an array at a position.
//!
//! A value found is the text it has in the document, as PostgreSQL's json gives it; jsonb has one form anyway.

use crate::error::external;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use serde::de::IgnoredAny;
use sqlparser::ast::BinaryOperator;
use std::sync::Arc;

/// The function of an operator.
pub(crate) fn accessor(operator: &BinaryOperator) -> Option<Arc<ScalarUDF>> {
    let text = match operator {
        BinaryOperator::Arrow => false,
        BinaryOperator::LongArrow => true,
        _ => return None,
    };
    let accessor = Accessor { text, signature: Signature::any(2, Volatility::Immutable) };
    Some(Arc::new(ScalarUDF::new_from_impl(accessor)))
}

/// One of the operators.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Accessor {
    /// A string is answered without its quotes, null as NULL.
    text: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Accessor {
    fn name(&self) -> &'static str {
        if self.text { "json_text" } else { "json_value" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(DataType::Utf8View)
    }

    /// A part of a document is a document of the same type.
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> datafusion::common::Result<FieldRef> {
        let field = Field::new(self.name(), DataType::Utf8View, true);
        let kind = args.arg_fields.first().and_then(|document| crate::field_type(document));
        Ok(Arc::new(match kind {
            Some(kind @ (ColumnType::Json | ColumnType::Jsonb)) if !self.text => {
                crate::parameters::marked(field, &kind)
            }
            _ => field,
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let [documents, keys] = datafusion::common::utils::take_function_args(self.name(), args.args)?;
        let (documents, keys) = (documents.into_array(args.number_rows)?, keys.into_array(args.number_rows)?);
        if !documents.data_type().is_string() {
            return Err(external(Error::new(SqlState::UndefinedFunction, "-> and ->> take values out of JSON")));
        }
        let documents = arrow::compute::cast(&documents, &DataType::Utf8View)?;
        let found = Keys::of(&keys).and_then(|keys| self.find(documents.as_string_view(), &keys));
        Ok(ColumnarValue::Array(Arc::new(found.map_err(external)?) as ArrayRef))
    }
}

impl Accessor {
    fn find(&self, documents: &StringViewArray, keys: &Keys) -> Result<StringViewArray> {
        let row = |(row, document): (usize, Option<&str>)| {
            let Some(value) = document.map(|document| keys.value(document, row)).transpose()?.flatten() else {
                return Ok(None);
            };
            if !self.text {
                return Ok(Some(value.to_string()));
            }
            match value.as_bytes().first() {
                Some(b'"') => serde_json::from_str(value).map(Some).map_err(|error| invalid(&error)),
                _ => Ok((value != "null").then(|| value.to_string())),
            }
        };
        documents.iter().enumerate().map(row).collect()
    }
}

enum Keys {
    Names(StringViewArray),
    Positions(Int64Array),
}

impl Keys {
    fn of(keys: &ArrayRef) -> Result<Self> {
        let cast = |to| arrow::compute::cast(keys, &to).map_err(crate::error::arrow_error);
        match keys.data_type() {
            kind if kind.is_integer() => {
                Ok(Self::Positions(cast(DataType::Int64)?.as_primitive::<Int64Type>().clone()))
            }
            kind if kind.is_string() || kind.is_null() => {
                Ok(Self::Names(cast(DataType::Utf8View)?.as_string_view().clone()))
            }
            _ => Err(Error::new(SqlState::UndefinedFunction, "JSON is asked for a name or a position")),
        }
    }

    /// What a document has under the key of a row.
    fn value<'d>(&self, document: &'d str, row: usize) -> Result<Option<&'d str>> {
        match self {
            Self::Names(names) if names.is_valid(row) => {
                // The last of several with one name counts, as in PostgreSQL.
                let named = |(name, _): &(Option<String>, &str)| name.as_deref() == Some(names.value(row));
                Ok(members(document)?.into_iter().rev().find(named).map(|(_, value)| value))
            }
            Self::Positions(positions) if positions.is_valid(row) => {
                let elements: Vec<&str> = members(document)?
                    .into_iter()
                    .filter_map(|(name, value)| name.is_none().then_some(value))
                    .collect();
                let position = positions.value(row);
                let at = if position < 0 { position + elements.len() as i64 } else { position };
                Ok(usize::try_from(at).ok().and_then(|at| elements.get(at).copied()))
            }
            _ => Ok(None),
        }
    }
}

/// The members of an object with their names, the elements of an array without; none of anything else.
fn members(document: &str) -> Result<Vec<(Option<String>, &str)>> {
    serde_json::from_str::<IgnoredAny>(document).map_err(|error| invalid(&error))?;
    let document = document.trim_ascii();
    let object = document.starts_with('{');
    let mut found = Vec::new();
    if !object && !document.starts_with('[') {
        return Ok(found);
    }
    let mut rest = document[1..].trim_ascii_start();
    while !rest.starts_with(['}', ']']) {
        let name = if object {
            let name = first_value(&mut rest)?;
            rest = rest[1..].trim_ascii_start();
            Some(serde_json::from_str(name).map_err(|error| invalid(&error))?)
        } else {
            None
        };
        found.push((name, first_value(&mut rest)?));
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_ascii_start();
    }
    Ok(found)
}

/// Takes the value that a valid text begins with, and the blanks after it.
fn first_value<'d>(rest: &mut &'d str) -> Result<&'d str> {
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
    values.next().transpose().map_err(|error| invalid(&error))?;
    let (value, after) = rest.split_at(values.byte_offset());
    *rest = after.trim_ascii_start();
    Ok(value)
}

fn invalid(error: &serde_json::Error) -> Error {
    Error::new(SqlState::InvalidTextRepresentation, "invalid JSON").with_detail(error.to_string())
}
