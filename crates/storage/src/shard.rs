//! A shard's RocksDB: opening it, applying commands, and what it knows of itself.

use crate::activity::Activity;
use crate::codec::key::{slot_of, table_of, table_range};
use crate::command::{Command, Mutation, Operation};
use crate::counters::{Counters, Differences, SlotCount};
use crate::failure::{ApplyError, storage_error};
use crate::locks::KeyLocks;
use crate::moves::outbox::{Entries, Numbering};
use crate::store::{DATA, DATA_HEADER, HISTORY, KIND_DELETE, KIND_PUT, LOCK, OUTBOX, STATE, Store, timestamp_of};
use evenkeel_model::{Error, Result, ShardId, Slot, SlotBits, SlotSet, SqlState, TableId, Timestamp};
use evenkeel_rebalancer::migration::Ownership;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rocksdb::{BoundColumnFamily, DB, IteratorMode, WriteBatch, WriteOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// When a command counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After it is on disk. Commands of other sessions share the wait (group commit).
    Synced,
    /// After it is applied. It survives this process once the commit log has it, and the machine once the next sync is over.
    Buffered,
}

/// A durable intent of a transaction over several shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    pub key: Vec<u8>,
    /// Which transaction's: no two have the same.
    pub transaction: Timestamp,
    pub primary: ShardId,
    operation: Operation,
}

/// One shard.
pub struct Shard {
    id: ShardId,
    path: PathBuf,
    bits: SlotBits,
    db: DB,
    locks: KeyLocks,
    pub(crate) counters: Counters,
    /// Of slots that are being received: they are counted, and are nobody's yet.
    pub(crate) incoming: Counters,
    /// Held shared while a change is staged and written, so that a migration that begins misses none.
    pub(crate) ownership: RwLock<Arc<Ownership>>,
    /// Slots whose writes wait for a cutover that has not sealed them yet.
    pub(crate) held: Mutex<SlotSet>,
    /// Whether there is a part in a migration, or a hold: everybody else looks no further.
    pub(crate) moving: AtomicBool,
    /// Of the entries in the outbox.
    pub(crate) numbering: Mutex<Numbering>,
    activity: Activity,
    is_counting: bool,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("id", &self.id).field("path", &self.path).finish_non_exhaustive()
    }
}

pub(crate) const COUNTER: u8 = b'c';
pub(crate) const INCOMING: u8 = b'i';
const RECORD: u8 = b't';
const LOAD: u8 = b'l';

fn state_key(kind: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    rest.iter().for_each(|part| key.extend_from_slice(part));
    key
}

pub(crate) fn counter_key(kind: u8, table: TableId, slot: Slot) -> Vec<u8> {
    state_key(kind, &[&table.0.to_be_bytes(), &slot.0.to_be_bytes()])
}

fn timestamp_key(kind: u8, timestamp: Timestamp) -> Vec<u8> {
    state_key(kind, &[&timestamp.0.to_be_bytes()])
}

pub(crate) fn history_key(key: &[u8], version: Timestamp) -> Vec<u8> {
    let mut history = key.to_vec();
    history.extend_from_slice(&(!version.0).to_be_bytes());
    history
}

/// One atomic batch and what it does to the counters.
pub(crate) struct Changes<'s> {
    pub(crate) batch: WriteBatch,
    pub(crate) counts: Differences,
    /// In force until the batch is written: who else is owed the changes.
    ownership: RwLockReadGuard<'s, Arc<Ownership>>,
    owed: Entries<'s>,
}

impl Changes<'_> {
    fn count(&mut self, table: TableId, slot: Slot, difference: SlotCount) {
        *self.counts.entry((table, slot)).or_default() += difference;
    }
}

impl Shard {
    /// Opens a shard's directory, making it where there is none.
    ///
    /// # Errors
    /// XX001 for damaged files, 58030 for a disk that fails or may not be written.
    pub fn open(id: ShardId, path: &Path, bits: SlotBits, store: &Store) -> Result<Self> {
        let db = DB::open_cf_descriptors(&store.options(), path, store.column_families()).map_err(|error| {
            let cause = storage_error(&error);
            Error { message: format!("shard {id} cannot be opened: {}", cause.message), ..cause }
        })?;
        let shard = Self {
            id,
            path: path.to_path_buf(),
            bits,
            db,
            locks: KeyLocks::default(),
            counters: Counters::default(),
            incoming: Counters::default(),
            ownership: RwLock::default(),
            held: Mutex::default(),
            moving: AtomicBool::new(false),
            numbering: Mutex::default(),
            activity: Activity::new(bits),
            is_counting: store.is_counting(),
        };
        shard.load_counters(COUNTER, &shard.counters)?;
        shard.load_counters(INCOMING, &shard.incoming)?;
        shard.load_moves()?;
        Ok(shard)
    }

