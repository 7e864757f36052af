//! `SELECT … FOR UPDATE`: a query that chooses rows, and holds them until its block ends.
//!
//! ```text
//!   ask, in the block's snapshot ─▶ hold each row of the answer, in its order ─▶ has one changed since the snapshot?
//!    ▲                               │ held by another block: wait, fail (NOWAIT)      │ no: answer
//!    │                               │ or leave it out (SKIP LOCKED)                   │ yes
//!    └───────────── the snapshot rises to now, if nothing else that was looked at has changed ◀┘   otherwise 40001
//! ```
//!
//! Nobody is told of an answer before all of its rows are held and are as the snapshot shows them. So a query that is asked
//! again counts as not asked before, and a block whose first statement this is never fails with 40001 for having waited.
//!
//! WHAT MAY NEVER HAPPEN: a block commits what it has written although a row that it has chosen was changed by somebody else
//! between its snapshot and its commit. Holding rows makes that rare, and COMMIT finds what is left of it
//! ([`crate::commit`]).

use crate::clauses::item;
use crate::error::{arrow_error, query_error};
use crate::output::{Event, Output};
use crate::point::Point;
use crate::row_locks::HeldRows;
use crate::session::{SessionInner, SessionState};
use crate::spelling::limit_instead_of_fetch;
use crate::statement::Outcome;
use crate::table::TableHandle;
use crate::table_locks::TableLock;
use crate::transaction::WRITE_BYTES;
use crate::types::{fold, last_name};
use crate::view::ReadView;
use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use evenkeel_model::{ColumnType, Error, Result, SqlState, Timestamp};
use evenkeel_storage::ApplyError;
use evenkeel_storage::codec::{Cells, KeyBuilder};
use sqlparser::ast::{self, Expr, SetExpr, TableFactor};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often a query is asked again because rows of its answer have changed, or were skipped.
const ATTEMPTS_MAX: usize = 50;

/// What to do about a row that another block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Patience {
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
    clause: String,
    targets: Vec<Target>,
    patience: Patience,
}

/// A table of which rows are chosen, by the name that the query has for it.
#[derive(Clone, Debug)]
struct Target {
    table: ast::ObjectName,
    qualifier: ast::Ident,
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
        select.from.iter().for_each(|table| relations_of(table, false, &mut relations));
        let mut targets: Vec<Target> = Vec::new();
        for lock in &query.locks {
            let named = lock.of.as_ref().map(last_name);
            let mut is_found = false;
            for (factor, is_outer) in &relations {
                let name = name_of(factor);
                if named.is_some() && name.as_ref().map(fold) != named {
                    continue;
                }
                is_found = true;
                let misfit = match factor {
                    TableFactor::Derived { .. } => Some("a query in FROM"),
                    TableFactor::Table { name, args: None, .. }
                        if name.0.len() == 1 && ctes.contains(&last_name(name)) =>
                    {
                        named.as_ref().map(|_| "a query of WITH")
                    }
                    TableFactor::Table { args: None, version: None, sample: None, .. } if *is_outer => {
                        Some("the side of an outer join that may have no row")
                    }
                    TableFactor::Table { name: table, args: None, version: None, sample: None, .. } => {
                        let qualifier = name.ok_or_else(|| Error::internal("a table without a name"))?;
                        if targets.iter().all(|target| target.qualifier != qualifier) {
                            targets.push(Target { table: table.clone(), qualifier });
                        }
                        continue;
                    }
                    TableFactor::Table { args: None, .. } => Some("a table as it was, or a sample of it"),
                    // What a function makes up is nobody else's.
                    _ => named.as_ref().map(|_| "a function"),
                };
                if let Some(misfit) = misfit {
                    return Err(refused(&clause, misfit));
                }
            }
            if let Some(named) = named.filter(|_| !is_found) {
                let message = format!("relation \"{named}\" in {clause} is not in FROM");
                return Err(Error::new(SqlState::UndefinedTable, message)
                    .with_hint("OF takes the names that tables have in the query: their aliases, if they have any"));
            }
        }
        let patience = |lock: &ast::LockClause| match lock.nonblock {
            None => Patience::Wait,
            Some(ast::NonBlock::SkipLocked) => Patience::Skip,
            Some(ast::NonBlock::Nowait) => Patience::Fail,
        };
        let patience = query.locks.iter().map(patience).max().unwrap_or(Patience::Wait);
        Ok(Some(Self { clause, targets, patience }))
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

/// A pipeline as one SELECT, where its operators are clauses of one.
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
            ast::PipeOperator::Select { exprs } if is_whole => select.projection = exprs,
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

/// The relations of FROM, and which of them may have no row in a row of the answer.
fn relations_of<'f>(table: &'f ast::TableWithJoins, is_outer: bool, found: &mut Vec<(&'f TableFactor, bool)>) {
    use ast::JoinOperator as J;
    let first = found.len();
    factor_of(&table.relation, is_outer, found);
    for join in &table.joins {
        let (left, right) = match &join.join_operator {
            J::Left(_) | J::LeftOuter(_) | J::OuterApply => (false, true),
            J::Right(_) | J::RightOuter(_) => (true, false),
            J::FullOuter(_) => (true, true),
            _ => (false, false),
        };
        if left {
            found[first..].iter_mut().for_each(|(_, is_outer)| *is_outer = true);
        }
        factor_of(&join.relation, is_outer || right, found);
    }
}

fn factor_of<'f>(factor: &'f TableFactor, is_outer: bool, found: &mut Vec<(&'f TableFactor, bool)>) {
    match factor {
        TableFactor::NestedJoin { table_with_joins, alias: None } => relations_of(table_with_joins, is_outer, found),
        factor => found.push((factor, is_outer)),
    }
}

/// LIMIT and OFFSET of a query from which rows may be left out: they count what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    offset: u64,
    limit: Option<u64>,
}

