//! One log in which the commits of all shards become durable together.
//!
//! A shard's own RocksDB log could be synced at every commit; then eight sessions over four shards wait for four disks'
//! worth of syncs in groups of two. Here every commit of every shard goes into one file, and one sync serves all that came
//! while the one before it ran. The file keeps its size: its blocks are there before they are written, so that a sync
//! writes the records and nothing about the file.
//!
//! ```text
//!   one shard:      apply, in memory ─▶ submit ─▶ │ write + sync, one group │ ─▶ done
//!   several shards:               submit_first ─▶ │ after another           │ ─▶ apply to each, in memory ─▶ done
//!                                                    log/0, log/1, in turn
//!   mark    ─▶ every shard syncs its own log ─▶ "all up to record n is in the shards" ─▶ the segment may be used again
//!   restart ─▶ records after the mark are applied again, where a shard lost them
//! ```
//!
//! A commit to one shard is one batch there: it is whole wherever it is. One to several shards is whole in the log alone, so
//! the log has it before any of them does: whatever a crash leaves of its parts, the record brings the others.
//!
//! WHAT MAY NEVER HAPPEN: a commit whose `done` was told of success is in neither the log nor its shards' files
//! (`acked-is-durable`); a shard has a part of a commit whose record is lost while another shard has not
//! (`snapshot-isolation`); a segment is used again before its records are in the shards; a record that was synced is
//! passed over in silence because the file is damaged.
//!
//! A record is `length (4) · magic (4) · number (8) · group (8) · check (8) · payload`, padded to eight bytes. Numbers
//! ascend by one within a process and jump to the next multiple of 2³² with every start, so that what a segment held
//! before is never taken for what follows. `group` is the number of the first record since the last sync: a record that
//! can't be read ends the log, unless a record of a later group stands behind it. Then it had been synced, and the file is
//! damaged.

mod record;

pub use record::{LoggedCommit, Part, read};

use crate::shard::Durability;
use evenkeel_model::{Error, Result, SqlState, Timestamp};
use parking_lot::{Condvar, Mutex};
use record::{append, record_bytes};
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Large enough that marks are rare, small enough that a restart reads both segments in no time.
const SEGMENT_BYTES: u64 = 16 << 20;
const SEGMENTS: usize = 2;
/// Larger commits go to their shard's own log: copying them twice costs more than a shared sync saves.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Records wait this long for a mark, or until they fill half a segment.
const MARK_AFTER: Duration = Duration::from_secs(1);
const MARK_BYTES: u64 = SEGMENT_BYTES / 2;
/// So long a full log waits for marks that fail. Then it counts as broken, and commits go to their shards' own logs.
const UNABLE_MAX: Duration = Duration::from_secs(10);

/// What is written at once. One write goes on to another segment at most once, so that it never waits for a mark of what it
/// has written itself.
const GROUP_BYTES_MAX: usize = SEGMENT_BYTES as usize / 4;

/// The number of a record.
pub type RecordNumber = u64;

/// What is told when a commit is durable, or why it is not.
pub type Done = Box<dyn FnOnce(Result<()>) + Send>;

/// A commit that goes into its shards once the log has it. The log calls it on its own threads.
pub trait Unapplied: Send {
    /// The record is durable: puts the commit into its shards. After an error it is called again before the next mark, and
    /// marks wait for it; what a shard has already must not be applied twice.
    ///
    /// # Errors
    /// What a shard's disk says.
    fn apply(&mut self) -> Result<()>;

    /// The record could not be written: it may be in the log or not.
    fn not_logged(self: Box<Self>, why: Error);
}

/// What follows once a record is durable.
enum Then {
    Tell(Done),
    Apply(Box<dyn Unapplied>),
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
    /// The commit timestamps of the records behind `marked`.
    unmarked_commits: VecDeque<(RecordNumber, Timestamp)>,
    /// Records that came before their commit was applied, until it is.
    unapplied: BTreeSet<RecordNumber>,
    /// Of these, what a shard could not take.
    stuck: Vec<(RecordNumber, Box<dyn Unapplied>)>,
    /// Since when marks have failed, or have left out what a shard could not take.
    unable_since: Option<Instant>,
    /// Why nothing can be written any more.
    broken: Option<Error>,
    stop: bool,
}

