use super::hundredths;
use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "shard_metrics",
    /// One row a shard and measurement: one every load_collection_interval, the last load_history of them.
    struct Row {
        /// When it was measured.
        time: Instant,
        /// The shard's number.
        shard_id: i64,
        /// Live rows of all tables, counted exactly.
        row_count: i64,
        /// Bytes of its files, logs and replaced versions included.
        storage_bytes: i64,
        /// Bytes of its write buffers in memory.
        memory_usage: i64,
        /// Rows read and written a second, since the measurement before.
        qps: f64,
        /// Rows read a second, since the measurement before.
        read_qps: f64,
        /// Rows written a second, since the measurement before.
        write_qps: f64,
        /// Cores busy in this shard, since the measurement before.
        cpu_usage: f64,
        /// Milliseconds that one in a hundred of its reads by key and commits took longer than; NULL when it had none.
        latency_p99_ms: Option<f64>,
        /// Sessions that used it at the same time, on average.
        connections: f64,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |metric: &crate::snapshot::ShardMetric| Row {
        time: Instant::from_millis(metric.time_ms),
        shard_id: i64::from(metric.shard.0),
        row_count: metric.rows,
        storage_bytes: metric.storage_bytes as i64,
        memory_usage: metric.memory_bytes as i64,
        qps: metric.read_rows_per_second + metric.written_rows_per_second,
        read_qps: metric.read_rows_per_second,
        write_qps: metric.written_rows_per_second,
        cpu_usage: metric.cpu_cores,
        latency_p99_ms: metric.latency_ms_p99,
        connections: hundredths(metric.connections),
    };
    snapshot.shard_metrics.iter().map(row).collect()
}
