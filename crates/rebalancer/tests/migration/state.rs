//! One state of the cluster, and the names of what may happen in it.

use crate::invariants::Invariant;

/// How much of what has no end by itself is let happen.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Writes of the clients, at most [`crate::invariants::WRITES`].
    pub writes: u8,
    /// Commits of the slot map by others.
    pub bumps: u8,
    /// Attempts at sealing.
    pub cutovers: u32,
}

impl Limits {
    /// Everything a little.
    pub const ALL: Limits = Limits { writes: 2, bumps: 1, cutovers: 2 };
    /// A row that is deleted and put again, and nobody else at the slot map.
    pub const MORE_WRITES: Limits = Limits { writes: 3, bumps: 0, cutovers: 1 };
}

/// One state of the whole cluster. Numbers of values stand for the values ([`crate::letters::Interned`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The migration's record in the meta store.
    pub record: u16,
    /// Everything that is under way.
    pub post: u16,
    /// What drivers were answered to the present record's command.
    pub answers: u16,
    /// The slot map in the meta store.
    pub map: u16,
    pub shards: [Shard; 2],
    /// Contents of snapshots and outboxes that are under way to the target: bit n stands for the versions n.
    pub snapshots: u16,
    pub drains: u16,
    /// Writes that have a timestamp; write n has timestamp 2n.
    pub issued: u8,
    /// Versions that were acknowledged.
    pub acked: u8,
    pub bumps: u8,
    /// The meta store does not answer.
    pub away: bool,
    /// Both copies were compared and are equal.
    pub verified: bool,
    /// Some shard has collected what reads below the deletion would need.
    pub collected: bool,
    /// A transition that must not be.
    pub broken: Option<Invariant>,
}

/// One shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    pub ownership: u16,
    /// The versions that it stores.
    pub rows: u8,
    /// The changes that are owed to the target.
    pub outbox: u8,
    /// The write in flight; 0 is none.
    pub pending: u8,
    /// Only for the mistake of deciding early.
    pub mirrored: bool,
    /// The newest step that it was told.
    pub seen: u8,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Deliver(u16),
    Observe(u16, usize),
    AllAgreed,
    Look,
    Snapshot,
    ReadOutbox,
    Store { versions: u8, part: bool },
    Drain { versions: u8 },
    Forget,
    Sealed,
    TooSlow,
    Compare,
    Cancel,
    BeginWrite(usize),
    Apply { shard: usize, outbox_lost: bool },
    Crash(usize),
    Collect(usize),
    Bump,
    Away(bool),
}

/// One step on from a state.
pub struct Step {
    pub action: Action,
    pub to: State,
    /// Whether nobody is late in it, fails, or calls the migration off.
    pub is_regular: bool,
}
