//! What a source owes to its migrations' targets: every change to the moving slots since the copy began, in order.
//!
//! ```text
//! key    migration (8) · number (8)
//! value  kind (1: a version) · length of the row key (4) · row key · what `data` has under it
//!        kind (2: a load)    · timestamp of the load (8) · table (4)
//! ```

use super::{Version, slot_ranges};
use crate::failure::storage_error;
use crate::moves::versions::Family;
use crate::scan::pass_by;
use crate::shard::Shard;
use crate::store::timestamp_of;
use evenkeel_model::{Error, MigrationId, Result, SlotSet, SqlState, TableId, Timestamp};
use evenkeel_rebalancer::migration::Part;
use rocksdb::{IteratorMode, ReadOptions, WriteBatch};
use std::sync::atomic::Ordering;

const VERSION: u8 = 1;
const LOAD: u8 = 2;

/// Some of what is owed, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Owed {
    /// The versions.
    pub versions: Vec<Version>,
    /// Loads whose rows in the moving slots are owed as a whole.
    pub loads: Vec<(TableId, Timestamp)>,
    /// To be forgotten up to here once the target has all of it.
    pub upto: u64,
    /// How many entries.
    pub entries: usize,
}

fn entry_key(migration: MigrationId, number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&migration.0.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn damaged() -> Error {
    Error::new(SqlState::DataCorrupted, "what is owed to a migration's target is damaged")
}

impl Shard {
    /// Goes on numbering behind what the last process left.
    pub(super) fn load_outbox(&self) -> Result<()> {
        let mut next = 0;
        for role in self.ownership().roles() {
            let mut iterator = self.db().raw_iterator_cf(&self.outbox());
            iterator.seek_for_prev(entry_key(role.stamp.migration, u64::MAX));
            if let Some(key) = iterator.key()
                && let Some(number) = key.last_chunk::<8>()
                && key.starts_with(&role.stamp.migration.0.to_be_bytes())
            {
                next = next.max(u64::from_be_bytes(*number) + 1);
            }
            iterator.status().map_err(|error| storage_error(&error))?;
        }
        self.outbox_next.store(next, Ordering::SeqCst);
        Ok(())
    }

    /// The entry of a change to a row, and its key.
    pub(crate) fn outbox_entry(&self, migration: MigrationId, key: &[u8], value: &[u8]) -> ([u8; 16], Vec<u8>) {
        let mut entry = Vec::with_capacity(5 + key.len() + value.len());
        entry.push(VERSION);
        entry.extend_from_slice(&(key.len() as u32).to_le_bytes());
        entry.extend_from_slice(key);
        entry.extend_from_slice(value);
        (entry_key(migration, self.outbox_next.fetch_add(1, Ordering::SeqCst)), entry)
    }

    /// Owes the rows of a bulk load, which came in as files, to every migration away from here.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn owe_load(&self, table: TableId, load: Timestamp) -> Result<()> {
        let ownership = self.ownership.read();
        let mut batch = WriteBatch::default();
        for role in ownership.roles() {
            if matches!(role.part, Part::Outgoing | Part::Sealed { .. }) {
                let mut entry = vec![LOAD];
                entry.extend_from_slice(&load.0.to_le_bytes());
                entry.extend_from_slice(&table.0.to_le_bytes());
                let number = self.outbox_next.fetch_add(1, Ordering::SeqCst);
                batch.put_cf(&self.outbox(), entry_key(role.stamp.migration, number), entry);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.write_synced(batch).map_err(|error| storage_error(&error))
    }

    /// What is owed to a migration's target, up to `limit` entries. It is on disk when this returns, so that the target
    /// never has what a crash takes from the source.
    ///
    /// # Errors
    /// XX001 for damaged entries, or what the disk says.
    pub fn owed(&self, migration: MigrationId, limit: usize) -> Result<Owed> {
        let mut owed = Owed::default();
        let start = entry_key(migration, self.first_owed(migration));
        let mut options = ReadOptions::default();
        pass_by(&mut options);
        let mode = IteratorMode::From(&start, rocksdb::Direction::Forward);
        for item in self.db().iterator_cf_opt(&self.outbox(), options, mode) {
            let (key, value) = item.map_err(|error| storage_error(&error))?;
            let Some(number) = key.strip_prefix(&migration.0.to_be_bytes()) else { break };
            if owed.entries == limit {
                break;
            }
            owed.entries += 1;
            owed.upto = u64::from_be_bytes(number.try_into().map_err(|_| damaged())?);
            match value.split_first().ok_or_else(damaged)? {
                (&VERSION, rest) => owed.versions.push(decode_version(rest).ok_or_else(damaged)?),
                (&LOAD, rest) => owed.loads.push(decode_load(rest).ok_or_else(damaged)?),
                _ => return Err(damaged()),
            }
        }
        if owed.entries > 0 {
            self.sync()?;
        }
        Ok(owed)
    }

    /// The rows of a load that are in these slots.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn loaded(
        &self,
        slots: &SlotSet,
        table: TableId,
        load: Timestamp,
        mut each: impl FnMut(Version) -> Result<()>,
    ) -> Result<()> {
        for range in slot_ranges(table, slots, self.slot_bits()) {
            let mode = IteratorMode::From(&range.start, rocksdb::Direction::Forward);
            for item in self.db().iterator_cf(&self.data(), mode) {
                let (key, value) = item.map_err(|error| storage_error(&error))?;
                if key.as_ref() >= range.end.as_slice() {
                    break;
                }
                if timestamp_of(&value) == Some(load.0) {
                    each(Version { family: Family::Newest, key: key.into(), value: value.into() })?;
                }
            }
        }
        Ok(())
    }

    /// The target has everything up to an entry, durably.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forget_owed(&self, migration: MigrationId, upto: u64) -> Result<()> {
        let mut batch = WriteBatch::default();
        let first = self.first_owed(migration);
        batch.delete_range_cf(&self.outbox(), entry_key(migration, first), entry_key(migration, upto + 1));
        self.db().write(batch).map_err(|error| storage_error(&error))?;
        *self.outbox_first.lock() = Some((migration, upto + 1));
        Ok(())
    }

    /// From where on there may be entries: those below are deleted, and stepping over a million of them takes seconds.
    fn first_owed(&self, migration: MigrationId) -> u64 {
        self.outbox_first.lock().filter(|(whose, _)| *whose == migration).map_or(0, |(_, first)| first)
    }

    /// Nothing is owed to this migration any more.
    pub(super) fn forget_all(&self, batch: &mut WriteBatch, migration: MigrationId) {
        batch.delete_range_cf(&self.outbox(), entry_key(migration, 0), entry_key(MigrationId(migration.0 + 1), 0));
    }
}

fn decode_version(bytes: &[u8]) -> Option<Version> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (key, value) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some(Version { family: Family::Newest, key: key.to_vec(), value: value.to_vec() })
}

fn decode_load(bytes: &[u8]) -> Option<(TableId, Timestamp)> {
    let (load, rest) = bytes.split_first_chunk::<8>()?;
    let table = rest.first_chunk::<4>()?;
    Some((TableId(u32::from_le_bytes(*table)), Timestamp(u64::from_le_bytes(*load))))
}
