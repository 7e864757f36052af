//! Measures the load of every slot, and decides by itself where the settings let it.
//!
//! WHAT MAY NEVER HAPPEN: a decision without a row in `SYSTEM.BALANCER_DECISIONS`; a move for a load that came and went.

use super::picture::slot_loads;
use crate::database::Database;
use crate::layout::Layout;
use crate::meta::Meta;
use crate::oracle::now_ms;
use evenkeel_catalog::snapshot as state;
use evenkeel_model::{Result, Settings, ShardId, Slot};
use evenkeel_planner::{JobKind, JobPlan, Summary};
use evenkeel_rebalancer::balance::{Decision, History, HotWatch, Load, Plan, Reason, Verdict, Watch, check, measure};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Decisions that are kept.
const DECISIONS_MAX: usize = 1_000;
/// Measurements in a row that must agree before something moves.
const STABLE_AFTER: u32 = 3;
/// Measurements over which a shard is hot or not.
const HEAT_MEASUREMENTS: usize = 10;
/// Measurements of shards that are kept, all together.
const METRICS_MAX: usize = 10_000;

/// What the balancer remembers.
pub(crate) struct Balancer {
    /// The last plan that was carried out.
    pub(crate) previous: Option<Plan>,
    pub(crate) watch: Watch,
    pub(crate) decisions: VecDeque<Decision>,
    /// How often since the start, by what made it look, what was decided, and why.
    pub(crate) decided: BTreeMap<(&'static str, &'static str, String), u64>,
    history: History,
    /// Reads, writes and busy time of every slot at the last measurement.
    seen: Option<(Instant, Vec<Seen>)>,
    checked_at_ms: i64,
    pub(super) cooling: BTreeMap<ShardId, i64>,
    pub(super) hot: HotWatch,
    pub(super) heat_checked_at_ms: i64,
    /// The last measurements of every shard, oldest first.
    pub(super) metrics: VecDeque<state::ShardMetric>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    accesses: u64,
    busy_ns: f64,
}

/// What every slot has had so far. A shard's busy time is its slots' by their accesses.
fn accesses(layout: &Layout) -> Vec<Seen> {
    let per_access: BTreeMap<ShardId, f64> = layout
        .shards
        .iter()
        .map(|(id, shard)| {
            let (reads, writes) = shard.activity().total();
            (*id, shard.activity().busy_ns() as f64 / ((reads + writes) as f64).max(1.0))
        })
        .collect();
    let seen = |(slot, owner): (Slot, ShardId)| {
        let Some(shard) = layout.shards.get(&owner) else { return Seen::default() };
        let (reads, writes) = shard.activity().of(slot);
        let busy_ns = (reads + writes) as f64 * per_access.get(&owner).copied().unwrap_or(0.0);
        Seen { accesses: reads + writes, busy_ns }
    };
    layout.slots.iter().map(seen).collect()
}

/// The word in SYSTEM.BALANCER_DECISIONS.
pub(super) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Started => "started",
        Verdict::Skipped => "skipped",
    }
}

/// A reason without its numbers: the word it is kept with.
fn reason_name(reason: &Reason) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(reason)) => reason.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

fn decision_key(time_ms: i64) -> String {
    format!("decision/{time_ms:020}")
}

impl Balancer {
    pub(super) fn open(meta: &Meta) -> Result<Self> {
        let decisions = meta.list::<Decision>("decision/")?.into_iter().map(|(_, decision)| decision).collect();
        Ok(Self {
            previous: meta.get("balancer_plan")?,
            watch: Watch::new(STABLE_AFTER),
            decisions,
            decided: BTreeMap::new(),
            history: History::new(10),
            seen: None,
            checked_at_ms: now_ms(),
            cooling: BTreeMap::new(),
            hot: HotWatch::new(HEAT_MEASUREMENTS),
            heat_checked_at_ms: now_ms(),
            metrics: VecDeque::new(),
        })
    }

    /// When it looks next.
    pub(super) fn next_check_ms(&self, settings: &Settings) -> i64 {
        self.checked_at_ms + settings.duration_ms("rebalance_check_interval") as i64
    }

    pub(super) fn cooling_until_ms(&self, shard: ShardId) -> Option<i64> {
        self.cooling.get(&shard).copied()
    }

    /// Rows and bytes as they are now, rates as they were measured.
    pub(super) fn slot_loads(&self, now: &[Load]) -> Vec<Load> {
        let smoothed = self.history.smoothed();
        let rates = |at: usize| smoothed.get(at).map_or((0.0, 0.0), |load| (load.qps, load.cpu));
        let load = |(at, now): (usize, &Load)| {
            let (qps, cpu) = rates(at);
            Load { qps, cpu, ..*now }
        };
        now.iter().enumerate().map(load).collect()
    }
}

impl Database {
    /// Measures, and looks whether something is to be done.
    pub(super) fn watch_balance(&self) -> Result<()> {
        let settings = self.settings();
        self.measure_load(&settings);
        let due =
            settings.boolean("auto_rebalance") && now_ms() >= self.rebalancing.balancer.lock().next_check_ms(&settings);
        if due {
            self.check_balance()?;
        }
        self.watch_heat(&settings)?;
        self.watch_stuck(&settings);
        Ok(())
    }

