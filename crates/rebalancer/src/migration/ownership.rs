//! What one shard may do with each slot: the value that its storage persists, and the only judge of migration commands.
//!
//! WHAT MAY NEVER HAPPEN: a command that comes late changes anything; a shard that was restarted forgets that it is
//! sealed or fenced; rows are deleted in slots that the shard owns.
//!
//! ```text
//!   source   owned ─BeginOutgoing─▶ Outgoing ◀─Seal/Unseal─▶ Sealed{C} ─Release─▶ Released{C} ─Drop─▶ not owned
//!              ▲                       │                        │
//!              └──────EndOutgoing──────┴────────────────────────┘
//!   target   not owned ─BeginIncoming─▶ Incoming ─Activate─▶ owned
//!                ▲                         │
//!                └─────────Discard─────────┘
//! ```
//!
//! Two numbers tell what is late. Within a migration it is the *step*: a [`Role`] keeps the newest it was told, and
//! older ones are refused. Between migrations it is the *epoch*: an order that ends a role settles its slots at an epoch
//! of the slot map, and a migration that began before that epoch cannot begin here again, ever. So nothing has to be
//! remembered of migrations that are over, however many there were: at most one epoch a slot.
//!
//! Whoever persists an [`Accepted`] puts the ownership and the effect into one atomic batch, and asks
//! [`Ownership::may_write`], [`Ownership::mirrors`] and [`Ownership::may_read`] of the value that is in force where the
//! write is applied or the read takes its snapshot, not of an earlier one.

use super::{Order, ShardCommand, Stamp};
use evenkeel_model::{Epoch, MigrationId, Slot, SlotSet, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The slots of one shard, and its part in migrations that are not over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ownership {
    /// What it answers for, be it sealed or not.
    owned: SlotSet,
    /// At most one a slot.
    roles: Vec<Role>,
    /// At which epoch slots were last gained, lost, or left as they were by a migration that was undone.
    settled: BTreeMap<Epoch, SlotSet>,
}

/// A shard's part in one migration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Role {
    /// The newest that was told.
    pub stamp: Stamp,
    /// The migration's slots.
    pub slots: SlotSet,
    /// How far it is.
    pub part: Part,
}

/// How far a shard is in a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Source: serves as ever, and puts every change into the outbox too.
    Outgoing,
    /// Source: holds writes and newer reads, until it learns the outcome.
    Sealed { cutover: Timestamp },
    /// Source: another shard's by now; the rows are still there.
    Released { cutover: Timestamp },
    /// Target: takes rows in and shows them to nobody.
    Incoming,
}

/// Whether a shard serves a read or a write now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Yes.
    Granted,
    /// In a moment: the slot is being cut over. Ask again when the ownership has changed.
    Wait,
    /// Not here: look into a newer slot map.
    Moved,
}

/// What follows from a command: to be persisted together, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accepted {
    /// The ownership from now on; equal to the old one when the command was a repetition.
    pub ownership: Ownership,
    /// What else is in the same batch.
    pub effect: Option<Effect>,
}

/// What a command does to what the shard stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// All versions of all tables in these slots, and their counters.
    DeleteRows(SlotSet),
    /// The changes that are owed to this migration's target.
    ForgetOutbox(MigrationId),
}

/// Why a command changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A later step of the same migration was here before.
    StaleStep { seen: u64 },
    /// The slots were settled after the migration began: it is over.
    StaleEpoch { settled: Epoch },
    /// No part in that migration: it is over here, or has not begun.
    NoRole,
    /// Not in this part: a driver has gone astray.
    WrongPart(Part),
    /// The slots are in the hands of another migration.
    Busy { migration: MigrationId },
    /// A source that does not own the slots.
    NotOwner,
    /// A target that owns some of the slots: what it has of them must not be deleted.
    AlreadyOwner,
}

