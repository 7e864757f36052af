//! How even shards can be at best, given that a slot can't be divided.
//!
//! A lower bound of the largest deviation, in one dimension, over **all** ways to lay these slots out over these shards,
//! whatever would have to move for it: no plan gets below it. The best layout itself is NP-hard to find (it is scheduling
//! on parallel machines), so it may lie above the bound. With n shards, and the slots from the heaviest to the lightest:
//!
//! * **Too much.** Of the k·n + 1 heaviest slots some shard has at least k + 1, and so at least as much as the k + 1
//!   lightest of them: for k = 0 the heaviest slot, for k = 1 the n-th and the next (Dell'Amico and Martello, "Optimal
//!   scheduling of tasks on identical parallel processors", ORSA J. Computing 7, 1995).
//! * **Too little.** The j heaviest slots are on j shards at most. The n − j others share what is left: some one of them
//!   has no more than their mean, and some one no more slots than their mean, each at most as heavy as the heaviest left
//!   (compare Haouari and Jemmali, "Maximizing the minimum completion time on parallel machines", 4OR 6, 2008). With fewer
//!   slots than shards some shard has none: 100 %.
//!
//! Where shards differ in capacity, "too much" is measured against the largest fair share and "too little" against the
//! smallest ones, so that it stays a bound.

use super::board::{Board, NOBODY};
use super::load::Dimension;
use super::problem::ShardRole;
use super::reason::percent;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why no plan can reach a target: slots are too coarse. Deviations are parts of a fair share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Granularity {
    pub dimension: Dimension,
    pub target: f64,
    /// Slots that carry something of the dimension, a shard.
    pub slots_per_shard: f64,
    /// Some shard has at least so much too much because it has one slot.
    pub largest_slot: f64,
    /// Some shard has at least so much too much because it has several slots.
    pub over: f64,
    /// Some shard has at least so much too little.
    pub under: f64,
}

impl Granularity {
    /// The largest deviation is at least this, wherever slots are.
    pub fn best(&self) -> f64 {
        self.largest_slot.max(self.over).max(self.under)
    }

    /// What is known about the side, too much or too little, on which a shard is that deviates so far.
    pub(super) fn bound(&self, deviation: f64) -> f64 {
        match deviation > 0.0 {
            true if deviation <= self.largest_slot + 1e-9 => self.over.max(self.largest_slot),
            true => self.over,
            false => self.under,
        }
    }

    /// Of every dimension that counts and whose goal is out of reach.
    pub(super) fn of_all(board: &Board) -> Vec<Self> {
        let may_matter = |d: &&Dimension| {
            // Slots that are all smaller than what the goal allows can be dealt out, each to the least loaded shard.
            let smallest = fair_shares(board, **d).first().copied().unwrap_or(0.0);
            board.slot_loads.iter().any(|load| load[**d] > smallest * board.problem.goal(**d))
        };
        let of = board.dimensions.iter().filter(may_matter).map(|d| Self::of(board, *d));
        of.filter(|it| it.best() > it.target + 1e-9).collect()
    }

    fn of(board: &Board, dimension: Dimension) -> Self {
        let (slots, fair) = (slots(board, dimension), fair_shares(board, dimension));
        let mut sums = vec![0.0; slots.len() + 1];
        slots.iter().enumerate().for_each(|(at, load)| sums[at + 1] = sums[at] + load);
        let bounds = Bounds { sums, fair };
        let (largest_slot, over) = bounds.over();
        Self {
            dimension,
            target: board.problem.goal(dimension),
            slots_per_shard: slots.len() as f64 / bounds.fair.len().max(1) as f64,
            largest_slot,
            over,
            under: bounds.under(),
        }
    }
}

impl fmt::Display for Granularity {
    /// `5.0 % can't be reached: with 0.8 slots a shard the best possible is about 100 % (rows)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", out_of_reach(self.target, self.slots_per_shard, self.best()), self.dimension)
    }
}

/// `5.0 % can't be reached: with 0.8 slots a shard the best possible is about 100 %`.
pub(super) fn out_of_reach(target: f64, slots_per_shard: f64, best: f64) -> String {
    let (target, best) = (percent(target), percent(best));
    format!("{target} can't be reached: with {slots_per_shard:.1} slots a shard the best possible is about {best}")
}

