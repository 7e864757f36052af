//! Which shards there are: adding one, removing an empty one, pinning.

use crate::Conductor;
use crate::meta::{MetaChange, MetaStore};
use crate::mistake::mistaken;
use crate::world::{Cutover, World};
use evenkeel_model::{Error, Result, ShardId, SlotMap, SqlState};
use std::collections::BTreeMap;

/// What the meta store keeps of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredShard {
    pub created_at_ms: i64,
    /// The balancer keeps its hands off.
    pub pinned: bool,
}

fn key(id: ShardId) -> String {
    format!("shard/{:010}", id.0)
}

/// The shards of a database: those that the meta store lists, or, in a database that is older than the list, those that
/// the slot map names.
///
/// # Errors
/// What the meta store says.
pub fn listed_shards(meta: &impl MetaStore, slots: &SlotMap) -> Result<BTreeMap<ShardId, StoredShard>> {
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

impl Conductor {
    /// The shards and what is kept of them.
    pub fn shards(&self) -> BTreeMap<ShardId, StoredShard> {
        self.shards.lock().clone()
    }

    /// A number that no shard ever had.
    pub fn next_shard(&self) -> ShardId {
        ShardId(self.last_shard.lock().0 + 1)
    }

    /// Makes a shard without slots.
    ///
    /// # Errors
    /// What the disk or the meta store says.
    pub fn add_shard<W: World>(&self, world: &W, id: ShardId) -> Result<()> {
        let slots = world.picture().slots;
        let shard = world.make_shard(id, slots.bits(), slots.epoch())?;
        let stored = StoredShard { created_at_ms: world.now_ms(), pinned: false };
        let mut change = MetaChange::default();
        change.put(&key(id), &stored)?;
        let last = {
            let mut last = self.last_shard.lock();
            *last = id.max(*last);
            *last
        };
        change.put("last_shard", &last.0)?;
        world.commit(change)?;
        self.shards.lock().insert(id, stored);
        world.cutover().add_shard(id, shard);
        world.event("shard", &format!("shard {id}"), "added");
        Ok(())
    }

    /// Takes away shards that have no slots any more.
    pub(crate) fn remove_shards<W: World>(&self, world: &W, ids: &[ShardId]) -> Result<()> {
        ids.iter().try_for_each(|id| self.remove_shard(world, *id))
    }

    /// A removal that failed may have taken the target of a migration off the list: it is put there again, with what names it.
    pub(crate) fn list_target(&self, change: &mut MetaChange, target: ShardId) -> Result<()> {
        if mistaken!(TargetNotListed) {
            return Ok(());
        }
        self.shards.lock().get(&target).map_or(Ok(()), |stored| change.put(&key(target), stored))
    }

    fn remove_shard<W: World>(&self, world: &W, id: ShardId) -> Result<()> {
        world.settle_commits()?;
        let removed = {
            let mut picture = world.cutover();
            let in_use = |what: &str| Error::new(SqlState::ObjectNotInPrerequisiteState, format!("shard {id} {what}"));
            if picture.slots().count(id) > 0 {
                return Err(in_use("still has slots"));
            }
            if self.is_moved_by_any(id) {
                return Err(in_use("is used by a migration"));
            }
            let Some(shard) = picture.shard(id) else { return Ok(()) };
            let mut change = MetaChange::default();
            change.delete(&key(id));
            // Its number is never given again, also when it was the highest of those that the database began with.
            change.put("last_shard", &self.last_shard.lock().0)?;
            world.commit(change)?;
            picture.remove_shard(id);
            shard
        };
        self.shards.lock().remove(&id);
        world.event("shard", &format!("shard {id}"), "removed");
        world.delete_shard(removed)
    }

    fn is_moved_by_any(&self, id: ShardId) -> bool {
        let migrations = self.migrations();
        let open = migrations.iter().map(|stored| &stored.migration).filter(|migration| !migration.phase.is_over());
        open.into_iter().any(|migration| migration.source == id || migration.target == id)
    }

    /// Pins or unpins a shard.
    ///
    /// # Errors
    /// 42704 for a shard that is not there; what the meta store says.
    pub fn pin_shard<W: World>(&self, world: &W, id: ShardId, pinned: bool) -> Result<()> {
        let mut shards = self.shards.lock();
        let Some(stored) = shards.get(&id).copied() else {
            return Err(Error::new(SqlState::UndefinedObject, format!("there is no shard {id}"))
                .with_hint("QUERY SYSTEM.SHARDS lists them"));
        };
        let stored = StoredShard { pinned, ..stored };
        let kept = world.put(&key(id), &stored);
        // A pin that may have been kept holds: after a restart it would, for what was planned without it, too.
        if kept.is_ok() || pinned {
            shards.insert(id, stored);
        }
        drop(shards);
        kept?;
        world.event("shard", &format!("shard {id}"), if pinned { "pinned" } else { "unpinned" });
        Ok(())
    }
}
