//! Moves slots between shards while they are read and written: jobs, their migrations, and the threads that drive them.
//!
//! WHAT MAY NEVER HAPPEN: something moves that was not kept in the meta store before; a job can neither go on nor turn back
//! (`terminal`); a pinned shard's slots move (`pinned-stays`).
//!
//! ```text
//! statement, monitor ─▶ job (kept) ─▶ runner: as many migrations at once as the settings allow, each shard in one
//!                                       ╰─▶ migration (kept) ─▶ a thread: driver ─▶ carry ─▶ shards, slot map
//! restart ─▶ what stood between a seal and its outcome is finished before anybody is served; the rest goes on behind
//! ```
//!
//! Modules: `jobs` (what is kept of a job), `movement` (a migration's record, progress, pace), `driver` (from phase to phase),
//! `carry` (what a phase wants, done), `runner` (begins migrations, ends jobs), `picture` (what decisions are made from),
//! `balancer` and `hot` (measure, and decide by themselves), `states` (what tables show), `statements` (what people ask for), `shards` (adding and removing them).

mod balancer;
mod carry;
mod driver;
mod hot;
mod jobs;
mod movement;
mod picture;
mod runner;
mod shards;
mod statements;
mod states;

pub(crate) use balancer::Balancer;
pub(crate) use driver::Wish;
pub(crate) use jobs::StoredJob;
pub(crate) use movement::{Movement, StoredMigration};
pub(crate) use shards::{StoredShard, list};
pub(crate) use statements::STARTED;

use crate::database::{Database, PhaseHook};
use crate::meta::{Meta, MetaChange};
use crate::oracle::now_ms;
use carry::{Carry, record_key};
use evenkeel_model::{Error, JobId, MigrationId, Result, ShardId, SqlState, Timestamp};
use evenkeel_planner::{JobPlan, JobStatus};
use evenkeel_rebalancer::balance::Move;
use evenkeel_rebalancer::budget::Admission;
use evenkeel_rebalancer::migration::{Migration, Phase};
use parking_lot::{Condvar, Mutex};
use runner::Runner;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Migrations that are over are kept for `SYSTEM.REBALANCE_STATUS` up to this many; jobs too.
const HISTORY_MAX: usize = 1_000;

/// Jobs and migrations of a database.
pub(crate) struct Rebalancing {
    state: Mutex<State>,
    /// A job or migration has changed.
    changed: Condvar,
    pub(crate) shards: Mutex<BTreeMap<ShardId, StoredShard>>,
    runner: Mutex<Option<Runner>>,
    pub(crate) balancer: Mutex<Balancer>,
    /// Held from the picture that a job is planned from until the job is kept.
    pub(crate) planning: tokio::sync::Mutex<()>,
    on_phase: Option<PhaseHook>,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobId, StoredJob>,
    /// Over, or from before this process.
    migrations: BTreeMap<MigrationId, StoredMigration>,
    /// Driven by this process.
    movements: BTreeMap<MigrationId, Arc<Movement>>,
    threads: usize,
    admission: Admission,
    next_job: u64,
    next_migration: u64,
    closing: bool,
}

impl State {
    /// Every migration as it is now.
    fn all_migrations(&self) -> BTreeMap<MigrationId, StoredMigration> {
        let mut all = self.migrations.clone();
        all.extend(self.movements.iter().map(|(id, movement)| (*id, movement.stored())));
        all
    }
}

fn job_key(id: JobId) -> String {
    format!("job/{:020}", id.0)
}

impl Rebalancing {
    /// Reads what the last process left.
    pub(crate) fn open(
        meta: &Meta,
        shards: BTreeMap<ShardId, StoredShard>,
        on_phase: Option<PhaseHook>,
    ) -> Result<Self> {
        let jobs = meta.list::<StoredJob>("job/")?;
        let migrations = meta.list::<StoredMigration>("migration/")?;
        let jobs: BTreeMap<_, _> = jobs.into_iter().map(|(_, job)| (job.id, job)).collect();
        let migrations: BTreeMap<_, _> = migrations.into_iter().map(|(_, m)| (m.migration.id, m)).collect();
        let state = State {
            next_job: jobs.keys().next_back().map_or(1, |id| id.0 + 1),
            next_migration: migrations.keys().next_back().map_or(1, |id| id.0 + 1),
            admission: meta.get("admission")?.unwrap_or_default(),
            jobs,
            migrations,
            ..State::default()
        };
        let (changed, runner, balancer) = (Condvar::new(), Mutex::default(), Mutex::new(Balancer::open(meta)?));
        Ok(Self {
            state: Mutex::new(state),
            changed,
            shards: Mutex::new(shards),
            runner,
            balancer,
            planning: tokio::sync::Mutex::default(),
            on_phase,
        })
    }

