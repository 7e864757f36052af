//! What decisions are made from: shards, slots and their loads, settings, jobs, as values.

use crate::mistake::mistaken;
use crate::world::{Picture, World};
use crate::{Conductor, StoredJob};
use evenkeel_model::{Settings, ShardId};
use evenkeel_planner::{BalancerState, Defaults, JobState, MigrationState, Snapshot};
use evenkeel_rebalancer::balance::{Load, Problem, ShardState, SlotState, Strategy, Thresholds};
use evenkeel_rebalancer::migration::Phase;
use std::collections::BTreeMap;

/// Moves of this size at the most: one that fails is cheap to try again, and progress is seen.
const MOVE_BYTES_MAX: u64 = 4 << 30;
/// Smaller ones are not worth what a migration costs besides its rows.
const MOVE_BYTES_MIN: u64 = 32 << 20;
/// A write to a slot that moves is made twice, from the copy's beginning to the cutover. With a throttle the foreground goes
/// first: no move has more than one part in so many of all there is, so that few writes at a time are made twice.
const MOVE_SHARE: u64 = 256;

impl Conductor {
    /// One consistent picture for the planner.
    pub fn snapshot<W: World>(&self, world: &W) -> Snapshot {
        let settings = world.settings();
        // Jobs before the layout: what ends between the two is seen twice, and not at its source without a job. And before
        // the balancer, which whoever holds the jobs asks.
        let (jobs, started_last_hour) = (self.planned_jobs(), self.started_last_hour(world.now_ms()));
        let bytes_per_second = self.copy_rate();
        let problem = self.problem(world, &settings);
        let balancer = self.balancer.lock();
        let next_check_ms = settings.boolean("auto_rebalance").then(|| balancer.next_check_ms(&settings));
        Snapshot {
            problem,
            previous: balancer.previous.clone(),
            defaults: defaults(&settings),
            jobs,
            next_shard: self.next_shard(),
            started_last_hour,
            bytes_per_second,
            balancer: BalancerState {
                auto_rebalance: settings.boolean("auto_rebalance"),
                watch: balancer.watch,
                next_check_ms,
                last: balancer.decisions.back().cloned(),
                traffic: Some(balancer.traffic()),
            },
        }
    }

    pub fn problem<W: World>(&self, world: &W, settings: &Settings) -> Problem {
        let picture = world.picture();
        let free_bytes = world.free_bytes();
        let stored = self.shards();
        let now = slot_loads(world, &picture);
        let bytes: f64 = now.iter().map(|load| load.bytes).sum();
        let balancer = self.balancer.lock();
        let shards = picture.shards.keys().map(|id| ShardState {
            pinned: stored.get(id).is_some_and(|shard| shard.pinned) && !mistaken!(PinsIgnored),
            cooling_until_ms: balancer.cooling_until_ms(*id),
            free_bytes,
            ..ShardState::new(*id)
        });
        let loads = balancer.slot_loads(&now);
        let slots = picture.slots.iter().zip(loads);
        let slots = slots.map(|((_, owner), load)| SlotState { owner, load, moving_to: None }).collect();
        let mut problem = Problem::new(world.now_ms(), shards.collect(), slots);
        problem.strategy = strategy(settings);
        problem.target_imbalance = settings.float("target_imbalance");
        problem.thresholds = Thresholds {
            stored: settings.float("rebalance_trigger_threshold"),
            rates: settings.float("rebalance_qps_threshold"),
            ..Thresholds::default()
        };
        problem.limits.move_bytes_max = Some(match settings.boolean("migration_throttle") {
            true => (bytes as u64 / MOVE_SHARE).clamp(MOVE_BYTES_MIN, MOVE_BYTES_MAX),
            false => MOVE_BYTES_MAX,
        });
        problem
    }

    /// The jobs as the planner sees them.
    fn planned_jobs(&self) -> Vec<JobState> {
        let migrations: BTreeMap<_, _> =
            self.migrations().into_iter().map(|stored| (stored.migration.id, stored.migration.phase)).collect();
        let state = |job: StoredJob| {
            let steps = job.plan.moves.iter().zip(&job.migrations).map(|(step, id)| MigrationState {
                source: step.source,
                target: step.target,
                slots: step.slots.clone(),
                phase: id.and_then(|id| migrations.get(&id).copied()).unwrap_or(Phase::Planned),
            });
            JobState {
                id: job.id,
                kind: job.plan.kind,
                status: job.status,
                migrations: steps.collect(),
                new_shards: job.plan.new_shards.clone(),
                removes: job.plan.removes.clone(),
            }
        };
        self.jobs().into_iter().map(state).collect()
    }

    /// Bytes a second of the copies that were finished last, all together: a small one, which is mostly a migration's own
    /// cost, says little about a large one.
    fn copy_rate(&self) -> Option<f64> {
        const LAST: usize = 16;
        let migrations = self.migrations();
        let copied = migrations.iter().rev().filter_map(|stored| {
            let progress = &stored.progress;
            let took_ms = progress.copied_at_ms? - progress.started_at_ms?;
            (took_ms > 0 && progress.bytes > 0).then_some((progress.bytes, took_ms as u64))
        });
        let (bytes, took_ms) =
            copied.take(LAST).fold((0, 0), |(bytes, took), (more, longer)| (bytes + more, took + longer));
        (took_ms > 0).then(|| bytes as f64 * 1_000.0 / took_ms as f64)
    }
}

fn strategy(settings: &Settings) -> Strategy {
    Strategy::find(settings.choice("rebalance_strategy")).unwrap_or_default()
}

fn defaults(settings: &Settings) -> Defaults {
    Defaults {
        strategy: strategy(settings),
        target_imbalance: settings.float("target_imbalance"),
        max_migrations_per_hour: settings.integer("max_migrations_per_hour").max(0) as u64,
        max_concurrent_migrations: settings.integer("max_concurrent_migrations").max(1) as usize,
        split_fanout: settings.integer("split_fanout").max(2) as u32,
    }
}

/// Rows and bytes of every slot now, without rates.
pub(crate) fn slot_loads<W: World>(world: &W, picture: &Picture<W::Shard>) -> Vec<Load> {
    let counts: BTreeMap<ShardId, _> =
        picture.shards.iter().map(|(id, shard)| (*id, world.slot_loads(shard))).collect();
    let of = |(slot, owner)| counts.get(&owner).and_then(|slots| slots.get(&slot)).copied();
    picture.slots.iter().map(|at| of(at).unwrap_or_else(|| Load::of_slot(0.0, 0.0, 0.0, 0.0))).collect()
}
