//! Queries within queries that use columns of the query around them, carried out row by row.
//!
//! DataFusion makes joins of such queries where it can, and refuses the rest: what gives one row only because of what is
//! in the tables, and comparisons other than `=`. The catalogs' clients ask many of these:
//!
//! ```sql
//! SELECT a.attname, (SELECT c.collname FROM pg_collation c, pg_type t
//!                    WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation)
//! FROM pg_attribute a
//! ```
//!
//! Where all the tables of the inner query are computed ones, which are small and in memory, it becomes a function of the
//! outer columns that it uses, and is planned and run for each different row of these.

use crate::error::external;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::MemTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Subquery, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_plan::collect;
use evenkeel_model::{Error, SqlState};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Puts functions in the place of such queries.
#[derive(Debug)]
pub(crate) struct Correlated {
    /// What the inner queries are planned with.
    state: Arc<SessionState>,
}

impl Correlated {
    pub(crate) fn new(state: SessionState) -> Self {
        Self { state: Arc::new(state) }
    }

    fn function(&self, subquery: Subquery, schema: &DFSchema) -> Expr {
        let mut columns: Vec<(FieldRef, Column)> = Vec::new();
        for expr in &subquery.outer_ref_columns {
            if let Expr::OuterReferenceColumn(field, column) = expr
                && !columns.iter().any(|(_, known)| known == column)
            {
                columns.push((Arc::clone(field), column.clone()));
            }
        }
        // A column of a query further out stays what it is, for the function that the query around becomes.
        let argument = |(field, column): &(FieldRef, Column)| match schema.has_column(column) {
            true => Expr::Column(column.clone()),
            false => Expr::OuterReferenceColumn(Arc::clone(field), column.clone()),
        };
        let arguments: Vec<Expr> = columns.iter().map(argument).collect();
        let signature = Signature::any(arguments.len(), Volatility::Volatile);
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        let plan = Arc::unwrap_or_clone(subquery.subquery);
        let function = RowByRow { plan, columns, signature, state: Arc::clone(&self.state) };
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), arguments))
    }
}

impl AnalyzerRule for Correlated {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let replaced = expr.transform_up(|expr| match expr {
                    Expr::ScalarSubquery(subquery)
                        if !subquery.outer_ref_columns.is_empty() && is_computed(&subquery.subquery)? =>
                    {
                        Ok(Transformed::yes(self.function(subquery, &schema)))
                    }
                    expr => Ok(Transformed::no(expr)),
                })?;
                Ok(replaced.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &'static str {
        "correlated"
    }
}

/// Whether a plan reads tables in memory and no others.
fn is_computed(plan: &LogicalPlan) -> Result<bool> {
    let mut computed = true;
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan {
            computed &= source_as_provider(&scan.source)?.is::<MemTable>();
        }
        Ok(if computed { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(computed)
}

/// An inner query as a function of outer columns.
#[derive(Debug)]
struct RowByRow {
    plan: LogicalPlan,
    /// What the arguments stand for.
    columns: Vec<Column>,
    signature: Signature,
    state: Arc<SessionState>,
}

impl PartialEq for RowByRow {
    fn eq(&self, other: &Self) -> bool {
        self.plan == other.plan && self.columns == other.columns
    }
}

impl Eq for RowByRow {}

impl Hash for RowByRow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.plan.hash(state);
        self.columns.hash(state);
    }
}

impl ScalarUDFImpl for RowByRow {
    fn name(&self) -> &'static str {
        "subquery"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.plan.schema().field(0).data_type().clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns: Vec<ArrayRef> = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<_>>()?;
        let row = |row: usize| columns.iter().map(|column| ScalarValue::try_from_array(column, row)).collect();
        let wanted: Vec<Vec<ScalarValue>> = (0..rows).map(row).collect::<Result<_>>()?;
        // On a thread of its own: a plan has to be waited for, and the threads that run plans must not wait.
        let answers = std::thread::scope(|scope| {
            let answers = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                runtime.block_on(self.answers(&wanted))
            });
            answers.join().unwrap_or_else(|_| Err(external(Error::internal("a query within a query panicked"))))
        })?;
        match answers.is_empty() {
            true => Ok(ColumnarValue::Array(arrow::array::new_empty_array(args.return_field.data_type()))),
            false => Ok(ColumnarValue::Array(ScalarValue::iter_to_array(answers)?)),
        }
    }
}

impl RowByRow {
    async fn answers(&self, wanted: &[Vec<ScalarValue>]) -> Result<Vec<ScalarValue>> {
        let mut known: HashMap<&[ScalarValue], ScalarValue> = HashMap::new();
        let mut answers = Vec::with_capacity(wanted.len());
        for row in wanted {
            let answer = match known.get(row.as_slice()) {
                Some(answer) => answer.clone(),
                None => {
                    let answer = self.answer(row).await?;
                    known.insert(row, answer.clone());
                    answer
                }
            };
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn answer(&self, row: &[ScalarValue]) -> Result<ScalarValue> {
        let plan = self.of(row)?;
        let plan = self.state.create_physical_plan(&plan).await?;
        let batches = collect(plan, self.state.task_ctx()).await?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let kind = self.plan.schema().field(0).data_type();
        match (rows, batches.iter().find(|batch| batch.num_rows() > 0)) {
            (0, _) | (_, None) => ScalarValue::try_from(kind),
            (1, Some(batch)) => ScalarValue::try_from_array(batch.column(0), 0)?.cast_to(kind),
            _ => {
                let message = "more than one row returned by a subquery used as an expression";
                Err(external(Error::new(SqlState::CardinalityViolation, message)))
            }
        }
    }

    /// The plan with values in the places of outer columns.
    fn of(&self, row: &[ScalarValue]) -> Result<LogicalPlan> {
        let value = |column: &Column| self.columns.iter().position(|known| known == column).map(|at| row[at].clone());
        let replace = |expr: Expr| {
            expr.transform_up(|expr| match &expr {
                Expr::OuterReferenceColumn(_, column) => Ok(match value(column) {
                    Some(value) => Transformed::yes(Expr::Literal(value, None)),
                    None => Transformed::no(expr),
                }),
                _ => Ok(Transformed::no(expr)),
            })
        };
        let replaced = self.plan.clone().transform_up_with_subqueries(|plan| {
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(replace(expr)?.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(replaced.data)
    }
}
