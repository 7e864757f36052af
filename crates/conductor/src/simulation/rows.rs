//! What a simulated shard stores, as a value, and the changes of it: each is one atomic batch.

use evenkeel_model::{MigrationId, Slot, SlotSet, Timestamp};
use evenkeel_rebalancer::migration::{Effect, Order, Ownership, Part, ShardCommand, Tally};
use std::collections::{BTreeMap, BTreeSet};

/// A row's key.
pub type Key = u32;
/// A row's value; `None` is a deletion.
pub type Value = Option<i64>;

/// Slots of the simulation.
pub const SLOT_BITS: u32 = 5;

/// Keys fall into slots as hashes do.
pub fn slot_of(key: Key) -> Slot {
    Slot((key.wrapping_mul(0x9e37_79b1)) >> (32 - SLOT_BITS))
}

/// What a row is counted as. Large, so that a few rows are worth a balancer's while.
pub fn size_of(key: Key, value: i64) -> i64 {
    3_000 + i64::from(key % 7) * 500 + (value % 97).abs()
}

/// One version of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub key: Key,
    pub at: Timestamp,
    pub value: Value,
}

impl Version {
    /// Of key, timestamp and value.
    pub fn digest(&self) -> u64 {
        let mix = |a: u64, b: u64| (a ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        mix(mix(u64::from(self.key), self.at.0), self.value.map_or(1, |value| value as u64 ^ 2))
    }
}

/// Rows and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub rows: i64,
    pub bytes: i64,
}

impl Count {
    pub fn of(key: Key, value: Value) -> Self {
        value.map_or_else(Self::default, |value| Self { rows: 1, bytes: size_of(key, value) })
    }

    pub fn add(&mut self, other: Self, sign: i64) {
        self.rows += sign * other.rows;
        self.bytes += sign * other.bytes;
    }
}

/// A change that is owed to a migration's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Row(Version),
    /// The rows of a bulk load, by its timestamp.
    Load(Timestamp),
}

/// A write of a transaction over several shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    pub transaction: u64,
    pub primary: u32,
    pub value: Value,
}

/// One atomic change.
#[derive(Clone, Debug)]
pub enum Change {
    Commit {
        at: Timestamp,
        writes: Vec<(Key, Value)>,
    },
    Prewrite {
        transaction: u64,
        primary: u32,
        writes: Vec<(Key, Value)>,
    },
    /// `record`: at the primary, what decides.
    Resolve {
        transaction: u64,
        commit: Option<Timestamp>,
        record: bool,
    },
    Forget {
        transaction: u64,
    },
    BeginLoad {
        load: Timestamp,
        rows: Vec<(Key, i64)>,
    },
    OweLoad {
        load: Timestamp,
    },
    EndLoad {
        load: Timestamp,
        is_committed: bool,
    },
    Order(ShardCommand),
    Receive {
        versions: Vec<Version>,
        counts_twice: bool,
    },
    /// Files: stored, and not counted.
    Ingest {
        versions: Vec<Version>,
    },
    Recount {
        slots: SlotSet,
    },
    ForgetOwed {
        migration: MigrationId,
        upto: u64,
    },
    Collect {
        safe: Timestamp,
    },
}

/// Everything that a shard stores.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub ownership: Ownership,
    pub rows: BTreeMap<Key, BTreeMap<Timestamp, Value>>,
    pub outbox: BTreeMap<MigrationId, BTreeMap<u64, Entry>>,
    next_entry: u64,
    pub counters: BTreeMap<Slot, Count>,
    pub incoming: BTreeMap<Slot, Count>,
    pub intents: BTreeMap<Key, Intent>,
    /// Transactions that are committed though not everywhere.
    pub records: BTreeMap<u64, Timestamp>,
    /// Bulk loads that have begun here.
    pub loads: BTreeSet<Timestamp>,
}

impl Rows {
    /// Nothing yet, in slots that are owned so.
    pub fn new(ownership: Ownership) -> Self {
        Self { ownership, ..Self::default() }
    }

    pub fn newest(&self, key: Key) -> Option<(Timestamp, Value)> {
        self.rows.get(&key)?.last_key_value().map(|(at, value)| (*at, *value))
    }

    /// What a reader sees who hides these loads.
    pub fn visible(&self, key: Key, at: Timestamp, hidden: &BTreeSet<Timestamp>) -> Value {
        let versions = self.rows.get(&key)?.range(..=at).rev();
        versions.filter(|(version, _)| !hidden.contains(version)).map(|(_, value)| *value).next()?
    }

