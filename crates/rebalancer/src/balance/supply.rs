//! The slots that a shard may give, in the order in which they are best given.
//!
//! For every dimension the order is another one. Slots that carry much of the dimension for few bytes come first, as in
//! Dantzig's greedy solution of the knapsack problem ("Discrete-variable extremum problems", Operations Research 5,
//! 1957), but only roughly, by powers of two: among slots of about the same worth the order is that of their numbers,
//! so that what moves is in runs and slot sets stay short.

use super::board::Board;
use super::load::Dimension;

/// Slots that carry a rate for more than `2 ^ COLD` times the bytes of their shard's mean are not moved for that rate:
/// it would be much copying for little relief.
const COLD: i32 = -2;

/// Orders are cleared of slots that have gone when one in so many of them has.
const COMPACT_PART: usize = 64;

#[derive(Default)]
struct Order {
    slots: Vec<u32>,
    /// Everything before it has gone.
    start: usize,
    /// How many have gone since it was last cleared.
    gone: usize,
}

/// What one shard may give.
#[derive(Default)]
pub(super) struct Supply {
    /// Ascending; also those that have gone.
    slots: Vec<u32>,
    left: usize,
    orders: [Option<Order>; Dimension::ALL.len()],
}

impl Supply {
    /// The slots of every shard that may move: they are not on their way.
    pub fn of_all(board: &Board) -> Vec<Self> {
        let mut supplies: Vec<Self> = (0..board.shards.len()).map(|_| Self::default()).collect();
        for (slot, state) in board.problem.slots.iter().enumerate() {
            if let (None, Some(supply)) = (state.moving_to, supplies.get_mut(board.holder[slot] as usize)) {
                supply.slots.push(slot as u32);
                supply.left += 1;
            }
        }
        supplies
    }

    /// Every slot that it may give, or has given, ascending.
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// Whether there is nothing left to give.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Brings the slots into order for a dimension, unless that has been done.
    pub fn prepare(&mut self, board: &Board, dimension: usize) {
        if self.orders[dimension].is_none() {
            let slots = sorted(board, &self.slots, Dimension::ALL[dimension]);
            self.orders[dimension] = Some(Order { slots, ..Order::default() });
        }
    }

    /// The slots worth giving for a dimension, best first; none before [`Self::prepare`]. Some may have gone already.
    pub fn order(&self, dimension: usize) -> &[u32] {
        self.orders[dimension].as_ref().map_or(&[], |order| &order.slots[order.start..])
    }

    /// Takes note that some slots have gone.
    pub fn take(&mut self, count: usize, is_gone: impl Fn(u32) -> bool) {
        self.left -= count;
        for order in self.orders.iter_mut().flatten() {
            order.gone += count;
            while order.slots.get(order.start).is_some_and(|slot| is_gone(*slot)) {
                order.start += 1;
            }
            if order.gone > order.slots.len() / COMPACT_PART + COMPACT_PART {
                order.slots.retain(|slot| !is_gone(*slot));
                (order.start, order.gone) = (0, 0);
            }
        }
    }
}

fn sorted(board: &Board, slots: &[u32], dimension: Dimension) -> Vec<u32> {
    let load = |slot: u32| board.slot_loads[slot as usize];
    let (amount, bytes) = slots
        .iter()
        .fold((0.0, 0.0), |(amount, bytes), slot| (amount + load(*slot)[dimension], bytes + load(*slot).bytes));
    let worth = |slot: u32| match load(slot) {
        load if load.bytes == 0.0 || bytes == 0.0 => i32::MAX,
        load => (load[dimension] / load.bytes * (bytes / amount)).log2().round() as i32,
    };
    let given = slots.iter().copied().filter(|slot| load(*slot)[dimension] > 0.0);
    let mut ranked: Vec<_> = given.map(|slot| (-worth(slot).max(i32::MIN + 1), slot)).collect();
    if dimension.is_rate() {
        ranked.retain(|(rank, _)| -rank >= COLD);
    }
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, slot)| slot).collect()
}
