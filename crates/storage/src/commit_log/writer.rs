//! The log's thread: groups of records into segments, and what follows once they are durable.

use super::record::{append, record_bytes};
use super::{MARK_AFTER, RecordNumber, SEGMENT_BYTES, SEGMENTS, Shared, Then, UNABLE_MAX, Waiting};
use crate::shard::Durability;
use evenkeel_model::{Error, Result, SqlState};
use parking_lot::MutexGuard;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

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

pub(super) fn path(directory: &Path, at: usize) -> PathBuf {
    directory.join(at.to_string())
}

/// Writes what waits, one group after another, into the segments in turn.
pub(super) struct Writer {
    directory: PathBuf,
    segments: Vec<Segment>,
    current: usize,
    buffer: Vec<u8>,
    /// The first record that was written since the last sync.
    unsynced: Option<RecordNumber>,
}

impl Writer {
    pub(super) fn new(directory: &Path) -> Self {
        let directory = directory.to_path_buf();
        Self { directory, segments: Vec::new(), current: 0, buffer: Vec::new(), unsynced: None }
    }

    pub(super) fn run(mut self, shared: &Shared) {
        loop {
            let (group, broken) = {
                let mut queue = shared.queue.lock();
                while queue.waiting.is_empty() && !queue.stop {
                    shared.writable.wait(&mut queue);
                }
                if queue.is_waited_for() && !queue.stop {
                    MutexGuard::unlocked(&mut queue, || shared.expected.gather());
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
