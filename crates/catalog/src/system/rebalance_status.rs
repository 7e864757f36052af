use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "rebalance_status",
    /// One row a migration: a move of slots from one shard to another, planned, under way or over.
    struct Row {
        /// The migration's number.
        migration_id: i64,
        /// The job that it is a part of.
        job_id: i64,
        /// The shard that has the slots, or had them.
        source_shard: i64,
        /// The shard that is to have them.
        target_shard: i64,
        /// Where it is: `planned`, `copying`, `catching_up`, `sealing`, `switching`, `verifying`, `dropping`, `done`;
        /// on its way back `reclaiming`, `undoing`, `undone`; `verification_failed` when the copies differ.
        phase: String,
        /// Slots that move.
        slots: i64,
        /// Rows that the target has received.
        rows_migrated: i64,
        /// Rows to move, as far as that is known.
        rows_total: i64,
        /// Bytes that the target has received.
        bytes_migrated: i64,
        /// How much of it is done, 0 to 100.
        progress_pct: f64,
        /// Rows copied a second; while it runs the present pace, after that the mean.
        rows_per_second: f64,
        /// Seconds that it will probably still take; NULL when it is over or that can't be told.
        eta_seconds: Option<f64>,
        /// How long writes to the slots were held back, in milliseconds; NULL before the cutover.
        cutover_ms: Option<f64>,
        /// Whether it is slowed down for the sake of statements, or by a limit.
        throttled: bool,
        /// Why it went back or failed; NULL when it did not.
        error: Option<String>,
        /// When it began; NULL while it is only planned.
        started_at: Option<Instant>,
        /// When it ended; NULL while it has not.
        finished_at: Option<Instant>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |migration: &crate::snapshot::Migration| Row {
        migration_id: migration.id.0 as i64,
        job_id: migration.job.0 as i64,
        source_shard: i64::from(migration.source.0),
        target_shard: i64::from(migration.target.0),
        phase: migration.phase.to_string(),
        slots: migration.slots as i64,
        rows_migrated: migration.rows_migrated as i64,
        rows_total: migration.rows_total as i64,
        bytes_migrated: migration.bytes_migrated as i64,
        progress_pct: migration.progress_pct,
        rows_per_second: migration.rows_per_second,
        eta_seconds: migration.eta_seconds,
        cutover_ms: migration.cutover_ms,
        throttled: migration.throttled,
        error: migration.error.clone(),
        started_at: migration.started_at_ms.map(Instant::from_millis),
        finished_at: migration.finished_at_ms.map(Instant::from_millis),
    };
    snapshot.migrations.iter().map(row).collect()
}
