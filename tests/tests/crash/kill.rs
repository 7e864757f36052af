//! SIGKILL, again and again (`acked-is-durable`, `snapshot-isolation`, `counters-exact`).
//!
//! `EVENKEEL_CRASHES` says how many crashes there are in all; the moments of the kills are drawn from a seed that is
//! printed on failure, and are as exact as the operating system lets them be.

use crate::bank::Bank;
use crate::process::{PATIENCE, Seed, crashes_wanted, start};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};

/// Crashes of all banks together, where `EVENKEEL_CRASHES` says nothing else.
const CRASHES: u64 = 54;
const BANKS: u64 = 3;
/// One kill in so many comes at any moment from the start of the process on, also while it recovers.
const EARLY_ONE_IN: u32 = 4;
const EARLY_MS_MAX: u64 = 400;
/// The other kills come after one of this many lines, and a little later.
const LINES_MAX: u32 = 120;
const LATER_US_MAX: u64 = 20_000;

/// Starts the bank, kills it at some moment, and hears what it had said until then.
fn crash(bank: &mut Bank, random: &mut StdRng, run: i64, durability: &str) {
    let running = start(bank, run, random.random(), durability, &[]);
    let micros = |micros: u64| Instant::now() + Duration::from_micros(micros);
    let alive = if random.random_ratio(1, EARLY_ONE_IN) {
        let until = micros(random.random_range(0..EARLY_MS_MAX * 1_000));
        running.listen(bank, until, u32::MAX)
    } else {
        // A bank that says nothing for a minute hangs, which the kill would hide.
        let (patience, lines) = (Instant::now() + PATIENCE, random.random_range(1..LINES_MAX));
        let alive = running.listen(bank, patience, lines);
        assert!(Instant::now() < patience, "the bank said fewer than {lines} lines in a minute");
        let later = micros(random.random_range(0..LATER_US_MAX));
        alive && running.listen(bank, later, u32::MAX)
    };
    assert!(alive, "the bank ended by itself");
    running.kill(bank);
}

fn crashes(durability: &str, seed: u64) {
    let said = Seed(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut bank = runtime.block_on(Bank::new());
    for run in 0..crashes_wanted(CRASHES).div_ceil(BANKS) {
        crash(&mut bank, &mut random, run as i64, durability);
        // Sometimes the next process, which may be killed too, is the first to see what this one left.
        if random.random_ratio(2, 3) {
            runtime.block_on(bank.check());
        }
    }
    runtime.block_on(bank.check());
    assert!(bank.acknowledged() > 0, "the bank never did anything");
    assert!(runtime.block_on(bank.replays()) > 0, "no crash ever needed the commit log");
    drop(said);
}

#[test]
fn what_was_acknowledged_survives_the_first_bank() {
    crashes("on", 1);
}

#[test]
fn what_was_acknowledged_survives_the_second_bank() {
    crashes("on", 2);
}

/// The process dies, the machine doesn't: what is in the operating system's hands is safe.
#[test]
fn what_was_acknowledged_unsynced_survives_the_process() {
    crashes("off", 3);
}
