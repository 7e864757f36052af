//! Everything the computed tables are computed from, taken at one moment.

use crate::schema::{Table, View};
use evenkeel_model::{ColumnType, Epoch, JobId, MigrationId, Role, Setting, ShardId, Slot};
use std::collections::BTreeMap;

/// The state of a database at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub shards: Vec<Shard>,
    pub slots: Vec<SlotState>,
    pub settings: Vec<SettingState>,
    pub tables: Vec<TableState>,
    pub views: Vec<View>,
    /// By view; only where a table that shows them is read, because views are planned for it.
    pub view_columns: BTreeMap<String, Vec<(String, ColumnType)>>,
    pub users: Vec<User>,
    /// Only where a table that shows them is read.
    pub functions: Vec<Function>,
    /// Settings of PostgreSQL's that clients ask for, with their values.
    pub foreign_settings: Vec<(&'static str, &'static str)>,
    pub sessions: Vec<Session>,
    pub queries: Vec<Query>,
    pub slow_queries: Vec<SlowQuery>,
    pub transactions: Vec<Transaction>,
    pub locks: Vec<Lock>,
    pub events: Vec<Event>,
    pub nodes: Vec<Node>,
    pub jobs: Vec<Job>,
    pub migrations: Vec<Migration>,
    pub decisions: Vec<Decision>,
    pub hot_shards: Vec<HotShard>,
    pub shard_metrics: Vec<ShardMetric>,
}

/// A shard.
#[derive(Clone, Debug)]
pub struct Shard {
    pub id: ShardId,
    pub state: &'static str,
    pub pinned: bool,
    pub slots: usize,
    pub rows: i64,
    pub storage_bytes: u64,
    pub history_bytes: u64,
    pub memory_bytes: u64,
    pub read_rows_per_second: f64,
    pub written_rows_per_second: f64,
    pub cpu_cores: f64,
    /// Of reads by key and commits; `None` where there were none.
    pub latency_ms_p99: Option<f64>,
    /// Sessions that used the shard at the same time, on average.
    pub connections: f64,
    pub epoch: Epoch,
    pub created_at_ms: i64,
}

/// A slot.
#[derive(Clone, Debug)]
pub struct SlotState {
    pub slot: Slot,
    pub shard: ShardId,
    pub rows: i64,
    pub bytes: i64,
    pub reads: u64,
    pub writes: u64,
}

/// A setting and where its value comes from.
#[derive(Clone, Debug)]
pub struct SettingState {
    pub setting: &'static Setting,
    pub value: String,
    pub origin: &'static str,
    pub changed_at_ms: Option<i64>,
}

/// A table and what it holds.
#[derive(Clone, Debug)]
pub struct TableState {
    pub table: Table,
    pub rows: i64,
    pub bytes: i64,
}

/// A function that statements can call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    pub name: String,
    /// As `pg_proc.prokind`: `f`, `a` for an aggregate, `w` for a window function.
    pub kind: &'static str,
}

/// A user.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub role: Role,
    pub connection_limit: Option<u32>,
    pub created_at_ms: i64,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: u64,
    pub user: String,
    /// `None` within the process.
    pub client: Option<String>,
    pub application: String,
    pub state: &'static str,
    pub statements: u64,
    pub started_at_ms: i64,
}

/// A statement that runs.
#[derive(Clone, Debug)]
pub struct Query {
    pub id: u64,
    pub session: u64,
    pub user: String,
    pub statement: String,
    pub started_at_ms: i64,
    pub elapsed_ms: f64,
}

/// A statement that took long.
#[derive(Clone, Debug)]
pub struct SlowQuery {
    pub id: u64,
    pub session: u64,
    pub user: String,
    pub statement: String,
    pub started_at_ms: i64,
    pub duration_ms: f64,
    pub rows: Option<u64>,
    pub error: Option<String>,
}

/// An open transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub session: u64,
    pub start: u64,
    pub state: &'static str,
    pub written_rows: u64,
    pub written_bytes: u64,
    pub started_at_ms: i64,
}

/// A table that a session holds or waits for.
#[derive(Clone, Debug)]
pub struct Lock {
    pub session: u64,
    pub table: String,
    pub mode: &'static str,
    pub granted: bool,
    /// Sessions that are in its way.
    pub waits_for: Vec<u64>,
    pub since_ms: i64,
}

/// Something that changed.
#[derive(Clone, Debug)]
pub struct Event {
    pub id: u64,
    pub time_ms: i64,
    pub kind: String,
    pub subject: String,
    pub message: String,
}

/// A process that hosts shards.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: u32,
    pub address: String,
    pub zone: Option<String>,
    /// How much it is meant to carry, compared with the others.
    pub weight: f64,
    pub state: &'static str,
    pub shards: usize,
    pub slots: usize,
    pub rows: i64,
    pub storage_bytes: u64,
    /// `None` for the node that answers.
    pub last_heartbeat_ms: Option<i64>,
}

/// What a statement or a monitor asked for.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub kind: &'static str,
    /// `None` when a monitor asked.
    pub statement: Option<String>,
    pub state: &'static str,
    pub reason: Option<String>,
    pub migrations_done: usize,
    pub migrations_total: usize,
    /// 0 to 100.
    pub progress_pct: f64,
    pub eta_seconds: Option<f64>,
    /// The largest deviation from a fair share when the plan was made: 0.15 is 15 %.
    pub imbalance_before: Option<f64>,
    pub imbalance_now: Option<f64>,
    pub created_at_ms: i64,
    pub finished_at_ms: Option<i64>,
    pub error: Option<String>,
}

/// A live move of slots, planned, under way or over.
#[derive(Clone, Debug)]
pub struct Migration {
    pub id: MigrationId,
    pub job: JobId,
    pub source: ShardId,
    pub target: ShardId,
    pub phase: &'static str,
    pub slots: usize,
    pub rows_migrated: u64,
    pub rows_total: u64,
    pub bytes_migrated: u64,
    /// 0 to 100.
    pub progress_pct: f64,
    pub rows_per_second: f64,
    pub eta_seconds: Option<f64>,
    /// How long writes were held back; `None` before the cutover.
    pub cutover_ms: Option<f64>,
    pub throttled: bool,
    pub error: Option<String>,
    pub started_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
}

/// Whether something was started, and why.
#[derive(Clone, Debug)]
pub struct Decision {
    pub time_ms: i64,
    pub trigger: &'static str,
    pub decision: &'static str,
    pub reason: String,
    /// From a fair share: 0.15 is 15 %.
    pub max_deviation: f64,
    pub dimension: &'static str,
    pub overloaded: Vec<ShardId>,
    pub underloaded: Vec<ShardId>,
}

/// A shard beyond a limit of its own, in one dimension.
#[derive(Clone, Debug)]
pub struct HotShard {
    pub shard: ShardId,
    pub dimension: &'static str,
    pub value: f64,
    pub threshold: f64,
    pub since_ms: i64,
    pub cooldown_until_ms: Option<i64>,
}

/// One measurement of a shard.
#[derive(Clone, Debug)]
pub struct ShardMetric {
    pub time_ms: i64,
    pub shard: ShardId,
    pub rows: i64,
    pub storage_bytes: u64,
    pub memory_bytes: u64,
    pub read_rows_per_second: f64,
    pub written_rows_per_second: f64,
    pub cpu_cores: f64,
    /// Of reads by key and commits; `None` where there were none.
    pub latency_ms_p99: Option<f64>,
    /// Sessions that used the shard at the same time, on average.
    pub connections: f64,
}
