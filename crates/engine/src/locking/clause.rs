//! What a query's locking clauses ask for, and of which queries that can be asked: each row of the answer has to be a row of
//! tables.

use crate::naming::output_name;
use crate::spelling::limit_instead_of_fetch;
use crate::types::{fold, last_name};
use datafusion::logical_expr::LogicalPlan;
use evenkeel_model::{Error, Result, SqlState};
use sqlparser::ast::{self, Expr, SetExpr, TableFactor};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What to do about a row that another block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Patience {
    Wait,
    /// `SKIP LOCKED`
    Skip,
    /// `NOWAIT`
    Fail,
}

/// What the locking clauses of a query ask for.
#[derive(Debug)]
pub(crate) struct Locking {
    /// The clause, as it is called in messages.
    pub(super) clause: String,
    pub(super) targets: Vec<Target>,
}

/// A table of which rows are chosen, by the name that the query has for it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) table: ast::ObjectName,
    pub(super) qualifier: ast::Ident,
    pub(super) patience: Patience,
}

impl Locking {
    /// What a query asks for; `None` where it has no locking clause.
    ///
    /// # Errors
    /// 0A000 where a row of the answer is not a row of tables, 42P01 for OF a table that is not in FROM.
    pub(crate) fn of(query: &ast::Query) -> Result<Option<Self>> {
        let Some(first) = query.locks.first() else { return Ok(None) };
        let clause = format!("FOR {}", first.lock_type);
        let query = &*folded(query).map_err(|what| refused(&clause, what))?;
        let SetExpr::Select(select) = query.body.as_ref() else {
            return Err(refused(&clause, "UNION, INTERSECT, EXCEPT and VALUES"));
        };
        let grouped =
            !matches!(&select.group_by, ast::GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty());
        let misfit = [
            (select.distinct.is_some(), "DISTINCT"),
            (grouped, "GROUP BY"),
            (select.having.is_some(), "HAVING"),
            (select.into.is_some(), "INTO"),
        ];
        if let Some((_, what)) = misfit.into_iter().find(|(is_there, _)| *is_there) {
            return Err(refused(&clause, what));
        }
        let ctes: BTreeSet<String> =
            query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| fold(&cte.alias.name)).collect();
        let mut relations = Vec::new();
        select.from.iter().for_each(|table| relations_of(table, Side::Inner, &mut relations));
        let mut targets: Vec<Target> = Vec::new();
        for lock in &query.locks {
            let named = lock.of.as_ref().map(last_name);
            let patience = match lock.nonblock {
                None => Patience::Wait,
                Some(ast::NonBlock::SkipLocked) => Patience::Skip,
                Some(ast::NonBlock::Nowait) => Patience::Fail,
            };
            let mut is_found = false;
            for (factor, side) in &relations {
                let name = name_of(factor);
                if named.is_some() && name.as_ref().map(fold) != named {
                    continue;
                }
                is_found = true;
                let only_named = |what| named.as_ref().map(|_| what);
                let misfit = match factor {
                    _ if *side == Side::Asked => only_named("the side of a SEMI or ANTI JOIN that has no columns"),
                    TableFactor::Table { name, args: None, .. }
                        if name.0.len() == 1 && ctes.contains(&last_name(name)) =>
                    {
                        only_named("a query of WITH")
                    }
                    TableFactor::Table { args: None, version: None, sample: None, .. } if *side == Side::Outer => {
                        Some("the side of an outer join that may have no row")
                    }
                    TableFactor::Table { name: table, args: None, version: None, sample: None, .. } => {
                        let qualifier = name.ok_or_else(|| Error::internal("a table without a name"))?;
                        match targets.iter_mut().find(|target| target.qualifier == qualifier) {
                            Some(target) => target.patience = target.patience.max(patience),
                            None => targets.push(Target { table: table.clone(), qualifier, patience }),
                        }
                        continue;
                    }
                    TableFactor::Table { args: None, .. } => Some("a table as it was, or a sample of it"),
                    // What a function or VALUES make up is nobody else's.
                    TableFactor::Table { .. }
                    | TableFactor::Function { .. }
                    | TableFactor::TableFunction { .. }
                    | TableFactor::UNNEST { .. } => only_named("a function"),
                    TableFactor::Derived { subquery, .. } if matches!(*subquery.body, SetExpr::Values(_)) => {
                        only_named("VALUES")
                    }
                    _ => Some("a query or a join with a name in FROM"),
                };
                if let Some(misfit) = misfit {
                    let refused = refused(&clause, misfit);
                    return Err(match named {
                        Some(_) => refused,
                        None => {
                            refused.with_hint(format!("{clause} OF t, … names the tables whose rows are to be held"))
                        }
                    });
                }
            }
            if let Some(named) = named.filter(|_| !is_found) {
                let message = format!("relation \"{named}\" in {clause} is not in FROM");
                return Err(Error::new(SqlState::UndefinedTable, message)
                    .with_hint("OF takes the names that tables have in the query: their aliases, if they have any"));
            }
        }
        Ok(Some(Self { clause, targets }))
    }

    /// The query that this is of, as one SELECT without the clauses.
    ///
    /// # Errors
    /// 0A000 for a pipeline that is more.
    pub(super) fn plain(&self, query: &ast::Query) -> Result<ast::Query> {
        let mut query = folded(query).map_err(|what| refused(&self.clause, what))?.into_owned();
        query.locks.clear();
        Ok(query)
    }

    /// Whether rows may be left out because others hold them.
    pub(super) fn skips(&self) -> bool {
        self.targets.iter().any(|target| target.patience == Patience::Skip)
    }

    /// The tables whose rows are chosen.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &ast::ObjectName> {
        self.targets.iter().map(|target| &target.table)
    }

    /// Whether each row of a plan's answer is one of its tables' rows.
    ///
    /// # Errors
    /// 0A000
    pub(crate) fn check(&self, plan: &LogicalPlan) -> Result<()> {
        match plan {
            LogicalPlan::Projection(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Filter(_) => {
                plan.inputs().into_iter().try_for_each(|input| self.check(input))
            }
            LogicalPlan::Aggregate(_) => Err(refused(&self.clause, "aggregate functions")),
            LogicalPlan::Window(_) => Err(refused(&self.clause, "window functions")),
            LogicalPlan::Distinct(_) => Err(refused(&self.clause, "DISTINCT")),
            LogicalPlan::Unnest(_) => Err(refused(&self.clause, "functions that give several rows")),
            _ => Ok(()),
        }
    }
}

