//! Moves that somebody asks for: these slots from here to there, a shard split, two shards merged.
//!
//! WHAT MAY NEVER HAPPEN: what the balancer would never do because it is wrong (and not only unwise) is done because it was
//! asked for. Slots leave no pinned shard, no slot is moved that the source doesn't own or that is on its way, and the
//! target has room while both copies exist. Whether it makes the balance better is the asker's affair.

use super::board::Board;
use super::load::{Dimension, Load};
use super::plan::Move;
use super::problem::{Problem, ShardRole};
use super::reason::Reason;
use evenkeel_model::{ShardId, Slot, SlotSet};

/// What is made equal when a shard is split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SplitAt {
    /// Rows; the number of slots where there are none.
    #[default]
    Rows,
    /// Queries and processor time; bytes where there is no traffic.
    LoadMidpoint,
}

/// Parts of a split may differ by this part of their mean so that each is one run of slots.
const UNEVEN: f64 = 0.05;

/// Slots of more than this part of a fair part are dealt out one by one.
const HEAVY: f64 = 0.125;

/// The move of these slots, or why it can't be.
///
/// # Errors
/// The first thing that speaks against it.
pub fn admit(problem: &Problem, source: ShardId, target: ShardId, slots: &SlotSet) -> Result<Move, Reason> {
    let board = Board::new(problem);
    admit_ends(&board, source, target)?;
    if slots.is_empty() {
        return Err(Reason::NoSlots);
    }
    for slot in slots.iter() {
        let state = problem.slots.get(slot.0 as usize).ok_or(Reason::NoSuchSlot { slot })?;
        if state.owner != source {
            return Err(Reason::NotOwner { slot, owner: state.owner });
        }
        if state.moving_to.is_some() {
            return Err(Reason::AlreadyMoving);
        }
        if problem.pending_drops.iter().any(|drop| drop.shard == target && drop.slots.contains(slot)) {
            return Err(Reason::TooSoonToReturn { target });
        }
    }
    let load = load_of(problem, slots.iter());
    let room = board.index(target).map_or(f64::INFINITY, |at| board.room[at]);
    if load.bytes > room {
        return Err(Reason::NoTargetWithRoom);
    }
    Ok(as_move((source, target), slots.clone(), load, Reason::ByHand))
}

fn admit_ends(board: &Board, source: ShardId, target: ShardId) -> Result<(), Reason> {
    if source == target {
        return Err(Reason::SameShard);
    }
    for shard in [source, target] {
        let state = board.index(shard).map(|at| board.shards[at]).ok_or(Reason::NoSuchShard { shard })?;
        if state.pinned {
            return Err(Reason::Pinned);
        }
        if state.role == ShardRole::Unavailable {
            return Err(Reason::Unavailable);
        }
        if shard == target && state.role == ShardRole::Draining {
            return Err(Reason::Draining);
        }
    }
    Ok(())
}

/// A move as moves of no more bytes than the limit of one, slots in order; a slot that is larger is a move by itself.
pub fn in_parts(problem: &Problem, step: &Move) -> Vec<Move> {
    let bytes_max = problem.limits.move_bytes_max.map_or(f64::INFINITY, |bytes| bytes as f64);
    let mut parts: Vec<(SlotSet, Load)> = Vec::new();
    for slot in step.slots.iter() {
        let load = load_of(problem, std::iter::once(slot));
        match parts.last_mut().filter(|(_, part)| part.bytes + load.bytes <= bytes_max) {
            Some((slots, part)) => {
                slots.insert(slot);
                *part += load;
            }
            None => parts.push((SlotSet::range(slot, slot), load)),
        }
    }
    let part = |(slots, load)| as_move((step.source, step.target), slots, load, step.reason.clone());
    parts.into_iter().map(part).collect()
}

