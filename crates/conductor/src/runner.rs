//! Begins migrations, as many as may run at once, and ends jobs.
//!
//! Somebody in the process calls [`Conductor::tend`] again and again; each migration that it begins is driven in a thread of
//! its own. [`Conductor::settle`] comes before anybody is served, [`Conductor::close`] when nobody is any more.

use crate::carry::Carry;
use crate::driver::{self, Wish};
use crate::jobs::{Standing, StoredJob};
use crate::meta::MetaChange;
use crate::mistake::mistaken;
use crate::movement::{Movement, Progress, StoredMigration, record_key};
use crate::world::World;
use crate::{Conductor, State};
use evenkeel_model::{Error, JobId, MigrationId, Result, ShardId};
use evenkeel_planner::JobStatus;
use evenkeel_rebalancer::balance::Move;
use evenkeel_rebalancer::budget::{Admission, AdmissionLimits, Admitted, Running};
use evenkeel_rebalancer::migration::{Migration, Observed, Phase};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Jobs are tended at least this often: whether somebody still has the database, whether the hour's budget has room again.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Phases in which somebody may be kept waiting, and that are therefore left before anybody is served.
fn keeps_waiting(phase: Phase) -> bool {
    use Phase::{Activating, Reclaiming, Sealing, Switching, Undoing, Unsealing};
    matches!(phase, Sealing | Unsealing | Switching | Activating | Reclaiming | Undoing)
}

impl Conductor {
    /// Finishes what stood between a seal and its outcome, or turns it back where its job was cancelled. The rest goes on when
    /// jobs are tended.
    ///
    /// # Errors
    /// When the shards of a migration are not there.
    pub fn settle<W: World>(&self, world: &W) -> Result<()> {
        let open: Vec<_> = {
            let state = self.state.lock();
            state.migrations.values().filter(|stored| !stored.migration.phase.is_over()).cloned().collect()
        };
        for stored in open {
            if keeps_waiting(stored.migration.phase) {
                let migration = stored.migration.clone();
                let wish = match self.state.lock().jobs.get(&migration.job).map(|job| job.status) {
                    // Somebody may be kept waiting: a pause comes after that.
                    Some(JobStatus::Running | JobStatus::Paused) => Wish::GoOn,
                    _ => Wish::Cancel,
                };
                let movement = Arc::new(Movement::new(stored, wish));
                let mut carry = Carry::new(world, Arc::clone(&movement), &migration)?;
                let message = format!("went on from {}", migration.phase);
                world.event("recovery", &format!("migration {}", migration.id), &message);
                driver::drive(migration, &mut carry, |phase| !keeps_waiting(phase));
                let stored = movement.stored();
                self.state.lock().migrations.insert(stored.migration.id, stored);
            }
        }
        Ok(())
    }

    /// Begins what may begin, ends what is over, measures, and decides by itself where the settings let it.
    ///
    /// # Errors
    /// What the meta store or a disk says; the next time it is tried again.
    pub fn tend<W: World>(&self, world: &W) -> Result<()> {
        self.run_jobs(world).and_then(|()| self.watch_balance(world))
    }

    /// Lets every migration stop where it is and waits for that: what was begun goes on when the database is opened again.
    pub fn close<W: World>(&self, world: &W) {
        loop {
            let seen = self.changed.rings();
            {
                let mut state = self.state.lock();
                state.closing = true;
                state.movements.values().for_each(|movement| movement.want(Wish::Stop));
                if state.threads == 0 {
                    return;
                }
            }
            world.wait(&self.changed, seen, LOOK_EVERY);
        }
    }

    fn run_jobs<W: World>(&self, world: &W) -> Result<()> {
        let mut state = self.state.lock();
        if state.closing {
            return Ok(());
        }
        // Only its own threads have the database: they stop, and what they do goes on when it is opened again.
        if state.threads > 0 && world.is_abandoned(state.threads) {
            state.movements.values().for_each(|movement| movement.want(Wish::Stop));
            return Ok(());
        }
        self.resume_migrations(world, &mut state)?;
        let open: Vec<_> = state.jobs.values().filter(|job| !job.status.is_over()).map(|job| job.id).collect();
        let mut ending = Vec::new();
        for id in open {
            ending.extend(self.run_job(world, &mut state, id)?);
        }
        self.forget_old(world, &mut state)?;
        drop(state);
        // Shards that go are waited for, and the balance is asked for: nobody waits for the jobs meanwhile.
        ending.into_iter().try_for_each(|(job, ended)| self.end_job(world, job, ended))?;
        self.changed.ring();
        Ok(())
    }

