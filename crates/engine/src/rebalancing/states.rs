//! Jobs, migrations, decisions and measurements as the SYSTEM tables show them.

use crate::database::Database;
use crate::oracle::now_ms;
use evenkeel_catalog::snapshot as state;
use evenkeel_conductor::{StoredJob, StoredMigration, hot_limits, verdict_name};
use evenkeel_model::{MigrationId, ShardId};
use evenkeel_planner::JobKind;
use evenkeel_rebalancer::migration::Phase;
use std::collections::{BTreeMap, BTreeSet};

/// How much of a migration is done, where its copy is the larger part: 0 to 100.
fn progress_pct(stored: &StoredMigration) -> f64 {
    let progress = &stored.progress;
    let copied = progress.rows as f64 / progress.rows_total.max(progress.rows).max(1) as f64;
    match stored.migration.phase {
        Phase::Planned => 0.0,
        Phase::Copying => 80.0 * copied,
        Phase::CatchingUp | Phase::Sealing | Phase::Unsealing => 80.0,
        Phase::Switching | Phase::Activating => 85.0,
        Phase::Verifying => 90.0,
        Phase::Dropping => 95.0,
        Phase::Done => 100.0,
        Phase::Reclaiming | Phase::Undoing | Phase::Undone | Phase::VerificationFailed => 0.0,
    }
}

/// Rows a second of the copy so far, or of the whole of it.
fn rows_per_second(stored: &StoredMigration) -> f64 {
    let progress = &stored.progress;
    let Some(started_at_ms) = progress.started_at_ms else { return 0.0 };
    let until_ms = progress.copied_at_ms.or(progress.finished_at_ms).unwrap_or_else(now_ms);
    progress.rows as f64 * 1_000.0 / (until_ms - started_at_ms).max(1) as f64
}

/// Seconds until the copy is over at this pace; what follows it is short.
fn eta_seconds(stored: &StoredMigration) -> Option<f64> {
    let (progress, rate) = (&stored.progress, rows_per_second(stored));
    let left = progress.rows_total.saturating_sub(progress.rows) as f64;
    match stored.migration.phase {
        phase if phase.is_over() => None,
        Phase::Copying if rate > 0.0 => Some(left / rate),
        Phase::Planned | Phase::Copying => None,
        _ => Some(0.0),
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

impl Database {
    /// Shards that a job empties.
    pub(crate) fn draining_shards(&self) -> BTreeSet<ShardId> {
        let jobs = self.rebalancing.conductor.jobs();
        let open = jobs
            .iter()
            .filter(|job| !job.status.is_over() && matches!(job.plan.kind, JobKind::Remove | JobKind::Merge));
        open.flat_map(|job| job.plan.removes.clone()).collect()
    }

    pub(crate) fn migration_states(&self) -> Vec<state::Migration> {
        let state = |stored: StoredMigration| {
            let (migration, progress) = (&stored.migration, &stored.progress);
            state::Migration {
                id: migration.id,
                job: migration.job,
                source: migration.source,
                target: migration.target,
                phase: migration.phase.name(),
                slots: migration.slots.len(),
                rows_migrated: progress.rows,
                rows_total: progress.rows_total.max(progress.rows),
                bytes_migrated: progress.bytes,
                progress_pct: rounded(progress_pct(&stored), 1),
                rows_per_second: rounded(rows_per_second(&stored), 1),
                eta_seconds: eta_seconds(&stored).map(|seconds| rounded(seconds, 1)),
                cutover_ms: progress.pause_us.map(|us| us as f64 / 1_000.0),
                throttled: progress.is_throttled,
                error: progress.error.clone(),
                started_at_ms: progress.started_at_ms,
                finished_at_ms: progress.finished_at_ms,
            }
        };
        self.rebalancing.conductor.migrations().into_iter().map(state).collect()
    }

    pub(crate) fn job_states(&self) -> Vec<state::Job> {
        let migrations: BTreeMap<MigrationId, StoredMigration> =
            self.rebalancing.conductor.migrations().into_iter().map(|stored| (stored.migration.id, stored)).collect();
        let jobs = self.rebalancing.conductor.jobs();
        let any_open = jobs.iter().any(|job| !job.status.is_over());
        let imbalance_now = any_open.then(|| rounded(evenkeel_planner::imbalance(&self.planner_snapshot().problem), 3));
        let state = |job: StoredJob| {
            let begun = || job.migrations.iter().flatten().filter_map(|id| migrations.get(id));
            let total = job.plan.moves.len();
            let bytes: u64 = job.plan.moves.iter().map(|step| step.bytes).sum();
            let part = |stored: &StoredMigration| progress_pct(stored) / 100.0;
            let progress = begun().map(part).sum::<f64>() / total.max(1) as f64;
            let rate: f64 = begun().map(|stored| stored.progress.bytes).sum::<u64>() as f64
                / ((now_ms() - job.created_at_ms).max(1) as f64 / 1_000.0);
            let is_over = job.status.is_over();
            let eta = (!is_over && rate > 0.0).then(|| (1.0 - progress) * bytes as f64 / rate);
            state::Job {
                id: job.id,
                kind: job.plan.kind.name(),
                statement: Some(job.statement.clone()),
                state: job.status.name(),
                reason: Some(job.reason.clone()),
                migrations_done: begun().filter(|stored| stored.migration.phase == Phase::Done).count(),
                migrations_total: total,
                progress_pct: if total == 0 && is_over { 100.0 } else { rounded(progress * 100.0, 1) },
                eta_seconds: eta.map(|seconds| rounded(seconds, 1)),
                imbalance_before: Some(rounded(job.plan.summary.imbalance_before, 3)),
                imbalance_now: if is_over { job.imbalance_after.map(|after| rounded(after, 3)) } else { imbalance_now },
                created_at_ms: job.created_at_ms,
                finished_at_ms: job.finished_at_ms,
                error: job.error.clone(),
            }
        };
        jobs.into_iter().map(state).collect()
    }

    pub(crate) fn decision_states(&self) -> Vec<state::Decision> {
        let state = |decision: &evenkeel_rebalancer::balance::Decision| state::Decision {
            time_ms: decision.time_ms,
            trigger: decision.trigger.name(),
            decision: verdict_name(decision.verdict),
            reason: match decision.shard {
                Some(shard) => format!("shard {shard}: {}", decision.reason),
                None => decision.reason.to_string(),
            },
            max_deviation: rounded(decision.max_deviation, 3),
            dimension: decision.dimension.name(),
            overloaded: decision.overloaded.clone(),
            underloaded: decision.underloaded.clone(),
        };
        self.rebalancing.conductor.with_balancer(|balancer| balancer.decisions.iter().map(state).collect())
    }

    pub(crate) fn hot_shard_states(&self) -> Vec<state::HotShard> {
        let limits = hot_limits(&self.settings());
        let state = |hot: evenkeel_rebalancer::balance::HotShard| state::HotShard {
            shard: hot.shard,
            dimension: hot.dimension.name(),
            value: rounded(hot.value, 3),
            threshold: hot.threshold,
            since_ms: hot.since_ms,
            cooldown_until_ms: hot.cooldown_until_ms,
        };
        let hot = self.rebalancing.conductor.with_balancer(|balancer| balancer.hot.hot(now_ms(), &limits));
        hot.into_iter().map(state).collect()
    }

    pub(crate) fn shard_metric_states(&self) -> Vec<state::ShardMetric> {
        self.rebalancing.metrics.lock().iter().cloned().collect()
    }
}
