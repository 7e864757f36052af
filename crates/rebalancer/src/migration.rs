//! Moving slots from one shard to another while both keep serving.
//!
//! WHAT MAY NEVER HAPPEN: two shards accept writes for one slot; a shard answers for a slot without every acknowledged
//! write; rows are deleted before their copy was proved equal; a command that comes late changes anything.
//!
//! ```text
//!  Planned ─▶ Copying ─▶ CatchingUp ◀─▶ Sealing ─▶ Switching ─╫▶ Activating ─▶ Verifying ─▶ Dropping ─▶ Done
//!     │          │           │  Unsealing  │           │      ╫      ▲             │
//!     │          └───────────┴──────┬──────┴───────────┘      ╫      │             └▶ VerificationFailed
//!     │                             ▼                         ╫      │ it had switched after all
//!     │                         Reclaiming ───────────────────╫──────┘
//!     │                             ▼                         ╫ the slot map's commit: the point of no return
//!     └──────────────────▶ Undone ◀─ Undoing
//! ```
//!
//! A [`Migration`] is a value. [`Migration::command`] says what its phase wants done, [`Migration::next`] where an
//! observation leads. The driver loads the record, carries out its command, observes, and puts the next record in the
//! old one's place by compare-and-set on `step`; a crash is no special case, and neither is a second driver that does
//! not know of the first. Commands may be repeated, be lost, or land late:
//!
//! * No command of a phase is sent before the phase is in the meta store. Whoever meant to go elsewhere from the same
//!   record finds its step gone.
//! * Every command to a shard carries a [`Stamp`]. A shard refuses a step that is older than one it has seen, and a
//!   migration that began before the epoch at which these slots were last settled ([`ownership`]).
//! * The slot map changes only from the epoch that the record names. Going back takes a commit too: once the map is
//!   beyond the record's epoch and the source still owns the slots, no switch that is under way can ever land.
//! * Until the outcome of a sent switch is known the source stays sealed and fenced. Nobody guesses.
//!
//! The price is one write to the meta store a phase, and one epoch for a migration that goes back. Tests walk every
//! reachable state of two shards, a slot map and any number of drivers (`tests/migration`).

mod command;
pub mod ownership;

pub use command::{Command, MapChange, Observed, Order, ShardCommand, Stamp, Tally};
pub use ownership::{Accepted, Access, Effect, Ownership, Part, Refusal, Role};

use evenkeel_model::{Epoch, JobId, MigrationId, ShardId, SlotMap, SlotSet, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a migration is. Each phase wants one thing done ([`Migration::command`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Decided, and nobody has been told.
    Planned,
    /// The source puts every change into its outbox as well; a snapshot streams to the target.
    Copying,
    /// The outbox is drained into the target, again and again.
    CatchingUp,
    /// The source holds writes back and is fenced; the last of the outbox is drained; both sides are counted.
    Sealing,
    /// The cutover would have been too long: the source opens again.
    Unsealing,
    /// The slot map is to name the target. Whether it does is unknown until it was read.
    Switching,
    /// The slot map names the target: it opens, and the source lets go.
    Activating,
    /// Both sides are read at the cutover timestamp and compared, in the background.
    Verifying,
    /// The source deletes its copy.
    Dropping,
    /// The target has the slots and all their rows, the source none. Over.
    Done,
    /// Going back: the slot map's epoch is moved past every switch that may still be under way.
    Reclaiming,
    /// The source opens again, the target deletes what it has received.
    Undoing,
    /// As if it had never begun. Over.
    Undone,
    /// The copies differ: the target serves, both copies are kept, somebody must look. Over.
    VerificationFailed,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 14] = [
        Phase::Planned,
        Phase::Copying,
        Phase::CatchingUp,
        Phase::Sealing,
        Phase::Unsealing,
        Phase::Switching,
        Phase::Activating,
        Phase::Verifying,
        Phase::Dropping,
        Phase::Done,
        Phase::Reclaiming,
        Phase::Undoing,
        Phase::Undone,
        Phase::VerificationFailed,
    ];

    /// The name that people see, in snake case. `Unsealing` is a part of sealing to them, `Activating` of switching.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Planned => "planned",
            Phase::Copying => "copying",
            Phase::CatchingUp => "catching_up",
            Phase::Sealing | Phase::Unsealing => "sealing",
            Phase::Switching | Phase::Activating => "switching",
            Phase::Verifying => "verifying",
            Phase::Dropping => "dropping",
            Phase::Done => "done",
            Phase::Reclaiming => "reclaiming",
            Phase::Undoing => "undoing",
            Phase::Undone => "undone",
            Phase::VerificationFailed => "verification_failed",
        }
    }

    /// Whether nothing is left to do.
    pub fn is_over(self) -> bool {
        matches!(self, Phase::Done | Phase::Undone | Phase::VerificationFailed)
    }

    /// Whether the slot map is known to have named the target: from here it only goes forward.
    pub fn is_past_no_return(self) -> bool {
        use Phase::{Activating, Done, Dropping, VerificationFailed, Verifying};
        matches!(self, Activating | Verifying | Dropping | Done | VerificationFailed)
    }

    /// Whether the driver may stop here for as long as it likes: nobody waits for what comes next.
    pub fn may_pause(self) -> bool {
        matches!(self, Phase::Planned | Phase::Copying | Phase::CatchingUp)
    }

    /// Whether cancelling or failing turns it round. In `Switching` it tries to; the slot map has the last word.
    fn may_turn_back(self) -> bool {
        !self.is_past_no_return() && !matches!(self, Phase::Reclaiming | Phase::Undoing | Phase::Undone)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a migration turned back, or meant to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Somebody asked for it.
    Cancelled,
    /// What went wrong, in one line.
    Failed(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Cancelled => f.write_str("cancelled"),
            Reason::Failed(what) => f.write_str(what),
        }
    }
}