    /// Drives on what a process before this one has begun.
    fn resume_migrations<W: World>(&self, world: &W, state: &mut State) -> Result<()> {
        let left: Vec<_> = state.migrations.values().filter(|m| !m.migration.phase.is_over()).cloned().collect();
        for stored in left {
            if !state.movements.contains_key(&stored.migration.id) {
                let wish = match state.jobs.get(&stored.migration.job).map(|job| job.status) {
                    Some(JobStatus::Paused) => Wish::Pause,
                    Some(JobStatus::Running) => Wish::GoOn,
                    _ => Wish::Cancel,
                };
                self.start_migration(world, state, stored, wish)?;
            }
        }
        Ok(())
    }

    /// Lets a job go on. A job that is over comes back, with how it has ended.
    fn run_job<W: World>(&self, world: &W, state: &mut State, id: JobId) -> Result<Option<(StoredJob, JobStatus)>> {
        let migrations = state.all_migrations();
        let Some(job) = state.jobs.get(&id).cloned() else { return Ok(None) };
        match job.standing(&migrations) {
            Standing::Broken if job.status != JobStatus::Cancelling => {
                // The others turn back or go on to their end; then the job is over.
                let error = job.failure(&migrations);
                for migration in job.migrations.iter().flatten() {
                    if let Some(movement) = state.movements.get(migration) {
                        movement.want(Wish::Cancel);
                    }
                }
                let job = StoredJob { status: JobStatus::Cancelling, error, ..job };
                self.keep_job(world, state, job).map(|()| None)
            }
            Standing::Broken | Standing::TurnedBack => {
                if job.migrations.iter().flatten().any(|migration| state.movements.contains_key(migration)) {
                    return Ok(None);
                }
                let ended = if job.error.is_some() { JobStatus::Failed } else { JobStatus::Cancelled };
                Ok(Some((job, ended)))
            }
            Standing::AllDone => {
                let ended = match job.status {
                    _ if job.error.is_some() => JobStatus::Failed,
                    // Everything has moved; what was to go stays.
                    JobStatus::Cancelling if !job.plan.removes.is_empty() => JobStatus::Cancelled,
                    _ => JobStatus::Done,
                };
                Ok(Some((job, ended)))
            }
            Standing::UnderWay if job.status == JobStatus::Running => {
                self.begin_moves(world, state, &job).map(|()| None)
            }
            Standing::UnderWay => Ok(None),
        }
    }

    fn end_job<W: World>(&self, world: &W, mut job: StoredJob, mut ended: JobStatus) -> Result<()> {
        if ended == JobStatus::Done
            && let Err(error) = self.remove_shards(world, &job.plan.removes)
        {
            ended = JobStatus::Failed;
            job.error = Some(error.message);
        }
        let message = match &job.error {
            Some(error) => format!("{}: {error}", ended.name()),
            None => ended.name().to_string(),
        };
        world.event("job", &format!("job {}", job.id), &message);
        let imbalance_after = Some(evenkeel_planner::imbalance(&self.problem(world, &world.settings())));
        let job = StoredJob { status: ended, finished_at_ms: Some(world.now_ms()), imbalance_after, ..job };
        self.keep_job(world, &mut self.state.lock(), job)
    }

    /// Begins the next moves of a job: in the plan's order, as far as shards are free and the budget allows.
    fn begin_moves<W: World>(&self, world: &W, state: &mut State, job: &StoredJob) -> Result<()> {
        let settings = world.settings();
        let limits = AdmissionLimits {
            migrations_per_hour: stricter(
                settings.integer("max_migrations_per_hour").max(0) as u64,
                job.plan.max_migrations_per_hour.unwrap_or(0),
            ),
            migrations_at_once: settings.integer("max_concurrent_migrations").max(0) as u64,
            migrations_at_once_per_shard: if mistaken!(TwoAtOneShard) { 0 } else { 1 },
        };
        let waiting: Vec<_> = job.waiting().map(|(at, next)| (at, next.source, next.target)).collect();
        // A later move does not overtake an earlier one of its shards: each step of the plan rests on those before it.
        let mut passed_over: BTreeSet<ShardId> = BTreeSet::new();
        for (at, source, target) in waiting {
            // What waits for the last reader of its old copy keeps nobody from going on.
            let at_work: Vec<_> = state
                .movements
                .values()
                .map(|movement| movement.stored().migration)
                .filter(|migration| migration.phase != Phase::Dropping)
                .collect();
            let busy =
                |shard: ShardId| at_work.iter().filter(|m| m.source == shard || m.target == shard).count() as u64;
            let running = Running { all: at_work.len() as u64, at_busier_shard: busy(source).max(busy(target)) };
            let overtakes =
                (passed_over.contains(&source) || passed_over.contains(&target)) && !mistaken!(MovesOvertake);
            let now_ms = world.now_ms().max(0) as u64;
            let admitted = !overtakes
                && match goes_on(&job.plan.moves, at) {
                    true => matches!(Admission::fits(running, limits), Admitted::Start),
                    false => matches!(state.admission.admit(now_ms, running, limits), Admitted::Start),
                };
            if admitted {
                self.begin_migration(world, state, job.id, at)?;
            } else {
                passed_over.extend([source, target]);
            }
        }
        Ok(())
    }

