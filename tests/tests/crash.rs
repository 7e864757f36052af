//! What a database promises when its process dies, its disk fills up or its files are damaged.
//!
//! `kill` ends a bank with SIGKILL again and again and checks every promise after each time; `moves` does so while slots
//! move between its shards; `refusals` opens what must not be opened; `damage` changes files behind the database's back;
//! `full` lets it write until there is no room; `obstructed` moves slots over disks that fail.

#[path = "crash/bank.rs"]
mod bank;
#[path = "storage/client.rs"]
mod client;
#[path = "crash/damage.rs"]
mod damage;
#[path = "crash/disk.rs"]
mod disk;
#[path = "crash/full.rs"]
mod full;
#[path = "crash/jobs.rs"]
mod jobs;
#[path = "crash/kill.rs"]
mod kill;
#[path = "crash/moves.rs"]
mod moves;
#[path = "crash/obstructed.rs"]
mod obstructed;
#[path = "crash/process.rs"]
mod process;
#[path = "storage/recount.rs"]
mod recount;
#[path = "crash/refusals.rs"]
mod refusals;
#[path = "crash/shards.rs"]
mod shards;
