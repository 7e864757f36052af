//! What jobs, migrations and the balancer need of the process that they run in.
//!
//! One value has all of it, a [`World`], and is handed to every call: whatever waits, waits through it. A process gives its
//! RocksDB shards and its threads; the simulator gives values in memory, and every call is a place where another actor may
//! go on, or where the process ends.

use crate::bell::Bell;
use crate::meta::MetaStore;
use crate::movement::Movement;
use evenkeel_model::{
    Epoch, Error, MigrationId, Result, Settings, ShardId, Slot, SlotBits, SlotMap, SlotSet, Timestamp,
};
use evenkeel_rebalancer::balance::{Decision, Gauges, Load};
use evenkeel_rebalancer::migration::{Part, Phase, ShardCommand, Stamp, Tally};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Time.
pub trait Clock {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// Time since some moment, which never goes back.
    fn elapsed(&self) -> Duration;

    /// How long processors have worked for the calling thread.
    fn worked(&self) -> Duration;

    /// Waits until the bell has been rung after `seen`, or for so long.
    fn wait(&self, bell: &Bell, seen: u64, at_most: Duration);
}

/// Row versions on their way, in the bytes of their store.
pub trait Versions {
    fn is_empty(&self) -> bool;
    /// Newest versions among them.
    fn rows(&self) -> u64;
    fn bytes(&self) -> u64;
    /// Of all of them, whatever their order: digests of two lots add up to that of both.
    fn digest(&self) -> u64;
}

/// Some of what a source owes to a target, oldest first.
#[derive(Clone, Debug)]
pub struct Owed<V, L> {
    pub versions: V,
    /// Bulk loads whose rows in the moving slots are owed as a whole.
    pub loads: Vec<L>,
    /// To be forgotten up to here once the target has all of it.
    pub upto: u64,
    /// How many entries.
    pub entries: usize,
    /// Entries behind these, at most.
    pub behind: u64,
}

/// What a copy through sorted files has read and what it has stored, as digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub sent: u64,
    pub stored: u64,
}

/// Reads and writes so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Activity {
    /// Of each slot, as far as it has any.
    pub accesses: BTreeMap<Slot, u64>,
    /// Of the shard.
    pub busy_ns: u64,
}

/// Called between batches with the rows and bytes that have gone over: waits as the limits want it.
///
/// # Errors
/// 57014 when the migration is to turn back or stop.
pub type Pace<'p> = dyn FnMut(u64, u64) -> Result<()> + 'p;

/// Shards, wherever they are.
pub trait Shards {
    type Shard;
    type Versions: Versions;
    /// A bulk load, named.
    type Load;

    /// Carries out an order of a migration, durably; a repetition is agreed to.
    ///
    /// # Errors
    /// 55000 when the shard's ownership refuses it, or what the disk says; whether it was carried out is then unknown.
    fn order(&self, shard: &Self::Shard, command: &ShardCommand) -> Result<()>;

    /// The shard's part in a migration, if it has one.
    fn part_in(&self, shard: &Self::Shard, migration: MigrationId) -> Option<Part>;

    /// Keeps new writes off these slots and waits until those in flight are over. `false` when that takes longer; then
    /// nothing is kept off.
    fn hold(&self, shard: &Self::Shard, slots: &SlotSet, at_most: Duration) -> bool;

    /// Lets writes to these slots go on, as far as the ownership does. Never waits.
    fn release_hold(&self, shard: &Self::Shard, slots: &SlotSet);

    /// Rows and bytes of these slots as the shard counts them: received ones where they are being received. No digest.
    fn count_of(&self, shard: &Self::Shard, slots: &SlotSet) -> Tally;

    /// What is owed to a migration's target, up to `limit` entries, and durable.
    ///
    /// # Errors
    /// What the disk says.
    fn owed(
        &self,
        shard: &Self::Shard,
        migration: MigrationId,
        limit: usize,
    ) -> Result<Owed<Self::Versions, Self::Load>>;

