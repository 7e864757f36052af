//! COPY inside a transaction block: rows that commit with everything else in it, however many they are.
//!
//! Few of them become writes of the transaction at once. More stay a load until COMMIT takes them in, and cost their sorted
//! files and not a place in memory each. Nobody sees them before, which nobody can tell: any other statement of the block
//! makes them writes first.

use super::{BulkLoad, TakenIn};
use crate::commit::ToCommit;
use crate::copy::Incoming;
use crate::database::Database;
use crate::files::RowOrigin;
use crate::session::{Cancel, SessionInner, SessionState};
use crate::statement::blocking;
use crate::table::TableHandle;
use crate::transaction::{Transaction, too_large};
use crate::view::ReadView;
use evenkeel_model::{Error, Result, SqlState};
use evenkeel_pql::StatementKind;
use evenkeel_pql::ast::CopyDirection;
use evenkeel_storage::Mutation;
use sqlparser::ast;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What is less becomes writes at once.
const PENDING_BYTES_MIN: u64 = 4 << 20;

/// The rows that a block has copied into one table.
pub(crate) struct BlockLoad {
    load: BulkLoad,
    /// Where rows came from, from which ordinal on.
    origins: Vec<(u64, RowOrigin)>,
    /// Whether its keys were compared with one another and with what the transaction sees.
    is_checked: bool,
}

impl std::fmt::Debug for BlockLoad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockLoad").field("table", &self.name()).field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl BlockLoad {
    fn new(load: BulkLoad) -> Self {
        Self { load, origins: Vec::new(), is_checked: false }
    }

    fn name(&self) -> &str {
        &self.load.table().schema.name
    }

    pub(crate) fn rows(&self) -> u64 {
        self.load.rows()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.load.bytes()
    }

    /// See [`BulkLoad::take_in`].
    pub(crate) fn take_in(self, cancel: &Arc<Cancel>) -> Result<TakenIn> {
        let Self { mut load, origins, .. } = self;
        load.go_on_for(Arc::clone(cancel));
        load.take_in(&|ordinal| place(&origins, ordinal))
    }

    /// Compares the keys with one another and with what the transaction sees.
    ///
    /// # Errors
    /// 23505.
    async fn checked(mut self, view: ReadView) -> Result<Self> {
        if self.is_checked {
            return Ok(self);
        }
        blocking(move || {
            let origins = &self.origins;
            self.load.check(&view, &|ordinal| place(origins, ordinal))?;
            self.is_checked = true;
            Ok(self)
        })
        .await
    }

    /// The rows as the writes of a transaction that sees `view`.
    ///
    /// # Errors
    /// 23505.
    async fn into_mutations(self, view: ReadView, cancel: &Arc<Cancel>) -> Result<Vec<Mutation>> {
        let mut load = self;
        load.load.go_on_for(Arc::clone(cancel));
        let Self { load, .. } = load.checked(view).await?;
        blocking(move || load.into_mutations()).await
    }

    /// # Errors
    /// 40001 when its table is another one by now.
    fn is_current(&self, database: &Database) -> Result<()> {
        let schemas = database.schemas();
        match schemas.tables.get(self.name()) {
            Some(table) if Arc::ptr_eq(table, self.load.table()) => Ok(()),
            _ => {
                let message = format!("table \"{}\" was altered while the transaction waited for it", self.name());
                Err(Error::new(SqlState::SerializationFailure, message).with_hint("retry the transaction"))
            }
        }
    }
}

fn place(origins: &[(u64, RowOrigin)], ordinal: u64) -> Option<String> {
    let (first, origin) = origins.iter().rev().find(|(first, _)| *first <= ordinal)?;
    Some(origin.place(ordinal - first))
}

/// What leaves a block's loads as they are: it neither reads rows nor writes others.
fn leaves_loads(kind: &StatementKind) -> bool {
    use ast::Statement as S;
    match kind {
        StatementKind::Copy(copy) => copy.direction == CopyDirection::From,
        StatementKind::Sql(statement) => {
            matches!(
                statement.as_ref(),
                S::Commit { .. }
                    | S::Rollback { savepoint: None, .. }
                    | S::Set(_)
                    | S::Reset(_)
                    | S::StartTransaction { .. }
            )
        }
        _ => false,
    }
}

impl Transaction {
    /// What it has copied into a table so far, taken out of it: a statement that fails leaves nothing of it.
    fn take_load(&mut self, table: &str) -> Option<BlockLoad> {
        let at = self.loads.iter().position(|load| load.name() == table)?;
        Some(self.loads.remove(at))
    }
}

impl SessionInner {
    /// Before a statement: what the block has copied in becomes visible to it, if it may look.
    pub(crate) async fn settle_loads(
        &self,
        state: &mut SessionState,
        kind: &StatementKind,
        cancel: &Arc<Cancel>,
    ) -> Result<()> {
        if leaves_loads(kind) { Ok(()) } else { self.write_loads(state, cancel).await }
    }

    /// Makes the rows of a block's loads writes of it.
    ///
    /// # Errors
    /// 54000 above the limit; 23505. The block has failed then, as it has where nobody waits for the end of this.
    pub(crate) async fn write_loads(&self, state: &mut SessionState, cancel: &Arc<Cancel>) -> Result<()> {
        while let Some(load) = state.transaction.as_mut().and_then(|transaction| transaction.loads.pop()) {
            self.write_load(state, load, cancel).await?;
        }
        Ok(())
    }

