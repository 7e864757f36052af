//! Where every shard stands while a plan is being made.
//!
//! All is kept as deviations from fair shares, so that shards of different capacity and dimensions of different units
//! compare directly. Shards that may give and shards that may take are ranked in every dimension at all times: the one
//! with the most room is the first, and a change costs a logarithm.

use super::board::Board;
use super::bundle::{Bundle, SLACK};
use super::load::Dimension;
use super::problem::Problem;
use super::supply::Supply;
use evenkeel_model::SlotSet;
use evenkeel_model::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};

/// How many dimensions there are.
pub(super) const D: usize = Dimension::ALL.len();

/// Deviations in all dimensions; 0 in those that don't count.
pub(super) type Deviations = [f64; D];

/// Those of two shards between which something moves.
pub(super) type Pair = (Deviations, Deviations);

/// A place in a ranking: the deviation in billionths, so that it can be ordered, and the shard.
pub(super) type Rank = (i64, u32);

pub(super) struct Ledger<'a> {
    pub board: &'a Board<'a>,
    /// The dimensions that count, as indices.
    pub dimensions: Vec<usize>,
    /// The deviation to come down to.
    pub goal: Deviations,
    /// Of every shard; 0 for those without a fair share.
    pub deviation: Vec<Deviations>,
    /// What one unit of load adds to a shard's deviation.
    pub unit: Vec<Deviations>,
    /// What no deviation may grow beyond: the largest at the start, and a target more.
    pub ceiling: f64,
    /// Bytes that a shard can still take.
    pub room: Vec<f64>,
    /// How much a shard can still take until its capacity is reached, in every dimension.
    pub headroom: Vec<Deviations>,
    /// Of every slot: whether the plan moves it.
    pub gone: Vec<bool>,
    pub supplies: Vec<Supply>,
    /// Shards that may give, by deviation.
    pub givers: Vec<BTreeSet<Rank>>,
    /// Shards that may take and have room for at least the smallest slot, by deviation.
    pub takers: Vec<BTreeSet<Rank>>,
    /// By target: slots that may not go there.
    barred: BTreeMap<u32, SlotSet>,
    smallest_bytes: f64,
}

impl<'a> Ledger<'a> {
    pub fn new(board: &'a Board<'a>, barred: BTreeMap<u32, SlotSet>) -> Self {
        let count = board.shards.len();
        let dimensions: Vec<_> = board.dimensions.iter().map(|d| *d as usize).collect();
        let mut goal = [0.0; D];
        let mut unit = vec![[0.0; D]; count];
        for (d, dimension) in dimensions.iter().zip(&board.dimensions) {
            goal[*d] = board.problem.goal(*dimension);
            for (unit, fair) in unit.iter_mut().zip(&board.fair).filter(|(_, fair)| fair[*dimension] > 0.0) {
                unit[*d] = fair[*dimension].recip();
            }
        }
        let bytes = board.slot_loads.iter().map(|load| load.bytes);
        let deviation: Vec<_> = (0..count).map(|at| board.deviations(at).to_array()).collect();
        let worst = deviation.iter().flatten().fold(0.0, |worst: f64, deviation| worst.max(deviation.abs()));
        let mut ledger = Self {
            board,
            dimensions,
            goal,
            ceiling: worst + board.problem.target_imbalance,
            deviation,
            unit,
            room: board.room.clone(),
            headroom: (0..count).map(|at| headroom(board, at)).collect(),
            gone: vec![false; board.slot_loads.len()],
            supplies: Supply::of_all(board),
            givers: vec![BTreeSet::new(); D],
            takers: vec![BTreeSet::new(); D],
            barred,
            smallest_bytes: bytes.fold(f64::INFINITY, f64::min),
        };
        (0..count).for_each(|at| ledger.rank(at));
        ledger
    }

    /// Whether a slot may not go to a shard for now.
    pub fn is_barred(&self, slot: u32, target: usize) -> bool {
        self.barred.get(&(target as u32)).is_some_and(|slots| slots.contains(Slot(slot)))
    }

    /// Whether any slot may not go to a shard for now.
    pub fn bars(&self, target: usize) -> bool {
        self.barred.contains_key(&(target as u32))
    }

    /// Whether a shard has too little room for any slot.
    pub fn is_full(&self, shard: usize) -> bool {
        self.room[shard] < self.smallest_bytes
    }

