//! A process and its database, as the world that the conductor works in.

use crate::database::Database;
use crate::layout::{CutoverPass, Layout};
use crate::oracle::now_ms;
use crate::registry::Registry;
use crate::snapshots::Pin;
use evenkeel_catalog::snapshot::ShardMetric;
use evenkeel_conductor::{
    Bell, Clock, Cutover, Foreground, MetaChange, MetaStore, Movement, Picture, Topology, World, verdict_name,
};
use evenkeel_model::{
    Epoch, Error, MigrationId, Result, Settings, ShardId, SlotBits, SlotMap, SlotSet, SqlState, Timestamp,
};
use evenkeel_rebalancer::balance::{Decision, Gauges};
use evenkeel_rebalancer::migration::Phase;
use evenkeel_storage::Shard;
use parking_lot::RwLockWriteGuard;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Measurements of shards that are kept, all together.
const METRICS_MAX: usize = 10_000;

/// The process that has a database open.
#[derive(Clone, Copy)]
pub(crate) struct Process<'d>(pub(super) &'d Database);

impl Clock for Process<'_> {
    fn now_ms(&self) -> i64 {
        now_ms()
    }

    fn elapsed(&self) -> Duration {
        self.0.rebalancing.opened.elapsed()
    }

    fn worked(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }

    fn wait(&self, bell: &Bell, seen: u64, at_most: Duration) {
        bell.block(seen, at_most);
    }
}

impl MetaStore for Process<'_> {
    fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.0.meta.read(key)
    }

    fn read_all(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.0.meta.read_all(prefix)
    }

    fn commit(&self, change: MetaChange) -> Result<()> {
        self.0.meta.commit(change)
    }
}

/// The picture in force, for whoever is to replace it.
pub(crate) struct Replacing<'d> {
    database: &'d Database,
    current: RwLockWriteGuard<'d, Arc<Layout>>,
}

impl Replacing<'_> {
    fn replace(&mut self, layout: Layout) {
        self.database.topology.replace(&mut self.current, layout);
    }
}

impl Cutover<Shard> for Replacing<'_> {
    fn slots(&self) -> &SlotMap {
        &self.current.slots
    }

    fn replace_slots(&mut self, slots: SlotMap) {
        let shards = self.current.shards.clone();
        self.replace(Layout::new(slots, shards));
    }

    fn add_shard(&mut self, id: ShardId, shard: Arc<Shard>) {
        let mut shards = self.current.shards.clone();
        shards.insert(id, shard);
        self.replace(Layout::new(self.current.slots.clone(), shards));
    }

    fn shard(&self, id: ShardId) -> Option<Arc<Shard>> {
        self.current.shards.get(&id).cloned()
    }

    fn remove_shard(&mut self, id: ShardId) {
        let mut shards = self.current.shards.clone();
        let Some(shard) = shards.remove(&id) else { return };
        // What it knew of the last writes: an older reader must not take the counters that are left for its own.
        let changed = shard.last_change();
        if let Some(heir) = shards.values().next() {
            self.database.schemas().tables.values().for_each(|table| heir.note_load(table.schema.id, changed));
        }
        self.replace(Layout::new(self.current.slots.clone(), shards));
    }
}

impl Topology for Process<'_> {
    type Cutover<'w>
        = Replacing<'w>
    where
        Self: 'w;
    type Pass<'w>
        = CutoverPass<'w>
    where
        Self: 'w;
    type Pin<'w>
        = Pin
    where
        Self: 'w;

    fn picture(&self) -> Picture<Shard> {
        let layout = self.0.layout();
        Picture { slots: layout.slots.clone(), shards: layout.shards.clone() }
    }

    fn cutover(&self) -> Replacing<'_> {
        Replacing { database: self.0, current: self.0.topology.cutover() }
    }

    fn begin_cutover(&self) -> Option<CutoverPass<'_>> {
        self.0.topology.begin_cutover()
    }

    fn is_loading(&self) -> bool {
        self.0.topology.is_loading()
    }

    fn announce(&self) {
        self.0.topology.announce();
    }

    fn has_readers_before(&self, epoch: Epoch) -> bool {
        self.0.topology.has_readers_before(epoch)
    }

    fn next_timestamp(&self) -> Result<Timestamp> {
        self.0.oracle.next()
    }

    fn pin(&self, at: Timestamp) -> Pin {
        self.0.snapshots.pin(|| at)
    }

    /// The shards have every commit, and no record of a transaction that began in one of them is looked up any more.
    fn settle_commits(&self) -> Result<()> {
        self.0.sync()?;
        self.0.mark_log(self.0.log().applied())
    }
}

