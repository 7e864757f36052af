//! The conductor over simulated shards, meta store, clock and chance.

mod cast;
mod clients;
mod dice;
mod history;
mod mistakes;
mod process;
mod rows;
mod run;
mod seat;
mod shard;
mod sim;
mod stage;
mod truth;
mod watch;
mod weather;

pub(crate) use mistakes::{Mistake, is_planted};

use history::History;

#[test]
fn first() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("EVENKEEL_SEED") {
        let report = run::run(seed, History::new(true, true));
        println!("{}{:?}", report.history, report.violation);
        return;
    }
    let (mut jobs, mut crashes, mut steps) = (0, 0, 0);
    let n = number("SEEDS").unwrap_or(300);
    for seed in 0..n {
        let report = run::run(seed, History::new(false, false));
        jobs += report.jobs; crashes += report.crashes; steps += report.steps;
        if report.violation.is_some() {
            let report = run::run(seed, History::new(true, false));
            println!("{}", report.history);
            panic!("{seed}: {:?}", report.violation);
        }
    }
    println!("{jobs} jobs {crashes} crashes {steps} steps");
}
