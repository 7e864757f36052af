//! The search for a plan: the worst first, and always to (or from) the shard with the most room.
//!
//! The shard that is furthest from its share, in whatever dimension, is paired with the one at the other end of that
//! dimension's ranking, and gives as much as brings one of the two to its share. So n shards need at most n − 1 pairs,
//! and what moves is what was in excess. With one dimension this is the greedy settling of debts, largest creditor from
//! largest debtor; with several, a few partners are tried and the one that helps most in all dimensions is kept.
//!
//! Who stays over although nobody is below its share (those who are may be full, or cooling down) gives to whoever
//! carries less than it does: for the next round the level up to which shards take is raised to where the water would
//! stand if the overloaded poured out over those who may take (max-min fairness; Bertsekas and Gallager, "Data
//! Networks", 1992, § 6.5).
//!
//! Shards that are then still beyond the goal exchange slots within the plan; see [`Exchanges`]. What slots are too coarse
//! for is not tried: see [`Granularity`].
//!
//! A slot moves once in a plan, so the search ends; and it ends soon, because shards that nothing helps are put aside.

use super::bundle::{Bundle, Miss, Wish, choose, relief};
use super::exchange::Exchanges;
use super::granularity::Granularity;
use super::ledger::{D, Deviations, Ledger, Rank, amount, rank};
use super::problem::Strategy;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Bound::{Excluded, Unbounded};

/// Rounds with raised levels; each but the last moved something.
const ROUNDS: usize = 6;

/// From the third round on, one in so many of the shards that are left must gain by it, else it is the last.
const GAINING_PART: usize = 64;

/// Partners that would do and are compared, where there are several dimensions.
const PARTNERS: usize = 6;

/// Partners whose slots don't fit, or would push another dimension, before a shard is put aside: the fewest, the most,
/// and how many for all shards together.
const TRIES: (usize, usize, usize) = (24, 96, 65_536);

/// Slots looked at in one plan. Most plans for the largest clusters take a tenth of it; it is there so that none takes
/// minutes. Where it ends a plan, the next one goes on.
const WORK_MAX: u64 = 50_000_000;

pub(super) struct Search<'a> {
    pub ledger: Ledger<'a>,
    /// Deviations that the plan does something about.
    pub active: Vec<[bool; D]>,
    pub bundles: Vec<Bundle>,
    /// What a shard was put aside for, and in which dimension.
    pub misses: Vec<Option<(usize, Miss)>>,
    pub bytes_left: f64,
    pub bundles_max: usize,
    /// Up to which deviation shards take; 0 or more.
    high: Deviations,
    /// Down to which deviation shards give; 0 or less.
    low: Deviations,
    /// The deviations, up and down, from which on a shard is done something about: the goal, or what slots allow.
    reachable: [(f64, f64); D],
    yields: bool,
    work_left: u64,
}

impl<'a> Search<'a> {
    pub fn new(ledger: Ledger<'a>, active: Vec<[bool; D]>, granularities: &[Granularity]) -> Self {
        let mut reachable = ledger.goal.map(|goal| (goal, goal));
        for Granularity { dimension, over, under, .. } in granularities {
            let (most, least) = &mut reachable[*dimension as usize];
            (*most, *least) = (most.max(*over), least.max(*under));
        }
        let limits = &ledger.board.problem.limits;
        Self {
            misses: vec![None; active.len()],
            active,
            bundles: Vec::new(),
            bytes_left: limits.bytes_max.map_or(f64::INFINITY, |bytes| bytes as f64),
            // Moves of one pair may become one, so a few more are looked for than may be asked for.
            bundles_max: limits.moves_max.map_or(usize::MAX, |moves| moves.saturating_mul(2).saturating_add(64)),
            high: [0.0; D],
            low: [0.0; D],
            reachable,
            yields: false,
            work_left: WORK_MAX,
            ledger,
        }
    }

    /// Brings shards to their fair shares.
    pub fn balance(&mut self) {
        for round in 0..ROUNDS {
            let before = self.bundles.len();
            self.round();
            let is_moved = self.move_levels();
            let may_yield = self.dimension_count() > 1;
            let gained = self.bundles.len() - before;
            let is_vain = round >= 2 && gained < self.left() / GAINING_PART;
            let is_last = is_vain || !(is_moved || gained > 0);
            if self.is_spent() || (is_last && self.yields == may_yield) {
                break;
            }
            self.yields = may_yield;
        }
        if self.left() > 0 && !self.is_spent() {
            Exchanges::new(self).make();
        }
        self.note_misses();
    }

    /// Shards about which something is to be done.
    fn left(&self) -> usize {
        (0..self.active.len()).filter(|shard| self.urgency(*shard).is_some()).count()
    }

