//! Bulk loads: rows are encoded, sorted per shard (on disk where they are many), written as sorted files and taken in by
//! all shards, visible in one moment or not at all.
//!
//! ```text
//! batches ─▶ encode ─▶ buffer per shard ─▶ sort ─▶ runs on disk (only above the budget)
//!                                            ╰────────▶ merge ─▶ sorted files ─▶ BeginLoad ─▶ ingest ─▶ commit record
//! ```
//!
//! Rows may come as slowly as a client sends them, so nothing is held while they do: no cutover waits and no old layout is
//! kept. Slots are kept where they are from [`BulkLoad::finish`] on, and what was gathered for shards that have lost slots
//! meanwhile goes to those that have them now, once.
//!
//! WHAT MAY NEVER HAPPEN: a part of a load stays after a failure or a crash; a reader sees a part of it; two rows of one
//! key get in. The rows carry the load's timestamp, readers skip it until the commit record stands, and a restart takes
//! back every load without one. The caller keeps other writers off the table meanwhile.

mod block;
mod buffer;
mod runs;
mod taking_in;

pub(crate) use block::BlockLoad;
pub(crate) use taking_in::{TakenIn, publish, settle};

use crate::database::{Database, io_error};
use crate::session::Cancel;
use crate::table::{RowEncoder, TableHandle, shard_of};
use crate::transaction::WRITE_BYTES;
use crate::view::ReadView;
use arrow::record_batch::RecordBatch;
use buffer::{BUCKET_BITS, Bucket, Buffer, Entry};
use evenkeel_model::{Error, Result, ShardId, SlotMap, SqlState, Token};
use evenkeel_storage::{Mutation, Operation};
use parking_lot::Mutex;
use runs::{Merge, RUN_BUFFER_BYTES, open_run, read_row, write_row, write_run};
use std::collections::{BTreeMap, btree_map};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
/// Says where the row of an ordinal came from, for errors.
pub(crate) type Origin<'a> = dyn Fn(u64) -> Option<String> + Sync + 'a;

/// A load under way.
pub(crate) struct BulkLoad {
    database: Arc<Database>,
    table: Arc<TableHandle>,
    lock_timeout: Duration,
    /// Where rows go that are gathered.
    slots: SlotMap,
    directory: PathBuf,
    budget: usize,
    buffered: usize,
    buffers: BTreeMap<ShardId, Buffer>,
    rows: u64,
    /// See [`BulkLoad::bytes`].
    bytes: u64,
    runs: usize,
    cancel: Arc<Cancel>,
}

impl BulkLoad {
    /// Begins a load. The caller holds the table for itself until it is over.
    pub(crate) fn new(
        database: &Arc<Database>,
        table: Arc<TableHandle>,
        lock_timeout: Duration,
        cancel: Arc<Cancel>,
    ) -> Result<Self> {
        let name = format!("load-{}", database.oracle.next()?.0);
        let directory = database.directory.join("tmp").join(name);
        std::fs::create_dir_all(&directory).map_err(|error| io_error("cannot make", &directory, &error))?;
        Ok(Self {
            budget: (database.settings().size("memory_limit") as usize / 4).clamp(8 << 20, 256 << 20),
            database: Arc::clone(database),
            table,
            lock_timeout,
            slots: database.layout().slots.clone(),
            directory,
            buffered: 0,
            buffers: BTreeMap::new(),
            rows: 0,
            bytes: 0,
            runs: 0,
            cancel,
        })
    }

    /// The table that it loads.
    pub(crate) fn table(&self) -> &Arc<TableHandle> {
        &self.table
    }

    /// About how much memory the rows would take among the writes of a transaction.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Another statement goes on with it.
    pub(crate) fn go_on_for(&mut self, cancel: Arc<Cancel>) {
        self.cancel = cancel;
    }

