//! Jobs of a bank whose slots move: which were acknowledged, where each migration was when the process was killed, and
//! that all of them end.

use crate::client::rows;
use evenkeel_engine::Session;
use std::collections::{BTreeMap, BTreeSet};

/// So long may the jobs take that a crash has left.
const DEADLINE: &str = "60s";

/// What the bank has said of its jobs.
#[derive(Debug, Default)]
pub struct Jobs {
    /// Whether slots are moved at all.
    pub expected: bool,
    acknowledged: BTreeSet<i64>,
    /// The phases of migrations under way, as they were last said.
    under_way: BTreeMap<i64, String>,
    /// How often a kill found a migration in a phase.
    pub struck: BTreeMap<String, usize>,
}

impl Jobs {
    /// A job's number was answered.
    pub fn acknowledge(&mut self, job: i64) {
        self.acknowledged.insert(job);
    }

    /// A migration's record was kept.
    pub fn enter(&mut self, migration: i64, phase: &str) {
        if ["done", "undone"].contains(&phase) {
            self.under_way.remove(&migration);
        } else {
            self.under_way.insert(migration, phase.to_string());
        }
    }

    /// The process is gone.
    pub fn strike(&mut self) {
        for phase in self.under_way.values() {
            *self.struck.entry(phase.clone()).or_default() += 1;
        }
    }

    /// Whether a migration is under way.
    pub fn are_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// How many were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Waits until every job has ended: it was done, or undone where somebody cancelled it.
    pub async fn settle(&mut self, session: &Session) {
        let all = "ALTER SYSTEM SET migration_rate = 0, cutover_budget = '50ms', migration_throttle = off";
        rows(session, all).await.expect("ALTER SYSTEM");
        let paused = rows(session, "SELECT job_id FROM SYSTEM.JOBS WHERE state = 'paused'").await.expect("SYSTEM.JOBS");
        for job in paused {
            rows(session, &format!("RESUME JOB {}", job[0])).await.expect("RESUME JOB");
        }
        let waited = rows(session, &format!("WAIT FOR JOB ALL TIMEOUT '{DEADLINE}'")).await;
        let migrations = "SELECT migration_id, source_shard, target_shard, phase, error FROM SYSTEM.REBALANCE_STATUS \
                          WHERE phase NOT IN ('done', 'undone') OR (phase = 'undone' AND error <> 'cancelled')";
        let left = rows(session, migrations).await.expect("SYSTEM.REBALANCE_STATUS");
        assert!(waited.is_ok(), "the jobs did not end well: {waited:?}; migrations: {left:?}");
        assert!(left.is_empty(), "migrations that did not end well: {left:?}");
        let jobs = rows(session, "SELECT job_id, state, statement, error FROM SYSTEM.JOBS").await.expect("SYSTEM.JOBS");
        for job in &jobs {
            assert!(["done", "cancelled"].contains(&job[1].as_str()), "a job that did not end well: {job:?}");
        }
        let found: BTreeSet<i64> = jobs.iter().map(|job| job[0].parse().expect("a job's number")).collect();
        // A history that is full has forgotten the oldest.
        let first = found.first().copied().unwrap_or(0);
        let lost: Vec<_> = self.acknowledged.iter().filter(|job| **job >= first && !found.contains(job)).collect();
        assert!(lost.is_empty(), "jobs that were acknowledged are gone: {lost:?}");
        self.under_way.clear();
    }
}
