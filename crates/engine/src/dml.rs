//! INSERT, UPSERT, UPDATE, DELETE.
//!
//! Each is a query whose rows say what to change: an INSERT's source, an UPDATE's old rows beside its new values, a
//! DELETE's rows. The changes are gathered first and taken over by the transaction only when the whole statement has
//! succeeded, so a statement never sees its own writes and a failed one leaves none.

use crate::changes::{Changes, Defaults, column_value, with_columns};
use crate::clauses::{all_columns, assignments, conflict, insert_columns, item, select, table_with_joins, target};
use crate::commit::{Committing, ToCommit};
use crate::error::{arrow_error, query_error};
use crate::evaluate::Checks;
use crate::load::BulkLoad;
use crate::names::{Names, byte_span, resolve};
use crate::output::{Event, Output};
use crate::planning::Planning;
use crate::row_insert::RowInsert;
use crate::row_locks::HeldRows;
use crate::scan::TableScan;
use crate::session::{SessionInner, SessionState};
use crate::statement::{Outcome, blocking};
use crate::table::TableHandle;
use crate::table_locks::TableLock;
use crate::transaction::Writes;
use crate::types::table_name;
use crate::values::{default_of, exact_literals, with_defaults};
use crate::view::ReadView;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::MemTable;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use evenkeel_model::{Error, Progress, Result, SqlState, Timestamp};
use evenkeel_storage::Mutation;
use sqlparser::ast::{self, Spanned};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An INSERT … QUERY of more rows than this goes through sorted files instead of a transaction's buffer.
const BUFFERED_ROWS_MAX: usize = 20_000;
/// Larger commits are not made on a thread that serves other sessions.
const COMMITTED_HERE_BYTES_MAX: usize = 64 << 10;

/// The answer of RETURNING.
struct Returned(Option<(SchemaRef, Vec<RecordBatch>)>);

impl Returned {
    async fn send(self, output: &Output) -> Result<()> {
        let Some((schema, batches)) = self.0 else { return Ok(()) };
        output.send(Event::Schema(schema)).await?;
        for batch in batches {
            output.send(Event::Batch(batch)).await?;
        }
        Ok(())
    }
}

impl SessionInner {
    /// A table that nobody else writes, and that nobody's commit is on its way to: a session that is cut off while it
    /// commits holds its tables no longer.
    ///
    /// # Errors
    /// 55P03 when that takes longer than the timeout.
    pub(crate) async fn alone(&self, table: &str, timeout: Duration) -> Result<TableLock> {
        let lock = self.database.table_locks.exclusive(self.id, table, timeout).await?;
        let (database, deadline) = (Arc::clone(&self.database), Instant::now() + timeout);
        let settled = move || {
            let layout = database.layout();
            let mut shards = layout.shards.values();
            shards.try_for_each(|shard| shard.locks().wait_for_commits(deadline))
        };
        blocking(settled).await?;
        Ok(lock)
    }

    /// The table of a statement that writes it, kept from changing until the transaction ends.
    pub(crate) async fn writable(
        &self,
        state: &mut SessionState,
        name: &ast::ObjectName,
        text: &str,
    ) -> Result<(Arc<TableHandle>, Option<TableLock>)> {
        let table = table_name(name)?;
        let held = state.transaction.as_ref().is_some_and(|transaction| transaction.tables.contains_key(&table));
        let mut guard = None;
        if !held {
            let timeout = self.duration(state, "shard_lock_timeout");
            let acquired = self.database.table_locks.shared(self.id, &table, timeout).await?;
            match &mut state.transaction {
                Some(transaction) => {
                    transaction.tables.insert(table.clone(), acquired);
                }
                None => guard = Some(acquired),
            }
        }
        // While it waited, the table may have become another one.
        self.permitted(state)?;
        let schemas = self.database.schemas();
        match schemas.tables.get(&table) {
            Some(handle) => Ok((Arc::clone(handle), guard)),
            None if schemas.views.contains_key(&table) => {
                Err(Error::new(SqlState::WrongObjectType, format!("\"{table}\" is a view and cannot be written")))
            }
            None => {
                let error = crate::error::undefined_table(&table, schemas.tables.keys().map(String::as_str));
                Err(byte_span(name.span(), text).map_or(error.clone(), |span| error.at(span)))
            }
        }
    }

    fn limit(&self) -> u64 {
        self.database.settings().size("max_transaction_size")
    }

