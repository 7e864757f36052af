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

mod clause;

pub(crate) use clause::Locking;

use crate::clauses::item;
use crate::error::{arrow_error, query_error};
use crate::output::{Event, Output};
use crate::point::Point;
use crate::row_locks::HeldRows;
use crate::session::{SessionInner, SessionState};
use crate::statement::{Outcome, blocking};
use crate::table::TableHandle;
use crate::table_locks::TableLock;
use crate::transaction::WRITE_BYTES;
use crate::types::table_name;
use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use clause::{Patience, Window};
use datafusion::common::ScalarValue;
use evenkeel_model::{ColumnType, Error, Result, SqlState, Timestamp};
use evenkeel_storage::ApplyError;
use evenkeel_storage::codec::{Cells, KeyBuilder};
use sqlparser::ast::{self, Expr, SetExpr};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Rows that are looked at before others get their turn.
const ROWS_AT_ONCE: usize = 256;
/// How often a query is asked again because rows of its answer have changed, or were skipped.
const ATTEMPTS_MAX: usize = 50;

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

/// A choice that is being made.
struct Choice<'c> {
    locking: &'c Locking,
    /// Of each target.
    tables: &'c [Arc<TableHandle>],
    window: Option<Window>,
    timeout: Duration,
    /// Rows that a statement outside of a block holds.
    own: HeldRows,
    /// Rows that were not held before.
    newly: BTreeSet<Vec<u8>>,
    /// Rows that are left out because they are others by now, and the snapshot can't rise.
    stale: BTreeSet<Vec<u8>>,
}

