//! Looks for shards beyond a limit of their own, and relieves them; merges shards that have become cold.

use crate::Conductor;
use crate::world::World;
use evenkeel_model::{Result, Settings, ShardId};
use evenkeel_planner::{JobKind, JobPlan, Summary, imbalance};
use evenkeel_rebalancer::balance::{
    Decision, Gauges, Load, Problem, Reason, Relief, SplitAt, Trigger, Verdict, in_parts, measure, merge, mergeable,
    relieve, split,
};

/// Two shards are merged when together they carry less than this part of every limit.
const COLD: f64 = 0.25;

/// The limits of a shard: the settings `hot_max_…`.
pub fn limits(settings: &Settings) -> Gauges {
    Gauges([
        settings.float("hot_max_qps"),
        settings.float("hot_max_cpu"),
        settings.float("hot_max_memory"),
        settings.float("hot_max_storage"),
        settings.float("hot_max_connections"),
        settings.duration_ms("hot_max_latency") as f64,
    ])
}

impl Conductor {
    /// Measures every shard against its limits, and relieves one that is hot.
    pub(crate) fn watch_heat<W: World>(&self, world: &W, settings: &Settings) -> Result<()> {
        let interval_ms = settings.duration_ms("hot_check_interval") as i64;
        if world.now_ms() < self.balancer.lock().heat_checked_at_ms + interval_ms {
            return Ok(());
        }
        let limits = limits(settings);
        let hot = {
            let gauges = world.gauges();
            let mut balancer = self.balancer.lock();
            balancer.heat_checked_at_ms = world.now_ms();
            balancer.hot.record(world.now_ms(), &gauges, &limits);
            balancer.hot.hot(world.now_ms(), &limits)
        };
        let Some(_planning) = world.try_planning() else { return Ok(()) };
        let problem = self.snapshot(world).problem();
        if let Some(hot) = hot.first() {
            let fanout = settings.integer("split_fanout").max(2) as u32;
            return self.relieve(
                world,
                &problem,
                hot.shard,
                relieve(&problem, hot, settings.boolean("auto_split"), fanout),
            );
        }
        if settings.boolean("auto_merge") { self.merge_cold(world, &problem, settings) } else { Ok(()) }
    }

    fn relieve<W: World>(&self, world: &W, problem: &Problem, shard: ShardId, relief: Relief) -> Result<()> {
        let (kind, moves, new_shards, reason) = match relief {
            Relief::MoveAway(step) => {
                let reason = step.reason.clone();
                (JobKind::Rebalance, vec![step], Vec::new(), reason)
            }
            Relief::Split { parts, reason, .. } => {
                let first = self.next_shard().0;
                let into: Vec<_> = (first..first + parts - 1).map(ShardId).collect();
                match split(problem, shard, &into, SplitAt::LoadMidpoint) {
                    Ok(moves) => (JobKind::Split, moves, into, reason),
                    Err(reason) => return self.decline(world, problem, shard, reason),
                }
            }
            Relief::Nothing(reason) => return self.decline(world, problem, shard, reason),
        };
        let decision = self.decision(world, problem, Verdict::Started, shard, reason);
        self.cool(world, shard, &new_shards);
        self.start_job(world, "auto_split", automatic(kind, moves, new_shards, Vec::new(), problem, decision)).map(drop)
    }

    fn merge_cold<W: World>(&self, world: &W, problem: &Problem, settings: &Settings) -> Result<()> {
        let most =
            Load { qps: COLD * settings.float("hot_max_qps"), cpu: COLD * settings.float("hot_max_cpu"), ..Load::ZERO };
        let Some((one, other)) = mergeable(problem, most) else { return Ok(()) };
        match merge(problem, one, other) {
            Ok(step) => {
                let (removed, reason) = (step.source, step.reason.clone());
                let decision = self.decision(world, problem, Verdict::Started, removed, reason);
                self.cool(world, step.target, &[]);
                let plan = automatic(JobKind::Merge, vec![step], Vec::new(), vec![removed], problem, decision);
                self.start_job(world, "auto_merge", plan).map(drop)
            }
            Err(reason) => self.decline(world, problem, one, reason),
        }
    }

    /// Nothing is done, and that is a decision too. The same one is noted once.
    fn decline<W: World>(&self, world: &W, problem: &Problem, shard: ShardId, reason: Reason) -> Result<()> {
        let decision = self.decision(world, problem, Verdict::Skipped, shard, reason);
        let last = self.balancer.lock().decisions.back().cloned();
        let same = last.is_some_and(|last| {
            last.verdict == decision.verdict && last.shard == decision.shard && last.reason == decision.reason
        });
        if same { Ok(()) } else { self.note_decision(world, &decision) }
    }

    fn decision<W: World>(
        &self,
        world: &W,
        problem: &Problem,
        verdict: Verdict,
        shard: ShardId,
        reason: Reason,
    ) -> Decision {
        let seen = measure(problem);
        Decision {
            time_ms: world.now_ms(),
            trigger: Trigger::HotShard,
            verdict,
            reason,
            shard: Some(shard),
            max_deviation: seen.max_deviation,
            dimension: seen.dimension,
            overloaded: seen.overloaded,
            underloaded: seen.underloaded,
        }
    }

    /// Leaves what was just changed alone for a while.
    fn cool<W: World>(&self, world: &W, shard: ShardId, others: &[ShardId]) {
        let until_ms = world.now_ms() + world.settings().duration_ms("split_cooldown") as i64;
        let mut balancer = self.balancer.lock();
        for shard in std::iter::once(&shard).chain(others) {
            balancer.hot.cool(*shard, until_ms);
            balancer.cooling.insert(*shard, until_ms);
        }
    }
}

/// A job that nobody asked for.
fn automatic(
    kind: JobKind,
    moves: Vec<evenkeel_rebalancer::balance::Move>,
    new_shards: Vec<ShardId>,
    removes: Vec<ShardId>,
    problem: &Problem,
    decision: Decision,
) -> JobPlan {
    let before = imbalance(problem);
    let moves: Vec<_> = moves.iter().flat_map(|step| in_parts(problem, step)).collect();
    let summary = Summary {
        migrations: moves.len(),
        rows: moves.iter().map(|step| step.rows).sum(),
        bytes: moves.iter().map(|step| step.bytes).sum(),
        imbalance_before: before,
        imbalance_after: before,
        seconds_estimated: None,
    };
    JobPlan {
        kind,
        moves,
        new_shards,
        removes,
        undoes: None,
        max_migrations_per_hour: None,
        plan: None,
        decision: Some(decision),
        summary,
        notices: Vec::new(),
    }
}