/// Whom the slot map names for the slots of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The source, all of them.
    Source,
    /// The target, all of them.
    Target,
    /// Another shard, or several.
    Elsewhere,
}

/// One live move of slots: the record that the meta store keeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Migration {
    /// Numbered ascending, never reused.
    pub id: MigrationId,
    /// The plan that it is a part of.
    pub job: JobId,
    /// The shard that has the slots.
    pub source: ShardId,
    /// The shard that is to have them.
    pub target: ShardId,
    /// What moves. No other migration that is not over names any of these slots.
    pub slots: SlotSet,
    /// Where it is.
    pub phase: Phase,
    /// The record's version: grows by one at every change, is what compare-and-set compares, and goes out in every
    /// command to a shard.
    pub step: u64,
    /// The slot map's epoch when it began; what it is settled at is always later. Zero while planned.
    pub since: Epoch,
    /// Before the slot map's commit: the epoch from which it moves on. After it: the epoch at which the slots are
    /// settled, with the target or back with the source.
    pub epoch: Epoch,
    /// Every commit at the source is at or below it, every commit at the target above it.
    pub cutover: Option<Timestamp>,
    /// How often the source was to be sealed.
    pub cutover_attempts: u32,
    /// Why it turned back. Also set where cancelling came too late to turn it.
    pub reason: Option<Reason>,
}

impl Migration {
    /// A migration that nobody has been told of.
    ///
    /// # Panics
    /// If source and target are one shard, or no slots are to move.
    pub fn new(id: MigrationId, job: JobId, source: ShardId, target: ShardId, slots: SlotSet) -> Self {
        assert!(source != target && !slots.is_empty(), "a migration moves some slots between two shards");
        let (since, epoch) = (Epoch(0), Epoch(0));
        let (phase, step, cutover, cutover_attempts, reason) = (Phase::Planned, 0, None, 0, None);
        Self { id, job, source, target, slots, phase, step, since, epoch, cutover, cutover_attempts, reason }
    }

    /// Where an observation leads. Observations that are late, repeated or of another phase leave the record as it is.
    #[must_use]
    pub fn next(&self, seen: &Observed) -> Self {
        use Phase::{Activating, CatchingUp, Copying, Dropping, Planned, Reclaiming, Sealing, Switching, Unsealing};
        use Phase::{Done, Undoing, Undone, VerificationFailed, Verifying};
        match (self.phase, seen) {
            (Planned, Observed::Map { epoch, holder: Holder::Source }) => {
                Self { since: *epoch, epoch: *epoch, ..self.to(Copying) }
            }
            (Planned, Observed::Map { .. }) => {
                self.turned_back(Reason::Failed("the source does not own the slots".into()))
            }
            (Copying, Observed::Copied) => self.to(CatchingUp),
            // No switch has been sent yet, so the epoch that it will name is free to choose. A fresh one spares a
            // conflict while writes are held.
            (CatchingUp, Observed::CaughtUp { epoch }) => {
                let cutover_attempts = self.cutover_attempts.saturating_add(1);
                Self { epoch: self.epoch.max(*epoch), cutover_attempts, ..self.to(Sealing) }
            }
            (Sealing, Observed::Sealed { cutover, source, target }) if source == target => {
                Self { cutover: Some(*cutover), ..self.to(Switching) }
            }
            (Sealing, Observed::Sealed { source, target, .. }) => {
                self.turned_back(Reason::Failed(format!("the copies differ: source {source}, target {target}")))
            }
            (Sealing, Observed::TooSlow) => self.to(Unsealing),
            (Unsealing, Observed::Told) => self.to(CatchingUp),
            // The slot map has the last word, whichever commit won the race.
            (Switching | Reclaiming, Observed::Map { epoch, holder: Holder::Target }) => {
                Self { epoch: *epoch, ..self.to(Activating) }
            }
            // Somebody else's commit came between: the switch of the old epoch can never land, so a new one is safe.
            (Switching, Observed::Map { epoch, holder: Holder::Source }) if *epoch > self.epoch => {
                Self { epoch: *epoch, ..self.to(Switching) }
            }
            // Whoever moved the epoch on: no switch that was sent can land any more.
            (Reclaiming, Observed::Map { epoch, .. }) if *epoch > self.epoch => {
                Self { epoch: *epoch, ..self.to(Undoing) }
            }
            (Activating, Observed::Told) => self.to(Verifying),
            (Verifying, Observed::Compared { source, target }) if source == target => self.to(Dropping),
            (Verifying, Observed::Compared { source, target }) => {
                let reason = Some(Reason::Failed(format!("the copies differ: source {source}, target {target}")));
                Self { reason, ..self.to(VerificationFailed) }
            }
            (Dropping, Observed::Told) => self.to(Done),
            (Undoing, Observed::Told) => self.to(Undone),
            (phase, Observed::Failed(what)) if phase.may_turn_back() => self.turned_back(Reason::Failed(what.clone())),
            _ => self.clone(),
        }
    }

