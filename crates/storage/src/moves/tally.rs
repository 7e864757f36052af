//! What both sides of a migration compare: live rows at one timestamp, their bytes, and a digest of them.

use super::slot_ranges;
use crate::scan::{Cursor, View};
use crate::shard::Shard;
use evenkeel_model::{Result, SlotSet, TableId, Timestamp};
use evenkeel_rebalancer::migration::Tally;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Rows between two questions whether to go on.
const ROWS_AT_ONCE: usize = 4096;

impl Shard {
    /// Reads every row of these slots that is visible at a timestamp. `hidden` says which loads a table's readers skip,
    /// `go_on` is asked every few thousand rows with how many they were.
    ///
    /// # Errors
    /// What the disk or `go_on` says.
    pub fn tally(
        &self,
        slots: &SlotSet,
        at: Timestamp,
        hidden: impl Fn(TableId) -> Vec<Timestamp>,
        mut go_on: impl FnMut(u64, u64) -> Result<()>,
    ) -> Result<Tally> {
        let mut tally = Tally::default();
        for table in self.tables()? {
            let hidden = hidden(table);
            let view = View { read: at, hidden: &hidden, lock_timeout: Duration::from_secs(10), map: None };
            for range in slot_ranges(table, slots, self.slot_bits()) {
                let mut cursor = Cursor::passing(range);
                while !cursor.is_done() {
                    let before = tally;
                    self.scan(&mut cursor, &view, ROWS_AT_ONCE, |key, row| {
                        tally.rows += 1;
                        tally.bytes += (key.len() + row.len()) as u64;
                        let row = xxh3_64(key).rotate_left(17).wrapping_add(xxh3_64(row));
                        // Sums of plain hashes would not see two values change places.
                        tally.digest = tally.digest.wrapping_add(xxh3_64(&row.to_le_bytes()));
                        Ok(())
                    })?;
                    go_on(tally.rows - before.rows, tally.bytes - before.bytes)?;
                }
            }
        }
        Ok(tally)
    }
}
