use super::hundredths;
use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "shards",
    /// One row a shard: how much it holds and how busy it is.
    struct Row {
        /// The shard's number.
        shard_id: i64,
        /// The node that hosts it.
        node_id: i64,
        /// `active`: it serves its slots; `draining`: it does, and gives them all away.
        state: String,
        /// Whether its slots stay where they are, and no others come.
        pinned: bool,
        /// Slots it owns.
        slots: i64,
        /// Live rows of all tables, counted exactly.
        row_count: i64,
        /// Bytes of its files, logs and replaced versions included.
        storage_bytes: i64,
        /// Bytes of replaced versions in its sorted files, kept for open snapshots and AS OF.
        history_bytes: i64,
        /// Bytes of its write buffers in memory.
        memory_usage: i64,
        /// Rows read and written a second, over the last second.
        qps: f64,
        /// Rows read a second, over the last second.
        read_qps: f64,
        /// Rows written a second, over the last second.
        write_qps: f64,
        /// Cores busy in this shard, over the last second.
        cpu_usage: f64,
        /// Milliseconds that one in a hundred of its reads by key and commits took longer than, over the last second; NULL
        /// when it had none.
        latency_p99_ms: Option<f64>,
        /// Sessions that used it at the same time, on average over the last second.
        connections: f64,
        /// Whether it is beyond a limit of its own; SYSTEM.HOT_SHARDS says which.
        hot: bool,
        /// The version of the slot map.
        epoch: i64,
        /// When the shard was made.
        created_at: Instant,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |shard: &crate::snapshot::Shard| Row {
        shard_id: i64::from(shard.id.0),
        node_id: 1,
        state: shard.state.to_string(),
        pinned: shard.pinned,
        slots: shard.slots as i64,
        row_count: shard.rows,
        storage_bytes: shard.storage_bytes as i64,
        history_bytes: shard.history_bytes as i64,
        memory_usage: shard.memory_bytes as i64,
        qps: shard.read_rows_per_second + shard.written_rows_per_second,
        read_qps: shard.read_rows_per_second,
        write_qps: shard.written_rows_per_second,
        cpu_usage: shard.cpu_cores,
        latency_p99_ms: shard.latency_ms_p99,
        connections: hundredths(shard.connections),
        hot: snapshot.hot_shards.iter().any(|hot| hot.shard == shard.id),
        epoch: shard.epoch.0 as i64,
        created_at: Instant::from_millis(shard.created_at_ms),
    };
    snapshot.shards.iter().map(row).collect()
}
