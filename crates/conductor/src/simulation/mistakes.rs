//! Mistakes that are planted, to see that each is found: in the conductor's own code, or in what shards do.

use std::cell::Cell;

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The driver acts by a record before it is kept.
    ActBeforeKept,
    /// A job is over when what is shown says so, kept or not.
    ShownBeforeKept,
    /// Turning back takes no epoch: a switch under way still lands.
    UndoWithoutEpoch,
    /// The cutover timestamp is taken before writes are held.
    TimestampBeforeHold,
    /// The cutover does not wait for writes in flight.
    HoldWithoutWaiting,
    /// The target opens before the slot map names it.
    ActivateBeforeSwitch,
    /// The picture can be taken before the target has opened.
    OpenBeforeActivate,
    /// Bulk loads may begin while a source is sealed.
    LoadsWhileSealed,
    /// Copies are taken to be equal.
    DropBeforeVerify,
    /// The target is told to drop.
    DropWrongSide,
    /// The source drops while somebody still reads by an older picture.
    DropUnderReaders,
    /// The outbox forgets what the target has not stored yet.
    ForgetBeforeStored,
    /// Two migrations share a shard.
    TwoAtOneShard,
    /// Moves overtake one another.
    MovesOvertake,
    /// Pins are not looked at.
    PinsIgnored,
    /// A job is over before all of its migrations are.
    JobEndsEarly,
    /// A shard whose removal may have happened gets slots again, and stays off the list.
    TargetNotListed,
    /// The source answers every read, above the cutover timestamp too.
    NoFence,
    /// A shard obeys a step that is over.
    StaleStepAccepted,
    /// A shard begins a migration of slots that were settled since.
    StaleEpochAccepted,
    /// Deletions are not copied.
    CopySkipsDeletions,
    /// Only the newest version of a row is copied.
    CopySkipsHistory,
    /// What a copy that was cut off has left is not counted.
    RetryWithoutRecount,
    /// Rows that arrive again are counted again.
    RowsCountedTwice,
    /// The commit log is applied again where rows were dropped.
    CommitsNotSettled,
}

impl Mistake {
    /// Every mistake.
    pub const ALL: [Mistake; 25] = [
        Self::ActBeforeKept,
        Self::ShownBeforeKept,
        Self::UndoWithoutEpoch,
        Self::TimestampBeforeHold,
        Self::HoldWithoutWaiting,
        Self::ActivateBeforeSwitch,
        Self::OpenBeforeActivate,
        Self::LoadsWhileSealed,
        Self::DropBeforeVerify,
        Self::DropWrongSide,
        Self::DropUnderReaders,
        Self::ForgetBeforeStored,
        Self::TwoAtOneShard,
        Self::MovesOvertake,
        Self::PinsIgnored,
        Self::JobEndsEarly,
        Self::TargetNotListed,
        Self::NoFence,
        Self::StaleStepAccepted,
        Self::StaleEpochAccepted,
        Self::CopySkipsDeletions,
        Self::CopySkipsHistory,
        Self::RetryWithoutRecount,
        Self::RowsCountedTwice,
        Self::CommitsNotSettled,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
}

/// Plants a mistake in what this thread simulates.
pub fn plant(mistake: Option<Mistake>) {
    PLANTED.set(mistake);
}

/// Whether it is made.
pub fn is_planted(mistake: Mistake) -> bool {
    PLANTED.get() == Some(mistake)
}
