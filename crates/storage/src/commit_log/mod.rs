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

mod coming;
mod record;
mod writer;

pub use coming::{Coming, Expected};
pub use record::{LoggedCommit, Part, read};

use crate::shard::Durability;
use evenkeel_model::{Error, Result, Timestamp};
use parking_lot::{Condvar, Mutex};
use record::record_bytes;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use writer::Writer;

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
    expected: Expected,
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
    /// Whether somebody waits for a sync.
    fn is_waited_for(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.durability == Durability::Synced)
    }

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
            expected: Expected::default(),
        });
        let writer = Writer::new(directory);
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

    /// Where those who are to commit say so.
    pub fn expected(&self) -> &Expected {
        &self.shared.expected
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
mod tests;