    /// Begins a move of a running job. The record is kept before the thread begins.
    fn begin_migration<W: World>(&self, world: &W, state: &mut State, job: JobId, at: usize) -> Result<()> {
        let Some(mut changed) = state.jobs.get(&job).cloned() else { return Ok(()) };
        let Move { source, target, slots, .. } = changed.plan.moves[at].clone();
        let id = MigrationId(state.next_migration);
        let migration = Migration::new(id, job, source, target, slots);
        let stored =
            StoredMigration { migration, progress: Progress { moved_at_ms: world.now_ms(), ..Default::default() } };
        changed.migrations[at] = Some(id);
        let mut change = MetaChange::default();
        change.put(&record_key(id), &stored)?;
        Self::put_job(&mut change, &changed)?;
        change.put("admission", &state.admission)?;
        self.list_target(&mut change, target)?;
        world.commit(change)?;
        state.next_migration += 1;
        state.jobs.insert(job, changed);
        self.start_migration(world, state, stored, Wish::GoOn)
    }

    fn start_migration<W: World>(
        &self,
        world: &W,
        state: &mut State,
        stored: StoredMigration,
        wish: Wish,
    ) -> Result<()> {
        let id = stored.migration.id;
        let movement = Arc::new(Movement::new(stored.clone(), wish));
        state.migrations.insert(id, stored);
        state.movements.insert(id, Arc::clone(&movement));
        state.threads += 1;
        world.start(movement).inspect_err(|_| {
            state.threads -= 1;
            state.movements.remove(&id);
        })
    }

    /// Drives a migration until it is over or is to stop: what its thread does, and nothing else.
    pub fn drive<W: World>(&self, world: &W, movement: &Arc<Movement>) {
        let stored = movement.stored();
        match Carry::new(world, Arc::clone(movement), &stored.migration) {
            Ok(mut carry) => drop(driver::drive(stored.migration, &mut carry, |_| false)),
            Err(error) => self.give_up(world, movement, &error),
        }
        let stored = movement.stored();
        let Migration { id, phase, source, target, .. } = stored.migration;
        if phase.is_over() {
            world.event("migration", &format!("migration {id}"), &format!("{phase}: shard {source} to shard {target}"));
        }
        {
            let mut state = self.state.lock();
            state.movements.remove(&id);
            state.migrations.insert(id, stored);
            state.threads -= 1;
        }
        self.wake();
    }
}

impl Conductor {
    /// A migration that finds a shard gone: where nobody has been told of it, it is over.
    fn give_up<W: World>(&self, world: &W, movement: &Movement, error: &Error) {
        let migration = movement.stored().migration;
        movement.note_error(error);
        let kept = match migration.phase {
            Phase::Planned => movement.keep(world, &migration.next(&Observed::Failed(error.message.clone()))).map(drop),
            _ => Err(error.clone()),
        };
        if let Err(error) = kept {
            world.report(&error);
            movement.sleep(world, LOOK_EVERY);
        }
    }
}

/// Whether a move is a further part of the one before it. The limits of an hour are about moves, not their parts.
fn goes_on(moves: &[Move], at: usize) -> bool {
    let ends = |at: usize| moves.get(at).map(|step| (step.source, step.target));
    at > 0 && ends(at - 1) == ends(at)
}

/// The lower of two limits, of which 0 is none.
fn stricter(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, limit) | (limit, 0) => limit,
        (one, other) => one.min(other),
    }
}