    fn load_counters(&self, kind: u8, counters: &Counters) -> Result<()> {
        let mut counts = Differences::new();
        self.each_state(kind, |rest, value| {
            let (table, slot) = rest.split_first_chunk::<4>()?;
            let slot = slot.first_chunk::<4>()?;
            let key = (TableId(u32::from_be_bytes(*table)), Slot(u32::from_be_bytes(*slot)));
            counts.insert(key, SlotCount::decode(value)?);
            Some(())
        })?;
        counters.add(&counts, Timestamp::ZERO);
        Ok(())
    }

    /// Calls `each` with the keys (without their kind) and values of one kind of state.
    fn each_state(&self, kind: u8, mut each: impl FnMut(&[u8], &[u8]) -> Option<()>) -> Result<()> {
        let start = [kind];
        let mode = IteratorMode::From(&start, rocksdb::Direction::Forward);
        for item in self.db.iterator_cf(&self.state(), mode) {
            let (key, value) = item.map_err(|error| storage_error(&error))?;
            let Some(rest) = key.strip_prefix(&start) else { break };
            each(rest, &value).ok_or_else(|| Error::new(SqlState::DataCorrupted, "a shard's state is damaged"))?;
        }
        Ok(())
    }

    /// The shard's number.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The shard's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How tokens are cut into slots.
    pub fn slot_bits(&self) -> SlotBits {
        self.bits
    }

    /// Who is committing which keys.
    pub fn locks(&self) -> &KeyLocks {
        &self.locks
    }

