//! How long detection and planning take, how even the outcome is, and how much moves compared with what has to.
//!
//! "best" is the bound that slots set, whatever moves: 0 where the target is not known to be out of reach. "ratio" is what
//! moves, in the strategy's first dimension, to what shards have beyond their fair share of it; "again" is how many moves
//! a second plan finds right after the first; "cut" says that the search's own limit ended it.
//!
//! `cargo run --release -p evenkeel-rebalancer --example plan_speed`

#![allow(clippy::print_stdout)] // it measures and prints

use evenkeel_model::ShardId;
use evenkeel_rebalancer::balance::{
    Dimension, Load, Problem, ShardRole, ShardState, SlotState, Strategy, detect, plan,
};
use std::time::Instant;

/// A small generator, so that the numbers are the same every time (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.roll() * limit as f64) as usize
    }
}

/// How loads are spread over slots.
#[derive(Clone, Copy, Debug)]
enum Spread {
    /// All slots alike, give or take a fifth.
    Even,
    /// Between nothing and twice the mean; traffic goes with the rows.
    Mixed,
    /// Rows between nothing and twice the mean, and traffic independent of them.
    Independent,
    /// The n-th slot has 1/n of the largest (shuffled).
    Zipf,
}

fn slot_load(spread: Spread, dice: &mut Dice, slots: usize) -> Load {
    let (size, heat) = match spread {
        Spread::Even => (0.8 + 0.4 * dice.roll(), 0.8 + 0.4 * dice.roll()),
        Spread::Mixed => {
            let size = 2.0 * dice.roll();
            (size, size * (0.9 + 0.2 * dice.roll()))
        }
        Spread::Independent => (2.0 * dice.roll(), 2.0 * dice.roll()),
        Spread::Zipf => {
            let size = slots as f64 / (1.0 + dice.below(slots) as f64) / 10.0;
            (size, size)
        }
    };
    Load::of_slot(size * 1e5, size * 1e7 * (0.9 + 0.2 * dice.roll()), heat * 100.0, heat * 0.05)
}

/// Slots over shards: `skew` 0 is even, 1 gives the last shard about twice what is fair and the first nothing.
fn problem(shards: usize, slots: usize, spread: Spread, skew: f64) -> Problem {
    let mut dice = Dice(7);
    let owner = |at: usize, dice: &mut Dice| {
        let place = (at as f64 + 0.5) / slots as f64;
        let place = if dice.roll() < skew { place.sqrt() } else { place };
        ShardId((place * shards as f64) as u32 + 1)
    };
    let slots: Vec<_> = (0..slots)
        .map(|at| SlotState { owner: owner(at, &mut dice), load: slot_load(spread, &mut dice, slots), moving_to: None })
        .collect();
    Problem::new(0, (1..=shards as u32).map(|id| ShardState::new(ShardId(id))).collect(), slots)
}

/// The least that must move: what shards have beyond their fair share, of the strategy's dimension.
fn excess(problem: &Problem, dimension: Dimension) -> f64 {
    let mut loads = vec![0.0; problem.shards.len()];
    problem.slots.iter().for_each(|slot| loads[slot.owner.0 as usize - 1] += slot.load[dimension]);
    let fair = loads.iter().sum::<f64>() / loads.len() as f64;
    loads.iter().map(|load| (load - fair).max(0.0)).sum()
}

fn report(name: &str, problem: &Problem) {
    let dimension = problem.strategy.dimensions()[0];
    let started = Instant::now();
    let found = detect(problem).is_some();
    let detecting = started.elapsed();
    let started = Instant::now();
    let made = plan(problem, None);
    let planning = started.elapsed();
    let again = plan(&made.outcome(problem), Some(&made)).moves.len();
    let slots = made.moves.iter().flat_map(|step| step.slots.iter());
    let moved: f64 = slots.map(|slot| problem.slots[slot.0 as usize].load[dimension]).sum();
    println!(
        "{name:<42} {:>6.2} {found:<5} {:>8.1} {:>9.1} {:>9.2} {:>8.2} {:>6} {:>6.3} {again:>5} {}",
        detecting.as_secs_f64() * 1e3,
        planning.as_secs_f64() * 1e3,
        made.before * 100.0,
        made.after * 100.0,
        made.granularity.as_ref().map_or(0.0, |granularity| granularity.best()) * 100.0,
        made.moves.len(),
        moved / excess(problem, dimension),
        if made.cut { "cut" } else { "" },
    );
}

fn main() {
    println!(
        "{:<42} detect ms     plan ms  before %   after %   best %  moves  ratio again",
        "shards × slots, strategy, spread"
    );
    let few = [(4, 8_192), (100, 65_536), (1_000, 65_536)];
    let many = [8_192, 16_384, 65_536, 1_048_576].map(|slots| (10_000, slots));
    for (shards, slots) in few.into_iter().chain(many) {
        for strategy in [Strategy::Size, Strategy::Adaptive] {
            for spread in [Spread::Even, Spread::Mixed, Spread::Independent, Spread::Zipf] {
                let mut problem = problem(shards, slots, spread, 0.5);
                problem.strategy = strategy;
                problem.limits.moves_max = None;
                report(&format!("{shards} × {slots} {strategy} {spread:?}"), &problem);
            }
        }
    }
    let mut giant = problem(10_000, 65_536, Spread::Mixed, 0.0);
    giant.limits.moves_max = None;
    giant.slots.iter_mut().for_each(|slot| slot.owner = ShardId(1));
    report("10000 × 65536 adaptive, all on one shard", &giant);
    giant.shards[0].role = ShardRole::Draining;
    report("10000 × 65536 adaptive, that one drained", &giant);
}
