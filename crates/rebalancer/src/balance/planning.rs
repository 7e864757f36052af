//! From a problem to a plan: what to do something about, the search, and the search's bundles as ordered moves.

use super::board::Board;
use super::bundle::{Bundle, Cause, Miss};
use super::granularity::Granularity;
use super::ledger::{D, Deviations, Ledger, barred, is_better};
use super::load::{Dimension, Load};
use super::plan::{Move, Plan, Settling, Standing};
use super::problem::{Problem, ShardRole};
use super::reason::Reason;
use super::search::Search;
use evenkeel_model::slot::{ShardId, Slot};
use std::collections::{BTreeMap, BTreeSet};

/// What the last plan left is left again until it has grown by this much: a twentieth of a fair share.
const DRIFT: f64 = 0.05;

/// What to move so that every shard has its fair share, given what was planned last.
///
/// Deterministic. Drains come first, then the worst deviations. While the previous plan settles (`settle_ms`), what it
/// could not make better is not tried again unless it has become worse, and no slot goes back where it came from; so a
/// plan made right after the previous one was carried out is empty, unless a budget had cut that one. Give no previous
/// plan when circumstances have changed that a measurement doesn't show (a larger disk).
pub fn plan(problem: &Problem, previous: Option<&Plan>) -> Plan {
    make(problem, previous, true)
}

/// What to move so that a shard is emptied; the others are not balanced besides.
pub fn drain(problem: &Problem, shard: ShardId, previous: Option<&Plan>) -> Plan {
    let mut drained = problem.clone();
    drained.shards.iter_mut().filter(|state| state.id == shard).for_each(|state| state.role = ShardRole::Draining);
    make(&drained, previous, false)
}

fn make(problem: &Problem, previous: Option<&Plan>, balances: bool) -> Plan {
    let board = Board::new(problem);
    let settling = settling(problem.now_ms, problem.limits.settle_ms, previous);
    let ledger = Ledger::new(&board, barred(&board, problem, settling.iter()));
    let previous = previous.filter(|plan| is_comparable(problem, plan));
    let active = active(&board, &ledger, previous);
    let before = ledger.deviation.clone();
    let granularities = Granularity::of_all(&board);
    let mut search = Search::new(ledger, active.clone(), &granularities);
    for shard in (0..board.shards.len()).filter(|at| is_drained(&board, *at)) {
        search.drain(shard);
    }
    if balances {
        search.balance();
    }
    let steps = ordered(&board, &before, &search.bundles);
    let moves_max = problem.limits.moves_max.unwrap_or(usize::MAX);
    let cut = search.is_spent() || steps.len() > moves_max || search.misses.iter().flatten().any(is_out_of_bytes);
    let steps = &steps[..steps.len().min(moves_max)];
    let steps = &steps[..kept(&board, &before, steps)];
    let after = steps.iter().fold(before.clone(), |deviations, step| carried_out(&board, deviations, step));
    let mut plan = Plan {
        made_ms: problem.now_ms,
        strategy: problem.strategy,
        target_imbalance: problem.target_imbalance,
        moves: steps.iter().map(|step| as_move(&board, step)).collect(),
        left_alone: Vec::new(),
        standings: (0..board.shards.len()).map(|at| standing(&board, at, &after[at])).collect(),
        before: worst(&before),
        after: worst(&after),
        granularity: None,
        cut,
        settling,
    };
    plan.left_alone = left_alone(&board, &search, &active, &plan, &granularities);
    plan.granularity = granularities.into_iter().reduce(|a, b| if b.best() > a.best() + 1e-9 { b } else { a });
    plan
}

fn is_drained(board: &Board, shard: usize) -> bool {
    let state = board.shards[shard];
    state.role == ShardRole::Draining && !state.pinned && !state.cools(board.problem.now_ms)
}

fn is_out_of_bytes((_, miss): &(usize, Miss)) -> bool {
    *miss == Miss::Budget
}

/// Whether what the last plan left undone says anything about this problem: it asked for as much, of the same shards.
fn is_comparable(problem: &Problem, plan: &Plan) -> bool {
    let is_fresh = problem.now_ms < plan.made_ms.saturating_add(problem.limits.settle_ms);
    let asks_as_much = plan.strategy == problem.strategy && plan.target_imbalance <= problem.target_imbalance;
    let has_same_shards = problem.shards.len() == plan.standings.len()
        && problem.shards.iter().all(|shard| plan.standing(shard.id).is_some());
    is_fresh && asks_as_much && has_same_shards
}

