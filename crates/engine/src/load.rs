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

use crate::database::{Database, Load, StoredLoad, apply_error, io_error};
use crate::meta::{MetaChange, MetaStore};
use crate::session::Cancel;
use crate::table::{RowEncoder, TableHandle, shard_of};
use crate::view::ReadView;
use arrow::record_batch::RecordBatch;
use evenkeel_model::{Error, Result, ShardId, SlotMap, SqlState, Timestamp, Token};
use evenkeel_storage::{Command, Durability, SortedRows};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, btree_map};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The buckets of a shard's buffer are told by this many bits of the token.
const BUCKET_BITS: u32 = 8;

const CACHE_LINE_BYTES: usize = 64;

/// What is read ahead of each sorted run.
const RUN_BUFFER_BYTES: usize = 256 << 10;

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
    runs: usize,
    cancel: Arc<Cancel>,
}

/// The rows of one shard: in buckets by the first bits of their token, each small enough to be sorted and written while
/// it is in the processor's cache.
struct Buffer {
    buckets: Vec<Bucket>,
    runs: Vec<PathBuf>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { buckets: (0..1 << BUCKET_BITS).map(|_| Bucket::default()).collect(), runs: Vec::new() }
    }
}

impl Buffer {
    /// The rows that are in memory, in order of key.
    fn sorted(&mut self) -> impl Iterator<Item = (&Bucket, &Entry)> {
        self.buckets.iter_mut().flat_map(|bucket| {
            bucket.sort();
            let bucket = &*bucket;
            bucket.entries.iter().map(move |entry| (bucket, entry))
        })
    }

    fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.entries.is_empty())
    }
}

/// Rows with neighbouring tokens, in pieces: what is there is never copied to make room for more.
#[derive(Default)]
struct Bucket {
    pieces: Vec<Vec<u8>>,
    entries: Vec<Entry>,
}

/// A row in a buffer: where its key and its row are, and which row of the input it was.
#[derive(Clone, Copy)]
struct Entry {
    /// The token: most comparisons need no look at the bytes.
    token: u64,
    piece: u32,
    start: u32,
    key_len: u32,
    row_len: u32,
    ordinal: u64,
}

/// The first piece of a bucket and the largest; each is twice as long as the one before.
const PIECE_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=64 << 10;

impl Bucket {
    fn key(&self, entry: &Entry) -> &[u8] {
        key_in(&self.pieces, entry)
    }

    fn row(&self, entry: &Entry) -> &[u8] {
        let start = entry.start as usize + entry.key_len as usize;
        &self.pieces[entry.piece as usize][start..start + entry.row_len as usize]
    }

    /// A piece, and its number, that a row fits in unless it is much longer than the last one.
    fn piece(&mut self) -> (&mut Vec<u8>, u32) {
        let expected = self.entries.last().map_or(0, |last| 2 * (last.key_len + last.row_len) as usize);
        let last = self.pieces.last().map(|piece| (piece.len(), piece.capacity()));
        if last.is_none_or(|(len, capacity)| len + expected > capacity.min(*PIECE_BYTES.end())) {
            let next = last.map_or(*PIECE_BYTES.start(), |(_, capacity)| (2 * capacity).min(*PIECE_BYTES.end()));
            self.pieces.push(Vec::with_capacity(next.max(expected)));
        }
        let number = self.pieces.len() - 1;
        (&mut self.pieces[number], number as u32)
    }

