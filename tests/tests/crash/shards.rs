//! A closed database's shards, looked at below SQL: full counts, whose slots they hold, and that nothing is left half
//! done.

use crate::client::numbers;
use crate::recount::{Counts, counted, recount};
use evenkeel_engine::{Database, OpenOptions, Session};
use evenkeel_model::{MigrationId, ShardId, Slot, SlotBits, SlotSet};
use evenkeel_storage::{Shard, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long a database that nobody uses may take to close.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the SYSTEM tables say.
#[derive(Debug)]
pub struct Claims {
    rows: Rows,
    /// The slots that each shard owns; a shard without slots is there too.
    owned: BTreeMap<u32, SlotSet>,
    /// The last migration that ever was.
    last_migration: u64,
}

/// Rows by table id, by shard, by slot.
#[derive(Debug, Default, PartialEq)]
struct Rows {
    tables: BTreeMap<i64, i64>,
    shards: BTreeMap<i64, i64>,
    slots: BTreeMap<i64, i64>,
}

/// Opens the database in this process.
pub fn open(directory: &Path) -> Arc<Database> {
    Database::open(directory, &OpenOptions { shards: Some(4), ..OpenOptions::default() }).expect("the database opens")
}

/// Closes the database and waits until its directory is free: the tasks of its last statements may have a moment to live.
/// Migrations stop where they are.
pub fn close(database: Arc<Database>) {
    let path = database.directory().join("LOCK");
    database.close();
    let (sender, free) = channel();
    std::thread::spawn(move || {
        let lock = File::options().write(true).open(path).and_then(|file| file.lock());
        let _ = sender.send(lock);
    });
    free.recv_timeout(PATIENCE).expect("something still uses the database").expect("the lock is free");
}

/// What the database says of its own size, and of who owns what.
pub async fn claims(database: &Arc<Database>) -> Claims {
    let session = Session::new(database, "claims");
    let mut found = Vec::new();
    for (column, table) in [("table_id", "TABLES"), ("shard_id", "SHARDS"), ("slot", "SLOTS")] {
        let pairs =
            numbers(&session, &format!("QUERY SYSTEM.{table} SELECT {column}, row_count")).await.expect("SYSTEM");
        found.push(pairs.into_iter().filter(|pair| pair[1] != 0).map(|pair| (pair[0], pair[1])).collect());
    }
    let [tables, shards, slots] = <[_; 3]>::try_from(found).expect("three tables");
    let rows = Rows { tables, shards, slots };
    let last = "SELECT MAX(migration_id) FROM SYSTEM.REBALANCE_STATUS";
    let last_migration = numbers(&session, last).await.expect("SYSTEM.REBALANCE_STATUS")[0][0] as u64;
    Claims { rows, owned: owned(&session).await, last_migration }
}

/// The slots of each shard; every slot has one owner, which is there (`one-owner`).
async fn owned(session: &Session) -> BTreeMap<u32, SlotSet> {
    let shards = numbers(session, "QUERY SYSTEM.SHARDS SELECT shard_id, slots").await.expect("SYSTEM.SHARDS");
    let slots = numbers(session, "QUERY SYSTEM.SLOTS SELECT slot, shard_id").await.expect("SYSTEM.SLOTS");
    let mut owners = BTreeMap::new();
    for pair in slots {
        assert_eq!(owners.insert(pair[0], pair[1]), None, "slot {} has two owners", pair[0]);
    }
    let all: Vec<_> = (0..SlotBits::DEFAULT.slots() as i64).collect();
    assert_eq!(owners.keys().copied().collect::<Vec<_>>(), all, "the slots that have an owner");
    let mut owned = BTreeMap::new();
    for pair in shards {
        let slots: SlotSet = owners.iter().filter(|(_, o)| **o == pair[0]).map(|(s, _)| Slot(*s as u32)).collect();
        assert_eq!(slots.len() as i64, pair[1], "SYSTEM.SHARDS counts the slots of shard {}", pair[0]);
        owners.retain(|_, owner| *owner != pair[0]);
        owned.insert(pair[0] as u32, slots);
    }
    assert!(owners.is_empty(), "slots whose owner is not there: {owners:?}");
    owned
}

/// Checks that nobody has the directory open, that no intent, record or load is left, that each shard's counters are
/// those of a full count (`counters-exact`), that the full counts are what the SYSTEM tables claimed, and that every shard
/// that is there has what it owns and nothing else.
pub fn check(directory: &Path, claims: &Claims) {
    let store = Store::new(16 << 20).expect("a store");
    let mut found = Rows::default();
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(directory.join("shards")).expect("shards").flatten() {
        let id: u32 = entry.file_name().to_string_lossy().parse().expect("a shard's number");
        there.insert(id);
        let Some(owned) = claims.owned.get(&id) else { continue };
        let shard = Shard::open(ShardId(id), &entry.path(), SlotBits::DEFAULT, &store).expect("a shard opens");
        assert_eq!(shard.intents().expect("intents"), [], "intents are left in shard {id}");
        assert_eq!(shard.loads().expect("loads"), [], "loads are left in shard {id}");
        check_moves(&shard, owned, claims.last_migration);
        let full: Counts = recount(&shard, &[]).expect("a full count");
        assert_eq!(counted(&shard), full, "left: counters of shard {id}, right: a full count");
        for ((table, slot), count) in full {
            *found.tables.entry(i64::from(table.0)).or_default() += count.rows;
            *found.shards.entry(i64::from(id)).or_default() += count.rows;
            *found.slots.entry(i64::from(slot.0)).or_default() += count.rows;
        }
    }
    assert_eq!(there, claims.owned.keys().copied().collect(), "left: directories of shards, right: SYSTEM.SHARDS");
    assert_eq!(claims.rows, found, "left: SYSTEM.TABLES, SHARDS, SLOTS; right: full counts");
}

/// Checks that a shard has a part in no migration and owes nothing to one, that it owns what the slot map says, and that
/// no version of a row is left in any other slot.
fn check_moves(shard: &Shard, owned: &SlotSet, last_migration: u64) {
    let (id, ownership) = (shard.id(), shard.ownership());
    assert_eq!(ownership.roles(), [], "parts in migrations are left in shard {id}");
    assert_eq!(ownership.owned(), owned, "left: what shard {id} owns, right: SYSTEM.SLOTS");
    for migration in 1..=last_migration {
        let owed = shard.owed(MigrationId(migration), 1).expect("what is owed").entries;
        assert_eq!(owed, 0, "shard {id} still owes changes to migration {migration}");
    }
    let others = SlotSet::range(Slot(0), Slot(SlotBits::DEFAULT.slots() as u32 - 1)).difference(owned);
    let mut left = 0;
    let each = |_, _: &[u8], _: &[u8]| {
        left += 1;
        Ok(())
    };
    shard.export(&others, each).expect("versions");
    assert_eq!(left, 0, "versions in shard {id} whose slots are not its own");
}