/// The moves that split a shard: a part stays, and each of the new shards gets one of about the same load.
///
/// Parts are runs of slots, cut where the load so far is 1/k, 2/k … of all. Where single slots are so large that this
/// is uneven, the large ones are dealt out first, the largest to the least loaded (Graham's rule). The part with the most
/// bytes stays. The new shards need not be among the problem's.
///
/// # Errors
/// Why it can't be split.
pub fn split(problem: &Problem, shard: ShardId, into: &[ShardId], at: SplitAt) -> Result<Vec<Move>, Reason> {
    let state = problem.shard(shard).ok_or(Reason::NoSuchShard { shard })?;
    let slots: Vec<_> = problem.slots_of(shard).iter().collect();
    match () {
        () if state.pinned => return Err(Reason::Pinned),
        () if state.role == ShardRole::Unavailable => return Err(Reason::Unavailable),
        () if into.contains(&shard) => return Err(Reason::SameShard),
        () if slots.iter().any(|slot| problem.slots[slot.0 as usize].moving_to.is_some()) => {
            return Err(Reason::AlreadyMoving);
        }
        () if slots.is_empty() => return Err(Reason::NoSlots),
        () if slots.len() <= into.len() => return Err(Reason::TooFewSlots { slots: slots.len() }),
        () => {}
    }
    let (dimension, weights) = weights(problem, &slots, at);
    let total: f64 = weights.iter().sum();
    let mut parts = parted(&slots, &weights, into.len() + 1);
    parts.sort_by(|a, b| bytes_of(problem, b).total_cmp(&bytes_of(problem, a)));
    let moves = parts[1..].iter().zip(into).flat_map(|(part, target)| {
        let set: SlotSet = part.iter().copied().collect();
        let load = load_of(problem, part.iter().copied());
        in_parts(problem, &as_move((shard, *target), set, load, Reason::ByHand))
    });
    let reasoned = |step: Move| {
        let weight: f64 =
            slots.iter().zip(&weights).filter(|(slot, _)| step.slots.contains(**slot)).map(|(_, weight)| weight).sum();
        Move { reason: Reason::Splitting { dimension, share_of_shard: weight / total }, ..step }
    };
    Ok(moves.map(reasoned).collect())
}

/// What each slot weighs, and the dimension that is most of it.
fn weights(problem: &Problem, slots: &[Slot], at: SplitAt) -> (Dimension, Vec<f64>) {
    let total = load_of(problem, slots.iter().copied());
    let load = |slot: &Slot| Load { slots: 1.0, ..problem.slots[slot.0 as usize].load.sound() };
    let by: &[Dimension] = match at {
        SplitAt::LoadMidpoint => &[Dimension::Qps, Dimension::Cpu],
        SplitAt::Rows => &[Dimension::Rows],
    };
    let instead = if at == SplitAt::LoadMidpoint && total.bytes > 0.0 { Dimension::Bytes } else { Dimension::Slots };
    let mut counting: Vec<_> = by.iter().copied().filter(|d| total[*d] > 0.0).collect();
    if counting.is_empty() {
        counting.push(instead);
    }
    let weight = |slot: &Slot| counting.iter().map(|d| load(slot)[*d] / total[*d]).sum();
    (counting[0], slots.iter().map(weight).collect())
}

/// Slots in `count` parts of about the same weight, none empty.
fn parted(slots: &[Slot], weights: &[f64], count: usize) -> Vec<Vec<Slot>> {
    let total: f64 = weights.iter().sum();
    let heaviest =
        |parts: &[Vec<usize>]| parts.iter().map(|part| part.iter().map(|at| weights[*at]).sum()).fold(0.0, f64::max);
    let (runs, dealt) = (in_runs(weights, count), dealt_out(weights, count));
    let is_even = heaviest(&runs) <= heaviest(&dealt) + UNEVEN * total / count as f64;
    let parts = if is_even && runs.iter().all(|part| !part.is_empty()) { runs } else { dealt };
    parts.into_iter().map(|part| part.into_iter().map(|at| slots[at]).collect()).collect()
}

/// Runs, each slot in the part in which the middle of its weight falls.
fn in_runs(weights: &[f64], count: usize) -> Vec<Vec<usize>> {
    let total: f64 = weights.iter().sum();
    let mut parts = vec![Vec::new(); count];
    let mut before = 0.0;
    for (at, weight) in weights.iter().enumerate() {
        let part = ((before + weight / 2.0) / total * count as f64) as usize;
        parts[part.min(count - 1)].push(at);
        before += weight;
    }
    parts
}

/// The heavy ones dealt out, the largest first to the lightest part; the others in runs that fill the parts up.
fn dealt_out(weights: &[f64], count: usize) -> Vec<Vec<usize>> {
    let fair = weights.iter().sum::<f64>() / count as f64;
    let (mut heavy, light): (Vec<_>, Vec<_>) = (0..weights.len()).partition(|at| weights[*at] > fair * HEAVY);
    heavy.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
    let mut parts: Vec<(f64, Vec<usize>)> = vec![(0.0, Vec::new()); count];
    let lightest = |parts: &[(f64, Vec<usize>)]| {
        // Of equally light ones the one with the fewest slots, so that no part stays empty.
        let order =
            |a: &usize, b: &usize| parts[*a].0.total_cmp(&parts[*b].0).then(parts[*a].1.len().cmp(&parts[*b].1.len()));
        (0..count).min_by(order).unwrap_or(0)
    };
    for at in heavy {
        let part = lightest(&parts);
        parts[part].0 += weights[at];
        parts[part].1.push(at);
    }
    let mut part = lightest(&parts);
    for at in light {
        if parts[part].0 + weights[at] / 2.0 >= fair || (weights[at] == 0.0 && !parts[part].1.is_empty()) {
            part = lightest(&parts);
        }
        parts[part].0 += weights[at];
        parts[part].1.push(at);
    }
    let mut parts: Vec<_> = parts.into_iter().map(|(_, part)| part).collect();
    fill_empty(&mut parts, weights);
    parts
}