    /// Adds a row, which `row` appends to what it is given; returns how long it is with its key.
    fn add(
        &mut self,
        token: Token,
        ordinal: u64,
        key: &[u8],
        row: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<usize> {
        let (bytes, piece) = self.piece();
        let start = bytes.len();
        bytes.extend_from_slice(key);
        row(bytes)?;
        let length = bytes.len() - start;
        let (key_len, row_len) = (key.len() as u32, (length - key.len()) as u32);
        self.entries.push(Entry { token: token.0, piece, start: start as u32, key_len, row_len, ordinal });
        Ok(length)
    }

    /// Brings the rows into order. They are read in any order from here on: reading them once in the order in which they
    /// lie brings them into the processor's cache at the speed of its memory, and not row by row.
    fn sort(&mut self) {
        let pieces = &self.pieces;
        let lines = pieces.iter().flat_map(|piece| piece.iter().step_by(CACHE_LINE_BYTES));
        std::hint::black_box(lines.fold(0, |all, byte| all ^ byte));
        self.entries.sort_unstable_by(|a, b| {
            let keys = || key_in(pieces, a).cmp(key_in(pieces, b));
            a.token.cmp(&b.token).then_with(keys).then_with(|| a.ordinal.cmp(&b.ordinal))
        });
    }
}

fn key_in<'p>(pieces: &'p [Vec<u8>], entry: &Entry) -> &'p [u8] {
    let start = entry.start as usize;
    &pieces[entry.piece as usize][start..start + entry.key_len as usize]
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
            runs: 0,
            cancel,
        })
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
            self.buffered += length + size_of::<Entry>();
        }
        if self.buffered > self.budget { self.spill() } else { Ok(()) }
    }

    /// Writes what is buffered as sorted runs.
    fn spill(&mut self) -> Result<()> {
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

    /// Makes the rows visible, durably. Returns how many they are. Blocks while slots change hands.
    ///
    /// # Errors
    /// 23505 for a key that is there twice, or what the disk says: then nothing of the load remains.
    pub(crate) fn finish(mut self, origin: &Origin<'_>) -> Result<u64> {
        if self.rows == 0 {
            return Ok(0);
        }
        let _pass = self.database.topology.begin_load();
        // The caller holds the table alone: this sees all there is, and nothing comes to it.
        let view = ReadView::latest(&self.database, self.lock_timeout);
        self.follow(&view.layout.slots)?;
        let empty = view.exact_count(self.table.schema.id).is_some_and(|(rows, _)| rows == 0);
        let check_existing = !empty && !self.table.schema.has_hidden_key();
        let buffers = std::mem::take(&mut self.buffers);
        let load = self.register()?;
        let ingestion = Ingestion { to: &self, view, check_existing, load, origin };
        if let Err(error) = ingestion.of(buffers) {
            self.withdraw(&ingestion.view, load);
            return Err(error);
        }
        // From here on a failure leaves the rows hidden: the commit record may stand all the same.
        self.publish(&ingestion.view, load).map_err(|error| {
            let message = format!("it is not known whether the load has committed: {}", error.message);
            Error { message, ..error }
                .with_hint("open the database again: the load will then be there as a whole or not at all")
        })?;
        Ok(self.rows)
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

    /// Takes the load's timestamp; readers above it skip its rows from here on.
    fn register(&self) -> Result<Timestamp> {
        let mut loads = self.database.loads.write();
        let load = self.database.oracle.next()?;
        loads.push(Load { table: self.table.schema.id, load, commit: None, counted: false });
        Ok(load)
    }

    /// The commit point: from here on readers see the rows.
    fn publish(&self, view: &ReadView, load: Timestamp) -> Result<()> {
        let table = self.table.schema.id;
        let commit = {
            let mut loads = self.database.loads.write();
            let commit = self.database.oracle.next()?;
            let mut change = MetaChange::default();
            change.put(&format!("load/{}", load.0), &StoredLoad { table, commit })?;
            self.database.meta.commit(change)?;
            loads.iter_mut().filter(|l| l.load == load).for_each(|l| l.commit = Some(commit));
            commit
        };
        for shard in view.layout.shards.values() {
            let counted = shard.apply(&Command::FinishLoad { load }, Durability::Synced);
            shard.note_load(table, commit);
            // The rows are committed; counters that could not be written are made good at the next start.
            if let Err(error) = counted {
                self.database.registry.report_background(&apply_error(error));
            }
        }
        self.database.loads.write().iter_mut().filter(|l| l.load == load).for_each(|l| l.counted = true);
        Ok(())
    }

    fn withdraw(&self, view: &ReadView, load: Timestamp) {
        let mut clean = true;
        for shard in view.layout.shards.values() {
            if let Err(error) = shard.apply(&Command::AbortLoad { load }, Durability::Synced) {
                clean = false;
                self.database.registry.report_background(&apply_error(error));
            }
        }
        // Rows that could not be taken back stay hidden, and the next start takes them back.
        if clean {
            self.database.loads.write().retain(|other| other.load != load);
        }
    }
}

/// What was gathered, on its way into the shards.
struct Ingestion<'l> {
    to: &'l BulkLoad,
    /// All there is in the table.
    view: ReadView,
    /// Whether the table has rows that keys must be compared with.
    check_existing: bool,
    load: Timestamp,
    origin: &'l Origin<'l>,
}