    /// What the phase wants done; `None` when it is over. The same record always wants the same.
    pub fn command(&self) -> Option<Command> {
        let epoch = self.epoch;
        let (source, target) = (self.source, self.target);
        let tell = |shard, order| (shard, ShardCommand { stamp: self.stamp(), slots: self.slots.clone(), order });
        match self.phase {
            Phase::Planned => Some(Command::ReadMap),
            Phase::Copying => Some(Command::Copy {
                outgoing: tell(source, Order::BeginOutgoing).1,
                incoming: tell(target, Order::BeginIncoming).1,
            }),
            Phase::CatchingUp => Some(Command::CatchUp { stamp: self.stamp() }),
            Phase::Sealing => Some(Command::Seal { stamp: self.stamp(), slots: self.slots.clone() }),
            Phase::Unsealing => Some(Command::Tell(vec![tell(source, Order::Unseal)])),
            Phase::Switching => {
                Some(Command::Commit(MapChange::Switch { expected: epoch, slots: self.slots.clone(), source, target }))
            }
            Phase::Activating => Some(Command::Tell(vec![
                tell(target, Order::Activate { epoch }),
                tell(source, Order::Release { epoch }),
            ])),
            Phase::Verifying => self.cutover.map(|cutover| Command::Compare { cutover }),
            Phase::Dropping => Some(Command::Tell(vec![tell(source, Order::Drop { epoch })])),
            Phase::Reclaiming => Some(Command::Commit(MapChange::Reclaim { expected: epoch })),
            // The source first: its clients are waiting.
            Phase::Undoing => Some(Command::Tell(vec![
                tell(source, Order::EndOutgoing { epoch }),
                tell(target, Order::Discard { epoch }),
            ])),
            Phase::Done | Phase::Undone | Phase::VerificationFailed => None,
        }
    }

    /// Turns back, where that is still possible; else the record stays as it is and goes on to its end.
    #[must_use]
    pub fn cancel(&self) -> Self {
        if self.phase.may_turn_back() { self.turned_back(Reason::Cancelled) } else { self.clone() }
    }

    /// What the slot map says about it.
    pub fn read(&self, map: &SlotMap) -> Observed {
        let held_by = |shard| self.slots.iter().all(|slot| map.owner(slot) == shard);
        let holder = match (held_by(self.source), held_by(self.target)) {
            (true, _) => Holder::Source,
            (_, true) => Holder::Target,
            _ => Holder::Elsewhere,
        };
        Observed::Map { epoch: map.epoch(), holder }
    }

    /// What its commands to shards carry now.
    pub fn stamp(&self) -> Stamp {
        Stamp { migration: self.id, since: self.since, step: self.step }
    }

    /// The timestamp that both shards must still be able to read at, however old it gets: garbage collection stays
    /// behind it until the copies are compared.
    pub fn keeps_readable(&self) -> Option<Timestamp> {
        if self.phase.is_over() { None } else { self.cutover }
    }

    fn to(&self, phase: Phase) -> Self {
        Self { phase, step: self.step + 1, ..self.clone() }
    }

    /// Nobody has been told of a planned one, so there is nothing to reclaim.
    fn turned_back(&self, reason: Reason) -> Self {
        let phase = if self.phase == Phase::Planned { Phase::Undone } else { Phase::Reclaiming };
        Self { reason: Some(reason), ..self.to(phase) }
    }
}

#[cfg(test)]
mod tests;