impl Window {
    /// Takes LIMIT, OFFSET and FETCH out of a query.
    fn take(query: &mut ast::Query) -> Result<Self> {
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
    fn enough(self, left_out: u64) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_add(self.offset).saturating_add(left_out))
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

/// The rows of an answer before anybody is told of it.
struct Asked {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    /// When the view was taken in which they were found.
    read: Timestamp,
    rows: u64,
}

/// What became of the rows of an answer.
struct Held {
    /// For each batch, the rows that are in the answer.
    chosen: Vec<Vec<bool>>,
    keys: BTreeSet<Vec<u8>>,
    rows: u64,
    skipped: u64,
}

impl SessionInner {
    /// Carries out a query with a locking clause.
    pub(crate) async fn locking_query(
        &self,
        state: &mut SessionState,
        mut query: ast::Query,
        locking: &Locking,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        query = folded(&query).map_err(|what| refused(&locking.clause, what))?.into_owned();
        query.locks.clear();
        let (tables, guards) = self.targets(state, locking, text).await?;
        let schemas = self.database.schemas();
        if let Some(point) = Point::of(&schemas, &query).filter(Point::is_known) {
            point.permit(&state.identity, &schemas)?;
            let rows = self.choose_row(state, &point, &[], locking, output).await?;
            return Ok(Outcome::rows("SELECT", rows));
        }
        let (_, outline) = self.outline(self.names_unread(state), query.clone(), text).await?;
        locking.check(&outline)?;
        // For a block until it ends, otherwise as long as this statement.
        let mut own = self.database.row_locks.block(self.id);
        let timeout = self.duration(state, "shard_lock_timeout");
        let window = match locking.patience {
            Patience::Skip => Some(Window::take(&mut query)?),
            Patience::Wait | Patience::Fail => None,
        };
        let mut left_out = self.database.row_locks.count() as u64;
        for _ in 0..ATTEMPTS_MAX {
            output.cancel.check()?;
            let enough = window.and_then(|window| window.enough(left_out));
            let asked = self.ask(state, &query, enough, locking, &tables, text).await?;
            let held = self.hold_answer(state, &mut own, &asked, &tables, locking, window, timeout).await?;
            if let Some(changed) = self.changed(&held.keys, asked.read, timeout)? {
                let may_rise = match &mut state.transaction {
                    Some(transaction) => self.renew(transaction, timeout)?,
                    None => true,
                };
                if !may_rise {
                    return Err(self.database.explain(ApplyError::Conflict { key: changed }));
                }
                continue;
            }
            let is_short = window.and_then(|window| window.limit).is_some_and(|limit| held.rows < limit);
            if is_short && held.skipped > 0 && enough.is_some_and(|enough| asked.rows >= enough) {
                // Others took hold of more rows than there were when it was asked.
                left_out = (left_out + held.skipped).saturating_mul(2);
                continue;
            }
            if let Some(transaction) = &mut state.transaction {
                transaction.reads.lock().note_more();
                transaction.chosen.extend(held.keys);
            }
            let width = asked.schema.fields().len();
            output.send(Event::Schema(Arc::clone(&asked.schema))).await?;
            for (batch, chosen) in asked.batches.iter().zip(held.chosen) {
                let batch = batch.project(&(0..width).collect::<Vec<_>>()).map_err(arrow_error)?;
                let batch = filter_record_batch(&batch, &BooleanArray::from(chosen)).map_err(arrow_error)?;
                let batch = batch.with_schema(Arc::clone(&asked.schema)).map_err(arrow_error)?;
                if batch.num_rows() > 0 {
                    output.send(Event::Batch(batch)).await?;
                }
            }
            drop(guards);
            return Ok(Outcome::rows("SELECT", held.rows));
        }
        Err(Error::new(SqlState::SerializationFailure, "the rows of the answer change faster than they are held")
            .with_hint("retry the transaction"))
    }

