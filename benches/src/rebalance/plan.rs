//! How long it takes to see an imbalance of very many shards and to plan its end, and how even the end is compared with what
//! slots allow. Nothing but arithmetic: no shard is asked.

use super::finding::{Finding, Outcome, Target, Unit, thousands};
use super::{Bench, Work};
use crate::bench::say_run;
use crate::random::Random;
use evenkeel_model::ShardId;
use evenkeel_rebalancer::balance::{Dimension, Load, Plan, Problem, ShardState, SlotState, Strategy, detect, plan};
use std::time::Instant;

const DETECT_MS_MAX: f64 = 10.0;
const PLAN_MS_MAX: f64 = 1_000.0;
const IMBALANCE_PERCENT_MAX: f64 = 5.0;
const BYTES_TIMES_MAX: f64 = 1.1;

/// The random numbers of the first run; the next run has the next ones.
const SEED: u64 = 7;
/// How much more the last shards have: 0 is nothing but chance, 1 twice what is fair.
const SKEW: f64 = 0.5;
const SKEWS: [f64; 3] = [0.0, SKEW, 1.0];

/// Measures it.
///
/// # Errors
/// When an imbalance is not seen, or nothing is planned to end it.
pub fn measure(bench: &Bench) -> anyhow::Result<Outcome> {
    let (shards, slots) = bench.sizes.planned;
    let mut figures: [Vec<f64>; 6] = Default::default();
    for run in 0..bench.sizes.runs {
        let [detect_ms, adaptive_ms, size_ms, after, of_excess, of_least] = &mut figures;
        let mut problem = problem(shards, slots, SEED + run as u64, SKEW);
        let began = Instant::now();
        let seen = detect(&problem);
        detect_ms.push(began.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(seen.is_some(), "an imbalance was not seen");
        let (made, ms) = timed(&problem);
        adaptive_ms.push(ms);
        anyhow::ensure!(!made.moves.is_empty(), "no move was planned");
        problem.strategy = Strategy::Size;
        let (made, ms) = timed(&problem);
        size_ms.push(ms);
        after.push(made.after * 100.0);
        of_excess.push(made.bytes() as f64 / least(&problem, 0.0).max(1.0));
        of_least.push(made.bytes() as f64 / least(&problem, problem.target_imbalance).max(1.0));
        say_run(run, &format!("{} moves planned", made.moves.len()));
    }
    let [detect_ms, adaptive_ms, size_ms, after, of_excess, of_least] = figures;
    let mut outcome = Outcome::new(Work::Plan);
    outcome.findings = vec![
        Finding::of("seeing it", Unit::Milliseconds, detect_ms).should(Target::Below(DETECT_MS_MAX)),
        Finding::of("planning, adaptive", Unit::Milliseconds, adaptive_ms).should(Target::Below(PLAN_MS_MAX)),
        Finding::of("planning, by bytes", Unit::Milliseconds, size_ms).should(Target::Below(PLAN_MS_MAX)),
        Finding::of("imbalance reached, by bytes", Unit::Percent, after).should(Target::AtMost(IMBALANCE_PERCENT_MAX)),
        Finding::of("bytes moved ÷ excess", Unit::Times, of_excess).should(Target::AtMost(BYTES_TIMES_MAX)),
        Finding::of("bytes moved ÷ least for the target", Unit::Times, of_least),
    ];
    outcome.notes.push(format!("{}, skew {SKEW}, no limit on moves", sizes((shards, slots))));
    outcome.notes.push("excess: bytes beyond a fair share; least for the target: beyond what it allows".to_string());
    for size in bench.sizes.planned_besides {
        outcome.notes.push(note(*size, bench.sizes.runs));
    }
    Ok(outcome)
}

/// `10,000 shards with 16,384 slots`.
fn sizes((shards, slots): (usize, usize)) -> String {
    format!("{} shards with {} slots", thousands(shards as f64), thousands(slots as f64))
}

/// What plans for another size come to, over all skews and as many seeds as there are runs.
fn note((shards, slots): (usize, usize), runs: usize) -> String {
    let (mut ms, mut after, mut best, mut of_excess) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (skew, run) in SKEWS.into_iter().flat_map(|skew| (0..runs).map(move |run| (skew, run))) {
        let problem = problem(shards, slots, SEED + run as u64, skew);
        let (made, took_ms) = timed(&problem);
        ms.push(took_ms);
        after.push(made.after * 100.0);
        best.extend(made.granularity.iter().map(|granularity| granularity.best() * 100.0));
        of_excess.push(made.bytes() as f64 / least(&problem, 0.0).max(1.0));
    }
    let text = |unit, runs: Vec<f64>| Finding::of("", unit, runs).text();
    let (ms, after, of_excess) =
        (text(Unit::Milliseconds, ms), text(Unit::Percent, after), text(Unit::Times, of_excess));
    let best =
        if best.is_empty() { String::new() } else { format!(", the best possible {}", text(Unit::Percent, best)) };
    format!("{}, skews 0 to 1: {ms}, {after} reached{best}, {of_excess} the excess", sizes((shards, slots)))
}

/// A plan, and how many milliseconds it took.
fn timed(problem: &Problem) -> (Plan, f64) {
    let began = Instant::now();
    let made = plan(problem, None);
    (made, began.elapsed().as_secs_f64() * 1e3)
}

/// Slots of between nothing and twice the mean, on shards of which the last have more than what is fair.
fn problem(shards: usize, slots: usize, seed: u64, skew: f64) -> Problem {
    let mut random = Random::of(seed);
    let mut slot = |at: usize| {
        let place = (at as f64 + 0.5) / slots as f64;
        let place = if random.fraction() < skew { place.sqrt() } else { place };
        let owner = ShardId((place * shards as f64) as u32 + 1);
        let size = 2.0 * random.fraction();
        let load = Load::of_slot(size * 1e5, size * 1e7, size * 100.0, size * 0.05);
        SlotState { owner, load, moving_to: None }
    };
    let slots = (0..slots).map(&mut slot).collect();
    let shards = (1..=shards as u32).map(|id| ShardState::new(ShardId(id))).collect();
    let mut problem = Problem::new(0, shards, slots);
    problem.limits.moves_max = None;
    problem
}

/// The least that must move until nobody is further from the fair share than `imbalance`; with 0, the excess: all bytes
/// beyond a fair share.
fn least(problem: &Problem, imbalance: f64) -> f64 {
    let mut bytes = vec![0.0; problem.shards.len()];
    problem.slots.iter().for_each(|slot| bytes[slot.owner.0 as usize - 1] += slot.load[Dimension::Bytes]);
    least_to_move(&bytes, imbalance)
}

/// The least that must change hands until nobody is further from the fair share than `imbalance`, a part of 1.
pub fn least_to_move(loads: &[f64], imbalance: f64) -> f64 {
    let fair = loads.iter().sum::<f64>() / loads.len() as f64;
    let beyond: f64 = loads.iter().map(|load| (load - fair * (1.0 + imbalance)).max(0.0)).sum();
    let missing: f64 = loads.iter().map(|load| (fair * (1.0 - imbalance) - load).max(0.0)).sum();
    beyond.max(missing)
}
