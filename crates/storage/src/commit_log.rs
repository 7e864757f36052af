//! One log in which the commits of all shards become durable together.
//!
//! A shard's own RocksDB log could be synced at every commit; then eight sessions over four shards wait for four disks'
//! worth of syncs in groups of two. Here every commit of every shard goes into one file, and one sync serves all that came
//! while the one before it ran. The file keeps its size: its blocks are there before they are written, so that a sync
//! writes the records and nothing about the file.
//!
//! ```text
//!   commit ─▶ applied to its shard, in memory ─▶ submit ─▶ │ write + sync, one group after another │ ─▶ done
//!                                                                      log/0, log/1, in turn
//!   mark    ─▶ every shard syncs its own log ─▶ "all up to record n is in the shards" ─▶ the segment may be used again
//!   restart ─▶ records after the mark are applied again, where a shard lost them
//! ```
//!
//! WHAT MAY NEVER HAPPEN: a commit whose `done` was told of success is in neither the log nor its shard's files
//! (`acked-is-durable`); a segment is used again before its records are; a record that was synced is passed over in
//! silence because the file is damaged.
//!
//! A record is `length (4) · magic (4) · number (8) · group (8) · check (8) · payload`, padded to eight bytes. Numbers
//! ascend by one within a process and jump to the next multiple of 2³² with every start, so that what a segment held
//! before is never taken for what follows. `group` is the number of the first record of the write that it came with: a
//! record that can't be read ends the log, unless a record of a later group stands behind it. Then it had been synced,
//! and the file is damaged.

use crate::command::{Mutation, Operation};
use crate::shard::Durability;
use evenkeel_model::{Error, Result, ShardId, SqlState, Timestamp};
use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Large enough that marks are rare, small enough that a restart reads both segments in no time.
const SEGMENT_BYTES: u64 = 16 << 20;
const SEGMENTS: usize = 2;
/// Larger commits go to their shard's own log: copying them twice costs more than a shared sync saves.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Records wait this long for a mark, or until they fill half a segment.
const MARK_AFTER: Duration = Duration::from_secs(1);
const MARK_BYTES: u64 = SEGMENT_BYTES / 2;

const MAGIC: u32 = 0x4B4C_5645;
const HEADER: usize = 32;

/// The number of a record.
pub type RecordNumber = u64;

/// What is told when a commit is durable, or why it is not.
pub type Done = Box<dyn FnOnce(Result<()>) + Send>;

/// A commit to one shard, as the log keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedCommit {
    pub shard: ShardId,
    pub commit: Timestamp,
    pub mutations: Vec<Mutation>,
}

impl LoggedCommit {
    /// The bytes of a record's payload.
    pub fn encode(shard: ShardId, commit: Timestamp, mutations: &[Mutation]) -> Vec<u8> {
        let size = |mutation: &Mutation| match &mutation.operation {
            Operation::Put(row) => mutation.key.len() + row.len() + 8,
            Operation::Delete => mutation.key.len() + 8,
        };
        let mut bytes = Vec::with_capacity(16 + mutations.iter().map(size).sum::<usize>());
        bytes.extend_from_slice(&shard.0.to_le_bytes());
        bytes.extend_from_slice(&commit.0.to_le_bytes());
        for Mutation { key, operation } in mutations {
            bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
            match operation {
                // A length of zero is a deletion.
                Operation::Put(row) => bytes.extend_from_slice(&(row.len() as u32 + 1).to_le_bytes()),
                Operation::Delete => bytes.extend_from_slice(&0_u32.to_le_bytes()),
            }
            bytes.extend_from_slice(key);
            if let Operation::Put(row) = operation {
                bytes.extend_from_slice(row);
            }
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (shard, rest) = bytes.split_first_chunk::<4>()?;
        let (commit, mut rest) = rest.split_first_chunk::<8>()?;
        let mut mutations = Vec::new();
        while !rest.is_empty() {
            let (key_len, tail) = rest.split_first_chunk::<4>()?;
            let (row_len, tail) = tail.split_first_chunk::<4>()?;
            let (key, tail) = tail.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
            let (operation, tail) = match u32::from_le_bytes(*row_len).checked_sub(1) {
                None => (Operation::Delete, tail),
                Some(len) => {
                    let (row, tail) = tail.split_at_checked(len as usize)?;
                    (Operation::Put(row.to_vec()), tail)
                }
            };
            mutations.push(Mutation { key: key.to_vec(), operation });
            rest = tail;
        }
        let (shard, commit) = (ShardId(u32::from_le_bytes(*shard)), Timestamp(u64::from_le_bytes(*commit)));
        Some(Self { shard, commit, mutations })
    }
}

/// The log of an open database. Dropping it writes what was submitted, and stops.
pub struct CommitLog {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for CommitLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitLog").field("next", &self.shared.queue.lock().next).finish_non_exhaustive()
    }
}