impl Ingestion<'_> {
    /// Writes and takes in what was gathered, shard by shard, on as many threads as there are processors.
    fn of(&self, buffers: BTreeMap<ShardId, Buffer>) -> Result<()> {
        let work = Mutex::new(buffers.into_iter().collect::<Vec<_>>());
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let worker = || -> Result<()> {
            loop {
                let Some((shard, buffer)) = work.lock().pop() else { return Ok(()) };
                self.shard(shard, buffer)?;
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

    fn shard(&self, id: ShardId, mut buffer: Buffer) -> Result<()> {
        let (shard, load, table) = (self.view.layout.shard(id)?, self.load, self.to.table.schema.id);
        let mut files = SortedRows::new(shard, &self.to.database.store, &self.to.directory, load);
        if buffer.runs.is_empty() {
            let mut last: Option<(&[u8], u64)> = None;
            let rows = buffer.sorted().map(|(bucket, entry)| {
                let key = bucket.key(entry);
                let duplicate = last.filter(|(last, _)| *last == key).map(|(_, ordinal)| ordinal);
                last = Some((key, entry.ordinal));
                self.check_key(key, entry.ordinal, duplicate)?;
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
            self.check_key(&row.key, row.ordinal, duplicate)?;
            self.to.cancel.check()?;
            last = Some((row.key.clone(), row.ordinal));
            Ok(Some((row.key, row.row)))
        };
        files.write(std::iter::from_fn(|| next().transpose()))
    }

    fn check_key(&self, key: &[u8], ordinal: u64, duplicate: Option<u64>) -> Result<()> {
        let (table, origin) = (&self.to.table, self.origin);
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
        duplicate_key(&self.to.table.schema.name).with_hint(
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

fn write_run(buffer: &mut Buffer, path: &std::path::Path) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for (bucket, entry) in buffer.sorted() {
        write_row(&mut file, entry.ordinal, bucket.key(entry), bucket.row(entry))?;
    }
    file.flush()
}

/// length of the key (4) · of the row (4) · ordinal (8) · key · row
fn write_row(file: &mut impl Write, ordinal: u64, key: &[u8], row: &[u8]) -> std::io::Result<()> {
    file.write_all(&(key.len() as u32).to_le_bytes())?;
    file.write_all(&(row.len() as u32).to_le_bytes())?;
    file.write_all(&ordinal.to_le_bytes())?;
    file.write_all(key)?;
    file.write_all(row)
}

fn open_run(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).map_err(|error| io_error("cannot read", path, &error))?;
    Ok(BufReader::with_capacity(RUN_BUFFER_BYTES, file))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct MergedRow {
    key: Vec<u8>,
    ordinal: u64,
    row: Vec<u8>,
}

/// Runs and the buffer, as one ascending sequence.
struct Merge<'b> {
    runs: Vec<BufReader<File>>,
    memory: Box<dyn Iterator<Item = (&'b Bucket, &'b Entry)> + 'b>,
    heap: BinaryHeap<Reverse<(MergedRow, usize)>>,
}

impl<'b> Merge<'b> {
    fn new(buffer: &'b mut Buffer) -> Result<Self> {
        let runs = buffer.runs.iter().map(|path| open_run(path)).collect::<Result<Vec<_>>>()?;
        let mut merge = Self { runs, memory: Box::new(buffer.sorted()), heap: BinaryHeap::new() };
        for source in 0..=merge.runs.len() {
            merge.pull(source)?;
        }
        Ok(merge)
    }

    fn pull(&mut self, source: usize) -> Result<()> {
        let row = match self.runs.get_mut(source) {
            Some(run) => read_row(run)
                .map_err(|error| Error::new(SqlState::IoError, format!("cannot read a sorted run: {error}")))?,
            None => self.memory.next().map(|(bucket, entry)| {
                let (key, row) = (bucket.key(entry).to_vec(), bucket.row(entry).to_vec());
                MergedRow { key, ordinal: entry.ordinal, row }
            }),
        };
        if let Some(row) = row {
            self.heap.push(Reverse((row, source)));
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<MergedRow>> {
        let Some(Reverse((row, source))) = self.heap.pop() else { return Ok(None) };
        self.pull(source)?;
        Ok(Some(row))
    }
}

fn read_row(run: &mut BufReader<File>) -> std::io::Result<Option<MergedRow>> {
    let mut head = [0; 16];
    match run.read_exact(&mut head[..1]) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    run.read_exact(&mut head[1..])?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (key_len, row_len) = (number(0) as usize, number(4) as usize);
    let ordinal = u64::from(number(8)) | u64::from(number(12)) << 32;
    let mut row = MergedRow { key: vec![0; key_len], ordinal, row: vec![0; row_len] };
    run.read_exact(&mut row.key)?;
    run.read_exact(&mut row.row)?;
    Ok(Some(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_order_whatever_their_length() {
        let lengths = [0, 1, 3_000, 70_000, 5, 200_000, 64 << 10, 4 << 10, 17, 2_000, 100, 65_000];
        let mut bucket = Bucket::default();
        let mut wanted = Vec::new();
        for ordinal in 0..1_000 {
            let token = ordinal * 7_919 % 501;
            let key = format!("{token} {}", ordinal % 3).into_bytes();
            let row = vec![ordinal as u8; lengths[ordinal as usize % lengths.len()]];
            let added = bucket.add(Token(token), ordinal, &key, |bytes| {
                bytes.extend_from_slice(&row);
                Ok(())
            });
            assert_eq!(added.unwrap(), key.len() + row.len());
            wanted.push((token, key, ordinal, row));
        }
        wanted.sort();
        bucket.sort();
        let found = bucket.entries.iter();
        let found = found.map(|e| (e.token, bucket.key(e).to_vec(), e.ordinal, bucket.row(e).to_vec()));
        assert_eq!(found.collect::<Vec<_>>(), wanted);
        // What a start is counted in has room for it, whatever comes.
        assert!(bucket.entries.iter().all(|entry| (entry.start as usize) < *PIECE_BYTES.end()));
    }
}
