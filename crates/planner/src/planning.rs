//! One statement at work: the picture it is planned from, its text, and the questions that statements have in common.

use crate::job::{JobPlan, JobStatus};
use crate::place::{Subject, Text};
use crate::snapshot::{JobState, MigrationState, Snapshot};
use crate::words::{bytes, counted, listed, named, shards};
use crate::{Nothing, Outcome, explain_shard};
use evenkeel_model::{Error, JobId, Result, ShardId, Slot, SlotSet, SqlState};
use evenkeel_pql::ast::ShardStatement;
use evenkeel_rebalancer::balance::{Problem, Reason, ShardRole, ShardState};
use evenkeel_rebalancer::migration::Phase;
use std::collections::BTreeMap;

pub(crate) struct Planning<'a> {
    pub text: Text<'a>,
    pub snapshot: &'a Snapshot,
    /// With the jobs laid over it.
    pub problem: Problem,
}

impl<'a> Planning<'a> {
    pub fn new(text: &'a str, snapshot: &'a Snapshot) -> Self {
        Self { text: Text(text), snapshot, problem: snapshot.problem() }
    }

    pub fn outcome(&self, statement: &ShardStatement) -> Result<Outcome> {
        match statement {
            ShardStatement::Rebalance { options } => self.rebalance(options),
            ShardStatement::ExplainShard(shard) => {
                let shard = self.shard(*shard, Subject::Shard(0))?;
                Ok(Outcome::Rows(explain_shard(shard, self.snapshot)?))
            }
            ShardStatement::Split { shard, into, at_load_midpoint } => {
                self.split(*shard, *into, *at_load_midpoint).map(start)
            }
            ShardStatement::Merge { shards } => self.merge(shards).map(start),
            ShardStatement::MoveSlots { slots, from, to } => self.move_slots(slots, *from, *to).map(start),
            ShardStatement::Pin(shard) => self.pin(*shard),
            ShardStatement::Unpin(shard) => self.unpin(*shard),
            ShardStatement::AddShard => Ok(Outcome::AddShard(self.snapshot.next_shard)),
            ShardStatement::RemoveShard(shard) => self.remove(*shard).map(start),
            ShardStatement::PauseJob(job) => self.pause(*job),
            ShardStatement::ResumeJob(job) => self.resume(*job),
            ShardStatement::CancelJob(job) => self.cancel(*job),
            ShardStatement::UndoJob(job) => self.undo(*job).map(start),
            ShardStatement::WaitForJob { job, timeout } => self.wait(*job, timeout.as_deref()),
            ShardStatement::VerifyShard(shard) => self.verify(*shard),
        }
    }

    /// The shard of this number.
    pub fn shard(&self, number: u64, subject: Subject) -> Result<ShardId> {
        let found = self.problem.shards.iter().find(|shard| u64::from(shard.id.0) == number);
        found.map(|shard| shard.id).ok_or_else(|| {
            let mut ids: Vec<_> = self.problem.shards.iter().map(|shard| shard.id).collect();
            ids.sort_unstable();
            let error = Error::new(SqlState::UndefinedObject, format!("there is no shard {number}"));
            let verb = if ids.len() == 1 { "is" } else { "are" };
            self.text.at(error.with_hint(format!("there {verb} {}", shards(&ids))), subject)
        })
    }

    /// A shard that can be reached and whose slots may move.
    pub fn free(&self, shard: ShardId, subject: Subject) -> Result<&ShardState> {
        let state = self.state(shard)?;
        if state.pinned {
            let error = not_as_things_are(format!("shard {shard} is pinned"));
            return Err(self.text.at(error.with_hint(format!("UNPIN SHARD {shard} first")), subject));
        }
        self.reachable(shard, subject)?;
        Ok(state)
    }

    /// A shard that can be reached.
    pub fn reachable(&self, shard: ShardId, subject: Subject) -> Result<()> {
        if self.state(shard)?.role == ShardRole::Unavailable {
            let error = not_as_things_are(format!("shard {shard} can't be reached"));
            return Err(self.text.at(error.with_hint("QUERY SYSTEM.NODES shows which nodes are down"), subject));
        }
        Ok(())
    }

    /// A shard whose slots may move, and that is to stay.
    pub fn staying(&self, shard: ShardId, subject: Subject) -> Result<&ShardState> {
        let state = self.free(shard, subject)?;
        if state.role == ShardRole::Draining {
            return Err(self.text.at(self.draining(shard), subject));
        }
        Ok(state)
    }

