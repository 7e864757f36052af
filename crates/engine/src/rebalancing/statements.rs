//! Statements about shards, from the planner's outcome to what is done.

use crate::administration::{Column, send_rows};
use crate::database::Database;
use crate::output::Output;
use crate::parsed::EXPLAINED;
use crate::session::SessionInner;
use crate::statement::{Outcome, blocking};
use arrow::datatypes::DataType;
use evenkeel_model::{Error, JobId, Progress, Result, ShardId, SqlState, TableId};
use evenkeel_planner::{ExplainRow, JobPlan, JobStatus, Nothing, Outcome as Planned, Snapshot, WaitFor};
use evenkeel_pql::ast::ShardStatement;
use evenkeel_rebalancer::migration::Phase;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a shard's verification begins anew because somebody wrote meanwhile.
const VERIFY_TRIES: u32 = 5;

impl SessionInner {
    /// Carries out a statement about shards or jobs.
    pub(crate) async fn shard_statement(
        &self,
        statement: ShardStatement,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let database = Arc::clone(&self.database);
        // From the picture to the job nobody else plans: two jobs never get the same slots.
        let planning = self.database.rebalancing.planning.lock().await;
        let picture = blocking(move || Ok(database.planner_snapshot())).await?;
        let planned = evenkeel_planner::plan(&statement, text, &picture)?;
        match planned {
            Planned::Start(job) => {
                let database = Arc::clone(&self.database);
                let (plan, said) = (*job, text.trim().to_string());
                let kept = plan.clone();
                let id =
                    blocking(move || database.rebalancing.conductor.start_job(&database.world(), &said, kept)).await?;
                drop(planning);
                started(id, &plan, output).await
            }
            Planned::Rows(rows) => {
                drop(planning);
                explained(&rows, output).await
            }
            Planned::Nothing(nothing) => {
                drop(planning);
                self.nothing(nothing, output).await
            }
            Planned::Wait(wait) => {
                drop(planning);
                self.wait_for_jobs(wait, output).await
            }
            Planned::Verify(shard) => {
                drop(planning);
                self.verify(shard, output).await
            }
            other => {
                let database = Arc::clone(&self.database);
                let tag = blocking(move || database.change_shards(&other)).await?;
                Ok(Outcome::new(tag))
            }
        }
    }

    async fn nothing(&self, nothing: Nothing, output: &Output) -> Result<Outcome> {
        if let Some(decision) = &nothing.decision {
            self.database.rebalancing.conductor.note_decision(&self.database.world(), decision)?;
        }
        output.notice(nothing.reason, nothing.hint.as_deref()).await?;
        Ok(Outcome::new("NOTHING TO DO"))
    }

    /// Shows how far the jobs are until they are over. Whoever stops waiting stops nothing else.
    async fn wait_for_jobs(&self, wait: WaitFor, output: &Output) -> Result<Outcome> {
        let database = Arc::clone(&self.database);
        let told = output.clone();
        let jobs = wait.jobs.clone();
        let deadline = wait.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        let done = blocking(move || {
            let go_on = || {
                database.report_progress(&jobs, &told);
                told.cancel.check().is_ok() && deadline.is_none_or(|deadline| Instant::now() < deadline)
            };
            let done = database.rebalancing.conductor.wait(&database.world(), &jobs, go_on);
            told.cancel.check()?;
            Ok(done)
        });
        if !done.await? {
            return Err(Error::new(SqlState::QueryCanceled, "the jobs were not over in time")
                .with_hint("they go on; QUERY SYSTEM.JOBS shows how far they are, and CANCEL JOB stops one"));
        }
        let jobs = self.database.rebalancing.conductor.jobs();
        let failed = jobs.iter().find(|job| wait.jobs.contains(&job.id) && job.status == JobStatus::Failed);
        match failed {
            Some(job) => Err(Error::new(SqlState::OperatorIntervention, format!("job {} failed", job.id))
                .with_detail(job.error.clone().unwrap_or_default())
                .with_hint("QUERY SYSTEM.REBALANCE_STATUS shows its migrations; nothing was lost")),
            None => Ok(Outcome::new(format!("WAIT FOR JOB {}", wait.jobs.len()))),
        }
    }

    async fn verify(&self, shard: ShardId, output: &Output) -> Result<Outcome> {
        let database = Arc::clone(&self.database);
        let told = output.clone();
        let (rows, bytes, digest) = blocking(move || database.verify_shard(shard, &told)).await?;
        let number = |value: i64| Column::Number(vec![Some(value)]);
        let columns = [
            ("shard_id", number(i64::from(shard.0))),
            ("row_count", number(rows as i64)),
            ("bytes", number(bytes as i64)),
            ("digest", Column::Text(vec![Some(format!("{digest:016x}"))])),
        ];
        send_rows(output, &columns).await?;
        Ok(Outcome::rows("VERIFY SHARD", 1))
    }

    /// EXPLAIN of a statement about shards: the same plan, not carried out.
    pub(crate) async fn explain_shards(
        &self,
        statement: &ShardStatement,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let database = Arc::clone(&self.database);
        let picture = blocking(move || Ok(database.planner_snapshot())).await?;
        explained(&evenkeel_planner::explain(statement, text, &picture)?, output).await
    }

    /// SHOW BALANCER.
    pub(crate) async fn show_balancer(&self, output: &Output) -> Result<Outcome> {
        let database = Arc::clone(&self.database);
        let picture = blocking(move || Ok(database.planner_snapshot())).await?;
        explained(&evenkeel_planner::show_balancer(&picture), output).await
    }
}

/// The columns of [`started`].
pub(crate) const STARTED: [(&str, DataType); 7] = [
    ("job_id", DataType::Int64),
    ("migrations", DataType::Int64),
    ("rows", DataType::Int64),
    ("bytes", DataType::Int64),
    ("imbalance_before", DataType::Float64),
    ("imbalance_after", DataType::Float64),
    ("estimated_seconds", DataType::Float64),
];