    /// The target has everything up to an entry, durably.
    ///
    /// # Errors
    /// What the disk says.
    fn forget_owed(&self, shard: &Self::Shard, migration: MigrationId, upto: u64) -> Result<()>;

    /// The rows of a load in these slots, some at a time.
    ///
    /// # Errors
    /// What the disk or `each` says.
    fn loaded(
        &self,
        shard: &Self::Shard,
        slots: &SlotSet,
        load: &Self::Load,
        each: &mut dyn FnMut(Self::Versions) -> Result<()>,
    ) -> Result<()>;

    /// Every stored version of these slots as of one moment, some at a time.
    ///
    /// # Errors
    /// What the disk or `each` says.
    fn export(
        &self,
        shard: &Self::Shard,
        slots: &SlotSet,
        each: &mut dyn FnMut(Self::Versions) -> Result<()>,
    ) -> Result<()>;

    /// Stores what a migration sends, durably. It may be there already.
    ///
    /// # Errors
    /// 55000 when the shard is not that migration's target (any more), or what the disk says.
    fn receive(&self, shard: &Self::Shard, stamp: &Stamp, versions: &Self::Versions) -> Result<()>;

    /// Every stored version of these slots as of one moment goes from a source to a target that has none of them, at once
    /// and durably.
    ///
    /// # Errors
    /// As [`Self::receive`]. Some may have been stored all the same.
    fn copy_files(
        &self,
        source: &Self::Shard,
        target: &Self::Shard,
        slots: &SlotSet,
        stamp: &Stamp,
        pace: &mut Pace<'_>,
    ) -> Result<Copied>;

    /// Whether a target has nothing of these slots yet.
    ///
    /// # Errors
    /// What the disk says.
    fn has_received_nothing(&self, shard: &Self::Shard, slots: &SlotSet) -> Result<bool>;

    /// Counts anew what a target has received of these slots: a copy that was cut off leaves rows that nobody counted.
    ///
    /// # Errors
    /// What the disk says.
    fn recount_received(&self, shard: &Self::Shard, slots: &SlotSet) -> Result<()>;

    /// Reads every row of these slots at a timestamp.
    ///
    /// # Errors
    /// What the disk or `pace` says.
    fn tally(&self, shard: &Self::Shard, slots: &SlotSet, at: Timestamp, pace: &mut Pace<'_>) -> Result<Tally>;

    /// Rows and bytes of every slot that has any, by the shard's counters.
    fn slot_loads(&self, shard: &Self::Shard) -> BTreeMap<Slot, Load>;

    /// What its slots have been asked for.
    fn activity(&self, shard: &Self::Shard) -> Activity;
}

/// Which shard has which slot, for whoever reads and writes.
#[derive(Debug)]
pub struct Picture<S> {
    pub slots: SlotMap,
    pub shards: BTreeMap<ShardId, Arc<S>>,
}

impl<S> Clone for Picture<S> {
    fn clone(&self) -> Self {
        Self { slots: self.slots.clone(), shards: self.shards.clone() }
    }
}

/// The picture of somebody who is to replace it, and whom everybody else waits for who takes one.
pub trait Cutover<S> {
    fn slots(&self) -> &SlotMap;
    fn replace_slots(&mut self, slots: SlotMap);
    fn add_shard(&mut self, id: ShardId, shard: Arc<S>);
    fn shard(&self, id: ShardId) -> Option<Arc<S>>;
    /// Takes a shard without slots out; what was remembered of it goes to another.
    fn remove_shard(&mut self, id: ShardId);
}

/// The picture in force, the timestamps that are taken under it, and who still goes by an older one.
pub trait Topology: Shards {
    type Cutover<'w>: Cutover<Self::Shard>
    where
        Self: 'w;
    /// Keeps bulk loads from beginning.
    type Pass<'w>
    where
        Self: 'w;
    /// Keeps what is visible at a timestamp from being collected.
    type Pin<'w>
    where
        Self: 'w;

