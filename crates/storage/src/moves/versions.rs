//! Row versions on their way from a source to a target.
//!
//! A version never changes, and says by its timestamp where it belongs. So it may arrive twice, and in any order with
//! others of its row: the newest stands in `data`, older ones in `history`. The one exception is a bulk load that was
//! taken back, whose rows become deletions at the same timestamp: a deletion wins over a row of its own timestamp.

use super::slot_ranges;
use crate::codec::key::{slot_of, table_of};
use crate::counters::{Differences, SlotCount};
use crate::failure::storage_error;
use crate::scan::pass_by;
use crate::shard::{INCOMING, Shard, counter_key, history_key};
use crate::store::{DATA_HEADER, KIND_PUT, timestamp_of};
use evenkeel_model::{Error, Result, Slot, SlotSet, SqlState, TableId, Timestamp};
use evenkeel_rebalancer::migration::Stamp;
use rocksdb::{ReadOptions, SstFileWriter, WriteBatch};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// A file's bytes before the next is begun.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Tables have files of their own up to this many files: taking in a thousand small ones is slow, too.
const FILES_APART_MAX: usize = 64;

/// Rows that a target looks up at once: their blocks stay in memory meanwhile.
const READ_AT_ONCE: usize = 512;

/// In which column family a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `data`: one a row.
    Newest,
    /// `history`: those before it.
    History,
}

/// A stored version, in the bytes of its column family.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub family: Family,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// How much has gone over, and a digest of it that does not depend on the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Newest versions that are rows, not deletions.
    pub rows: u64,
    /// Of all versions, keys and values.
    pub bytes: u64,
    pub digest: u64,
}

impl Sent {
    /// One more version.
    pub fn note(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.rows += u64::from(is_row(family, value));
        self.bytes += (key.len() + value.len()) as u64;
        self.digest = self.digest.wrapping_add(xxh3_64(key).rotate_left(17).wrapping_add(xxh3_64(value)));
    }

    /// As if both had gone in one stream.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// Of these versions.
    pub fn of(versions: &[Version]) -> Self {
        let mut sent = Self::default();
        versions.iter().for_each(|version| sent.note(version.family, &version.key, &version.value));
        sent
    }
}

fn is_row(family: Family, value: &[u8]) -> bool {
    family == Family::Newest && value.get(8) == Some(&KIND_PUT)
}

fn count_of(key: &[u8], value: &[u8]) -> SlotCount {
    match value.get(8) {
        Some(&KIND_PUT) => SlotCount { rows: 1, bytes: (key.len() + value.len() - DATA_HEADER) as i64 },
        _ => SlotCount::default(),
    }
}

fn damaged() -> Error {
    Error::new(SqlState::DataCorrupted, "a stored version is damaged")
}

impl Shard {
    /// Calls `each` with every stored version of these slots as of one moment, the newest of all tables first, in
    /// ascending order of key within each family. What was applied before is on disk when the first is given out.
    ///
    /// # Errors
    /// What the disk or `each` says.
    pub fn export(&self, slots: &SlotSet, mut each: impl FnMut(Family, &[u8], &[u8]) -> Result<()>) -> Result<()> {
        let snapshot = self.db().snapshot();
        self.sync()?;
        let tables = self.tables()?;
        for (family, handle) in [(Family::Newest, self.data()), (Family::History, self.history())] {
            for table in &tables {
                for range in slot_ranges(*table, slots, self.slot_bits()) {
                    let mut options = ReadOptions::default();
                    options.set_snapshot(&snapshot);
                    options.set_iterate_range(range);
                    pass_by(&mut options);
                    let mut iterator = self.db().raw_iterator_cf_opt(&handle, options);
                    iterator.seek_to_first();
                    while let Some((key, value)) = iterator.item() {
                        each(family, key, value)?;
                        iterator.next();
                    }
                    iterator.status().map_err(|error| storage_error(&error))?;
                }
            }
        }
        Ok(())
    }

