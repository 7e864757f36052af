//! What a database counts and measures, for whoever watches it from outside: the source of the metrics.
//!
//! Counters begin at zero when the database is opened and only grow; everything else is as it is now. What is not
//! measured is not here.

use crate::database::Database;
use crate::oracle::now_ms;
use evenkeel_model::{JobId, MigrationId, ShardId};
use evenkeel_pql::StatementKind;
use evenkeel_pql::ast::{CopyDirection, ShardStatement};
use sqlparser::ast as sql;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// What a statement does, as far as its time is of interest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatementClass {
    Query,
    Insert,
    Update,
    Delete,
    /// COPY into a table.
    Load,
    /// Tables, views, users, rights.
    Schema,
    /// COMMIT, which is where a block's writes go to disk.
    Commit,
    /// Shards and jobs, but for [`StatementClass::Wait`].
    Shards,
    /// WAIT FOR JOB takes as long as the job.
    Wait,
    /// Everything else, also what is no statement.
    #[default]
    Other,
}

impl StatementClass {
    /// Every class, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Query,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Load,
        Self::Schema,
        Self::Commit,
        Self::Shards,
        Self::Wait,
        Self::Other,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Load => "load",
            Self::Schema => "schema",
            Self::Commit => "commit",
            Self::Shards => "shards",
            Self::Wait => "wait",
            Self::Other => "other",
        }
    }

    pub(crate) fn of(kind: &StatementKind) -> Self {
        use sql::Statement as S;
        match kind {
            StatementKind::Sql(statement) => match statement.as_ref() {
                S::Query(_) => Self::Query,
                S::Insert(_) => Self::Insert,
                S::Update(_) => Self::Update,
                S::Delete(_) => Self::Delete,
                S::Commit { .. } => Self::Commit,
                S::AlterTable(_) | S::Drop { .. } | S::Truncate(_) | S::CreateView(_) => Self::Schema,
                _ => Self::Other,
            },
            StatementKind::Upsert(_) => Self::Insert,
            StatementKind::CreateTable { .. } | StatementKind::User(_) => Self::Schema,
            StatementKind::Copy(copy) if copy.direction == CopyDirection::From => Self::Load,
            StatementKind::Copy(_) => Self::Query,
            StatementKind::Shard(ShardStatement::WaitForJob { .. }) => Self::Wait,
            StatementKind::Shard(_) => Self::Shards,
            StatementKind::Explain { .. }
            | StatementKind::AlterSystemSet(_)
            | StatementKind::AlterSystemReset(_)
            | StatementKind::KillQuery(_)
            | StatementKind::Show(_)
            | StatementKind::Describe(_)
            | StatementKind::Locate { .. }
            | StatementKind::Cursor(_) => Self::Other,
        }
    }
}

/// Counts by time.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Seconds, and how many took at most that.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    pub sum_seconds: f64,
}

/// A shard.
#[derive(Clone, Debug)]
pub struct ShardMeasures {
    pub id: ShardId,
    pub pinned: bool,
    pub slots: usize,
    pub rows: i64,
    /// Keys and rows that are live, before compression.
    pub live_bytes: i64,
    pub storage_bytes: u64,
    pub history_bytes: u64,
    pub memory_bytes: u64,
    /// Since the database was opened, as all that follows.
    pub read_rows: u64,
    pub written_rows: u64,
    pub busy_seconds: f64,
    pub lock_waits: u64,
    pub lock_wait_seconds: f64,
}

/// A migration that is not over.
#[derive(Clone, Debug)]
pub struct MovingMeasures {
    pub id: MigrationId,
    pub job: JobId,
    pub source: ShardId,
    pub target: ShardId,
    pub phase: &'static str,
    pub copied_rows: u64,
    /// Since something last moved.
    pub idle_seconds: f64,
    pub throttled: bool,
}

/// How often the balancer has decided so.
#[derive(Clone, Debug)]
pub struct Decided {
    pub trigger: &'static str,
    pub decision: &'static str,
    pub reason: String,
    pub count: u64,
}

