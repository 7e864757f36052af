//! What the SYSTEM tables are computed from: the state of a database, taken at one moment.
//!
//! Everything that is counted by slot is added up while no slot changes hands, so that a row is in one shard, in one
//! slot and in its table, also during a migration. What is measured (rates, files on disk) is read beside it.

use crate::database::Database;
use crate::layout::Layout;
use crate::registry::Registered;
use evenkeel_catalog::Snapshot;
use evenkeel_catalog::snapshot as state;
use evenkeel_model::{SETTINGS, Setting, ShardId, Slot};
use evenkeel_storage::codec::key::table_of;
use evenkeel_storage::{Shard, SlotCount};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What shards, slots and tables hold under one layout.
struct Counts {
    layout: Arc<Layout>,
    slots: BTreeMap<ShardId, BTreeMap<Slot, SlotCount>>,
    tables: Vec<state::TableState>,
}

impl Database {
    /// Everything the SYSTEM tables are computed from, now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let counts = self.counts();
        let shards = self.shard_states(&counts);
        Snapshot {
            nodes: vec![node_state(&shards)],
            slots: slot_states(&counts),
            shards,
            settings: self.setting_states(),
            tables: counts.tables,
            views: self.schemas().views.values().cloned().collect(),
            users: self.users().states(),
            view_columns: BTreeMap::new(),
            functions: vec![],
            foreign_settings: crate::foreign::settings().collect(),
            sessions: self.session_states(),
            queries: self.query_states(),
            slow_queries: self.registry.slow_queries(),
            transactions: self.transaction_states(),
            locks: self.lock_states(),
            events: self.registry.events(),
            jobs: self.job_states(),
            migrations: self.migration_states(),
            decisions: self.decision_states(),
            hot_shards: self.hot_shard_states(),
            shard_metrics: self.shard_metric_states(),
        }
    }

    /// Tables and rows that are held and waited for, by table in the order in which they were asked for.
    fn lock_states(&self) -> Vec<state::Lock> {
        let mut locks = self.table_locks.states();
        let (rows, schemas) = (self.row_locks.states(), self.schemas());
        let names: HashMap<_, _> =
            schemas.tables.values().map(|table| (table.schema.id, table.schema.name.as_str())).collect();
        // A table that was dropped has no rows to hold.
        locks.extend(rows.into_iter().filter_map(|row| {
            let table = names.get(&table_of(&row.key)?)?;
            Some(state::Lock {
                session: row.session,
                table: (*table).to_string(),
                mode: "row",
                granted: row.granted,
                waits_for: row.waits_for,
                since_ms: row.since_ms,
            })
        }));
        locks
    }

    fn counts(&self) -> Counts {
        let schemas = self.schemas();
        // Counters change hands with their slots: not while they are added up.
        let layout = self.topology.steady();
        let table = |table: &Arc<crate::table::TableHandle>| {
            let counts = layout.shards.values().map(|shard| shard.table_count(table.schema.id).0);
            let (rows, bytes) = counts.fold((0, 0), |sum, count| (sum.0 + count.rows, sum.1 + count.bytes));
            state::TableState { table: table.schema.clone(), rows, bytes }
        };
        Counts {
            slots: layout.shards.iter().map(|(id, shard)| (*id, shard.slot_counts())).collect(),
            tables: schemas.tables.values().map(table).collect(),
            layout: Arc::clone(&layout),
        }
    }

    fn shard_states(&self, counts: &Counts) -> Vec<state::Shard> {
        let draining = self.draining_shards();
        let known = self.rebalancing.conductor.shards();
        let slots = &counts.layout.slots;
        let state = |shard: &Arc<Shard>| {
            let rates = self.registry.rates(shard.id());
            let (storage_bytes, history_bytes) = shard.storage_bytes();
            state::Shard {
                id: shard.id(),
                state: if draining.contains(&shard.id()) { "draining" } else { "active" },
                pinned: known.get(&shard.id()).is_some_and(|known| known.pinned),
                slots: slots.count(shard.id()),
                rows: counts.slots.get(&shard.id()).into_iter().flat_map(BTreeMap::values).map(|c| c.rows).sum(),
                storage_bytes,
                history_bytes,
                memory_bytes: shard.memory_bytes(),
                read_rows_per_second: rates.reads,
                written_rows_per_second: rates.writes,
                cpu_cores: rates.cores,
                latency_ms_p99: rates.p99_us.map(|us| us as f64 / 1e3),
                connections: rates.sessions,
                epoch: slots.epoch(),
                created_at_ms: known.get(&shard.id()).map_or(0, |known| known.created_at_ms),
            }
        };
        counts.layout.shards.values().map(state).collect()
    }

    pub(crate) fn setting_states(&self) -> Vec<state::SettingState> {
        let (system, layout) = (self.settings.read(), self.layout());
        let state = |setting: &'static Setting| {
            let (value, origin, changed_at_ms) = match setting.name {
                "shards" => (layout.shards.len().to_string(), "creation", None),
                "slot_bits" => (layout.slots.bits().get().to_string(), "creation", None),
                _ => system.value(setting),
            };
            state::SettingState { setting, value, origin, changed_at_ms }
        };
        SETTINGS.iter().map(state).collect()
    }

    fn session_states(&self) -> Vec<state::Session> {
        let sessions = self.registry.sessions.lock();
        let state = |(id, session): (&u64, &Arc<Registered>)| {
            let now = session.now.lock();
            state::Session {
                id: *id,
                user: session.user.to_string(),
                client: session.client.clone(),
                application: session.application.clone(),
                state: match (&now.running, &now.transaction) {
                    (Some(_), _) => "active",
                    (None, Some(_)) => "idle in transaction",
                    (None, None) => "idle",
                },
                statements: now.statements,
                started_at_ms: session.started_at_ms,
            }
        };
        sessions.iter().map(state).collect()
    }

    fn query_states(&self) -> Vec<state::Query> {
        let sessions = self.registry.sessions.lock();
        let state = |(id, session): (&u64, &Arc<Registered>)| {
            session.now.lock().running.as_ref().map(|query| state::Query {
                id: query.id,
                session: *id,
                user: session.user.to_string(),
                statement: query.statement.to_string(),
                started_at_ms: query.started_at_ms,
                elapsed_ms: query.started.elapsed().as_micros() as f64 / 1e3,
            })
        };
        let mut queries: Vec<_> = sessions.iter().filter_map(state).collect();
        queries.sort_by_key(|query| query.id);
        queries
    }

    fn transaction_states(&self) -> Vec<state::Transaction> {
        self.registry.sessions.lock().values().filter_map(|session| session.now.lock().transaction.clone()).collect()
    }
}

fn slot_states(counts: &Counts) -> Vec<state::SlotState> {
    let state = |(slot, shard): (Slot, ShardId)| {
        let count = counts.slots.get(&shard).and_then(|slots| slots.get(&slot)).copied().unwrap_or_default();
        let (reads, writes) = counts.layout.shards.get(&shard).map_or((0, 0), |shard| shard.activity().of(slot));
        state::SlotState { slot, shard, rows: count.rows, bytes: count.bytes, reads, writes }
    };
    counts.layout.slots.iter().map(state).collect()
}

/// The one node of an embedded database, which hosts every shard.
fn node_state(shards: &[state::Shard]) -> state::Node {
    state::Node {
        id: 1,
        address: "embedded".to_string(),
        zone: None,
        weight: 1.0,
        state: "up",
        shards: shards.len(),
        slots: shards.iter().map(|shard| shard.slots).sum(),
        rows: shards.iter().map(|shard| shard.rows).sum(),
        storage_bytes: shards.iter().map(|shard| shard.storage_bytes).sum(),
        last_heartbeat_ms: None,
    }
}
