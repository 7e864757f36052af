//! What dies with a process: its pictures, locks, timestamps that are read at, and the conductor itself.

use super::shard::SimShard;
use crate::world::{Cutover, Picture};
use crate::{Bell, Conductor};
use evenkeel_model::{ShardId, SlotMap, Timestamp};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

pub type SimPicture = Picture<SimShard>;

/// One life of the process.
pub struct Process {
    pub number: u32,
    conductor: OnceCell<Conductor>,
    pub picture: RefCell<Arc<SimPicture>>,
    older: RefCell<Vec<Weak<SimPicture>>>,
    /// Rung when somebody who was kept off may try again.
    pub changed: Bell,
    pub is_cutting_over: Cell<bool>,
    pub loads: Cell<usize>,
    pub cutovers: Cell<usize>,
    pub pins: RefCell<BTreeMap<Timestamp, usize>>,
    pub is_planning: Cell<bool>,
    /// Somebody is served.
    pub is_open: Cell<bool>,
    pub commits: Cell<u64>,
}

impl Process {
    pub fn new(number: u32, slots: SlotMap, shards: BTreeMap<ShardId, Arc<SimShard>>) -> Rc<Self> {
        Rc::new(Self {
            number,
            conductor: OnceCell::new(),
            picture: RefCell::new(Arc::new(Picture { slots, shards })),
            older: RefCell::default(),
            changed: Bell::default(),
            is_cutting_over: Cell::new(false),
            loads: Cell::new(0),
            cutovers: Cell::new(0),
            pins: RefCell::default(),
            is_planning: Cell::new(false),
            is_open: Cell::new(false),
            commits: Cell::new(0),
        })
    }

    pub fn conduct(&self, conductor: Conductor) {
        assert!(self.conductor.set(conductor).is_ok(), "a process opens once");
    }

    pub fn conductor(&self) -> &Conductor {
        self.conductor.get().expect("the process has opened")
    }

    /// Whether somebody in the conductor must not be interrupted: a lock of its is held.
    pub fn is_busy(&self) -> bool {
        self.conductor.get().is_some_and(Conductor::is_locked)
    }

    fn replace(&self, picture: SimPicture) {
        let old = self.picture.replace(Arc::new(picture));
        self.older.borrow_mut().push(Arc::downgrade(&old));
        drop(old);
        self.changed.ring();
    }

    pub fn oldest_picture(&self) -> Option<evenkeel_model::Epoch> {
        let mut older = self.older.borrow_mut();
        older.retain(|picture| picture.strong_count() > 0);
        older.iter().filter_map(Weak::upgrade).map(|picture| picture.slots.epoch()).min()
    }
}

/// Nobody else takes a picture.
pub struct Guard(pub Rc<Process>, SlotMap);

impl Guard {
    /// As soon as nobody else has one.
    pub fn take(process: &Rc<Process>) -> Self {
        process.is_cutting_over.set(true);
        let slots = process.picture.borrow().slots.clone();
        Self(Rc::clone(process), slots)
    }

    fn change(&self, change: impl FnOnce(&mut SimPicture)) {
        let mut picture = SimPicture::clone(&self.0.picture.borrow());
        change(&mut picture);
        self.0.replace(picture);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.is_cutting_over.set(false);
    }
}

impl Cutover<SimShard> for Guard {
    fn slots(&self) -> &SlotMap {
        &self.1
    }

    fn replace_slots(&mut self, slots: SlotMap) {
        self.1 = slots.clone();
        self.change(|picture| picture.slots = slots);
    }

    fn add_shard(&mut self, id: ShardId, shard: Arc<SimShard>) {
        self.change(|picture| drop(picture.shards.insert(id, shard)));
    }

    fn shard(&self, id: ShardId) -> Option<Arc<SimShard>> {
        self.0.picture.borrow().shards.get(&id).cloned()
    }

    fn remove_shard(&mut self, id: ShardId) {
        self.change(|picture| drop(picture.shards.remove(&id)));
    }
}

/// Keeps loads from beginning.
pub struct Pass(pub Rc<Process>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.cutovers.set(self.0.cutovers.get() - 1);
    }
}

/// Keeps slots where they are.
pub struct LoadPass(pub Rc<Process>);

impl Drop for LoadPass {
    fn drop(&mut self) {
        self.0.loads.set(self.0.loads.get() - 1);
    }
}

/// Keeps versions from being collected.
pub struct Pin(Rc<Process>, Timestamp);

impl Pin {
    pub fn new(process: &Rc<Process>, at: Timestamp) -> Self {
        *process.pins.borrow_mut().entry(at).or_default() += 1;
        Self(Rc::clone(process), at)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.0.pins.borrow_mut();
        if let Some(count) = pins.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.1);
            }
        }
    }
}

/// Somebody plans a job.
pub struct Planning(pub Rc<Process>);

impl Planning {
    pub fn try_begin(process: &Rc<Process>) -> Option<Self> {
        (!process.is_planning.replace(true)).then(|| Self(Rc::clone(process)))
    }
}

impl Drop for Planning {
    fn drop(&mut self) {
        self.0.is_planning.set(false);
    }
}