    /// How many rows were added.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds the rows of a batch that has all columns of the table.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let table = Arc::clone(&self.table);
        let mut encoder: RowEncoder<'_> = table.encoder(batch)?;
        let mut key = Vec::new();
        for row in 0..batch.num_rows() {
            key.clear();
            let token = encoder.key(row, &mut key)?;
            let buffer = self.buffers.entry(self.slots.route(token)).or_default();
            let buffer = &mut buffer.buckets[(token.0 >> (64 - BUCKET_BITS)) as usize];
            let length = buffer.add(token, self.rows, &key, |bytes| encoder.row(row, bytes))?;
            self.rows += 1;
            self.bytes += (length + WRITE_BYTES) as u64;
            self.buffered += length + size_of::<Entry>();
        }
        if self.buffered > self.budget { self.spill() } else { Ok(()) }
    }

    /// Writes what is buffered as sorted runs.
    pub(crate) fn spill(&mut self) -> Result<()> {
        for (shard, buffer) in &mut self.buffers {
            self.cancel.check()?;
            if buffer.is_empty() {
                continue;
            }
            let path = self.directory.join(format!("{shard}-{}.run", self.runs));
            self.runs += 1;
            write_run(buffer, &path).map_err(|error| io_error("cannot write", &path, &error))?;
            buffer.runs.push(path);
            buffer.buckets.iter_mut().for_each(|bucket| *bucket = Bucket::default());
        }
        self.buffered = 0;
        Ok(())
    }

    /// Compares the keys with one another and with the rows that `view` sees.
    ///
    /// # Errors
    /// 23505 for a key that is there twice; 57014 when the statement is cancelled; what the disk says.
    pub(crate) fn check(&mut self, view: &ReadView, origin: &Origin<'_>) -> Result<()> {
        if self.table.schema.has_hidden_key() {
            return Ok(());
        }
        let check = KeyCheck::new(&self.table, view, is_empty(&self.table, view), origin);
        let cancel = &self.cancel;
        in_parallel(self.buffers.values_mut().collect(), |buffer| {
            let mut last: Option<(Vec<u8>, u64)> = None;
            each_row(buffer, |key, _, ordinal| {
                let duplicate = last.as_ref().filter(|(last, _)| last == key).map(|(_, ordinal)| *ordinal);
                check.key(key, ordinal, duplicate)?;
                let (last, of) = last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(key);
                *of = ordinal;
                cancel.check()
            })
        })
    }

    /// The rows as the writes of a transaction.
    pub(crate) fn into_mutations(mut self) -> Result<Vec<Mutation>> {
        let mut mutations = Vec::with_capacity(self.rows as usize);
        for buffer in self.buffers.values_mut() {
            each_row(buffer, |key, row, _| {
                mutations.push(Mutation { key: key.to_vec(), operation: Operation::Put(row.to_vec()) });
                Ok(())
            })?;
        }
        Ok(mutations)
    }

    /// Gives rows whose slots have moved since they were gathered to the shards that have them now.
    fn follow(&mut self, slots: &SlotMap) -> Result<()> {
        if *slots == self.slots {
            return Ok(());
        }
        self.slots = slots.clone();
        for (_, buffer) in std::mem::take(&mut self.buffers) {
            for (at, bucket) in buffer.buckets.into_iter().enumerate() {
                for entry in &bucket.entries {
                    let token = Token(entry.token);
                    let to = &mut self.buffers.entry(self.slots.route(token)).or_default().buckets[at];
                    to.add(token, entry.ordinal, bucket.key(entry), |bytes| {
                        bytes.extend_from_slice(bucket.row(entry));
                        Ok(())
                    })?;
                }
            }
            for run in buffer.runs {
                self.cancel.check()?;
                self.part(&run)?;
            }
        }
        Ok(())
    }

    /// Makes of a sorted run one for each shard that has slots of it.
    fn part(&mut self, run: &Path) -> Result<()> {
        let mut parts: BTreeMap<ShardId, (PathBuf, BufWriter<File>)> = BTreeMap::new();
        let mut source = open_run(run)?;
        while let Some(row) = read_row(&mut source).map_err(|error| io_error("cannot read", run, &error))? {
            let shard = shard_of(&row.key, &self.slots);
            let (path, part) = match parts.entry(shard) {
                btree_map::Entry::Occupied(part) => part.into_mut(),
                btree_map::Entry::Vacant(place) => {
                    let path = self.directory.join(format!("{shard}-{}.run", self.runs));
                    self.runs += 1;
                    let file = File::create(&path).map_err(|error| io_error("cannot make", &path, &error))?;
                    place.insert((path, BufWriter::with_capacity(RUN_BUFFER_BYTES, file)))
                }
            };
            let written = write_row(part, row.ordinal, &row.key, &row.row);
            written.map_err(|error| io_error("cannot write", path, &error))?;
        }
        for (shard, (path, mut part)) in parts {
            part.flush().map_err(|error| io_error("cannot write", &path, &error))?;
            self.buffers.entry(shard).or_default().runs.push(path);
        }
        std::fs::remove_file(run).map_err(|error| io_error("cannot remove", run, &error))
    }
}

