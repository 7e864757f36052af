//! SIGKILL, again and again (`acked-is-durable`, `snapshot-isolation`, `counters-exact`).
//!
//! `EVENKEEL_CRASHES` says how many crashes there are in all; the moments of the kills are drawn from a seed that is
//! printed on failure, and are as exact as the operating system lets them be.

use crate::bank::Bank;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
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

/// A bank's process, which does not outlive its test.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(bank: &Bank, run: i64, seed: u64, durability: &str) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bank"))
        .arg(bank.directory())
        .args([run.to_string(), seed.to_string(), durability.to_string()])
        .arg(bank.file())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the bank starts");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        // A line that the kill cut off was never said.
        let mut output = output;
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
            if sender.send(line.trim_end().to_string()).is_err() {
                return;
            }
            line.clear();
        }
    });
    Running { child, lines }
}

/// Listens until a moment, or for so many lines; whether the bank still runs.
fn listen(bank: &mut Bank, running: &Running, run: i64, until: Instant, mut lines: u32) -> bool {
    while lines > 0 {
        match running.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                bank.heard(run, &line);
                lines -= 1;
            }
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

/// Starts the bank, kills it at some moment, and hears what it had said until then.
fn crash(bank: &mut Bank, random: &mut StdRng, run: i64, durability: &str) {
    let mut running = start(bank, run, random.random(), durability);
    let micros = |micros: u64| Instant::now() + Duration::from_micros(micros);
    let alive = if random.random_ratio(1, EARLY_ONE_IN) {
        let until = micros(random.random_range(0..EARLY_MS_MAX * 1_000));
        listen(bank, &running, run, until, u32::MAX)
    } else {
        // A bank that says nothing for a minute hangs, which the kill would hide.
        let (patience, lines) = (micros(60_000_000), random.random_range(1..LINES_MAX));
        let alive = listen(bank, &running, run, patience, lines);
        assert!(Instant::now() < patience, "the bank said fewer than {lines} lines in a minute");
        let later = micros(random.random_range(0..LATER_US_MAX));
        alive && listen(bank, &running, run, later, u32::MAX)
    };
    assert!(alive, "the bank ended by itself");
    running.child.kill().expect("SIGKILL");
    running.child.wait().expect("the bank is gone");
    while let Ok(line) = running.lines.recv() {
        bank.heard(run, &line);
    }
}

/// Says the seed when a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}", self.0);
        }
    }
}

fn crashes(durability: &str, seed: u64) {
    let wanted = std::env::var("EVENKEEL_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(CRASHES);
    let said = Seed(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut bank = runtime.block_on(Bank::new());
    for run in 0..wanted.div_ceil(BANKS) {
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