impl World for Process<'_> {
    type Planning<'w>
        = tokio::sync::MutexGuard<'w, ()>
    where
        Self: 'w;

    fn settings(&self) -> Arc<Settings> {
        self.0.settings()
    }

    fn event(&self, kind: &str, subject: &str, message: &str) {
        self.0.event(kind, subject, message);
    }

    fn report(&self, error: &Error) {
        self.0.registry.report_background(error);
    }

    fn foreground(&self) -> Foreground {
        let Registry { latencies, processors, .. } = &self.0.registry;
        Foreground {
            recent_us: latencies.recent_us(),
            baseline_us: latencies.baseline_us(),
            processors: crate::processors::count(),
            idle_percent: processors.idle_percent(),
        }
    }

    fn start(&self, movement: Arc<Movement>) -> Result<()> {
        let id = movement.stored().migration.id;
        let no_thread =
            |what: &str| Error::new(SqlState::IoError, format!("cannot start a thread for migration {id}: {what}"));
        let database = self.0.rebalancing.database.get().and_then(Weak::upgrade);
        let database = database.ok_or_else(|| no_thread("the database closes"))?;
        let work = move || database.rebalancing.conductor.drive(&database.world(), &movement);
        let spawned = std::thread::Builder::new().name(format!("migration-{id}")).spawn(work);
        spawned.map(drop).map_err(|error| no_thread(&error.to_string()))
    }

    /// Apart from the threads of migrations, only the one that asks has it.
    fn is_abandoned(&self, threads: usize) -> bool {
        self.0.rebalancing.database.get().is_none_or(|database| database.strong_count() <= 1 + threads)
    }

    fn try_planning(&self) -> Option<Self::Planning<'_>> {
        self.0.rebalancing.planning.try_lock().ok()
    }

    fn on_phase(&self, migration: MigrationId, phase: Phase, kept: bool) {
        if kept {
            tracing::info!(migration = migration.0, phase = phase.name(), "migration phase");
            self.0.rebalancing.phase_spans.enter(migration, phase);
        }
        if let Some(hook) = &self.0.rebalancing.on_phase {
            hook.0(migration.0, phase.name(), kept);
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        rustix::fs::statvfs(&self.0.directory).ok().map(|disk| disk.f_bavail * disk.f_frsize)
    }

    /// What every shard has of what it may have; without reads and commits its latency is 0.
    fn gauges(&self) -> Vec<(ShardId, Gauges)> {
        let disk = rustix::fs::statvfs(&self.0.directory).ok().map(|disk| (disk.f_blocks * disk.f_frsize) as f64);
        let (cores, cache) =
            (f64::from(crate::processors::count()), self.0.settings().size("cache_size").max(1) as f64);
        let gauges = |shard: &Arc<Shard>| {
            let rates = self.0.registry.rates(shard.id());
            let storage = disk.map_or(0.0, |disk| shard.storage_bytes().0 as f64 / disk.max(1.0));
            let memory = shard.memory_bytes() as f64 / cache;
            let latency_ms = rates.p99_us.map_or(0.0, |us| us as f64 / 1e3);
            let qps = rates.reads + rates.writes;
            (shard.id(), Gauges([qps, rates.cores / cores, memory, storage, rates.sessions, latency_ms]))
        };
        self.0.layout().shards.values().map(gauges).collect()
    }

    fn on_phase_over(&self, phase: &'static str, took: Duration) {
        self.0.registry.note_phase(phase, took);
    }

    fn on_stuck(&self, migration: MigrationId, phase: Phase, unmoved: Duration) {
        let unmoved_s = unmoved.as_secs();
        tracing::warn!(migration = migration.0, phase = phase.name(), unmoved_s, "migration stuck");
    }

    fn on_decision(&self, decision: &Decision) {
        let (trigger, verdict) = (decision.trigger.name(), verdict_name(decision.verdict));
        let (reason, shard) = (decision.reason.to_string(), decision.shard.map(|shard| shard.0));
        let (max_deviation, dimension) = (decision.max_deviation, decision.dimension.name());
        tracing::info!(trigger, decision = verdict, reason, shard, max_deviation, dimension, "balancer decision");
    }

    fn on_pause(&self, pause: Duration) {
        self.0.registry.cutovers.note(pause);
    }

    /// A row of `SYSTEM.SHARD_METRICS` for every shard.
    fn measured(&self) {
        let (time_ms, layout) = (now_ms(), self.0.layout());
        let metric = |(id, shard): (&ShardId, &Arc<Shard>)| {
            let rates = self.0.registry.rates(*id);
            ShardMetric {
                time_ms,
                shard: *id,
                rows: shard.slot_counts().values().map(|count| count.rows).sum(),
                storage_bytes: shard.storage_bytes().0,
                memory_bytes: shard.memory_bytes(),
                read_rows_per_second: rates.reads,
                written_rows_per_second: rates.writes,
                cpu_cores: rates.cores,
                latency_ms_p99: rates.p99_us.map(|us| us as f64 / 1e3),
                connections: rates.sessions,
            }
        };
        let mut metrics = self.0.rebalancing.metrics.lock();
        metrics.extend(layout.shards.iter().map(metric));
        while metrics.len() > METRICS_MAX {
            metrics.pop_front();
        }
    }

    fn make_shard(&self, id: ShardId, bits: SlotBits, epoch: Epoch) -> Result<Arc<Shard>> {
        let shard = Arc::new(Shard::open(id, &self.0.emptied(id)?, bits, &self.0.store)?);
        shard.claim(SlotSet::new(), epoch)?;
        Ok(shard)
    }

    fn delete_shard(&self, shard: Arc<Shard>) -> Result<()> {
        self.0.delete_files(shard, Instant::now())
    }
}
