//! What outlives the process: disks, time, chance, and what is true; and how an actor gives the stage away.

use super::dice::Dice;
use super::history::{History, Invariant, Violation};
use super::process::Process;
use super::rows::{Change, Key, Value, Version};
use super::shard::SimShard;
use super::stage::{Hand, Park};
use super::truth::Truth;
use super::watch::Watch;
use super::weather::{self, Weather};
use crate::MetaChange;
use evenkeel_model::{Error, Settings, ShardId, SlotMap, SqlState, Timestamp};
use evenkeel_rebalancer::migration::{ShardCommand, Stamp};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// When the simulation begins, in milliseconds since 1970.
const BEGINS_MS: i64 = 1_700_000_000_000;

/// A commit that is durable in the commit log, and in its shard perhaps not yet.
#[derive(Clone)]
pub struct LogRecord {
    pub shard: ShardId,
    pub at: Timestamp,
    pub writes: Vec<(Key, Value)>,
}

/// What was sent to a shard once, and may arrive again.
#[derive(Clone)]
pub enum Letter {
    Order(ShardCommand),
    Rows(Stamp, Vec<Version>),
}

/// What an actor does.
pub type Play = Box<dyn FnOnce(&Seat<'_>)>;

pub struct Sim {
    pub dice: Dice,
    pub now: Cell<Duration>,
    pub weather: Cell<Weather>,
    pub settings: RefCell<Arc<Settings>>,
    pub meta: RefCell<BTreeMap<String, Vec<u8>>>,
    pub away_until: Cell<Duration>,
    pub disks: RefCell<BTreeMap<ShardId, Arc<SimShard>>>,
    pub log: RefCell<Vec<LogRecord>>,
    pub issued: Cell<u64>,
    pub truth: RefCell<Truth>,
    pub watch: RefCell<Watch>,
    pub post: RefCell<Vec<(ShardId, Letter)>>,
    pub entering: RefCell<Vec<(String, Play)>>,
    pub violation: RefCell<Option<Violation>>,
    pub history: RefCell<History>,
    pub actor: RefCell<String>,
    pub process: RefCell<Rc<Process>>,
    /// The process ends here and now.
    pub is_crashing: Cell<bool>,
    /// Nothing goes wrong any more, and what was begun comes to its end.
    pub is_settling: Cell<bool>,
    /// Clients finish what they are at.
    pub is_closing: Cell<bool>,
    pub clients: Cell<usize>,
    pub next_loaded_key: Cell<Key>,
}

impl Sim {
    pub fn new(seed: u64, slots: &SlotMap, disks: BTreeMap<ShardId, Arc<SimShard>>, history: History) -> Rc<Self> {
        let dice = Dice::new(seed);
        let weather = Weather::of(&dice);
        let settings = weather::settings(&dice, weather.is_fair);
        Rc::new(Self {
            now: Cell::new(Duration::ZERO),
            weather: Cell::new(weather),
            settings: RefCell::new(Arc::new(settings)),
            meta: RefCell::default(),
            away_until: Cell::new(Duration::ZERO),
            log: RefCell::default(),
            issued: Cell::new(Timestamp::from_millis(BEGINS_MS).0),
            truth: RefCell::default(),
            watch: RefCell::default(),
            post: RefCell::default(),
            entering: RefCell::default(),
            violation: RefCell::default(),
            history: RefCell::new(history),
            actor: RefCell::default(),
            process: RefCell::new(Process::new(0, slots.clone(), BTreeMap::new())),
            is_crashing: Cell::new(false),
            is_settling: Cell::new(false),
            is_closing: Cell::new(false),
            clients: Cell::new(0),
            next_loaded_key: Cell::new(10_000),
            disks: RefCell::new(disks),
            dice,
        })
    }

    pub fn now_ms(&self) -> i64 {
        BEGINS_MS + self.now.get().as_millis() as i64
    }

    pub fn next_timestamp(&self) -> Timestamp {
        let next = (self.issued.get() + 1).max(Timestamp::from_millis(self.now_ms()).0);
        self.issued.set(next);
        Timestamp(next)
    }

    /// The newest that was issued.
    pub fn last_timestamp(&self) -> Timestamp {
        Timestamp(self.issued.get())
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        let mut history = self.history.borrow_mut();
        if history.is_kept {
            history.note(self.now.get(), &self.actor.borrow(), what());
        }
    }

    /// The first violation is the one that counts.
    pub fn violate(&self, invariant: Invariant, what: String) {
        self.say(|| format!("BROKEN {}: {what}", invariant.name()));
        self.violation.borrow_mut().get_or_insert(Violation { invariant, what });
    }

    pub fn check(&self, found: Result<(), Violation>) {
        if let Err(Violation { invariant, what }) = found {
            self.violate(invariant, what);
        }
    }

    pub fn enter(&self, name: impl Into<String>, play: impl FnOnce(&Seat<'_>) + 'static) {
        self.entering.borrow_mut().push((name.into(), Box::new(play)));
    }

    pub fn slot_map(&self) -> SlotMap {
        let meta = self.meta.borrow();
        serde_json::from_slice(&meta["slots"]).expect("a slot map")
    }

    /// A change of the meta store happens.
    pub fn land(&self, change: &MetaChange) {
        let before = self.meta.borrow().clone();
        for (key, value) in &change.keys {
            match value {
                Some(json) => drop(self.meta.borrow_mut().insert(key.clone(), json.clone())),
                None => drop(self.meta.borrow_mut().remove(key)),
            }
        }
        for (key, value) in &change.keys {
            self.watch.borrow_mut().on_key(self, key, before.get(key), value.as_ref());
        }
    }

    /// Every shard that is on a disk.
    pub fn shards(&self) -> Vec<Arc<SimShard>> {
        self.disks.borrow().values().cloned().collect()
    }
}

/// An actor's place on the stage.
pub struct Seat<'h> {
    pub sim: Rc<Sim>,
    pub process: Rc<Process>,
    pub hand: &'h Hand,
}

impl Seat<'_> {
    pub fn wait(&self, until: Option<Duration>, ready: impl Fn() -> bool + 'static) {
        assert!(!self.process.is_busy(), "nobody waits with the conductor's state in hand");
        self.hand.suspend(Park { until, ready: Some(Box::new(ready)) });
    }

    pub fn sleep(&self, time: Duration) {
        assert!(!self.process.is_busy(), "nobody sleeps with the conductor's state in hand");
        self.hand.suspend(Park { until: Some(self.sim.now.get() + time), ready: None });
    }

    pub fn sleep_ms(&self, least: u64, most: u64) {
        self.sleep(Duration::from_micros(self.sim.dice.between(least * 1_000, most * 1_000)));
    }

    /// A call on its way: somewhere else things go on.
    pub fn call(&self) {
        let slow = self.sim.dice.chance(self.sim.weather.get().slow_calls);
        self.sleep(Duration::from_micros(self.sim.dice.between(2, 250) * if slow { 100 } else { 1 }));
    }

    /// The process ends.
    pub fn die(&self) -> ! {
        self.sim.is_crashing.set(true);
        loop {
            self.hand.suspend(Park::default());
        }
    }

    /// Whether a call fails, and whether what it asked for is done all the same.
    pub fn lost(&self, often: u64) -> Option<bool> {
        self.sim.dice.chance(often).then(|| self.sim.dice.chance(500))
    }

    /// Applies a change that may be in the log of many.
    pub fn apply(&self, shard: &SimShard, change: Change, is_synced: bool) {
        shard.apply(change);
        if is_synced {
            shard.sync();
        }
    }
}

/// 58030: what a simulated disk or wire says.
pub fn failed(what: &str) -> Error {
    Error::new(SqlState::IoError, what)
}