struct Shared {
    queue: Mutex<Queue>,
    /// There are records to write, or the segment to be written next is free.
    writable: Condvar,
    /// There may be something to mark.
    markable: Condvar,
}

struct Queue {
    waiting: Vec<Waiting>,
    /// What the next record is numbered.
    next: RecordNumber,
    /// Everything up to here is in the shards' own files.
    marked: RecordNumber,
    /// Bytes since the last mark, and when the first of them came.
    unmarked: Option<(u64, Instant)>,
    /// The lowest commit timestamps since the last mark, and of what the mark under way is about.
    oldest: [Timestamp; 2],
    /// Why nothing can be written any more.
    broken: Option<Error>,
    stop: bool,
}

struct Waiting {
    number: RecordNumber,
    payload: Vec<u8>,
    durability: Durability,
    done: Done,
}

impl CommitLog {
    /// Goes on behind the record `last`; everything up to it is in the shards. The files are made at the first commit.
    ///
    /// `mark` puts what was applied to the shards on disk and keeps the number that it is given, to be handed to
    /// [`read`] at the next start. It is called on a thread of its own.
    pub fn start(
        directory: &Path,
        last: RecordNumber,
        mark: impl Fn(RecordNumber) -> Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let next = ((last >> 32) + 1) << 32;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                waiting: Vec::new(),
                next,
                marked: next - 1,
                unmarked: None,
                oldest: [Timestamp::MAX; 2],
                broken: None,
                stop: false,
            }),
            writable: Condvar::new(),
            markable: Condvar::new(),
        });
        let writer =
            Writer { directory: directory.to_path_buf(), segments: Vec::new(), current: 0, buffer: Vec::new() };
        let (writing, marking) = (Arc::clone(&shared), Arc::clone(&shared));
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_string());
        let threads = vec![
            spawn("commit-log").spawn(move || writer.run(&writing))?,
            spawn("commit-log-mark").spawn(move || marking.run_marks(&mark))?,
        ];
        Ok(Self { shared, threads })
    }

    /// Takes in a commit that its shard has applied; `done` is called on the log's thread once it is as durable as asked.
    /// After a failure of the log's disk `done` is called with it, and the commit must be made durable in its shard.
    pub fn submit(&self, commit: Timestamp, payload: Vec<u8>, durability: Durability, done: Done) {
        let mut queue = self.shared.queue.lock();
        if let Some(error) = queue.broken.clone() {
            drop(queue);
            return done(Err(error));
        }
        let number = queue.next;
        queue.next += 1;
        queue.oldest[0] = queue.oldest[0].min(commit);
        queue.waiting.push(Waiting { number, payload, durability, done });
        // The writer looks again before it sleeps: only the first has to wake it.
        if queue.waiting.len() == 1 {
            self.shared.writable.notify_one();
        }
    }

    /// Waits until everything that was submitted before is on disk.
    ///
    /// # Errors
    /// When the log's disk has failed.
    pub fn sync(&self) -> Result<()> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let told = Box::new(move |outcome| drop(sender.send(outcome)));
        self.submit(Timestamp::MAX, Vec::new(), Durability::Synced, told);
        receiver.recv().unwrap_or_else(|_| Err(Error::internal("the commit log has stopped")))
    }

    /// The lowest timestamp of a commit that a restart might apply again: what it replaced or deleted must not be
    /// forgotten before it is marked.
    pub fn oldest_unmarked(&self) -> Timestamp {
        let queue = self.shared.queue.lock();
        queue.oldest[0].min(queue.oldest[1])
    }

    /// The number of the last record that was submitted. Its commit, and all before, are applied.
    pub fn last(&self) -> RecordNumber {
        self.shared.queue.lock().next - 1
    }
}

