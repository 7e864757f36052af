//! Measures the load of every slot, and decides by itself where the settings let it.
//!
//! WHAT MAY NEVER HAPPEN: a decision without a row in `SYSTEM.BALANCER_DECISIONS`; a move for a load that came and went.

use crate::Conductor;
use crate::meta::{MetaChange, MetaStore};
use crate::movement::Stuck;
use crate::snapshot::slot_loads;
use crate::world::{Activity, Picture, World};
use evenkeel_model::{Result, Settings, ShardId, Slot};
use evenkeel_planner::{JobKind, JobPlan, Summary};
use evenkeel_rebalancer::balance::{
    Decision, History, HotWatch, Load, Plan, Reason, Traffic, Verdict, Watch, check, measure,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Decisions that are kept.
const DECISIONS_MAX: usize = 1_000;
/// Measurements in a row that must agree before something moves.
const STABLE_AFTER: u32 = 3;
/// Measurements over which a shard is hot or not.
const HEAT_MEASUREMENTS: usize = 10;

/// What the balancer remembers.
pub struct Balancer {
    /// The last plan that was carried out.
    pub previous: Option<Plan>,
    pub watch: Watch,
    pub decisions: VecDeque<Decision>,
    /// How often since the start, by what made it look, what was decided, and why.
    pub decided: BTreeMap<(&'static str, &'static str, String), u64>,
    history: History,
    /// Reads, writes and busy time of every slot at the last measurement.
    seen: Option<(Duration, Vec<Seen>)>,
    checked_at_ms: i64,
    pub(crate) cooling: BTreeMap<ShardId, i64>,
    /// Shards beyond a limit of their own.
    pub hot: HotWatch,
    pub(crate) heat_checked_at_ms: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    accesses: u64,
    busy_ns: f64,
}

/// What every slot has had so far. A shard's busy time is its slots' by their accesses.
fn accesses<W: World>(world: &W, picture: &Picture<W::Shard>) -> Vec<Seen> {
    let activities: BTreeMap<ShardId, (Activity, f64)> = picture
        .shards
        .iter()
        .map(|(id, shard)| {
            let activity = world.activity(shard);
            let accesses: u64 = activity.accesses.values().sum();
            let per_access = activity.busy_ns as f64 / (accesses as f64).max(1.0);
            (*id, (activity, per_access))
        })
        .collect();
    let seen = |(slot, owner): (Slot, ShardId)| {
        let Some((activity, per_access)) = activities.get(&owner) else { return Seen::default() };
        let accesses = activity.accesses.get(&slot).copied().unwrap_or_default();
        Seen { accesses, busy_ns: accesses as f64 * per_access }
    };
    picture.slots.iter().map(seen).collect()
}

/// The word in SYSTEM.BALANCER_DECISIONS.
pub fn verdict_name(verdict: Verdict) -> &'static str {
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
    pub(crate) fn open(meta: &impl MetaStore, now_ms: i64) -> Result<Self> {
        let decisions = meta.list::<Decision>("decision/")?.into_iter().map(|(_, decision)| decision).collect();
        Ok(Self {
            previous: meta.get("balancer_plan")?,
            watch: Watch::new(STABLE_AFTER),
            decisions,
            decided: BTreeMap::new(),
            history: History::new(10),
            seen: None,
            checked_at_ms: now_ms,
            cooling: BTreeMap::new(),
            hot: HotWatch::new(HEAT_MEASUREMENTS),
            heat_checked_at_ms: now_ms,
        })
    }

    /// When it looks next.
    pub(crate) fn next_check_ms(&self, settings: &Settings) -> i64 {
        self.checked_at_ms + settings.duration_ms("rebalance_check_interval") as i64
    }

    pub(crate) fn cooling_until_ms(&self, shard: ShardId) -> Option<i64> {
        self.cooling.get(&shard).copied()
    }

    /// What was measured of all slots together.
    pub(crate) fn traffic(&self) -> Traffic {
        self.history.traffic()
    }

    /// Rows and bytes as they are now, rates as they were measured.
    pub(crate) fn slot_loads(&self, now: &[Load]) -> Vec<Load> {
        let smoothed = self.history.smoothed();
        let rates = |at: usize| smoothed.get(at).map_or((0.0, 0.0), |load| (load.qps, load.cpu));
        let load = |(at, now): (usize, &Load)| {
            let (qps, cpu) = rates(at);
            Load { qps, cpu, ..*now }
        };
        now.iter().enumerate().map(load).collect()
    }
}