/// Slots that settle: those that the previous plan moved, and those that settled already then.
fn settling(now_ms: i64, settle_ms: i64, previous: Option<&Plan>) -> Vec<Settling> {
    let Some(plan) = previous else { return Vec::new() };
    let until_ms = plan.made_ms.saturating_add(settle_ms);
    let moved = plan.moves.iter().map(|step| Settling { slots: step.slots.clone(), from: step.source, until_ms });
    plan.settling.iter().cloned().chain(moved).filter(|settling| settling.until_ms > now_ms).collect()
}

/// What is to be done something about: deviations beyond the threshold that the last plan did not leave like that.
fn active(board: &Board, ledger: &Ledger, previous: Option<&Plan>) -> Vec<[bool; D]> {
    let threshold = |dimension: &Dimension| board.problem.threshold(*dimension);
    let of_shard = |at: usize| {
        let left = previous.and_then(|plan| left_by(ledger, plan, at));
        let mut active = [false; D];
        for dimension in &board.dimensions {
            let left = left.map_or(0.0, |deviations| deviations[*dimension].abs() + DRIFT);
            active[*dimension as usize] =
                ledger.deviation[at][*dimension as usize].abs() > threshold(dimension).max(left);
        }
        active
    };
    (0..board.shards.len()).map(of_shard).collect()
}

/// How far a plan left a shard from its share, if what kept it from doing better is still so.
fn left_by(ledger: &Ledger, plan: &Plan, shard: usize) -> Option<Load> {
    let board = ledger.board;
    let id = board.shards[shard].id;
    let has_passed = match plan.reason(id) {
        Some(Reason::AlreadyMoving) => !board.is_busy[shard],
        Some(Reason::TooSoonToReturn { target }) => board.index(*target).is_none_or(|at| !ledger.bars(at)),
        // If it were still so, the shard would not be asked about.
        Some(Reason::Pinned | Reason::CoolingDown { .. } | Reason::Unavailable) => true,
        _ => plan.cut,
    };
    if has_passed { None } else { plan.standing(id).map(|standing| standing.after) }
}

/// The bundles as they will be carried out: those of a pair as one where that keeps every step an improvement, and in
/// parts where they are larger than a move should be.
fn ordered(board: &Board, before: &[Deviations], bundles: &[Bundle]) -> Vec<Bundle> {
    let mut merged = merged(board, bundles, false);
    if !improves_throughout(board, before, &merged) {
        merged = self::merged(board, bundles, true);
    }
    let mut deviations = before.to_vec();
    let mut steps = Vec::new();
    for bundle in &merged {
        steps.extend(parts(board, &deviations, bundle));
        deviations = carried_out(board, deviations, bundle);
    }
    steps
}

fn improves_throughout(board: &Board, before: &[Deviations], bundles: &[Bundle]) -> bool {
    let mut deviations = before.to_vec();
    let ceiling = worst(before) + board.problem.target_imbalance;
    bundles.iter().all(|bundle| {
        let pair = [deviations[bundle.source], deviations[bundle.target]];
        let (source, target) = after(board, (pair[0], pair[1]), bundle);
        let stays_low = bundle.cause == Cause::Draining || worst(&[source, target]) <= ceiling.max(worst(&pair)) + 1e-9;
        let improves = stays_low && is_improvement(board, (pair[0], pair[1]), bundle);
        deviations = carried_out(board, std::mem::take(&mut deviations), bundle);
        improves
    })
}

/// Bundles of a pair as one, at the place of the first; if `in_order`, only where nothing else happened to either shard
/// in between.
fn merged(board: &Board, bundles: &[Bundle], in_order: bool) -> Vec<Bundle> {
    let mut places = BTreeMap::new();
    let mut last = vec![usize::MAX; board.shards.len()];
    let mut merged: Vec<Bundle> = Vec::new();
    for bundle in bundles {
        let (source, target) = (bundle.source, bundle.target);
        let place = *places.entry((source, target)).or_insert(merged.len());
        // What a drained shard has given elsewhere makes no difference to it.
        let is_undisturbed = last[target] == place && (last[source] == place || bundle.cause == Cause::Draining);
        let place = if in_order && !is_undisturbed { merged.len() } else { place };
        places.insert((source, target), place);
        (last[source], last[target]) = (place, place);
        match merged.get_mut(place) {
            Some(first) => {
                first.slots.extend(&bundle.slots);
                first.load += bundle.load;
            }
            None => merged.push(bundle.clone()),
        }
    }
    merged.iter_mut().for_each(|bundle| bundle.slots.sort_unstable());
    merged
}

