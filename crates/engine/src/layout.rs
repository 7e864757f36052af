//! Which shard has which slot: one picture of it, replaced as a whole.
//!
//! Whoever routes by a [`Layout`] keeps it: a statement reads from the shards that its picture names until it ends, and
//! rows that have moved away stay where they were as long as somebody holds an older picture. A cutover replaces the
//! picture while nobody can take one, from the moment at which the source's last timestamp is taken to the one at which
//! the target serves ([`Topology::cutover`]); that lasts as long as a few syncs.

use evenkeel_model::{Epoch, Error, Result, ShardId, SlotMap, SqlState};
use evenkeel_storage::Shard;
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The shards, and the slots that each answers for.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) slots: SlotMap,
    pub(crate) shards: BTreeMap<ShardId, Arc<Shard>>,
    /// The shards that have slots.
    owners: Vec<ShardId>,
}

impl Layout {
    pub(crate) fn new(slots: SlotMap, shards: BTreeMap<ShardId, Arc<Shard>>) -> Self {
        Self { owners: slots.shards(), slots, shards }
    }

    pub(crate) fn shard(&self, id: ShardId) -> Result<&Arc<Shard>> {
        self.shards.get(&id).ok_or_else(|| Error::internal(format!("shard {id} is not there")))
    }

    /// The shard that has a row key.
    pub(crate) fn shard_of(&self, key: &[u8]) -> Result<&Arc<Shard>> {
        self.shard(crate::table::shard_of(key, &self.slots))
    }

    /// The shards that have slots, ascending.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &Arc<Shard>> {
        self.owners.iter().filter_map(|id| self.shards.get(id))
    }
}

/// The picture in force, and who still goes by older ones.
pub(crate) struct Topology {
    current: RwLock<Arc<Layout>>,
    older: Mutex<Vec<Weak<Layout>>>,
    /// Grows with every change that somebody who was kept off may have waited for.
    changes: Mutex<u64>,
    changed: Condvar,
    /// Bulk loads under way, whose files go to the shards that had the slots when they began; and cutovers.
    traffic: Mutex<Traffic>,
    settled: Condvar,
}

#[derive(Default)]
struct Traffic {
    loads: usize,
    cutovers: usize,
}

/// Keeps slots where they are while a bulk load is under way.
pub(crate) struct LoadPass(Arc<Topology>);

impl Drop for LoadPass {
    fn drop(&mut self) {
        self.0.traffic.lock().loads -= 1;
        self.0.settled.notify_all();
    }
}

/// Keeps bulk loads from beginning while slots change hands.
pub(crate) struct CutoverPass<'t>(&'t Topology);

impl Drop for CutoverPass<'_> {
    fn drop(&mut self) {
        self.0.traffic.lock().cutovers -= 1;
        self.0.settled.notify_all();
    }
}

impl Topology {
    pub(crate) fn new(layout: Layout) -> Self {
        Self {
            current: RwLock::new(Arc::new(layout)),
            older: Mutex::default(),
            changes: Mutex::default(),
            changed: Condvar::new(),
            traffic: Mutex::default(),
            settled: Condvar::new(),
        }
    }

    /// The picture in force.
    pub(crate) fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.current.read())
    }

    /// The picture, which stays in force as long as the guard lives: what a reader's timestamp is taken under.
    pub(crate) fn steady(&self) -> RwLockReadGuard<'_, Arc<Layout>> {
        self.current.read()
    }

    /// The picture, for whoever is to replace it: nobody else takes one meanwhile.
    pub(crate) fn cutover(&self) -> RwLockWriteGuard<'_, Arc<Layout>> {
        self.current.write()
    }

    /// Puts a new picture in the old one's place.
    pub(crate) fn replace(&self, current: &mut RwLockWriteGuard<'_, Arc<Layout>>, layout: Layout) {
        let old = std::mem::replace(&mut **current, Arc::new(layout));
        let mut older = self.older.lock();
        older.retain(|layout| layout.strong_count() > 0);
        older.push(Arc::downgrade(&old));
        drop(older);
        drop(old);
        self.announce();
    }

    /// Wakes whoever was kept off.
    pub(crate) fn announce(&self) {
        *self.changes.lock() += 1;
        self.changed.notify_all();
    }

    /// The number of changes so far, to be taken before what may be kept off is tried.
    pub(crate) fn changes(&self) -> u64 {
        *self.changes.lock()
    }

    /// Waits for a change after `seen`.
    ///
    /// # Errors
    /// 55P03 at the deadline.
    pub(crate) fn wait_for_change(&self, seen: u64, deadline: Instant) -> Result<()> {
        let mut changes = self.changes.lock();
        while *changes == seen {
            if self.changed.wait_until(&mut changes, deadline).timed_out() && *changes == seen {
                return Err(Error::new(SqlState::LockNotAvailable, "gave up waiting for rows that are being moved")
                    .with_hint("try again; QUERY SYSTEM.REBALANCE_STATUS shows what holds the move up"));
            }
        }
        Ok(())
    }

    /// Whether somebody still goes by a picture that is older than this epoch.
    pub(crate) fn has_readers_before(&self, epoch: Epoch) -> bool {
        let mut older = self.older.lock();
        older.retain(|layout| layout.strong_count() > 0);
        older.iter().filter_map(Weak::upgrade).any(|layout| layout.slots.epoch() < epoch)
    }

    /// Lets a bulk load begin, after the cutovers under way.
    pub(crate) fn begin_load(self: &Arc<Self>) -> LoadPass {
        let mut traffic = self.traffic.lock();
        while traffic.cutovers > 0 {
            self.settled.wait(&mut traffic);
        }
        traffic.loads += 1;
        LoadPass(Arc::clone(self))
    }

    /// Lets a cutover begin, unless a bulk load is under way.
    pub(crate) fn begin_cutover(&self) -> Option<CutoverPass<'_>> {
        let mut traffic = self.traffic.lock();
        if traffic.loads > 0 {
            return None;
        }
        traffic.cutovers += 1;
        Some(CutoverPass(self))
    }

    /// Whether a bulk load is under way.
    pub(crate) fn is_loading(&self) -> bool {
        self.traffic.lock().loads > 0
    }
}
