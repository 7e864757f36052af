//! Mistakes planted into the model, each of which the walk must find.

use crate::invariants::Invariant::{self, *};
use crate::state::Limits;
use crate::walk::walk;
use evenkeel_model::Epoch;
use evenkeel_rebalancer::migration::{Migration, Observed, Phase};

/// What is wrong in a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Nothing.
    None,
    /// The sealed source answers reads above the cutover timestamp.
    NoFence,
    /// Turning back goes straight to undoing; a switch under way still lands.
    UndoWithoutEpochCommit,
    /// Turning back does not look whether the switch had happened.
    UndoWithoutLooking,
    /// The slot map takes a switch of any epoch.
    SwitchOfAnyEpoch,
    /// Rows are dropped as soon as the source was released.
    DropBeforeVerify,
    /// The target obeys the order to drop.
    DropWrongSide,
    /// The target is told to open when the switch is sent, not when it has landed.
    ActivateBeforeSwitch,
    /// The outcome of a switch is guessed while the meta store is away: the source is opened again.
    GuessWhileAway,
    /// Shards do not look at stamps.
    StaleCommandsAccepted,
    /// Shards do not look at steps.
    StepsNotCompared,
    /// Shards do not look at epochs.
    EpochsNotCompared,
    /// A source that restarts has forgotten its seal.
    SealNotPersisted,
    /// The cutover timestamp is taken while a write is in flight.
    SealWithoutWaiting,
    /// The outbox is written after the data: a crash between loses the change.
    OutboxInAnotherBatch,
    /// Whether a change goes to the outbox is decided when its write begins.
    OutboxDecidedEarly,
    /// The snapshot is taken before the source keeps an outbox.
    SnapshotBeforeOutbox,
    /// The outbox forgets what was read from it, stored at the target or not.
    OutboxForgetsWhatWasRead,
    /// The switch follows the seal with the last of the outbox undrained.
    LastDrainForgotten,
    /// What is copied replaces what is there instead of taking its place among the versions.
    CopyOverwrites,
    /// The target collects old versions while it is still receiving.
    CollectWhileReceiving,
    /// A scan asks every shard for all it has, instead of each for the slots that one slot map gives it.
    ScanWithoutSlots,
    /// Old versions are collected although the copies were not yet compared at the cutover timestamp.
    CollectPastCutover,
    /// Undoing forgets to tell the target.
    TargetNotDiscarded,
}

impl Mistake {
    /// The machine, as this mistake has it.
    pub fn distort(self, before: &Migration, seen: &Observed) -> Migration {
        let mut next = before.next(seen);
        match (self, before.phase, next.phase) {
            (Mistake::UndoWithoutLooking, Phase::Reclaiming, Phase::Activating) => next.phase = Phase::Undoing,
            (Mistake::DropBeforeVerify, Phase::Activating, Phase::Verifying) => next.phase = Phase::Dropping,
            (Mistake::GuessWhileAway, Phase::Switching, _) if *seen == Observed::TooSlow => {
                next.phase = Phase::Unsealing;
                next.step += 1;
            }
            _ => {}
        }
        next
    }

    /// Cancelling, as this mistake has it.
    pub fn distort_cancel(self, before: &Migration) -> Migration {
        let mut next = before.cancel();
        if self == Mistake::UndoWithoutEpochCommit && next.phase == Phase::Reclaiming {
            next.phase = Phase::Undoing;
            next.epoch = Epoch(before.epoch.0 + 1);
        }
        next
    }
}

/// Plants a mistake and expects the walk to find it as a breach of one of these.
fn found(mistake: Mistake, expected: Invariant) {
    let walk = walk(mistake, Limits::ALL);
    let violation = walk.violation.unwrap_or_else(|| panic!("{mistake:?} was not found in {} states", walk.states));
    eprintln!("{mistake:?} after {} states: {violation}", walk.states);
    assert_eq!(violation.invariant, expected, "{mistake:?}: {violation}");
}

macro_rules! planted {
    ($($name:ident: $mistake:ident breaks $invariant:ident;)*) => {
        $(#[test] fn $name() { found(Mistake::$mistake, $invariant); })*
    };
}

planted! {
    no_fence: NoFence breaks NoStaleRead;
    undo_without_epoch_commit: UndoWithoutEpochCommit breaks OneOwner;
    undo_without_looking: UndoWithoutLooking breaks OneOwner;
    switch_of_any_epoch: SwitchOfAnyEpoch breaks OneOwner;
    drop_before_verify: DropBeforeVerify breaks VerifiedBeforeDrop;
    drop_wrong_side: DropWrongSide breaks AckedIsDurable;
    activate_before_switch: ActivateBeforeSwitch breaks OneOwner;
    guess_while_away: GuessWhileAway breaks OneOwner;
    stale_commands_accepted: StaleCommandsAccepted breaks StaleEpochRefused;
    steps_not_compared: StepsNotCompared breaks OneOwner;
    epochs_not_compared: EpochsNotCompared breaks Terminal;
    seal_not_persisted: SealNotPersisted breaks OneOwner;
    seal_without_waiting: SealWithoutWaiting breaks AckedIsDurable;
    outbox_in_another_batch: OutboxInAnotherBatch breaks AckedIsDurable;
    outbox_decided_early: OutboxDecidedEarly breaks AckedIsDurable;
    snapshot_before_outbox: SnapshotBeforeOutbox breaks AckedIsDurable;
    outbox_forgets_what_was_read: OutboxForgetsWhatWasRead breaks AckedIsDurable;
    last_drain_forgotten: LastDrainForgotten breaks AckedIsDurable;
    copy_overwrites: CopyOverwrites breaks NoResurrection;
    collect_while_receiving: CollectWhileReceiving breaks NoResurrection;
    scan_without_slots: ScanWithoutSlots breaks ExactlyOnceVisible;
    target_not_discarded: TargetNotDiscarded breaks Terminal;
    collect_past_cutover: CollectPastCutover breaks NoStaleRead;
}
