//! A shard's part in migrations: whose slots it has, what it owes to a target, what it takes in from a source.
//!
//! WHAT MAY NEVER HAPPEN: a change to a slot that is moving away is written and not owed; a late command changes
//! anything; received rows count, or are seen, before the slots are this shard's; counters of a slot are in two shards.
//!
//! [`Ownership`] judges every order. What follows from one (the new ownership, rows or owed changes that go, counters
//! that change sides) is one synced batch, written while no other change is ([`Shard::order`]). So a change that is
//! staged after `BeginOutgoing` has gone through is in the outbox, in its own batch, and one before is in the snapshot
//! that the copy reads.
//!
//! Layers: this module (orders, holds), `outbox` (what is owed), `versions` (what is sent and taken in), `tally`
//! (what both sides compare).

pub(crate) mod outbox;
mod tally;
mod versions;

pub use outbox::Owed;
pub use versions::{Family, FileOptions, Sent, SortedVersions, Version};

use crate::codec::key::{row_key, slot_of, table_of, table_range};
use crate::counters::{Differences, SlotCount};
use crate::failure::storage_error;
use crate::shard::{COUNTER, INCOMING, Shard, counter_key};
use evenkeel_model::{Epoch, Error, MigrationId, Result, Slot, SlotBits, SlotSet, SqlState, TableId, Timestamp};
use evenkeel_rebalancer::migration::{Access, Effect, Order, Ownership, Part, Refusal, ShardCommand};
use rocksdb::{BoundColumnFamily, ReadOptions, WriteBatch, WriteOptions};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Ranges that are looked into before they are deleted.
const LOOKED_INTO_MAX: usize = 16;

/// Where the ownership stands in `state`.
const OWNERSHIP: &[u8] = b"o";

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum OrderError {
    /// The ownership forbids it.
    Refused(Refusal),
    /// The store failed.
    Failed(Error),
}

impl From<rocksdb::Error> for OrderError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Failed(storage_error(&error))
    }
}

/// The keys of some slots of a table, one range for each run of slots.
pub(crate) fn slot_ranges(table: TableId, slots: &SlotSet, bits: SlotBits) -> impl Iterator<Item = Range<Vec<u8>>> {
    slots.ranges().iter().map(move |(first, last)| {
        let start = row_key(table, bits.first_token(*first), &[]);
        let after = bits.last_token(*last).0.checked_add(1);
        let end = after.map_or_else(|| table_range(table).end, |t| row_key(table, evenkeel_model::Token(t), &[]));
        start..end
    })
}

impl Shard {
    /// Reads what the last process left.
    pub(crate) fn load_moves(&self) -> Result<()> {
        if let Some(json) = self.db().get_pinned_cf(&self.state(), OWNERSHIP).map_err(|error| storage_error(&error))? {
            let ownership: Ownership = serde_json::from_slice(&json).map_err(|error| {
                Error::new(SqlState::DataCorrupted, format!("what shard {} owns is damaged", self.id()))
                    .with_detail(error.to_string())
            })?;
            *self.ownership.write() = Arc::new(ownership);
        }
        self.load_outbox()?;
        self.note_moving();
        Ok(())
    }

    fn note_moving(&self) {
        let moving = !self.ownership.read().roles().is_empty() || !self.held.lock().is_empty();
        self.moving.store(moving, Ordering::SeqCst);
    }

    /// Whose slots it has, and its parts in migrations.
    pub fn ownership(&self) -> Arc<Ownership> {
        Arc::clone(&self.ownership.read())
    }

