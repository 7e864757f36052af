//! A block takes hold of a row before it changes it, and its snapshot may rise.
//!
//! A block that had to wait for a row finds it newer than its snapshot. If nothing that it has looked at or written has
//! changed since, a snapshot of now would have told it the same: it takes one and goes on, as if it had begun now. That is
//! snapshot isolation still, and what CockroachDB calls a read refresh. If something has changed, or it has looked at more
//! than single rows, it fails with 40001 at once, and not at COMMIT.
//!
//! WHAT MAY NEVER HAPPEN: a transaction sees a row at one timestamp and then another, changed in between, at a later
//! one, other than as its own (`snapshot-isolation`).

use crate::database::Database;
use crate::row_locks::HeldRows;
use crate::session::{SessionInner, SessionState, note_read};
use crate::transaction::Transaction;
use crate::view::ReadView;
use evenkeel_model::{Result, Timestamp};
use evenkeel_storage::ApplyError;
use evenkeel_storage::codec::key::table_of;
use std::time::{Duration, Instant};

/// Blocks that have written more rows are not renewed: looking at all of them takes longer than is worth it.
const WRITES_MAX: usize = 1_000;

impl SessionInner {
    /// Holds a row that a statement is about to read and change: for a block until it ends, otherwise as long as what is
    /// returned lives.
    ///
    /// # Errors
    /// 40001 when the row has changed since the block began and its snapshot can't rise, 40P01 for blocks that wait for
    /// each other, 55P03 at the deadline.
    pub(crate) async fn hold_row(&self, state: &mut SessionState, key: &[u8]) -> Result<Option<HeldRows>> {
        let timeout = self.duration(state, "shard_lock_timeout");
        let Some(transaction) = &mut state.transaction else {
            if self.database.row_locks.is_quiet() {
                return Ok(None);
            }
            let mut statement = self.database.row_locks.block(self.id);
            statement.hold(key, timeout).await?;
            return Ok(Some(statement));
        };
        transaction.rows.hold(key, timeout).await?;
        if self.database.has_changed(key, transaction.start(), timeout)? && !self.renew(transaction, timeout)? {
            return Err(self.database.explain(ApplyError::Conflict { key: key.to_vec() }));
        }
        note_read(state, key);
        Ok(None)
    }

    /// Lets a transaction see what has been committed meanwhile; `false` when it has seen, or may have, what has changed.
    pub(crate) fn renew(&self, transaction: &mut Transaction, timeout: Duration) -> Result<bool> {
        let view = ReadView::latest(&self.database, timeout);
        let since = transaction.start();
        if transaction.writes.len() > WRITES_MAX {
            return Ok(false);
        }
        {
            let reads = transaction.reads.lock();
            let Some(reads) = reads.all() else { return Ok(false) };
            let loaded = self.database.loaded_since(since);
            for key in reads.iter().chain(transaction.writes.keys()) {
                let may_be_loaded = || table_of(key).is_none_or(|table| loaded.contains(&table));
                if !loaded.is_empty() && may_be_loaded() || !view.is_unchanged(key, since)? {
                    return Ok(false);
                }
            }
        }
        transaction.pin = self.database.snapshots.pin(|| view.read);
        Ok(true)
    }
}

impl Database {
    /// Whether a row that is held is another than it was at a time. Who was about to change it when it was taken hold of is
    /// waited for: nobody else will be.
    pub(crate) fn has_changed(&self, key: &[u8], since: Timestamp, timeout: Duration) -> Result<bool> {
        let layout = self.layout();
        let shard = layout.shard_of(key)?;
        shard.locks().wait_for_writer(key, || Instant::now() + timeout)?;
        Ok(shard.version(key)?.is_some_and(|version| version > since))
    }
}
