//! From the bytes of a key to its shard: the hash and the look-up in the slot map.

use super::Work;
use crate::bench::{Bench, say_run};
use crate::evenkeel::SHARDS;
use crate::figures::{Measured, Samples, Target, Unit};
use crate::random::Random;
use evenkeel_model::{ShardId, SlotBits, SlotMap, Token};
use std::hint::black_box;
use std::time::Instant;

const KEYS: usize = 4_096;
const KEY_BYTES: usize = 30;
const ROUNDS: usize = 2_000;
const NANOSECONDS_MAX: f64 = 50.0;

/// Measures it.
pub fn measure(bench: &Bench) -> Measured {
    let ids: Vec<ShardId> = (1..=SHARDS).map(ShardId).collect();
    let slots = SlotMap::even(SlotBits::DEFAULT, &ids);
    let mut random = Random::of(0);
    let mut key = || -> [u8; KEY_BYTES] { std::array::from_fn(|_| random.number() as u8) };
    let keys: Vec<[u8; KEY_BYTES]> = (0..KEYS).map(|_| key()).collect();
    let mut samples = Samples::default();
    for run in 0..bench.about.runs {
        let since = Instant::now();
        for _ in 0..ROUNDS {
            for key in &keys {
                black_box(slots.route(Token::of(black_box(key))));
            }
        }
        let nanoseconds = since.elapsed().as_nanos() as f64 / (ROUNDS * KEYS) as f64;
        samples.evenkeel.push(nanoseconds);
        say_run(run, &format!("{nanoseconds:.1} ns"));
    }
    Work::Route.report(Unit::Nanoseconds, samples, vec![Target::AtMost(NANOSECONDS_MAX)])
}
