//! Functions that are computed row by row from numbers, truths and texts: the catalogs are small.

use crate::error::external;
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use evenkeel_model::Result;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// An argument or an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Truth(bool),
    Number(i64),
    Text(String),
}

impl Cell {
    /// The number that it is or spells.
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<Option<String>> for Cell {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl From<Option<i64>> for Cell {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Number)
    }
}

type Body = Arc<dyn Fn(&[Cell]) -> Result<Cell> + Send + Sync>;

/// A function from rows of arguments to answers of one type.
struct RowFunction {
    name: &'static str,
    answers: DataType,
    signature: Signature,
    body: Body,
}

/// A function with this name; `answers` is boolean, bigint or text.
pub(super) fn row_function(
    name: &'static str,
    answers: DataType,
    body: impl Fn(&[Cell]) -> Result<Cell> + Send + Sync + 'static,
) -> ScalarUDF {
    let signature = Signature::one_of(vec![TypeSignature::VariadicAny, TypeSignature::Nullary], Volatility::Stable);
    ScalarUDF::new_from_impl(RowFunction { name, answers, signature, body: Arc::new(body) })
}

impl std::fmt::Debug for RowFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

// Within a statement there is one function of a name.
impl PartialEq for RowFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for RowFunction {}

impl Hash for RowFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for RowFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(self.answers.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args.args.into_iter().map(|arg| cells(&arg.into_array(rows)?));
        let columns: Vec<Vec<Cell>> = columns.collect::<datafusion::common::Result<_>>()?;
        let mut answers = Vec::with_capacity(rows);
        for row in 0..rows {
            let row: Vec<Cell> = columns.iter().map(|column| column[row].clone()).collect();
            answers.push((self.body)(&row).map_err(external)?);
        }
        let array = array(&self.answers, &answers);
        match constant {
            true => datafusion::common::ScalarValue::try_from_array(&array, 0).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(array)),
        }
    }
}

/// The values of a column. What is neither number nor truth is text, lists and times as they are shown.
fn cells(array: &ArrayRef) -> datafusion::common::Result<Vec<Cell>> {
    let of = |cell: Option<Cell>| cell.unwrap_or(Cell::Null);
    Ok(match array.data_type() {
        DataType::Null => vec![Cell::Null; array.len()],
        DataType::Boolean => array.as_boolean().iter().map(|value| of(value.map(Cell::Truth))).collect(),
        kind if kind.is_integer() => {
            let numbers = arrow::compute::cast(array, &DataType::Int64)?;
            numbers.as_primitive::<Int64Type>().iter().map(|value| of(value.map(Cell::Number))).collect()
        }
        _ => {
            let texts = arrow::compute::cast(array, &DataType::Utf8)?;
            texts.as_string::<i32>().iter().map(|value| of(value.map(|text| Cell::Text(text.to_string())))).collect()
        }
    })
}

fn array(kind: &DataType, answers: &[Cell]) -> ArrayRef {
    let truth = |cell: &Cell| if let Cell::Truth(truth) = cell { Some(*truth) } else { None };
    match kind {
        DataType::Boolean => Arc::new(answers.iter().map(truth).collect::<BooleanArray>()),
        DataType::Int64 => Arc::new(answers.iter().map(Cell::number).collect::<Int64Array>()),
        _ => Arc::new(answers.iter().map(Cell::text).collect::<StringArray>()),
    }
}