impl Drop for CommitLog {
    fn drop(&mut self) {
        self.shared.queue.lock().stop = true;
        self.shared.writable.notify_all();
        self.shared.markable.notify_all();
        for thread in self.threads.drain(..) {
            // The marking thread may be the one that lets go of the database last.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn run_marks(&self, mark: &dyn Fn(RecordNumber) -> Result<()>) {
        loop {
            let last = {
                let mut queue = self.queue.lock();
                loop {
                    if queue.stop {
                        return;
                    }
                    match queue.unmarked {
                        None => self.markable.wait(&mut queue),
                        Some((bytes, since)) if bytes < MARK_BYTES && since.elapsed() < MARK_AFTER => {
                            self.markable.wait_until(&mut queue, since + MARK_AFTER);
                        }
                        Some(_) => break,
                    }
                }
                queue.unmarked = None;
                queue.oldest = [Timestamp::MAX, queue.oldest[0].min(queue.oldest[1])];
                queue.next - 1
            };
            let outcome = mark(last);
            let mut queue = self.queue.lock();
            match outcome {
                Ok(()) => {
                    queue.marked = last;
                    queue.oldest[1] = Timestamp::MAX;
                    self.writable.notify_all();
                }
                Err(_) => {
                    // Tried again after a while; commits go on as long as there is room in the log.
                    queue.unmarked.get_or_insert((0, Instant::now()));
                }
            }
        }
    }
}

/// A file of fixed size.
struct Segment {
    file: File,
    position: u64,
    /// The last record in it.
    last: RecordNumber,
}

impl Segment {
    fn open(directory: &Path, at: usize) -> io::Result<Self> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path(directory, at))?;
        if file.metadata()?.len() < SEGMENT_BYTES {
            let reserved = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SEGMENT_BYTES);
            match reserved.map_err(io::Error::from) {
                // Not every file system can reserve blocks; then a full disk is noticed at a write.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => file.set_len(SEGMENT_BYTES)?,
                outcome => outcome?,
            }
            file.sync_all()?;
            File::open(directory)?.sync_all()?;
        }
        Ok(Self { file, position: 0, last: 0 })
    }
}

fn path(directory: &Path, at: usize) -> PathBuf {
    directory.join(at.to_string())
}

struct Writer {
    directory: PathBuf,
    segments: Vec<Segment>,
    current: usize,
    buffer: Vec<u8>,
}

impl Writer {
    fn run(mut self, shared: &Shared) {
        loop {
            let (group, broken) = {
                let mut queue = shared.queue.lock();
                while queue.waiting.is_empty() && !queue.stop {
                    shared.writable.wait(&mut queue);
                }
                (std::mem::take(&mut queue.waiting), queue.broken.clone())
            };
            if group.is_empty() {
                return;
            }
            let outcome = broken.map_or_else(|| self.write(&group, shared), Err);
            if let Err(error) = &outcome {
                shared.queue.lock().broken.get_or_insert_with(|| error.clone());
            }
            group.into_iter().for_each(|waiting| (waiting.done)(outcome.clone()));
        }
    }

