//! From what was gathered to rows in the shards, which nobody sees until their load has a commit record.

use super::buffer::Buffer;
use super::runs::Merge;
use super::{BulkLoad, KeyCheck, Origin, in_parallel, is_empty};
use crate::database::{Database, Load, StoredLoad, apply_error};
use crate::layout::LoadPass;
use crate::meta::{MetaChange, MetaStore};
use crate::view::ReadView;
use evenkeel_model::{Error, Result, ShardId, TableId, Timestamp};
use evenkeel_storage::{Command, Durability, SortedRows};
use std::collections::BTreeMap;

/// The rows of a load in the shards, hidden. Dropped before it is decided that they stay, they are taken back.
pub(crate) struct TakenIn {
    load: BulkLoad,
    /// Where its rows are; nobody moves them meanwhile.
    view: ReadView,
    stamp: Timestamp,
    is_decided: bool,
    _pass: LoadPass,
}

impl BulkLoad {
    /// Makes the rows visible, durably. Returns how many they are. Blocks while slots change hands.
    ///
    /// # Errors
    /// 23505 for a key that is there twice, 57014 when the statement is cancelled, or what the disk says: then nothing of
    /// the load remains.
    pub(crate) fn finish(self, origin: &Origin<'_>) -> Result<u64> {
        let rows = self.rows;
        if rows == 0 {
            return Ok(0);
        }
        let database = std::sync::Arc::clone(&self.database);
        let mut taken = [self.take_in(origin)?];
        taken[0].load.cancel.shield()?;
        publish(&database, &mut taken, None, || database.oracle.next())?;
        settle(&database, &taken, true);
        Ok(rows)
    }

    /// Writes the rows to the shards, hidden. The caller holds the table alone until it is decided about them. Blocks while
    /// slots change hands; from then on they stay where they are.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub(crate) fn take_in(mut self, origin: &Origin<'_>) -> Result<TakenIn> {
        let pass = self.database.topology.begin_load();
        // The caller holds the table alone: this sees all there is, and nothing comes to it.
        let view = ReadView::latest(&self.database, self.lock_timeout);
        self.follow(&view.layout.slots)?;
        let buffers = std::mem::take(&mut self.buffers);
        // Asked before it is registered: a table that something is loaded into is not known to be empty.
        let is_empty = is_empty(&self.table, &view);
        let stamp = self.register()?;
        let taken = TakenIn { load: self, view, stamp, is_decided: false, _pass: pass };
        let check = KeyCheck::new(&taken.load.table, &taken.view, is_empty, origin);
        Ingestion { to: &taken.load, check, load: stamp }.of(buffers)?;
        Ok(taken)
    }

    /// Takes the load's timestamp; readers above it skip its rows from here on.
    fn register(&self) -> Result<Timestamp> {
        let mut loads = self.database.loads.write();
        let load = self.database.oracle.next()?;
        loads.push(Load { table: self.table.schema.id, load, commit: None, counted: false });
        Ok(load)
    }
}

impl TakenIn {
    /// Whether its rows stay, or may stay, whatever becomes of this.
    pub(crate) fn is_decided(&self) -> bool {
        self.is_decided
    }

    fn table(&self) -> TableId {
        self.load.table.schema.id
    }
}

impl Drop for TakenIn {
    fn drop(&mut self) {
        if self.is_decided {
            return;
        }
        let (database, mut clean) = (&self.load.database, true);
        for shard in self.view.layout.shards.values() {
            if let Err(error) = shard.apply(&Command::AbortLoad { load: self.stamp }, Durability::Synced) {
                clean = false;
                database.registry.report_background(&apply_error(error));
            }
        }
        // Rows that could not be taken back stay hidden, and the next start takes them back.
        if clean {
            database.loads.write().retain(|other| other.load != self.stamp);
        }
    }
}

