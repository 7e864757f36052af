//! REMOVE SHARD: its slots to the others, as evenly as they go, and then it goes itself.

use crate::job::{Draft, JobKind, JobPlan};
use crate::place::Subject;
use crate::planning::{Planning, not_as_things_are};
use crate::words::{counted, said_of, shards};
use evenkeel_model::{Error, Result, ShardId, SqlState};
use evenkeel_rebalancer::balance::{Plan, Problem, Reason, ShardRole, ShardState, drain};

impl Planning<'_> {
    pub fn remove(&self, number: u64) -> Result<JobPlan> {
        let shard = self.shard(number, Subject::Shard(0))?;
        self.plan_removal(shard).map_err(|error| self.text.at(error, Subject::Shard(0)))
    }

    fn plan_removal(&self, shard: ShardId) -> Result<JobPlan> {
        self.free(shard, Subject::Shard(0))?;
        if self.snapshot.jobs.iter().any(|job| job.is_removing(shard)) {
            return Err(self.draining(shard));
        }
        self.has_heirs(shard)?;
        let slots = self.problem.slots_of(shard);
        self.movable(&slots, shard, shard).map_err(|(_, error)| error)?;
        self.untouched(shard)?;
        // All of it goes, however long it takes: the limits of an hour hold while the job runs, and what was split or moved
        // lately is no reason to keep a shard.
        let mut problem = self.problem.clone();
        problem.shards.iter_mut().for_each(|shard| shard.cooling_until_ms = None);
        (problem.limits.moves_max, problem.limits.bytes_max) = (None, None);
        let mut plan = drain(&problem, shard, None);
        // Other shards that drain are no part of it.
        plan.moves.retain(|step| step.source == shard);
        let moved: usize = plan.moves.iter().map(|step| step.slots.len()).sum();
        if moved < slots.len() {
            return Err(left_over(&plan, shard, slots.len() - moved));
        }
        Ok(self.draft_removal(problem, shard, plan))
    }

    fn draft_removal(&self, problem: Problem, shard: ShardId, plan: Plan) -> JobPlan {
        let mut draft = Draft::new(JobKind::Remove, problem);
        plan.moves.iter().for_each(|step| draft.add(step.clone()));
        draft.remove(shard);
        draft.job().plan = Some(plan);
        draft.finish(self.snapshot.bytes_per_second)
    }

    /// There is somebody else who may take slots.
    fn has_heirs(&self, shard: ShardId) -> Result<()> {
        let others = || self.problem.shards.iter().filter(|other| other.id != shard);
        if others().any(|other| other.role == ShardRole::Active && !other.pinned) {
            return Ok(());
        }
        let pinned: Vec<ShardId> = others().filter(|other: &&ShardState| other.pinned).map(|other| other.id).collect();
        let (message, hint) = match (others().count(), pinned.as_slice()) {
            (0, _) => (format!("shard {shard} is the last one"), "ADD SHARD first".to_string()),
            (_, []) => (format!("no other shard may take the slots of shard {shard}"), "ADD SHARD first".to_string()),
            (_, [first, ..]) => {
                let verb = if pinned.len() == 1 { "is" } else { "are" };
                let message =
                    format!("no other shard may take the slots of shard {shard}: {} {verb} pinned", shards(&pinned));
                (message, format!("UNPIN SHARD {first}, or ADD SHARD"))
            }
        };
        Err(not_as_things_are(message).with_hint(hint))
    }
}

/// A shard that would not be empty is not removed.
fn left_over(plan: &Plan, shard: ShardId, slots: usize) -> Error {
    let reason = plan.reason(shard).cloned().unwrap_or(Reason::NoTargetWithRoom);
    let state = match reason {
        Reason::NoTargetWithRoom => SqlState::DiskFull,
        _ => SqlState::ObjectNotInPrerequisiteState,
    };
    let error =
        Error::new(state, format!("shard {shard} can't be emptied: {} would be left", counted(slots as u64, "slot")))
            .with_detail(said_of(&reason, shard));
    match reason.hint(shard) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