    fn write(&mut self, group: &[Waiting], shared: &Shared) -> Result<()> {
        self.try_write(group, shared).map_err(|error| {
            let state = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SqlState::DiskFull,
                _ => SqlState::IoError,
            };
            Error::new(state, format!("the commit log cannot be written: {error}"))
                .with_detail(self.directory.display().to_string())
        })
    }

    fn try_write(&mut self, group: &[Waiting], shared: &Shared) -> io::Result<()> {
        if self.segments.is_empty() {
            std::fs::create_dir_all(&self.directory)?;
            self.segments = (0..SEGMENTS).map(|at| Segment::open(&self.directory, at)).collect::<io::Result<_>>()?;
        }
        let Some(mut first) = group.first().map(|waiting| waiting.number) else { return Ok(()) };
        let mut bytes = 0;
        for waiting in group {
            let size = record_bytes(waiting.payload.len());
            bytes += size as u64;
            if self.segments[self.current].position + (self.buffer.len() + size) as u64 > SEGMENT_BYTES {
                self.flush(waiting.number - 1)?;
                self.segments[self.current].file.sync_data()?;
                self.rotate(shared)?;
                first = waiting.number;
            }
            append(&mut self.buffer, waiting.number, first, &waiting.payload);
        }
        let last = group.last().map_or(first, |waiting| waiting.number);
        self.flush(last)?;
        if group.iter().any(|waiting| waiting.durability == Durability::Synced) {
            self.segments[self.current].file.sync_data()?;
        }
        shared.note_bytes(bytes);
        Ok(())
    }

    fn flush(&mut self, last: RecordNumber) -> io::Result<()> {
        let segment = &mut self.segments[self.current];
        segment.file.write_all_at(&self.buffer, segment.position)?;
        segment.position += self.buffer.len() as u64;
        segment.last = last;
        self.buffer.clear();
        Ok(())
    }

    /// Goes to the other segment, once nothing in it is needed any more.
    fn rotate(&mut self, shared: &Shared) -> io::Result<()> {
        self.current = (self.current + 1) % SEGMENTS;
        let segment = &mut self.segments[self.current];
        let mut queue = shared.queue.lock();
        while queue.marked < segment.last {
            if queue.stop {
                return Err(io::Error::other("the database is closing"));
            }
            // A mark that failed is tried again a second later.
            queue.unmarked = Some((SEGMENT_BYTES, Instant::now()));
            shared.markable.notify_one();
            shared.writable.wait_for(&mut queue, MARK_AFTER);
        }
        segment.position = 0;
        Ok(())
    }
}

impl Shared {
    fn note_bytes(&self, bytes: u64) {
        let mut queue = self.queue.lock();
        let before = queue.unmarked.map_or(0, |(bytes, _)| bytes);
        queue.unmarked.get_or_insert((0, Instant::now())).0 += bytes;
        if before == 0 || before + bytes >= MARK_BYTES {
            self.markable.notify_one();
        }
    }
}

fn record_bytes(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(8)
}

fn append(buffer: &mut Vec<u8>, number: RecordNumber, group: RecordNumber, payload: &[u8]) {
    let end = buffer.len() + record_bytes(payload.len());
    buffer.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&MAGIC.to_le_bytes());
    buffer.extend_from_slice(&number.to_le_bytes());
    buffer.extend_from_slice(&group.to_le_bytes());
    buffer.extend_from_slice(&check(number, group, payload).to_le_bytes());
    buffer.extend_from_slice(payload);
    buffer.resize(end, 0);
}

fn check(number: RecordNumber, group: RecordNumber, payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, number ^ group.rotate_left(32))
}

/// A record as it stands in a segment.
struct Record<'a> {
    number: RecordNumber,
    group: RecordNumber,
    payload: &'a [u8],
}

/// The record that starts at an offset, if a whole one does.
fn record_at(bytes: &[u8], at: usize) -> Option<Record<'_>> {
    let word =
        |from: usize| bytes.get(at + from..at + from + 8)?.first_chunk::<8>().map(|word| u64::from_le_bytes(*word));
    let first = word(0)?;
    if (first >> 32) as u32 != MAGIC {
        return None;
    }
    let len = (first & u64::from(u32::MAX)) as usize;
    let (number, group, sum) = (word(8)?, word(16)?, word(24)?);
    let payload = bytes.get(at + HEADER..at + HEADER + len)?;
    (check(number, group, payload) == sum).then_some(Record { number, group, payload })
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(SqlState::DataCorrupted, "the commit log is damaged")
        .with_detail(format!("{}: {what}", path.display()))
        .with_hint("restore the directory from a backup; nothing was changed")
}