/// Gives every part at least one slot, as far as there are enough: the lightest of the part that has most.
fn fill_empty(parts: &mut [Vec<usize>], weights: &[f64]) {
    while let Some(empty) = parts.iter().position(Vec::is_empty) {
        let Some(part) = parts.iter_mut().max_by_key(|part| part.len()).filter(|part| part.len() > 1) else { return };
        let lightest = (0..part.len()).min_by(|a, b| weights[part[*a]].total_cmp(&weights[part[*b]])).unwrap_or(0);
        let slot = part.remove(lightest);
        parts[empty].push(slot);
    }
}

/// The move that merges one shard into the other: the one with fewer bytes gives all its slots, and can be dropped after.
///
/// # Errors
/// Why they can't be merged.
pub fn merge(problem: &Problem, one: ShardId, other: ShardId) -> Result<Move, Reason> {
    let bytes = |shard: ShardId| load_of(problem, problem.slots_of(shard).iter()).bytes;
    let (source, target) = if bytes(one) < bytes(other) { (one, other) } else { (other, one) };
    let slots = problem.slots_of(source);
    admit(problem, source, target, &slots).map(|step| Move { reason: Reason::Merging, ..step })
}

/// Two shards that are so cold that one would do: together they carry at most `most` (in the dimensions where that is
/// above 0), and no more than the target allows above what is fair for one shard fewer. Neighbours (shards with slots
/// next to each other) before others, then the coldest. `None` also where no more than two shards take part.
pub fn mergeable(problem: &Problem, most: Load) -> Option<(ShardId, ShardId)> {
    let board = Board::new(problem);
    let free: Vec<_> = (0..board.shards.len()).filter(|at| board.is_free(*at) && !board.is_busy[*at]).collect();
    let taking = board.shards.iter().filter(|shard| shard.takes_part()).count() as f64;
    if taking < 3.0 {
        return None;
    }
    let fits = |(a, b): &(usize, usize)| {
        let sum = board.loads[*a] + board.loads[*b];
        let is_cold = Dimension::ALL.iter().all(|d| most[*d] <= 0.0 || sum[*d] <= most[*d]);
        let fair = |d: &Dimension| (board.fair[*a][*d] + board.fair[*b][*d]) / 2.0 * taking / (taking - 1.0);
        let is_fair = board.dimensions.iter().all(|d| sum[*d] <= fair(d) * (1.0 + problem.target_imbalance));
        is_cold && is_fair && board.loads[*a].bytes.min(board.loads[*b].bytes) <= board.room[*a].max(board.room[*b])
    };
    let bytes = |(a, b): &(usize, usize)| board.loads[*a].bytes + board.loads[*b].bytes;
    let coldest = |pairs: &mut dyn Iterator<Item = (usize, usize)>| {
        pairs.filter(fits).min_by(|a, b| bytes(a).total_cmp(&bytes(b)).then(a.cmp(b)))
    };
    let is_free = |at: u32| free.binary_search(&(at as usize)).is_ok();
    let next_to =
        |pair: &[u32]| (pair[0] != pair[1] && is_free(pair[0]) && is_free(pair[1])).then_some((pair[0], pair[1]));
    let mut neighbours =
        board.holder.windows(2).filter_map(next_to).map(|(a, b)| (a.min(b) as usize, a.max(b) as usize));
    let mut by_bytes = free.clone();
    by_bytes.sort_by(|a, b| board.loads[*a].bytes.total_cmp(&board.loads[*b].bytes));
    let mut others = by_bytes.windows(2).map(|pair| (pair[0].min(pair[1]), pair[0].max(pair[1])));
    let pair = coldest(&mut neighbours).or_else(|| coldest(&mut others))?;
    Some((board.shards[pair.0].id, board.shards[pair.1].id))
}

fn load_of(problem: &Problem, slots: impl Iterator<Item = Slot>) -> Load {
    slots.map(|slot| Load { slots: 1.0, ..problem.slots[slot.0 as usize].load.sound() }).sum()
}

fn bytes_of(problem: &Problem, slots: &[Slot]) -> f64 {
    load_of(problem, slots.iter().copied()).bytes
}

fn as_move((source, target): (ShardId, ShardId), slots: SlotSet, load: Load, reason: Reason) -> Move {
    Move { source, target, slots, rows: load.rows.round() as u64, bytes: load.bytes.round() as u64, reason }
}