/// What the slots carry that are shared out, the heaviest first; without those that carry nothing.
fn slots(board: &Board, dimension: Dimension) -> Vec<f64> {
    let is_shared = |holder: &u32| {
        let shard = board.shards.get(*holder as usize).filter(|_| *holder != NOBODY);
        shard.is_some_and(|shard| !shard.pinned && shard.role != ShardRole::Unavailable)
    };
    let of_shared = board.holder.iter().zip(&board.slot_loads).filter(|(holder, _)| is_shared(holder));
    let mut slots: Vec<_> = of_shared.map(|(_, load)| load[dimension]).filter(|load| *load > 0.0).collect();
    slots.sort_by(|a, b| b.total_cmp(a));
    slots
}

/// The fair shares, the smallest first.
fn fair_shares(board: &Board, dimension: Dimension) -> Vec<f64> {
    let taking = board.shards.iter().zip(&board.fair).filter(|(shard, _)| shard.takes_part());
    let mut fair: Vec<_> = taking.map(|(_, fair)| fair[dimension]).filter(|fair| *fair > 0.0).collect();
    fair.sort_by(f64::total_cmp);
    fair
}

struct Bounds {
    /// What the heaviest slots carry together: none, one, two …
    sums: Vec<f64>,
    /// The smallest first.
    fair: Vec<f64>,
}

impl Bounds {
    fn slots(&self) -> usize {
        self.sums.len() - 1
    }

    /// By how much some shard is over at least: by one slot, and by several.
    fn over(&self) -> (f64, f64) {
        let (Some(largest), shards) = (self.fair.last(), self.fair.len()) else { return (0.0, 0.0) };
        let by_slots = |k: usize| {
            let last = k * shards + 1;
            (self.sums[last] - self.sums[last - (k + 1)]) / largest - 1.0
        };
        let rounds = self.slots().div_ceil(shards);
        let by_one = if rounds > 0 { by_slots(0) } else { 0.0 };
        (by_one.max(0.0), (1..rounds).map(by_slots).fold(0.0, f64::max))
    }

    /// By how much some shard is under at least.
    fn under(&self) -> f64 {
        let (Some(smallest), shards) = (self.fair.first(), self.fair.len()) else { return 0.0 };
        let all = self.sums[self.slots()];
        let (mut under, mut others_fair): (f64, f64) = (0.0, self.fair.iter().sum());
        for j in 0..shards.min(self.slots() + 1) {
            let (others, left) = (shards - j, self.slots() - j);
            let of_slots = self.sums[j + left / others] - self.sums[j];
            under = under.max(1.0 - (all - self.sums[j]) / others_fair).max(1.0 - of_slots / smallest);
            // The largest go first, so that the smallest fair shares remain.
            others_fair -= self.fair[others - 1];
        }
        under
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::Load;
    use super::super::problem::{Problem, ShardState, SlotState};
    use super::*;
    use evenkeel_model::slot::ShardId;

    fn granularity(shards: u32, loads: &[f64]) -> Granularity {
        let slot = |load: &f64| SlotState {
            owner: ShardId(1),
            load: Load::of_slot(load * 1e6, load * 1e6, 0.0, 0.0),
            moving_to: None,
        };
        let shards = (1..=shards).map(|id| ShardState::new(ShardId(id))).collect();
        let problem = Problem::new(0, shards, loads.iter().map(slot).collect());
        Granularity::of(&Board::new(&problem), Dimension::Rows)
    }

    #[test]
    fn equal_slots_are_dealt_out_as_far_as_they_go() {
        let of = |shards, slots| granularity(shards, &vec![1.0; slots]);
        assert_eq!((of(4, 8).best(), of(4, 4).best()), (0.0, 0.0));
        // Seven on two: four and three.
        let uneven = of(2, 7);
        assert_eq!((uneven.largest_slot, uneven.over, uneven.under), (0.0, 4.0 / 3.5 - 1.0, 1.0 - 3.0 / 3.5));
        let too_few = of(4, 3);
        assert!((too_few.largest_slot - 1.0 / 3.0).abs() < 1e-12 && too_few.under == 1.0);
        assert_eq!(of(4, 0).best(), 0.0);
    }

    #[test]
    fn a_giant_leaves_the_others_less_than_their_share() {
        let giant = granularity(3, &[6.0, 1.0, 1.0, 1.0]);
        assert_eq!((giant.largest_slot, giant.over), (1.0, 0.0));
        assert!((giant.under - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(
            giant.to_string(),
            "5.0 % can't be reached: with 1.3 slots a shard the best possible is about 100 % (rows)"
        );
    }
}
