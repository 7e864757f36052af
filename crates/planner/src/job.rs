//! A job as it is persisted, and how one is put together move by move.
//!
//! A [`Draft`] carries the problem along: a slot that was given a move is on its way from then on. So a second move of it is
//! refused, and the room that the first moves will take is missing to the next, as while both copies exist.

use evenkeel_model::{JobId, ShardId, SlotSet};
use evenkeel_rebalancer::balance::{
    Decision, Move, Plan, Problem, Reason, ShardState, Thresholds, admit, in_parts, measure,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Evens shards out.
    Rebalance,
    /// Makes several shards of one.
    Split,
    /// Makes one shard of several.
    Merge,
    /// Moves what was asked for.
    Move,
    /// Drains a shard, then removes it.
    Remove,
    /// Takes another job back.
    Undo,
}

impl JobKind {
    /// The word in SYSTEM.JOBS.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rebalance => "rebalance",
            Self::Split => "split",
            Self::Merge => "merge",
            Self::Move => "move",
            Self::Remove => "remove",
            Self::Undo => "undo",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Its migrations are carried out, or wait for their turn.
    Running,
    /// Nothing new is begun until RESUME.
    Paused,
    /// What can turn back does; the rest goes on to its end.
    Cancelling,
    /// Everything was carried out. Over.
    Done,
    /// Stopped by CANCEL; what was past the point of no return has moved. Over.
    Cancelled,
    /// Something went wrong; what was past the point of no return has moved. Over.
    Failed,
}

impl JobStatus {
    /// The word in SYSTEM.JOBS.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelling => "cancelling",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing is left to do.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a job does: immutable once made. The new shards are made first, then the moves in their order, and the shards to
/// remove go last, once they are empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobPlan {
    pub kind: JobKind,
    /// In order; each is one migration.
    pub moves: Vec<Move>,
    pub new_shards: Vec<ShardId>,
    /// They drain from the start: no other job may bring slots to them.
    pub removes: Vec<ShardId>,
    /// The job that this one takes back.
    pub undoes: Option<JobId>,
    /// The job's own limit, in place of the setting's; 0 is none. Only where the statement gave another than that.
    pub max_migrations_per_hour: Option<u64>,
    /// What the balancer remembers of it; its moves are this job's.
    pub plan: Option<Plan>,
    /// For SYSTEM.BALANCER_DECISIONS.
    pub decision: Option<Decision>,
    pub summary: Summary,
    /// What the user should know besides, each a sentence without a full stop.
    pub notices: Vec<String>,
}

/// A job in numbers: what REBALANCE SHARDS answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub migrations: usize,
    pub rows: u64,
    pub bytes: u64,
    /// The largest deviation from a fair share, of any shard in any dimension that counts: 0.92 is 92 % more, or less.
    pub imbalance_before: f64,
    /// The same when the job is done, if nothing else changes.
    pub imbalance_after: f64,
    /// `None` where the rate of copying is not known.
    pub seconds_estimated: Option<f64>,
}

/// The largest deviation from a fair share, of any shard in any dimension that counts: what a job's summary calls
/// imbalance.
pub fn imbalance(problem: &Problem) -> f64 {
    // Against equal thresholds the deviation that is furthest along to its own is the largest.
    let thresholds = Thresholds { stored: 1.0, rates: 1.0, floor: problem.thresholds.floor };
    measure(&Problem { thresholds, ..problem.clone() }).max_deviation
}

/// A job that is being put together.
pub(crate) struct Draft {
    /// As it is when all moves so far are under way.
    problem: Problem,
    before: f64,
    job: JobPlan,
}

impl Draft {
    pub fn new(kind: JobKind, problem: Problem) -> Self {
        let before = imbalance(&problem);
        let summary = Summary {
            migrations: 0,
            rows: 0,
            bytes: 0,
            imbalance_before: before,
            imbalance_after: before,
            seconds_estimated: None,
        };
        let job = JobPlan {
            kind,
            moves: Vec::new(),
            new_shards: Vec::new(),
            removes: Vec::new(),
            undoes: None,
            max_migrations_per_hour: None,
            plan: None,
            decision: None,
            summary,
            notices: Vec::new(),
        };
        Self { problem, before, job }
    }

    /// The problem with all moves so far under way.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// What is said about the job besides its moves.
    pub fn job(&mut self) -> &mut JobPlan {
        &mut self.job
    }

    /// Makes a shard.
    pub fn create(&mut self, shard: ShardId) {
        self.problem.shards.push(ShardState::new(shard));
        self.job.new_shards.push(shard);
    }

    /// Removes a shard in the end.
    pub fn remove(&mut self, shard: ShardId) {
        self.problem.shards.retain(|state| state.id != shard);
        self.job.removes.push(shard);
    }

    /// Adds a move that somebody asked for, in parts where it is large, unless something speaks against it.
    pub fn admit(&mut self, source: ShardId, target: ShardId, slots: &SlotSet, why: Reason) -> Result<(), Reason> {
        let step = admit(&self.problem, source, target, slots)?;
        in_parts(&self.problem, &Move { reason: why, ..step }).into_iter().for_each(|part| self.add(part));
        Ok(())
    }

    /// Adds a move.
    pub fn add(&mut self, step: Move) {
        for slot in step.slots.iter() {
            if let Some(state) = self.problem.slots.get_mut(slot.0 as usize) {
                state.moving_to = Some(step.target);
            }
        }
        self.job.moves.push(step);
    }

    /// The job, with its numbers.
    pub fn finish(self, bytes_per_second: Option<f64>) -> JobPlan {
        let Self { problem, before, mut job } = self;
        let sum = |amount: fn(&Move) -> u64| job.moves.iter().map(amount).sum::<u64>();
        let (rows, bytes) = (sum(|step| step.rows), sum(|step| step.bytes));
        job.summary = Summary {
            migrations: job.moves.len(),
            rows,
            bytes,
            imbalance_before: before,
            imbalance_after: imbalance(&problem),
            seconds_estimated: bytes_per_second.filter(|rate| *rate > 0.0).map(|rate| bytes as f64 / rate),
        };
        job
    }
}