/// A pipeline as one SELECT, where its operators are clauses of one; otherwise, what they are that is none.
fn folded(query: &ast::Query) -> std::result::Result<Cow<'_, ast::Query>, &'static str> {
    if query.pipe_operators.is_empty() {
        return Ok(Cow::Borrowed(query));
    }
    let mut folded = query.clone();
    let operators = std::mem::take(&mut folded.pipe_operators);
    let SetExpr::Select(select) = folded.body.as_mut() else { return Err("a pipeline behind UNION or VALUES") };
    for operator in operators {
        let is_whole = matches!(select.projection.as_slice(), [ast::SelectItem::Wildcard(_)]);
        let is_ordered = folded.order_by.is_some();
        let is_cut = folded.limit_clause.is_some() || folded.fetch.is_some();
        match operator {
            ast::PipeOperator::Join(join) if is_whole && !is_ordered && !is_cut && select.selection.is_none() => {
                select.from.last_mut().ok_or("a JOIN without a source")?.joins.push(join);
            }
            ast::PipeOperator::Where { expr } if is_whole && !is_ordered && !is_cut => {
                select.selection = Some(match select.selection.take() {
                    None => expr,
                    Some(before) => Expr::BinaryOp {
                        left: Box::new(Expr::Nested(Box::new(before))),
                        op: ast::BinaryOperator::And,
                        right: Box::new(Expr::Nested(Box::new(expr))),
                    },
                });
            }
            ast::PipeOperator::Select { exprs } if is_whole => {
                // Sorted by what the tables have; in one SELECT a name means the answer's column first.
                if folded.order_by.as_ref().is_some_and(|order| renames(&exprs, order)) {
                    return Err("a SELECT behind ORDER BY that gives its columns other values");
                }
                select.projection = exprs;
            }
            ast::PipeOperator::OrderBy { exprs } if !is_cut => {
                folded.order_by = Some(ast::OrderBy { kind: ast::OrderByKind::Expressions(exprs), interpolate: None });
            }
            ast::PipeOperator::Limit { expr, offset } if !is_cut => {
                let offset = offset.map(|value| ast::Offset { value, rows: ast::OffsetRows::None });
                folded.limit_clause =
                    Some(ast::LimitClause::LimitOffset { limit: Some(expr), offset, limit_by: vec![] });
            }
            ast::PipeOperator::Aggregate { .. } => return Err("GROUP BY"),
            _ => return Err("a pipeline of more than JOIN, WHERE, ORDER BY, LIMIT and SELECT, in this order"),
        }
    }
    Ok(Cow::Owned(folded))
}