    /// Stores versions that a migration sends, durably. They may be here already.
    ///
    /// # Errors
    /// 55000 when this shard is not that migration's target (any more), or what the disk says.
    pub fn receive(&self, stamp: &Stamp, versions: &[Version]) -> Result<()> {
        let ownership = self.ownership.read();
        ownership.may_receive(stamp).map_err(|refusal| refused(&refusal))?;
        let (mut batch, mut counts) = (WriteBatch::default(), Differences::new());
        let (mut newest, history): (Vec<_>, Vec<_>) = versions.iter().partition(|v| v.family == Family::Newest);
        for Version { key, value, .. } in history {
            batch.put_cf(&self.history(), key, value);
        }
        // In the order of the keys, what is read lies close together, and what is written is found again quickly. Versions of
        // one row stay in the order in which they came.
        newest.sort_by(|one, other| one.key.cmp(&other.key));
        let rows: Vec<_> = newest.chunk_by(|one, other| one.key == other.key).collect();
        for some in rows.chunks(READ_AT_ONCE) {
            let keys = some.iter().map(|row| row[0].key.as_slice());
            let stored = self.db().batched_multi_get_cf(&self.data(), keys, true);
            for (row, stored) in some.iter().zip(stored) {
                let stored = stored.map_err(|error| storage_error(&error))?;
                self.place_row(&mut batch, &mut counts, row, stored.as_deref())?;
            }
        }
        self.write_received(batch, &counts)
    }

    /// Puts versions of one row, in the order in which they came, where they belong beside what is stored, and counts what
    /// the newest of them changes.
    fn place_row<'v>(
        &self,
        batch: &mut WriteBatch,
        counts: &mut Differences,
        versions: &[&'v Version],
        stored: Option<&'v [u8]>,
    ) -> Result<()> {
        let mut newest = stored;
        for Version { key, value, .. } in versions {
            if self.place(batch, key, value, newest)? {
                newest = Some(value);
            }
        }
        let (Some(first), Some(newest)) = (versions.first(), newest) else { return Ok(()) };
        let was = stored.map_or_else(SlotCount::default, |stored| count_of(&first.key, stored));
        let at = (table_of(&first.key).unwrap_or(TableId(0)), slot_of(&first.key, self.slot_bits()));
        let count = counts.entry(at).or_default();
        *count += count_of(&first.key, newest);
        *count += SlotCount { rows: -was.rows, bytes: -was.bytes };
        Ok(())
    }

    /// Puts a newest version where it belongs beside what is stored; whether it is the newest here.
    fn place(&self, batch: &mut WriteBatch, key: &[u8], value: &[u8], stored: Option<&[u8]>) -> Result<bool> {
        let timestamp = timestamp_of(value).ok_or_else(damaged)?;
        if let Some(stored) = stored {
            let there = timestamp_of(stored).ok_or_else(damaged)?;
            let taken_back = timestamp == there && value.get(8) != Some(&KIND_PUT) && stored.get(8) == Some(&KIND_PUT);
            if timestamp <= there && !taken_back {
                return Ok(false);
            }
            if stored.get(8) == Some(&KIND_PUT) && !taken_back {
                let mut replaced = timestamp.to_le_bytes().to_vec();
                replaced.extend_from_slice(&stored[DATA_HEADER..]);
                batch.put_cf(&self.history(), history_key(key, Timestamp(there)), replaced);
            }
        }
        batch.put_cf(&self.data(), key, value);
        Ok(true)
    }

    fn write_received(&self, mut batch: WriteBatch, counts: &Differences) -> Result<()> {
        let state = self.state();
        for ((table, slot), difference) in counts {
            batch.merge_cf(&state, counter_key(INCOMING, *table, *slot), difference.encode());
        }
        self.write_synced(batch).map_err(|error| storage_error(&error))?;
        self.incoming.add(counts, Timestamp::ZERO);
        Ok(())
    }

