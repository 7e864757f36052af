//! Whether to start anything: one answer for every check and every statement, kept in `SYSTEM.BALANCER_DECISIONS`.
//!
//! A decision to do nothing is a decision like any other, with the reason that weighed most: what would have to change
//! first for something to be done.

use super::imbalance::{Imbalance, Watch, measure};
use super::load::Dimension;
use super::plan::Plan;
use super::planning::plan;
use super::problem::Problem;
use super::reason::{Reason, percent};
use evenkeel_model::ShardId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What made the balancer look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A statement.
    Manual,
    /// The regular check against the trigger thresholds.
    Threshold,
    /// A shard beyond a limit of its own.
    HotShard,
    /// Shards that carry so little that one would do.
    ColdShards,
}

impl Trigger {
    /// The word in `SYSTEM.BALANCER_DECISIONS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Threshold => "threshold",
            Self::HotShard => "hot shard",
            Self::ColdShards => "cold shards",
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Started,
    Skipped,
}

/// A decision and all that it was based on: a row of `SYSTEM.BALANCER_DECISIONS`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub time_ms: i64,
    pub trigger: Trigger,
    pub verdict: Verdict,
    pub reason: Reason,
    /// The shard that the reason speaks of.
    pub shard: Option<ShardId>,
    pub max_deviation: f64,
    pub dimension: Dimension,
    pub overloaded: Vec<ShardId>,
    pub underloaded: Vec<ShardId>,
}

impl Decision {
    /// A decision on what was measured.
    pub fn new(
        problem: &Problem,
        seen: Imbalance,
        trigger: Trigger,
        verdict: Verdict,
        (shard, reason): (Option<ShardId>, Reason),
    ) -> Self {
        Self {
            time_ms: problem.now_ms,
            trigger,
            verdict,
            reason,
            shard,
            max_deviation: seen.max_deviation,
            dimension: seen.dimension,
            overloaded: seen.overloaded,
            underloaded: seen.underloaded,
        }
    }
}

impl fmt::Display for Decision {
    /// `skipped: shard 3: it is pinned (worst deviation 92 %, rows)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.verdict == Verdict::Started { "started: " } else { "skipped: " })?;
        self.shard.map_or(Ok(()), |shard| write!(f, "shard {shard}: "))?;
        write!(f, "{} (worst deviation {}, {})", self.reason, percent(self.max_deviation), self.dimension)
    }
}

/// What the regular check does: nothing below the thresholds, nothing until the imbalance has lasted, and nothing beside
/// as many moves as may run. `watch` must have seen this problem's measurement already.
pub fn check(
    problem: &Problem,
    watch: Watch,
    previous: Option<&Plan>,
    auto_rebalance: bool,
) -> (Decision, Option<Plan>) {
    let seen = measure(problem);
    let (shard, limits) = (seen.shard, &problem.limits);
    let (deviation, threshold, dimension) = (seen.max_deviation, seen.threshold, seen.dimension);
    let reason = match () {
        () if shard.is_none() => Reason::NobodyTakesPart,
        () if !seen.exceeds() => Reason::BelowThreshold { dimension, deviation, threshold },
        () if !auto_rebalance => Reason::AutoRebalanceOff,
        () if !watch.is_stable() => Reason::NotYetStable { seen: watch.seen, needed: watch.needed },
        () if limits.running >= limits.concurrent_max => Reason::TooManyRunning { running: limits.running },
        () => return settle(problem, seen, Trigger::Threshold, plan(problem, previous)),
    };
    let about = if matches!(reason, Reason::BelowThreshold { .. }) { shard } else { None };
    (Decision::new(problem, seen, Trigger::Threshold, Verdict::Skipped, (about, reason)), None)
}

/// What REBALANCE SHARDS does: it plans, whatever the thresholds.
pub fn rebalance(problem: &Problem, previous: Option<&Plan>) -> (Decision, Option<Plan>) {
    settle(problem, measure(problem), Trigger::Manual, plan(problem, previous))
}

/// Starts a plan that has moves; else the reason is that of the shard that is furthest from its share.
fn settle(problem: &Problem, seen: Imbalance, trigger: Trigger, made: Plan) -> (Decision, Option<Plan>) {
    if let Some(first) = made.moves.first() {
        let about = (Some(first.source), first.reason.clone());
        return (Decision::new(problem, seen, trigger, Verdict::Started, about), Some(made));
    }
    let of_worst = seen.shard.and_then(|shard| Some((Some(shard), made.reason(shard)?.clone())));
    let of_first = || made.left_alone.first().map(|(shard, reason)| (Some(*shard), reason.clone()));
    let about = of_worst.or_else(of_first).unwrap_or((None, Reason::NoSlots));
    (Decision::new(problem, seen, trigger, Verdict::Skipped, about), None)
}
