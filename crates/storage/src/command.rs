//! What can be asked of a shard. Every change is one of these, applied as one atomic batch: given the same commands in
//! the same order of commit timestamps, two replicas hold the same rows and counters.

use crate::counters::SlotCount;
use evenkeel_model::{ShardId, Slot, TableId, Timestamp};

/// One row's change.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    /// The row key (see [`crate::codec::row_key`]).
    pub key: Vec<u8>,
    pub operation: Operation,
}

/// What happens to a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// The row is now these bytes.
    Put(Vec<u8>),
    /// The row is gone.
    Delete,
}

/// A change of a shard's state.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Commits a transaction that touches only this shard.
    CommitOnePhase { start: Timestamp, commit: Timestamp, mutations: Vec<Mutation> },
    /// First phase over several shards: durable intents, invisible to readers. `primary` is the shard whose record says
    /// whether the transaction has committed. `transaction` is a timestamp that no other transaction has; `start` is
    /// where it reads, which others may share.
    Prewrite { transaction: Timestamp, start: Timestamp, primary: ShardId, mutations: Vec<Mutation> },
    /// Second phase: the intents of these keys become versions. `record` at the primary: this is the commit point.
    /// Keys whose intent is gone were committed before.
    Commit { transaction: Timestamp, commit: Timestamp, keys: Vec<Vec<u8>>, record: bool },
    /// The intents of these keys go away.
    Rollback { transaction: Timestamp, keys: Vec<Vec<u8>> },
    /// Every shard has durably done the second phase of these transactions: their records are not needed any more.
    Forget { transactions: Vec<Timestamp> },
    /// Announces sorted files about to be ingested, whose rows all carry `load` as their timestamp and stay hidden
    /// until it has committed.
    BeginLoad { load: Timestamp, table: TableId, counts: Vec<(Slot, SlotCount)> },
    /// The load has committed: its rows count.
    FinishLoad { load: Timestamp },
    /// The load will never commit: its rows become deletions.
    AbortLoad { load: Timestamp },
    /// All rows of a table go away, whatever their timestamps.
    DropTable { table: TableId },
}