    /// Owns these slots from the beginning, unless it knows better already.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn claim(&self, slots: SlotSet, epoch: Epoch) -> Result<()> {
        let mut ownership = self.ownership.write();
        if **ownership != Ownership::default() {
            return Ok(());
        }
        let claimed = Ownership::new(slots, epoch);
        let mut batch = WriteBatch::default();
        batch.put_cf(&self.state(), OWNERSHIP, encode(&claimed)?);
        self.write_synced(batch).map_err(|error| storage_error(&error))?;
        *ownership = Arc::new(claimed);
        Ok(())
    }

    fn write_synced(&self, batch: WriteBatch) -> std::result::Result<(), rocksdb::Error> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db().write_opt(batch, &options)
    }

    /// Carries out a command of a migration, durably.
    ///
    /// # Errors
    /// [`OrderError::Refused`] when it is late or wrong, [`OrderError::Failed`] when the disk fails; nothing changes.
    pub fn order(&self, command: &ShardCommand) -> std::result::Result<(), OrderError> {
        // From here until the end no other change is staged.
        let mut ownership = self.ownership.write();
        let accepted = ownership.accept(command).map_err(OrderError::Refused)?;
        if accepted.ownership == **ownership && accepted.effect.is_none() {
            return Ok(());
        }
        let slots = &command.slots;
        let begins = ownership.role(command.stamp.migration).is_none();
        let mut batch = WriteBatch::default();
        match &accepted.effect {
            Some(Effect::DeleteRows(slots)) => self.delete_rows(&mut batch, slots)?,
            Some(Effect::ForgetOutbox(migration)) => self.forget_all(&mut batch, *migration),
            None => {}
        }
        let (mut gained, mut lost) = (Differences::new(), Differences::new());
        match command.order {
            Order::Activate { .. } if !begins => {
                gained = self.incoming.of(slots);
                self.move_counters(&mut batch, &gained);
            }
            Order::Release { .. } if !begins => {
                lost = self.counters.of(slots);
                self.delete_counters(&mut batch, COUNTER, &lost);
            }
            _ => {}
        }
        batch.put_cf(&self.state(), OWNERSHIP, encode(&accepted.ownership).map_err(OrderError::Failed)?);
        self.write_synced(batch)?;
        if !gained.is_empty() {
            self.incoming.take(slots);
            self.counters.add(&gained, Timestamp::ZERO);
        }
        if !lost.is_empty() {
            self.counters.take(slots);
        }
        if matches!(accepted.effect, Some(Effect::DeleteRows(_))) {
            self.incoming.take(slots);
        }
        *ownership = Arc::new(accepted.ownership);
        drop(ownership);
        self.note_moving();
        Ok(())
    }

    /// Everything that the store has of some slots, and the counters of what was received.
    fn delete_rows(&self, batch: &mut WriteBatch, slots: &SlotSet) -> std::result::Result<(), OrderError> {
        let (data, history) = (self.data(), self.history());
        let mut looked = 0;
        for table in self.tables().map_err(OrderError::Failed)? {
            for range in &slot_ranges(table, slots, self.slot_bits()).collect::<Vec<_>>() {
                // What deletes nothing is in the way of the files that are taken in next. Looking holds commits up, so
                // that beyond some ranges they are deleted unseen.
                looked += 1;
                for family in [&data, &history] {
                    if looked > LOOKED_INTO_MAX || self.has_any(family, range)? {
                        batch.delete_range_cf(family, &range.start, &range.end);
                    }
                }
            }
        }
        self.delete_counters(batch, INCOMING, &self.incoming.of(slots));
        Ok(())
    }

    fn has_any(
        &self,
        family: &Arc<BoundColumnFamily<'_>>,
        keys: &Range<Vec<u8>>,
    ) -> std::result::Result<bool, OrderError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys.end.as_slice());
        let mut iterator = self.db().raw_iterator_cf_opt(family, options);
        iterator.seek(&keys.start);
        iterator.status()?;
        Ok(iterator.valid())
    }

    fn delete_counters(&self, batch: &mut WriteBatch, kind: u8, counts: &Differences) {
        let state = self.state();
        counts.keys().for_each(|(table, slot)| batch.delete_cf(&state, counter_key(kind, *table, *slot)));
    }

    fn move_counters(&self, batch: &mut WriteBatch, counts: &Differences) {
        self.delete_counters(batch, INCOMING, counts);
        let state = self.state();
        for ((table, slot), count) in counts {
            batch.put_cf(&state, counter_key(COUNTER, *table, *slot), count.encode());
        }
    }

    /// The tables that have anything in this shard, dropped ones that are not gone yet too.
    fn tables(&self) -> Result<Vec<TableId>> {
        let mut tables = std::collections::BTreeSet::new();
        for family in [self.data(), self.history()] {
            let mut iterator = self.db().raw_iterator_cf(&family);
            iterator.seek_to_first();
            while let Some(table) = iterator.key().and_then(table_of) {
                tables.insert(table);
                iterator.seek(table_range(table).end);
            }
            iterator.status().map_err(|error| storage_error(&error))?;
        }
        Ok(tables.into_iter().collect())
    }

    /// Keeps new writes off these slots and waits until those in flight are over. `false` at the deadline; then nothing is
    /// kept off.
    pub fn hold(&self, slots: &SlotSet, deadline: Instant) -> bool {
        {
            let mut held = self.held.lock();
            *held = held.union(slots);
        }
        self.moving.store(true, Ordering::SeqCst);
        if self.locks().wait_for_slots(slots, self.slot_bits(), deadline) {
            return true;
        }
        self.release_hold(slots);
        false
    }

    /// Lets writes to these slots go on, as far as the ownership does.
    pub fn release_hold(&self, slots: &SlotSet) {
        {
            let mut held = self.held.lock();
            *held = held.difference(slots);
        }
        self.note_moving();
    }

    /// Whether writes to these keys, which are registered in [`Shard::locks`], may be applied.
    #[inline]
    pub fn may_write<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Access {
        if self.moving.load(Ordering::SeqCst) { self.may_write_moving(keys) } else { Access::Granted }
    }

    fn may_write_moving<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Access {
        let (ownership, held) = (self.ownership(), self.held.lock());
        let access = |slot: Slot| if held.contains(slot) { Access::Wait } else { ownership.may_write(slot) };
        keys.map(|key| access(slot_of(key, self.slot_bits()))).max().unwrap_or(Access::Granted)
    }

    /// # Errors
    /// 55P03 when the slot is being cut over, 40001 when it is another shard's: the reader's map was too old.
    pub(crate) fn check_read(&self, slot: Slot, at: Timestamp) -> Result<()> {
        match self.ownership().may_read(slot, at) {
            Access::Granted => Ok(()),
            Access::Wait => Err(Error::new(SqlState::LockNotAvailable, format!("slot {slot} is being moved"))
                .with_hint("try again; QUERY SYSTEM.REBALANCE_STATUS shows what holds it up")),
            Access::Moved => {
                Err(Error::new(SqlState::SerializationFailure, format!("slot {slot} has moved meanwhile"))
                    .with_hint("try again"))
            }
        }
    }

    /// Whether the shard has a part in any migration, or holds writes for one.
    #[inline]
    pub fn is_moving(&self) -> bool {
        self.moving.load(Ordering::SeqCst)
    }

    /// Live rows and bytes of these slots as the counters have them: received ones where they are being received.
    pub fn count_of(&self, slots: &SlotSet) -> SlotCount {
        let mut sum = SlotCount::default();
        let receiving = |role: &evenkeel_rebalancer::migration::Role| {
            role.part == Part::Incoming && role.slots.contains(slots.ranges().first().map_or(Slot(0), |range| range.0))
        };
        let counters = if self.ownership().roles().iter().any(receiving) { &self.incoming } else { &self.counters };
        counters.of(slots).values().for_each(|count| sum += *count);
        sum
    }

    /// The migration's outgoing or incoming part, if it has one.
    pub fn part_in(&self, migration: MigrationId) -> Option<Part> {
        self.ownership().role(migration).map(|role| role.part)
    }
}

fn encode(ownership: &Ownership) -> Result<Vec<u8>> {
    serde_json::to_vec(ownership).map_err(|error| Error::internal(format!("an ownership cannot be written: {error}")))
}
