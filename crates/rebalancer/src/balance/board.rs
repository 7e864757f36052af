//! A problem laid out as flat arrays: who has what, what would be fair, and how much room there is.
//!
//! Shards stand in ascending order of their ids, so that nothing depends on the order in which they were given; inside
//! the balancer a shard is its index here. Slots that are on their way are counted where they are going, because that is
//! where their load will be when a plan made now has been carried out; their bytes are taken off the room there.

use super::load::{Dimension, Load};
use super::problem::{Problem, ShardRole, ShardState};
use evenkeel_model::slot::ShardId;

/// An owner that is not among the problem's shards.
pub(super) const NOBODY: u32 = u32::MAX;

pub(super) struct Board<'a> {
    pub problem: &'a Problem,
    /// Ascending by id.
    pub shards: Vec<&'a ShardState>,
    /// The dimensions that count: the strategy's, as far as there is enough of them.
    pub dimensions: Vec<Dimension>,
    /// Of every slot, the index of the shard that has it or gets it, or [`NOBODY`].
    pub holder: Vec<u32>,
    /// Of every slot.
    pub slot_loads: Vec<Load>,
    /// Of every shard.
    pub loads: Vec<Load>,
    /// Of every shard that takes part; zero for the others.
    pub fair: Vec<Load>,
    /// Of all slots of all shards.
    pub total: Load,
    /// Bytes that a shard can still take in while every other copy exists too; infinite where nothing is known.
    pub room: Vec<f64>,
    /// Whether slots are on their way from or to a shard.
    pub is_busy: Vec<bool>,
}

impl<'a> Board<'a> {
    pub fn new(problem: &'a Problem) -> Self {
        let mut shards: Vec<_> = problem.shards.iter().collect();
        shards.sort_by_key(|shard| shard.id);
        shards.dedup_by_key(|shard| shard.id);
        let count = shards.len();
        let mut board = Self {
            problem,
            shards,
            dimensions: Vec::new(),
            holder: Vec::with_capacity(problem.slots.len()),
            slot_loads: problem.slots.iter().map(|slot| Load { slots: 1.0, ..slot.load.sound() }).collect(),
            loads: vec![Load::ZERO; count],
            fair: vec![Load::ZERO; count],
            total: Load::ZERO,
            room: vec![0.0; count],
            is_busy: vec![false; count],
        };
        board.place_slots();
        board.share_out();
        board
    }

    /// The index of a shard.
    pub fn index(&self, id: ShardId) -> Option<usize> {
        self.shards.binary_search_by_key(&id, |shard| shard.id).ok()
    }

    /// Whether a shard may give and take slots now.
    pub fn is_free(&self, shard: usize) -> bool {
        let state = self.shards[shard];
        state.takes_part() && !state.cools(self.problem.now_ms)
    }

    /// Deviation of a shard in a dimension, with its sign; 0 where it has no fair share.
    pub fn deviation(&self, shard: usize, dimension: Dimension) -> f64 {
        deviation(self.loads[shard][dimension], self.fair[shard][dimension])
    }

    /// Deviations of a shard in all dimensions that count; 0 in the others.
    pub fn deviations(&self, shard: usize) -> Load {
        let mut deviations = Load::ZERO;
        self.dimensions.iter().for_each(|d| deviations[*d] = self.deviation(shard, *d));
        deviations
    }

    /// A shard's part of all there is in a dimension.
    pub fn share(&self, amount: f64, dimension: Dimension) -> f64 {
        if self.total[dimension] > 0.0 { amount / self.total[dimension] } else { 0.0 }
    }

    fn place_slots(&mut self) {
        let mut occupied = vec![0.0; self.shards.len()];
        let mut arriving = vec![0.0; self.shards.len()];
        for (slot, load) in self.problem.slots.iter().zip(&self.slot_loads) {
            let owner = self.index(slot.owner);
            let target = slot.moving_to.and_then(|target| self.index(target));
            owner.iter().for_each(|at| occupied[*at] += load.bytes);
            target.iter().for_each(|at| arriving[*at] += load.bytes);
            if target.is_some() {
                owner.iter().chain(&target).for_each(|at| self.is_busy[*at] = true);
            }
            let holder = target.or(owner);
            holder.iter().for_each(|at| self.loads[*at] += *load);
            self.holder.push(holder.map_or(NOBODY, |at| at as u32));
        }
        self.total = self.loads.iter().copied().sum();
        for (at, shard) in self.shards.iter().enumerate() {
            let of_disk = shard.free_bytes.map_or(f64::INFINITY, |free| free as f64);
            let capacity = shard.capacity.bytes;
            let of_capacity = if capacity > 0.0 { capacity - occupied[at] } else { f64::INFINITY };
            self.room[at] = (of_disk.min(of_capacity) - arriving[at]).max(0.0);
        }
    }

