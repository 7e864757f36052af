use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "jobs",
    /// One row a job: what a statement or a monitor asked for, and how far it is; those that are over stay.
    struct Row {
        /// The job's number.
        job_id: i64,
        /// What it is: `rebalance`, `split`, `merge`, `move`, `remove` or `undo`.
        kind: String,
        /// The statement that asked for it; NULL when a monitor did.
        statement: Option<String>,
        /// Where it is: `running`, `paused`, `cancelling`, `done`, `cancelled` or `failed`.
        state: String,
        /// Why it was started, or why it waits.
        reason: Option<String>,
        /// Migrations of its plan that are over.
        migrations_done: i64,
        /// Migrations of its plan.
        migrations_total: i64,
        /// How much of it is done, 0 to 100.
        progress_pct: f64,
        /// Seconds that it will probably still take; NULL when it is over or that can't be told.
        eta_seconds: Option<f64>,
        /// The largest deviation of a shard from its fair share when the plan was made: 0.15 is 15 %.
        imbalance_before: Option<f64>,
        /// The same now; when the job is over, at its end.
        imbalance_now: Option<f64>,
        /// When it was asked for.
        created_at: Instant,
        /// When it ended; NULL while it has not.
        finished_at: Option<Instant>,
        /// What went wrong; NULL when nothing did.
        error: Option<String>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |job: &crate::snapshot::Job| Row {
        job_id: job.id.0 as i64,
        kind: job.kind.to_string(),
        statement: job.statement.clone(),
        state: job.state.to_string(),
        reason: job.reason.clone(),
        migrations_done: job.migrations_done as i64,
        migrations_total: job.migrations_total as i64,
        progress_pct: job.progress_pct,
        eta_seconds: job.eta_seconds,
        imbalance_before: job.imbalance_before,
        imbalance_now: job.imbalance_now,
        created_at: Instant::from_millis(job.created_at_ms),
        finished_at: job.finished_at_ms.map(Instant::from_millis),
        error: job.error.clone(),
    };
    snapshot.jobs.iter().map(row).collect()
}