    fn picture(&self) -> Picture<Self::Shard>;

    /// Nobody takes a picture, or a timestamp to read at, until the guard goes.
    fn cutover(&self) -> Self::Cutover<'_>;

    /// Lets a cutover begin, unless a bulk load is under way.
    fn begin_cutover(&self) -> Option<Self::Pass<'_>>;

    fn is_loading(&self) -> bool;

    /// Wakes whoever was kept off a slot.
    fn announce(&self);

    fn has_readers_before(&self, epoch: Epoch) -> bool;

    /// A timestamp above every one that was issued.
    ///
    /// # Errors
    /// When it can't be made sure that it is never issued again.
    fn next_timestamp(&self) -> Result<Timestamp>;

    fn pin(&self, at: Timestamp) -> Self::Pin<'_>;

    /// Nothing that was acknowledged waits to be applied to a shard any more: a restart would apply it where its rows were.
    ///
    /// # Errors
    /// What the disk says.
    fn settle_commits(&self) -> Result<()>;
}

/// How long statements take, at the 99th percentile, in microseconds, and on what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Foreground {
    /// Just now; `None` where there are none.
    pub recent_us: Option<u64>,
    /// While nothing moved.
    pub baseline_us: u64,
    /// Processors that statements and migrations share.
    pub processors: u32,
    /// How much of them nobody has wanted lately, of a hundred.
    pub idle_percent: u32,
}

/// Everything.
pub trait World: Clock + MetaStore + Topology {
    /// Held from the picture that a job is planned from until the job is kept.
    type Planning<'w>
    where
        Self: 'w;

    fn settings(&self) -> Arc<Settings>;

    /// Keeps what happened, for people.
    fn event(&self, kind: &str, subject: &str, message: &str);

    /// What failed with nobody to tell.
    fn report(&self, error: &Error);

    fn foreground(&self) -> Foreground;

    /// Drives a migration in a thread of its own: [`Conductor::drive`](crate::Conductor::drive).
    ///
    /// # Errors
    /// When there is no thread to be had; it is not driven then.
    fn start(&self, movement: Arc<Movement>) -> Result<()>;

    /// Whether nobody but so many threads has the process's data open any more.
    fn is_abandoned(&self, threads: usize) -> bool;

    /// `None` while somebody plans a job.
    fn try_planning(&self) -> Option<Self::Planning<'_>>;

    /// A migration enters a phase: before its record is kept, and after.
    fn on_phase(&self, migration: MigrationId, phase: Phase, kept: bool);

    /// Bytes free on the shards' disk.
    fn free_bytes(&self) -> Option<u64>;

    /// What every shard has, to be held against the limits `hot_max_…`.
    fn gauges(&self) -> Vec<(ShardId, Gauges)>;

    /// A migration has left a phase in which it was for so long.
    fn on_phase_over(&self, _phase: &'static str, _took: Duration) {}

    /// Nothing has moved in a migration for so long; said once each time that it comes to that.
    fn on_stuck(&self, _migration: MigrationId, _phase: Phase, _unmoved: Duration) {}

    /// The balancer has decided.
    fn on_decision(&self, _decision: &Decision) {}

    /// A cutover has held writes for so long.
    fn on_pause(&self, _pause: Duration) {}

    /// The load has been measured.
    fn measured(&self) {}

    /// An empty shard's store, in the place of whatever a crash has left there. It has settled no slots before `epoch`.
    ///
    /// # Errors
    /// What the disk says.
    fn make_shard(&self, id: ShardId, bits: SlotBits, epoch: Epoch) -> Result<Arc<Self::Shard>>;

    /// Deletes the store of a shard that is in no picture any more.
    ///
    /// # Errors
    /// What the disk says.
    fn delete_shard(&self, shard: Arc<Self::Shard>) -> Result<()>;
}