    /// Carries out a query for one row with a locking clause; `None` when the table has changed since it was recognised.
    pub(crate) async fn locking_point(
        &self,
        state: &mut SessionState,
        point: &Point,
        parameters: &[ScalarValue],
        locking: &Locking,
        text: &str,
        output: &Output,
    ) -> Result<Option<u64>> {
        let (_, guards) = self.targets(state, locking, text).await?;
        let schemas = self.database.schemas();
        if !point.is_current(&schemas) {
            return Ok(None);
        }
        point.permit(&state.identity, &schemas)?;
        let rows = self.choose_row(state, point, parameters, locking, output).await?;
        drop(guards);
        Ok(Some(rows))
    }

    /// The tables whose rows are chosen, kept from changing; for a block until it ends, otherwise as long as the guards live.
    async fn targets(
        &self,
        state: &mut SessionState,
        locking: &Locking,
        text: &str,
    ) -> Result<(Vec<Arc<TableHandle>>, Vec<Option<TableLock>>)> {
        let (mut tables, mut guards) = (Vec::new(), Vec::new());
        for target in &locking.targets {
            let (table, guard) = self.writable(state, &target.table, text).await?;
            if table.schema.has_hidden_key() {
                let name = &table.schema.name;
                let message = format!("{} needs a primary key, and \"{name}\" has none", locking.clause);
                return Err(Error::unsupported(message)
                    .with_hint(format!("ALTER TABLE {name} ADD PRIMARY KEY (…) gives it one")));
            }
            tables.push(table);
            guards.push(guard);
        }
        let timeout = self.duration(state, "shard_lock_timeout");
        if let Some(transaction) = &mut state.transaction
            && transaction.is_untouched()
        {
            // It may as well begin now as before it waited for tables, and will have to rise less often.
            self.renew(transaction, timeout)?;
        }
        Ok((tables, guards))
    }

    /// Holds the row of a key, and answers with it.
    async fn choose_row(
        &self,
        state: &mut SessionState,
        point: &Point,
        parameters: &[ScalarValue],
        locking: &Locking,
        output: &Output,
    ) -> Result<u64> {
        let nobody = || output.send(Event::Schema(Arc::clone(&point.schema)));
        let Some(key) = point.row_key(parameters, &mut KeyBuilder::new())? else {
            nobody().await?;
            return Ok(0);
        };
        let timeout = self.duration(state, "shard_lock_timeout");
        let mut own = self.database.row_locks.block(self.id);
        let rows = rows_held(state, &mut own);
        let is_new = !rows.holds(&key);
        if !take_hold(rows, &key, locking.patience, timeout, &point.table).await? {
            nobody().await?;
            return Ok(0);
        }
        if let Some(transaction) = &mut state.transaction {
            let is_newer = self.changed(std::iter::once(&key), transaction.start(), timeout)?.is_some();
            if is_newer && !self.renew(transaction, timeout)? {
                return Err(self.database.explain(ApplyError::Conflict { key }));
            }
        }
        let is_there = self.view_of_rows(state).get(point.table.schema.id, &key, |_| ())?.is_some();
        match &mut state.transaction {
            Some(transaction) if is_there => drop(transaction.chosen.insert(key)),
            // There is no row to be held.
            _ if is_new => rows_held(state, &mut own).let_go(&key),
            _ => {}
        }
        self.fetch_point(state, point, parameters, output).await
    }