    /// Fair shares: what the shards that take part, and the ones being drained, hold together, in proportion to capacity.
    fn share_out(&mut self) {
        let taking: Vec<_> = (0..self.shards.len()).filter(|at| self.shards[*at].takes_part()).collect();
        let giving = |at: &usize| !self.shards[*at].pinned && self.shards[*at].role != ShardRole::Unavailable;
        let shared: Load = (0..self.shards.len()).filter(giving).map(|at| self.loads[at]).sum();
        self.dimensions = counting(self.problem, shared, taking.len());
        for dimension in Dimension::ALL {
            let weights = weights(&self.shards, &taking, dimension);
            let sum: f64 = weights.iter().sum();
            for (at, weight) in taking.iter().zip(weights) {
                self.fair[*at][dimension] = shared[dimension] * weight / sum;
            }
        }
    }
}

/// |x − fair share| / fair share, with the sign of the difference.
pub(super) fn deviation(amount: f64, fair: f64) -> f64 {
    if fair > 0.0 { amount / fair - 1.0 } else { 0.0 }
}

/// The strategy's dimensions of which there is enough to care; the number of slots where there is enough of none.
fn counting(problem: &Problem, shared: Load, shards: usize) -> Vec<Dimension> {
    let enough = |d: &Dimension| shared[*d] > 0.0 && shared[*d] >= problem.thresholds.floor[*d] * shards as f64;
    let dimensions: Vec<_> = problem.strategy.dimensions().iter().copied().filter(enough).collect();
    if dimensions.is_empty() { vec![Dimension::Slots] } else { dimensions }
}

/// How the fair shares of these shards are to each other. Where no capacity is known in a dimension, the capacity in
/// the nearest other one stands in: twice the disk is meant to hold twice the rows. A shard of unknown capacity counts
/// as the mean of the known ones.
fn weights(shards: &[&ShardState], taking: &[usize], dimension: Dimension) -> Vec<f64> {
    use Dimension::{Bytes, Cpu, Qps, Rows, Slots};
    let order = match dimension {
        Rows => [Rows, Bytes, Slots, Cpu, Qps],
        Bytes => [Bytes, Rows, Slots, Cpu, Qps],
        Qps => [Qps, Cpu, Bytes, Rows, Slots],
        Cpu => [Cpu, Qps, Bytes, Rows, Slots],
        Slots => [Slots, Bytes, Rows, Cpu, Qps],
    };
    let known = |d: &Dimension| taking.iter().any(|at| shards[*at].capacity[*d] > 0.0);
    let Some(dimension) = order.into_iter().find(known) else { return vec![1.0; taking.len()] };
    let capacities: Vec<_> = taking.iter().map(|at| shards[*at].capacity.sound()[dimension]).collect();
    let (sum, count) = capacities.iter().filter(|c| **c > 0.0).fold((0.0, 0.0), |(sum, n), c| (sum + c, n + 1.0));
    capacities.into_iter().map(|capacity| if capacity > 0.0 { capacity } else { sum / count }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::problem::SlotState;
    use super::*;

    fn problem(capacities: &[f64], owners: &[u32]) -> Problem {
        let shard = |(at, capacity): (usize, &f64)| ShardState {
            capacity: Load { bytes: *capacity, ..Load::ZERO },
            ..ShardState::new(ShardId(at as u32 + 1))
        };
        let slot = |owner: &u32| SlotState {
            owner: ShardId(*owner),
            load: Load::of_slot(1e4, 1e6, 0.0, 0.0),
            moving_to: None,
        };
        let shards = capacities.iter().enumerate().map(shard).collect();
        Problem::new(0, shards, owners.iter().map(slot).collect())
    }

    #[test]
    fn fair_shares_follow_capacity_and_an_unknown_one_counts_as_the_mean() {
        let problem = problem(&[1e8, 3e8, 0.0], &[1, 1, 1, 2, 2, 2]);
        let board = Board::new(&problem);
        let fair: Vec<_> = board.fair.iter().map(|fair| fair.rows).collect();
        assert_eq!(fair, [1e4, 3e4, 2e4]);
        assert_eq!(board.deviation(0, Dimension::Rows), 2.0);
        assert_eq!(board.dimensions, [Dimension::Rows, Dimension::Bytes]);
    }

    #[test]
    fn pinned_shards_are_left_out_of_the_sharing() {
        let mut problem = problem(&[0.0, 0.0, 0.0], &[1, 1, 1, 1, 2, 3]);
        problem.shards[0].pinned = true;
        let board = Board::new(&problem);
        assert_eq!((board.deviation(0, Dimension::Rows), board.deviation(1, Dimension::Rows)), (0.0, 0.0));
        assert_eq!(board.share(board.loads[0].rows, Dimension::Rows), 4.0 / 6.0);
    }

    #[test]
    fn slots_on_their_way_count_where_they_go_and_use_up_its_room() {
        let mut problem = problem(&[0.0, 5e6], &[1, 1, 1, 2]);
        problem.slots[0].moving_to = Some(ShardId(2));
        let board = Board::new(&problem);
        assert_eq!(board.holder, [1, 0, 0, 1]);
        assert_eq!(board.room, [f64::INFINITY, 3e6]);
    }
}
