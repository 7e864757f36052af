//! UNDO JOB: the way back from a job, for those of its slots that are still where it took them.
//!
//! Moves go back in reverse order. A shard that the job made is removed again if that empties it; a shard that the job
//! removed can't come back under its number, so a new one takes its place.

use crate::job::{Draft, JobKind, JobPlan, JobStatus};
use crate::place::Subject;
use crate::planning::{Planning, copies_differ, not_as_things_are, wait_or_cancel};
use crate::snapshot::JobState;
use crate::words::named;
use evenkeel_model::{Error, Result, ShardId, Slot, SlotSet};
use evenkeel_rebalancer::balance::Reason;
use evenkeel_rebalancer::migration::Phase;
use std::collections::BTreeMap;

/// Shards that are gone, and the new ones in their places.
type StandIns = BTreeMap<ShardId, ShardId>;

impl Planning<'_> {
    pub fn undo(&self, number: u64) -> Result<JobPlan> {
        let job = self.job(number)?;
        if !job.status.is_over() {
            let how = if job.status == JobStatus::Paused { "is paused, not over" } else { "is still running" };
            let hint = format!("CANCEL JOB {} turns back what can turn back; WAIT FOR JOB {} waits", job.id, job.id);
            return Err(self.job_is(job, how, Some(hint)));
        }
        self.plan_undo(job).map_err(|error| self.text.at(error, Subject::Job))
    }

    fn plan_undo(&self, job: &JobState) -> Result<JobPlan> {
        if let Some(step) = job.migrations.iter().find(|step| step.phase == Phase::VerificationFailed) {
            return Err(copies_differ(step));
        }
        let mut draft = Draft::new(JobKind::Undo, self.problem.clone());
        let mut stand_ins = StandIns::new();
        let mut left = SlotSet::new();
        for step in job.migrations.iter().rev().filter(|step| step.phase.is_past_no_return()) {
            let still: SlotSet = step.slots.iter().filter(|slot| self.owner(*slot) == step.target).collect();
            left = left.union(&step.slots.difference(&still));
            if still.is_empty() {
                continue;
            }
            match self.home(job, step.source, &mut draft, &mut stand_ins) {
                Some(home) => self.back(&mut draft, step.target, home, &still)?,
                None => left = left.union(&still),
            }
        }
        self.remove_made(&mut draft, job);
        let undo = draft.job();
        if undo.moves.is_empty() && undo.removes.is_empty() && undo.new_shards.is_empty() {
            return Err(self.nothing_left(job, &left));
        }
        undo.undoes = Some(job.id);
        undo.notices.extend((!left.is_empty()).then(|| format!("left where they are: {}", self.whereabouts(&left))));
        if self.snapshot.balancer.auto_rebalance {
            undo.notices.push("auto_rebalance is on, and the balancer may move slots again".into());
        }
        Ok(draft.finish(self.snapshot.bytes_per_second))
    }

    /// Where slots go back to. A shard that the job removed gets a new one in its place; `None` where another job has
    /// removed it since.
    fn home(&self, job: &JobState, source: ShardId, draft: &mut Draft, stand_ins: &mut StandIns) -> Option<ShardId> {
        if self.problem.shard(source).is_some() {
            return Some(source);
        }
        let next = ShardId(self.snapshot.next_shard.0 + stand_ins.len() as u32);
        job.removes.contains(&source).then(|| {
            *stand_ins.entry(source).or_insert_with(|| {
                draft.create(next);
                next
            })
        })
    }

    fn back(&self, draft: &mut Draft, from: ShardId, home: ShardId, slots: &SlotSet) -> Result<()> {
        self.free(from, Subject::Job)?;
        if self.problem.shard(home).is_some() {
            self.staying(home, Subject::Job)?;
        }
        self.movable(slots, from, home).map_err(|(_, error)| error)?;
        draft.admit(from, home, slots, Reason::ByHand).map_err(|reason| self.refused(&reason, from, home, slots))
    }

    /// Shards that the job made go, if nothing would be left in them.
    fn remove_made(&self, draft: &mut Draft, job: &JobState) {
        for shard in &job.new_shards {
            let Some(state) = self.problem.shard(*shard) else { continue };
            let is_left = |slot: &Slot| draft.problem().slots[slot.0 as usize].moving_to.is_none();
            let left: SlotSet = self.problem.slots_of(*shard).iter().filter(is_left).collect();
            let stays = match (self.untouched(*shard), left.is_empty()) {
                (_, false) => format!("it has {} besides", named(&left)),
                (_, true) if state.pinned => "it is pinned".to_string(),
                (Err(error), true) => error.message,
                (Ok(()), true) => {
                    draft.remove(*shard);
                    continue;
                }
            };
            draft.job().notices.push(format!("shard {shard} stays: {stays}"));
        }
    }

    fn nothing_left(&self, job: &JobState, slots: &SlotSet) -> Error {
        if slots.is_empty() {
            return not_as_things_are(format!("job {} has moved nothing, so there is nothing to undo", job.id));
        }
        let error = not_as_things_are(format!("nothing of job {} is left to undo", job.id))
            .with_detail(self.whereabouts(slots));
        match self.snapshot.holder(slots) {
            Some((other, _)) => error.with_hint(wait_or_cancel(other.id)),
            None => error,
        }
    }
}