impl Refusal {
    /// Whether the driver is late rather than wrong: it reloads its record.
    pub fn is_stale(self) -> bool {
        matches!(self, Refusal::StaleStep { .. } | Refusal::StaleEpoch { .. } | Refusal::NoRole)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::StaleStep { seen } => write!(f, "step {seen} of the migration was here before"),
            Refusal::StaleEpoch { settled } => {
                write!(f, "the slots were settled at epoch {settled}, later than it began")
            }
            Refusal::NoRole => f.write_str("the shard has no part in the migration"),
            Refusal::WrongPart(part) => write!(f, "the shard is {part:?} in the migration"),
            Refusal::Busy { migration } => write!(f, "migration {migration} is moving some of the slots"),
            Refusal::NotOwner => f.write_str("the shard does not own the slots"),
            Refusal::AlreadyOwner => f.write_str("the shard owns some of the slots already"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Ownership {
    /// Owns these slots since an epoch of the slot map.
    pub fn new(owned: SlotSet, epoch: Epoch) -> Self {
        let mut new = Self { owned: owned.clone(), ..Self::default() };
        new.settle(&owned, epoch);
        new
    }

    /// The slots that it answers for.
    pub fn owned(&self) -> &SlotSet {
        &self.owned
    }

    /// Its parts in migrations that are not over here.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// Its part in one migration.
    pub fn role(&self, migration: MigrationId) -> Option<&Role> {
        self.roles.iter().find(|role| role.stamp.migration == migration)
    }

    /// Whether a write to this slot may begin.
    #[inline]
    pub fn may_write(&self, slot: Slot) -> Access {
        match self.part_in(slot) {
            None | Some(Part::Outgoing) if self.owned.contains(slot) => Access::Granted,
            Some(Part::Sealed { .. }) => Access::Wait,
            _ => Access::Moved,
        }
    }

    /// Whether a read of this slot at a timestamp may be answered from here.
    #[inline]
    pub fn may_read(&self, slot: Slot, at: Timestamp) -> Access {
        match self.part_in(slot) {
            None | Some(Part::Outgoing) if self.owned.contains(slot) => Access::Granted,
            Some(Part::Sealed { cutover } | Part::Released { cutover }) if at <= cutover => Access::Granted,
            Some(Part::Sealed { .. }) => Access::Wait,
            _ => Access::Moved,
        }
    }

    /// Whether a scan of these slots, and of no others, may be answered from here: what the least willing slot says.
    pub fn may_scan(&self, slots: &SlotSet, at: Timestamp) -> Access {
        // One slot of a role speaks for all of them. The slots without a role are served if they are owned.
        let mut plain = slots.clone();
        let mut worst = Access::Granted;
        for role in &self.roles {
            let concerned = slots.intersection(&role.slots);
            if let Some((slot, _)) = concerned.ranges().first() {
                worst = worst.max(self.may_read(*slot, at));
            }
            plain = plain.difference(&concerned);
        }
        if plain.difference(&self.owned).is_empty() { worst } else { Access::Moved }
    }

    /// The migration whose outbox also gets a change to this slot. Asked when the change is applied.
    #[inline]
    pub fn mirrors(&self, slot: Slot) -> Option<MigrationId> {
        let role = self.roles.iter().find(|role| role.slots.contains(slot))?;
        matches!(role.part, Part::Outgoing | Part::Sealed { .. }).then_some(role.stamp.migration)
    }

    /// Whether old versions in this slot may be collected. Not at a target: a deletion that is collected there could no
    /// longer hide an older version that is still on its way.
    #[inline]
    pub fn may_collect(&self, slot: Slot) -> bool {
        !self.receives(slot)
    }

    /// Whether rows of this slot are on their way in.
    #[inline]
    pub fn receives(&self, slot: Slot) -> bool {
        self.part_in(slot) == Some(Part::Incoming)
    }

    /// Whether versions that a migration sends may be stored.
    ///
    /// # Errors
    /// The refusal, if this shard is not, or not any more, that migration's target.
    pub fn may_receive(&self, stamp: &Stamp) -> Result<(), Refusal> {
        let role = self.role(stamp.migration).ok_or(Refusal::NoRole)?;
        match role.part {
            _ if stamp.step < role.stamp.step => Err(Refusal::StaleStep { seen: role.stamp.step }),
            Part::Incoming => Ok(()),
            part => Err(Refusal::WrongPart(part)),
        }
    }

    /// What follows from a command. A repetition is agreed to and changes nothing.
    ///
    /// # Errors
    /// The refusal; then nothing changes.
    pub fn accept(&self, command: &ShardCommand) -> Result<Accepted, Refusal> {
        let stamp = command.stamp;
        match self.roles.iter().position(|role| role.stamp.migration == stamp.migration) {
            Some(at) if stamp.step < self.roles[at].stamp.step => {
                Err(Refusal::StaleStep { seen: self.roles[at].stamp.step })
            }
            Some(at) => self.go_on(at, command),
            None => self.without_role(command),
        }
    }

    /// A command of a migration that this shard has a part in.
    fn go_on(&self, at: usize, command: &ShardCommand) -> Result<Accepted, Refusal> {
        use Part::{Incoming, Outgoing, Released, Sealed};
        let role = &self.roles[at];
        let forget = Some(Effect::ForgetOutbox(role.stamp.migration));
        let delete = Some(Effect::DeleteRows(role.slots.clone()));
        match (role.part, command.order) {
            (Outgoing, Order::BeginOutgoing) => Ok(self.with_part(at, command, Outgoing)),
            (Outgoing, Order::Seal { cutover }) => Ok(self.with_part(at, command, Sealed { cutover })),
            // Nothing was written since the first time, so the first timestamp holds.
            (Sealed { cutover }, Order::Seal { .. }) => Ok(self.with_part(at, command, Sealed { cutover })),
            (Outgoing | Sealed { .. }, Order::Unseal) => Ok(self.with_part(at, command, Outgoing)),
            (Sealed { cutover }, Order::Release { epoch }) => {
                let mut next = self.with_part(at, command, Released { cutover });
                next.ownership.owned = self.owned.difference(&role.slots);
                next.ownership.settle(&role.slots, epoch);
                Ok(Accepted { effect: forget, ..next })
            }
            (Released { cutover }, Order::Release { .. }) => Ok(self.with_part(at, command, Released { cutover })),
            (Released { .. }, Order::Drop { epoch }) => Ok(Accepted { effect: delete, ..self.without(at, epoch) }),
            (Outgoing | Sealed { .. }, Order::EndOutgoing { epoch }) => {
                Ok(Accepted { effect: forget, ..self.without(at, epoch) })
            }
            // What has arrived stays: versions never change, so a copy that starts again may find some there.
            (Incoming, Order::BeginIncoming) => Ok(self.with_part(at, command, Incoming)),
            (Incoming, Order::Activate { epoch }) => {
                let mut next = self.without(at, epoch);
                next.ownership.owned = self.owned.union(&role.slots);
                Ok(next)
            }
            (Incoming, Order::Discard { epoch }) => Ok(Accepted { effect: delete, ..self.without(at, epoch) }),
            (part, _) => Err(Refusal::WrongPart(part)),
        }
    }

    /// A command of a migration that this shard has no part in: it begins here, is over, or was never heard of.
    fn without_role(&self, command: &ShardCommand) -> Result<Accepted, Refusal> {
        let slots = &command.slots;
        match command.order {
            Order::BeginOutgoing => {
                self.may_begin(command)?;
                let owns = slots.difference(&self.owned).is_empty();
                if owns { Ok(self.with_role(command, Part::Outgoing, None)) } else { Err(Refusal::NotOwner) }
            }
            Order::BeginIncoming => {
                self.may_begin(command)?;
                let owns = !slots.intersection(&self.owned).is_empty();
                let clean = Effect::DeleteRows(slots.clone());
                if owns { Err(Refusal::AlreadyOwner) } else { Ok(self.with_role(command, Part::Incoming, Some(clean))) }
            }
            Order::EndOutgoing { epoch } | Order::Discard { epoch } => {
                // The beginning may still be under way: from now on it comes too late.
                let mut ownership = self.clone();
                ownership.settle(slots, epoch);
                Ok(Accepted { ownership, effect: None })
            }
            Order::Activate { epoch } | Order::Release { epoch } | Order::Drop { epoch } => {
                let repeated = self.unsettled(slots, epoch).is_empty();
                repeated.then(|| Accepted { ownership: self.clone(), effect: None }).ok_or(Refusal::NoRole)
            }
            Order::Seal { .. } | Order::Unseal => Err(Refusal::NoRole),
        }
    }

    fn may_begin(&self, command: &ShardCommand) -> Result<(), Refusal> {
        let meets = |slots: &SlotSet| !slots.intersection(&command.slots).is_empty();
        let latest = self.settled.iter().rev().find(|(_, slots)| meets(slots)).map(|(epoch, _)| *epoch);
        if let Some(settled) = latest.filter(|settled| *settled > command.stamp.since) {
            return Err(Refusal::StaleEpoch { settled });
        }
        match self.roles.iter().find(|role| meets(&role.slots)) {
            Some(role) => Err(Refusal::Busy { migration: role.stamp.migration }),
            None => Ok(()),
        }
    }

    fn with_role(&self, command: &ShardCommand, part: Part, effect: Option<Effect>) -> Accepted {
        let mut ownership = self.clone();
        ownership.roles.push(Role { stamp: command.stamp, slots: command.slots.clone(), part });
        Accepted { ownership, effect }
    }

    fn with_part(&self, at: usize, command: &ShardCommand, part: Part) -> Accepted {
        let mut ownership = self.clone();
        ownership.roles[at].part = part;
        ownership.roles[at].stamp = command.stamp;
        Accepted { ownership, effect: None }
    }

    fn without(&self, at: usize, epoch: Epoch) -> Accepted {
        let mut ownership = self.clone();
        let role = ownership.roles.remove(at);
        ownership.settle(&role.slots, epoch);
        Accepted { ownership, effect: None }
    }

    /// The slots of these that were not settled at this epoch or later.
    fn unsettled(&self, slots: &SlotSet, epoch: Epoch) -> SlotSet {
        self.settled.range(epoch..).fold(slots.clone(), |rest, (_, settled)| rest.difference(settled))
    }

    fn settle(&mut self, slots: &SlotSet, epoch: Epoch) {
        let slots = self.unsettled(slots, epoch);
        if slots.is_empty() {
            return;
        }
        self.settled.values_mut().for_each(|settled| *settled = settled.difference(&slots));
        self.settled.retain(|_, settled| !settled.is_empty());
        let here = self.settled.entry(epoch).or_default();
        *here = here.union(&slots);
    }

    #[inline]
    fn part_in(&self, slot: Slot) -> Option<Part> {
        self.roles.iter().find(|role| role.slots.contains(slot)).map(|role| role.part)
    }
}