    /// Every shard that stays beyond the goal has its reason, also where no more is to be had.
    fn note_misses(&mut self) {
        if self.is_spent() {
            return;
        }
        let Self { ledger, active, misses, .. } = self;
        for (shard, miss) in misses.iter_mut().enumerate().filter(|(_, miss)| miss.is_none()) {
            let deviation = |d: usize| ledger.deviation[shard][d].abs();
            let is_beyond = |d: &usize| active[shard][*d] && deviation(*d) > ledger.goal[*d] + 1e-9;
            // Of equal ones the first.
            let beyond = ledger.dimensions.iter().copied().rev().filter(is_beyond);
            *miss = beyond.max_by(|a, b| deviation(*a).total_cmp(&deviation(*b))).map(|d| (d, Miss::Fit));
        }
    }

    /// Whether a limit has ended the search.
    pub fn is_spent(&self) -> bool {
        self.bundles.len() >= self.bundles_max || self.work_left == 0
    }

    /// Whether it was the search's own limit.
    pub fn is_exhausted(&self) -> bool {
        self.work_left == 0
    }

    /// Carries out a bundle and adds it to the plan.
    pub fn take(&mut self, bundle: Bundle) {
        self.ledger.apply(&bundle);
        self.bytes_left -= bundle.load.bytes;
        self.touch(bundle.source);
        self.touch(bundle.target);
        self.bundles.push(bundle);
    }

    /// Looks at a shard anew: something has changed there.
    pub fn touch(&mut self, shard: usize) {
        self.misses[shard] = None;
        // A slot that was too large to be exact may have left the other end too far away.
        let (deviation, problem) = (&self.ledger.deviation[shard], self.ledger.board.problem);
        for dimension in &self.ledger.board.dimensions {
            let d = *dimension as usize;
            self.active[shard][d] |= deviation[d].abs() > problem.threshold(*dimension);
        }
    }

    fn round(&mut self) {
        let mut queue: BinaryHeap<(i64, Reverse<u32>)> =
            (0..self.active.len()).filter_map(|shard| self.urgency(shard)).collect();
        while let Some(entry) = queue.pop() {
            let Reverse(shard) = entry.1;
            if self.is_spent() {
                return;
            }
            if self.urgency(shard as usize) != Some(entry) {
                continue; // it has changed since, and stands elsewhere in the queue
            }
            match self.relieve(shard as usize) {
                Ok(bundle) => {
                    let pair = [bundle.source, bundle.target];
                    self.take(bundle);
                    queue.extend(pair.iter().filter_map(|shard| self.urgency(*shard)));
                }
                Err(miss) => self.misses[shard as usize] = Some(miss),
            }
        }
    }

    /// How far a shard is from its share, if something is to be done about it.
    pub fn urgency(&self, shard: usize) -> Option<(i64, Reverse<u32>)> {
        if !self.ledger.board.is_free(shard) {
            return None;
        }
        let worst = self.urgent(shard).first().map(|d| self.ledger.deviation[shard][*d].abs())?;
        let (worst, shard) = rank(worst, shard);
        Some((worst, Reverse(shard)))
    }

    /// The dimensions in which something is to be done about a shard, worst first.
    pub fn urgent(&self, shard: usize) -> Vec<usize> {
        let deviation = &self.ledger.deviation[shard];
        let is_beyond = |d: usize| match self.reachable[d] {
            (over, _) if deviation[d] > 0.0 => deviation[d] > over + 1e-9,
            (_, under) => -deviation[d] > under + 1e-9,
        };
        let is_urgent = |d: &usize| self.active[shard][*d] && is_beyond(*d);
        let mut urgent: Vec<_> = self.ledger.dimensions.iter().copied().filter(is_urgent).collect();
        // As ranks, so that of dimensions that are as good as equal the first is named.
        urgent.sort_by_key(|d| Reverse(rank(deviation[*d].abs(), shard)));
        urgent
    }

    /// A bundle that brings a shard nearer to its share in its worst dimension, or else in another.
    fn relieve(&mut self, shard: usize) -> Result<Bundle, (usize, Miss)> {
        let mut first = None;
        for dimension in self.urgent(shard) {
            match self.relieve_in(shard, dimension) {
                Ok(bundle) => return Ok(bundle),
                Err(miss) => first = first.or(Some((dimension, miss))),
            }
        }
        Err(first.unwrap_or((self.ledger.dimensions[0], Miss::Partner)))
    }

