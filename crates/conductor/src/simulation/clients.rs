//! Those who read and write: transfers that keep a sum, rows that come and go, snapshots, scans, bulk loads.

use super::history::Invariant::{ExactlyOnceVisible, NoStaleRead, SnapshotIsolation, Undisturbed};
use super::process::{LoadPass, Pin, SimPicture};
use super::rows::{Change, Key, Value, slot_of};
use super::shard::SimShard;
use super::sim::{LogRecord, Seat};
use super::truth::Pending;
use super::watch::missing_or_back;
use crate::MetaChange;
use evenkeel_model::{ShardId, Timestamp};
use evenkeel_rebalancer::migration::Access;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Accounts, whose balances keep their sum.
pub const ACCOUNTS: Key = 40;
/// What each has at first.
pub const BALANCE: i64 = 100;
/// Rows that come and go.
const GUESTS: std::ops::Range<Key> = 1_000..1_024;
/// How long a client waits for a lock, or for a slot that is being moved.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a reader goes by.
pub struct Snapshot {
    pub at: Timestamp,
    picture: Arc<SimPicture>,
    _pin: Pin,
}

/// What a commit writes to a shard.
type Share = (Arc<SimShard>, Vec<(Key, Value)>);

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    Conflict,
    GaveUp,
}

impl Seat<'_> {
    /// A client, until it is told to stop.
    pub fn client(&self) {
        self.sim.clients.set(self.sim.clients.get() + 1);
        while !self.sim.is_closing.get() {
            match self.sim.dice.below(100) {
                0..45 => self.transfer(),
                45..70 => self.guest(),
                70..82 => self.audit(),
                82..94 => self.scan(),
                94..96 => self.look_back(),
                96..98 => self.go_by_an_old_route(),
                _ => self.load(),
            }
            self.sleep_ms(1, 30);
        }
        self.sim.clients.set(self.sim.clients.get() - 1);
    }

    /// The newest timestamp and the picture, taken together.
    fn snapshot(&self) -> Snapshot {
        self.wait_for_picture();
        let at = self.sim.last_timestamp();
        Snapshot { at, picture: Arc::clone(&self.process.picture.borrow()), _pin: Pin::new(&self.process, at) }
    }

    /// Moves money between accounts, in a transaction that may be open for long.
    fn transfer(&self) {
        let dice = &self.sim.dice;
        let (from, to) = (dice.below(u64::from(ACCOUNTS)) as Key, dice.below(u64::from(ACCOUNTS)) as Key);
        let snapshot = self.snapshot();
        let Some((Some(a), Some(b))) = self.get(&snapshot, from).zip(self.get(&snapshot, to)) else { return };
        if from == to {
            return;
        }
        if dice.chance(100) {
            self.sleep_ms(1, 400);
        }
        let amount = dice.between(1, 9) as i64;
        self.commit(snapshot.at, &[(from, Some(a - amount)), (to, Some(b + amount))]);
    }

    /// Puts or deletes a row.
    fn guest(&self) {
        let dice = &self.sim.dice;
        let key = dice.between(u64::from(GUESTS.start), u64::from(GUESTS.end - 1)) as Key;
        let snapshot = self.snapshot();
        let Some(there) = self.get(&snapshot, key) else { return };
        let value = if there.is_some() && dice.chance(600) { None } else { Some(dice.below(1_000) as i64) };
        self.commit(snapshot.at, &[(key, value)]);
    }

    /// Reads every account at one moment.
    fn audit(&self) {
        let snapshot = self.snapshot();
        let mut sum = 0;
        for key in 0..ACCOUNTS {
            let Some(balance) = self.get(&snapshot, key) else { return };
            sum += balance.unwrap_or_default();
        }
        if sum != i64::from(ACCOUNTS) * BALANCE {
            self.sim.violate(SnapshotIsolation, format!("the accounts come to {sum} at {}", snapshot.at));
        }
    }

    /// Reads what was.
    fn look_back(&self) {
        let back = self.sim.dice.between(1, 1_500) as i64;
        let mut snapshot = self.snapshot();
        let at = Timestamp::from_millis(snapshot.at.millis() - back);
        if at <= self.sim.truth.borrow().collected {
            return;
        }
        snapshot = Snapshot { at, _pin: Pin::new(&self.process, at), ..snapshot };
        for _ in 0..8 {
            let key = self.sim.dice.below(u64::from(ACCOUNTS)) as Key;
            let guest = self.sim.dice.between(u64::from(GUESTS.start), u64::from(GUESTS.end - 1)) as Key;
            if self.get(&snapshot, key).is_none() || self.get(&snapshot, guest).is_none() {
                return;
            }
        }
    }

    /// Reads what is new where it was some time ago, as somebody does who has not heard: an answer is right, or there is none.
    fn go_by_an_old_route(&self) {
        let old = self.snapshot();
        self.sleep_ms(1, 60);
        let snapshot = self.snapshot();
        for key in 0..ACCOUNTS {
            let Some(shard) = self.shard_of(&old.picture, key) else { return };
            if self.wait_for_commit(&shard, key, snapshot.at, self.sim.now.get() + PATIENCE).is_none() {
                return;
            }
            if self.may_read(&shard, key, snapshot.at) == Access::Granted {
                let got = shard.rows().visible(key, snapshot.at, &self.sim.truth.borrow().hidden(snapshot.at));
                self.is_right(key, snapshot.at, got);
            }
        }
    }

    fn is_right(&self, key: Key, at: Timestamp, got: Value) {
        let due = self.sim.truth.borrow().read(key, at);
        if got != due {
            let what = format!("key {key} at {at}: {got:?}, not {due:?}");
            self.sim.violate(missing_or_back(due, got, NoStaleRead), what);
        }
    }

    /// One row as of a snapshot; nothing where the client gave up.
    fn get(&self, snapshot: &Snapshot, key: Key) -> Option<Value> {
        let mut picture = Arc::clone(&snapshot.picture);
        let deadline = self.sim.now.get() + PATIENCE;
        let got = loop {
            if self.sim.dice.chance(150) {
                self.call();
            }
            let seen = self.process.changed.rings();
            let shard = self.shard_of(&picture, key)?;
            self.wait_for_commit(&shard, key, snapshot.at, deadline)?;
            shard.note_access(key);
            let access = self.may_read(&shard, key, snapshot.at);
            if access == Access::Granted {
                let hidden = self.sim.truth.borrow().hidden(snapshot.at);
                break shard.rows().visible(key, snapshot.at, &hidden);
            }
            self.refused(&picture, key, snapshot.at, access);
            picture = self.newer(picture, seen, deadline)?;
        };
        self.is_right(key, snapshot.at, got);
        Some(got)
    }

    fn may_read(&self, shard: &SimShard, key: Key, at: Timestamp) -> Access {
        use super::mistakes::{Mistake, is_planted};
        if is_planted(Mistake::NoFence) {
            return Access::Granted;
        }
        shard.rows().ownership.may_read(slot_of(key), at)
    }

    fn shard_of(&self, picture: &SimPicture, key: Key) -> Option<Arc<SimShard>> {
        picture.shards.get(&picture.slots.owner(slot_of(key))).cloned()
    }

    /// A shard does not answer a reader: in fair weather that may never be, and nobody may lose what its picture shows.
    fn refused(&self, picture: &SimPicture, key: Key, at: Timestamp, access: Access) {
        let slot = slot_of(key);
        let is_owed = self.sim.watch.borrow().is_owed_an_answer(slot, picture.slots.epoch(), at);
        let what = || format!("a read of key {key} at {at} is refused ({access:?}), epoch {}", picture.slots.epoch());
        if access == Access::Moved && is_owed {
            self.sim.violate(ExactlyOnceVisible, what());
        } else if self.sim.weather.get().is_fair {
            self.sim.violate(Undisturbed, what());
        }
    }

    fn wait_for_commit(&self, shard: &Arc<SimShard>, key: Key, at: Timestamp, deadline: Duration) -> Option<()> {
        while let Some(holder) = shard.committing_below(key, at) {
            if self.sim.now.get() >= deadline {
                return None;
            }
            let shard = Arc::clone(shard);
            self.wait(Some(deadline), move || shard.locked_by(key) != Some(holder.commit));
        }
        Some(())
    }

    /// The picture after the next change; nothing at the deadline.
    fn newer(&self, old: Arc<SimPicture>, seen: u64, deadline: Duration) -> Option<Arc<SimPicture>> {
        let picture = self.current_picture();
        if Arc::ptr_eq(&picture, &old) {
            let changed = self.process.changed.clone();
            self.wait(Some(deadline), move || changed.rings() != seen);
        }
        (self.sim.now.get() < deadline).then(|| self.current_picture())
    }

    /// Every row at one moment: each shard for the slots that one picture gives it.
    fn scan(&self) {
        let snapshot = self.snapshot();
        let mut got: BTreeMap<Key, i64> = BTreeMap::new();
        for shard in snapshot.picture.shards.values() {
            let slots = snapshot.picture.slots.slots_of(shard.id);
            while shard.is_committing_below(snapshot.at) {
                let (shard, at) = (Arc::clone(shard), snapshot.at);
                self.wait(None, move || !shard.is_committing_below(at));
            }
            let keys: BTreeSet<Key> = shard.rows().rows.keys().copied().chain(self.sim.truth.borrow().keys()).collect();
            for (nth, key) in keys.into_iter().filter(|key| slots.contains(slot_of(*key))).enumerate() {
                if nth % 16 == 0 {
                    self.call();
                }
                let access = self.may_read(shard, key, snapshot.at);
                if access != Access::Granted {
                    self.refused(&snapshot.picture, key, snapshot.at, access);
                    return;
                }
                let hidden = self.sim.truth.borrow().hidden(snapshot.at);
                if let Some(value) = shard.rows().visible(key, snapshot.at, &hidden) {
                    got.insert(key, value);
                }
            }
        }
        let due = self.sim.truth.borrow().scan(snapshot.at);
        if got != due {
            let differ = |key: &&Key| got.get(*key) != due.get(*key);
            let key = due.keys().chain(got.keys()).find(differ).copied().unwrap_or_default();
            let (due, got) = (due.get(&key).copied(), got.get(&key).copied());
            let what = format!("a scan at {} has {got:?} of key {key}, not {due:?}", snapshot.at);
            self.sim.violate(missing_or_back(due, got, ExactlyOnceVisible), what);
        }
    }

    /// Commits writes over a snapshot at `start`.
    pub fn commit(&self, start: Timestamp, writes: &[(Key, Value)]) -> Outcome {
        let deadline = self.sim.now.get() + PATIENCE;
        let commit = self.process.commits.get() + 1;
        self.process.commits.set(commit);
        loop {
            let seen = self.process.changed.rings();
            let picture = self.current_picture();
            let mut by_shard: BTreeMap<ShardId, Vec<(Key, Value)>> = BTreeMap::new();
            for (key, value) in writes {
                by_shard.entry(picture.slots.owner(slot_of(*key))).or_default().push((*key, *value));
            }
            let held: Vec<Share> =
                by_shard.into_iter().map(|(id, writes)| (Arc::clone(&picture.shards[&id]), writes)).collect();
            if !self.lock(&held, commit, deadline) {
                return Outcome::GaveUp;
            }
            if self.sim.dice.chance(300) {
                self.call();
            }
            let granted =
                |(shard, writes): &Share| writes.iter().all(|(key, _)| shard.may_write(*key) == Access::Granted);
            if held.iter().all(granted) && Arc::ptr_eq(&self.current_picture(), &picture) {
                let outcome = self.commit_locked(start, commit, &held);
                held.iter().for_each(|(shard, _)| shard.unlock(commit));
                return outcome;
            }
            held.iter().for_each(|(shard, _)| shard.unlock(commit));
            if Arc::ptr_eq(&self.current_picture(), &picture) {
                let changed = self.process.changed.clone();
                self.wait(Some(deadline), move || changed.rings() != seen);
            }
            if self.sim.now.get() >= deadline {
                if self.sim.weather.get().is_fair {
                    self.sim.violate(Undisturbed, format!("a commit of {writes:?} gave up"));
                }
                return Outcome::GaveUp;
            }
        }
    }

    fn lock(&self, held: &[Share], commit: u64, deadline: Duration) -> bool {
        for (shard, writes) in held {
            let mut keys: Vec<Key> = writes.iter().map(|(key, _)| *key).collect();
            keys.sort_unstable();
            for key in keys {
                while let Some(other) = shard.locked_by(key) {
                    if self.sim.now.get() >= deadline {
                        held.iter().for_each(|(shard, _)| shard.unlock(commit));
                        return false;
                    }
                    let shard = Arc::clone(shard);
                    self.wait(Some(deadline), move || shard.locked_by(key) != Some(other));
                }
                shard.lock(key, commit);
            }
        }
        true
    }

    fn commit_locked(&self, start: Timestamp, commit: u64, held: &[Share]) -> Outcome {
        let conflict = |(shard, writes): &Share| {
            writes.iter().any(|(key, _)| shard.rows().newest(*key).is_some_and(|(at, _)| at > start))
        };
        if held.iter().any(conflict) {
            return Outcome::Conflict;
        }
        match held {
            [(shard, writes)] => self.commit_one_phase(start, commit, shard, writes),
            _ => self.commit_two_phases(start, commit, held),
        }
        Outcome::Committed
    }

    fn take_timestamp(&self, start: Timestamp, commit: u64, held: &[Share]) -> Timestamp {
        let at = self.sim.next_timestamp();
        held.iter().for_each(|(shard, _)| shard.set_timestamp(commit, at));
        let writes = held.iter().flat_map(|(_, writes)| writes.iter().copied()).collect();
        self.sim.truth.borrow_mut().begin(at, Pending { start, writes });
        at
    }

    fn commit_one_phase(&self, start: Timestamp, commit: u64, shard: &Arc<SimShard>, writes: &[(Key, Value)]) {
        let at = self.take_timestamp(start, commit, &[(Arc::clone(shard), writes.to_vec())]);
        if self.sim.dice.chance(300) {
            self.call();
        }
        writes.iter().for_each(|(key, _)| shard.note_access(*key));
        shard.apply(Change::Commit { at, writes: writes.to_vec() });
        if self.sim.dice.chance(200) {
            self.sleep_ms(1, 10);
        }
        self.call();
        // The commit log is synced: from here the commit is durable, in its shard or not.
        self.sim.log.borrow_mut().push(LogRecord { shard: shard.id, at, writes: writes.to_vec() });
        let known = self.sim.truth.borrow_mut().acknowledge(at);
        self.sim.check(known);
        self.sim.say(|| format!("{writes:?} is committed at {at} in shard {}", shard.id));
    }

    fn commit_two_phases(&self, start: Timestamp, commit: u64, held: &[Share]) {
        let transaction = self.sim.next_timestamp().0;
        let primary = held[0].0.id.0;
        for (shard, writes) in held {
            writes.iter().for_each(|(key, _)| shard.note_access(*key));
            shard.apply_synced(Change::Prewrite { transaction, primary, writes: writes.clone() });
            self.call();
        }
        let at = self.take_timestamp(start, commit, held);
        if self.sim.dice.chance(300) {
            self.call();
        }
        for (shard, _) in held {
            let record = shard.id.0 == primary;
            self.apply(shard, Change::Resolve { transaction, commit: Some(at), record }, record);
            self.call();
        }
        let known = self.sim.truth.borrow_mut().acknowledge(at);
        self.sim.check(known);
        self.sim.say(|| {
            let writes: Vec<_> = held.iter().map(|(shard, writes)| (shard.id.0, writes)).collect();
            format!("{writes:?} is committed at {at}")
        });
        held.iter().for_each(|(shard, _)| shard.sync());
        held[0].0.apply(Change::Forget { transaction });
    }

    /// New rows through files, that show all at once.
    fn load(&self) {
        while self.process.cutovers.get() > 0 {
            let process = Rc::clone(&self.process);
            self.wait(None, move || process.cutovers.get() == 0);
        }
        self.process.loads.set(self.process.loads.get() + 1);
        let _pass = LoadPass(Rc::clone(&self.process));
        let picture = self.current_picture();
        let first = self.sim.next_loaded_key.get();
        let rows: Vec<(Key, i64)> = (first..first + 6).map(|key| (key, i64::from(key))).collect();
        self.sim.next_loaded_key.set(first + 6);
        let load = self.sim.next_timestamp();
        self.sim.truth.borrow_mut().loads.insert(load, None);
        self.sim.say(|| format!("a load of keys {first} to {} begins at {load}", first + 5));
        for shard in picture.shards.values() {
            let slots = picture.slots.slots_of(shard.id);
            let rows: Vec<_> = rows.iter().filter(|(key, _)| slots.contains(slot_of(*key))).copied().collect();
            shard.apply_synced(Change::BeginLoad { load, rows });
            self.call();
            shard.apply_synced(Change::OweLoad { load });
            self.call();
        }
        let mut change = MetaChange::default();
        change.put(&format!("load/{}", load.0), &true).expect("a load's record");
        self.sim.land(&change);
        let commit = self.sim.next_timestamp();
        self.sim.truth.borrow_mut().show_load(load, commit, &rows);
        self.sim.say(|| format!("the load of {load} shows since {commit}"));
        for shard in picture.shards.values() {
            self.call();
            shard.apply(Change::EndLoad { load, is_committed: true });
        }
    }
}