    /// Rows read and written per slot since the shard was opened.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// A read by key or a commit is over, and took so long, waits included.
    #[inline]
    pub fn served(&self, took: Duration) {
        if self.is_counting {
            self.activity.served(took);
        }
    }

    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    pub(crate) fn data(&self) -> Arc<BoundColumnFamily<'_>> {
        self.column_family(DATA)
    }

    pub(crate) fn history(&self) -> Arc<BoundColumnFamily<'_>> {
        self.column_family(HISTORY)
    }

    fn lock(&self) -> Arc<BoundColumnFamily<'_>> {
        self.column_family(LOCK)
    }

    pub(crate) fn outbox(&self) -> Arc<BoundColumnFamily<'_>> {
        self.column_family(OUTBOX)
    }

    pub(crate) fn state(&self) -> Arc<BoundColumnFamily<'_>> {
        self.column_family(STATE)
    }

    fn column_family(&self, name: &str) -> Arc<BoundColumnFamily<'_>> {
        self.db.cf_handle(name).expect("the column families were made when the shard was opened")
    }

    /// Applies a command as one atomic batch. The caller holds the keys in [`Shard::locks`].
    ///
    /// # Errors
    /// [`ApplyError::Conflict`] when a key has a version above the transaction's start; [`ApplyError::Failed`] when the
    /// disk fails, after which it is unknown whether the command survives a restart.
    pub fn apply(&self, command: &Command, durability: Durability) -> std::result::Result<(), ApplyError> {
        match command {
            Command::CommitOnePhase { start, commit, mutations } => {
                self.commit_one_phase(*start, *commit, mutations, durability)
            }
            Command::Prewrite { transaction, start, primary, mutations } => {
                self.prewrite(*transaction, *start, *primary, mutations, durability)
            }
            Command::Commit { transaction, commit, keys, record } => {
                self.commit_intents(*transaction, *commit, keys, *record, durability)
            }
            Command::Rollback { transaction, keys } => self.rollback(*transaction, keys, durability),
            Command::Forget { transactions } => self.forget(transactions, durability),
            Command::BeginLoad { load, table, counts } => self.begin_load(*load, *table, counts),
            Command::FinishLoad { load } => self.finish_load(*load),
            Command::AbortLoad { load } => self.abort_load(*load),
            Command::DropTable { table } => self.drop_table(*table),
        }
    }

    pub(crate) fn changes(&self) -> Changes<'_> {
        let owed = Entries::new(&self.numbering);
        Changes { batch: WriteBatch::default(), counts: Differences::new(), ownership: self.ownership.read(), owed }
    }

    pub(crate) fn write(
        &self,
        changes: Changes<'_>,
        commit: Timestamp,
        durability: Durability,
    ) -> std::result::Result<(), ApplyError> {
        let Changes { mut batch, counts, ownership: _in_force, owed: _open } = changes;
        let state = self.state();
        for ((table, slot), difference) in &counts {
            if *difference != SlotCount::default() {
                batch.merge_cf(&state, counter_key(COUNTER, *table, *slot), difference.encode());
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        self.db.write_opt(batch, &options)?;
        self.counters.add(&counts, commit);
        Ok(())
    }

    fn commit_one_phase(
        &self,
        start: Timestamp,
        commit: Timestamp,
        mutations: &[Mutation],
        durability: Durability,
    ) -> std::result::Result<(), ApplyError> {
        let since = self.is_counting.then(Instant::now);
        let mut changes = self.changes();
        for Mutation { key, operation } in mutations {
            self.stage(&mut changes, key, operation, start, commit)?;
        }
        since.into_iter().for_each(|since| self.activity.busy(since));
        self.write(changes, commit, durability)
    }

    /// Adds one version: the newest goes to `data`, the one it replaces to `history`.
    pub(crate) fn stage(
        &self,
        changes: &mut Changes<'_>,
        key: &[u8],
        operation: &Operation,
        start: Timestamp,
        commit: Timestamp,
    ) -> std::result::Result<(), ApplyError> {
        let (table, slot) = (table_of(key).unwrap_or(TableId(0)), slot_of(key, self.bits));
        let old = self.db.get_pinned_cf(&self.data(), key)?;
        let mut difference = SlotCount::default();
        if let Some(old) = &old {
            let version = Timestamp(timestamp_of(old).unwrap_or(0));
            if version > start {
                return Err(ApplyError::Conflict { key: key.to_vec() });
            }
            if old.get(8) == Some(&KIND_PUT) {
                let row = &old[DATA_HEADER..];
                difference += SlotCount { rows: -1, bytes: -((key.len() + row.len()) as i64) };
                let mut replaced = commit.0.to_le_bytes().to_vec();
                replaced.extend_from_slice(row);
                changes.batch.put_cf(&self.history(), history_key(key, version), replaced);
            }
        }
        let mut value = commit.0.to_le_bytes().to_vec();
        match operation {
            Operation::Put(row) => {
                difference += SlotCount { rows: 1, bytes: (key.len() + row.len()) as i64 };
                value.reserve_exact(1 + row.len());
                value.push(KIND_PUT);
                value.extend_from_slice(row);
            }
            Operation::Delete => value.push(KIND_DELETE),
        }
        if *operation != Operation::Delete || old.is_some() {
            self.mirror(changes, key, &value);
            changes.batch.put_cf(&self.data(), key, value);
        }
        if self.is_counting {
            changes.count(table, slot, difference);
            self.activity.write(key);
        }
        Ok(())
    }

    /// Puts a change to a slot that is moving away into the outbox, too.
    fn mirror(&self, changes: &mut Changes<'_>, key: &[u8], value: &[u8]) {
        if let Some(migration) = changes.ownership.mirrors(slot_of(key, self.bits)) {
            let (at, entry) = changes.owed.of_change(migration, key, value);
            changes.batch.put_cf(&self.outbox(), at, entry);
        }
    }

    fn prewrite(
        &self,
        transaction: Timestamp,
        start: Timestamp,
        primary: ShardId,
        mutations: &[Mutation],
        durability: Durability,
    ) -> std::result::Result<(), ApplyError> {
        let mut changes = self.changes();
        for Mutation { key, operation } in mutations {
            let newest = self.db.get_pinned_cf(&self.data(), key)?.and_then(|value| timestamp_of(&value));
            if newest.is_some_and(|version| Timestamp(version) > start) {
                return Err(ApplyError::Conflict { key: key.clone() });
            }
            let mut intent = transaction.0.to_le_bytes().to_vec();
            intent.extend_from_slice(&primary.0.to_le_bytes());
            match operation {
                Operation::Put(row) => {
                    intent.push(KIND_PUT);
                    intent.extend_from_slice(row);
                }
                Operation::Delete => intent.push(KIND_DELETE),
            }
            changes.batch.put_cf(&self.lock(), key, intent);
        }
        self.write(changes, Timestamp::ZERO, durability)
    }

    fn commit_intents(
        &self,
        transaction: Timestamp,
        commit: Timestamp,
        keys: &[Vec<u8>],
        record: bool,
        durability: Durability,
    ) -> std::result::Result<(), ApplyError> {
        let mut changes = self.changes();
        for key in keys {
            let Some(intent) = self.intent(key)?.filter(|intent| intent.transaction == transaction) else { continue };
            self.stage(&mut changes, key, &intent.operation, transaction, commit)?;
            changes.batch.delete_cf(&self.lock(), key);
        }
        if record {
            changes.batch.put_cf(&self.state(), timestamp_key(RECORD, transaction), commit.0.to_le_bytes());
        }
        self.write(changes, commit, durability)
    }

    fn rollback(
        &self,
        transaction: Timestamp,
        keys: &[Vec<u8>],
        durability: Durability,
    ) -> std::result::Result<(), ApplyError> {
        let mut changes = self.changes();
        for key in keys {
            if self.intent(key)?.is_some_and(|intent| intent.transaction == transaction) {
                changes.batch.delete_cf(&self.lock(), key);
            }
        }
        self.write(changes, Timestamp::ZERO, durability)
    }

    fn forget(&self, transactions: &[Timestamp], durability: Durability) -> std::result::Result<(), ApplyError> {
        let mut changes = self.changes();
        for transaction in transactions {
            changes.batch.delete_cf(&self.state(), timestamp_key(RECORD, *transaction));
        }
        self.write(changes, Timestamp::ZERO, durability)
    }

    fn begin_load(
        &self,
        load: Timestamp,
        table: TableId,
        counts: &[(Slot, SlotCount)],
    ) -> std::result::Result<(), ApplyError> {
        let mut value = table.0.to_le_bytes().to_vec();
        for (slot, count) in counts {
            value.extend_from_slice(&slot.0.to_le_bytes());
            value.extend_from_slice(&count.encode());
        }
        let mut changes = self.changes();
        changes.batch.put_cf(&self.state(), timestamp_key(LOAD, load), value);
        self.write(changes, Timestamp::ZERO, Durability::Synced)
    }

    fn finish_load(&self, load: Timestamp) -> std::result::Result<(), ApplyError> {
        let key = timestamp_key(LOAD, load);
        let Some(value) = self.db.get_pinned_cf(&self.state(), &key)? else { return Ok(()) };
        let (table, counts) = decode_load(&value).ok_or_else(|| Error::internal("a load's record is damaged"))?;
        let mut changes = self.changes();
        for (slot, count) in counts {
            changes.count(table, slot, count);
        }
        changes.batch.delete_cf(&self.state(), key);
        self.write(changes, load, Durability::Synced)
    }

    /// The load's rows become deletions at its timestamp, so that a transaction that started before still notices. What is
    /// being received was counted as it came: its source takes it back.
    fn abort_load(&self, load: Timestamp) -> std::result::Result<(), ApplyError> {
        const BATCH: usize = 10_000;
        let key = timestamp_key(LOAD, load);
        let Some(value) = self.db.get_pinned_cf(&self.state(), &key)? else { return Ok(()) };
        let (table, _) = decode_load(&value).ok_or_else(|| Error::internal("a load's record is damaged"))?;
        let mut deletion = load.0.to_le_bytes().to_vec();
        deletion.push(KIND_DELETE);
        let mut changes = self.changes();
        let range = table_range(table);
        let mode = IteratorMode::From(&range.start, rocksdb::Direction::Forward);
        for item in self.db.iterator_cf(&self.data(), mode) {
            let (row, value) = item?;
            if row.as_ref() >= range.end.as_slice() {
                break;
            }
            let is_settled = !changes.ownership.receives(slot_of(&row, self.bits));
            if is_settled && timestamp_of(&value) == Some(load.0) && value.get(8) == Some(&KIND_PUT) {
                self.mirror(&mut changes, &row, &deletion);
                changes.batch.put_cf(&self.data(), row, &deletion);
            }
            if changes.batch.len() >= BATCH {
                self.write(changes, Timestamp::ZERO, Durability::Buffered)?;
                changes = self.changes();
            }
        }
        changes.batch.delete_cf(&self.state(), key);
        self.write(changes, Timestamp::ZERO, Durability::Synced)
    }

    fn drop_table(&self, table: TableId) -> std::result::Result<(), ApplyError> {
        let range = table_range(table);
        let (data, history, state) = (self.data(), self.history(), self.state());
        let counters = state_key(COUNTER, &[&range.start])..state_key(COUNTER, &[&range.end]);
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(&data, &range.start, &range.end);
        batch.delete_range_cf(&history, &range.start, &range.end);
        for item in self.db.iterator_cf(&state, IteratorMode::From(&counters.start, rocksdb::Direction::Forward)) {
            let (key, _) = item?;
            if key.as_ref() >= counters.end.as_slice() {
                break;
            }
            batch.delete_cf(&state, key);
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options)?;
        // Whole files of the table go at once; what shares a file with others goes with the next compaction.
        self.db.delete_file_in_range_cf(&data, &range.start, &range.end)?;
        self.db.delete_file_in_range_cf(&history, &range.start, &range.end)?;
        self.counters.drop_table(table);
        Ok(())
    }

    /// The timestamp of a key's newest version, deletions included.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn version(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        let value = self.db.get_pinned_cf(&self.data(), key).map_err(|error| storage_error(&error))?;
        Ok(value.and_then(|value| timestamp_of(&value)).map(Timestamp))
    }

    fn intent(&self, key: &[u8]) -> std::result::Result<Option<Intent>, ApplyError> {
        let value = self.db.get_pinned_cf(&self.lock(), key)?;
        value.map(|value| decode_intent(key, &value)).transpose().map_err(ApplyError::Failed)
    }

    /// Every durable intent: at start, those of transactions that the last process left half done.
    ///
    /// # Errors
    /// XX001 for damaged state.
    pub fn intents(&self) -> Result<Vec<Intent>> {
        let items = self.db.iterator_cf(&self.lock(), IteratorMode::Start);
        items
            .map(|item| {
                let (key, value) = item.map_err(|error| storage_error(&error))?;
                decode_intent(&key, &value)
            })
            .collect()
    }

    /// Commit timestamps by transaction, of those whose primary this shard is and whose second phase may be undone on
    /// other shards.
    ///
    /// # Errors
    /// XX001 for damaged state.
    pub fn transaction_records(&self) -> Result<BTreeMap<Timestamp, Timestamp>> {
        let mut records = BTreeMap::new();
        self.each_state(RECORD, |rest, value| {
            let transaction = Timestamp(u64::from_be_bytes(*rest.first_chunk::<8>()?));
            records.insert(transaction, Timestamp(timestamp_of(value)?));
            Some(())
        })?;
        Ok(records)
    }

    /// Loads that were announced and neither finished nor aborted.
    ///
    /// # Errors
    /// XX001 for damaged state.
    pub fn loads(&self) -> Result<Vec<Timestamp>> {
        let mut loads = Vec::new();
        self.each_state(LOAD, |rest, _| {
            loads.push(Timestamp(u64::from_be_bytes(*rest.first_chunk::<8>()?)));
            Some(())
        })?;
        Ok(loads)
    }

    /// Live rows and bytes of a table here, and when they last changed.
    pub fn table_count(&self, table: TableId) -> (SlotCount, Timestamp) {
        self.counters.table(table)
    }

    /// When rows here last changed, of any table.
    pub fn last_change(&self) -> Timestamp {
        self.counters.last_change()
    }

    /// Live rows and bytes of every slot that has any.
    pub fn slot_counts(&self) -> BTreeMap<Slot, SlotCount> {
        self.counters.slots()
    }

    /// Live rows and bytes by table and slot.
    pub fn table_slot_counts(&self) -> Vec<(TableId, Vec<(Slot, SlotCount)>)> {
        self.counters.tables()
    }

    /// Notes that a load's rows became visible, so that statistics of older readers are known to be off.
    pub fn note_load(&self, table: TableId, commit: Timestamp) {
        self.counters.touch(std::iter::once(table), commit);
    }

    /// Puts everything that was applied on disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<()> {
        self.db.flush_wal(true).map_err(|error| storage_error(&error))
    }

    /// Grows with every change. After [`Shard::sync`] a shard that opens with a lower number has lost changes.
    pub fn sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Applies the shard's part of a commit that is in the commit log, as far as the shard hasn't it; returns whether
    /// anything was missing. The caller holds the keys in [`Shard::locks`], or is alone.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn apply_logged(&self, commit: Timestamp, mutations: &[Mutation]) -> Result<bool> {
        let since = self.is_counting.then(Instant::now);
        let mut changes = self.changes();
        let before = Timestamp(commit.0 - 1);
        for Mutation { key, operation } in mutations {
            // What has left since is its new owner's, and was on disk before it left.
            if !changes.ownership.owned().contains(slot_of(key, self.bits)) {
                continue;
            }
            match self.stage(&mut changes, key, operation, before, commit) {
                // This version is here, or a later one.
                Ok(()) | Err(ApplyError::Conflict { .. }) => {}
                Err(ApplyError::Failed(error)) => return Err(error),
            }
        }
        since.into_iter().for_each(|since| self.activity.busy(since));
        if changes.batch.is_empty() {
            return Ok(false);
        }
        match self.write(changes, commit, Durability::Buffered) {
            Ok(()) => Ok(true),
            Err(ApplyError::Failed(error)) => Err(error),
            Err(ApplyError::Conflict { .. }) => Err(Error::internal("a write has no conflicts")),
        }
    }

    /// Rewrites the files of a table, or all, dropping versions that no reader can ask for.
    pub fn compact(&self, table: Option<TableId>) {
        let keys = table.map(table_range);
        for family in [self.data(), self.history()] {
            let (from, to) = (keys.as_ref().map(|keys| &keys.start), keys.as_ref().map(|keys| &keys.end));
            self.db.compact_range_cf(&family, from, to);
        }
    }

    /// Bytes of the shard's files, logs included, and bytes of replaced versions among them (without the logs').
    pub fn storage_bytes(&self) -> (u64, u64) {
        let files = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let sizes = files.filter_map(|file| file.metadata().ok().filter(|file| file.is_file()).map(|file| file.len()));
        let history = self.db.property_int_value_cf(&self.history(), "rocksdb.total-sst-files-size");
        (sizes.sum(), history.ok().flatten().unwrap_or(0))
    }

    /// Bytes of the shard's write buffers, index and filter blocks outside the shared cache.
    pub fn memory_bytes(&self) -> u64 {
        let families = [self.data(), self.history(), self.lock(), self.state()];
        let property = |family: &Arc<BoundColumnFamily<'_>>, name: &str| {
            self.db.property_int_value_cf(family, name).ok().flatten().unwrap_or(0)
        };
        families.iter().map(|family| property(family, "rocksdb.cur-size-all-mem-tables")).sum()
    }
}

fn decode_intent(key: &[u8], value: &[u8]) -> Result<Intent> {
    let damaged = || Error::new(SqlState::DataCorrupted, "a transaction's intent is damaged");
    let (transaction, rest) = value.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (primary, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let operation = match rest.split_first() {
        Some((&KIND_PUT, row)) => Operation::Put(row.to_vec()),
        Some((&KIND_DELETE, [])) => Operation::Delete,
        _ => return Err(damaged()),
    };
    let (transaction, primary) = (Timestamp(u64::from_le_bytes(*transaction)), ShardId(u32::from_le_bytes(*primary)));
    Ok(Intent { key: key.to_vec(), transaction, primary, operation })
}

fn decode_load(value: &[u8]) -> Option<(TableId, Vec<(Slot, SlotCount)>)> {
    let (table, mut rest) = value.split_first_chunk::<4>()?;
    let mut counts = Vec::with_capacity(rest.len() / 20);
    while let Some((entry, tail)) = rest.split_first_chunk::<20>() {
        let (slot, count) = entry.split_first_chunk::<4>()?;
        counts.push((Slot(u32::from_le_bytes(*slot)), SlotCount::decode(count)?));
        rest = tail;
    }
    Some((TableId(u32::from_le_bytes(*table)), counts))
}