    /// Every job, oldest first.
    pub(crate) fn jobs(&self) -> Vec<StoredJob> {
        self.state.lock().jobs.values().cloned().collect()
    }

    /// Every migration, oldest first.
    pub(crate) fn migrations(&self) -> Vec<StoredMigration> {
        self.state.lock().all_migrations().into_values().collect()
    }

    /// Migrations that were started within an hour.
    pub(crate) fn started_last_hour(&self) -> u64 {
        self.state.lock().admission.started_within_hour(now_ms().max(0) as u64) as u64
    }

    /// Whether rows may be in more than one shard.
    pub(crate) fn is_moving(&self) -> bool {
        let state = self.state.lock();
        let open = |stored: &StoredMigration| !stored.migration.phase.is_over();
        state.migrations.values().any(open) || !state.movements.is_empty()
    }

    /// When the oldest migration that is not over began; the end of time where there is none.
    pub(crate) fn oldest_start(&self) -> Timestamp {
        let open = self.state.lock().all_migrations().into_values().filter(|stored| !stored.migration.phase.is_over());
        let starts = open.filter_map(|stored| stored.progress.started_at_ms);
        starts.min().map_or(Timestamp::MAX, Timestamp::from_millis)
    }

    /// Marks a migration as stuck, and wakes it: what it waits for may have come while nobody told it.
    pub(crate) fn note_stuck(&self, id: MigrationId, why: &str) {
        if let Some(movement) = self.state.lock().movements.get(&id) {
            movement.note_stuck(why);
        }
    }

    /// Ends the thread that begins migrations.
    pub(crate) fn stop_runner(&self) {
        let runner = self.runner.lock().take();
        drop(runner);
    }

    /// Keeps a job; the runner begins it.
    pub(crate) fn start(&self, meta: &Meta, statement: &str, reason: &str, plan: JobPlan) -> Result<JobId> {
        let mut state = self.state.lock();
        let id = JobId(state.next_job);
        let job = StoredJob {
            id,
            statement: statement.to_string(),
            reason: reason.to_string(),
            status: JobStatus::Running,
            migrations: vec![None; plan.moves.len()],
            plan,
            created_at_ms: now_ms(),
            finished_at_ms: None,
            imbalance_after: None,
            error: None,
        };
        meta.put(&job_key(id), &job)?;
        state.next_job += 1;
        state.jobs.insert(id, job);
        drop(state);
        self.wake();
        Ok(id)
    }