/// Whether an ORDER BY would mean something else with these items: by a name that an item has, or a number.
fn renames(items: &[ast::SelectItem], order: &ast::OrderBy) -> bool {
    let ast::OrderByKind::Expressions(keys) = &order.kind else { return true };
    let mut names = BTreeSet::new();
    for key in keys {
        if matches!(key.expr, Expr::Value(_)) {
            return true;
        }
        let _ = ast::visit_expressions(&key.expr, |expr| {
            match expr {
                Expr::Identifier(name) => drop(names.insert(fold(name))),
                Expr::CompoundIdentifier(parts) => names.extend(parts.last().map(fold)),
                _ => {}
            }
            std::ops::ControlFlow::<()>::Continue(())
        });
    }
    let column = |expr: &Expr| match expr {
        Expr::Identifier(name) => Some(fold(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(fold),
        _ => None,
    };
    items.iter().any(|item| match item {
        ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } => {
            let name = output_name(item);
            name != column(expr) && name.is_some_and(|name| names.contains(&name))
        }
        _ => false,
    })
}

fn refused(clause: &str, what: &str) -> Error {
    Error::unsupported(format!("{clause} is not allowed with {what}"))
        .with_hint("it holds rows of tables: each row of the answer has to be one")
}

/// The name by which the columns of a relation are qualified.
fn name_of(factor: &TableFactor) -> Option<ast::Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, alias: None, .. } => name.0.last().and_then(|part| part.as_ident()).cloned(),
        _ => None,
    }
}

/// How a relation stands in FROM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// With a row in every row of the answer.
    Inner,
    /// A row of the answer may have none of it.
    Outer,
    /// Only asked whether there is a row.
    Asked,
}

/// The relations of FROM.
fn relations_of<'f>(table: &'f ast::TableWithJoins, side: Side, found: &mut Vec<(&'f TableFactor, Side)>) {
    use ast::JoinOperator as J;
    let first = found.len();
    factor_of(&table.relation, side, found);
    for join in &table.joins {
        let (left, right) = match &join.join_operator {
            J::Left(_) | J::LeftOuter(_) | J::OuterApply => (Side::Inner, Side::Outer),
            J::Right(_) | J::RightOuter(_) => (Side::Outer, Side::Inner),
            J::FullOuter(_) => (Side::Outer, Side::Outer),
            J::Semi(_) | J::LeftSemi(_) | J::Anti(_) | J::LeftAnti(_) => (Side::Inner, Side::Asked),
            J::RightSemi(_) | J::RightAnti(_) => (Side::Asked, Side::Inner),
            _ => (Side::Inner, Side::Inner),
        };
        if left != Side::Inner {
            found[first..].iter_mut().for_each(|(_, side)| *side = left);
        }
        factor_of(&join.relation, if right == Side::Inner { side } else { right }, found);
    }
}

fn factor_of<'f>(factor: &'f TableFactor, side: Side, found: &mut Vec<(&'f TableFactor, Side)>) {
    match factor {
        TableFactor::NestedJoin { table_with_joins, alias: None } => relations_of(table_with_joins, side, found),
        factor => found.push((factor, side)),
    }
}

/// LIMIT and OFFSET of a query from which rows may be left out: they count what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) offset: u64,
    pub(super) limit: Option<u64>,
}

impl Window {
    /// Takes LIMIT, OFFSET and FETCH out of a query.
    pub(super) fn take(query: &mut ast::Query) -> Result<Self> {
        limit_instead_of_fetch(query)?;
        let mut window = Self { offset: 0, limit: None };
        match query.limit_clause.take() {
            None => {}
            Some(ast::LimitClause::LimitOffset { limit, offset, .. }) => {
                window.limit = limit.as_ref().map(rows_of).transpose()?.flatten();
                window.offset = offset.map(|offset| rows_of(&offset.value)).transpose()?.flatten().unwrap_or(0);
            }
            Some(ast::LimitClause::OffsetCommaLimit { offset, limit }) => {
                (window.offset, window.limit) = (rows_of(&offset)?.unwrap_or(0), rows_of(&limit)?);
            }
        }
        Ok(window)
    }

    /// Rows that are enough where so many are left out.
    pub(super) fn enough(self, left_out: u64) -> Option<u64> {
        let rows = |limit: u64| limit.saturating_add(self.offset).saturating_add(left_out);
        self.limit.map(|limit| rows(limit).min(i64::MAX as u64))
    }
}

/// A number of rows; `None` for NULL, which is no limit.
fn rows_of(expr: &Expr) -> Result<Option<u64>> {
    let number = |text: &str| {
        text.parse().map_err(|_| {
            Error::new(SqlState::InvalidParameterValue, format!("{text} is not a number of rows"))
                .with_hint("LIMIT and OFFSET of SKIP LOCKED are numbers or parameters")
        })
    };
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => rows_of(inner),
        Expr::Value(value) => match &value.value {
            ast::Value::Null => Ok(None),
            ast::Value::Number(text, _) | ast::Value::SingleQuotedString(text) => number(text).map(Some),
            other => number(&other.to_string()).map(Some),
        },
        other => number(&other.to_string()).map(Some),
    }
}