    /// Asks for the rows of an answer and the keys of what is to be held, without telling anybody.
    async fn ask(
        &self,
        state: &SessionState,
        query: &ast::Query,
        enough: Option<u64>,
        locking: &Locking,
        tables: &[Arc<TableHandle>],
        text: &str,
    ) -> Result<Asked> {
        let limit = self.database.settings().size("max_transaction_size");
        let mut query = query.clone();
        if let Some(enough) = enough {
            let number = Expr::value(ast::Value::Number(enough.to_string(), false));
            query.limit_clause =
                Some(ast::LimitClause::LimitOffset { limit: Some(number), offset: None, limit_by: vec![] });
        }
        let SetExpr::Select(select) = query.body.as_mut() else {
            return Err(Error::internal("a query became another"));
        };
        for (at, (target, table)) in locking.targets.iter().zip(tables).enumerate() {
            for position in &table.key {
                let column = ast::Ident::with_quote('"', &table.column(*position).name);
                let column = Expr::CompoundIdentifier(vec![target.qualifier.clone(), column]);
                select.projection.push(item(column, format!("key of {at}: {position}")));
            }
        }
        let names = self.names_unread(state);
        let read = names.view.read;
        let (planning, plan) = self.plan_with(names, query, text).await?;
        let keys: usize = tables.iter().map(|table| table.key.len()).sum();
        let schema = plan.schema();
        let width = schema.fields().len().saturating_sub(keys);
        let schema = Arc::new(schema.project(&(0..width).collect::<Vec<_>>()).map_err(arrow_error)?);
        let (mut batches, mut bytes, mut rows) = (Vec::new(), 0, 0);
        let mut running = planning.execute(plan);
        while let Some(batch) = running.next().await {
            let batch = batch.map_err(|error| query_error(error, text))?;
            bytes += batch.get_array_memory_size() + batch.num_rows() * tables.len() * WRITE_BYTES;
            if bytes as u64 > limit {
                let limit = evenkeel_model::settings::format_size(limit);
                let message = format!("the rows that {} is to hold take more than {limit}", locking.clause);
                return Err(Error::new(SqlState::ProgramLimitExceeded, message)
                    .with_hint("hold fewer at once with WHERE or LIMIT, or raise max_transaction_size"));
            }
            rows += batch.num_rows() as u64;
            batches.push(batch);
        }
        Ok(Asked { schema, batches, read, rows })
    }

    /// Holds the rows of an answer, in its order.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the statement")]
    async fn hold_answer(
        &self,
        state: &mut SessionState,
        own: &mut HeldRows,
        asked: &Asked,
        tables: &[Arc<TableHandle>],
        locking: &Locking,
        window: Option<Window>,
        timeout: Duration,
    ) -> Result<Held> {
        let offset = window.map_or(0, |window| window.offset);
        let limit = window.and_then(|window| window.limit).unwrap_or(u64::MAX);
        let mut held = Held { chosen: Vec::new(), keys: BTreeSet::new(), rows: 0, skipped: 0 };
        let mut passed = 0;
        for batch in &asked.batches {
            let keys = keys_of(batch, asked.schema.fields().len(), tables)?;
            let mut chosen = vec![false; batch.num_rows()];
            for (row, chosen) in chosen.iter_mut().enumerate() {
                if held.rows == limit {
                    break;
                }
                let mut is_held = true;
                for (keys, table) in keys.iter().zip(tables) {
                    let rows = rows_held(state, own);
                    is_held = take_hold(rows, &keys[row], locking.patience, timeout, table).await?;
                    if !is_held {
                        break;
                    }
                    held.keys.insert(keys[row].clone());
                }
                if !is_held {
                    held.skipped += 1;
                } else if passed < offset {
                    passed += 1;
                } else {
                    *chosen = true;
                    held.rows += 1;
                }
            }
            held.chosen.push(chosen);
        }
        Ok(held)
    }

    /// A row that is another now than it was at a time, if there is one.
    fn changed<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k Vec<u8>>,
        since: Timestamp,
        timeout: Duration,
    ) -> Result<Option<Vec<u8>>> {
        let now = ReadView::latest(&self.database, timeout);
        for key in keys {
            if !now.is_unchanged(key, since)? {
                return Ok(Some(key.clone()));
            }
        }
        Ok(None)
    }
}

/// The rows that a block holds, or a statement outside of one.
fn rows_held<'s>(state: &'s mut SessionState, own: &'s mut HeldRows) -> &'s mut HeldRows {
    match &mut state.transaction {
        Some(transaction) => &mut transaction.rows,
        None => own,
    }
}

/// Holds a row; `false` where it is to be left out.
async fn take_hold(
    rows: &mut HeldRows,
    key: &[u8],
    patience: Patience,
    timeout: Duration,
    table: &TableHandle,
) -> Result<bool> {
    match patience {
        Patience::Wait => rows.hold(key, timeout).await.map(|()| true),
        Patience::Skip => Ok(rows.try_hold(key)),
        Patience::Fail if rows.try_hold(key) => Ok(true),
        Patience::Fail => {
            let message = format!("a row of \"{}\" is held by another transaction", table.schema.name);
            let row = evenkeel_storage::codec::key::describe(&table.key_types(), key);
            Err(Error::new(SqlState::LockNotAvailable, message)
                .with_detail(format!("row {row} of {}", table.schema.name))
                .with_hint("without NOWAIT it is waited for; SYSTEM.LOCKS shows who holds it"))
        }
    }
}