/// Reads the commits behind the record `marked`, in order, and the number of the last record.
///
/// # Errors
/// XX001 for a log whose synced part can't be read.
pub fn read(directory: &Path, marked: RecordNumber) -> Result<(Vec<LoggedCommit>, RecordNumber)> {
    let mut chains = Vec::new();
    let mut unreadable = Vec::new();
    for at in 0..SEGMENTS {
        let path = path(directory, at);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(Error::new(SqlState::IoError, format!("cannot read {}: {error}", path.display())));
            }
        };
        match chain(&path, &bytes)? {
            Some(records) => chains.push(records),
            None => unreadable.push((path, bytes)),
        }
    }
    chains.sort_by_key(|records| records.first().map(|(number, _)| *number));
    let mut last = marked;
    let mut commits = Vec::new();
    for (number, payload) in chains.into_iter().flatten().filter(|(number, _)| *number > marked) {
        // Within a process numbers ascend by one; a start begins anew, and nothing before it is left to be marked.
        let follows = if number >> 32 == last >> 32 { number == last + 1 } else { is_first(number) };
        if !follows {
            return Err(damaged(directory, &format!("record {} is missing", last + 1)));
        }
        last = number;
        if !payload.is_empty() {
            let commit = LoggedCommit::decode(&payload);
            commits.push(commit.ok_or_else(|| damaged(directory, &format!("record {number} makes no sense")))?);
        }
    }
    for (path, bytes) in unreadable {
        // Whatever it held before is marked; its first write may have been torn.
        if let Some(number) = later_group(&bytes, 8, last + 1).filter(|group| !is_first(*group)) {
            return Err(damaged(&path, &format!("the records before {number} cannot be read")));
        }
    }
    Ok((commits, last))
}

/// Whether a record is the first of a process.
fn is_first(number: RecordNumber) -> bool {
    number & u64::from(u32::MAX) == 0
}

/// Records with their numbers, in order.
type Records = Vec<(RecordNumber, Vec<u8>)>;

/// The records of a segment up to the first that isn't there; `None` where not even the first is.
fn chain(path: &Path, bytes: &[u8]) -> Result<Option<Records>> {
    let Some(first) = record_at(bytes, 0) else { return Ok(None) };
    let (mut at, mut expected, mut records) = (0, first.number, Vec::new());
    while let Some(record) = record_at(bytes, at).filter(|record| record.number == expected) {
        records.push((record.number, record.payload.to_vec()));
        at += record_bytes(record.payload.len());
        expected += 1;
    }
    if let Some(group) = later_group(bytes, at + 8, expected) {
        return Err(damaged(path, &format!("the records before {group} cannot be read")));
    }
    Ok(Some(records))
}

