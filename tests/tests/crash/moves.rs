//! SIGKILL while slots move (`acked-is-durable`, `snapshot-isolation`, `counters-exact`, `one-owner`, `terminal`).
//!
//! A bank works and keeps moving slots, splitting, merging, adding and removing shards. It ends when a migration enters a
//! given phase, just before or just after the record of that is kept; or at any moment; or while the next process is
//! opening what the last has left. After each time every promise is checked, every job comes to its end, and no shard has
//! a row of a slot that is not its own.
//!
//! `EVENKEEL_CRASHES` says how many crashes there are in all.

use crate::bank::Bank;
use crate::process::{PATIENCE, Seed, crashes_wanted, start};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};

/// Crashes of all banks together, where `EVENKEEL_CRASHES` says nothing else.
const CRASHES: u64 = 72;
const BANKS: u64 = 4;
/// One kill in so many comes at any moment from the start of the process on, also while it recovers.
const EARLY_ONE_IN: u32 = 4;
const EARLY_MS_MAX: u64 = 400;
/// The other kills come so long after a migration has begun.
const LATER_MS_MAX: u64 = 300;

/// A phase's name, and the how manieth time in a row it is entered under that name.
type Entered = (&'static str, u32);

const COPYING: Entered = ("copying", 1);
const CATCHING_UP: Entered = ("catching_up", 1);
const SEALING: Entered = ("sealing", 1);
const UNSEALING: Entered = ("sealing", 2);
const SWITCHING: Entered = ("switching", 1);
const ACTIVATING: Entered = ("switching", 2);
const VERIFYING: Entered = ("verifying", 1);
const DROPPING: Entered = ("dropping", 1);
const DONE: Entered = ("done", 1);
const RECLAIMING: Entered = ("reclaiming", 1);
const UNDOING: Entered = ("undoing", 1);
const UNDONE: Entered = ("undone", 1);

const PHASES: [Entered; 12] = [
    COPYING,
    CATCHING_UP,
    SEALING,
    UNSEALING,
    SWITCHING,
    ACTIVATING,
    VERIFYING,
    DROPPING,
    DONE,
    RECLAIMING,
    UNDOING,
    UNDONE,
];

/// Each of these processes but the first dies before it is open. Their count of names in a row begins anew.
const CHAINS: [&[(Entered, &str)]; 4] = [
    &[(SEALING, "after"), (SWITCHING, "before"), (SWITCHING, "after"), (VERIFYING, "before"), (VERIFYING, "after")],
    &[(ACTIVATING, "after"), (VERIFYING, "before"), (VERIFYING, "after")],
    &[(RECLAIMING, "after"), (UNDOING, "before"), (UNDOING, "after"), (UNDONE, "before")],
    &[(UNSEALING, "after"), (CATCHING_UP, "before")],
];

/// A bank under test, with what it takes to check it.
struct Ordeal {
    bank: Bank,
    runtime: tokio::runtime::Runtime,
    random: StdRng,
    run: i64,
    said: Seed,
}

impl Ordeal {
    fn new(seed: u64) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let mut bank = runtime.block_on(Bank::new());
        bank.jobs.expected = true;
        Self { bank, runtime, random: StdRng::seed_from_u64(seed), run: 0, said: Seed(seed) }
    }

    /// Lets the bank work until a migration enters a phase, where it ends; whether it was open before.
    fn end_at(&mut self, (phase, turn): Entered, when: &str) -> bool {
        let (run, turn) = (self.run, turn.to_string());
        println!("run {run} ends {when} {phase} {turn}");
        let running = start(&self.bank, run, self.random.random(), "on", &["moves", phase, when, &turn]);
        running.dies(&mut self.bank);
        self.bank.jobs.strike();
        self.run += 1;
        self.bank.had_opened(run)
    }

    /// Ends the bank a little after a migration has begun.
    fn end_later(&mut self) {
        self.end_when(|bank| bank.jobs.are_under_way(), LATER_MS_MAX);
    }

    /// Ends the bank a little after its start.
    fn end_early(&mut self) {
        self.end_when(|_| true, EARLY_MS_MAX);
    }

    fn end_when(&mut self, ripe: impl Fn(&Bank) -> bool, ms: u64) {
        let (run, seed) = (self.run, self.random.random());
        let running = start(&self.bank, run, seed, "on", &["moves"]);
        let patience = Instant::now() + PATIENCE;
        let mut alive = true;
        while alive && !ripe(&self.bank) {
            assert!(Instant::now() < patience, "the bank moved nothing for a minute");
            alive = running.listen(&mut self.bank, patience, 1);
        }
        let until = Instant::now() + Duration::from_micros(self.random.random_range(0..ms * 1_000));
        assert!(alive && running.listen(&mut self.bank, until, u32::MAX), "the bank ended by itself");
        running.kill(&mut self.bank);
        self.bank.jobs.strike();
        self.run += 1;
    }

    fn check(&mut self) {
        self.runtime.block_on(self.bank.check());
    }

    fn finish(mut self) {
        self.check();
        assert!(self.bank.acknowledged() > 0, "the bank never did anything");
        let jobs = &self.bank.jobs;
        assert!(jobs.acknowledged() > 0, "no slot ever moved");
        let (kills, struck) = (self.run, &jobs.struck);
        println!("{kills} kills, {} jobs; phases of migrations that the kills found: {struck:?}", jobs.acknowledged());
        drop(self.said);
    }
}

fn share() -> u64 {
    crashes_wanted(CRASHES).div_ceil(BANKS)
}

fn at_every_phase(when: &str, seed: u64) {
    let mut ordeal = Ordeal::new(seed);
    for _ in 0..(share() / PHASES.len() as u64).max(1) {
        for phase in PHASES {
            assert!(ordeal.end_at(phase, when), "the bank died before it was open");
            ordeal.check();
        }
    }
    ordeal.finish();
}

#[test]
fn a_kill_before_a_phase_is_kept_loses_nothing() {
    at_every_phase("before", 11);
}

#[test]
fn a_kill_after_a_phase_is_kept_loses_nothing() {
    at_every_phase("after", 12);
}

#[test]
fn a_kill_at_any_moment_of_a_move_loses_nothing() {
    let mut ordeal = Ordeal::new(13);
    for _ in 0..share() {
        if ordeal.random.random_ratio(1, EARLY_ONE_IN) {
            ordeal.end_early()
        } else {
            ordeal.end_later()
        }
        // Sometimes the next process, which is killed too, is the first to see what this one left.
        if ordeal.random.random_ratio(2, 3) {
            ordeal.check();
        }
    }
    ordeal.finish();
}

#[test]
fn a_kill_while_a_move_is_taken_up_again_loses_nothing() {
    let mut ordeal = Ordeal::new(14);
    while (ordeal.run as u64) < share() {
        for chain in CHAINS {
            for (nth, (phase, when)) in chain.iter().enumerate() {
                let opened = ordeal.end_at(*phase, when);
                assert_eq!(opened, nth == 0, "the {nth}. process of {chain:?} was open when it died");
            }
            // Its last process leaves something too, and the next dies as it finds it.
            ordeal.end_early();
            ordeal.check();
        }
    }
    ordeal.finish();
}
