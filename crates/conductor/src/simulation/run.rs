//! One seed, from its first row to the last job's end.

use super::clients::{ACCOUNTS, BALANCE};
use super::history::Invariant::{NoPanic, SnapshotIsolation, Terminal};
use super::history::{History, Violation};
use super::process::Process;
use super::rows::{Change, Key, Rows, SLOT_BITS, Value, slot_of};
use super::shard::SimShard;
use super::sim::{Play, Seat, Sim};
use super::stage::{Hand, Stage, Turn};
use super::truth::Pending;
use super::watch;
use super::weather::{self, Weather};
use crate::StoredMigration;
use evenkeel_model::{ShardId, SlotBits, SlotMap, Timestamp};
use evenkeel_rebalancer::migration::{Ownership, Reason};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(6);
/// A run takes ten thousand steps.
const STEPS_MAX: u64 = 200_000;
/// How long it may then take until everything is over.
const PATIENCE: Duration = Duration::from_secs(240);

/// When the accounts got their first balance.
const FILLED_AT: Timestamp = Timestamp(1);

fn accounts() -> impl Iterator<Item = (Key, Value)> {
    (0..ACCOUNTS).map(|key| (key, Some(BALANCE)))
}

/// What came of a seed.
pub struct Report {
    pub violation: Option<Violation>,
    pub history: String,
    pub steps: u64,
    pub jobs: usize,
    pub crashes: u32,
    /// Migrations that got nowhere and were turned back.
    pub given_up: usize,
}

struct Run {
    sim: Rc<Sim>,
    stage: Stage,
    steps: u64,
}

fn was_given_up(key: &str, record: &[u8]) -> bool {
    let stored = || serde_json::from_slice::<StoredMigration>(record).expect("a migration's record");
    key.starts_with("migration/")
        && matches!(stored().migration.reason, Some(Reason::Failed(what)) if what.starts_with("stuck"))
}

/// Runs a seed.
pub fn run(seed: u64, history: History) -> Report {
    let mut run = Run::new(seed, history);
    run.play();
    run.stage.clear();
    let sim = &run.sim;
    let jobs = sim.meta.borrow().keys().filter(|key| key.starts_with("job/")).count();
    Report {
        violation: sim.violation.borrow().clone(),
        history: sim.history.borrow().to_string(),
        steps: run.steps,
        jobs,
        crashes: sim.process.borrow().number - 1,
        given_up: sim.meta.borrow().iter().filter(|(key, record)| was_given_up(key, record)).count(),
    }
}

impl Run {
    fn new(seed: u64, history: History) -> Self {
        let bits = SlotBits::new(SLOT_BITS).expect("in range");
        let shards: Vec<ShardId> = (1..=3).map(ShardId).collect();
        let slots = SlotMap::even(bits, &shards);
        let disk = |id: &ShardId| {
            let ownership = Ownership::new(slots.slots_of(*id), slots.epoch());
            let mut rows = Rows::new(ownership);
            let writes = accounts().filter(|(key, _)| slots.owner(slot_of(*key)) == *id).collect();
            rows.apply(&Change::Commit { at: FILLED_AT, writes });
            (*id, Arc::new(SimShard::new(*id, rows)))
        };
        let sim = Sim::new(seed, &slots, shards.iter().map(disk).collect::<BTreeMap<_, _>>(), history);
        let json = serde_json::to_vec(&slots).expect("a slot map is JSON");
        sim.meta.borrow_mut().insert("slots".to_string(), json);
        let filling = Pending { start: Timestamp::ZERO, writes: accounts().collect() };
        sim.truth.borrow_mut().begin(FILLED_AT, filling);
        let known = sim.truth.borrow_mut().acknowledge(FILLED_AT);
        sim.check(known);
        let mut run = Self { sim, stage: Stage::default(), steps: 0 };
        run.restart();
        run
    }

