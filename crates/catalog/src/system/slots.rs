use crate::{SYSTEM, Snapshot};

computed_table! { SYSTEM, "slots",
    /// One row a slot: who owns it, what it holds, how much it is used.
    struct Row {
        /// The slot's number.
        slot: i64,
        /// The shard that owns it.
        shard_id: i64,
        /// Live rows of all tables, counted exactly.
        row_count: i64,
        /// Bytes of its live keys and rows, before compression.
        storage_bytes: i64,
        /// Rows read since the database was opened.
        reads: i64,
        /// Rows written since the database was opened.
        writes: i64,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |slot: &crate::snapshot::SlotState| Row {
        slot: i64::from(slot.slot.0),
        shard_id: i64::from(slot.shard.0),
        row_count: slot.rows,
        storage_bytes: slot.bytes,
        reads: slot.reads as i64,
        writes: slot.writes as i64,
    };
    snapshot.slots.iter().map(row).collect()
}
