//! What a migration wants done, and what is seen of it: data that somebody else carries out and reports.
//!
//! Every command may be carried out any number of times, by several drivers at once, at any later time.

use super::Holder;
use evenkeel_model::{Epoch, MigrationId, ShardId, SlotMap, SlotSet, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// By whose word a shard acts: it tells what is late from what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The migration.
    pub migration: MigrationId,
    /// The slot map's epoch when the migration began. Slots that were settled later are none of its business.
    pub since: Epoch,
    /// The version of its record that wanted this.
    pub step: u64,
}

/// One command of a phase, for the driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Read the slot map, never from a cache → [`Observed::Map`].
    ReadMap,
    /// Give `outgoing` to the source, then `incoming` to the target; once both have agreed, stream every version that
    /// the source has of the slots → [`Observed::Copied`], when the target has stored all of it.
    Copy { outgoing: ShardCommand, incoming: ShardCommand },
    /// Drain the source's outbox into the target until what is left fits the cutover budget, then read the slot map's
    /// epoch → [`Observed::CaughtUp`]. The source forgets a change only when the target has stored it.
    CatchUp { stamp: Stamp },
    /// Have the source hold writes, take the cutover timestamp and be fenced ([`Order::Seal`]); drain the last of the
    /// outbox; count both sides → [`Observed::Sealed`], or [`Observed::TooSlow`] when the budget is spent.
    Seal { stamp: Stamp, slots: SlotSet },
    /// Change the slot map ([`MapChange::apply`]) by compare-and-set, then report the map as it is, changed or not →
    /// [`Observed::Map`]. Nothing is observed while the meta store is away.
    Commit(MapChange),
    /// Give each shard its command, in this order → [`Observed::Told`], when all have agreed.
    Tell(Vec<(ShardId, ShardCommand)>),
    /// Read the slots on both sides at this timestamp and digest them → [`Observed::Compared`].
    Compare { cutover: Timestamp },
}

/// What a shard is told about some slots. The storage of a shard keeps it in its log and lets
/// [`Ownership::accept`](super::Ownership::accept) decide.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ShardCommand {
    /// By whose word.
    pub stamp: Stamp,
    /// The migration's slots, all of them.
    pub slots: SlotSet,
    /// What to do with them.
    pub order: Order,
}

/// What is to be done with the slots of a migration. `epoch` is the slot map's, at which they are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Source: from now on put every change to them into the outbox too, in the same batch.
    BeginOutgoing,
    /// Target: delete what may be there of them, and take in what the migration sends.
    BeginIncoming,
    /// Source: hold writes; answer reads at or below the cutover only. The shard itself fills in the timestamp, after
    /// the last write in flight has been applied.
    Seal { cutover: Timestamp },
    /// Source: open again, with the outbox still filling.
    Unseal,
    /// Target: they are yours.
    Activate { epoch: Epoch },
    /// Source: they are not yours any more; keep the rows, and answer reads at or below the cutover.
    Release { epoch: Epoch },
    /// Source: delete the rows.
    Drop { epoch: Epoch },
    /// Source: it is off; no outbox, no seal, no fence.
    EndOutgoing { epoch: Epoch },
    /// Target: it is off; delete what was received.
    Discard { epoch: Epoch },
}

/// A change of the slot map, valid at one epoch only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapChange {
    /// The slots become the target's: the point of no return.
    Switch { expected: Epoch, slots: SlotSet, source: ShardId, target: ShardId },
    /// The owners stay and the epoch moves on: a switch that expected it can never land.
    Reclaim { expected: Epoch },
}

impl MapChange {
    /// The map after the change; `None` if its epoch is gone. To be called where the map cannot change in between.
    pub fn apply(&self, map: &SlotMap) -> Option<SlotMap> {
        match self {
            MapChange::Switch { expected, slots, source, target } => {
                let due = map.epoch() == *expected && slots.iter().all(|slot| map.owner(slot) == *source);
                due.then(|| map.moved(slots, *target))
            }
            MapChange::Reclaim { expected } => (map.epoch() == *expected).then(|| map.bumped()),
        }
    }
}

/// What a shard holds of some slots as of the cutover timestamp: live rows, their bytes, and an order-independent
/// digest of them. Equal copies have equal tallies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tally {
    /// Live rows.
    pub rows: u64,
    /// Their size as the counters count it.
    pub bytes: u64,
    /// Of the stream while sealing, of every row while verifying.
    pub digest: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {} bytes, digest {:016x}", self.rows, self.bytes, self.digest)
    }
}

/// What the driver saw when it carried out the command of a record; for that record only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Observed {
    /// The slot map's epoch, and whom it names for the slots ([`Migration::read`](super::Migration::read)).
    Map { epoch: Epoch, holder: Holder },
    /// The target has stored the whole snapshot.
    Copied,
    /// What is left in the outbox fits the cutover budget; the slot map's epoch just now.
    CaughtUp { epoch: Epoch },
    /// The source is sealed and fenced at this timestamp, its outbox is empty, and this is what each side holds.
    Sealed { cutover: Timestamp, source: Tally, target: Tally },
    /// The cutover budget is spent, and the source is not known to be sealed and drained.
    TooSlow,
    /// Every shard of a [`Command::Tell`] has agreed.
    Told,
    /// What each side holds at the cutover timestamp.
    Compared { source: Tally, target: Tally },
    /// It cannot go on like this: a shard refused for another reason than being told late, or is gone for good. What
    /// happened, in one line. Not for a meta store or a shard that is away for a while: then nothing is observed.
    Failed(String),
}
