//! Full counts, to hold the exact counters against (`counters-exact`).

use evenkeel_model::{Result, Slot, TableId, Timestamp};
use evenkeel_storage::codec::key::{slot_of, table_of};
use evenkeel_storage::{Cursor, Shard, SlotCount, View};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows and bytes by table and slot.
pub type Counts = BTreeMap<(TableId, Slot), SlotCount>;

/// What the shard's counters say, empty slots left out.
pub fn counted(shard: &Shard) -> Counts {
    let tables = shard.table_slot_counts().into_iter();
    tables.flat_map(|(table, slots)| slots.into_iter().map(move |(slot, count)| ((table, slot), count))).collect()
}

/// What a scan of everything finds.
///
/// # Errors
/// What the disk says.
pub fn recount(shard: &Shard, hidden: &[Timestamp]) -> Result<Counts> {
    let view = View { read: Timestamp::MAX, hidden, lock_timeout: Duration::from_secs(10), map: None };
    let mut counts = Counts::new();
    let mut cursor = Cursor::new(Vec::new()..vec![0xFF; 16]);
    while !cursor.is_done() {
        shard.scan(&mut cursor, &view, 10_000, |key, row| {
            let table = table_of(key).expect("a row key");
            let count = counts.entry((table, slot_of(key, shard.slot_bits()))).or_default();
            *count += SlotCount { rows: 1, bytes: (key.len() + row.len()) as i64 };
            Ok(())
        })?;
    }
    Ok(counts)
}
