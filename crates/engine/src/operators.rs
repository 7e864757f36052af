//! Operators that PostgreSQL has and DataFusion has not, or has with another meaning.
//!
//! * A date plus or minus an interval is a timestamp: an interval may have hours.
//! * An interval is multiplied and divided by numbers.
//! * A text literal beside an interval is an interval.
//! * `->` and `->>` take values out of JSON (see [`crate::json`]).

use crate::error::external;
use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Float64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, cast,
};
use sqlparser::ast::BinaryOperator;
use std::sync::Arc;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Plans the operators.
#[derive(Debug)]
pub(crate) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if let Some(function) = crate::json::accessor(&raw.op) {
            let args = vec![raw.left, raw.right];
            return Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(function, args))));
        }
        let (Ok(left), Ok(right)) = (raw.left.get_type(schema), raw.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(raw));
        };
        let sum = match raw.op {
            BinaryOperator::Plus => Some(Operator::Plus),
            BinaryOperator::Minus => Some(Operator::Minus),
            _ => None,
        };
        let planned = match (&raw.op, left, right) {
            (_, DataType::Date32, INTERVAL) => sum.map(|op| binary(timestamp(raw.left.clone()), op, &raw.right)),
            (BinaryOperator::Plus, INTERVAL, DataType::Date32) => {
                Some(binary(raw.left.clone(), Operator::Plus, &timestamp(raw.right.clone())))
            }
            (BinaryOperator::Multiply, INTERVAL, number) if is_number(&number) => {
                Some(scaled(raw.left.clone(), raw.right.clone(), false))
            }
            (BinaryOperator::Multiply, number, INTERVAL) if is_number(&number) => {
                Some(scaled(raw.right.clone(), raw.left.clone(), false))
            }
            (BinaryOperator::Divide, INTERVAL, number) if is_number(&number) => {
                Some(scaled(raw.left.clone(), raw.right.clone(), true))
            }
            (_, INTERVAL, text) if text.is_string() && is_literal(&raw.right) => {
                return Ok(PlannerResult::Original(RawBinaryExpr { right: cast(raw.right, INTERVAL), ..raw }));
            }
            (_, text, INTERVAL) if text.is_string() && is_literal(&raw.left) => {
                return Ok(PlannerResult::Original(RawBinaryExpr { left: cast(raw.left, INTERVAL), ..raw }));
            }
            (BinaryOperator::Plus, DataType::Timestamp(..), text) if text.is_string() && is_literal(&raw.right) => {
                return Ok(PlannerResult::Original(RawBinaryExpr { right: cast(raw.right, INTERVAL), ..raw }));
            }
            _ => None,
        };
        Ok(planned.map_or(PlannerResult::Original(raw), PlannerResult::Planned))
    }
}

fn binary(left: Expr, operator: Operator, right: &Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right.clone())))
}

fn timestamp(date: Expr) -> Expr {
    cast(date, DataType::Timestamp(TimeUnit::Microsecond, None))
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric() || kind.is_null()
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), _))
}

fn scaled(interval: Expr, number: Expr, divide: bool) -> Expr {
    let function = Scale { divide, signature: Signature::any(2, Volatility::Immutable) };
    let args = vec![interval, cast(number, DataType::Float64)];
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), args))
}

/// An interval times or divided by a number.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Scale {
    divide: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Scale {
    fn name(&self) -> &'static str {
        if self.divide { "interval_divide" } else { "interval_multiply" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [intervals, numbers] = datafusion::common::utils::take_function_args(self.name(), args.args)?;
        let (intervals, numbers) = (intervals.into_array(args.number_rows)?, numbers.into_array(args.number_rows)?);
        let scale = |(interval, number): (Option<_>, Option<f64>)| match (interval, number) {
            (Some(interval), Some(number)) => crate::interval::scale(interval, number, self.divide).map(Some),
            _ => Ok(None),
        };
        let numbers = numbers.as_primitive::<Float64Type>().iter();
        let scaled: evenkeel_model::Result<PrimitiveArray<IntervalMonthDayNanoType>> =
            intervals.as_primitive::<IntervalMonthDayNanoType>().iter().zip(numbers).map(scale).collect();
        Ok(ColumnarValue::Array(Arc::new(scaled.map_err(external)?) as ArrayRef))
    }
}