    fn apply_row(&mut self, version: Version) {
        self.put(version, false);
        self.owe(slot_of(version.key), Entry::Row(version));
    }

    fn owe(&mut self, slot: Slot, entry: Entry) {
        if let Some(migration) = self.ownership.mirrors(slot) {
            self.outbox.entry(migration).or_default().insert(self.next_entry, entry);
            self.next_entry += 1;
        }
    }

    /// Puts a version where it belongs among the others, and counts it.
    fn put(&mut self, Version { key, at, value }: Version, is_received: bool) {
        let before = self.newest(key).map_or_else(Count::default, |(_, value)| Count::of(key, value));
        let versions = self.rows.entry(key).or_default();
        let is_taken_back = value.is_none() && versions.get(&at).is_some_and(Option::is_some);
        if versions.contains_key(&at) && !is_taken_back {
            return;
        }
        versions.insert(at, value);
        let after = self.newest(key).map_or_else(Count::default, |(_, value)| Count::of(key, value));
        let counters = if is_received { &mut self.incoming } else { &mut self.counters };
        let count = counters.entry(slot_of(key)).or_default();
        count.add(after, 1);
        count.add(before, -1);
    }

    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Commit { at, writes } => {
                writes.iter().for_each(|(key, value)| self.apply_row(Version { key: *key, at: *at, value: *value }));
            }
            Change::Prewrite { transaction, primary, writes } => {
                for (key, value) in writes {
                    let intent = Intent { transaction: *transaction, primary: *primary, value: *value };
                    self.intents.insert(*key, intent);
                }
            }
            Change::Resolve { transaction, commit, record } => self.resolve(*transaction, *commit, *record),
            Change::Forget { transaction } => drop(self.records.remove(transaction)),
            Change::BeginLoad { load, rows } => {
                self.loads.insert(*load);
                rows.iter().for_each(|(key, value)| {
                    self.put(Version { key: *key, at: *load, value: Some(*value) }, false);
                });
            }
            Change::OweLoad { load } => self.owe_load(*load),
            Change::EndLoad { load, is_committed } => self.end_load(*load, *is_committed),
            Change::Order(command) => self.obey(command),
            Change::Receive { versions, counts_twice } => {
                for version in versions {
                    self.put(*version, true);
                    if *counts_twice {
                        self.incoming.entry(slot_of(version.key)).or_default().add(Count { rows: 1, bytes: 1 }, 1);
                    }
                }
            }
            Change::Ingest { versions } => versions.iter().for_each(|version| {
                self.rows.entry(version.key).or_default().insert(version.at, version.value);
            }),
            Change::Recount { slots } => self.recount(slots),
            Change::ForgetOwed { migration, upto } => {
                if let Some(owed) = self.outbox.get_mut(migration) {
                    *owed = owed.split_off(&(upto + 1));
                }
            }
            Change::Collect { safe } => self.collect(*safe),
        }
    }

    fn resolve(&mut self, transaction: u64, commit: Option<Timestamp>, record: bool) {
        let keys: Vec<_> =
            self.intents.iter().filter(|(_, i)| i.transaction == transaction).map(|(k, i)| (*k, i.value)).collect();
        for (key, value) in keys {
            self.intents.remove(&key);
            if let Some(at) = commit {
                self.apply_row(Version { key, at, value });
            }
        }
        if let (true, Some(at)) = (record, commit) {
            self.records.insert(transaction, at);
        }
    }

    fn owe_load(&mut self, load: Timestamp) {
        let slots: BTreeSet<_> = self.of_load(load).map(|version| slot_of(version.key)).collect();
        let migrations: BTreeMap<_, _> =
            slots.into_iter().filter_map(|slot| Some((self.ownership.mirrors(slot)?, slot))).collect();
        migrations.into_values().for_each(|slot| self.owe(slot, Entry::Load(load)));
    }

    /// The rows that a load has brought.
    pub fn of_load(&self, load: Timestamp) -> impl Iterator<Item = Version> + '_ {
        let of = move |(key, versions): (&Key, &BTreeMap<Timestamp, Value>)| {
            let value = *versions.get(&load)?;
            value.is_some().then_some(Version { key: *key, at: load, value })
        };
        self.rows.iter().filter_map(of)
    }

    fn end_load(&mut self, load: Timestamp, is_committed: bool) {
        self.loads.remove(&load);
        if !is_committed {
            // What is being received, its source takes back.
            let is_own = |version: &Version| self.ownership.owned().contains(slot_of(version.key));
            let taken_back: Vec<_> = self.of_load(load).filter(is_own).collect();
            taken_back.into_iter().for_each(|version| self.apply_row(Version { value: None, ..version }));
        }
    }

    fn obey(&mut self, command: &ShardCommand) {
        let Ok(accepted) = self.ownership.accept(command) else { return };
        let begins = self.ownership.role(command.stamp.migration).is_none();
        let slots = &command.slots;
        match accepted.effect {
            Some(Effect::DeleteRows(slots)) => {
                self.rows.retain(|key, _| !slots.contains(slot_of(*key)));
                self.incoming.retain(|slot, _| !slots.contains(*slot));
            }
            Some(Effect::ForgetOutbox(migration)) => drop(self.outbox.remove(&migration)),
            None => {}
        }
        match command.order {
            Order::Activate { .. } if !begins => {
                let gained = self.incoming.extract_if(.., |slot, _| slots.contains(*slot));
                self.counters.extend(gained);
            }
            Order::Release { .. } if !begins => self.counters.retain(|slot, _| !slots.contains(*slot)),
            _ => {}
        }
        self.ownership = accepted.ownership;
    }

    fn recount(&mut self, slots: &SlotSet) {
        self.incoming.retain(|slot, _| !slots.contains(*slot));
        let counted = self.full_count(slots);
        self.incoming.extend(counted);
    }

    /// What a full count of these slots comes to.
    pub fn full_count(&self, slots: &SlotSet) -> BTreeMap<Slot, Count> {
        let mut counts: BTreeMap<Slot, Count> = BTreeMap::new();
        for key in self.rows.keys().filter(|key| slots.contains(slot_of(**key))) {
            if let Some((_, value)) = self.newest(*key) {
                counts.entry(slot_of(*key)).or_default().add(Count::of(*key, value), 1);
            }
        }
        counts
    }

    fn collect(&mut self, safe: Timestamp) {
        let ownership = &self.ownership;
        for (key, versions) in self.rows.iter_mut().filter(|(key, _)| ownership.may_collect(slot_of(**key))) {
            let kept = versions.range(..=safe).next_back().map(|(at, value)| (*at, *value));
            let Some((at, value)) = kept else { continue };
            let is_loading = self.loads.contains(&at) || self.intents.contains_key(key);
            if !is_loading {
                versions.retain(|version, _| *version > at || (*version == at && value.is_some()));
            }
        }
        self.rows.retain(|_, versions| !versions.is_empty());
    }

    /// Rows and bytes of these slots by the counters.
    pub fn count_of(&self, slots: &SlotSet) -> Tally {
        let first = slots.ranges().first().map_or(Slot(0), |(first, _)| *first);
        let receives = self.ownership.roles().iter().any(|r| r.part == Part::Incoming && r.slots.contains(first));
        let counters = if receives { &self.incoming } else { &self.counters };
        let mut sum = Count::default();
        counters.iter().filter(|(slot, _)| slots.contains(**slot)).for_each(|(_, count)| sum.add(*count, 1));
        Tally { rows: sum.rows.max(0) as u64, bytes: sum.bytes.max(0) as u64, digest: 0 }
    }

    pub fn tally(&self, slots: &SlotSet, at: Timestamp, hidden: &BTreeSet<Timestamp>) -> Tally {
        let mut tally = Tally::default();
        for key in self.rows.keys().filter(|key| slots.contains(slot_of(**key))) {
            if let Some(value) = self.visible(*key, at, hidden) {
                tally.rows += 1;
                tally.bytes += size_of(*key, value) as u64;
                let row = Version { key: *key, at: Timestamp::ZERO, value: Some(value) };
                tally.digest = tally.digest.wrapping_add(row.digest());
            }
        }
        tally
    }

    /// Every version in these slots.
    pub fn versions(&self, slots: &SlotSet) -> Vec<Version> {
        let in_slots = self.rows.iter().filter(|(key, _)| slots.contains(slot_of(**key)));
        let of = |(key, versions): (&Key, &BTreeMap<Timestamp, Value>)| {
            let key = *key;
            versions.iter().map(move |(at, value)| Version { key, at: *at, value: *value }).collect::<Vec<_>>()
        };
        in_slots.flat_map(of).collect()
    }
}