/// Does the work for each of them, on as many threads as there are processors.
fn in_parallel<T: Send>(all: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let left = Mutex::new(all);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let worker = || -> Result<()> {
        loop {
            let Some(next) = left.lock().pop() else { return Ok(()) };
            work(next)?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut outcome = worker();
        for thread in threads {
            let done = thread.join().unwrap_or_else(|_| Err(Error::internal("a loading thread panicked")));
            outcome = outcome.and(done);
        }
        outcome
    })
}

/// Calls `visit` with key, row and ordinal of all rows of a shard, in order of key.
fn each_row(buffer: &mut Buffer, mut visit: impl FnMut(&[u8], &[u8], u64) -> Result<()>) -> Result<()> {
    if buffer.runs.is_empty() {
        return buffer
            .sorted()
            .try_for_each(|(bucket, entry)| visit(bucket.key(entry), bucket.row(entry), entry.ordinal));
    }
    let mut merged = Merge::new(buffer)?;
    while let Some(row) = merged.next()? {
        visit(&row.key, &row.row, row.ordinal)?;
    }
    Ok(())
}

/// Whether it is known without reading that a table has no rows.
fn is_empty(table: &TableHandle, view: &ReadView) -> bool {
    view.exact_count(table.schema.id).is_some_and(|(rows, _)| rows == 0)
}

/// Whether the keys of a load are there already, in it or in its table.
struct KeyCheck<'l> {
    table: &'l TableHandle,
    view: &'l ReadView,
    /// Whether the table has rows that keys must be compared with.
    check_existing: bool,
    origin: &'l Origin<'l>,
}

impl<'l> KeyCheck<'l> {
    /// `view` sees the rows that the keys must not meet, if there are any.
    fn new(table: &'l TableHandle, view: &'l ReadView, is_empty: bool, origin: &'l Origin<'l>) -> Self {
        Self { table, view, check_existing: !is_empty && !table.schema.has_hidden_key(), origin }
    }

    /// `duplicate` is the ordinal of an earlier row with this key.
    ///
    /// # Errors
    /// 23505.
    fn key(&self, key: &[u8], ordinal: u64, duplicate: Option<u64>) -> Result<()> {
        let Self { table, origin, .. } = self;
        let described = || evenkeel_storage::codec::key::describe(&table.key_types(), key);
        let place = |ordinal: u64| origin(ordinal).map_or_else(String::new, |place| format!("{place}: "));
        let columns = || table.schema.names(&table.schema.primary_key).join(", ");
        if let Some(first) = duplicate {
            let earlier = origin(first).map_or_else(String::new, |place| format!(", first in {place}"));
            return Err(self.duplicate().with_detail(format!(
                "{}the key ({}) = {} is there twice{earlier}",
                place(ordinal),
                columns(),
                described()
            )));
        }
        if self.check_existing && self.view.get(table.schema.id, key, |_| ())?.is_some() {
            let detail = format!("{}the key ({}) = {} exists already", place(ordinal), columns(), described());
            return Err(self.duplicate().with_detail(detail));
        }
        Ok(())
    }

    fn duplicate(&self) -> Error {
        duplicate_key(&self.table.schema.name).with_hint(
            "nothing was loaded; load into a table without a primary key, then INSERT … QUERY … ON CONFLICT DO NOTHING",
        )
    }
}

impl Drop for BulkLoad {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// 23505 for a table.
pub(crate) fn duplicate_key(table: &str) -> Error {
    Error::new(SqlState::UniqueViolation, format!("duplicate key: \"{table}\" has a row with this primary key"))
        .with_hint("ON CONFLICT DO NOTHING skips such rows, UPSERT replaces them")
}