/// Everything, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    pub shards: Vec<ShardMeasures>,
    /// The largest deviation of a shard from its fair share: 0.15 is 15 %.
    pub imbalance: f64,
    pub statements: Vec<(StatementClass, Histogram)>,
    /// Statements that failed, by the first two characters of their SQLSTATE.
    pub failures: Vec<(StatementClass, &'static str, u64)>,
    /// By state.
    pub sessions: BTreeMap<&'static str, u64>,
    /// By state.
    pub jobs: BTreeMap<&'static str, u64>,
    pub moving: Vec<MovingMeasures>,
    /// How long nothing may move before a migration is called stuck; 0 for ever.
    pub stuck_after_seconds: f64,
    /// How long migrations were in each phase.
    pub phases: Vec<(&'static str, Histogram)>,
    /// How long cutovers held writes.
    pub cutovers: Histogram,
    pub decided: Vec<Decided>,
}

impl Database {
    /// Everything that is counted and measured, now. It looks at every slot: not for a thread that answers others.
    pub fn measures(&self) -> Measures {
        let snapshot = self.snapshot();
        let layout = self.layout();
        let mut live_bytes = BTreeMap::<ShardId, i64>::new();
        snapshot.slots.iter().for_each(|slot| *live_bytes.entry(slot.shard).or_default() += slot.bytes);
        let shard = |shown: &evenkeel_catalog::snapshot::Shard| {
            let shard = layout.shards.get(&shown.id)?;
            let ((read_rows, written_rows), (waits, waited_ns)) = (shard.activity().total(), shard.locks().waited());
            Some(ShardMeasures {
                id: shown.id,
                pinned: shown.pinned,
                slots: shown.slots,
                rows: shown.rows,
                live_bytes: live_bytes.get(&shown.id).copied().unwrap_or_default(),
                storage_bytes: shown.storage_bytes,
                history_bytes: shown.history_bytes,
                memory_bytes: shown.memory_bytes,
                read_rows,
                written_rows,
                busy_seconds: shard.activity().busy_ns() as f64 / 1e9,
                lock_waits: waits,
                lock_wait_seconds: waited_ns as f64 / 1e9,
            })
        };
        let decided = |((trigger, decision, reason), count): (&(&'static str, &'static str, String), &u64)| Decided {
            trigger,
            decision,
            reason: reason.clone(),
            count: *count,
        };
        let registry = &self.registry;
        Measures {
            shards: snapshot.shards.iter().filter_map(shard).collect(),
            imbalance: evenkeel_planner::imbalance(&self.planner_snapshot().problem),
            statements: registry.latencies.histograms(),
            failures: registry.latencies.failures(),
            sessions: counted(&["active", "idle", "idle in transaction"], snapshot.sessions.iter().map(|s| s.state)),
            jobs: counted(
                &["running", "paused", "cancelling", "done", "cancelled", "failed"],
                snapshot.jobs.iter().map(|job| job.state),
            ),
            moving: self.moving(),
            stuck_after_seconds: self.settings().duration_ms("stuck_migration_timeout") as f64 / 1e3,
            phases: registry.phases.lock().iter().map(|(phase, took)| (*phase, took.histogram())).collect(),
            cutovers: registry.cutovers.histogram(),
            decided: self
                .rebalancing
                .conductor
                .with_balancer(|balancer| balancer.decided.iter().map(decided).collect()),
        }
    }

    fn moving(&self) -> Vec<MovingMeasures> {
        let now = now_ms();
        let open =
            self.rebalancing.conductor.migrations().into_iter().filter(|stored| !stored.migration.phase.is_over());
        let moving = open.map(|stored| MovingMeasures {
            id: stored.migration.id,
            job: stored.migration.job,
            source: stored.migration.source,
            target: stored.migration.target,
            phase: stored.migration.phase.name(),
            copied_rows: stored.progress.rows,
            idle_seconds: (now - stored.progress.moved_at_ms).max(0) as f64 / 1e3,
            throttled: stored.progress.is_throttled,
        });
        moving.collect()
    }

    /// How many shards there are, and how many of them this process has open.
    pub fn shards_claimed(&self) -> (usize, usize) {
        let layout = self.layout();
        let known = self.rebalancing.conductor.shards();
        (known.len(), known.keys().filter(|shard| layout.shards.contains_key(shard)).count())
    }

    /// The number of the newest row of SYSTEM.EVENTS, and every one that follows.
    pub fn newest_event(&self) -> watch::Receiver<u64> {
        self.registry.newest_event.subscribe()
    }
}

/// How often each comes; those that are known are there also when they do not come.
fn counted(known: &[&'static str], all: impl Iterator<Item = &'static str>) -> BTreeMap<&'static str, u64> {
    let mut counts: BTreeMap<_, _> = known.iter().map(|name| (*name, 0)).collect();
    all.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_numbered_in_their_order() {
        for (at, class) in StatementClass::ALL.iter().enumerate() {
            assert_eq!(*class as usize, at);
        }
    }

    #[test]
    fn statements_have_their_class() {
        let class = |text: &str| StatementClass::of(&evenkeel_pql::parse_statement(text).unwrap().kind);
        assert_eq!(class("QUERY t WHERE a = 1"), StatementClass::Query);
        assert_eq!(class("UPSERT INTO t VALUES (1)"), StatementClass::Insert);
        assert_eq!(class("COPY t FROM 'f.csv'"), StatementClass::Load);
        assert_eq!(class("COPY t TO 'f.csv'"), StatementClass::Query);
        assert_eq!(class("CREATE TABLE t (a INT PRIMARY KEY)"), StatementClass::Schema);
        assert_eq!(class("WAIT FOR JOB LAST"), StatementClass::Wait);
        assert_eq!(class("REBALANCE SHARDS"), StatementClass::Shards);
        assert_eq!(class("SHOW TABLES"), StatementClass::Other);
    }
}
