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
use rocksdb::{IngestExternalFileOptions, SstFileWriter};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file's bytes before the next is begun.
const FILE_BYTES_MAX: u64 = 64 << 20;

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
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.db()
            .ingest_external_file_cf_opts(&self.data(), &options, files.to_vec())
            .map_err(|error| storage_error(&error))
    }
}