    /// Pauses, resumes or cancels a job.
    ///
    /// # Errors
    /// 42704 for a job that is not there; 55000 for one that is over.
    pub(crate) fn want(&self, meta: &Meta, id: JobId, wanted: JobStatus) -> Result<()> {
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

    /// Waits until these jobs are over; `false` at the deadline, or when `go_on` says so. It is asked several times a second.
    pub(crate) fn wait(&self, jobs: &[JobId], deadline: Option<Instant>, mut go_on: impl FnMut() -> bool) -> bool {
        loop {
            {
                let mut state = self.state.lock();
                let over = |id: &JobId| state.jobs.get(id).is_none_or(|job| job.status.is_over());
                if jobs.iter().all(over) {
                    return true;
                }
                let until = Instant::now() + Duration::from_millis(100);
                self.changed.wait_until(&mut state, deadline.map_or(until, |deadline| deadline.min(until)));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) || !go_on() {
                return false;
            }
        }
    }

    fn wake(&self) {
        self.changed.notify_all();
        if let Some(runner) = self.runner.lock().as_ref() {
            runner.wake();
        }
    }

    /// Puts a changed job in the old one's place, in the meta store first.
    fn keep_job(&self, meta: &Meta, state: &mut State, job: StoredJob) -> Result<()> {
        meta.put(&job_key(job.id), &job)?;
        state.jobs.insert(job.id, job);
        Ok(())
    }

    /// Forgets what has been over for long.
    fn forget_old(&self, meta: &Meta, state: &mut State) -> Result<()> {
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

/// 42704 for a job.
pub(crate) fn unknown_job(id: JobId) -> Error {
    Error::new(SqlState::UndefinedObject, format!("there is no job {id}")).with_hint("QUERY SYSTEM.JOBS lists them")
}

/// Phases in which somebody may be kept waiting, and that are therefore left before a database that opens serves.
fn keeps_waiting(phase: Phase) -> bool {
    use Phase::{Activating, Reclaiming, Sealing, Switching, Undoing, Unsealing};
    matches!(phase, Sealing | Unsealing | Switching | Activating | Reclaiming | Undoing)
}

impl Database {
    /// Finishes what stood between a seal and its outcome, and lets the rest go on.
    pub(crate) fn resume_rebalancing(self: &Arc<Self>) -> Result<()> {
        let open: Vec<_> = {
            let state = self.rebalancing.state.lock();
            state.migrations.values().filter(|stored| !stored.migration.phase.is_over()).cloned().collect()
        };
        for stored in open {
            if keeps_waiting(stored.migration.phase) {
                let migration = stored.migration.clone();
                let movement = Arc::new(Movement::new(stored, Wish::GoOn));
                let mut carry = Carry::new(self, Arc::clone(&movement), &migration)?;
                let message = format!("went on from {}", migration.phase);
                self.event("recovery", &format!("migration {}", migration.id), &message);
                driver::drive(migration, &mut carry, |phase| !keeps_waiting(phase));
                let mut state = self.rebalancing.state.lock();
                let stored = movement.stored();
                state.migrations.insert(stored.migration.id, stored);
            }
        }
        self.sweep_shards()?;
        *self.rebalancing.runner.lock() = Some(Runner::start(Arc::downgrade(self)));
        Ok(())
    }

    /// Begins a move of a running job. The record is kept before the thread begins.
    fn begin_migration(self: &Arc<Self>, state: &mut State, job: JobId, at: usize) -> Result<()> {
        let Some(mut changed) = state.jobs.get(&job).cloned() else { return Ok(()) };
        let Move { source, target, slots, .. } = changed.plan.moves[at].clone();
        let id = MigrationId(state.next_migration);
        let migration = Migration::new(id, job, source, target, slots);
        let stored =
            StoredMigration { migration, progress: movement::Progress { moved_at_ms: now_ms(), ..Default::default() } };
        changed.migrations[at] = Some(id);
        let mut change = MetaChange::default();
        change.put(&record_key(id), &stored)?;
        change.put(&job_key(job), &changed)?;
        change.put("admission", &state.admission)?;
        self.meta.commit(change)?;
        state.next_migration += 1;
        state.jobs.insert(job, changed);
        self.drive_migration(state, stored, Wish::GoOn)
    }

    /// Drives a migration on a thread of its own.
    fn drive_migration(self: &Arc<Self>, state: &mut State, stored: StoredMigration, wish: Wish) -> Result<()> {
        let id = stored.migration.id;
        let movement = Arc::new(Movement::new(stored.clone(), wish));
        state.migrations.insert(id, stored);
        state.movements.insert(id, Arc::clone(&movement));
        state.threads += 1;
        let database = Arc::clone(self);
        let work = move || {
            let stored = movement.stored();
            match Carry::new(&database, Arc::clone(&movement), &stored.migration) {
                Ok(mut carry) => drop(driver::drive(stored.migration, &mut carry, |_| false)),
                Err(error) => database.registry.report_background(&error),
            }
            let stored = movement.stored();
            if stored.migration.phase.is_over() {
                let (id, phase) = (stored.migration.id, stored.migration.phase);
                let between = format!("shard {} to shard {}", stored.migration.source, stored.migration.target);
                database.event("migration", &format!("migration {id}"), &format!("{phase}: {between}"));
            }
            {
                let mut state = database.rebalancing.state.lock();
                state.movements.remove(&id);
                state.migrations.insert(id, stored);
                state.threads -= 1;
            }
            database.rebalancing.wake();
        };
        let spawned = std::thread::Builder::new().name(format!("migration-{id}")).spawn(work);
        spawned.map(drop).map_err(|error| {
            state.threads -= 1;
            state.movements.remove(&id);
            Error::new(SqlState::IoError, format!("cannot start a thread for migration {id}: {error}"))
        })
    }

    /// Lets every migration stop where it is and waits for that: what was begun goes on when the database is opened again.
    pub(crate) fn stop_rebalancing(&self) {
        {
            let mut state = self.rebalancing.state.lock();
            state.closing = true;
            state.movements.values().for_each(|movement| movement.want(Wish::Stop));
            while state.threads > 0 {
                self.rebalancing.changed.wait_for(&mut state, Duration::from_millis(100));
            }
        }
        self.rebalancing.stop_runner();
    }
}
