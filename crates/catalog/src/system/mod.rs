//! The SYSTEM tables, one file each.

mod active_queries;
mod balancer_decisions;
mod columns;
mod events;
mod grants;
mod hot_shards;
mod jobs;
mod locks;
mod nodes;
mod rebalance_status;
mod sessions;
mod settings;
mod shard_metrics;
mod shards;
mod slots;
mod slow_queries;
mod tables;
mod transactions;
mod users;

use crate::SystemTable;

/// An average, with as many digits as it is worth.
fn hundredths(average: f64) -> f64 {
    (average * 100.0).round() / 100.0
}

/// Every SYSTEM table, by name.
pub const TABLES: &[SystemTable] = &[
    active_queries::TABLE,
    balancer_decisions::TABLE,
    columns::TABLE,
    events::TABLE,
    grants::TABLE,
    hot_shards::TABLE,
    jobs::TABLE,
    locks::TABLE,
    nodes::TABLE,
    rebalance_status::TABLE,
    sessions::TABLE,
    settings::TABLE,
    shard_metrics::TABLE,
    shards::TABLE,
    slots::TABLE,
    slow_queries::TABLE,
    tables::TABLE,
    transactions::TABLE,
    users::TABLE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Snapshot;
    use crate::snapshot::{Decision, HotShard, Migration, Node, Shard};
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
    use evenkeel_model::{Epoch, JobId, MigrationId, ShardId};

    fn shard(id: u32) -> Shard {
        Shard {
            id: ShardId(id),
            state: "draining",
            pinned: id == 1,
            slots: 10,
            rows: 5,
            storage_bytes: 7,
            history_bytes: 0,
            memory_bytes: 0,
            read_rows_per_second: 1.0,
            written_rows_per_second: 2.0,
            cpu_cores: 0.5,
            latency_ms_p99: None,
            connections: 0.0,
            epoch: Epoch(3),
            created_at_ms: 1,
        }
    }

    #[test]
    fn tables_stand_by_name_and_have_no_rows_of_their_own() {
        assert!(TABLES.is_sorted_by_key(|table| table.name));
        for table in TABLES {
            let batch = (table.batch)(&Snapshot::default());
            assert_eq!((batch.schema(), batch.num_rows()), (table.schema(), 0), "{}", table.name);
        }
    }

    #[test]
    fn a_shard_is_hot_when_it_is_among_the_hot_ones() {
        let hot = |dimension| HotShard {
            shard: ShardId(2),
            dimension,
            value: 0.9,
            threshold: 0.8,
            since_ms: 5,
            cooldown_until_ms: None,
        };
        let hot_shards = vec![hot("cpu"), hot("storage")];
        let snapshot = Snapshot { shards: vec![shard(1), shard(2)], hot_shards, ..Snapshot::default() };
        let batch = (shards::TABLE.batch)(&snapshot);
        let flags = |name: &str| -> Vec<_> { batch[name].as_boolean().iter().flatten().collect() };
        assert_eq!((flags("hot"), flags("pinned")), (vec![false, true], vec![true, false]));
        assert_eq!(batch["state"].as_string::<i32>().value(0), "draining");
        let batch = (hot_shards::TABLE.batch)(&snapshot);
        assert_eq!(batch["shard_id"].as_primitive::<Int64Type>().values(), &[2, 2]);
        assert_eq!(batch["since"].as_primitive::<TimestampMicrosecondType>().values(), &[5_000, 5_000]);
        assert_eq!(batch["cooldown_until"].null_count(), 2);
    }

    #[test]
    fn shards_that_a_decision_names_are_listed() {
        let decision = Decision {
            time_ms: 1,
            trigger: "threshold",
            decision: "started",
            reason: "shard 3 has twice its share".to_string(),
            max_deviation: 1.0,
            dimension: "rows",
            overloaded: vec![ShardId(3), ShardId(5)],
            underloaded: Vec::new(),
        };
        let snapshot = Snapshot { decisions: vec![decision], ..Snapshot::default() };
        let batch = (balancer_decisions::TABLE.batch)(&snapshot);
        assert_eq!(batch["overloaded"].as_string::<i32>().value(0), "3, 5");
        assert!(batch["underloaded"].is_null(0));
    }

    #[test]
    fn what_has_not_happened_yet_is_null() {
        let migration = Migration {
            id: MigrationId(8),
            job: JobId(4),
            source: ShardId(1),
            target: ShardId(2),
            phase: "planned",
            slots: 12,
            rows_migrated: 0,
            rows_total: 900,
            bytes_migrated: 0,
            progress_pct: 0.0,
            rows_per_second: 0.0,
            eta_seconds: Some(1.5),
            cutover_ms: None,
            throttled: false,
            error: None,
            started_at_ms: None,
            finished_at_ms: None,
        };
        let node = Node {
            id: 1,
            address: "embedded".to_string(),
            zone: None,
            weight: 1.0,
            state: "up",
            shards: 2,
            slots: 20,
            rows: 10,
            storage_bytes: 14,
            last_heartbeat_ms: None,
        };
        let snapshot = Snapshot { migrations: vec![migration], nodes: vec![node], ..Snapshot::default() };
        let batch = (rebalance_status::TABLE.batch)(&snapshot);
        let of_batch = |name: &str| batch[name].is_null(0);
        assert!(["cutover_ms", "error", "started_at", "finished_at"].into_iter().all(of_batch));
        assert_eq!(batch["eta_seconds"].as_primitive::<Float64Type>().value(0), 1.5);
        let batch = (nodes::TABLE.batch)(&snapshot);
        assert!(batch["zone"].is_null(0) && batch["last_heartbeat"].is_null(0));
        assert_eq!(batch["rows"].as_primitive::<Int64Type>().values(), &[10]);
    }
}
