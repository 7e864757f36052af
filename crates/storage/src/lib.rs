//! One shard is one RocksDB: a deterministic state machine of commands, MVCC reads, exact per-slot statistics.
//!
//! WHAT MAY NEVER HAPPEN: half of a command is on disk; a reader at a timestamp misses a version that committed at or
//! below it (`no-stale-read`); a slot's counters differ from a full count (`counters-exact`).
//!
//! ```text
//!           mutations                       a reader at timestamp R
//!               │ lock keys, take a timestamp       │ waits for locked keys that commit at or below R
//!               ▼                                   ▼
//!   Command ─▶ apply ─▶ one WriteBatch ─▶ data     newest version of every row: one get, one iterator step
//!                                         history  the versions before it, until no reader can ask for them
//!                                         lock     intents of transactions that touch several shards
//!                                         outbox   changes that are owed to a migration's target
//!                                         state    counters per slot, ownership, transaction records, loads under way
//! ```
//!
//! Layers, each in its module: [`codec`] (bytes), [`command`] (what can be asked of a shard), [`locks`] (who is
//! committing which keys), [`commit_log`] (what makes commits of all shards durable together), [`shard`] (apply, get, scan), [`load`] (sorted files for bulk loads), [`store`] (what the
//! shards of a process share: cache, write buffers, background threads).

mod activity;
pub mod codec;
pub mod command;
pub mod commit_log;
mod counters;
mod failure;
pub mod latency;
pub mod load;
pub mod locks;
pub mod moves;
mod scan;
pub mod shard;
pub mod store;

pub use activity::Activity;
pub use command::{Command, Mutation, Operation};
pub use commit_log::{CommitLog, LoggedCommit, Unapplied};
pub use counters::SlotCount;
pub use failure::{ApplyError, storage_error};
pub use load::SortedRows;
pub use locks::{InFlight, KeyLocks};
pub use moves::{Family, FileOptions, OrderError, Owed, Sent, SortedVersions, Version};
pub use scan::{Cursor, View};
pub use shard::{Durability, Intent, Shard};
pub use store::Store;
