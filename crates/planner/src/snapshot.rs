//! What planning looks at: one consistent picture of the cluster, as values.
//!
//! Some things can be said in two places: that slots are on their way, that an old copy has yet to be dropped, that a shard
//! is being emptied. The jobs say all of it, so [`Snapshot::problem`] lays them over the balancer's problem, and whoever
//! makes a snapshot need not say it again (and may).

use crate::job::{JobKind, JobStatus};
use evenkeel_model::{JobId, ShardId, SlotSet};
use evenkeel_rebalancer::balance::{Decision, PendingDrop, Plan, Problem, ShardRole, Strategy, Traffic, Watch};
use evenkeel_rebalancer::migration::Phase;

/// One consistent picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Shards, and slots with owners and loads; thresholds; bytes of a plan and of a move; how long slots settle. What
    /// [`Defaults`] and the jobs say takes the place of what stands here about it.
    pub problem: Problem,
    /// The last plan that was carried out, of REBALANCE or the balancer: what it left is not tried again at once.
    pub previous: Option<Plan>,
    pub defaults: Defaults,
    /// At least those that are not over; UNDO and WAIT reach as far back as these do.
    pub jobs: Vec<JobState>,
    /// The number of the next new shard; the ones after it are free as well.
    pub next_shard: ShardId,
    /// Migrations that were started in the hour before the problem's `now_ms`.
    pub started_last_hour: u64,
    /// How fast running migrations copy, all together, as measured. `None`: not known, and nothing is estimated.
    pub bytes_per_second: Option<f64>,
    pub balancer: BalancerState,
}

/// What statements mean where they don't say otherwise: the settings of these names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// `rebalance_strategy`
    pub strategy: Strategy,
    pub target_imbalance: f64,
    /// 0 is no limit.
    pub max_migrations_per_hour: u64,
    pub max_concurrent_migrations: usize,
    /// Parts of a SPLIT SHARD without INTO; at least 2.
    pub split_fanout: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            strategy: Strategy::Adaptive,
            target_imbalance: 0.05,
            max_migrations_per_hour: 1_000,
            max_concurrent_migrations: 2,
            split_fanout: 2,
        }
    }
}

/// The balancer that looks at regular times, for SHOW BALANCER and EXPLAIN SHARD.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BalancerState {
    /// The setting of this name.
    pub auto_rebalance: bool,
    /// What the checks so far have seen.
    pub watch: Watch,
    /// When it looks next; `None`: it doesn't.
    pub next_check_ms: Option<i64>,
    /// What it decided last.
    pub last: Option<Decision>,
    /// What was measured of the traffic; `None`: nothing is said of it.
    pub traffic: Option<Traffic>,
}

/// A job and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct JobState {
    pub id: JobId,
    pub kind: JobKind,
    pub status: JobStatus,
    /// One for each move of its plan, in the plan's order; `planned` where it has not begun.
    pub migrations: Vec<MigrationState>,
    /// Shards that were made for it.
    pub new_shards: Vec<ShardId>,
    /// Shards that go away when it is done.
    pub removes: Vec<ShardId>,
}

/// One move of a job and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct MigrationState {
    pub source: ShardId,
    pub target: ShardId,
    pub slots: SlotSet,
    pub phase: Phase,
}

impl JobState {
    /// Migrations that still have their slots in hand: no other may touch them. What has not begun when a job ends never
    /// will.
    pub fn at_hand(&self) -> impl Iterator<Item = &MigrationState> {
        let never_begins = |step: &MigrationState| self.status.is_over() && step.phase == Phase::Planned;
        self.migrations.iter().filter(move |step| !step.phase.is_over() && !never_begins(step))
    }

    /// How many migrations are over.
    pub fn migrations_over(&self) -> usize {
        self.migrations.iter().filter(|step| step.phase.is_over()).count()
    }

    /// Whether it still means to remove a shard.
    pub fn is_removing(&self, shard: ShardId) -> bool {
        matches!(self.status, JobStatus::Running | JobStatus::Paused) && self.removes.contains(&shard)
    }
}

impl MigrationState {
    /// Whether it has been begun and not ended.
    pub fn is_running(&self) -> bool {
        self.phase != Phase::Planned && !self.phase.is_over()
    }

    /// Whether the source still has a copy of what the target serves.
    fn leaves_copy(&self) -> bool {
        matches!(self.phase, Phase::Activating | Phase::Verifying | Phase::Dropping | Phase::VerificationFailed)
    }

    /// Where the slots will be when it is over.
    fn destination(&self) -> ShardId {
        if matches!(self.phase, Phase::Reclaiming | Phase::Undoing) { self.source } else { self.target }
    }
}

impl Snapshot {
    /// The balancer's problem as the settings and the jobs at hand make it: slots that a job has in hand are on their way,
    /// old copies are pending, shards that are to be removed drain.
    pub fn problem(&self) -> Problem {
        let mut problem = self.problem.clone();
        problem.strategy = self.defaults.strategy;
        problem.target_imbalance = self.defaults.target_imbalance;
        problem.limits.moves_max = self.moves_left(self.defaults.max_migrations_per_hour);
        problem.limits.concurrent_max = self.defaults.max_concurrent_migrations;
        problem.limits.running = self.running();
        for step in self.jobs.iter().flat_map(JobState::at_hand) {
            let slots = step.slots.iter().filter_map(|slot| usize::try_from(slot.0).ok());
            for at in slots {
                if let Some(state) = problem.slots.get_mut(at) {
                    state.moving_to = Some(step.destination());
                }
            }
        }
        let copies = self.jobs.iter().flat_map(|job| &job.migrations).filter(|step| step.leaves_copy());
        problem.pending_drops.extend(copies.map(|step| PendingDrop { slots: step.slots.clone(), shard: step.source }));
        for shard in problem.shards.iter_mut().filter(|shard| shard.role == ShardRole::Active) {
            if self.jobs.iter().any(|job| job.is_removing(shard.id)) {
                shard.role = ShardRole::Draining;
            }
        }
        problem
    }

    /// Migrations under way.
    pub fn running(&self) -> usize {
        self.jobs.iter().flat_map(JobState::at_hand).filter(|step| step.is_running()).count()
    }

    /// How many migrations may still start in this hour; `None` is no limit.
    pub(crate) fn moves_left(&self, per_hour_max: u64) -> Option<usize> {
        let left = per_hour_max.saturating_sub(self.started_last_hour);
        (per_hour_max > 0).then(|| usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// The job that has any of these slots in hand, and which of them.
    pub(crate) fn holder(&self, slots: &SlotSet) -> Option<(&JobState, SlotSet)> {
        self.jobs.iter().find_map(|job| {
            let held =
                job.at_hand().map(|step| step.slots.intersection(slots)).fold(SlotSet::new(), |a, b| a.union(&b));
            (!held.is_empty()).then_some((job, held))
        })
    }

    /// The job that takes slots from a shard, or brings some to it.
    pub(crate) fn toucher(&self, shard: ShardId) -> Option<&JobState> {
        self.jobs.iter().find(|job| job.at_hand().any(|step| step.source == shard || step.target == shard))
    }
}
