#![allow(clippy::print_stdout)]
use evenkeel_model::ShardId;
use evenkeel_rebalancer::balance::*;
use std::time::Instant;
struct Random(u64);
impl Random {
    fn of(user: u64) -> Self {
        Self(2013u64.wrapping_add(user.wrapping_mul(0xD1B5_4A32_D192_ED03)))
    }
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
fn problem(shards: usize, slots: usize, seed: u64, kind: &str) -> Problem {
    let mut random = Random::of(seed);
    let mut slot = |at: usize| {
        let place = (at as f64 + 0.5) / slots as f64;
        let place = if random.fraction() < skew() { place.sqrt() } else { place };
        let owner = ShardId((place * shards as f64) as u32 + 1);
        let x = random.fraction();
        let size = match kind {
            "mixed" | "indep" => 2.0 * x,
            "even" => 0.8 + 0.4 * x,
            "equal" => 1.0,
            "exp" => (-(1.0 - x).ln()).min(8.0),
            _ => panic!(),
        };
        let heat = if kind == "indep" { 2.0 * random.fraction() } else { size };
        let load = Load::of_slot(size * 1e5, size * 1e7, heat * 100.0, heat * 0.05);
        SlotState { owner, load, moving_to: None }
    };
    let slots = (0..slots).map(&mut slot).collect();
    let shards = (1..=shards as u32).map(|id| ShardState::new(ShardId(id))).collect();
    let mut problem = Problem::new(0, shards, slots);
    problem.limits.moves_max = None;
    problem
}
fn skew() -> f64 {
    std::env::var("SKEW").ok().and_then(|s| s.parse().ok()).unwrap_or(0.5)
}
fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    for (shards, slots) in [(10_000, 8_192), (10_000, 16_384), (10_000, 65_536), (10_000, 1_048_576), (1_000, 65_536)] {
        for kind in ["mixed", "even", "equal", "exp", "indep"] {
            for strategy in [Strategy::Size, Strategy::Adaptive] {
                for seed in 7..13 {
                    let mut p = problem(shards, slots, seed, kind);
                    p.strategy = strategy;
                    let name = format!("{shards}x{slots} {kind} {strategy} {seed}");
                    if !name.contains(&filter) {
                        continue;
                    }
                    let t = Instant::now();
                    let made = plan(&p, None);
                    let ms = t.elapsed().as_secs_f64() * 1e3;
                    let again = plan(&made.outcome(&p), Some(&made)).moves.len();
                    let mut b = vec![0.0; shards];
                    p.slots.iter().for_each(|s| b[s.owner.0 as usize - 1] += s.load.bytes);
                    let fair = b.iter().sum::<f64>() / shards as f64;
                    let ex: f64 = b.iter().map(|x| (x - fair).max(0.0)).sum();
                    let beyond: f64 = b.iter().map(|x| (x - fair * 1.05).max(0.0)).sum();
                    let missing: f64 = b.iter().map(|x| (fair * 0.95 - x).max(0.0)).sum();
                    let worst = |s: &Standing| s.after.to_array().iter().fold(0f64, |w, d| w.max(d.abs()));
                    let mut devs: Vec<_> = made.standings.iter().map(worst).collect();
                    devs.sort_by(f64::total_cmp);
                    let left = devs.iter().filter(|d| **d > 0.05 + 1e-9).count();
                    println!(
                        "{name:<34} {ms:>7.0} ms {:>6.1} -> {:>6.2} % p99 {:>5.1} left {left:>5} moves {:>5} ratio {:.3} tol {:.3} again {again} cut {}",
                        made.before * 100.0,
                        made.after * 100.0,
                        devs[devs.len() * 99 / 100] * 100.0,
                        made.moves.len(),
                        made.bytes() as f64 / ex,
                        made.bytes() as f64 / beyond.max(missing),
                        made.cut
                    );
                }
            }
        }
    }
}
