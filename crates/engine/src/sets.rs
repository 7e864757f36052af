//! `INTERSECT ALL` and `EXCEPT ALL`, which count how often a row is there.
//!
//! On each side the equal rows are numbered; of numbered rows no two are equal, so that the distinct operation is the
//! counting one: a row that is there three times on the left and once on the right leaves its second and third.

use crate::error::external;
use datafusion::common::Result;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder};
use evenkeel_model::{Error, SqlState};
use sqlparser::ast::{self, SetExpr, SetOperator, SetQuantifier, TableFactor};

/// Whether this is one of the operations that count.
pub(crate) fn counts(body: &SetExpr) -> bool {
    matches!(
        body,
        SetExpr::SetOperation {
            op: SetOperator::Intersect | SetOperator::Except,
            set_quantifier: SetQuantifier::All,
            ..
        }
    )
}

/// Plans a derived table whose query is nothing but one of the operations; [`crate::spelling`] makes derived tables of
/// those that stand elsewhere.
#[derive(Debug)]
pub(crate) struct Sets;

impl RelationPlanner for Sets {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let operation = |relation: &TableFactor| match relation {
            TableFactor::Derived { subquery, .. } => counts(&subquery.body) && bare(subquery),
            _ => false,
        };
        if !operation(&relation) {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        let TableFactor::Derived { lateral, subquery, alias, sample } = relation else {
            return Err(external(Error::internal("a derived table became another relation")));
        };
        let SetExpr::SetOperation { op, left, right, .. } = *subquery.body.clone() else {
            return Err(external(Error::internal("a set operation became another query")));
        };
        let mut side = |body: Box<SetExpr>| {
            let subquery = Box::new(ast::Query { body, ..(*subquery).clone() });
            context.plan(TableFactor::Derived { lateral, subquery, alias: None, sample: sample.clone() })
        };
        let plan = counted(op, side(left)?, side(right)?)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation { plan, alias })))
    }
}

/// Whether a query has nothing but its body.
fn bare(query: &ast::Query) -> bool {
    query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.pipe_operators.is_empty()
}

fn counted(operator: SetOperator, left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan> {
    let names: Vec<String> = left.schema().fields().iter().map(|field| field.name().clone()).collect();
    if names.len() != right.schema().fields().len() {
        let message = format!("each {operator} query must have the same number of columns");
        return Err(external(Error::new(SqlState::SyntaxError, message)));
    }
    let (left, right) = (numbered(left)?, numbered(right)?);
    let plan = match operator {
        SetOperator::Intersect => LogicalPlanBuilder::intersect(left, right, true)?,
        _ => LogicalPlanBuilder::except(left, right, true)?,
    };
    let columns: Vec<Expr> =
        plan.schema().columns().into_iter().zip(names).map(|(column, name)| Expr::Column(column).alias(name)).collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// A plan with a last column that numbers equal rows; its columns have names of their own, so that no two are the same.
fn numbered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let number = row_number().partition_by(columns).build()?;
    let plan = LogicalPlanBuilder::from(plan).window([number])?.build()?;
    let columns = plan.schema().columns().into_iter().enumerate();
    let named: Vec<Expr> = columns.map(|(at, column)| Expr::Column(column).alias(format!("column {at}"))).collect();
    LogicalPlanBuilder::from(plan).project(named)?.build()
}