    pub(crate) async fn insert(
        &self,
        state: &mut SessionState,
        insert: ast::Insert,
        upsert: bool,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        if !upsert
            && let Some(row) = RowInsert::of(&self.database, &insert, text, &[])?
            && self.insert_row(state, &row, &insert, &[], text, output).await?.is_some()
        {
            return Ok(Outcome::rows("INSERT 0", 1));
        }
        let mut tried = 0;
        loop {
            match self.insert_once(state, insert.clone(), upsert, text, output).await {
                Err(error) if self.again(&mut tried, &error, state, output).await => {}
                outcome => return outcome,
            }
        }
    }

    async fn insert_once(
        &self,
        state: &mut SessionState,
        mut insert: ast::Insert,
        upsert: bool,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let ast::TableObject::TableName(name) = &insert.table else {
            return Err(Error::unsupported("INSERT INTO a function is not supported"));
        };
        let (table, guard) = self.writable(state, name, text).await?;
        let source = insert.source.take();
        let values = source.as_ref().is_some_and(|query| matches!(*query.body, ast::SetExpr::Values(_)));
        let given = insert_columns(&table, &insert, source.as_deref(), text)?;
        let original = source.clone();
        let source = source.map(|query| with_defaults(*query, &table, &given, text)).transpose()?;
        let mut names = self.names(state);
        let mut source = self.resolved(source, &mut names, text)?;
        let view = names.view.clone();
        let mut planning = self.planning(names, text)?;
        exact_literals(&mut planning.state, source.as_mut());
        let conflict = conflict(&planning.state, &table, &insert, upsert, text)?;
        let defaults = Defaults::new(&table, &given, &planning.state)?;
        let returning = insert.returning.is_some();
        let mut changes = Changes::new(Arc::clone(&table), view, &planning.state, self.limit(), returning)?;
        let plan = match source {
            Some(query) => Some(self.insert_plan(&planning, query, given.len(), text).await?),
            None => None,
        };
        let bulk = !values && !returning && !upsert && insert.on.is_none() && state.transaction.is_none();
        match plan {
            None => {
                let row = crate::evaluate::rows_without_columns(1)?;
                changes.insert(&defaults.complete(&table, &row, &self.database)?, &conflict, &|_| None)?;
            }
            Some(plan) => {
                let mut batches = planning.execute(plan.clone());
                while let Some(batch) = batches.next().await {
                    let batch = batch.map_err(|error| query_error(error, text))?;
                    changes.insert(&defaults.complete(&table, &batch, &self.database)?, &conflict, &|_| None)?;
                    output.cancel.check()?;
                    if bulk && changes.len() > BUFFERED_ROWS_MAX {
                        // Its rows are too many for a transaction's buffer: the same again, through sorted files.
                        drop((batches, changes, guard));
                        let query = original.map(|query| *query).ok_or_else(|| Error::internal("no source"))?;
                        let rows = self.load_query(state, &table, &given, query, text, output).await?;
                        return Ok(Outcome { tag: format!("INSERT 0 {rows}"), rows });
                    }
                }
            }
        }
        let (rows, start) = (changes.rows, changes.view.read);
        let (mutations, returned) = changes.finish();
        let returned = self.returned(state, &table, returned, insert.returning.take(), text).await?;
        self.take_over(state, start, mutations, output).await?;
        drop(guard);
        returned.send(output).await?;
        Ok(Outcome { tag: format!("{} {rows}", if upsert { "UPSERT" } else { "INSERT 0" }), rows })
    }

    fn resolved(&self, query: Option<ast::Query>, names: &mut Names, text: &str) -> Result<Option<ast::Query>> {
        let Some(mut query) = query else { return Ok(None) };
        // Columns are taken by their places: two may have one name.
        crate::naming::name_columns(&mut query);
        let mut statement = ast::Statement::Query(Box::new(query));
        resolve(&mut statement, names, text)?;
        match statement {
            ast::Statement::Query(query) => Ok(Some(*query)),
            _ => Err(Error::internal("a query became another statement")),
        }
    }

