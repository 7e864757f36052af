//! What the log keeps, gives back and refuses.

use super::writer::path;
use super::*;
use crate::command::{Mutation, Operation};
use evenkeel_model::{ShardId, SqlState};
use std::path::PathBuf;
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