    async fn write_load(&self, state: &mut SessionState, load: BlockLoad, cancel: &Arc<Cancel>) -> Result<()> {
        let limit = self.database.settings().size("max_transaction_size");
        let view = self.view(state);
        let Some(transaction) = &mut state.transaction else { return Ok(()) };
        transaction.failed = true;
        if transaction.writes.bytes() as u64 + load.bytes() > limit {
            return Err(too_large(limit).with_hint(
                "COMMIT takes in what was copied, however much it is, if nothing after COPY reads or writes rows; or raise \
                 max_transaction_size",
            ));
        }
        transaction.add(load.into_mutations(view, cancel).await?, limit)?;
        transaction.failed = false;
        Ok(())
    }

    /// Whether the rows of a COPY in a block may be a load of it: nothing in the block is in their way, nor goes back.
    pub(crate) fn may_load(&self, state: &SessionState, table: &TableHandle) -> bool {
        let of =
            |transaction: &Transaction| !transaction.has_savepoints() && !transaction.writes.touches(table.schema.id);
        state.transaction.as_ref().is_some_and(of)
    }

    /// Copies into a table, for the open transaction. Returns how many rows there were.
    pub(crate) async fn load_into_block(
        &self,
        state: &mut SessionState,
        table: &Arc<TableHandle>,
        mut file: Incoming,
        cancel: &Arc<Cancel>,
        mut complete: impl FnMut(&mut BulkLoad, &Incoming, arrow::record_batch::RecordBatch) -> Result<()>,
    ) -> Result<u64> {
        let lock_timeout = self.duration(state, "shard_lock_timeout");
        let Some(transaction) = &mut state.transaction else { return Err(Error::internal("there is no block")) };
        let mut load = match transaction.take_load(&table.schema.name) {
            Some(load) => load,
            None => BlockLoad::new(BulkLoad::new(&self.database, Arc::clone(table), lock_timeout, Arc::clone(cancel))?),
        };
        // Until it is given back: a statement that ends before that, however it does, leaves the block failed.
        transaction.failed = true;
        load.load.go_on_for(Arc::clone(cancel));
        // One load's rows at a time are in memory.
        for BlockLoad { load, .. } in &mut transaction.loads {
            load.go_on_for(Arc::clone(cancel));
            load.spill()?;
        }
        let before = load.rows();
        load.origins.push((before, file.origin.clone()));
        while let Some(batch) = file.next().await? {
            complete(&mut load.load, &file, batch)?;
        }
        cancel.check()?;
        let rows = load.rows() - before;
        load.is_checked &= rows == 0;
        // Looked at once: what comes to a load that is large already is looked at by COMMIT.
        if before == 0 {
            let view = self.view(state);
            load = load.checked(view).await?;
        }
        if load.bytes() < PENDING_BYTES_MIN {
            self.write_load(state, load, cancel).await?;
        } else if let Some(transaction) = &mut state.transaction {
            transaction.loads.push(load);
            transaction.failed = false;
        }
        Ok(rows)
    }

    /// Commits a block with its loads.
    pub(crate) async fn commit_loads(
        &self,
        state: &SessionState,
        transaction: Transaction,
        cancel: &Arc<Cancel>,
    ) -> Result<()> {
        let timeout = self.duration(state, "shard_lock_timeout");
        let Transaction { pin, writes, mut tables, rows: mut held, chosen, loads, coming, .. } = transaction;
        // Whoever takes in files is not to be waited for.
        drop(coming);
        // Until all is taken in, which may be long, nobody else is to choose what this is about to change.
        held.hold_all(writes.keys(), timeout).await?;
        let names: BTreeSet<String> = loads.iter().map(|load| load.name().to_string()).collect();
        tables.retain(|name, _| !names.contains(name));
        let (alone, is_alone) = self.hold_for_loads(&names, &loads, timeout).await?;
        loads.iter().try_for_each(|load| load.is_current(&self.database))?;
        let start = pin.read;
        let mut writes = Arc::unwrap_or_clone(writes);
        if is_alone {
            let (database, cancel, by) = (Arc::clone(&self.database), Arc::clone(cancel), self.id);
            return blocking(move || {
                // Held until it is decided, whoever waits for it.
                let _kept = (pin, tables, held, alone);
                database.commit_with_loads(start, ToCommit::of(writes, chosen, by), loads, &cancel, timeout)
            })
            .await;
        }
        for load in loads {
            let view = ReadView::of(&self.database, start, &Arc::default(), timeout);
            for mutation in load.into_mutations(view, cancel).await? {
                writes.put(mutation.key, mutation.operation);
            }
        }
        cancel.shield()?;
        self.commit_written(state, start, ToCommit::of(writes, chosen, self.id), held, (pin, tables, alone)).await
    }

    /// The tables of loads, kept from other writers; or, where others keep them longer than the timeout and the rows are few
    /// enough to go another way, only from changing.
    async fn hold_for_loads(
        &self,
        names: &BTreeSet<String>,
        loads: &[BlockLoad],
        timeout: Duration,
    ) -> Result<(Vec<crate::table_locks::TableLock>, bool)> {
        let mut held = Vec::new();
        let mut refused = None;
        for name in names {
            match self.alone(name, timeout).await {
                Ok(lock) => held.push(lock),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let Some(error) = refused else { return Ok((held, true)) };
        let bytes: u64 = loads.iter().map(BlockLoad::bytes).sum();
        if error.state != SqlState::LockNotAvailable || bytes > self.database.settings().size("max_transaction_size") {
            return Err(error);
        }
        held.clear();
        for name in names {
            held.push(self.database.table_locks.shared(self.id, name, timeout).await?);
        }
        Ok((held, false))
    }
}
