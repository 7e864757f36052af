//! A simulated shard: rows in memory, a log of which a crash keeps what was synced and perhaps a little more, and who is
//! committing which keys.

use super::dice::Dice;
use super::rows::{Change, Key, Rows, slot_of};
use evenkeel_model::{ShardId, Slot, SlotSet, Timestamp};
use evenkeel_rebalancer::migration::Access;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;

/// A commit on its way: its number, and its timestamp once it has one.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    pub commit: u64,
    pub at: Option<Timestamp>,
}

#[derive(Default)]
struct Log {
    synced: Rows,
    tail: Vec<Change>,
}

/// A shard's store, and what its process knows of it.
pub struct SimShard {
    pub id: ShardId,
    live: Mutex<Rows>,
    log: Mutex<Log>,
    held: Mutex<SlotSet>,
    locks: Mutex<BTreeMap<Key, InFlight>>,
    accesses: Mutex<BTreeMap<Slot, u64>>,
}

impl SimShard {
    pub fn new(id: ShardId, rows: Rows) -> Self {
        let log = Mutex::new(Log { synced: rows.clone(), tail: Vec::new() });
        let (held, locks, accesses) = Default::default();
        Self { id, live: Mutex::new(rows), log, held, locks, accesses }
    }

    /// What it stores now.
    pub fn rows(&self) -> MutexGuard<'_, Rows> {
        self.live.lock()
    }

    /// Makes a change that a crash may take back.
    pub fn apply(&self, change: Change) {
        self.live.lock().apply(&change);
        self.log.lock().tail.push(change);
    }

    /// Makes a change durable, and everything before it.
    pub fn apply_synced(&self, change: Change) {
        self.apply(change);
        self.sync();
    }

    pub fn sync(&self) {
        let mut log = self.log.lock();
        let tail = std::mem::take(&mut log.tail);
        tail.iter().for_each(|change| log.synced.apply(change));
    }

    /// The process is gone: of what was not synced, only so much of the beginning is left as chance has it.
    pub fn crash(&self, dice: &Dice) {
        let mut log = self.log.lock();
        let tail = std::mem::take(&mut log.tail);
        let kept = dice.below(tail.len() as u64 + 1) as usize;
        tail[..kept].iter().for_each(|change| log.synced.apply(change));
        *self.live.lock() = log.synced.clone();
        *self.held.lock() = SlotSet::new();
        self.locks.lock().clear();
        self.accesses.lock().clear();
    }

    pub fn hold(&self, slots: &SlotSet) {
        let mut held = self.held.lock();
        *held = held.union(slots);
    }

    pub fn release_hold(&self, slots: &SlotSet) {
        let mut held = self.held.lock();
        *held = held.difference(slots);
    }

    pub fn held(&self) -> SlotSet {
        self.held.lock().clone()
    }

    /// Whether commits of keys in these slots are on their way.
    pub fn is_committing(&self, slots: &SlotSet) -> bool {
        self.locks.lock().keys().any(|key| slots.contains(slot_of(*key)))
    }

    /// Whoever has a key, and is to be waited for at this timestamp.
    pub fn committing_below(&self, key: Key, at: Timestamp) -> Option<InFlight> {
        self.locks.lock().get(&key).copied().filter(|holder| holder.at.is_some_and(|commit| commit <= at))
    }

    /// Whether anybody is to be waited for at this timestamp.
    pub fn is_committing_below(&self, at: Timestamp) -> bool {
        self.locks.lock().values().any(|holder| holder.at.is_some_and(|commit| commit <= at))
    }

    pub fn locked_by(&self, key: Key) -> Option<u64> {
        self.locks.lock().get(&key).map(|holder| holder.commit)
    }

    pub fn has_locks(&self) -> bool {
        !self.locks.lock().is_empty()
    }

    pub fn lock(&self, key: Key, commit: u64) {
        self.locks.lock().insert(key, InFlight { commit, at: None });
    }

    pub fn set_timestamp(&self, commit: u64, at: Timestamp) {
        self.locks.lock().values_mut().filter(|lock| lock.commit == commit).for_each(|lock| lock.at = Some(at));
    }

    pub fn unlock(&self, commit: u64) {
        self.locks.lock().retain(|_, lock| lock.commit != commit);
    }

    /// Whether a registered write to a key may be applied.
    pub fn may_write(&self, key: Key) -> Access {
        let slot = slot_of(key);
        if self.held.lock().contains(slot) { Access::Wait } else { self.live.lock().ownership.may_write(slot) }
    }

    pub fn note_access(&self, key: Key) {
        *self.accesses.lock().entry(slot_of(key)).or_default() += 1;
    }

    pub fn accesses(&self) -> BTreeMap<Slot, u64> {
        self.accesses.lock().clone()
    }
}
