//! How long it takes to see an imbalance of very many shards and to plan its end. Nothing but arithmetic: no shard is asked.

use super::finding::{Finding, Outcome, Target, Unit};
use super::{Bench, Work};
use crate::bench::say_run;
use crate::random::Random;
use evenkeel_model::ShardId;
use evenkeel_rebalancer::balance::{Dimension, Load, Problem, ShardState, SlotState, Strategy, detect, plan};
use std::time::Instant;

const DETECT_MS_MAX: f64 = 10.0;
const PLAN_MS_MAX: f64 = 1_000.0;

/// Measures it.
///
/// # Errors
/// Never; the others may.
pub fn measure(bench: &Bench) -> anyhow::Result<Outcome> {
    let (shards, slots) = bench.sizes.planned;
    let mut problem = problem(shards, slots);
    let least = least(&problem);
    let mut figures: [Vec<f64>; 5] = Default::default();
    for run in 0..bench.sizes.runs {
        let [detect_ms, adaptive_ms, size_ms, after, ratio] = &mut figures;
        problem.strategy = Strategy::Adaptive;
        let began = Instant::now();
        let seen = detect(&problem);
        detect_ms.push(began.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(seen.is_some(), "an imbalance was not seen");
        let began = Instant::now();
        let made = plan(&problem, None);
        adaptive_ms.push(began.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(!made.moves.is_empty(), "no move was planned");
        problem.strategy = Strategy::Size;
        let began = Instant::now();
        let made = plan(&problem, None);
        size_ms.push(began.elapsed().as_secs_f64() * 1e3);
        after.push(made.after * 100.0);
        ratio.push(made.bytes() as f64 / least.max(1.0));
        say_run(run, &format!("{} moves planned", made.moves.len()));
    }
    let [detect_ms, adaptive_ms, size_ms, after, ratio] = figures;
    let mut outcome = Outcome::new(Work::Plan);
    outcome.findings = vec![
        Finding::of("seeing it", Unit::Milliseconds, detect_ms).should(Target::Below(DETECT_MS_MAX)),
        Finding::of("planning, adaptive", Unit::Milliseconds, adaptive_ms).should(Target::Below(PLAN_MS_MAX)),
        Finding::of("planning, by bytes", Unit::Milliseconds, size_ms).should(Target::Below(PLAN_MS_MAX)),
        Finding::of("imbalance reached, by bytes", Unit::Percent, after),
        Finding::of("bytes moved ÷ least that has to", Unit::Times, ratio),
    ];
    outcome.notes.push(format!("{shards} shards of {slots} slots, no limit on moves"));
    Ok(outcome)
}

/// Slots of between nothing and twice the mean, on shards of which the last have twice what is fair.
fn problem(shards: usize, slots: usize) -> Problem {
    let mut random = Random::of(7);
    let mut slot = |at: usize| {
        let place = (at as f64 + 0.5) / slots as f64;
        let place = if random.fraction() < 0.5 { place.sqrt() } else { place };
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

/// The least that must move for the target: bytes beyond what it allows, or missing from it, whichever is more.
fn least(problem: &Problem) -> f64 {
    let mut bytes = vec![0.0; problem.shards.len()];
    problem.slots.iter().for_each(|slot| bytes[slot.owner.0 as usize - 1] += slot.load[Dimension::Bytes]);
    least_to_move(&bytes, problem.target_imbalance)
}

/// The least that must change hands until nobody is further from the fair share than `imbalance`, a part of 1.
pub fn least_to_move(loads: &[f64], imbalance: f64) -> f64 {
    let fair = loads.iter().sum::<f64>() / loads.len() as f64;
    let beyond: f64 = loads.iter().map(|load| (load - fair * (1.0 + imbalance)).max(0.0)).sum();
    let missing: f64 = loads.iter().map(|load| (fair * (1.0 - imbalance) - load).max(0.0)).sum();
    beyond.max(missing)
}