    pub fn draining(&self, shard: ShardId) -> Error {
        match self.snapshot.jobs.iter().find(|job| job.is_removing(shard)) {
            Some(JobState { id, .. }) => not_as_things_are(format!("shard {shard} is being removed by job {id}"))
                .with_hint(format!("CANCEL JOB {id} keeps it")),
            None => not_as_things_are(format!("shard {shard} is being drained"))
                .with_hint(format!("REMOVE SHARD {shard} goes on with it")),
        }
    }

    /// Whether these slots of a shard may go to another: there are such, they are there, and nobody has them in hand.
    pub fn movable(&self, slots: &SlotSet, from: ShardId, to: ShardId) -> std::result::Result<(), (Slot, Error)> {
        let first_of = |set: &SlotSet| set.ranges().first().map_or(Slot(0), |(first, _)| *first);
        let count = self.problem.slots.len() as u32;
        if let Some(slot) = slots.iter().find(|slot| slot.0 >= count) {
            let error = Error::new(SqlState::UndefinedObject, format!("there is no slot {slot}"));
            return Err((slot, error.with_hint(format!("slots are numbered 0 to {}", count.saturating_sub(1)))));
        }
        let elsewhere: SlotSet = slots.iter().filter(|slot| self.owner(*slot) != from).collect();
        if !elsewhere.is_empty() {
            return Err((first_of(&elsewhere), self.not_there(&elsewhere, from, to)));
        }
        if let Some((job, held)) = self.snapshot.holder(slots) {
            let verb = if held.len() == 1 { "is" } else { "are" };
            let error = not_as_things_are(format!("{} {verb} being moved by job {}", named(&held), job.id));
            return Err((first_of(&held), error.with_hint(wait_or_cancel(job.id))));
        }
        let on_way: SlotSet =
            slots.iter().filter(|slot| self.problem.slots[slot.0 as usize].moving_to.is_some()).collect();
        if !on_way.is_empty() {
            let error = not_as_things_are(format!("{} are on their way already", named(&on_way)));
            return Err((first_of(&on_way), error.with_hint("try again when they have arrived")));
        }
        let pending = self.problem.pending_drops.iter().filter(|drop| drop.shard == to);
        let old = pending.fold(SlotSet::new(), |set, drop| set.union(&drop.slots.intersection(slots)));
        if !old.is_empty() {
            let error = not_as_things_are(format!("shard {to} has yet to drop its old copy of {}", named(&old)));
            let hint = "QUERY SYSTEM.REBALANCE_STATUS shows how far that is; try again when it is done";
            return Err((first_of(&old), error.with_hint(hint)));
        }
        Ok(())
    }

    pub fn owner(&self, slot: Slot) -> ShardId {
        self.problem.slots[slot.0 as usize].owner
    }

    /// Slots by the shard that has them.
    pub fn by_owner(&self, slots: &SlotSet) -> BTreeMap<ShardId, SlotSet> {
        let mut owners: BTreeMap<ShardId, SlotSet> = BTreeMap::new();
        slots.iter().for_each(|slot| owners.entry(self.owner(slot)).or_default().insert(slot));
        owners
    }

    fn not_there(&self, slots: &SlotSet, from: ShardId, to: ShardId) -> Error {
        let owners = self.by_owner(slots);
        let verb = if slots.len() == 1 { "is" } else { "are" };
        let message = format!("{} {verb} not at shard {from}", named(slots));
        let error = match owners.keys().collect::<Vec<_>>().as_slice() {
            [only] => not_as_things_are(format!("{message} but at shard {only}")),
            _ => not_as_things_are(message).with_detail(self.whereabouts(slots)),
        };
        match owners.iter().find(|(owner, _)| **owner != to) {
            Some((owner, set)) => {
                error.with_hint(format!("MOVE SLOTS {} FROM SHARD {owner} TO SHARD {to}", spelt(set)))
            }
            None => error.with_hint("there is nothing to move"),
        }
    }

    /// `slots 0-3 are at shard 1 and slot 9 is at shard 4`.
    pub fn whereabouts(&self, slots: &SlotSet) -> String {
        let place = |(shard, set): (ShardId, SlotSet)| {
            let verb = if set.len() == 1 { "is" } else { "are" };
            format!("{} {verb} at shard {shard}", named(&set))
        };
        listed(&self.by_owner(slots).into_iter().map(place).collect::<Vec<_>>())
    }