    async fn insert_plan(
        &self,
        planning: &Planning<'_>,
        query: ast::Query,
        columns: usize,
        text: &str,
    ) -> Result<Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
        let span = byte_span(query.body.span(), text);
        let plan: LogicalPlan = planning.query(query, &[] as &[ScalarValue]).await?;
        let found = plan.schema().fields().len();
        if found != columns {
            let message = format!("INSERT gives {found} values for {columns} columns");
            let error = Error::new(SqlState::SyntaxError, message);
            return Err(span.map_or(error.clone(), |span| error.at(span)));
        }
        planning.physical(&plan).await
    }

    /// Loads the rows of a query into a table through sorted files.
    async fn load_query(
        &self,
        state: &mut SessionState,
        table: &Arc<TableHandle>,
        given: &[usize],
        query: ast::Query,
        text: &str,
        output: &Output,
    ) -> Result<u64> {
        let timeout = self.duration(state, "shard_lock_timeout");
        let name = &table.schema.name;
        let alone = self.alone(name, timeout).await?;
        self.permitted(state)?;
        let handle = self.database.schemas().tables.get(name).cloned();
        let handle = handle.ok_or_else(|| crate::error::undefined_table(name, []))?;
        if !Arc::ptr_eq(&handle, table) {
            // `given` means columns of the table that it was.
            let message = format!("table \"{name}\" was altered while the statement waited for it");
            return Err(Error::new(SqlState::SerializationFailure, message));
        }
        self.load_rows(state, &handle, given, query, text, output, alone).await
    }

    /// As [`Self::load_query`], into a table that nobody else writes: held alone, which is `kept` until it is decided, or not
    /// yet in the schema.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the statement")]
    pub(crate) async fn load_rows(
        &self,
        state: &SessionState,
        handle: &Arc<TableHandle>,
        given: &[usize],
        query: ast::Query,
        text: &str,
        output: &Output,
        kept: impl Send + 'static,
    ) -> Result<u64> {
        let mut names = self.names(state);
        let Some(query) = self.resolved(Some(query), &mut names, text)? else { return Ok(0) };
        let planning = self.planning(names, text)?;
        let plan = self.insert_plan(&planning, query, given.len(), text).await?;
        let checks = Checks::compile(&planning.state, handle)?;
        let defaults = Defaults::new(handle, given, &planning.state)?;
        let lock_timeout = self.duration(state, "shard_lock_timeout");
        let cancel = Arc::clone(&output.cancel);
        let mut load = BulkLoad::new(&self.database, Arc::clone(handle), lock_timeout, cancel)?;
        let mut batches = planning.execute(plan);
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| query_error(error, text))?;
            let batch = defaults.complete(handle, &batch, &self.database)?;
            checks.check(handle, &batch, &|_| None)?;
            load.add(&batch)?;
            output.cancel.check()?;
            let label = format!("INSERT {}", handle.schema.name);
            output.progress(Progress { label, done: load.rows(), total: None, in_bytes: false, rows: load.rows() });
        }
        output.cancel.check()?;
        let finish = move || {
            let _kept = kept;
            load.finish(&|_| None)
        };
        blocking(finish).await
    }

    /// Hands a statement's changes to the transaction block, or commits them.
    pub(crate) async fn take_over(
        &self,
        state: &mut SessionState,
        start: Timestamp,
        mutations: Vec<Mutation>,
        output: &Output,
    ) -> Result<()> {
        let limit = self.limit();
        if let Some(transaction) = &mut state.transaction {
            return transaction.add(mutations, limit);
        }
        if mutations.is_empty() {
            return Ok(());
        }
        let mut writes = Writes::default();
        for Mutation { key, operation } in mutations {
            writes.put(key, operation);
        }
        let mut held = self.database.row_locks.block(self.id);
        self.wait_for_holders(state, &mut held, writes.keys()).await?;
        output.cancel.check()?;
        output.cancel.shield()?;
        self.commit_written(state, start, ToCommit::writes(writes.into_mutations(), self.id), held, ()).await
    }

    /// Waits for the blocks of others that hold one of these rows, and holds it then, in `held`: what a block has changed by
    /// its key or chosen (`FOR UPDATE`) stays as it is until the block ends.
    ///
    /// # Errors
    /// 40P01 for blocks that wait for each other, 55P03 after `shard_lock_timeout`.
    pub(crate) async fn wait_for_holders(
        &self,
        state: &SessionState,
        held: &mut HeldRows,
        keys: impl Iterator<Item = &Vec<u8>>,
    ) -> Result<()> {
        if self.database.row_locks.is_quiet() {
            return Ok(());
        }
        held.hold_after_others(keys, self.duration(state, "shard_lock_timeout")).await
    }

    /// Commits what was written over a snapshot at `start`. `held` are the rows that it holds; they and what is `kept` are let
    /// go of once the commit is over, or is on its way, whoever waits for it.
    pub(crate) async fn commit_written(
        &self,
        state: &SessionState,
        start: Timestamp,
        written: ToCommit,
        mut held: HeldRows,
        kept: impl Send + 'static,
    ) -> Result<()> {
        let (timeout, durability) = (self.duration(state, "shard_lock_timeout"), self.durability(state));
        let (mut written, mut kept) = (written, Some(kept));
        // Only what is much, or waits for somebody else's commit, is worth a thread that can wait.
        let mut is_here = written.bytes() <= COMMITTED_HERE_BYTES_MAX;
        loop {
            let committing = if is_here {
                match self.database.commit(start, written.clone(), durability, None) {
                    Err(error) if error.state == SqlState::LockNotAvailable => {
                        is_here = false;
                        continue;
                    }
                    committing => committing?,
                }
            } else {
                let (database, held_back) = (Arc::clone(&self.database), kept.take());
                let committing = blocking(move || {
                    let committing = database.commit(start, written, durability, Some(timeout))?;
                    Ok((committing, held_back))
                });
                let (committing, given_back) = committing.await?;
                kept = given_back;
                committing
            };
            match committing {
                Committing::Kept(back) => {
                    held.hold_after_others(back.mutations.iter().map(|mutation| &mutation.key), timeout).await?;
                    written = back;
                }
                committing => return committing.done().await,
            }
        }
    }

    /// What RETURNING asks for, computed while nothing is changed yet: it may fail.
    async fn returned(
        &self,
        state: &SessionState,
        table: &TableHandle,
        rows: Vec<RecordBatch>,
        items: Option<Vec<ast::SelectItem>>,
        text: &str,
    ) -> Result<Returned> {
        let Some(items) = items else { return Ok(Returned(None)) };
        let visible: Vec<usize> = (0..table.visible).collect();
        let schema = table.visible_schema();
        let rows = rows
            .iter()
            .map(|batch| {
                let columns = batch.project(&visible).map_err(arrow_error)?.columns().to_vec();
                RecordBatch::try_new(Arc::clone(&schema), columns).map_err(arrow_error)
            })
            .collect::<Result<Vec<_>>>()?;
        let name = table.schema.name.clone();
        let memory = MemTable::try_new(schema, vec![rows]).map_err(|error| query_error(error, text))?;
        let view = ReadView::latest(&self.database, std::time::Duration::ZERO);
        let mut names = Names::new(view, state.identity.clone());
        names.extra = HashMap::from([(name.clone(), Arc::new(memory) as _)]);
        let planning = self.planning(names, text)?;
        let target = ast::ObjectName::from(vec![ast::Ident::with_quote('"', name)]);
        let mut query = select(items, vec![table_with_joins(target, None)], None)?;
        crate::naming::name_columns(&mut query);
        crate::spelling::respell(&mut query)?;
        let plan = planning.query(query, &[] as &[ScalarValue]).await?;
        let plan = planning.physical(&plan).await?;
        let schema = plan.schema();
        let mut batches = planning.execute(plan);
        let mut computed = Vec::new();
        while let Some(batch) = batches.next().await {
            computed.push(batch.map_err(|error| query_error(error, text))?);
        }
        Ok(Returned(Some((schema, computed))))
    }

    pub(crate) async fn update(
        &self,
        state: &mut SessionState,
        update: ast::Update,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let rows = self.point_update(state, &update, text, output).await;
        if let Some(rows) = rows.map_err(|error| self.discreet(state, error))? {
            return Ok(Outcome::rows("UPDATE", rows));
        }
        let mut tried = 0;
        loop {
            match self.update_once(state, update.clone(), text, output).await {
                Err(error) if self.again(&mut tried, &error, state, output).await => {}
                outcome => return outcome.map_err(|error| self.discreet(state, error)),
            }
        }
    }

    async fn update_once(
        &self,
        state: &mut SessionState,
        mut update: ast::Update,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        if update.limit.is_some() || !update.order_by.is_empty() {
            return Err(Error::unsupported("UPDATE with ORDER BY or LIMIT is not supported")
                .with_hint("WHERE key IN (QUERY … LIMIT n) chooses the rows"));
        }
        let (name, alias) = target(&update.table.relation)?;
        let (table, guard) = self.writable(state, &name, text).await?;
        let assignments = assignments(&table, &update.assignments, text)?;
        let qualifier = alias.clone().unwrap_or_else(|| ast::Ident::with_quote('"', &table.schema.name));
        let mut items = all_columns(&table, &qualifier);
        for (at, (position, value)) in assignments.iter().enumerate() {
            let value = default_of(&table, *position, value.clone())?;
            items.push(item(value, format!("value of assignment {at}")));
        }
        let mut from = vec![update.table.clone()];
        if let Some(ast::UpdateTableFromKind::BeforeSet(tables) | ast::UpdateTableFromKind::AfterSet(tables)) =
            update.from.take()
        {
            from.extend(tables);
        }
        let query = select(items, from, update.selection.take())?;
        let (mut changes, planning, plan) =
            self.change_plan(state, &table, query, update.returning.is_some(), text).await?;
        let width = table.arrow.fields().len();
        let mut batches = planning.execute(plan);
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| query_error(error, text))?;
            let old = with_columns(&table, batch.columns()[..width].to_vec())?;
            let mut new = old.columns().to_vec();
            for (at, (position, _)) in assignments.iter().enumerate() {
                new[*position] = column_value(&table, *position, batch.column(width + at))?;
            }
            changes.replace(&old, &with_columns(&table, new)?)?;
        }
        drop(batches);
        let (rows, start) = (changes.rows, changes.view.read);
        let (mutations, returned) = changes.finish();
        let returned = self.returned(state, &table, returned, update.returning.take(), text).await?;
        self.take_over(state, start, mutations, output).await?;
        drop(guard);
        returned.send(output).await?;
        Ok(Outcome::rows("UPDATE", rows))
    }

    pub(crate) async fn delete(
        &self,
        state: &mut SessionState,
        delete: ast::Delete,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let mut tried = 0;
        loop {
            match self.delete_once(state, delete.clone(), text, output).await {
                Err(error) if self.again(&mut tried, &error, state, output).await => {}
                outcome => return outcome,
            }
        }
    }

    async fn delete_once(
        &self,
        state: &mut SessionState,
        mut delete: ast::Delete,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let (ast::FromTable::WithFromKeyword(tables) | ast::FromTable::WithoutKeyword(tables)) = &delete.from;
        let [first] = tables.as_slice() else {
            return Err(Error::unsupported("DELETE from several tables is not supported"));
        };
        if delete.limit.is_some() || !delete.order_by.is_empty() {
            return Err(Error::unsupported("DELETE with ORDER BY or LIMIT is not supported")
                .with_hint("WHERE key IN (QUERY … LIMIT n) chooses the rows"));
        }
        let (name, alias) = target(&first.relation)?;
        let (table, guard) = self.writable(state, &name, text).await?;
        let qualifier = alias.unwrap_or_else(|| ast::Ident::with_quote('"', &table.schema.name));
        let mut from = vec![first.clone()];
        from.extend(delete.using.take().unwrap_or_default());
        let query = select(all_columns(&table, &qualifier), from, delete.selection.take())?;
        let (mut changes, planning, plan) =
            self.change_plan(state, &table, query, delete.returning.is_some(), text).await?;
        let mut batches = planning.execute(plan);
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| query_error(error, text))?;
            changes.delete(&with_columns(&table, batch.columns().to_vec())?)?;
        }
        drop(batches);
        let (rows, start) = (changes.rows, changes.view.read);
        let (mutations, returned) = changes.finish();
        let returned = self.returned(state, &table, returned, delete.returning.take(), text).await?;
        self.take_over(state, start, mutations, output).await?;
        drop(guard);
        returned.send(output).await?;
        Ok(Outcome::rows("DELETE", rows))
    }

    /// Plans the query of an UPDATE or DELETE, in which the table shows its hidden row id.
    async fn change_plan<'t>(
        &self,
        state: &SessionState,
        table: &Arc<TableHandle>,
        query: ast::Query,
        returning: bool,
        text: &'t str,
    ) -> Result<(Changes, Planning<'t>, Arc<dyn datafusion::physical_plan::ExecutionPlan>)> {
        let mut names = self.names(state);
        let scan = TableScan::with_hidden(Arc::clone(table), names.view.clone());
        names.extra.insert(table.schema.name.clone(), Arc::new(scan));
        let Some(mut query) = self.resolved(Some(query), &mut names, text)? else {
            return Err(Error::internal("the statement has no query"));
        };
        let view = names.view.clone();
        let mut planning = self.planning(names, text)?;
        exact_literals(&mut planning.state, Some(&mut query));
        let plan = planning.query(query, &[] as &[ScalarValue]).await?;
        let plan = planning.physical(&plan).await?;
        let changes = Changes::new(Arc::clone(table), view, &planning.state, self.limit(), returning)?;
        Ok((changes, planning, plan))
    }
}