/// The group of a record behind an unreadable one, `expected`, that was written after that had been synced.
fn later_group(bytes: &[u8], from: usize, expected: RecordNumber) -> Option<RecordNumber> {
    (from..bytes.len())
        .step_by(8)
        .filter(|at| bytes.get(at + 4..at + 8) == Some(&MAGIC.to_le_bytes()[..]))
        .filter_map(|at| record_at(bytes, at))
        .map(|record| record.group)
        .find(|group| *group > expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    fn commit(number: u64, bytes: usize) -> LoggedCommit {
        let mutations = vec![
            Mutation { key: number.to_be_bytes().to_vec(), operation: Operation::Put(vec![7; bytes]) },
            Mutation { key: vec![1], operation: Operation::Delete },
        ];
        LoggedCommit { shard: ShardId(3), commit: Timestamp(number), mutations }
    }

    /// Writes commits one group each, as their numbers say; returns the last record's number.
    fn write(log: &CommitLog, numbers: std::ops::Range<u64>, bytes: usize) -> RecordNumber {
        for number in numbers {
            let LoggedCommit { shard, commit, mutations } = commit(number, bytes);
            let (sender, receiver) = mpsc::channel();
            let done = Box::new(move |outcome| drop(sender.send(outcome)));
            log.submit(commit, LoggedCommit::encode(shard, commit, &mutations), Durability::Synced, done);
            receiver.recv().unwrap().unwrap();
        }
        log.last()
    }

    fn never(_: RecordNumber) -> Result<()> {
        Err(Error::internal("not now"))
    }

    fn log(directory: &Path) -> CommitLog {
        CommitLog::start(directory, 0, never).unwrap()
    }

    #[test]
    fn what_was_written_is_read_behind_the_mark() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path());
        let last = write(&log, 0..10, 100);
        drop(log);
        let (commits, read_last) = read(directory.path(), 0).unwrap();
        assert_eq!(commits, (0..10).map(|number| commit(number, 100)).collect::<Vec<_>>());
        assert_eq!(read_last, last);
        assert_eq!(read(directory.path(), last - 2).unwrap().0, [commit(8, 100), commit(9, 100)]);
        assert_eq!(read(directory.path(), last).unwrap(), (vec![], last));
    }

    #[test]
    fn segments_are_used_again_once_they_are_marked() {
        let directory = tempfile::tempdir().unwrap();
        let marked = Arc::new(AtomicU64::new(0));
        let noted = Arc::clone(&marked);
        let mark = move |last| {
            noted.store(last, Ordering::SeqCst);
            Ok(())
        };
        let log = CommitLog::start(directory.path(), 0, mark).unwrap();
        let last = write(&log, 0..100, RECORD_BYTES_MAX / 2);
        drop(log);
        let (commits, read_last) = read(directory.path(), marked.load(Ordering::SeqCst)).unwrap();
        let first = 100 - commits.len() as u64;
        assert_eq!(commits, (first..100).map(|number| commit(number, RECORD_BYTES_MAX / 2)).collect::<Vec<_>>());
        assert_eq!(read_last, last);
    }

    #[test]
    fn a_torn_end_was_never_acknowledged_and_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path());
        write(&log, 0..3, 100);
        drop(log);
        let path = path(directory.path(), 0);
        let whole = std::fs::read(&path).unwrap();
        let size = record_bytes(LoggedCommit::encode(ShardId(3), Timestamp(0), &commit(0, 100).mutations).len());
        for at in (2 * size..3 * size - 8).step_by(11) {
            let mut torn = whole.clone();
            torn[at] ^= 0xA5;
            std::fs::write(&path, torn).unwrap();
            let commits = read(directory.path(), 0).unwrap().0;
            assert_eq!(commits, [commit(0, 100), commit(1, 100)], "byte {at}");
        }
    }

    #[test]
    fn damage_before_the_end_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path());
        write(&log, 0..4, 100);
        drop(log);
        let path = path(directory.path(), 0);
        let whole = std::fs::read(&path).unwrap();
        let size = record_bytes(LoggedCommit::encode(ShardId(3), Timestamp(0), &commit(0, 100).mutations).len());
        for at in (0..3 * size).step_by(17) {
            let mut changed = whole.clone();
            changed[at] ^= 0xA5;
            std::fs::write(&path, changed).unwrap();
            match read(directory.path(), 0) {
                Err(error) => assert_eq!(error.state, SqlState::DataCorrupted, "byte {at}"),
                // Only what pads a record may change.
                Ok((commits, _)) => assert_eq!(commits.len(), 4, "byte {at} was passed over"),
            }
        }
    }

    #[test]
    fn what_an_earlier_process_wrote_is_not_taken_for_what_follows() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path());
        let first = write(&log, 0..5, 100);
        drop(log);
        let log = CommitLog::start(directory.path(), first, never).unwrap();
        let second = write(&log, 10..12, 100);
        drop(log);
        let (commits, last) = read(directory.path(), first).unwrap();
        assert_eq!((commits, last), (vec![commit(10, 100), commit(11, 100)], second));
    }

    #[test]
    fn a_log_that_cannot_be_written_says_so_to_everybody() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("in-the-way");
        std::fs::write(&file, "").unwrap();
        let log = log(&file);
        for _ in 0..2 {
            assert_eq!(log.sync().unwrap_err().state, SqlState::IoError);
        }
    }
}