    /// The slots of a shard that it may still give.
    pub fn movable(&self, shard: usize) -> impl Iterator<Item = u32> + '_ {
        self.supplies[shard].slots().iter().copied().filter(|slot| !self.gone[*slot as usize])
    }

    /// Carries out a bundle.
    pub fn apply(&mut self, bundle: &Bundle) {
        let (source, target, load) = (bundle.source, bundle.target, bundle.load.to_array());
        self.unrank(source);
        self.unrank(target);
        bundle.slots.iter().for_each(|slot| self.gone[*slot as usize] = true);
        let gone = &self.gone;
        self.supplies[source].take(bundle.slots.len(), |slot| gone[slot as usize]);
        (self.deviation[source], self.deviation[target]) = self.after(source, target, &load);
        // Room at the source comes back only once its copy is dropped, and a plan doesn't count on that.
        self.take_room(target, &load, 1.0);
        self.rank(source);
        self.rank(target);
    }

    /// The deviations of two shards once a load has gone from the first to the second.
    pub fn after(&self, source: usize, target: usize, load: &[f64; D]) -> Pair {
        self.carried((self.deviation[source], self.deviation[target]), (source, target), load)
    }

    /// What deviations of two shards become when a load goes from the first to the second.
    pub fn carried(&self, (mut left, mut right): Pair, (source, target): (usize, usize), load: &[f64; D]) -> Pair {
        for d in 0..D {
            left[d] -= load[d] * self.unit[source][d];
            right[d] += load[d] * self.unit[target][d];
        }
        (left, right)
    }

    /// Whether a shard can take a load while every other copy exists too.
    pub fn has_room(&self, shard: usize, load: &[f64; D]) -> bool {
        let headroom = &self.headroom[shard];
        load[Dimension::Bytes as usize] <= self.room[shard]
            && (0..D).all(|d| load[d] == 0.0 || load[d] <= headroom[d] * (1.0 + SLACK))
    }

    /// Takes up room of a shard for a load that is to come, or with −1 gives it back.
    pub fn take_room(&mut self, shard: usize, load: &[f64; D], sign: f64) {
        self.room[shard] -= sign * load[Dimension::Bytes as usize];
        self.headroom[shard].iter_mut().zip(load).for_each(|(headroom, load)| *headroom -= sign * load);
    }

    fn rank(&mut self, shard: usize) {
        if !self.board.is_free(shard) {
            return;
        }
        for d in &self.dimensions {
            let rank = rank(self.deviation[shard][*d], shard);
            if !self.supplies[shard].is_empty() {
                self.givers[*d].insert(rank);
            }
            if !self.is_full(shard) {
                self.takers[*d].insert(rank);
            }
        }
    }

    fn unrank(&mut self, shard: usize) {
        for d in &self.dimensions {
            let rank = rank(self.deviation[shard][*d], shard);
            self.givers[*d].remove(&rank);
            self.takers[*d].remove(&rank);
        }
    }
}

pub(super) fn rank(deviation: f64, shard: usize) -> Rank {
    ((deviation * 1e9).round() as i64, shard as u32)
}

fn headroom(board: &Board, shard: usize) -> Deviations {
    let (capacity, load) = (board.shards[shard].capacity.sound().to_array(), board.loads[shard].to_array());
    let mut headroom = [f64::INFINITY; D];
    for d in (0..D).filter(|d| capacity[*d] > 0.0) {
        headroom[d] = capacity[d] - load[d];
    }
    headroom
}

/// By how much the sum of the squares of a pair's deviations falls. What moves between two shards leaves all others as
/// they are, so this is also by how much the measure of the whole cluster falls.
pub(super) fn improvement(after: &(Deviations, Deviations), before: &(Deviations, Deviations)) -> f64 {
    let fall = |(after, before): (&f64, &f64)| (before - after) * (before + after);
    after.0.iter().zip(&before.0).chain(after.1.iter().zip(&before.1)).map(fall).sum()
}

/// Whether a change is an improvement, and not only an inexactness of floating point.
pub(super) fn is_better(after: &(Deviations, Deviations), before: &(Deviations, Deviations)) -> bool {
    improvement(after, before) > 1e-9
}

/// The largest absolute deviation of a pair.
pub(super) fn worst_of((left, right): &(Deviations, Deviations)) -> f64 {
    left.iter().chain(right).fold(0.0, |worst, deviation| worst.max(deviation.abs()))
}

/// By target, the slots that may not go there: old copies that are not dropped yet, and places they just came from.
pub(super) fn barred<'p>(
    board: &Board,
    problem: &'p Problem,
    settling: impl Iterator<Item = &'p super::plan::Settling>,
) -> BTreeMap<u32, SlotSet> {
    let pending = problem.pending_drops.iter().map(|drop| (drop.shard, &drop.slots));
    let mut barred: BTreeMap<u32, SlotSet> = BTreeMap::new();
    for (shard, slots) in pending.chain(settling.map(|settling| (settling.from, &settling.slots))) {
        if let Some(at) = board.index(shard) {
            let all = barred.entry(at as u32).or_default();
            *all = all.union(slots);
        }
    }
    barred
}

/// How much of a dimension makes up a deviation of a shard.
pub(super) fn amount(board: &Board, shard: usize, dimension: usize, deviation: f64) -> f64 {
    deviation * board.fair[shard].to_array()[dimension]
}
