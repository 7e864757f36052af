//! Values of one row, computed without arrays.
//!
//! What applications write row by row is mostly parameters, constants, and a column plus or minus one of these. That is
//! recognised here, for columns of a few types. What is anything else, or does not come out well (an overflow, a NULL where
//! none may be), is the planner's expressions' business: they mean the same, and say what is wrong.

use crate::table::TableHandle;
use crate::types::fold;
use datafusion::common::ScalarValue;
use evenkeel_model::ColumnType;
use evenkeel_storage::codec::{RowOfValues, Value};
use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value as Literal};
use std::borrow::Cow;

/// How a value comes about.
#[derive(Debug)]
pub(crate) enum Direct {
    /// A column of the row that is there, by its place in the table's current row version.
    Column(usize),
    Parameter(usize),
    Constant(Value<'static>),
    /// Of two integers, within the range of the wider's type.
    Sum {
        is_difference: bool,
        parts: Box<[Direct; 2]>,
        width: u32,
    },
}

/// Where values are taken from.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s> {
    /// The table whose columns may be named, if any may.
    pub(crate) table: Option<&'s TableHandle>,
    pub(crate) parameters: &'s [ColumnType],
    /// The parameter that is the moment of the statement.
    pub(crate) now: Option<usize>,
}

/// Bits of an integer type.
fn width(column: &ColumnType) -> Option<u32> {
    match column {
        ColumnType::SmallInt => Some(16),
        ColumnType::Integer => Some(32),
        ColumnType::BigInt => Some(64),
        _ => None,
    }
}

fn fits(number: i64, width: u32) -> bool {
    let unused = 64 - width;
    number << unused >> unused == number
}

impl Direct {
    /// The value of a column, as an expression gives it.
    pub(crate) fn of(expr: &Expr, column: &ColumnType, scope: Scope<'_>) -> Option<Self> {
        if let Expr::Nested(inner) = expr {
            return Self::of(inner, column, scope);
        }
        if let Expr::Value(value) = expr {
            match &value.value {
                Literal::Null => return Some(Self::Constant(Value::Null)),
                Literal::Placeholder(name) => {
                    let number = crate::parameters::number(name)?;
                    let given = scope.parameters.get(number)?;
                    // Without a time zone, a moment is what it is in UTC.
                    let is_now = scope.now == Some(number) && *column == ColumnType::Timestamp;
                    let is_exact = matches!(
                        column,
                        ColumnType::SmallInt
                            | ColumnType::Integer
                            | ColumnType::BigInt
                            | ColumnType::Boolean
                            | ColumnType::Double
                            | ColumnType::Text { max_chars: None }
                    ) || scope.now == Some(number);
                    return (is_now || is_exact && given == column).then_some(Self::Parameter(number));
                }
                Literal::Boolean(value) if *column == ColumnType::Boolean => {
                    return Some(Self::Constant(Value::Boolean(*value)));
                }
                Literal::SingleQuotedString(text) if *column == (ColumnType::Text { max_chars: None }) => {
                    return Some(Self::Constant(Value::Bytes(Cow::Owned(text.clone().into_bytes()))));
                }
                _ => {}
            }
        }
        let wanted = width(column)?;
        let (value, _) = Self::integer(expr, scope)?;
        match value {
            Self::Constant(Value::Integer(number)) if !fits(number, wanted) => None,
            value => Some(value),
        }
    }

    /// An integer and how wide its type is.
    fn integer(expr: &Expr, scope: Scope<'_>) -> Option<(Self, u32)> {
        match expr {
            Expr::Nested(inner) => Self::integer(inner, scope),
            Expr::Value(value) => match &value.value {
                Literal::Number(number, _) => Some((Self::Constant(Value::Integer(number.parse().ok()?)), 64)),
                Literal::Placeholder(name) => {
                    let number = crate::parameters::number(name)?;
                    Some((Self::Parameter(number), width(scope.parameters.get(number)?)?))
                }
                _ => None,
            },
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match Self::integer(expr, scope)? {
                (Self::Constant(Value::Integer(number)), width) => {
                    Some((Self::Constant(Value::Integer(number.checked_neg()?)), width))
                }
                _ => None,
            },
            Expr::Identifier(word) => {
                let table = scope.table?;
                let column = table.column(table.position(&fold(word)).ok()?);
                let place = table.format.current().columns().iter().position(|other| other.id == column.id)?;
                Some((Self::Column(place), width(&column.column_type)?))
            }
            Expr::BinaryOp { left, op: op @ (BinaryOperator::Plus | BinaryOperator::Minus), right } => {
                let ((left, one), (right, other)) = (Self::integer(left, scope)?, Self::integer(right, scope)?);
                let (is_difference, width) = (*op == BinaryOperator::Minus, one.max(other));
                Some((Self::Sum { is_difference, parts: Box::new([left, right]), width }, width))
            }
            _ => None,
        }
    }

