//! What is under way between drivers, shards and the slot map, and small numbers for large values.
//!
//! A state of the walk must be small and quick to compare, while records, ownerships and slot maps are not. Each
//! distinct one is kept once and stands in the state as its number.

use crate::mistakes::Mistake;
use evenkeel_model::{Epoch, ShardId, Timestamp};
use evenkeel_rebalancer::migration::{Command, MapChange, Migration, Observed, Order, ShardCommand, Stamp};
use std::collections::HashMap;
use std::hash::Hash;

/// The source, and where it stands in arrays.
pub const SOURCE: usize = 0;
/// The target.
pub const TARGET: usize = 1;
/// The shards by their place in arrays.
pub const SHARDS: [ShardId; 2] = [ShardId(1), ShardId(2)];

/// Distinct values, each with a number.
pub struct Interned<T> {
    values: Vec<T>,
    numbers: HashMap<T, u16>,
}

impl<T: Clone + Eq + Hash> Interned<T> {
    pub fn new() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }

    pub fn number(&mut self, value: T) -> u16 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = u16::try_from(self.values.len()).expect("fewer than 65,536 distinct values");
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    pub fn get(&self, number: u16) -> &T {
        &self.values[number as usize]
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }
}

/// Something that a driver has sent, or will, at any time from when its record was persisted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Letter {
    /// To a shard. For a seal, the shard puts its own timestamp in.
    Shard(usize, ShardCommand),
    /// To the meta store.
    Map(MapChange),
    /// Leave to bring rows to the target, from a snapshot or the outbox.
    Rows(Stamp),
}

/// What a driver has been answered to the command of the present record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A shard has agreed.
    Agreed(usize),
    /// Something that leads on by itself.
    Seen(Observed),
}

/// Everything that a record makes its drivers send.
pub fn letters_of(record: &Migration, mistake: Mistake) -> Vec<Letter> {
    let place = |shard: ShardId| usize::from(shard == record.target);
    match record.command() {
        Some(Command::Copy { outgoing, incoming }) => {
            vec![Letter::Shard(SOURCE, outgoing), Letter::Shard(TARGET, incoming), Letter::Rows(record.stamp())]
        }
        Some(Command::CatchUp { stamp }) => vec![Letter::Rows(stamp)],
        Some(Command::Seal { stamp, slots }) => {
            let order = Order::Seal { cutover: Timestamp::ZERO };
            vec![Letter::Shard(SOURCE, ShardCommand { stamp, slots, order }), Letter::Rows(stamp)]
        }
        Some(Command::Tell(told)) => told
            .into_iter()
            .filter(|(_, command)| {
                !(mistake == Mistake::TargetNotDiscarded && matches!(command.order, Order::Discard { .. }))
            })
            .map(|(shard, command)| {
                let astray = mistake == Mistake::DropWrongSide && matches!(command.order, Order::Drop { .. });
                Letter::Shard(if astray { TARGET } else { place(shard) }, command)
            })
            .collect(),
        Some(Command::Commit(change)) => {
            let mut letters = vec![Letter::Map(change)];
            if mistake == Mistake::ActivateBeforeSwitch && record.reason.is_none() {
                let order = Order::Activate { epoch: Epoch(record.epoch.0 + 1) };
                let early = ShardCommand { stamp: record.stamp(), slots: record.slots.clone(), order };
                letters.push(Letter::Shard(TARGET, early));
            }
            letters
        }
        Some(Command::ReadMap | Command::Compare { .. }) | None => vec![],
    }
}
