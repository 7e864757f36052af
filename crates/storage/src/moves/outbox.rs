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
use parking_lot::Mutex;
use rocksdb::{IteratorMode, ReadOptions, WriteBatch};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Entries behind these, at most.
    pub behind: u64,
}

/// The numbers of entries: which is next, and which are being written.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    next: u64,
    /// The lowest number of each batch that is being written, of each migration that it has entries of.
    open: BTreeSet<(MigrationId, u64)>,
    /// From where on a migration may have entries: those below are deleted, and stepping over a million of them takes
    /// seconds.
    first: BTreeMap<MigrationId, u64>,
}

impl Numbering {
    /// Below this, every entry of a migration that will ever be is written.
    fn settled(&self, migration: MigrationId) -> u64 {
        self.open.range((migration, 0)..=(migration, u64::MAX)).next().map_or(self.next, |(_, number)| *number)
    }
}

/// The entries of one batch, open until it is written or given up.
#[derive(Debug)]
pub(crate) struct Entries<'s> {
    numbering: &'s Mutex<Numbering>,
    opened: Vec<(MigrationId, u64)>,
}

impl<'s> Entries<'s> {
    pub(crate) fn new(numbering: &'s Mutex<Numbering>) -> Self {
        Self { numbering, opened: Vec::new() }
    }

    /// The key of the next entry.
    fn next(&mut self, migration: MigrationId) -> [u8; 16] {
        let mut numbering = self.numbering.lock();
        let number = numbering.next;
        numbering.next += 1;
        if self.opened.iter().all(|(opened, _)| *opened != migration) {
            numbering.open.insert((migration, number));
            self.opened.push((migration, number));
        }
        entry_key(migration, number)
    }

    /// The entry of a change to a row, and its key.
    pub(crate) fn of_change(&mut self, migration: MigrationId, key: &[u8], value: &[u8]) -> ([u8; 16], Vec<u8>) {
        let mut entry = Vec::with_capacity(5 + key.len() + value.len());
        entry.push(VERSION);
        entry.extend_from_slice(&(key.len() as u32).to_le_bytes());
        entry.extend_from_slice(key);
        entry.extend_from_slice(value);
        (self.next(migration), entry)
    }

    /// The entry of a load, and its key.
    fn of_load(&mut self, migration: MigrationId, table: TableId, load: Timestamp) -> ([u8; 16], Vec<u8>) {
        let mut entry = vec![LOAD];
        entry.extend_from_slice(&load.0.to_le_bytes());
        entry.extend_from_slice(&table.0.to_le_bytes());
        (self.next(migration), entry)
    }
}

