//! What one statement sees: a timestamp, the loads hidden from it, and its own transaction's writes.

use crate::database::Database;
use crate::layout::Layout;
use crate::snapshots::Pin;
use crate::transaction::Writes;
use evenkeel_model::{Result, TableId, Timestamp};
use evenkeel_storage::{Operation, View};
use std::sync::Arc;
use std::time::Duration;

/// A reader's view of the database.
#[derive(Clone)]
pub(crate) struct ReadView {
    pub(crate) database: Arc<Database>,
    pub(crate) read: Timestamp,
    /// Where it looks for which slot, until it ends.
    pub(crate) layout: Arc<Layout>,
    /// Keeps what is visible from being collected while the view lives.
    _pin: Arc<Pin>,
    pub(crate) writes: Option<Arc<Writes>>,
    pub(crate) lock_timeout: Duration,
}

impl std::fmt::Debug for ReadView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadView").field("read", &self.read).finish_non_exhaustive()
    }
}

impl ReadView {
    /// A view of everything acknowledged so far.
    pub(crate) fn latest(database: &Arc<Database>, lock_timeout: Duration) -> Self {
        // Under one picture: a cutover that comes after the timestamp was taken leaves a source that can answer for it.
        let layout = database.topology.steady();
        let pin = database.snapshots.pin(|| database.oracle.read());
        let (read, pin, layout) = (pin.read, Arc::new(pin), Arc::clone(&layout));
        Self { database: Arc::clone(database), read, layout, _pin: pin, writes: None, lock_timeout }
    }

    /// A transaction's view.
    pub(crate) fn of(database: &Arc<Database>, read: Timestamp, writes: &Arc<Writes>, lock_timeout: Duration) -> Self {
        let pin = Arc::new(database.snapshots.pin(|| read));
        let writes = (!writes.is_empty()).then(|| Arc::clone(writes));
        let layout = database.topology.layout();
        Self { database: Arc::clone(database), read, layout, _pin: pin, writes, lock_timeout }
    }

    /// The same database as it was at an earlier time, without the transaction's own writes.
    pub(crate) fn as_of(&self, read: Timestamp) -> Self {
        let pin = Arc::new(self.database.snapshots.pin(|| read));
        Self { read, _pin: pin, writes: None, ..self.clone() }
    }

    /// Calls `found` with the row of a key, if there is one.
    pub(crate) fn get<T>(&self, table: TableId, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        if let Some(operation) = self.writes.as_ref().and_then(|writes| writes.get(key)) {
            return Ok(match operation {
                Operation::Put(row) => Some(found(row)),
                Operation::Delete => None,
            });
        }
        let hidden = self.database.hidden_loads(table, self.read);
        let view = View { read: self.read, hidden: &hidden, lock_timeout: self.lock_timeout, map: None };
        self.layout.shard_of(key)?.get(key, &view, found)
    }

    /// Whether the newest version of a key was there at `since` already.
    pub(crate) fn is_unchanged(&self, key: &[u8], since: Timestamp) -> Result<bool> {
        let view = View { read: self.read, hidden: &[], lock_timeout: self.lock_timeout, map: None };
        self.layout.shard_of(key)?.is_unchanged(key, since, &view)
    }

    /// Rows and bytes of a table, where they are known exactly for this view without reading it.
    pub(crate) fn exact_count(&self, table: TableId) -> Option<(i64, i64)> {
        let loading =
            self.database.loads.read().iter().any(|load| {
                load.table == table && (!load.counted || load.commit.is_none_or(|commit| commit > self.read))
            });
        if loading || self.writes.as_ref().is_some_and(|writes| writes.touches(table)) {
            return None;
        }
        let seen = self.database.layout();
        for shard in seen.shards.values() {
            let lock_timeout = self.lock_timeout;
            shard.locks().wait_for_all(self.read, || std::time::Instant::now() + lock_timeout).ok()?;
        }
        let (mut rows, mut bytes) = (0, 0);
        // Counters change hands with their slots: not while they are added up. Nothing is waited for meanwhile.
        let layout = self.database.topology.steady();
        if !Arc::ptr_eq(&layout, &seen) {
            return None;
        }
        for shard in layout.shards.values() {
            let (count, changed) = shard.table_count(table);
            if changed > self.read {
                return None;
            }
            rows += count.rows;
            bytes += count.bytes;
        }
        Some((rows, bytes))
    }
}