    fn relieve_in(&mut self, shard: usize, dimension: usize) -> Result<Bundle, Miss> {
        let compared = if self.dimension_count() == 1 { 1 } else { PARTNERS };
        let tries_max = (TRIES.2 / self.active.len()).clamp(TRIES.0, TRIES.1);
        let (mut best, mut found, mut tries, mut miss) = (None, 0, 0, Miss::Partner);
        let mut last = None;
        while let Some(next) = self.partner(shard, dimension, last) {
            last = Some(next);
            let Some(wish) = self.wish(shard, next.1 as usize, dimension) else { break };
            self.ledger.supplies[wish.source].prepare(self.ledger.board, dimension);
            let (bundle, looked_at) = choose(&self.ledger, wish);
            self.work_left = self.work_left.saturating_sub(looked_at);
            match bundle {
                Ok(bundle) => {
                    found += 1;
                    let relief = relief(&self.ledger, &bundle);
                    if best.as_ref().is_none_or(|(most, _)| relief > *most) {
                        best = Some((relief, bundle));
                    }
                }
                // Full and barred partners say nothing about the next.
                Err(passing @ (Miss::Room | Miss::Barred(_))) => miss = miss.max(passing),
                Err(other) => (miss, tries) = (miss.max(other), tries + 1),
            }
            if found == compared || tries == tries_max || self.work_left == 0 {
                break;
            }
        }
        best.map(|(_, bundle)| bundle).ok_or(miss)
    }

    /// The next shard to give to, least loaded first, or to take from, most loaded first.
    fn partner(&self, shard: usize, dimension: usize, after: Option<Rank>) -> Option<Rank> {
        let is_other = |rank: &&Rank| rank.1 as usize != shard;
        let after = after.map_or(Unbounded, Excluded);
        if self.ledger.deviation[shard][dimension] > 0.0 {
            self.ledger.takers[dimension].range((after, Unbounded)).find(is_other).copied()
        } else {
            self.ledger.givers[dimension].range((Unbounded, after)).rev().find(is_other).copied()
        }
    }

    /// How much one shard wants to move to or from another, if the other has it to offer.
    fn wish(&self, shard: usize, other: usize, dimension: usize) -> Option<Wish> {
        let (own, its) = (self.ledger.deviation[shard][dimension], self.ledger.deviation[other][dimension]);
        let edge = match self.ledger.board.problem.strategy {
            Strategy::MinimizeMovement => self.ledger.goal[dimension],
            _ => 0.0,
        };
        let (source, target, need, offer) = match own > 0.0 {
            true => (shard, other, own - self.high[dimension].max(edge), self.high[dimension] - its),
            false => (other, shard, self.low[dimension].min(-edge) - own, its - self.low[dimension]),
        };
        if need <= 0.0 || offer <= 0.0 {
            return None;
        }
        let board = self.ledger.board;
        let amount = amount(board, shard, dimension, need).min(amount(board, other, dimension, offer));
        Some(Wish { source, target, driven: shard, dimension, amount, bytes_max: self.bytes_left, yields: self.yields })
    }

    /// Sets the levels to where the load of those who are still beyond the goal would stand; whether any has moved.
    fn move_levels(&mut self) -> bool {
        let before = (self.high, self.low);
        for d in self.ledger.dimensions.clone() {
            let of = |ranks: &BTreeSet<Rank>, sign: f64| -> Vec<(f64, f64)> {
                let fair = |shard: u32| amount(self.ledger.board, shard as usize, d, 1.0);
                let deviation = |shard: u32| sign * self.ledger.deviation[shard as usize][d];
                ranks.iter().map(|(_, shard)| (deviation(*shard), fair(*shard))).collect()
            };
            let beyond = |ranks: &BTreeSet<Rank>, sign: f64| -> BTreeSet<Rank> {
                let deviation = |shard: u32| sign * self.ledger.deviation[shard as usize][d];
                let is_beyond = |shard: u32| self.active[shard as usize][d] && deviation(shard) > self.ledger.goal[d];
                ranks.iter().copied().filter(|(_, shard)| is_beyond(*shard)).collect()
            };
            let (givers, takers) = (&self.ledger.givers[d], &self.ledger.takers[d]);
            self.high[d] = water_level(&of(&beyond(givers, 1.0), 1.0), &of(takers, 1.0));
            // Upside down it is the same.
            self.low[d] = -water_level(&of(&beyond(takers, -1.0), -1.0), &of(givers, -1.0));
        }
        (self.high, self.low) != before
    }

    fn dimension_count(&self) -> usize {
        self.ledger.dimensions.len()
    }
}

/// The deviation at which what `over` have above it is what `others` have below it, each a deviation and what it is a
/// deviation from; at least 0.
fn water_level(over: &[(f64, f64)], others: &[(f64, f64)]) -> f64 {
    let takes_all = |level: f64| {
        let given: f64 = over.iter().map(|(deviation, fair)| (deviation - level).max(0.0) * fair).sum();
        let taken: f64 = others.iter().map(|(deviation, fair)| (level - deviation).max(0.0) * fair).sum();
        taken >= given
    };
    if takes_all(0.0) {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, over.iter().map(|(deviation, _)| *deviation).fold(0.0, f64::max));
    for _ in 0..32 {
        let middle = (low + high) / 2.0;
        if takes_all(middle) { high = middle } else { low = middle }
    }
    high
}