    /// Counts what was received of these slots anew. A crash after files were taken in, and before their rows were counted,
    /// leaves rows that nobody has counted.
    ///
    /// # Errors
    /// What the disk says.
    pub fn recount_received(&self, slots: &SlotSet) -> Result<()> {
        let mut missing = Differences::new();
        for table in self.tables()? {
            for range in slot_ranges(table, slots, self.slot_bits()) {
                let mut options = ReadOptions::default();
                options.set_iterate_range(range);
                pass_by(&mut options);
                let mut iterator = self.db().raw_iterator_cf_opt(&self.data(), options);
                iterator.seek_to_first();
                while let Some((key, value)) = iterator.item() {
                    *missing.entry((table, slot_of(key, self.slot_bits()))).or_default() += count_of(key, value);
                    iterator.next();
                }
                iterator.status().map_err(|error| storage_error(&error))?;
            }
        }
        for (at, counted) in self.incoming.of(slots) {
            *missing.entry(at).or_default() += SlotCount { rows: -counted.rows, bytes: -counted.bytes };
        }
        missing.retain(|_, count| *count != SlotCount::default());
        if missing.is_empty() { Ok(()) } else { self.write_received(WriteBatch::default(), &missing) }
    }

    /// Whether nothing was received of these slots yet, so that sorted files may be taken in as they are.
    pub fn has_received_nothing(&self, slots: &SlotSet) -> Result<bool> {
        for family in [self.data(), self.history()] {
            for table in self.tables()? {
                for range in slot_ranges(table, slots, self.slot_bits()) {
                    let mut options = ReadOptions::default();
                    options.set_iterate_range(range);
                    let mut iterator = self.db().raw_iterator_cf_opt(&family, options);
                    iterator.seek_to_first();
                    if iterator.valid() {
                        return Ok(false);
                    }
                    iterator.status().map_err(|error| storage_error(&error))?;
                }
            }
        }
        Ok(true)
    }
}

fn refused(refusal: &evenkeel_rebalancer::migration::Refusal) -> Error {
    Error::new(SqlState::ObjectNotInPrerequisiteState, format!("versions were not taken in: {refusal}"))
}

/// How sorted files are written.
pub struct FileOptions(rocksdb::Options);

impl std::fmt::Debug for FileOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileOptions").finish_non_exhaustive()
    }
}

impl FileOptions {
    /// As the shards of this store have their own files.
    pub fn of(store: &crate::Store) -> Self {
        Self(store.data_options())
    }
}

/// Versions on their way into a target through sorted files: given in the order of [`Shard::export`], taken in at once.
pub struct SortedVersions<'s> {
    shard: &'s Shard,
    directory: PathBuf,
    options: &'s FileOptions,
    writer: Option<(SstFileWriter<'s>, Family)>,
    /// Whose rows come.
    table: Option<TableId>,
    files: Vec<(PathBuf, Family)>,
    counts: Differences,
    slot: Option<((TableId, Slot), SlotCount)>,
    sent: Sent,
}

