//! Everything the computed tables are computed from, taken at one moment.

use crate::schema::{Table, View};
use evenkeel_model::{Epoch, Setting, ShardId, Slot};

/// The state of a database at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub shards: Vec<Shard>,
    pub slots: Vec<SlotState>,
    pub settings: Vec<SettingState>,
    pub tables: Vec<TableState>,
    pub views: Vec<View>,
    pub sessions: Vec<Session>,
    pub queries: Vec<Query>,
    pub slow_queries: Vec<SlowQuery>,
    pub transactions: Vec<Transaction>,
    pub events: Vec<Event>,
}

/// A shard.
#[derive(Clone, Debug)]
pub struct Shard {
    pub id: ShardId,
    pub slots: usize,
    pub rows: i64,
    pub storage_bytes: u64,
    pub history_bytes: u64,
    pub memory_bytes: u64,
    pub read_rows_per_second: f64,
    pub written_rows_per_second: f64,
    pub cpu_cores: f64,
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

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: u64,
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
    pub statement: String,
    pub started_at_ms: i64,
    pub elapsed_ms: f64,
}

/// A statement that took long.
#[derive(Clone, Debug)]
pub struct SlowQuery {
    pub id: u64,
    pub session: u64,
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

/// Something that changed.
#[derive(Clone, Debug)]
pub struct Event {
    pub time_ms: i64,
    pub kind: String,
    pub subject: String,
    pub message: String,
}
