//! Functions of arrays that the catalogs' clients call.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StringArray, StructArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// Every function.
pub(super) fn functions() -> impl Iterator<Item = ScalarUDF> {
    [Which::OrEmpty, Which::Out, Which::Upper, Which::Lower, Which::Expand].into_iter().map(|which| {
        let count = if matches!(which, Which::Upper | Which::Lower) { 2 } else { 1 };
        ScalarUDF::new_from_impl(OfArray { which, signature: Signature::any(count, Volatility::Immutable) })
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Which {
    /// An empty array for NULL.
    OrEmpty,
    /// PostgreSQL's text of an array; what is none stays as it is.
    Out,
    /// The highest subscript.
    Upper,
    /// The lowest subscript.
    Lower,
    /// An array of `(element, subscript)`.
    Expand,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfArray {
    which: Which,
    signature: Signature,
}

fn expanded(element: &DataType) -> Fields {
    Fields::from(vec![Field::new("x", element.clone(), true), Field::new("n", DataType::Int64, true)])
}

fn element(list: &DataType) -> DataType {
    match list {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            field.data_type().clone()
        }
        _ => DataType::Null,
    }
}

impl ScalarUDFImpl for OfArray {
    fn name(&self) -> &'static str {
        match self.which {
            Which::OrEmpty => "array_or_empty",
            Which::Out => "array_out",
            Which::Upper => "array_upper",
            Which::Lower => "array_lower",
            Which::Expand => "expand_array",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let first = args.first().cloned().unwrap_or(DataType::Null);
        Ok(match self.which {
            Which::Upper | Which::Lower => DataType::Int64,
            Which::Out if matches!(first, DataType::List(_)) => DataType::Utf8,
            Which::Expand => DataType::new_list(DataType::Struct(expanded(&element(&first))), true),
            Which::OrEmpty | Which::Out => first,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let DataType::List(_) = array.data_type() else {
            return Ok(ColumnarValue::Array(match self.which {
                Which::Upper | Which::Lower => Arc::new(Int64Array::new_null(array.len())),
                _ => array,
            }));
        };
        let list = array.as_list::<i32>();
        Ok(ColumnarValue::Array(match self.which {
            Which::OrEmpty => Arc::new(or_empty(list)?),
            Which::Out => Arc::new(out(list)?),
            Which::Upper => Arc::new(subscripts(list, |length| length)),
            Which::Lower => Arc::new(subscripts(list, |_| 1)),
            Which::Expand => Arc::new(expand(list)?),
        }))
    }
}

fn or_empty(list: &ListArray) -> Result<ListArray> {
    let DataType::List(field) = list.data_type() else { return Ok(list.clone()) };
    let parts: Vec<ArrayRef> = list.iter().flatten().collect();
    let lengths = list.iter().map(|part| part.map_or(0, |part| part.len()));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let values = if parts.is_empty() { new_empty_array(field.data_type()) } else { arrow::compute::concat(&parts)? };
    Ok(ListArray::try_new(Arc::clone(field), offsets, values, None)?)
}

fn out(list: &ListArray) -> Result<StringArray> {
    let text = |part: Option<ArrayRef>| -> Result<Option<String>> {
        let Some(part) = part else { return Ok(None) };
        let texts = arrow::compute::cast(&part, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>().iter().map(|text| text.unwrap_or("NULL").to_string());
        Ok(Some(format!("{{{}}}", texts.collect::<Vec<_>>().join(","))))
    };
    list.iter().map(text).collect()
}

fn subscripts(list: &ListArray, of: fn(i64) -> i64) -> Int64Array {
    let lengths = list.iter().map(|part| part.map(|part| part.len() as i64));
    lengths.map(|length| length.filter(|length| *length > 0).map(of)).collect()
}

fn expand(list: &ListArray) -> Result<ListArray> {
    let fields = expanded(list.values().data_type());
    let field = Arc::new(Field::new_list_field(DataType::Struct(fields.clone()), true));
    let numbers = list.iter().flatten().flat_map(|part| 1..=part.len() as i64).map(Some);
    let numbers: Int64Array = numbers.collect();
    let plain = or_empty(list)?;
    let values = StructArray::try_new(fields, vec![Arc::clone(plain.values()), Arc::new(numbers)], None)?;
    Ok(ListArray::try_new(field, plain.offsets().clone(), Arc::new(values), list.nulls().cloned())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Int64Type;

    #[test]
    fn arrays_are_filled_shown_and_expanded() {
        let list =
            ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(7), Some(9)]), None, Some(vec![])]);
        assert_eq!(or_empty(&list).expect("lists").null_count(), 0);
        let shown = out(&list).expect("texts");
        assert_eq!(shown.iter().collect::<Vec<_>>(), [Some("{7,9}"), None, Some("{}")]);
        assert_eq!(subscripts(&list, |length| length), Int64Array::from(vec![Some(2), None, None]));
        let expanded = expand(&list).expect("pairs");
        assert_eq!(expanded.value(0).as_struct().column(1).as_primitive::<Int64Type>().values(), &[1, 2]);
        assert!(expanded.is_null(1));
    }
}
