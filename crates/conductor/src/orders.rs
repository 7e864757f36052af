//! What somebody asks for: a new job, or another state of one that there is. Kept before it is answered.

use crate::jobs::StoredJob;
use crate::meta::{MetaChange, MetaStore};
use crate::movement::record_key;
use crate::world::World;
use crate::{Conductor, State, Wish};
use evenkeel_model::{Error, JobId, Result, SqlState};
use evenkeel_planner::{JobPlan, JobStatus};

/// Jobs that are over are kept, with their migrations, up to this many.
const HISTORY_MAX: usize = 1_000;

pub(crate) fn job_key(id: JobId) -> String {
    format!("job/{:020}", id.0)
}

/// 42704 for a job.
pub fn unknown_job(id: JobId) -> Error {
    Error::new(SqlState::UndefinedObject, format!("there is no job {id}")).with_hint("QUERY SYSTEM.JOBS lists them")
}

impl Conductor {
    /// Makes the shards that a job needs, and keeps it; whoever tends the jobs begins it.
    ///
    /// # Errors
    /// What the shards' disk or the meta store says.
    pub fn start_job<W: World>(&self, world: &W, statement: &str, plan: JobPlan) -> Result<JobId> {
        plan.new_shards.iter().try_for_each(|shard| self.add_shard(world, *shard))?;
        if let Some(decision) = &plan.decision {
            self.note_decision(world, decision)?;
        }
        let reason = plan.decision.as_ref().map_or_else(|| "asked for".to_string(), |d| d.reason.to_string());
        let remembered = plan.plan.clone();
        let id = self.keep_new_job(world, statement, &reason, plan)?;
        if let Some(plan) = remembered {
            self.remember_plan(world, &plan)?;
        }
        Ok(id)
    }

    /// Keeps a job; whoever tends the jobs begins it.
    pub(crate) fn keep_new_job<W: World>(
        &self,
        world: &W,
        statement: &str,
        reason: &str,
        plan: JobPlan,
    ) -> Result<JobId> {
        let (kind, moves) = (plan.kind, plan.moves.len());
        let mut state = self.state.lock();
        let id = JobId(state.next_job);
        state.next_job += 1;
        let mut job = StoredJob {
            id,
            statement: statement.to_string(),
            reason: reason.to_string(),
            status: JobStatus::Running,
            migrations: vec![None; plan.moves.len()],
            plan,
            created_at_ms: world.now_ms(),
            finished_at_ms: None,
            imbalance_after: None,
            error: None,
        };
        let kept = world.put(&job_key(id), &job);
        if let Err(error) = &kept {
            // It may be kept all the same, and go on after a restart: until that is settled, nobody gets its slots, and no
            // shard of it is pinned. It ends without having begun.
            job.status = JobStatus::Cancelling;
            job.error = Some(error.message.clone());
        }
        state.jobs.insert(id, job);
        drop(state);
        self.wake();
        kept?;
        world.event("job", &format!("job {id}"), &format!("{kind} started: {moves} migrations"));
        Ok(id)
    }

    /// Pauses, resumes or cancels a job.
    ///
    /// # Errors
    /// 42704 for a job that is not there; 55000 for one that is over; what the meta store says.
    pub fn want(&self, meta: &impl MetaStore, id: JobId, wanted: JobStatus) -> Result<()> {
        let mut state = self.state.lock();
        let job = state.jobs.get(&id).ok_or_else(|| unknown_job(id))?;
        if job.status.is_over() || (job.status == JobStatus::Cancelling && wanted != JobStatus::Cancelling) {
            let what = format!("job {id} is {} already", job.status.name());
            return Err(Error::new(SqlState::ObjectNotInPrerequisiteState, what)
                .with_hint("UNDO JOB moves back what a finished job has moved"));
        }
        let changed = StoredJob { status: wanted, ..job.clone() };
        meta.put(&job_key(id), &changed)?;
        let wish = match wanted {
            JobStatus::Paused => Wish::Pause,
            JobStatus::Cancelling => Wish::Cancel,
            _ => Wish::GoOn,
        };
        for migration in changed.migrations.iter().flatten() {
            if let Some(movement) = state.movements.get(migration) {
                movement.want(wish);
            }
        }
        state.jobs.insert(id, changed);
        drop(state);
        self.wake();
        Ok(())
    }

    /// Puts a changed job in the old one's place, in the meta store first.
    pub(crate) fn keep_job(&self, meta: &impl MetaStore, state: &mut State, job: StoredJob) -> Result<()> {
        meta.put(&job_key(job.id), &job)?;
        state.jobs.insert(job.id, job);
        Ok(())
    }

    /// Adds a changed job to what is kept together.
    pub(crate) fn put_job(change: &mut MetaChange, job: &StoredJob) -> Result<()> {
        change.put(&job_key(job.id), job)
    }

    /// Forgets what has been over for long.
    pub(crate) fn forget_old(&self, meta: &impl MetaStore, state: &mut State) -> Result<()> {
        let mut change = MetaChange::default();
        let over: Vec<_> = state.jobs.values().filter(|job| job.status.is_over()).map(|job| job.id).collect();
        for id in over.iter().take(over.len().saturating_sub(HISTORY_MAX)) {
            change.delete(&job_key(*id));
            if let Some(job) = state.jobs.remove(id) {
                for migration in job.migrations.into_iter().flatten() {
                    change.delete(&record_key(migration));
                    state.migrations.remove(&migration);
                }
            }
        }
        if over.len() > HISTORY_MAX { meta.commit(change) } else { Ok(()) }
    }
}