/// How many of the first steps to keep: none at the end that leave an exchange half done, and with it a worse deviation
/// than there was at the start.
fn kept(board: &Board, before: &[Deviations], steps: &[Bundle]) -> usize {
    let (mut deviations, mut start) = (before.to_vec(), worst(before));
    // Ends of steps that are worse off than any shard was.
    let mut worse = BTreeSet::new();
    let mut kept = 0;
    for (at, step) in steps.iter().enumerate() {
        deviations = carried_out(board, deviations, step);
        for end in [step.source, step.target] {
            let now = worst(&deviations[end..=end]);
            match step.cause {
                // Emptying a shard goes before evenness.
                Cause::Draining => start = start.max(now),
                _ if now > start + 1e-9 => _ = worse.insert(end),
                _ => _ = worse.remove(&end),
            }
        }
        if worse.is_empty() {
            kept = at + 1;
        }
    }
    kept
}

/// A bundle cut at the size of a move, unless a part of it would not be an improvement by itself.
fn parts(board: &Board, deviations: &[Deviations], bundle: &Bundle) -> Vec<Bundle> {
    let bytes_max = board.problem.limits.move_bytes_max.map_or(f64::INFINITY, |bytes| bytes as f64);
    if bundle.load.bytes <= bytes_max {
        return vec![bundle.clone()];
    }
    let mut parts: Vec<Bundle> = Vec::new();
    for slot in &bundle.slots {
        let load = board.slot_loads[*slot as usize];
        match parts.last_mut().filter(|part| part.load.bytes + load.bytes <= bytes_max) {
            Some(part) => {
                part.slots.push(*slot);
                part.load += load;
            }
            None => parts.push(Bundle { slots: vec![*slot], load, ..bundle.clone() }),
        }
    }
    // Only the two shards change, so the others need not be carried along.
    let mut pair = [deviations[bundle.source], deviations[bundle.target]];
    let improves = parts.iter().all(|part| {
        let improves = is_improvement(board, (pair[0], pair[1]), part);
        (pair[0], pair[1]) = after(board, (pair[0], pair[1]), part);
        improves
    });
    if improves { parts } else { vec![bundle.clone()] }
}

fn is_improvement(board: &Board, pair: (Deviations, Deviations), bundle: &Bundle) -> bool {
    bundle.cause == Cause::Draining || is_better(&after(board, pair, bundle), &pair)
}

fn carried_out(board: &Board, mut deviations: Vec<Deviations>, bundle: &Bundle) -> Vec<Deviations> {
    let pair = (deviations[bundle.source], deviations[bundle.target]);
    (deviations[bundle.source], deviations[bundle.target]) = after(board, pair, bundle);
    deviations
}

fn after(board: &Board, pair: (Deviations, Deviations), bundle: &Bundle) -> (Deviations, Deviations) {
    let (mut source, mut target) = pair;
    for dimension in &board.dimensions {
        let (d, load) = (*dimension as usize, bundle.load[*dimension]);
        let change = |shard: usize| match board.fair[shard][*dimension] {
            fair if fair > 0.0 => load / fair,
            _ => 0.0,
        };
        source[d] -= change(bundle.source);
        target[d] += change(bundle.target);
    }
    (source, target)
}

fn worst(deviations: &[Deviations]) -> f64 {
    deviations.iter().flatten().fold(0.0, |worst, deviation| worst.max(deviation.abs()))
}

