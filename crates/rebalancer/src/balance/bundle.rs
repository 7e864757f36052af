//! Choosing the slots that go from one shard to another.
//!
//! Slots are taken in the order of the giver's supply as long as they fit: into what is to be moved, into the target's
//! room, and into the other dimensions, none of which may be pushed out of the goal (or further out) at either end. Only
//! where nothing else is left may they give way, by no more than is gained: a shard is not emptied of its rows for a little
//! less traffic. What then still lacks is rounded to the nearest: the smallest slot that did not fit is taken too if that
//! is closer.
//!
//! A bundle is offered only if it makes the pair better and relieves the shard that it is made for noticeably.

use super::ledger::{D, Deviations, Ledger, is_better, worst_of};
use super::load::{Dimension, Load};
use std::borrow::Cow;

/// Slots looked at in vain before what has been chosen is good enough.
const LOOKAHEAD: usize = 128;

/// A bundle must bring the shard that it is made for nearer to its share by this part of it, or into the goal.
pub(super) const GAIN_MIN: f64 = 0.001;

/// How far another dimension may be pushed for what is gained in the one that it is about, both in fair shares.
const YIELD: f64 = 1.0;

/// Supplies up to this size are ranked anew for a pair.
const ALIGNED_MAX: usize = 4_096;

/// A loss of exactness in floating point that is not counted as an excess.
pub(super) const SLACK: f64 = 1e-9;

/// Slots that go from one shard to another; shards are indices of the board.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    pub source: usize,
    pub target: usize,
    pub cause: Cause,
    /// Ascending.
    pub slots: Vec<u32>,
    pub load: Load,
}

/// What made a bundle necessary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cause {
    /// The source is being emptied.
    Draining,
    /// The source, or the target, was so far from its share.
    Deviation { driven: usize, dimension: usize, deviation: f64 },
}

/// Which pair, for the sake of what, and how much of it is wanted.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub source: usize,
    pub target: usize,
    /// The one of them that is to be relieved.
    pub driven: usize,
    pub dimension: usize,
    pub amount: f64,
    /// Bytes that the plan may still move.
    pub bytes_max: f64,
    /// Whether other dimensions may be pushed beyond the goal for it.
    pub yields: bool,
}

/// Why nothing was chosen; the later ones tell more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Miss {
    /// There was no other side.
    Partner,
    /// No slot is small enough to help.
    Fit,
    /// Another dimension would have suffered.
    Unbalance(usize),
    /// The target has no room.
    Room,
    /// The target may not get them back yet.
    Barred(usize),
    /// The plan has no bytes left.
    Budget,
}

struct Choice {
    slots: Vec<u32>,
    load: [f64; D],
    /// The smallest slot that was too large for what was left.
    spare: Option<(f64, u32)>,
    miss: Miss,
    looked_at: u64,
}

/// The best bundle for a wish, and how many slots were looked at.
pub(super) fn choose(ledger: &Ledger, wish: Wish) -> (Result<Bundle, Miss>, u64) {
    let choice = collect(ledger, wish);
    let mut rounded = choice.load;
    let spare = choice.spare.map(|(_, slot)| slot);
    spare.iter().for_each(|slot| add(&mut rounded, &slot_load(ledger, *slot)));
    let (d, driven) = (wish.dimension, |load: &[f64; D]| (wish.amount - load[wish.dimension]).abs());
    let closer = choice.slots.is_empty() || driven(&rounded) < driven(&choice.load);
    let round_up = spare.filter(|_| closer && is_worth(ledger, wish, &rounded));
    let accepted = match round_up {
        Some(slot) => Some(([choice.slots, vec![slot]].concat(), rounded)),
        None if is_worth(ledger, wish, &choice.load) => Some((choice.slots, choice.load)),
        None => None,
    };
    let bundle = accepted.map(|(mut slots, load)| {
        slots.sort_unstable();
        let Wish { source, target, driven, .. } = wish;
        let cause = Cause::Deviation { driven, dimension: d, deviation: ledger.deviation[driven][d] };
        Bundle { source, target, cause, slots, load: Load::from_array(load) }
    });
    (bundle.ok_or(choice.miss), choice.looked_at)
}

fn collect(ledger: &Ledger, wish: Wish) -> Choice {
    let d = wish.dimension;
    let mut choice = Choice { slots: Vec::new(), load: [0.0; D], spare: None, miss: Miss::Fit, looked_at: 0 };
    let mut in_vain = 0;
    for slot in candidates(ledger, wish).iter() {
        if ledger.gone[*slot as usize] {
            continue;
        }
        if wish.amount - choice.load[d] <= wish.amount * SLACK || (in_vain > LOOKAHEAD && !choice.slots.is_empty()) {
            break;
        }
        choice.looked_at += 1;
        let load = slot_load(ledger, *slot);
        let mut sum = choice.load;
        add(&mut sum, &load);
        match obstacle(ledger, wish, *slot, &sum) {
            // What is too large anyhow does not fail for what else it would do.
            Some(Miss::Unbalance(_)) if load[d] > 2.0 * wish.amount => {}
            Some(miss) => choice.miss = choice.miss.max(miss),
            None if sum[d] <= wish.amount * (1.0 + SLACK) => {
                choice.slots.push(*slot);
                choice.load = sum;
                continue;
            }
            None if choice.spare.is_none_or(|(smallest, _)| load[d] < smallest) => {
                choice.spare = Some((load[d], *slot));
            }
            None => {}
        }
        in_vain += 1;
    }
    // The spare was looked at when less had been chosen.
    choice.spare = choice.spare.filter(|(_, slot)| {
        let mut sum = choice.load;
        add(&mut sum, &slot_load(ledger, *slot));
        obstacle(ledger, wish, *slot, &sum).is_none()
    });
    choice
}

