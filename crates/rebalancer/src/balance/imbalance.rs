//! Seeing that shards carry more or less than their fair share, and waiting until it is worth doing something.
//!
//! WHAT MAY NEVER HAPPEN: a single odd measurement starts a rebalance; a cluster on the edge of a threshold starts one at
//! every check.
//!
//! [`measure`] says how far every shard is from its share; [`detect`] says so only beyond the thresholds. [`Watch`] is a
//! Schmitt trigger with a count behind it: deviations above the threshold count up, deviations below three quarters of
//! it start again, in between nothing changes. Only a full count is acted upon.

use super::board::Board;
use super::load::Dimension;
use super::problem::Problem;
use evenkeel_model::slot::ShardId;
use serde::{Deserialize, Serialize};

/// Below this part of its threshold a deviation is over.
const RELEASE: f64 = 0.75;

/// How far the shards are from their fair shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imbalance {
    /// |x − fair share| / fair share of the shard and dimension that are furthest beyond their threshold (or nearest to
    /// it): 0.92 is 92 % more, or less, than fair.
    pub max_deviation: f64,
    /// The dimension of that deviation.
    pub dimension: Dimension,
    /// What the deviation is held against.
    pub threshold: f64,
    /// Its shard; `None` where no shard takes part.
    pub shard: Option<ShardId>,
    /// Shards beyond a threshold upwards, ascending. A shard can be in both lists, by different dimensions.
    pub overloaded: Vec<ShardId>,
    /// Shards beyond a threshold downwards, ascending.
    pub underloaded: Vec<ShardId>,
}

impl Imbalance {
    /// Whether any deviation is beyond its threshold.
    pub fn exceeds(&self) -> bool {
        !self.overloaded.is_empty() || !self.underloaded.is_empty()
    }
}

/// How far the shards are from their fair shares, in the dimensions of the problem's strategy, against the trigger
/// thresholds. Pinned, draining and unavailable shards have no fair share.
pub fn measure(problem: &Problem) -> Imbalance {
    measure_board(&Board::new(problem))
}

/// The imbalance, if it is beyond a threshold.
pub fn detect(problem: &Problem) -> Option<Imbalance> {
    Some(measure(problem)).filter(Imbalance::exceeds)
}

pub(super) fn measure_board(board: &Board) -> Imbalance {
    let first = board.dimensions[0];
    let mut imbalance = Imbalance {
        max_deviation: 0.0,
        dimension: first,
        threshold: board.problem.thresholds.trigger(first),
        shard: None,
        overloaded: Vec::new(),
        underloaded: Vec::new(),
    };
    let mut worst = 0.0;
    for (at, shard) in board.shards.iter().enumerate().filter(|(_, shard)| shard.takes_part()) {
        let (mut over, mut under) = (false, false);
        for dimension in &board.dimensions {
            let (deviation, threshold) =
                (board.deviation(at, *dimension), board.problem.thresholds.trigger(*dimension));
            over |= deviation > threshold;
            under |= -deviation > threshold;
            // Dimensions with different thresholds are compared by how far they are along to their own.
            let severity = deviation.abs() / threshold.max(f64::MIN_POSITIVE);
            if imbalance.shard.is_none() || severity > worst {
                worst = severity;
                imbalance.shard = Some(shard.id);
                (imbalance.max_deviation, imbalance.dimension) = (deviation.abs(), *dimension);
                imbalance.threshold = threshold;
            }
        }
        if over {
            imbalance.overloaded.push(shard.id);
        }
        if under {
            imbalance.underloaded.push(shard.id);
        }
    }
    imbalance
}

/// Counts the checks in a row that saw an imbalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Checks in a row.
    pub seen: u32,
    /// Checks in a row before anything is done.
    pub needed: u32,
}

impl Default for Watch {
    fn default() -> Self {
        Self::new(3)
    }
}

impl Watch {
    /// Nothing seen yet; `needed` checks in a row must see an imbalance, and at least one.
    pub fn new(needed: u32) -> Self {
        Self { seen: 0, needed: needed.max(1) }
    }

    /// What is known after one more check.
    #[must_use]
    pub fn next(self, seen: &Imbalance) -> Self {
        let seen = match seen {
            imbalance if imbalance.exceeds() => (self.seen + 1).min(self.needed),
            imbalance if imbalance.max_deviation < RELEASE * imbalance.threshold => 0,
            _ => self.seen,
        };
        Self { seen, ..self }
    }

    /// Whether the imbalance has lasted.
    pub fn is_stable(self) -> bool {
        self.seen >= self.needed
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::Load;
    use super::super::problem::{ShardState, SlotState};
    use super::*;

    fn problem(rows: &[f64]) -> Problem {
        let shards = (1..=rows.len() as u32).map(|id| ShardState::new(ShardId(id))).collect();
        let slot = |(at, rows): (usize, &f64)| SlotState {
            owner: ShardId(at as u32 + 1),
            load: Load::of_slot(*rows, rows * 100.0, 0.0, 0.0),
            moving_to: None,
        };
        Problem::new(0, shards, rows.iter().enumerate().map(slot).collect())
    }

    #[test]
    fn deviations_beyond_the_threshold_are_seen_on_both_sides() {
        assert_eq!(detect(&problem(&[1e4, 1.1e4, 0.9e4])), None);
        let seen = detect(&problem(&[1e4, 1.3e4, 0.7e4])).unwrap();
        assert_eq!((seen.overloaded, seen.underloaded), (vec![ShardId(2)], vec![ShardId(3)]));
        assert_eq!((seen.dimension, (seen.max_deviation * 100.0).round()), (Dimension::Rows, 30.0));
    }

    #[test]
    fn qps_has_a_threshold_of_its_own() {
        let mut problem = problem(&[1e4, 1e4]);
        (problem.slots[0].load.qps, problem.slots[1].load.qps) = (1_180.0, 820.0);
        assert_eq!(detect(&problem), None, "18 % is less than 20 %");
        (problem.slots[0].load.qps, problem.slots[1].load.qps) = (1_220.0, 780.0);
        assert_eq!(detect(&problem).unwrap().dimension, Dimension::Qps);
    }

    #[test]
    fn a_few_rows_are_no_imbalance() {
        assert_eq!(detect(&problem(&[4.0, 0.0, 1.0])), None);
    }

    #[test]
    fn a_spike_is_not_acted_upon_and_the_edge_does_not_flicker() {
        let (calm, edge, beyond) = (problem(&[1e4, 1e4]), problem(&[1.14e4, 0.86e4]), problem(&[1.2e4, 0.8e4]));
        let watch = |checks: &[&Problem]| checks.iter().fold(Watch::new(3), |watch, p| watch.next(&measure(p)));
        assert!(!watch(&[&beyond, &calm, &beyond, &beyond]).is_stable());
        assert!(watch(&[&beyond, &edge, &beyond, &beyond]).is_stable());
        assert!(!watch(&[&edge; 9]).is_stable());
    }
}
