//! Exact rows and bytes per table and slot.
//!
//! The durable counters are changed by the batch that changes the rows (RocksDB adds the differences up with a merge
//! operator); the copies in memory follow each successful batch. `counters-exact` is asserted against full counts by
//! the tests of this crate and by the crash test.

use evenkeel_model::{Slot, SlotSet, TableId, Timestamp};
use parking_lot::Mutex;
use rocksdb::MergeOperands;
use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;

/// Live rows of a slot, and their bytes (key and row, before compression).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCount {
    pub rows: i64,
    pub bytes: i64,
}

impl AddAssign for SlotCount {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

impl SlotCount {
    pub(crate) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.rows.to_le_bytes());
        bytes[8..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (rows, rest) = bytes.split_first_chunk::<8>()?;
        let (bytes, _) = rest.split_first_chunk::<8>()?;
        Some(Self { rows: i64::from_le_bytes(*rows), bytes: i64::from_le_bytes(*bytes) })
    }
}

/// RocksDB's merge operator: sums.
pub(crate) fn merge(_key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let mut sum = existing.and_then(SlotCount::decode).unwrap_or_default();
    for operand in operands {
        sum += SlotCount::decode(operand)?;
    }
    Some(sum.encode().to_vec())
}

/// Differences that one batch makes, by table and slot.
pub(crate) type Differences = BTreeMap<(TableId, Slot), SlotCount>;

/// The counters in memory.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    tables: Mutex<HashMap<TableId, TableCount>>,
}

#[derive(Debug, Default)]
struct TableCount {
    slots: BTreeMap<Slot, SlotCount>,
    total: SlotCount,
    changed: Timestamp,
}

impl Counters {
    /// Adds what a successful batch changed at `commit`.
    pub(crate) fn add(&self, differences: &Differences, commit: Timestamp) {
        let mut tables = self.tables.lock();
        for ((table, slot), difference) in differences {
            let count = tables.entry(*table).or_default();
            *count.slots.entry(*slot).or_default() += *difference;
            count.total += *difference;
            count.changed = count.changed.max(commit);
        }
    }

    /// Notes a commit that changed rows without changing counts.
    pub(crate) fn touch(&self, tables: impl Iterator<Item = TableId>, commit: Timestamp) {
        let mut counts = self.tables.lock();
        for table in tables {
            let count = counts.entry(table).or_default();
            count.changed = count.changed.max(commit);
        }
    }

    pub(crate) fn table(&self, table: TableId) -> (SlotCount, Timestamp) {
        self.tables.lock().get(&table).map_or_else(Default::default, |count| (count.total, count.changed))
    }

    pub(crate) fn last_change(&self) -> Timestamp {
        self.tables.lock().values().map(|count| count.changed).max().unwrap_or(Timestamp::ZERO)
    }

    pub(crate) fn slots(&self) -> BTreeMap<Slot, SlotCount> {
        let mut slots = BTreeMap::<Slot, SlotCount>::new();
        for count in self.tables.lock().values() {
            for (slot, count) in &count.slots {
                *slots.entry(*slot).or_default() += *count;
            }
        }
        slots
    }

    pub(crate) fn tables(&self) -> Vec<(TableId, Vec<(Slot, SlotCount)>)> {
        let tables = self.tables.lock();
        let slots = |count: &TableCount| {
            count.slots.iter().filter(|(_, c)| **c != SlotCount::default()).map(|(s, c)| (*s, *c)).collect()
        };
        let mut all: Vec<_> = tables.iter().map(|(table, count)| (*table, slots(count))).collect();
        all.sort_by_key(|(table, _)| *table);
        all
    }

    /// Takes out the counts of these slots, by table.
    pub(crate) fn take(&self, slots: &SlotSet) -> Differences {
        let mut taken = Differences::new();
        for (table, count) in self.tables.lock().iter_mut() {
            let concerned: Vec<Slot> = count.slots.keys().filter(|slot| slots.contains(**slot)).copied().collect();
            for slot in concerned {
                let Some(was) = count.slots.remove(&slot) else { continue };
                count.total += SlotCount { rows: -was.rows, bytes: -was.bytes };
                taken.insert((*table, slot), was);
            }
        }
        taken
    }

    /// The counts of these slots, by table.
    pub(crate) fn of(&self, slots: &SlotSet) -> Differences {
        let tables = self.tables.lock();
        let counts = tables.iter().flat_map(|(table, count)| count.slots.iter().map(|(slot, c)| ((*table, *slot), *c)));
        counts.filter(|((_, slot), _)| slots.contains(*slot)).collect()
    }

    pub(crate) fn drop_table(&self, table: TableId) {
        self.tables.lock().remove(&table);
    }
}
