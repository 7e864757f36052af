//! Emptying a shard without putting the others out of balance.
//!
//! First every other shard, the one with the most room first, takes a run of slots until it has its fair share (of
//! which the slots of the drained shard are part). What is left, because slots are not fine enough, goes slot by slot,
//! the largest first, to whoever is least loaded: Graham's rule of the longest processing time ("Bounds on
//! multiprocessing timing anomalies", SIAM J. Appl. Math. 17, 1969).

use super::bundle::{Bundle, Cause, Miss, add, refusal, slot_load};
use super::ledger::{D, rank};
use super::load::{Dimension, Load};
use super::search::Search;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Slots looked at in vain before a shard that has taken some is left.
const LOOKAHEAD: usize = 128;

impl Search<'_> {
    /// Gives all slots of a shard away, as far as there is room.
    pub fn drain(&mut self, source: usize) {
        let mut slots: Vec<_> = self.ledger.movable(source).collect();
        let mut targets: Vec<_> = self.takers().map(|target| self.fullness(target)).collect();
        targets.sort_unstable();
        for (_, target) in targets {
            if slots.is_empty() || self.is_spent() {
                break;
            }
            let part = self.fill(target as usize, &slots);
            if !part.is_empty() {
                self.hand_over(source, target as usize, part);
                let gone = &self.ledger.gone;
                slots.retain(|slot| !gone[*slot as usize]);
            }
        }
        self.scatter(source, slots);
    }

    fn takers(&self) -> impl Iterator<Item = usize> + '_ {
        let board = self.ledger.board;
        (0..board.shards.len()).filter(|at| board.is_free(*at) && !self.ledger.is_full(*at))
    }

    /// How loaded a shard is in the dimension in which it has least room.
    fn fullness(&self, shard: usize) -> (i64, u32) {
        let deviation = &self.ledger.deviation[shard];
        rank(self.ledger.dimensions.iter().map(|d| deviation[*d]).fold(-1.0, f64::max), shard)
    }

    /// Slots that bring a shard to its fair share and not beyond.
    fn fill(&self, target: usize, slots: &[u32]) -> Vec<u32> {
        let (mut part, mut sum, mut in_vain) = (Vec::new(), [0.0; D], 0);
        for slot in slots {
            let mut with = sum;
            add(&mut with, &slot_load(&self.ledger, *slot));
            let (deviation, unit) = (&self.ledger.deviation[target], &self.ledger.unit[target]);
            let is_fair = self.ledger.dimensions.iter().all(|d| deviation[*d] + with[*d] * unit[*d] <= 1e-9);
            if is_fair && self.refused(target, *slot, &with).is_none() {
                part.push(*slot);
                sum = with;
            } else if in_vain > LOOKAHEAD && !part.is_empty() {
                break;
            } else {
                in_vain += 1;
            }
        }
        part
    }

    /// Gives slots away one by one, the largest first, each to the least loaded.
    fn scatter(&mut self, source: usize, mut slots: Vec<u32>) {
        let total = self.ledger.board.total.to_array();
        let size = |slot: &u32| {
            let load = slot_load(&self.ledger, *slot);
            self.ledger.dimensions.iter().map(|d| load[*d] / total[*d].max(f64::MIN_POSITIVE)).fold(0.0, f64::max)
        };
        slots.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
        let mut queue: BinaryHeap<_> = self.takers().map(|target| Reverse(self.fullness(target))).collect();
        for slot in slots {
            let mut passed = Vec::new();
            let mut miss = Miss::Partner;
            while let Some(Reverse((fullness, target))) = queue.pop() {
                let refused = self.refused(target as usize, slot, &slot_load(&self.ledger, slot));
                if let Some(refused) = refused {
                    miss = miss.max(refused);
                    passed.push(Reverse((fullness, target)));
                    continue;
                }
                self.hand_over(source, target as usize, vec![slot]);
                queue.push(Reverse(self.fullness(target as usize)));
                break;
            }
            if !self.ledger.gone[slot as usize] {
                self.misses[source] = Some((Dimension::Bytes as usize, miss));
            }
            queue.extend(passed);
        }
    }

    fn refused(&self, target: usize, slot: u32, sum: &[f64; D]) -> Option<Miss> {
        let is_over_budget = sum[Dimension::Bytes as usize] > self.bytes_left;
        refusal(&self.ledger, target, slot, sum).or(is_over_budget.then_some(Miss::Budget))
    }

    fn hand_over(&mut self, source: usize, target: usize, slots: Vec<u32>) {
        let load: Load = slots.iter().map(|slot| self.ledger.board.slot_loads[*slot as usize]).sum();
        self.take(Bundle { source, target, cause: Cause::Draining, slots, load });
    }
}