impl SessionInner {
    /// Carries out a query with a locking clause. After an error the caller notes that the block has looked at rows: it tells
    /// something of them, and the block may go on from a savepoint.
    pub(crate) async fn locking_query(
        &self,
        state: &mut SessionState,
        query: ast::Query,
        locking: &Locking,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let mut query = locking.plain(&query)?;
        let (tables, guards) = self.targets(state, locking, text).await?;
        let schemas = self.database.schemas();
        if let Some(point) = Point::of(&schemas, &query).filter(Point::is_known) {
            point.permit(&state.identity, &schemas)?;
            let rows = self.choose_row(state, &point, &[], locking, output).await?;
            return Ok(Outcome::rows("SELECT", rows));
        }
        let (_, outline) = self.outline(self.names_unread(state), query.clone(), text).await?;
        locking.check(&outline)?;
        let mut choice = Choice {
            locking,
            tables: &tables,
            window: if locking.skips() { Some(Window::take(&mut query)?) } else { None },
            timeout: self.duration(state, "shard_lock_timeout"),
            own: self.database.row_locks.block(self.id),
            newly: BTreeSet::new(),
            stale: BTreeSet::new(),
        };
        let mut left_out = self.database.row_locks.count() as u64;
        for _ in 0..ATTEMPTS_MAX {
            let enough = choice.window.and_then(|window| window.enough(left_out));
            let asked = self.ask(state, &query, enough, locking, &tables, text).await?;
            let held = choice.hold(state, &asked, output).await?;
            let changed = self.changed(&held.keys, asked.read, choice.timeout, output).await?;
            if let Some(first) = changed.first() {
                let may_rise = match &mut state.transaction {
                    Some(transaction) => self.renew(transaction, choice.timeout)?,
                    None => true,
                };
                if !may_rise && locking.targets.iter().any(|target| target.patience != Patience::Skip) {
                    return Err(self.database.explain(ApplyError::Conflict { key: first.clone() }));
                }
                if !may_rise {
                    left_out += changed.len() as u64;
                    choice.stale.extend(changed);
                }
                continue;
            }
            let is_short = choice.window.and_then(|window| window.limit).is_some_and(|limit| held.rows < limit);
            if is_short && held.skipped > 0 && enough.is_some_and(|enough| asked.rows >= enough) {
                // Others took hold of more rows than there were when it was asked.
                left_out = (left_out + held.skipped).saturating_mul(2);
                continue;
            }
            // What an answer had that was not given is in nobody's way.
            let rows = rows_held(state, &mut choice.own);
            choice.newly.difference(&held.keys).for_each(|key| rows.let_go(key));
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

    /// As [`Self::locking_query`], of one row; `None` when the table has changed since it was recognised.
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
        let (mut tables, mut guards) = (Vec::<Arc<TableHandle>>::new(), Vec::new());
        for target in &locking.targets {
            // One lock for each: who waits for its second would wait behind somebody who waits for the first.
            let named = table_name(&target.table)?;
            if let Some(again) = tables.iter().find(|table| table.schema.name == named) {
                tables.push(Arc::clone(again));
                continue;
            }
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
        let patience = locking.targets.first().map_or(Patience::Wait, |target| target.patience);
        let timeout = self.duration(state, "shard_lock_timeout");
        let mut own = self.database.row_locks.block(self.id);
        let rows = rows_held(state, &mut own);
        let is_new = !rows.holds(&key);
        if !take_hold(rows, &key, patience, timeout, &point.table).await? {
            nobody().await?;
            return Ok(0);
        }
        if let Some(transaction) = &mut state.transaction {
            let is_newer = self.database.has_changed(&key, transaction.start(), timeout)?;
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

    /// The rows that are others now than they were at a time.
    async fn changed(
        &self,
        keys: &BTreeSet<Vec<u8>>,
        since: Timestamp,
        timeout: Duration,
        output: &Output,
    ) -> Result<BTreeSet<Vec<u8>>> {
        let (database, cancel) = (Arc::clone(&self.database), Arc::clone(&output.cancel));
        let look = move |keys: &BTreeSet<Vec<u8>>| {
            let mut changed = BTreeSet::new();
            for (at, key) in keys.iter().enumerate() {
                if at % ROWS_AT_ONCE == 0 {
                    cancel.check()?;
                }
                if database.has_changed(key, since, timeout)? {
                    changed.insert(key.clone());
                }
            }
            Ok(changed)
        };
        if keys.len() <= ROWS_AT_ONCE {
            return look(keys);
        }
        let keys = keys.clone();
        blocking(move || look(&keys)).await
    }
}

impl Choice<'_> {
    /// Holds the rows of an answer, in its order.
    async fn hold(&mut self, state: &mut SessionState, asked: &Asked, output: &Output) -> Result<Held> {
        let offset = self.window.map_or(0, |window| window.offset);
        let limit = self.window.and_then(|window| window.limit).unwrap_or(u64::MAX);
        let mut held = Held { chosen: Vec::new(), keys: BTreeSet::new(), rows: 0, skipped: 0 };
        let mut passed = 0;
        for batch in &asked.batches {
            let keys = keys_of(batch, asked.schema.fields().len(), self.tables)?;
            let mut chosen = vec![false; batch.num_rows()];
            for (row, chosen) in chosen.iter_mut().enumerate() {
                if row % ROWS_AT_ONCE == 0 {
                    output.cancel.check()?;
                    tokio::task::yield_now().await;
                }
                if held.rows == limit {
                    break;
                }
                let of_row: Vec<&Vec<u8>> = keys.iter().map(|keys| &keys[row]).collect();
                if !self.hold_row(state, &of_row).await? {
                    held.skipped += 1;
                    continue;
                }
                held.keys.extend(of_row.into_iter().cloned());
                if passed < offset {
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

    /// Holds what one row of the answer is made of; `false` where that is to be left out.
    async fn hold_row(&mut self, state: &mut SessionState, keys: &[&Vec<u8>]) -> Result<bool> {
        if keys.iter().any(|key| self.stale.contains(*key)) {
            return Ok(false);
        }
        for ((key, table), target) in keys.iter().zip(self.tables).zip(&self.locking.targets) {
            let rows = rows_held(state, &mut self.own);
            let is_new = !rows.holds(key);
            if !take_hold(rows, key, target.patience, self.timeout, table).await? {
                return Ok(false);
            }
            if is_new {
                self.newly.insert((*key).clone());
            }
        }
        Ok(true)
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

    use crate::commit::{Committing, ToCommit};
    use crate::database::{Database, OpenOptions};
    use crate::session::Session;
    use evenkeel_model::{Result, SqlState};
    use evenkeel_storage::{Durability, InFlight, Mutation, Operation};
    use futures::StreamExt;
    use std::sync::Arc;
    use std::time::Instant;

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

    /// Whoever takes hold of a row waits for the commit that was about to change it, and whoever commits a change looks again
    /// who holds the row once it can't be taken hold of unseen.
    #[tokio::test(flavor = "multi_thread")]
    async fn holders_and_writers_of_a_row_find_each_other() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let database = opened(&place.path().join("data")).await;
        let (session, other) = (Session::new(&database, "chooses"), Session::new(&database, "looks"));
        let choose = "SELECT v FROM t WHERE id = 7 FOR UPDATE";
        run(&other, "BEGIN").await.expect("a block");
        run(&other, choose).await.expect(choose);
        let chosen =
            other.inner.state.lock().await.transaction.as_ref().and_then(|block| block.chosen.first().cloned());
        let key = chosen.expect("one row");
        let written = || {
            let mutation = Mutation { key: key.clone(), operation: Operation::Delete };
            ToCommit::writes(vec![mutation], session.id())
        };
        let start = database.oracle.read();
        let committing = database.commit(start, written(), Durability::Buffered, None).expect("no error");
        assert!(matches!(committing, Committing::Kept(back) if back.mutations == written().mutations));
        run(&other, "ROLLBACK").await.expect("the end");

        let (commit, shard) = (InFlight::new(), Arc::clone(database.layout().shard_of(&key).expect("a shard")));
        shard.locks().acquire(&[&key], &commit, Instant::now()).expect("nobody else");
        run(&session, "BEGIN").await.expect("a block");
        let waiting = tokio::spawn(async move { run(&session, choose).await });
        while database.row_locks.is_quiet() {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        commit.finish();
        shard.locks().release(&[&key], &commit);
        waiting.await.expect("no panic").expect("it is over");
        database.close();
    }
}