fn as_move(board: &Board, bundle: &Bundle) -> Move {
    let share = |shard: usize, dimension: Dimension, deviation: f64| {
        let fair = board.fair[shard][dimension];
        (board.share(fair * (1.0 + deviation), dimension), board.share(fair, dimension))
    };
    let reason = match bundle.cause {
        Cause::Draining => Reason::Draining,
        Cause::Deviation { driven, dimension, deviation } => {
            let dimension = Dimension::ALL[dimension];
            let (share, fair_share) = share(driven, dimension, deviation);
            match driven == bundle.source {
                true => Reason::Overloaded { dimension, share, fair_share },
                false => Reason::Underloaded { dimension, share, fair_share },
            }
        }
    };
    Move {
        source: board.shards[bundle.source].id,
        target: board.shards[bundle.target].id,
        slots: bundle.slots.iter().map(|slot| Slot(*slot)).collect(),
        rows: bundle.load.rows.round() as u64,
        bytes: bundle.load.bytes.round() as u64,
        reason,
    }
}

fn standing(board: &Board, shard: usize, after: &Deviations) -> Standing {
    let before = board.deviations(shard);
    let by_deviation = |a: &&Dimension, b: &&Dimension| before[**a].abs().total_cmp(&before[**b].abs());
    // Of equal ones the first.
    let dimension = *board.dimensions.iter().rev().max_by(by_deviation).unwrap_or(&Dimension::Slots);
    let fair = board.fair[shard][dimension];
    Standing {
        shard: board.shards[shard].id,
        before,
        after: Load::from_array(*after),
        dimension,
        share: board.share(board.loads[shard][dimension], dimension),
        fair_share: board.shards[shard].takes_part().then(|| board.share(fair, dimension)),
    }
}

/// Why shards stay as they are: those that no move touches, and those that remain beyond their goal.
fn left_alone(
    board: &Board,
    search: &Search,
    active: &[[bool; D]],
    plan: &Plan,
    granularities: &[Granularity],
) -> Vec<(ShardId, Reason)> {
    let mut touched = vec![false; board.shards.len()];
    let ends = plan.moves.iter().flat_map(|step| [step.source, step.target]);
    ends.filter_map(|shard| board.index(shard)).for_each(|at| touched[at] = true);
    let reasons = (0..board.shards.len()).filter_map(|at| {
        let reason = verdict(board, search, active, (at, &plan.standings[at]), plan.cut);
        let reason = out_of_reach(granularities, &plan.standings[at], &reason).unwrap_or(reason);
        let is_content = matches!(reason, Reason::WithinTarget { .. } | Reason::Empty);
        (!touched[at] || !is_content).then(|| (board.shards[at].id, reason))
    });
    reasons.collect()
}

/// What lies behind it that nothing was found for a shard: with these slots, no plan brings all to the goal.
fn out_of_reach(granularities: &[Granularity], standing: &Standing, reason: &Reason) -> Option<Reason> {
    let is_meant = |granularity: &&Granularity| match reason {
        Reason::TooCoarse { dimension, .. } => granularity.dimension == *dimension,
        Reason::NoSource | Reason::NoTarget => standing.after[granularity.dimension].abs() > granularity.target,
        _ => false,
    };
    let granularity = granularities.iter().find(is_meant)?;
    let Granularity { dimension, target, slots_per_shard, .. } = *granularity;
    let (deviation, best) = (standing.after[dimension], granularity.best());
    let bound = granularity.bound(deviation);
    let deviation = deviation.abs();
    // Where a shard could do better than that, something else is in the way.
    let is_coarse = matches!(reason, Reason::TooCoarse { .. }) || deviation <= bound + 1e-9;
    (bound > target && is_coarse).then_some(Reason::OutOfReach { dimension, deviation, target, slots_per_shard, best })
}