impl std::fmt::Debug for SortedVersions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SortedVersions").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<'s> SortedVersions<'s> {
    /// Files for a target, made in `directory`, which is on the same file system.
    pub fn new(shard: &'s Shard, options: &'s FileOptions, directory: &Path) -> Self {
        Self {
            shard,
            directory: directory.to_path_buf(),
            options,
            writer: None,
            table: None,
            files: Vec::new(),
            counts: Differences::new(),
            slot: None,
            sent: Sent::default(),
        }
    }

    /// Adds a version.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn push(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()> {
        // A file over two tables would span what the target has between them.
        let table = table_of(key);
        let apart = self.table != table && self.files.len() < FILES_APART_MAX;
        self.table = table;
        let full = |(writer, of): &mut (SstFileWriter<'_>, Family)| {
            apart || *of != family || writer.file_size() >= FILE_BYTES_MAX
        };
        if self.writer.as_mut().is_none_or(full) {
            self.finish_file()?;
            let path = self.directory.join(format!("{}-{}.sst", self.shard.id(), self.files.len()));
            let writer = SstFileWriter::create(&self.options.0);
            writer.open(&path).map_err(|error| storage_error(&error))?;
            self.files.push((path, family));
            self.writer = Some((writer, family));
        }
        let Some((writer, _)) = &mut self.writer else { return Ok(()) };
        writer.put(key, value).map_err(|error| storage_error(&error))?;
        self.sent.note(family, key, value);
        if family == Family::Newest {
            self.count(key, value);
        }
        Ok(())
    }

    /// Keys come slot by slot: one entry of the map for each.
    fn count(&mut self, key: &[u8], value: &[u8]) {
        let at = (table_of(key).unwrap_or(TableId(0)), slot_of(key, self.shard.slot_bits()));
        match &mut self.slot {
            Some((here, count)) if *here == at => *count += count_of(key, value),
            _ => {
                self.close_slot();
                self.slot = Some((at, count_of(key, value)));
            }
        }
    }

    fn close_slot(&mut self) {
        if let Some((at, count)) = self.slot.take() {
            *self.counts.entry(at).or_default() += count;
        }
    }

    fn finish_file(&mut self) -> Result<()> {
        match self.writer.take() {
            Some((mut writer, _)) => writer.finish().map_err(|error| storage_error(&error)),
            None => Ok(()),
        }
    }

    /// Takes the files in, and counts them. Says what was stored.
    ///
    /// # Errors
    /// 55000 when the shard is not that migration's target (any more), or what the disk says. Files may have been taken
    /// in all the same: the copy begins again.
    pub fn finish(mut self, stamp: &Stamp) -> Result<Sent> {
        self.finish_file()?;
        self.close_slot();
        let shard = self.shard;
        let of = |family: Family| -> Vec<_> {
            self.files.iter().filter(|(_, of)| *of == family).map(|(path, _)| path.clone()).collect()
        };
        // The last is next.
        let mut left = vec![(shard.history(), of(Family::History)), (shard.data(), of(Family::Newest))];
        left.retain(|(_, files)| !files.is_empty());
        let mut flushes = 0;
        loop {
            let in_the_way = {
                let ownership = shard.ownership.read();
                ownership.may_receive(stamp).map_err(|refusal| refused(&refusal))?;
                loop {
                    let Some((family, files)) = left.last() else {
                        shard.write_received(WriteBatch::default(), &self.counts)?;
                        return Ok(self.sent);
                    };
                    if !shard.take_in(family, files, flushes)? {
                        break Arc::clone(family);
                    }
                    left.pop();
                    flushes = 0;
                }
            };
            // While the ownership is free: an order that waits for it has all commits wait behind it.
            shard.make_room(&in_the_way)?;
            flushes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::key::row_key;
    use crate::command::{Command, Mutation, Operation};
    use crate::shard::Durability;
    use crate::store::Store;
    use evenkeel_model::{ShardId, SlotBits, Timestamp, Token};

    /// What the target has of one table above the slots that come, and of the next below them, is between the two tables'
    /// rows, and between none of one table's.
    #[test]
    fn tables_have_files_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(1 << 20).unwrap();
        let shard = Shard::open(ShardId(1), &directory.path().join("shard"), SlotBits::DEFAULT, &store).unwrap();
        let above = Mutation { key: row_key(TableId(1), Token(u64::MAX), b"a"), operation: Operation::Put(vec![1]) };
        let (start, commit) = (Timestamp(1), Timestamp(2));
        let command = Command::CommitOnePhase { start, commit, mutations: vec![above] };
        shard.apply(&command, Durability::Buffered).unwrap();
        let options = FileOptions::of(&store);
        let mut sorted = SortedVersions::new(&shard, &options, directory.path());
        for table in [TableId(1), TableId(2)] {
            for row in [b"a", b"b"] {
                sorted.push(Family::Newest, &row_key(table, Token(0), row), &[0; DATA_HEADER]).unwrap();
            }
        }
        sorted.finish_file().unwrap();
        let files: Vec<_> = sorted.files.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(files.len(), 2);
        assert!(shard.take_in(&shard.data(), &files, 0).unwrap(), "nothing is in the way");
    }
}
