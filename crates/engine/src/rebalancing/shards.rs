//! Which shards there are: adding one, removing an empty one, pinning.

use crate::database::{Database, io_error};
use crate::layout::Layout;
use crate::meta::{Meta, MetaChange};
use crate::oracle::now_ms;
use evenkeel_model::{Error, Result, ShardId, SlotMap, SlotSet, SqlState};
use evenkeel_storage::Shard;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the meta store keeps of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredShard {
    pub(crate) created_at_ms: i64,
    /// The balancer keeps its hands off.
    pub(crate) pinned: bool,
}

/// How long statements that may still read from a removed shard are waited for before its files go.
const READERS_LEAVE_WITHIN: Duration = Duration::from_secs(5);

fn key(id: ShardId) -> String {
    format!("shard/{:010}", id.0)
}

/// The shards of a database: those that the meta store lists, or, in a database that is older than the list, those that
/// the slot map names.
pub(crate) fn list(meta: &Meta, slots: &SlotMap) -> Result<BTreeMap<ShardId, StoredShard>> {
    let stored = meta.list::<StoredShard>("shard/")?;
    let parse = |(id, shard): (String, StoredShard)| id.parse().ok().map(|id| (ShardId(id), shard));
    let mut shards: BTreeMap<_, _> = stored.into_iter().filter_map(parse).collect();
    if shards.is_empty() {
        let created_at_ms = meta.get::<i64>("created_at")?.unwrap_or(0);
        shards = slots.shards().into_iter().map(|id| (id, StoredShard { created_at_ms, pinned: false })).collect();
        let mut change = MetaChange::default();
        for (id, shard) in &shards {
            change.put(&key(*id), shard)?;
        }
        meta.commit(change)?;
    }
    Ok(shards)
}

impl Database {
    /// A number that no shard ever had.
    pub(crate) fn next_shard(&self) -> Result<ShardId> {
        let known = self.rebalancing.shards.lock().keys().next_back().map_or(0, |id| id.0);
        let last = self.meta.get::<u32>("last_shard")?.unwrap_or(0);
        Ok(ShardId(known.max(last) + 1))
    }

    /// Makes a shard without slots.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn add_shard(&self, id: ShardId) -> Result<()> {
        let path = self.directory.join("shards").join(id.to_string());
        // What a crash left of an earlier try.
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|error| io_error("cannot empty", &path, &error))?;
        }
        let layout = self.layout();
        let shard = Arc::new(Shard::open(id, &path, layout.slots.bits(), &self.store)?);
        shard.claim(SlotSet::new(), layout.slots.epoch())?;
        let stored = StoredShard { created_at_ms: now_ms(), pinned: false };
        let mut change = MetaChange::default();
        change.put(&key(id), &stored)?;
        change.put("last_shard", &id.0)?;
        self.meta.commit(change)?;
        self.rebalancing.shards.lock().insert(id, stored);
        let mut picture = self.topology.cutover();
        let mut shards = picture.shards.clone();
        shards.insert(id, shard);
        let slots = picture.slots.clone();
        self.topology.replace(&mut picture, Layout::new(slots, shards));
        drop(picture);
        self.event("shard", &format!("shard {id}"), "added");
        Ok(())
    }

    /// Takes away shards that have no slots any more.
    pub(super) fn remove_shards(&self, ids: &[ShardId]) -> Result<()> {
        ids.iter().try_for_each(|id| self.remove_shard(*id))
    }

    fn remove_shard(&self, id: ShardId) -> Result<()> {
        // Records of transactions that began there are looked up when others are resolved: none is left behind a sync.
        self.sync()?;
        self.mark_log(self.log_last())?;
        let removed = {
            let mut picture = self.topology.cutover();
            if picture.slots.count(id) > 0 {
                return Err(Error::new(SqlState::ObjectNotInPrerequisiteState, format!("shard {id} still has slots")));
            }
            let mut shards = picture.shards.clone();
            let Some(shard) = shards.remove(&id) else { return Ok(()) };
            let mut change = MetaChange::default();
            change.delete(&key(id));
            self.meta.commit(change)?;
            // What it knew of the last writes: an older reader must not take the counters that are left for its own.
            let changed = shard.last_change();
            if let Some(heir) = shards.values().next() {
                self.schemas().tables.values().for_each(|table| heir.note_load(table.schema.id, changed));
            }
            let slots = picture.slots.clone();
            self.topology.replace(&mut picture, Layout::new(slots, shards));
            shard
        };
        self.rebalancing.shards.lock().remove(&id);
        self.event("shard", &format!("shard {id}"), "removed");
        let path = removed.path().to_path_buf();
        // Files that a reader keeps open a little longer go at the next start.
        let until = Instant::now() + READERS_LEAVE_WITHIN;
        while Arc::strong_count(&removed) > 1 && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        // Closed here: a store that somebody else is still closing writes into the directory.
        if let Some(shard) = Arc::into_inner(removed) {
            drop(shard);
            std::fs::remove_dir_all(&path).map_err(|error| io_error("cannot remove", &path, &error))?;
        }
        Ok(())
    }

    /// Removes the directories of shards that were removed while somebody still read from them.
    pub(super) fn sweep_shards(&self) -> Result<()> {
        let folder = self.directory.join("shards");
        let layout = self.layout();
        let entries = std::fs::read_dir(&folder).map_err(|error| io_error("cannot read", &folder, &error))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            if number.is_some_and(|number| !layout.shards.contains_key(&ShardId(number))) {
                std::fs::remove_dir_all(&path).map_err(|error| io_error("cannot remove", &path, &error))?;
            }
        }
        Ok(())
    }

    /// Pins or unpins a shard.
    ///
    /// # Errors
    /// 42704 for a shard that is not there.
    pub(crate) fn pin_shard(&self, id: ShardId, pinned: bool) -> Result<()> {
        let mut shards = self.rebalancing.shards.lock();
        let Some(stored) = shards.get(&id).copied() else {
            return Err(Error::new(SqlState::UndefinedObject, format!("there is no shard {id}"))
                .with_hint("QUERY SYSTEM.SHARDS lists them"));
        };
        let stored = StoredShard { pinned, ..stored };
        self.meta.put(&key(id), &stored)?;
        shards.insert(id, stored);
        drop(shards);
        self.event("shard", &format!("shard {id}"), if pinned { "pinned" } else { "unpinned" });
        Ok(())
    }
}