    /// A new process, which opens.
    fn restart(&mut self) {
        self.stage.clear();
        let sim = &self.sim;
        sim.entering.borrow_mut().clear();
        sim.shards().iter().for_each(|shard| shard.crash(&sim.dice));
        let number = sim.process.borrow().number + 1;
        let is_older_than_list = !sim.meta.borrow().keys().any(|key| key.starts_with("shard/"));
        let key = |id: &ShardId| format!("shard/{:010}", id.0);
        let listed = |id: &ShardId| is_older_than_list || sim.meta.borrow().contains_key(&key(id));
        let shards =
            sim.disks.borrow().iter().filter(|(id, _)| listed(id)).map(|(id, s)| (*id, Arc::clone(s))).collect();
        let process = Process::new(number, sim.slot_map(), shards);
        *sim.process.borrow_mut() = process;
        sim.watch.borrow_mut().on_restart();
        sim.clients.set(0);
        sim.is_crashing.set(false);
        *sim.actor.borrow_mut() = "process".to_string();
        sim.say(|| format!("begins for the {number}. time"));
        sim.enter("process", |seat: &Seat<'_>| seat.open());
    }

    fn admit(&mut self) {
        let entering: Vec<(String, Play)> = self.sim.entering.borrow_mut().drain(..).collect();
        for (name, play) in entering {
            let (sim, process) = (Rc::clone(&self.sim), Rc::clone(&self.sim.process.borrow()));
            let now = self.sim.now.get();
            self.stage.enter(name, now, move |hand: &Hand| play(&Seat { sim, process, hand }));
        }
    }

    fn play(&mut self) {
        while self.sim.violation.borrow().is_none() {
            self.admit();
            let now = self.sim.now.get() + Duration::from_nanos(self.sim.dice.between(500, 5_000));
            self.sim.now.set(now);
            let crashes = self.sim.weather.get().crashes;
            if crashes > 0 && self.sim.dice.below(1_000_000) < crashes || self.sim.is_crashing.get() {
                self.restart();
                continue;
            }
            match self.stage.next(now, &self.sim.dice) {
                Turn::Goes(at, then) => {
                    self.sim.now.set(then);
                    if self.sim.history.borrow().is_kept {
                        *self.sim.actor.borrow_mut() = self.stage.name(at).to_string();
                    }
                    self.resume(at);
                }
                Turn::Nobody => {
                    self.sim.violate(Terminal, "everybody waits for somebody".to_string());
                }
            }
            self.steps += 1;
            if self.steps == STEPS_MAX {
                self.sim.violate(Terminal, format!("{STEPS_MAX} steps, and no end"));
            }
            // A process that has just died may have had a lock in hand.
            if self.steps.is_multiple_of(64) && !self.sim.is_crashing.get() && self.is_over() {
                return;
            }
        }
    }

    /// Lets an actor go on. One that panics has found something.
    fn resume(&mut self, at: usize) {
        let stage = &mut self.stage;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| stage.resume(at))) {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words");
            self.sim.violate(NoPanic, words.to_string());
        }
    }

    /// Goes on from trouble to settling, from settling to closing; then all must be well.
    fn is_over(&mut self) -> bool {
        let sim = &self.sim;
        let now = sim.now.get();
        if now > TROUBLE && !sim.is_settling.replace(true) {
            let is_fair = sim.weather.get().is_fair;
            sim.weather.set(Weather { is_fair, ..Weather::CLEAR });
            let mut settings = sim.settings.borrow().as_ref().clone();
            weather::settle(&mut settings);
            *sim.settings.borrow_mut() = Arc::new(settings);
            sim.say(|| "nothing goes wrong any more".to_string());
        }
        if !sim.is_settling.get() || !sim.process.borrow().is_open.get() {
            return false;
        }
        let process = Rc::clone(&sim.process.borrow());
        let open: Vec<_> = process.conductor().jobs().into_iter().filter(|job| !job.status.is_over()).collect();
        if open.is_empty() && !process.conductor().is_moving() {
            sim.is_closing.set(true);
        } else if now > TROUBLE + PATIENCE {
            let jobs: Vec<_> = open.iter().map(|job| (job.id, job.status)).collect();
            sim.violate(Terminal, format!("jobs are not over: {jobs:?}"));
        }
        // Somebody may have asked for something just before.
        let is_busy = !open.is_empty() || process.conductor().is_moving();
        if !sim.is_closing.get() || is_busy || sim.clients.get() > 0 || process.is_cutting_over.get() {
            return false;
        }
        sim.shards().iter().for_each(|shard| shard.sync());
        watch::nothing_is_left(sim);
        watch::rows_are_there(sim);
        watch::one_owner(sim);
        sim.shards().iter().for_each(|shard| watch::counters_exact(sim, shard));
        self.sum_is_kept();
        true
    }

    fn sum_is_kept(&self) {
        let sim = &self.sim;
        let map = sim.slot_map();
        let (disks, hidden) = (sim.disks.borrow(), sim.truth.borrow().hidden(Timestamp::MAX));
        let balance = |key| disks.get(&map.owner(slot_of(key)))?.rows().visible(key, Timestamp::MAX, &hidden);
        let sum: i64 = (0..ACCOUNTS).filter_map(balance).sum();
        let filled = (0..ACCOUNTS).filter(|key| balance(*key).is_some()).count() as i64;
        if sum != filled * BALANCE {
            sim.violate(SnapshotIsolation, format!("{filled} accounts come to {sum} in the end"));
        }
    }
}
