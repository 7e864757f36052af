//! Integer arithmetic that says when a result does not fit, where DataFusion's would wrap around.
//!
//! `+`, `-` and `*` of integers become functions of the same meaning that check; a wrapped result is a wrong answer that
//! nobody notices. Casts become those of [`crate::casts`] on the same way.

use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;
use std::sync::Arc;

/// One of the operators, checked.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.operator {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            _ => "checked_multiply",
        }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Ok(args.join(&format!(" {} ", self.operator)))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(args.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = datafusion::common::utils::take_function_args(self.name(), args.args)?;
        match self.operator {
            Operator::Plus => apply(&left, &right, add),
            Operator::Minus => apply(&left, &right, sub),
            _ => apply(&left, &right, mul),
        }
    }
}

/// Puts checked operators and exact casts in the place of others, in whole plans.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(checked(expr, &schema)?.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }
}

/// Puts checked operators and exact casts in the place of others, in an expression over the columns of a schema.
pub(crate) fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let (left, op, right) = match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => (left, op, right),
            Expr::Cast(cast) => {
                let from = cast.expr.get_type(schema).ok();
                let (expr, changed) = crate::casts::converted(cast, from.as_ref());
                return Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) });
            }
            _ => return Ok(Transformed::no(expr)),
        };
        let arithmetic = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply);
        // A column of an outer query has no type here: its operator stays as it is.
        let integers = arithmetic
            && match (left.get_type(schema), right.get_type(schema)) {
                (Ok(left), Ok(right)) => left.is_integer() && left == right,
                _ => false,
            };
        if !integers {
            return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
        }
        let function = Checked { operator: op, signature: Signature::any(2, Volatility::Immutable) };
        let function = Arc::new(ScalarUDF::new_from_impl(function));
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![*left, *right]))))
    })
}