    /// `None` where it does not come out.
    pub(crate) fn value<'v>(&'v self, row: &[Value<'v>], parameters: &'v [ScalarValue]) -> Option<Value<'v>> {
        match self {
            Self::Column(place) => row.get(*place).cloned(),
            Self::Parameter(number) => scalar(parameters.get(*number)?),
            Self::Constant(value) => Some(borrowed(value)),
            Self::Sum { is_difference, parts, width } => {
                let [left, right] = parts.as_ref();
                let (left, right) = (left.value(row, parameters)?, right.value(row, parameters)?);
                let (Value::Integer(left), Value::Integer(right)) = (&left, &right) else {
                    return (left.is_null() || right.is_null()).then_some(Value::Null);
                };
                let sum = if *is_difference { left.checked_sub(*right) } else { left.checked_add(*right) };
                sum.filter(|sum| fits(*sum, *width)).map(Value::Integer)
            }
        }
    }
}

fn borrowed<'v>(value: &'v Value<'static>) -> Value<'v> {
    match value {
        Value::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        other => other.clone(),
    }
}

fn scalar(value: &ScalarValue) -> Option<Value<'_>> {
    Some(match value {
        value if value.is_null() => Value::Null,
        ScalarValue::Int16(Some(n)) => Value::Integer(i64::from(*n)),
        ScalarValue::Int32(Some(n)) => Value::Integer(i64::from(*n)),
        ScalarValue::Int64(Some(n)) | ScalarValue::TimestampMicrosecond(Some(n), _) => Value::Integer(*n),
        ScalarValue::Boolean(Some(b)) => Value::Boolean(*b),
        ScalarValue::Float64(Some(f)) => Value::Float(*f),
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            Value::Bytes(Cow::Borrowed(text.as_bytes()))
        }
        _ => return None,
    })
}

/// Whether a parameter's value is of the type that it was said to have.
fn is_of(value: &ScalarValue, column: &ColumnType) -> bool {
    value.is_null()
        || match column {
            ColumnType::SmallInt => matches!(value, ScalarValue::Int16(_)),
            ColumnType::Integer => matches!(value, ScalarValue::Int32(_)),
            ColumnType::BigInt => matches!(value, ScalarValue::Int64(_)),
            ColumnType::Boolean => matches!(value, ScalarValue::Boolean(_)),
            ColumnType::Double => matches!(value, ScalarValue::Float64(_)),
            ColumnType::Text { .. } => {
                matches!(value, ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::LargeUtf8(_))
            }
            ColumnType::Timestamp | ColumnType::TimestampTz => matches!(value, ScalarValue::TimestampMicrosecond(..)),
            _ => true,
        }
}

/// Some columns of a row, by their places in the table's current row version, and how they come about.
#[derive(Debug)]
pub(crate) struct DirectRow {
    columns: Vec<(usize, Direct)>,
    parameters: Vec<ColumnType>,
}

impl DirectRow {
    /// By positions in the table; `None` where a value is none of these, or a value has more to be than its type.
    pub(crate) fn of<'e>(
        table: &TableHandle,
        values: impl Iterator<Item = (usize, &'e Expr)>,
        scope: Scope<'_>,
    ) -> Option<Self> {
        if !table.schema.checks.is_empty() {
            return None;
        }
        let column = |(position, expr): (usize, &Expr)| {
            let column = table.column(position);
            let place = table.format.current().columns().iter().position(|other| other.id == column.id)?;
            Some((place, Direct::of(expr, &column.column_type, scope)?))
        };
        let columns = values.map(column).collect::<Option<_>>()?;
        Some(Self { columns, parameters: scope.parameters.to_vec() })
    }

    /// The bytes of a row with these values in the place of those that it has. `None` where one does not come out or does
    /// not fit its column.
    pub(crate) fn encode<'v>(
        &'v self,
        table: &TableHandle,
        mut row: Vec<Value<'v>>,
        parameters: &'v [ScalarValue],
    ) -> Option<(Vec<Value<'v>>, Vec<u8>)> {
        let are_exact = self.parameters.iter().zip(parameters).all(|(column, value)| is_of(value, column));
        if !are_exact || parameters.len() < self.parameters.len() {
            return None;
        }
        // All are computed from the row as it was.
        let new: Option<Vec<_>> =
            self.columns.iter().map(|(place, direct)| Some((*place, direct.value(&row, parameters)?))).collect();
        for (place, value) in new? {
            row[place] = value;
        }
        let version = table.format.current();
        for (value, place) in row.iter().zip(version.columns()) {
            let may_be = match value {
                Value::Null => table.is_nullable(place.id),
                Value::Integer(number) => width(&place.column_type).is_none_or(|width| fits(*number, width)),
                _ => true,
            };
            if !may_be {
                return None;
            }
        }
        let mut bytes = Vec::new();
        version.encode(&mut bytes, &RowOfValues { version, values: &row }).ok()?;
        Some((row, bytes))
    }
}