fn verdict(
    board: &Board,
    search: &Search,
    active: &[[bool; D]],
    (at, standing): (usize, &Standing),
    cut: bool,
) -> Reason {
    let shard = board.shards[at];
    match shard.cooling_until_ms {
        _ if shard.pinned => return Reason::Pinned,
        _ if shard.role == ShardRole::Unavailable => return Reason::Unavailable,
        Some(until_ms) if shard.cools(board.problem.now_ms) => {
            return Reason::CoolingDown { until_ms, left_ms: until_ms - board.problem.now_ms };
        }
        _ => {}
    }
    if shard.role == ShardRole::Draining {
        return drain_verdict(board, search, at, cut);
    }
    let beyond = |d: &&Dimension| standing.after[**d].abs() > board.problem.goal(**d) + 1e-9;
    let by_deviation = |a: &&Dimension, b: &&Dimension| standing.after[**a].abs().total_cmp(&standing.after[**b].abs());
    let worst = board.dimensions.iter().max_by(by_deviation).map_or(0.0, |d| standing.after[*d].abs());
    let Some(dimension) = board.dimensions.iter().filter(beyond).max_by(by_deviation).copied() else {
        return Reason::WithinTarget { deviation: worst, target: board.problem.target_imbalance.max(worst) };
    };
    match search.misses[at] {
        Some((d, miss)) => missed(board, search, at, (Dimension::ALL[d], miss)),
        None if cut && active[at][dimension as usize] && search.is_exhausted() => Reason::SearchEnded,
        None if cut && active[at][dimension as usize] => Reason::OverBudget,
        None if worst <= board.problem.threshold(dimension) => {
            let threshold = board.problem.threshold(dimension);
            Reason::BelowThreshold { dimension, deviation: worst, threshold }
        }
        None => Reason::Settled { deviation: worst },
    }
}

fn drain_verdict(board: &Board, search: &Search, shard: usize, cut: bool) -> Reason {
    let has_given_all = search.ledger.movable(shard).next().is_none();
    match search.misses[shard] {
        _ if has_given_all && cut => Reason::OverBudget,
        _ if has_given_all && board.is_busy[shard] => Reason::AlreadyMoving,
        _ if has_given_all => Reason::Empty,
        Some((d, miss)) => missed(board, search, shard, (Dimension::ALL[d], miss)),
        None => Reason::NoTargetWithRoom,
    }
}

/// What put a shard aside, in the user's words.
fn missed(board: &Board, search: &Search, shard: usize, (dimension, miss): (Dimension, Miss)) -> Reason {
    let ledger = &search.ledger;
    let deviation = ledger.deviation[shard][dimension as usize];
    let is_over = deviation > 0.0 || board.shards[shard].role == ShardRole::Draining;
    let giant = too_big(board, search, shard, dimension).filter(|_| is_over);
    let is_full = |at: usize| at != shard && board.is_free(at) && ledger.is_full(at);
    match (miss, giant) {
        (Miss::Fit | Miss::Partner, _) if board.shards[shard].role == ShardRole::Draining => Reason::NoTargetWithRoom,
        (Miss::Budget, _) => Reason::OverBudget,
        (Miss::Room, _) if is_over => Reason::NoTargetWithRoom,
        (Miss::Room, _) => Reason::Full,
        (Miss::Barred(target), _) => Reason::TooSoonToReturn { target: board.shards[target].id },
        (_, _) if has_on_its_way(board, search, shard, dimension) => Reason::AlreadyMoving,
        (_, Some(giant)) => giant,
        (Miss::Unbalance(other), None) => Reason::WouldUnbalance { dimension, other: Dimension::ALL[other] },
        (Miss::Fit, None) => Reason::TooCoarse { dimension, deviation: deviation.abs() },
        (Miss::Partner, None) if !is_over && ledger.is_full(shard) => Reason::Full,
        (Miss::Partner, None) if !is_over => Reason::NoSource,
        (Miss::Partner, None) if (0..board.shards.len()).any(is_full) => Reason::NoTargetWithRoom,
        (Miss::Partner, None) => Reason::NoTarget,
    }
}

/// Whether a shard has too much, and had before the plan, and can't give because the slots are on their way.
fn has_on_its_way(board: &Board, search: &Search, shard: usize, dimension: Dimension) -> bool {
    let was_over = board.deviation(shard, dimension) > board.problem.goal(dimension);
    was_over && board.is_busy[shard] && search.ledger.supplies[shard].is_empty()
}

/// The slot of a shard that alone is more than the shard should have.
fn too_big(board: &Board, search: &Search, shard: usize, dimension: Dimension) -> Option<Reason> {
    let load = |slot: &u32| board.slot_loads[*slot as usize][dimension];
    let slot = search.ledger.movable(shard).max_by(|a, b| load(a).total_cmp(&load(b)))?;
    let fair = board.fair[shard][dimension];
    let is_too_big = load(&slot) > fair * (1.0 + board.problem.goal(dimension));
    is_too_big.then(|| Reason::SlotTooBig {
        slot: Slot(slot),
        dimension,
        share: board.share(load(&slot), dimension),
        fair_share: board.share(fair, dimension),
    })
}