/// What a job that has begun answers.
async fn started(id: JobId, plan: &JobPlan, output: &Output) -> Result<Outcome> {
    for notice in &plan.notices {
        output.notice(notice.clone(), None).await?;
    }
    let summary = plan.summary;
    let number = |value: u64| Column::Number(vec![Some(value as i64)]);
    let values = [
        number(id.0),
        number(summary.migrations as u64),
        number(summary.rows),
        number(summary.bytes),
        Column::Float(vec![Some(rounded(summary.imbalance_before))]),
        Column::Float(vec![Some(rounded(summary.imbalance_after))]),
        Column::Float(vec![summary.seconds_estimated.map(rounded)]),
    ];
    let columns: Vec<_> = STARTED.iter().map(|(name, _)| *name).zip(values).collect();
    send_rows(output, &columns).await?;
    Ok(Outcome::rows("JOB", 1))
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

async fn explained(rows: &[ExplainRow], output: &Output) -> Result<Outcome> {
    let text = |value: &dyn Fn(&ExplainRow) -> Option<String>| Column::Text(rows.iter().map(value).collect());
    let values = [
        text(&|row| Some(row.item.clone())),
        text(&|row| Some(row.what.clone())),
        text(&|row| Some(row.why.clone()).filter(|why| !why.is_empty())),
        text(&|row| row.hint.clone()),
    ];
    let columns: Vec<_> = EXPLAINED.iter().map(|(name, _)| *name).zip(values).collect();
    send_rows(output, &columns).await?;
    Ok(Outcome::rows("EXPLAIN", rows.len() as u64))
}

impl Database {
    /// One consistent picture for the planner.
    pub(crate) fn planner_snapshot(&self) -> Snapshot {
        self.rebalancing.conductor.snapshot(&self.world())
    }

    /// What needs no answer but its tag.
    fn change_shards(&self, planned: &Planned) -> Result<String> {
        let conductor = &self.rebalancing.conductor;
        let want = |job: &JobId, wanted| conductor.want(&self.world(), *job, wanted);
        let pin = |shard: &ShardId, pinned| conductor.pin_shard(&self.world(), *shard, pinned);
        match planned {
            Planned::Pin(shard) => pin(shard, true).map(|()| format!("PIN SHARD {shard}")),
            Planned::Unpin(shard) => pin(shard, false).map(|()| format!("UNPIN SHARD {shard}")),
            Planned::AddShard(shard) => {
                conductor.add_shard(&self.world(), *shard).map(|()| format!("ADD SHARD {shard}"))
            }
            Planned::Pause(job) => want(job, JobStatus::Paused).map(|()| format!("PAUSE JOB {job}")),
            Planned::Resume(job) => want(job, JobStatus::Running).map(|()| format!("RESUME JOB {job}")),
            Planned::Cancel(job) => want(job, JobStatus::Cancelling).map(|()| format!("CANCEL JOB {job}")),
            Planned::Start(_) | Planned::Wait(_) | Planned::Verify(_) | Planned::Rows(_) | Planned::Nothing(_) => {
                Err(Error::internal("a statement was planned as another"))
            }
        }
    }

    /// One line for the migration that is furthest from its end.
    fn report_progress(&self, jobs: &[JobId], output: &Output) {
        for stored in self.rebalancing.conductor.migrations() {
            let migration = &stored.migration;
            let under_way = !migration.phase.is_over() && migration.phase != Phase::Planned;
            if under_way && jobs.contains(&migration.job) {
                output.progress(Progress {
                    label: format!("shard {} → {}, {}", migration.source, migration.target, migration.phase),
                    done: stored.progress.rows,
                    total: Some(stored.progress.rows_total.max(stored.progress.rows)),
                    in_bytes: false,
                    rows: stored.progress.rows,
                });
            }
        }
    }

    /// Reads every row of a shard and compares with its counters.
    ///
    /// # Errors
    /// XX001 when they differ or a row can't be read; 55P03 when writes never paused long enough to compare.
    fn verify_shard(&self, id: ShardId, output: &Output) -> Result<(u64, u64, u64)> {
        let layout = self.layout();
        let shard = layout.shard(id)?;
        let slots = layout.slots.slots_of(id);
        for _ in 0..VERIFY_TRIES {
            let pin = self.snapshots.pin(|| self.oracle.read());
            let before = shard.count_of(&slots);
            let mut rows = 0;
            let hidden = |table: TableId| self.hidden_loads(table, pin.read);
            let tally = shard.tally(&slots, pin.read, hidden, |more, _| {
                rows += more;
                let (label, total) = (format!("shard {id}"), Some(before.rows.max(0) as u64));
                output.progress(Progress { label, done: rows, total, in_bytes: false, rows });
                output.cancel.check()
            })?;
            if tally.rows as i64 == before.rows && tally.bytes as i64 == before.bytes {
                return Ok((tally.rows, tally.bytes, tally.digest));
            }
            let quiet = shard.last_change() <= pin.read && shard.count_of(&slots) == before && !shard.is_moving();
            if quiet {
                return Err(Error::new(SqlState::DataCorrupted, format!("shard {id} does not hold what it counts"))
                    .with_detail(format!(
                        "{} rows of {} bytes were read, {} rows of {} bytes are counted",
                        tally.rows, tally.bytes, before.rows, before.bytes
                    ))
                    .with_hint("restore the directory from a backup"));
            }
        }
        Err(Error::new(SqlState::LockNotAvailable, format!("shard {id} was written all the time"))
            .with_hint("every row could be read; try again in a quieter moment to compare them with the counters"))
    }
}
