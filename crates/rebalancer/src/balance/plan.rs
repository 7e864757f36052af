//! A plan: what moves where, in which order, and why; immutable once made.
//!
//! A plan is also the balancer's memory. It says how far each shard was left from its share, so that the next plan does
//! nothing about what this one could not do better, and which slots came from where, so that they don't go back.

use super::granularity::Granularity;
use super::load::{Dimension, Load};
use super::problem::{Problem, Strategy};
use super::reason::{Reason, bytes, counted, percent};
use evenkeel_model::SlotSet;
use evenkeel_model::slot::ShardId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Slots that go from one shard to another, in one migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    pub source: ShardId,
    pub target: ShardId,
    pub slots: SlotSet,
    pub rows: u64,
    pub bytes: u64,
    pub reason: Reason,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slots, size) = (counted(self.slots.len() as u64, "slot"), bytes(self.bytes));
        write!(f, "shard {} → {}: {slots} ({}), {size}: {}", self.source, self.target, self.slots, self.reason)
    }
}

/// How far a shard is from its fair share, and how far the plan leaves it. Deviations carry their sign: −1 is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub shard: ShardId,
    pub before: Load,
    pub after: Load,
    /// The dimension in which it deviates most, before.
    pub dimension: Dimension,
    /// Its part of all there is in that dimension, before.
    pub share: f64,
    /// What would be fair; `None` for a shard that keeps what it has, or is to be emptied.
    pub fair_share: Option<f64>,
}

/// Slots that were moved lately and don't go back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settling {
    pub slots: SlotSet,
    pub from: ShardId,
    pub until_ms: i64,
}

/// What moves where, and why everything else stays.
///
/// Moves are in order: whichever of them have been carried out when the plan is stopped, from the first on, the balance
/// is better than before. Better means: there are fewer slots on draining shards; or as many, and the sum of the squares
/// of all deviations (every shard, every dimension that counts) is smaller. The largest deviation is no larger at the end
/// than at the start, and never by more than the target in between (drains excepted).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub made_ms: i64,
    pub strategy: Strategy,
    pub target_imbalance: f64,
    pub moves: Vec<Move>,
    /// Every shard that no move touches, and every one that stays beyond the target, ascending.
    pub left_alone: Vec<(ShardId, Reason)>,
    /// Every shard, ascending.
    pub standings: Vec<Standing>,
    /// The largest deviation before the plan.
    pub before: f64,
    /// The largest deviation after it.
    pub after: f64,
    /// Where the target is out of reach for any plan: the dimension in which it is furthest.
    #[serde(default)]
    pub granularity: Option<Granularity>,
    /// Whether a budget ended it: another plan would find more to do.
    pub cut: bool,
    pub settling: Vec<Settling>,
}

impl Plan {
    /// Rows that move.
    pub fn rows(&self) -> u64 {
        self.moves.iter().map(|step| step.rows).sum()
    }

    /// Bytes that move.
    pub fn bytes(&self) -> u64 {
        self.moves.iter().map(|step| step.bytes).sum()
    }

    /// Why a shard was left alone.
    pub fn reason(&self, shard: ShardId) -> Option<&Reason> {
        self.left_alone.iter().find(|(id, _)| *id == shard).map(|(_, reason)| reason)
    }

    /// A shard's standing.
    pub fn standing(&self, shard: ShardId) -> Option<&Standing> {
        self.standings.binary_search_by_key(&shard, |standing| standing.shard).ok().map(|at| &self.standings[at])
    }

    /// The problem once the plan has been carried out: its slots have new owners, and nothing else has changed but the
    /// room on disks. For tests and for showing what would be.
    #[must_use]
    pub fn outcome(&self, problem: &Problem) -> Problem {
        let mut outcome = problem.clone();
        for step in &self.moves {
            step.slots.iter().for_each(|slot| outcome.slots[slot.0 as usize].owner = step.target);
            for shard in &mut outcome.shards {
                let free = shard.free_bytes.unwrap_or(0);
                let now = match shard.id {
                    id if id == step.source => free.saturating_add(step.bytes),
                    id if id == step.target => free.saturating_sub(step.bytes),
                    _ => continue,
                };
                shard.free_bytes = shard.free_bytes.map(|_| now);
            }
        }
        outcome
    }
}

/// Why a shard stands where it stands in a plan: sentences, most important first.
pub fn explain(plan: &Plan, shard: ShardId) -> Vec<String> {
    let Some(standing) = plan.standing(shard) else { return vec![format!("there is no shard {shard}")] };
    let mut sentences = vec![standing_sentence(standing)];
    let gives = plan.moves.iter().filter(|step| step.source == shard);
    let takes = plan.moves.iter().filter(|step| step.target == shard);
    sentences.extend(gives.map(|step| {
        let (slots, size) = (counted(step.slots.len() as u64, "slot"), bytes(step.bytes));
        format!("{slots} ({size}) {} to shard {}: {}", go(step), step.target, why_target(step))
    }));
    sentences.extend(takes.map(|step| {
        let (slots, size) = (counted(step.slots.len() as u64, "slot"), bytes(step.bytes));
        format!("{slots} ({size}) come from shard {}", step.source)
    }));
    let touched = sentences.len() > 1;
    if let Some(reason) = plan.reason(shard) {
        let verdict = if touched { "no more can be done" } else { "it is left alone" };
        sentences.push(format!("{verdict}: {reason}"));
        sentences.extend(reason.hint(shard).map(|hint| format!("what would change that: {hint}")));
    }
    sentences
}

fn standing_sentence(standing: &Standing) -> String {
    let (shard, share, noun) = (standing.shard, percent(standing.share), standing.dimension.noun());
    match standing.fair_share {
        Some(fair) => format!("shard {shard} holds {share} of {noun}, fair share is {}", percent(fair)),
        None => format!("shard {shard} holds {share} of {noun}"),
    }
}

fn go(step: &Move) -> &'static str {
    if step.slots.len() == 1 { "goes" } else { "go" }
}

fn why_target(step: &Move) -> &'static str {
    match step.reason {
        Reason::Overloaded { .. } | Reason::Hot { .. } => "it has the most room",
        Reason::Underloaded { .. } => "it has too little",
        Reason::Draining => "it has room, and this shard is drained",
        Reason::Splitting { .. } => "this shard is split",
        Reason::Merging => "this shard is merged into it",
        _ => "it was asked for",
    }
}
