use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "hot_shards",
    /// One row a shard and limit (`hot_max_…`) that the mean of its last measurements is beyond.
    struct Row {
        /// The shard's number.
        shard_id: i64,
        /// What it has too much of: `qps`, `cpu`, `memory`, `storage`, `connections` or `latency`.
        dimension: String,
        /// The mean of the last measurements: a number a second, a part of 1, a number, or milliseconds.
        value: f64,
        /// The limit, in the same unit.
        threshold: f64,
        /// Since when it has been hot.
        since: Instant,
        /// Until when nothing is done about it, because something has been done; NULL when that is not so.
        cooldown_until: Option<Instant>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |hot: &crate::snapshot::HotShard| Row {
        shard_id: i64::from(hot.shard.0),
        dimension: hot.dimension.to_string(),
        value: hot.value,
        threshold: hot.threshold,
        since: Instant::from_millis(hot.since_ms),
        cooldown_until: hot.cooldown_until_ms.map(Instant::from_millis),
    };
    snapshot.hot_shards.iter().map(row).collect()
}