impl Conductor {
    /// Measures, and looks whether something is to be done.
    pub(crate) fn watch_balance<W: World>(&self, world: &W) -> Result<()> {
        let settings = world.settings();
        self.measure_load(world, &settings);
        let due = settings.boolean("auto_rebalance") && world.now_ms() >= self.balancer.lock().next_check_ms(&settings);
        if due {
            self.check_balance(world)?;
        }
        self.watch_heat(world, &settings)?;
        self.watch_stuck(world, &settings);
        Ok(())
    }

    /// Gives up what gets nowhere.
    fn watch_stuck<W: World>(&self, world: &W, settings: &Settings) {
        let timeout_ms = settings.duration_ms("stuck_migration_timeout") as i64;
        let movements: Vec<_> = self.state.lock().movements.iter().map(|(id, m)| (*id, Arc::clone(m))).collect();
        for (id, movement) in movements {
            if let Some(Stuck { phase, unmoved }) = movement.watch(world.now_ms(), timeout_ms) {
                world.on_stuck(id, phase, unmoved);
            }
        }
    }

    fn measure_load<W: World>(&self, world: &W, settings: &Settings) {
        let interval_ms = settings.duration_ms("load_collection_interval");
        let now = world.elapsed();
        let measured_at = self.balancer.lock().seen.as_ref().map(|(at, _)| *at);
        if measured_at.is_some_and(|at| ((now - at).as_millis() as u64) < interval_ms) {
            return;
        }
        let picture = world.picture();
        let mut loads = slot_loads(world, &picture);
        let seen = accesses(world, &picture);
        let mut balancer = self.balancer.lock();
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
        drop(balancer);
        world.measured();
        let problem = self.snapshot(world).problem();
        let mut balancer = self.balancer.lock();
        balancer.watch = balancer.watch.next(&measure(&problem));
    }

    /// Decides, and says why; what is decided is a job.
    fn check_balance<W: World>(&self, world: &W) -> Result<()> {
        // Somebody plans a job by hand: next time.
        let Some(_planning) = world.try_planning() else { return Ok(()) };
        let picture = self.snapshot(world);
        let problem = picture.problem();
        let (decision, plan) = check(&problem, picture.balancer.watch, picture.previous.as_ref(), true);
        self.balancer.lock().checked_at_ms = world.now_ms();
        self.note_decision(world, &decision)?;
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
        self.keep_new_job(world, "auto_rebalance", &decision.reason.to_string(), job)?;
        self.remember_plan(world, &plan)
    }

    /// What the balancer must not undo at once.
    pub(crate) fn remember_plan(&self, meta: &impl MetaStore, plan: &Plan) -> Result<()> {
        meta.put("balancer_plan", plan)?;
        self.balancer.lock().previous = Some(plan.clone());
        Ok(())
    }

    /// A row of `SYSTEM.BALANCER_DECISIONS`.
    pub fn note_decision(&self, world: &impl World, decision: &Decision) -> Result<()> {
        let mut balancer = self.balancer.lock();
        let mut change = MetaChange::default();
        change.put(&decision_key(decision.time_ms), decision)?;
        balancer.decisions.push_back(decision.clone());
        let counted = (decision.trigger.name(), verdict_name(decision.verdict), reason_name(&decision.reason));
        *balancer.decided.entry(counted).or_default() += 1;
        while balancer.decisions.len() > DECISIONS_MAX {
            if let Some(old) = balancer.decisions.pop_front() {
                change.delete(&decision_key(old.time_ms));
            }
        }
        world.commit(change)?;
        drop(balancer);
        world.on_decision(decision);
        Ok(())
    }
}
