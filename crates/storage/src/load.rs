//! Bulk loads: sorted files that a shard takes in whole.
//!
//! The rows of a load all carry its timestamp, and stay hidden from every reader until the load has committed (see
//! [`crate::View::hidden`]). The load is announced to each shard before its files are ingested
//! ([`crate::Command::BeginLoad`]), so that a crash in between leaves a note of what to take back.

use crate::codec::key::slot_of;
use crate::counters::SlotCount;
use crate::failure::storage_error;
use crate::shard::Shard;
use crate::store::KIND_PUT;
use evenkeel_model::{Result, Slot, SlotBits, Timestamp};
use rocksdb::{BoundColumnFamily, IngestExternalFileOptions, SstFileWriter};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file's bytes before the next is begun.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What RocksDB says of files that it will not take in while its write buffer has something between their keys.
const NEEDS_FLUSH: &str = "External file requires flush";
/// How often the write buffer is written out beside the writers before they are made to wait for it.
const FLUSHES_MAX: usize = 2;

/// Writes rows, in ascending order of key, into files that [`Shard::ingest`] takes in.
pub struct SortedRows<'s> {
    shard: &'s Shard,
    directory: PathBuf,
    load: Timestamp,
    bits: SlotBits,
    options: rocksdb::Options,
    files: Vec<PathBuf>,
    counts: BTreeMap<Slot, SlotCount>,
    value: Vec<u8>,
}

impl std::fmt::Debug for SortedRows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SortedRows").field("load", &self.load).field("files", &self.files).finish_non_exhaustive()
    }
}

impl<'s> SortedRows<'s> {
    /// Files for one shard, made in `directory`, which is on the same file system.
    pub fn new(shard: &'s Shard, store: &crate::Store, directory: &Path, load: Timestamp) -> Self {
        Self {
            shard,
            directory: directory.to_path_buf(),
            load,
            bits: shard.slot_bits(),
            options: store.data_options(),
            files: Vec::new(),
            counts: BTreeMap::new(),
            value: Vec::new(),
        }
    }