    /// Whether a shard may go away, as far as jobs are concerned: none brings slots to it, and none still needs its copies.
    pub fn untouched(&self, shard: ShardId) -> Result<()> {
        if let Some(job) = self.snapshot.toucher(shard) {
            let error = not_as_things_are(format!("job {} is moving slots to or from shard {shard}", job.id));
            return Err(error.with_hint(wait_or_cancel(job.id)));
        }
        let failed = |step: &&MigrationState| step.phase == Phase::VerificationFailed && step.source == shard;
        match self.snapshot.jobs.iter().flat_map(|job| &job.migrations).find(failed) {
            Some(step) => Err(copies_differ(step)),
            None => Ok(()),
        }
    }

    /// The error of a move that the balancer refuses for a reason that was not asked about before.
    pub fn refused(&self, reason: &Reason, source: ShardId, target: ShardId, slots: &SlotSet) -> Error {
        if *reason == Reason::NoTargetWithRoom {
            return self.no_room(target, slots);
        }
        let error = not_as_things_are(format!("shard {source}: {reason}"));
        match reason.hint(source) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn no_room(&self, target: ShardId, slots: &SlotSet) -> Error {
        let wanted: f64 = slots.iter().map(|slot| self.problem.slots[slot.0 as usize].load.bytes).sum();
        let (count, size) = (counted(slots.len() as u64, "slot"), bytes(wanted.max(0.0) as u64));
        let error = Error::new(SqlState::DiskFull, format!("shard {target} has no room for {count} ({size})"));
        match self.problem.shard(target).and_then(|shard| shard.free_bytes) {
            Some(free) => {
                error.with_detail(format!("{} are free on its disk, and both copies exist for a while", bytes(free)))
            }
            None => error.with_detail("its capacity would be exceeded"),
        }
    }

    /// The job of this number.
    pub fn job(&self, number: u64) -> Result<&'a JobState> {
        self.snapshot.jobs.iter().find(|job| job.id.0 == number).ok_or_else(|| {
            let running: Vec<_> =
                self.snapshot.jobs.iter().filter(|job| !job.status.is_over()).map(|job| job.id).collect();
            let error = Error::new(SqlState::UndefinedObject, format!("there is no job {number}"));
            let hint = match running.as_slice() {
                [] => "SHOW JOBS lists them; none is running".to_string(),
                [only] => format!("SHOW JOBS lists them; running is {only}"),
                several => format!("SHOW JOBS lists them; running are {}", listed(several)),
            };
            self.text.at(error.with_hint(hint), Subject::Job)
        })
    }

    /// The error about a job that is not as a statement needs it.
    pub fn job_is(&self, job: &JobState, how: &str, hint: Option<String>) -> Error {
        let error = self.text.at(not_as_things_are(format!("job {} {how}", job.id)), Subject::Job);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// The error of a statement to a job that is over.
    pub fn job_is_over(&self, job: &JobState) -> Error {
        let has_moved = job.migrations.iter().any(|step| step.phase.is_past_no_return());
        let hint = has_moved.then(|| format!("UNDO JOB {} plans the way back", job.id));
        let how = match job.status {
            JobStatus::Cancelled => "was cancelled",
            JobStatus::Failed => "has failed",
            _ => "is done",
        };
        self.job_is(job, how, hint)
    }

    fn state(&self, shard: ShardId) -> Result<&ShardState> {
        let missing = || Error::new(SqlState::UndefinedObject, format!("there is no shard {shard}"));
        self.problem.shard(shard).ok_or_else(missing)
    }
}

fn start(job: JobPlan) -> Outcome {
    Outcome::Start(Box::new(job))
}

pub(crate) fn nothing(reason: impl Into<String>) -> Outcome {
    Outcome::Nothing(Nothing { reason: reason.into(), hint: None, left_alone: Vec::new(), decision: None })
}

/// 55000: right in itself, and not as things are.
pub(crate) fn not_as_things_are(message: impl Into<String>) -> Error {
    Error::new(SqlState::ObjectNotInPrerequisiteState, message)
}

pub(crate) fn wait_or_cancel(job: JobId) -> String {
    format!("WAIT FOR JOB {job}, or CANCEL JOB {job}")
}

/// The error of a migration whose copies are not equal.
pub(crate) fn copies_differ(step: &MigrationState) -> Error {
    let MigrationState { source, target, slots, .. } = step;
    not_as_things_are(format!("the copies of {} at shards {source} and {target} differ", named(slots)))
        .with_detail("both are kept until somebody has looked")
        .with_hint(format!("VERIFY SHARD {target}"))
}

/// `0 TO 9, 12`: slots as MOVE SLOTS takes them.
fn spelt(slots: &SlotSet) -> String {
    let range =
        |(first, last): &(Slot, Slot)| if first == last { first.to_string() } else { format!("{first} TO {last}") };
    slots.ranges().iter().map(range).collect::<Vec<_>>().join(", ")
}
