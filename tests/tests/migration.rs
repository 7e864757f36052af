//! What moving slots between shards promises while everybody goes on reading and writing.
//!
//! ```text
//! load         all kinds of work at once, while slots move, shards split, merge, come and go
//! shuffler     the scripts and the flights of `language` once more, while slots move all the time
//! wire         the scripts again, over the wire; wire_values: how values are spelled there
//! jobs         pausing, cancelling, undoing, waiting; settings and pins that change half-way
//! tables       tables that come, change and go half-way; transactions and timestamps across a cutover
//! shards       adding, removing, splitting, merging; a balance that is reached and stays
//! restart      a database that closes in the middle
//! refusals     what is not moved, and what the errors say
//! ```
//!
//! Whatever happened, a test ends with [`ground::Ground::end`]: every slot has one owner, nothing is left half done, and
//! a full count of each closed shard is what its counters and the SYSTEM tables say.

#[path = "storage/client.rs"]
mod client;
#[path = "language/connection.rs"]
mod connection;
#[path = "migration/ground.rs"]
mod ground;
#[path = "migration/jobs.rs"]
mod jobs;
#[path = "migration/load.rs"]
mod load;
#[path = "migration/mover.rs"]
mod mover;
#[path = "language/questions.rs"]
mod questions;
#[path = "storage/recount.rs"]
mod recount;
#[path = "crash/shards.rs"]
mod recounted;
#[path = "migration/refusals.rs"]
mod refusals;
#[path = "migration/restart.rs"]
mod restart;
#[path = "migration/shards.rs"]
mod shards;
#[path = "migration/shuffler.rs"]
mod shuffler;
#[path = "migration/tables.rs"]
mod tables;
#[path = "migration/wire.rs"]
mod wire;
#[path = "migration/wire_values.rs"]
mod wire_values;
#[path = "migration/workers.rs"]
mod workers;
