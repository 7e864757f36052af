//! A closed database's shards, looked at below SQL: full counts, and that nothing is left half done.

use crate::client::numbers;
use crate::recount::{Counts, counted, recount};
use evenkeel_engine::{Database, OpenOptions, Session};
use evenkeel_model::{ShardId, SlotBits};
use evenkeel_storage::{Shard, Store};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long a database that nobody uses may take to close.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the SYSTEM tables say: rows by table id, by shard, by slot.
#[derive(Debug, PartialEq)]
pub struct Claims {
    tables: BTreeMap<i64, i64>,
    shards: BTreeMap<i64, i64>,
    slots: BTreeMap<i64, i64>,
}

/// Opens the database in this process.
pub fn open(directory: &Path) -> Arc<Database> {
    Database::open(directory, &OpenOptions { shards: Some(4) }).expect("the database opens")
}

/// Closes the database and waits until its directory is free: the tasks of its last statements may have a moment to live.
pub fn close(database: Arc<Database>) {
    let path = database.directory().join("LOCK");
    drop(database);
    let (sender, free) = channel();
    std::thread::spawn(move || {
        let lock = File::options().write(true).open(path).and_then(|file| file.lock());
        let _ = sender.send(lock);
    });
    free.recv_timeout(PATIENCE).expect("something still uses the database").expect("the lock is free");
}

/// What the database says of its own size.
pub async fn claims(database: &Arc<Database>) -> Claims {
    let session = Session::new(database, "claims");
    let mut found = Vec::new();
    for (column, table) in [("table_id", "TABLES"), ("shard_id", "SHARDS"), ("slot", "SLOTS")] {
        let pairs =
            numbers(&session, &format!("QUERY SYSTEM.{table} SELECT {column}, row_count")).await.expect("SYSTEM");
        found.push(pairs.into_iter().filter(|pair| pair[1] != 0).map(|pair| (pair[0], pair[1])).collect());
    }
    let [tables, shards, slots] = <[_; 3]>::try_from(found).expect("three tables");
    Claims { tables, shards, slots }
}

/// Checks that nobody has the directory open, that no intent, record or load is left, that each shard's counters are
/// those of a full count (`counters-exact`), and that the full counts are what the SYSTEM tables claimed.
pub fn check(directory: &Path, claims: &Claims) {
    let store = Store::new(16 << 20).expect("a store");
    let mut found = Claims { tables: BTreeMap::new(), shards: BTreeMap::new(), slots: BTreeMap::new() };
    for entry in std::fs::read_dir(directory.join("shards")).expect("shards").flatten() {
        let id: u32 = entry.file_name().to_string_lossy().parse().expect("a shard's number");
        let shard = Shard::open(ShardId(id), &entry.path(), SlotBits::DEFAULT, &store).expect("a shard opens");
        assert_eq!(shard.intents().expect("intents"), [], "intents are left in shard {id}");
        assert_eq!(shard.loads().expect("loads"), [], "loads are left in shard {id}");
        let full: Counts = recount(&shard, &[]).expect("a full count");
        assert_eq!(counted(&shard), full, "left: counters of shard {id}, right: a full count");
        for ((table, slot), count) in full {
            *found.tables.entry(i64::from(table.0)).or_default() += count.rows;
            *found.shards.entry(i64::from(id)).or_default() += count.rows;
            *found.slots.entry(i64::from(slot.0)).or_default() += count.rows;
        }
    }
    assert_eq!(*claims, found, "left: SYSTEM.TABLES, SHARDS, SLOTS; right: full counts");
}