    /// Writes all rows of `rows`: keys and encoded rows, strictly ascending by key.
    ///
    /// # Errors
    /// When the disk fails or is full, or the rows are out of order.
    pub fn write<K, R>(&mut self, rows: impl Iterator<Item = Result<(K, R)>>) -> Result<()>
    where
        K: AsRef<[u8]>,
        R: AsRef<[u8]>,
    {
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let path = self.directory.join(format!("{}-{}.sst", self.shard.id(), self.files.len()));
            let mut writer = SstFileWriter::create(&self.options);
            writer.open(&path).map_err(|error| storage_error(&error))?;
            self.files.push(path);
            while writer.file_size() < FILE_BYTES_MAX {
                let Some(row) = rows.next() else { break };
                let (key, row) = row?;
                let (key, row) = (key.as_ref(), row.as_ref());
                self.value.clear();
                self.value.extend_from_slice(&self.load.0.to_le_bytes());
                self.value.push(KIND_PUT);
                self.value.extend_from_slice(row);
                writer.put(key, &self.value).map_err(|error| storage_error(&error))?;
                let count = self.counts.entry(slot_of(key, self.bits)).or_default();
                *count += SlotCount { rows: 1, bytes: (key.len() + row.len()) as i64 };
            }
            writer.finish().map_err(|error| storage_error(&error))?;
        }
        Ok(())
    }

    /// What the files add to each slot.
    pub fn counts(&self) -> Vec<(Slot, SlotCount)> {
        self.counts.iter().map(|(slot, count)| (*slot, *count)).collect()
    }

    /// The files written.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl Shard {
    /// Moves sorted files into the shard, all or none.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn ingest(&self, files: &[PathBuf]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let data = self.data();
        let mut flushes = 0;
        while !self.take_in(&data, files, flushes)? {
            self.make_room(&data)?;
            flushes += 1;
        }
        Ok(())
    }

    /// Moves sorted files into a column family, all or none, unless its write buffer has something between their keys:
    /// `false` then, and nothing is done. RocksDB would write the buffer out with all writers waiting, as long as that
    /// takes; [`Shard::make_room`] does it beside them. After some of these in vain, somebody keeps writing there: then
    /// the writers do wait, for what little has come since.
    pub(crate) fn take_in(
        &self,
        family: &Arc<BoundColumnFamily<'_>>,
        files: &[PathBuf],
        flushes: usize,
    ) -> Result<bool> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        options.set_allow_blocking_flush(flushes >= FLUSHES_MAX);
        match self.db().ingest_external_file_cf_opts(family, &options, files.to_vec()) {
            Err(error) if error.as_ref().contains(NEEDS_FLUSH) => Ok(false),
            outcome => outcome.map(|()| true).map_err(|error| storage_error(&error)),
        }
    }

    /// Writes a column family's write buffer out; writes go on meanwhile.
    pub(crate) fn make_room(&self, family: &Arc<BoundColumnFamily<'_>>) -> Result<()> {
        self.db().flush_cf(family).map_err(|error| storage_error(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::key::row_key;
    use crate::command::{Command, Mutation, Operation};
    use crate::shard::Durability;
    use crate::store::Store;
    use evenkeel_model::{Epoch, MigrationId, ShardId, SlotSet, TableId, Token};
    use evenkeel_rebalancer::migration::{Order, ShardCommand, Stamp};

    fn shard(directory: &Path) -> Shard {
        Shard::open(ShardId(1), &directory.join("shard"), SlotBits::DEFAULT, &Store::new(1 << 20).unwrap()).unwrap()
    }

    fn key(name: u8) -> Vec<u8> {
        row_key(TableId(1), Token(0), &[name])
    }

    fn commit(shard: &Shard, at: u64, name: u8) {
        let mutations = vec![Mutation { key: key(name), operation: Operation::Put(vec![name]) }];
        let command = Command::CommitOnePhase { start: Timestamp(at - 1), commit: Timestamp(at), mutations };
        shard.apply(&command, Durability::Buffered).unwrap();
    }

    /// A file with these rows.
    fn file(shard: &Shard, directory: &Path, names: &[u8]) -> Vec<PathBuf> {
        let directory = directory.join(names[0].to_string());
        std::fs::create_dir(&directory).unwrap();
        let mut rows = SortedRows::new(shard, &Store::new(1 << 20).unwrap(), &directory, Timestamp(100));
        rows.write(names.iter().map(|name| Ok((key(*name), [*name])))).unwrap();
        rows.files().to_vec()
    }

    fn has(shard: &Shard, name: u8) -> bool {
        shard.db().get_cf(&shard.data(), key(name)).unwrap().is_some()
    }

    #[test]
    fn files_are_taken_in_beside_writers_that_write_between_their_keys() {
        let directory = tempfile::tempdir().unwrap();
        let shard = shard(directory.path());
        commit(&shard, 10, b'z');
        let beside = file(&shard, directory.path(), b"ac");
        assert!(shard.take_in(&shard.data(), &beside, 0).unwrap(), "nothing is in the way");
        commit(&shard, 11, b'f');
        let around = file(&shard, directory.path(), b"eg");
        assert!(!shard.take_in(&shard.data(), &around, 0).unwrap(), "the writers would have to wait");
        assert!(around[0].exists() && !has(&shard, b'e'), "nothing was done");
        shard.make_room(&shard.data()).unwrap();
        assert!(shard.take_in(&shard.data(), &around, 1).unwrap());
        // Whoever keeps writing there is made to wait in the end.
        commit(&shard, 12, b'j');
        let late = file(&shard, directory.path(), b"ik");
        assert!(shard.take_in(&shard.data(), &late, FLUSHES_MAX).unwrap());
        commit(&shard, 13, b'n');
        shard.ingest(&file(&shard, directory.path(), b"mo")).unwrap();
        assert!(b"acefgijkmnoz".iter().all(|name| has(&shard, *name)));
    }

    #[test]
    fn what_is_received_into_empty_slots_has_nothing_in_its_way() {
        let directory = tempfile::tempdir().unwrap();
        let shard = shard(directory.path());
        let slots = SlotSet::range(Slot(0), Slot(9));
        // A row in another slot: the shard is not empty, the slots are.
        let elsewhere = row_key(TableId(1), Token(u64::MAX), b"x");
        shard.claim(SlotSet::range(Slot(8_191), Slot(8_191)), Epoch(1)).unwrap();
        let mutations = vec![Mutation { key: elsewhere, operation: Operation::Put(vec![1]) }];
        let command = Command::CommitOnePhase { start: Timestamp(1), commit: Timestamp(2), mutations };
        shard.apply(&command, Durability::Buffered).unwrap();
        let stamp = Stamp { migration: MigrationId(1), since: Epoch(1), step: 1 };
        shard.order(&ShardCommand { stamp, slots, order: Order::BeginIncoming }).unwrap();
        assert!(shard.take_in(&shard.data(), &file(&shard, directory.path(), b"ac"), 0).unwrap());
    }
}