/// The slots to choose from, best first.
///
/// Where the first choice was of no use, slots are ranked by how well their loads point the way in which the pair differs:
/// a shard with too many rows and too few queries gives the slots that are large and cold.
fn candidates<'s>(ledger: &'s Ledger, wish: Wish) -> Cow<'s, [u32]> {
    let order = ledger.supplies[wish.source].order(wish.dimension);
    if !wish.yields || order.len() > ALIGNED_MAX {
        return Cow::Borrowed(order);
    }
    let (source, target) = (&ledger.deviation[wish.source], &ledger.deviation[wish.target]);
    let alignment = |slot: u32| {
        let load = slot_load(ledger, slot);
        let part = |d: usize| load[d] * (ledger.unit[wish.source][d] + ledger.unit[wish.target][d]);
        let along: f64 = ledger.dimensions.iter().map(|d| (source[*d] - target[*d]) * part(*d)).sum();
        let length: f64 = ledger.dimensions.iter().map(|d| part(*d) * part(*d)).sum();
        // A cosine in thousandths: what is about as good stays in the order of the supply.
        -(along / length.sqrt().max(f64::MIN_POSITIVE) * 1e3) as i64
    };
    let is_left = |slot: &u32| !ledger.gone[*slot as usize];
    let mut ranked: Vec<_> = order.iter().copied().filter(is_left).map(|slot| (alignment(slot), slot)).collect();
    ranked.sort_by_key(|(alignment, _)| *alignment);
    Cow::Owned(ranked.into_iter().map(|(_, slot)| slot).collect())
}

/// What speaks against moving `sum`, of which `slot` is the last.
fn obstacle(ledger: &Ledger, wish: Wish, slot: u32, sum: &[f64; D]) -> Option<Miss> {
    let refused = refusal(ledger, wish.target, slot, sum);
    if refused.is_some() || sum[Dimension::Bytes as usize] > wish.bytes_max {
        return refused.or(Some(Miss::Budget));
    }
    let after = ledger.after(wish.source, wish.target, sum);
    let is_pushed = |shard: usize, after: &Deviations, other: usize| {
        let (before, d) = (&ledger.deviation[shard], wish.dimension);
        let mut most = before[other].abs().max(ledger.goal[other]);
        if wish.yields {
            let gain = sum[d] * ledger.unit[shard][d];
            // A slot that is too large to be exact is so in every dimension.
            let overshoot = if shard == wish.target { after[d].max(0.0) } else { -after[d].min(0.0) };
            most = most.max(ledger.goal[other] + overshoot).max(before[other].abs() + YIELD * gain);
            most = most.min(ledger.ceiling.max(before[other].abs()));
        }
        after[other].abs() > most + SLACK
    };
    let pushed = ledger
        .dimensions
        .iter()
        .copied()
        .filter(|other| *other != wish.dimension)
        .find(|other| is_pushed(wish.source, &after.0, *other) || is_pushed(wish.target, &after.1, *other));
    pushed.map(Miss::Unbalance)
}

/// Why a target can't take `sum`, of which `slot` is the last.
pub(super) fn refusal(ledger: &Ledger, target: usize, slot: u32, sum: &[f64; D]) -> Option<Miss> {
    if ledger.is_barred(slot, target) {
        return Some(Miss::Barred(target));
    }
    (!ledger.has_room(target, sum)).then_some(Miss::Room)
}

/// Whether moving this much makes the pair better, and the driven shard noticeably so.
fn is_worth(ledger: &Ledger, wish: Wish, load: &[f64; D]) -> bool {
    let before = (ledger.deviation[wish.source], ledger.deviation[wish.target]);
    let after = ledger.after(wish.source, wish.target, load);
    let driven = |pair: &(Deviations, Deviations)| {
        let deviations = if wish.driven == wish.source { pair.0 } else { pair.1 };
        deviations[wish.dimension].abs()
    };
    let (was, is, goal) = (driven(&before), driven(&after), ledger.goal[wish.dimension]);
    let noticeably = was - is >= GAIN_MIN || (is <= goal && was > goal);
    let ceiling = if wish.yields { ledger.ceiling } else { 0.0 };
    noticeably && is_better(&after, &before) && worst_of(&after) <= worst_of(&before).max(ceiling) + SLACK
}

/// How much of what was beyond the goal at either end a bundle removes.
pub(super) fn relief(ledger: &Ledger, bundle: &Bundle) -> f64 {
    let beyond = |(left, right): &(Deviations, Deviations)| -> f64 {
        let excess =
            |d: &usize| (left[*d].abs() - ledger.goal[*d]).max(0.0) + (right[*d].abs() - ledger.goal[*d]).max(0.0);
        ledger.dimensions.iter().map(excess).sum()
    };
    let before = (ledger.deviation[bundle.source], ledger.deviation[bundle.target]);
    beyond(&before) - beyond(&ledger.after(bundle.source, bundle.target, &bundle.load.to_array()))
}

pub(super) fn slot_load(ledger: &Ledger, slot: u32) -> [f64; D] {
    ledger.board.slot_loads[slot as usize].to_array()
}

pub(super) fn add(sum: &mut [f64; D], load: &[f64; D]) {
    sum.iter_mut().zip(load).for_each(|(sum, load)| *sum += load);
}