impl Drop for Entries<'_> {
    fn drop(&mut self) {
        if !self.opened.is_empty() {
            let mut numbering = self.numbering.lock();
            for opened in &self.opened {
                numbering.open.remove(opened);
            }
        }
    }
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
        self.numbering.lock().next = next;
        Ok(())
    }

    /// Owes the rows of a bulk load, which came in as files, to every migration away from here.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn owe_load(&self, table: TableId, load: Timestamp) -> Result<()> {
        let ownership = self.ownership.read();
        let mut batch = WriteBatch::default();
        let mut entries = Entries::new(&self.numbering);
        for role in ownership.roles() {
            if matches!(role.part, Part::Outgoing | Part::Sealed { .. }) {
                let (at, entry) = entries.of_load(role.stamp.migration, table, load);
                batch.put_cf(&self.outbox(), at, entry);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.write_synced(batch).map_err(|error| storage_error(&error))
    }

    /// What is owed to a migration's target, up to `limit` entries, and short of those that are still being written. It is on
    /// disk when this returns, so that the target never has what a crash takes from the source.
    ///
    /// # Errors
    /// XX001 for damaged entries, or what the disk says.
    pub fn owed(&self, migration: MigrationId, limit: usize) -> Result<Owed> {
        let mut owed = Owed::default();
        // What is settled now, the iterator made after it sees.
        let (first, settled) = {
            let numbering = self.numbering.lock();
            (numbering.first.get(&migration).copied().unwrap_or(0), numbering.settled(migration))
        };
        let start = entry_key(migration, first);
        let mut options = ReadOptions::default();
        pass_by(&mut options);
        let mode = IteratorMode::From(&start, rocksdb::Direction::Forward);
        for item in self.db().iterator_cf_opt(&self.outbox(), options, mode) {
            let (key, value) = item.map_err(|error| storage_error(&error))?;
            let Some(number) = key.strip_prefix(&migration.0.to_be_bytes()) else { break };
            let number = u64::from_be_bytes(number.try_into().map_err(|_| damaged())?);
            if owed.entries == limit || number >= settled {
                break;
            }
            owed.entries += 1;
            owed.upto = number;
            match value.split_first().ok_or_else(damaged)? {
                (&VERSION, rest) => owed.versions.push(decode_version(rest).ok_or_else(damaged)?),
                (&LOAD, rest) => owed.loads.push(decode_load(rest).ok_or_else(damaged)?),
                _ => return Err(damaged()),
            }
        }
        if owed.entries > 0 {
            owed.behind = settled.saturating_sub(owed.upto + 1);
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
        let first = self.numbering.lock().first.get(&migration).copied().unwrap_or(0);
        batch.delete_range_cf(&self.outbox(), entry_key(migration, first), entry_key(migration, upto + 1));
        self.db().write(batch).map_err(|error| storage_error(&error))?;
        self.numbering.lock().first.insert(migration, upto + 1);
        Ok(())
    }

    /// Nothing is owed to this migration any more.
    pub(super) fn forget_all(&self, batch: &mut WriteBatch, migration: MigrationId) {
        batch.delete_range_cf(&self.outbox(), entry_key(migration, 0), entry_key(MigrationId(migration.0 + 1), 0));
        self.numbering.lock().first.remove(&migration);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Operation;
    use crate::shard::{Changes, Durability};
    use crate::store::Store;
    use evenkeel_model::{Epoch, ShardId, Slot, SlotBits, Token};
    use evenkeel_rebalancer::migration::{Order, ShardCommand, Stamp};

    /// Two migrations away from one shard, each with half of the slots.
    const ONE: MigrationId = MigrationId(1);
    const OTHER: MigrationId = MigrationId(2);

    fn shard(directory: &std::path::Path) -> Shard {
        let bits = SlotBits::DEFAULT;
        let shard = Shard::open(ShardId(1), directory, bits, &Store::new(1 << 20).unwrap()).unwrap();
        let last = bits.slots() as u32 - 1;
        let middle = last.div_ceil(2);
        shard.claim(SlotSet::range(Slot(0), Slot(last)), Epoch(1)).unwrap();
        for (migration, first, last) in [(ONE, 0, middle - 1), (OTHER, middle, last)] {
            let stamp = Stamp { migration, since: Epoch(1), step: 1 };
            let slots = SlotSet::range(Slot(first), Slot(last));
            shard.order(&ShardCommand { stamp, slots, order: Order::BeginOutgoing }).unwrap();
        }
        shard
    }

    fn key(migration: MigrationId, name: u8) -> Vec<u8> {
        let token = if migration == ONE { 0 } else { u64::MAX };
        crate::codec::key::row_key(TableId(1), Token(token), &[name])
    }

    fn staged<'s>(shard: &'s Shard, rows: &[(MigrationId, u8)]) -> Changes<'s> {
        let mut changes = shard.changes();
        for (migration, name) in rows {
            let put = Operation::Put(vec![*name]);
            shard.stage(&mut changes, &key(*migration, *name), &put, Timestamp(1), Timestamp(2)).unwrap();
        }
        changes
    }

    fn write(shard: &Shard, changes: Changes<'_>) {
        shard.write(changes, Timestamp(2), Durability::Buffered).unwrap();
    }

    /// The names of what is owed, as it is sent and forgotten.
    fn drained(shard: &Shard, migration: MigrationId) -> Vec<u8> {
        let owed = shard.owed(migration, 1_000).unwrap();
        if owed.entries > 0 {
            shard.forget_owed(migration, owed.upto).unwrap();
        }
        owed.versions.iter().filter_map(|version| version.key.last().copied()).collect()
    }

    #[test]
    fn what_is_numbered_first_and_written_last_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let shard = shard(directory.path());
        write(&shard, staged(&shard, &[(ONE, b'a')]));
        let slow = staged(&shard, &[(ONE, b'b'), (ONE, b'c')]);
        write(&shard, staged(&shard, &[(ONE, b'd')]));
        assert_eq!(drained(&shard, ONE), b"a", "short of what is being written");
        assert_eq!(drained(&shard, ONE), b"");
        write(&shard, slow);
        assert_eq!(drained(&shard, ONE), b"bcd");
    }

    #[test]
    fn what_is_given_up_holds_nothing_back() {
        let directory = tempfile::tempdir().unwrap();
        let shard = shard(directory.path());
        let given_up = staged(&shard, &[(ONE, b'a')]);
        write(&shard, staged(&shard, &[(ONE, b'b')]));
        drop(given_up);
        assert_eq!(drained(&shard, ONE), b"b");
    }

    /// A migration whose writes are held off is drained when nothing is owed: others must not make it seem so.
    #[test]
    fn what_another_migration_writes_holds_nothing_back() {
        let directory = tempfile::tempdir().unwrap();
        let shard = shard(directory.path());
        let slow = staged(&shard, &[(OTHER, b'a')]);
        write(&shard, staged(&shard, &[(ONE, b'b'), (OTHER, b'c')]));
        assert_eq!(drained(&shard, ONE), b"b");
        assert_eq!(drained(&shard, OTHER), b"");
        write(&shard, slow);
        assert_eq!(drained(&shard, OTHER), b"ac");
    }
}