/// The commit point of loads, and of the `transaction` whose other writes are intents by now: from here on readers see the
/// rows. `next` takes the timestamp, which nobody reads at before it is decided.
///
/// # Errors
/// When it is not known whether they have committed: their rows are hidden until the next start.
pub(crate) fn publish(
    database: &Database,
    taken: &mut [TakenIn],
    transaction: Option<Timestamp>,
    next: impl FnOnce() -> Result<Timestamp>,
) -> Result<Timestamp> {
    let mut loads = database.loads.write();
    let commit = next()?;
    let mut change = MetaChange::default();
    for load in &*taken {
        let stored = StoredLoad { table: load.table(), commit, transaction };
        change.put(&format!("load/{}", load.stamp.0), &stored)?;
    }
    // The record may stand even where the store says that it could not be written.
    taken.iter_mut().for_each(|load| load.is_decided = true);
    database.meta.commit(change).map_err(|error| {
        let message = format!("it is not known whether the load has committed: {}", error.message);
        Error { message, ..error }
            .with_hint("open the database again: the load will then be there as a whole or not at all")
    })?;
    for load in loads.iter_mut().filter(|load| taken.iter().any(|taken| taken.stamp == load.load)) {
        load.commit = Some(commit);
    }
    Ok(commit)
}

/// What follows of the commit. The loads' records are needed until then, and for as long as not `all` is written that
/// goes by them.
pub(crate) fn settle(database: &Database, taken: &[TakenIn], all: bool) {
    for TakenIn { load, view, stamp, .. } in taken {
        let commits = database.loads.read();
        let commit = commits.iter().find(|load| load.load == *stamp).and_then(|load| load.commit);
        drop(commits);
        let mut all = all;
        for shard in view.layout.shards.values() {
            let counted = shard.apply(&Command::FinishLoad { load: *stamp }, Durability::Synced);
            shard.note_load(load.table.schema.id, commit.unwrap_or(*stamp));
            // The rows are committed; counters that could not be written are made good at the next start.
            if let Err(error) = counted {
                all = false;
                database.registry.report_background(&apply_error(error));
            }
        }
        let mut loads = database.loads.write();
        loads.iter_mut().filter(|load| load.load == *stamp).for_each(|load| load.counted = all);
    }
}

/// What was gathered, on its way into the shards.
struct Ingestion<'l> {
    to: &'l BulkLoad,
    check: KeyCheck<'l>,
    load: Timestamp,
}

impl Ingestion<'_> {
    /// Writes and takes in what was gathered, shard by shard.
    fn of(&self, buffers: BTreeMap<ShardId, Buffer>) -> Result<()> {
        in_parallel(buffers.into_iter().collect(), |(shard, buffer)| self.shard(shard, buffer))
    }

    fn shard(&self, id: ShardId, mut buffer: Buffer) -> Result<()> {
        let (shard, load, table) = (self.check.view.layout.shard(id)?, self.load, self.check.table.schema.id);
        let mut files = SortedRows::new(shard, &self.to.database.store, &self.to.directory, load);
        if buffer.runs.is_empty() {
            let mut last: Option<(&[u8], u64)> = None;
            let rows = buffer.sorted().map(|(bucket, entry)| {
                let key = bucket.key(entry);
                let duplicate = last.filter(|(last, _)| *last == key).map(|(_, ordinal)| ordinal);
                last = Some((key, entry.ordinal));
                self.check.key(key, entry.ordinal, duplicate)?;
                Ok((key, bucket.row(entry)))
            });
            files.write(rows)?;
        } else {
            self.merge(&mut buffer, &mut files)?;
        }
        let begin = Command::BeginLoad { load, table, counts: files.counts() };
        shard.apply(&begin, Durability::Synced).map_err(apply_error)?;
        self.to.cancel.check()?;
        shard.ingest(files.files())?;
        // The files bypass what every other change goes through.
        shard.owe_load(table, load)
    }

    /// Merges the runs with what is still in memory.
    fn merge(&self, buffer: &mut Buffer, files: &mut SortedRows<'_>) -> Result<()> {
        let mut merged = Merge::new(buffer)?;
        let mut last: Option<(Vec<u8>, u64)> = None;
        let mut next = || -> Result<Option<(Vec<u8>, Vec<u8>)>> {
            let Some(row) = merged.next()? else { return Ok(None) };
            let duplicate = last.as_ref().filter(|(key, _)| *key == row.key).map(|(_, ordinal)| *ordinal);
            self.check.key(&row.key, row.ordinal, duplicate)?;
            self.to.cancel.check()?;
            last = Some((row.key.clone(), row.ordinal));
            Ok(Some((row.key, row.row)))
        };
        files.write(std::iter::from_fn(|| next().transpose()))
    }
}