struct Waiting {
    number: RecordNumber,
    payload: Vec<u8>,
    durability: Durability,
    then: Then,
}

impl Queue {
    /// The last record up to which every commit is applied.
    fn applied(&self) -> RecordNumber {
        self.unapplied.first().copied().unwrap_or(self.next) - 1
    }

    fn push(&mut self, commit: Timestamp, payload: Vec<u8>, durability: Durability, then: Then) {
        let number = self.next;
        self.next += 1;
        self.unmarked_commits.push_back((number, commit));
        if let Then::Apply(_) = then {
            self.unapplied.insert(number);
        }
        self.waiting.push(Waiting { number, payload, durability, then });
    }

    fn note_marked(&mut self, last: RecordNumber) {
        self.marked = last;
        while self.unmarked_commits.front().is_some_and(|(number, _)| *number <= last) {
            self.unmarked_commits.pop_front();
        }
    }

    /// What is written next: as much as goes into one group.
    fn take_group(&mut self) -> Vec<Waiting> {
        let mut bytes = 0;
        let more = self.waiting.iter().skip(1).take_while(|waiting| {
            bytes += record_bytes(waiting.payload.len());
            bytes < GROUP_BYTES_MAX
        });
        let size = (1 + more.count()).min(self.waiting.len());
        if size == self.waiting.len() {
            std::mem::take(&mut self.waiting)
        } else {
            self.waiting.drain(..size).collect()
        }
    }
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
                unmarked_commits: VecDeque::new(),
                unapplied: BTreeSet::new(),
                stuck: Vec::new(),
                unable_since: None,
                broken: None,
                stop: false,
            }),
            writable: Condvar::new(),
            markable: Condvar::new(),
        });
        let writer = Writer {
            directory: directory.to_path_buf(),
            segments: Vec::new(),
            current: 0,
            buffer: Vec::new(),
            unsynced: None,
        };
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
        if let Some((error, Then::Tell(done))) = self.push(commit, payload, durability, Then::Tell(done)) {
            done(Err(error));
        }
    }

    /// Takes in a commit that no shard has; once the record is on disk it is applied, on the log's thread.
    pub fn submit_first(&self, commit: Timestamp, payload: Vec<u8>, unapplied: Box<dyn Unapplied>) {
        if let Some((error, Then::Apply(unapplied))) =
            self.push(commit, payload, Durability::Synced, Then::Apply(unapplied))
        {
            unapplied.not_logged(error);
        }
    }

    /// Whether a record can't be written any more, as far as is known.
    pub fn is_broken(&self) -> bool {
        self.shared.queue.lock().broken.is_some()
    }

    /// Gives back what is not taken in, and why.
    fn push(&self, commit: Timestamp, payload: Vec<u8>, durability: Durability, then: Then) -> Option<(Error, Then)> {
        let mut queue = self.shared.queue.lock();
        if let Some(error) = queue.broken.clone() {
            return Some((error, then));
        }
        queue.push(commit, payload, durability, then);
        // The writer looks again before it sleeps: only the first has to wake it.
        if queue.waiting.len() == 1 {
            self.shared.writable.notify_one();
        }
        None
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
        queue.unmarked_commits.iter().map(|(_, commit)| *commit).min().unwrap_or(Timestamp::MAX)
    }

    /// The last record up to which every commit is applied.
    pub fn applied(&self) -> RecordNumber {
        self.shared.queue.lock().applied()
    }

    /// Writes and applies what was submitted, and stops; returns what [`Self::applied`] is then.
    pub fn close(mut self) -> RecordNumber {
        self.stop();
        self.applied()
    }

    fn stop(&mut self) {
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

impl Drop for CommitLog {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run_marks(&self, mark: &dyn Fn(RecordNumber) -> Result<()>) {
        loop {
            let stuck = {
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
                std::mem::take(&mut queue.stuck)
            };
            let last = self.retry(stuck);
            let outcome = last.map_or(Ok(()), mark);
            let mut queue = self.queue.lock();
            match outcome {
                Ok(()) => {
                    if let Some(last) = last {
                        queue.note_marked(last);
                        self.writable.notify_all();
                    }
                    if queue.stuck.is_empty() {
                        queue.unable_since = None;
                    } else {
                        queue.unable_since.get_or_insert_with(Instant::now);
                    }
                }
                Err(_) => {
                    // Tried again after a while; commits go on as long as there is room in the log.
                    queue.unable_since.get_or_insert_with(Instant::now);
                    queue.unmarked.get_or_insert((0, Instant::now()));
                }
            }
        }
    }

    /// Applies a commit whose record was written.
    fn apply(&self, number: RecordNumber, mut unapplied: Box<dyn Unapplied>, logged: Result<()>) {
        let stuck = match logged {
            Ok(()) => unapplied.apply().err().map(|_| unapplied),
            Err(why) => {
                unapplied.not_logged(why);
                None
            }
        };
        let mut queue = self.queue.lock();
        match stuck {
            Some(unapplied) => queue.stuck.push((number, unapplied)),
            None => {
                queue.unapplied.remove(&number);
            }
        }
    }

    /// Applies what could not be applied; returns what can be marked, if anything can.
    fn retry(&self, stuck: Vec<(RecordNumber, Box<dyn Unapplied>)>) -> Option<RecordNumber> {
        for (number, mut unapplied) in stuck {
            let applied = unapplied.apply();
            let mut queue = self.queue.lock();
            match applied {
                Ok(()) => {
                    queue.unapplied.remove(&number);
                }
                Err(_) => queue.stuck.push((number, unapplied)),
            }
        }
        let mut queue = self.queue.lock();
        let last = queue.applied();
        // What is not applied yet is left to the next mark.
        queue.unmarked = queue.unapplied.first().map(|_| (0, Instant::now()));
        (last > queue.marked).then_some(last)
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
    /// The first record that was written since the last sync.
    unsynced: Option<RecordNumber>,
}

impl Writer {
    fn run(mut self, shared: &Shared) {
        loop {
            let (group, broken) = {
                let mut queue = shared.queue.lock();
                while queue.waiting.is_empty() && !queue.stop {
                    shared.writable.wait(&mut queue);
                }
                (queue.take_group(), queue.broken.clone())
            };
            if group.is_empty() {
                return;
            }
            let outcome = broken.map_or_else(|| self.write(&group, shared), Err);
            if let Err(error) = &outcome {
                shared.queue.lock().broken.get_or_insert_with(|| error.clone());
            }
            for Waiting { number, then, .. } in group {
                match then {
                    Then::Tell(done) => done(outcome.clone()),
                    Then::Apply(unapplied) => shared.apply(number, unapplied, outcome.clone()),
                }
            }
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
        let Some(first) = group.first().map(|waiting| waiting.number) else { return Ok(()) };
        let mut first = self.unsynced.unwrap_or(first);
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
        let is_synced = group.iter().any(|waiting| waiting.durability == Durability::Synced);
        if is_synced {
            self.segments[self.current].file.sync_data()?;
        }
        self.unsynced = (!is_synced).then_some(first);
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
            if queue.unable_since.is_some_and(|since| since.elapsed() >= UNABLE_MAX) {
                return Err(io::Error::other("it is full, and the shards do not take what is in it"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Mutation, Operation};
    use evenkeel_model::ShardId;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::mpsc;

    fn commit(number: u64, bytes: usize) -> LoggedCommit {
        let mutations = vec![
            Mutation { key: number.to_be_bytes().to_vec(), operation: Operation::Put(vec![7; bytes]) },
            Mutation { key: vec![1], operation: Operation::Delete },
        ];
        LoggedCommit { commit: Timestamp(number), parts: vec![Part { shard: ShardId(3), mutations }] }
    }

    fn payload(commit: &LoggedCommit) -> Vec<u8> {
        LoggedCommit::encode(commit.commit, commit.parts.iter().map(|part| (part.shard, part.mutations.as_slice())))
    }

    /// Writes commits one group each, as their numbers say; returns the last record's number.
    fn write(log: &CommitLog, numbers: std::ops::Range<u64>, bytes: usize) -> RecordNumber {
        for number in numbers {
            let commit = commit(number, bytes);
            let (sender, receiver) = mpsc::channel();
            let done = Box::new(move |outcome| drop(sender.send(outcome)));
            log.submit(commit.commit, payload(&commit), Durability::Synced, done);
            receiver.recv().unwrap().unwrap();
        }
        log.applied()
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
        let size = record_bytes(payload(&commit(0, 100)).len());
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
        let size = record_bytes(payload(&commit(0, 100)).len());
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

    /// A commit to two shards, as far as a test follows it.
    struct Spread {
        directory: PathBuf,
        commit: LoggedCommit,
        /// Fails as long as this is so.
        is_refused: Arc<AtomicBool>,
        /// What came of each try: whether the record could be read.
        tries: mpsc::Sender<Result<bool>>,
    }

    impl Unapplied for Spread {
        fn apply(&mut self) -> Result<()> {
            let is_refused = self.is_refused.load(Ordering::SeqCst);
            let is_logged = read(&self.directory, 0).map(|(commits, _)| commits.contains(&self.commit));
            self.tries.send(is_logged).unwrap();
            if is_refused { Err(Error::internal("the shard is full")) } else { Ok(()) }
        }

        fn not_logged(self: Box<Self>, why: Error) {
            self.tries.send(Err(why)).unwrap();
        }
    }

    fn over_two_shards(number: u64, bytes: usize) -> LoggedCommit {
        let mut both = commit(number, bytes);
        both.parts.extend(commit(number + 1, bytes).parts.into_iter().map(|part| Part { shard: ShardId(4), ..part }));
        both
    }

    fn submit_first(
        log: &CommitLog,
        directory: &Path,
        commit: LoggedCommit,
        is_refused: &Arc<AtomicBool>,
    ) -> mpsc::Receiver<Result<bool>> {
        let (tries, outcomes) = mpsc::channel();
        let (directory, is_refused) = (directory.to_path_buf(), Arc::clone(is_refused));
        let bytes = payload(&commit);
        log.submit_first(commit.commit, bytes, Box::new(Spread { directory, commit, is_refused, tries }));
        outcomes
    }

    #[test]
    fn a_commit_to_several_shards_is_applied_once_it_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path());
        let taken = Arc::new(AtomicBool::new(false));
        for number in 0..20 {
            let tries = submit_first(&log, directory.path(), over_two_shards(number, 100), &taken);
            assert_eq!(tries.recv().unwrap(), Ok(true), "commit {number}");
        }
        let last = log.close();
        let (commits, read_last) = read(directory.path(), 0).unwrap();
        assert_eq!(commits, (0..20).map(|number| over_two_shards(number, 100)).collect::<Vec<_>>());
        assert_eq!(read_last, last);
    }

    #[test]
    fn no_mark_passes_what_a_shard_could_not_take() {
        let directory = tempfile::tempdir().unwrap();
        let (marks, marked) = mpsc::channel();
        let mark = move |last| {
            let _ = marks.send(last);
            Ok(())
        };
        let log = CommitLog::start(directory.path(), 0, mark).unwrap();
        let before = write(&log, 10..12, 100);
        let is_refused = Arc::new(AtomicBool::new(true));
        let tries = submit_first(&log, directory.path(), over_two_shards(20, 100), &is_refused);
        assert_eq!(tries.recv().unwrap(), Ok(true));
        assert_eq!(write(&log, 30..32, 100), before, "what came later is no reason to call it applied");
        assert_eq!(marked.recv().unwrap(), before);
        // Tried again before this mark, and before the next: the one between is over.
        assert_eq!(tries.iter().take(2).collect::<Vec<_>>(), [Ok(true), Ok(true)]);
        assert_eq!(log.oldest_unmarked(), Timestamp(20));
        is_refused.store(false, Ordering::SeqCst);
        while marked.recv().unwrap() < before + 3 {}
        assert_eq!(log.applied(), before + 3);
        assert!(tries.try_iter().all(|tried| tried == Ok(true)));
    }

    #[test]
    fn a_log_that_is_full_of_what_no_shard_takes_breaks() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path());
        let refused = Arc::new(AtomicBool::new(true));
        let first = over_two_shards(1, RECORD_BYTES_MAX / 3);
        let tries = submit_first(&log, directory.path(), first.clone(), &refused);
        assert_eq!(tries.recv().unwrap(), Ok(true));
        let (mut written, mut outcome) = (0, Ok(()));
        while outcome.is_ok() && written < 2 * SEGMENTS as u64 * SEGMENT_BYTES {
            let bytes = payload(&commit(2, RECORD_BYTES_MAX / 2));
            written += bytes.len() as u64;
            let (sender, receiver) = mpsc::channel();
            log.submit(Timestamp(2), bytes, Durability::Synced, Box::new(move |outcome| sender.send(outcome).unwrap()));
            outcome = receiver.recv().unwrap();
        }
        assert_eq!(outcome.unwrap_err().state, SqlState::IoError);
        assert!(log.is_broken() && written > SEGMENT_BYTES, "{written}");
        // Tried now and then, and not all the time.
        assert!(tries.try_iter().count() < 60);
        drop(log);
        assert!(read(directory.path(), 0).unwrap().0.contains(&first), "the next start finds what nobody took");
    }

    #[test]
    fn what_was_not_synced_may_be_lost_before_what_was_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path());
        write(&log, 0..2, 100);
        for (number, durability) in [(2, Durability::Buffered), (3, Durability::Buffered), (4, Durability::Synced)] {
            let (sender, receiver) = mpsc::channel();
            let done = Box::new(move |outcome| drop(sender.send(outcome)));
            log.submit(Timestamp(number), payload(&commit(number, 100)), durability, done);
            receiver.recv().unwrap().unwrap();
        }
        drop(log);
        // The machine stops while the last sync goes on: a later page is on disk, an earlier one is not.
        let path = path(directory.path(), 0);
        let mut torn = std::fs::read(&path).unwrap();
        let size = record_bytes(payload(&commit(0, 100)).len());
        torn[2 * size..3 * size].fill(0);
        std::fs::write(&path, torn).unwrap();
        assert_eq!(read(directory.path(), 0).unwrap().0, [commit(0, 100), commit(1, 100)]);
    }

    #[test]
    fn more_than_both_segments_hold_may_wait_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let log = CommitLog::start(directory.path(), 0, |_| Ok(())).unwrap();
        let (entered, is_writing) = mpsc::channel();
        let (leave, left) = mpsc::channel::<()>();
        // Keeps the writer until everything waits.
        let keep = Box::new(move |_| {
            entered.send(()).unwrap();
            let _ = left.recv();
        });
        log.submit(Timestamp(1), Vec::new(), Durability::Synced, keep);
        is_writing.recv().unwrap();
        let count = 3 * SEGMENTS as u64 * SEGMENT_BYTES / RECORD_BYTES_MAX as u64;
        let (applied, is_applied) = mpsc::channel();
        struct Told(mpsc::Sender<u64>, u64);
        impl Unapplied for Told {
            fn apply(&mut self) -> Result<()> {
                self.0.send(self.1).unwrap();
                Ok(())
            }

            fn not_logged(self: Box<Self>, _why: Error) {}
        }
        for number in 0..count {
            let bytes = payload(&commit(number, RECORD_BYTES_MAX - 100));
            log.submit_first(Timestamp(number), bytes, Box::new(Told(applied.clone(), number)));
        }
        leave.send(()).unwrap();
        assert!(is_applied.iter().take(count as usize).eq(0..count));
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
        let tries = submit_first(&log, directory.path(), over_two_shards(1, 10), &Arc::new(AtomicBool::new(false)));
        assert_eq!(tries.recv().unwrap().unwrap_err().state, SqlState::IoError);
        assert_eq!(log.applied(), log.shared.queue.lock().next - 1, "nothing waits for what was never taken in");
    }
}