/// The row keys in the columns behind an answer's, for each table.
fn keys_of(batch: &RecordBatch, width: usize, tables: &[Arc<TableHandle>]) -> Result<Vec<Vec<Vec<u8>>>> {
    let mut at = width;
    let mut scratch = KeyBuilder::new();
    let mut all = Vec::with_capacity(tables.len());
    for table in tables {
        let types: Vec<ColumnType> = table.key_types();
        let columns = batch.columns().get(at..at + types.len()).unwrap_or_default();
        at += types.len();
        let cells: Vec<Cells<'_>> =
            types.iter().zip(columns).map(|(column, array)| Cells::new(column, array)).collect::<Result<_>>()?;
        let key = |row: usize| {
            let values = cells.iter().map(|cells| cells.value(row)).collect::<Result<Vec<_>>>()?;
            Ok(table.key_of(&mut scratch, &values))
        };
        all.push((0..batch.num_rows()).map(key).collect::<Result<_>>()?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    //! What COMMIT says where holding the rows was of no help.

    use crate::database::{Database, OpenOptions};
    use crate::session::Session;
    use evenkeel_model::{Result, SqlState};
    use futures::StreamExt;
    use std::sync::Arc;

    async fn run(session: &Session, statement: &str) -> Result<()> {
        let mut answer = session.execute(statement, &[]);
        while let Some(event) = answer.next().await {
            event?;
        }
        Ok(())
    }

    async fn opened(place: &std::path::Path) -> Arc<Database> {
        let options = OpenOptions { shards: Some(4), ..OpenOptions::default() };
        let database = Database::open(place, &options).expect("a new database");
        let session = Session::new(&database, "test");
        for statement in [
            "CREATE TABLE t (id bigint PRIMARY KEY, v text)",
            "INSERT INTO t SELECT value, 'old' FROM generate_series(1, 20)",
        ] {
            run(&session, statement).await.expect(statement);
        }
        database
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_block_commits_over_its_chosen_rows_as_they_were_or_not_at_all() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let database = opened(&place.path().join("data")).await;
        let file = place.path().join("rows.csv");
        let text = "x".repeat(100_000);
        let rows: String = (100..150).map(|row| format!("{row},{text}\n")).collect();
        std::fs::write(&file, format!("id,v\n{rows}")).expect("a file");
        let copy = format!("COPY t FROM '{}'", file.display());
        let all = "SELECT id FROM t FOR UPDATE";
        let another = "UPDATE t SET v = 'new' WHERE id = 7";
        let (conflict, fine) = (Err(SqlState::SerializationFailure), Ok(()));
        for (choice, writes, by_another, expected) in [
            (all, "UPDATE t SET v = v || '!' WHERE id = 3", another, conflict),
            (all, "UPDATE t SET v = v || '!' WHERE id < 9", another, conflict),
            ("SELECT v FROM t WHERE id = 7 FOR UPDATE", "INSERT INTO t VALUES (50, '')", another, conflict),
            ("SELECT v FROM t WHERE id = 7 FOR UPDATE", copy.as_str(), another, conflict),
            ("SELECT v FROM t WHERE id = 6 FOR UPDATE", "DELETE FROM t WHERE id = 3", another, fine),
            // What only reads has read one snapshot.
            (all, "SELECT 1", another, fine),
            (all, "UPDATE t SET v = v || '!' WHERE id < 9", "SELECT 1", fine),
            ("SELECT v FROM t WHERE id = 7 FOR UPDATE", copy.as_str(), "SELECT 1", fine),
        ] {
            let (session, other) = (Session::new(&database, "chooses"), Session::new(&database, "changes"));
            run(&session, "BEGIN").await.expect("a block");
            run(&session, choice).await.expect(choice);
            if let Some(transaction) = &mut session.inner.state.lock().await.transaction {
                transaction.rows.give_back();
                if writes == copy {
                    // A load takes its table alone.
                    transaction.tables.clear();
                }
            }
            run(&other, by_another).await.expect(by_another);
            run(&session, writes).await.expect(writes);
            let outcome = run(&session, "COMMIT").await.map_err(|error| error.state);
            assert_eq!(outcome, expected, "{choice}; {writes}; {by_another}");
            // Whatever it was, nobody is in the way now.
            run(&other, "UPDATE t SET v = 'old'").await.expect("all rows can be changed");
            run(&other, "DELETE FROM t WHERE id > 99").await.expect("all rows can be deleted");
        }
        database.close();
    }
}
