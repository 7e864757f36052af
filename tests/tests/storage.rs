//! What a shard and the transactions over shards promise, told by scripts, by random histories and by threads.
//!
//! `scripts` are stories over one shard, with their outcome written beside each step; `history` compares random histories
//! of commands, restarts and garbage collection with a model in memory; `sessions` interleaves transactions one statement
//! at a time and checks every row they see; `threads` lets readers look while writers commit over all shards.

#[path = "storage/client.rs"]
mod client;
#[path = "storage/history.rs"]
mod history;
#[path = "storage/recount.rs"]
mod recount;
#[path = "storage/scripts.rs"]
mod scripts;
#[path = "storage/sessions.rs"]
mod sessions;
#[path = "storage/threads.rs"]
mod threads;