    /// Says of a migration that nothing has moved for long, and why, as far as it is known.
    fn watch_stuck(&self, settings: &Settings) {
        let timeout_ms = settings.duration_ms("stuck_migration_timeout") as i64;
        for stored in self.rebalancing.migrations() {
            let (migration, progress) = (&stored.migration, &stored.progress);
            let waits = migration.phase.is_over() || timeout_ms == 0;
            if waits || now_ms() - progress.moved_at_ms < timeout_ms {
                continue;
            }
            self.rebalancing.note_stuck(
                migration.id,
                &format!(
                    "stuck in {}: nothing moved for {} s",
                    migration.phase,
                    (now_ms() - progress.moved_at_ms) / 1_000
                ),
            );
        }
    }

    fn measure_load(&self, settings: &Settings) {
        let interval_ms = settings.duration_ms("load_collection_interval");
        let mut balancer = self.rebalancing.balancer.lock();
        let now = Instant::now();
        if balancer.seen.as_ref().is_some_and(|(at, _)| ((now - *at).as_millis() as u64) < interval_ms) {
            return;
        }
        let layout = self.layout();
        let mut loads = slot_loads(&layout);
        let seen = accesses(&layout);
        if let Some((at, before)) = &balancer.seen {
            let seconds = (now - *at).as_secs_f64().max(0.001);
            for ((load, now), before) in loads.iter_mut().zip(&seen).zip(before) {
                // A slot that has just come counts from nothing: what it had elsewhere is no measure here.
                load.qps = now.accesses.saturating_sub(before.accesses) as f64 / seconds;
                load.cpu = ((now.busy_ns - before.busy_ns) / 1e9 / seconds).max(0.0);
            }
            let kept = settings.integer("load_history").max(1) as usize;
            if balancer.history.len() > kept {
                balancer.history = History::new(kept);
            }
            balancer.history.record(loads);
        }
        balancer.seen = Some((now, seen));
        self.measure_shards(&layout, &mut balancer);
        drop(balancer);
        let problem = self.picture().problem();
        let mut balancer = self.rebalancing.balancer.lock();
        balancer.watch = balancer.watch.next(&measure(&problem));
    }

    /// A row of `SYSTEM.SHARD_METRICS` for every shard.
    fn measure_shards(&self, layout: &Layout, balancer: &mut Balancer) {
        let time_ms = now_ms();
        for (id, shard) in &layout.shards {
            let rates = self.registry.rates(*id);
            balancer.metrics.push_back(state::ShardMetric {
                time_ms,
                shard: *id,
                rows: shard.slot_counts().values().map(|count| count.rows).sum(),
                storage_bytes: shard.storage_bytes().0,
                memory_bytes: shard.memory_bytes(),
                read_rows_per_second: rates.reads,
                written_rows_per_second: rates.writes,
                cpu_cores: rates.cores,
                latency_ms_p99: None,
                connections: None,
            });
        }
        while balancer.metrics.len() > METRICS_MAX {
            balancer.metrics.pop_front();
        }
    }

    /// Decides, and says why; what is decided is a job.
    fn check_balance(&self) -> Result<()> {
        // Somebody plans a job by hand: next time.
        let Ok(_planning) = self.rebalancing.planning.try_lock() else { return Ok(()) };
        let picture = self.picture();
        let problem = picture.problem();
        let (decision, plan) = check(&problem, picture.balancer.watch, picture.previous.as_ref(), true);
        self.rebalancing.balancer.lock().checked_at_ms = now_ms();
        self.note_decision(&decision)?;
        let Some(plan) = plan.filter(|plan| !plan.moves.is_empty()) else { return Ok(()) };
        let summary = Summary {
            migrations: plan.moves.len(),
            rows: plan.rows(),
            bytes: plan.bytes(),
            imbalance_before: plan.before,
            imbalance_after: plan.after,
            seconds_estimated: picture.bytes_per_second.map(|rate| plan.bytes() as f64 / rate),
        };
        let job = JobPlan {
            kind: JobKind::Rebalance,
            moves: plan.moves.clone(),
            new_shards: Vec::new(),
            removes: Vec::new(),
            undoes: None,
            max_migrations_per_hour: None,
            plan: Some(plan.clone()),
            decision: Some(decision.clone()),
            summary,
            notices: Vec::new(),
        };
        self.rebalancing.start(&self.meta, "auto_rebalance", &decision.reason.to_string(), job)?;
        self.remember_plan(&plan)
    }

    /// What the balancer must not undo at once.
    pub(super) fn remember_plan(&self, plan: &Plan) -> Result<()> {
        self.meta.put("balancer_plan", plan)?;
        self.rebalancing.balancer.lock().previous = Some(plan.clone());
        Ok(())
    }

    /// A row of `SYSTEM.BALANCER_DECISIONS`.
    pub(super) fn note_decision(&self, decision: &Decision) -> Result<()> {
        let mut balancer = self.rebalancing.balancer.lock();
        let mut change = crate::meta::MetaChange::default();
        change.put(&decision_key(decision.time_ms), decision)?;
        balancer.decisions.push_back(decision.clone());
        let counted = (decision.trigger.name(), verdict_name(decision.verdict), reason_name(&decision.reason));
        *balancer.decided.entry(counted).or_default() += 1;
        while balancer.decisions.len() > DECISIONS_MAX {
            if let Some(old) = balancer.decisions.pop_front() {
                change.delete(&decision_key(old.time_ms));
            }
        }
        self.meta.commit(change)
    }
}
