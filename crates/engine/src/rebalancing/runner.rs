//! The thread that begins migrations, as many as may run at once, and ends jobs.

use super::jobs::Standing;
use super::{State, StoredJob, Wish};
use crate::database::Database;
use crate::oracle::now_ms;
use evenkeel_model::{JobId, Result, ShardId};
use evenkeel_planner::JobStatus;
use evenkeel_rebalancer::budget::{AdmissionLimits, Admitted, Running};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// Looked at least this often: whether somebody still has the database, whether the hour's budget has room again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Stops when dropped.
pub(super) struct Runner {
    signal: Arc<(Mutex<Signal>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Signal {
    woken: bool,
    stop: bool,
}

impl Runner {
    pub(super) fn start(database: Weak<Database>) -> Self {
        let signal: Arc<(Mutex<Signal>, Condvar)> = Arc::default();
        let seen = Arc::clone(&signal);
        let thread = std::thread::Builder::new().name("jobs".to_string()).spawn(move || run(&database, &seen)).ok();
        Self { signal, thread }
    }

    pub(super) fn wake(&self) {
        self.signal.0.lock().woken = true;
        self.signal.1.notify_all();
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.signal.0.lock().stop = true;
        self.signal.1.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

fn run(database: &Weak<Database>, signal: &(Mutex<Signal>, Condvar)) {
    loop {
        {
            let mut state = signal.0.lock();
            if !state.woken && !state.stop {
                signal.1.wait_for(&mut state, LOOK_EVERY);
            }
            if state.stop {
                return;
            }
            state.woken = false;
        }
        let Some(database) = database.upgrade() else { return };
        if let Err(error) = database.run_jobs().and_then(|()| database.watch_balance()) {
            database.registry.report_background(&error);
        }
    }
}

impl Database {
    /// Begins what may begin, and ends what is over.
    fn run_jobs(self: &Arc<Self>) -> Result<()> {
        let rebalancing = &self.rebalancing;
        let mut state = rebalancing.state.lock();
        if state.closing {
            return Ok(());
        }
        // Only its own threads have the database: they stop, and what they do goes on when it is opened again.
        if Arc::strong_count(self) <= 1 + state.threads && state.threads > 0 {
            state.movements.values().for_each(|movement| movement.want(Wish::Stop));
            return Ok(());
        }
        self.resume_migrations(&mut state)?;
        let open: Vec<_> = state.jobs.values().filter(|job| !job.status.is_over()).map(|job| job.id).collect();
        let mut ending = Vec::new();
        for id in open {
            ending.extend(self.run_job(&mut state, id)?);
        }
        rebalancing.forget_old(&self.meta, &mut state)?;
        drop(state);
        // Shards that go are waited for, and the balance is asked for: nobody waits for the jobs meanwhile.
        ending.into_iter().try_for_each(|(job, ended)| self.end_job(job, ended))?;
        rebalancing.changed.notify_all();
        Ok(())
    }

    /// Drives on what a process before this one has begun.
    fn resume_migrations(self: &Arc<Self>, state: &mut State) -> Result<()> {
        let left: Vec<_> = state.migrations.values().filter(|m| !m.migration.phase.is_over()).cloned().collect();
        for stored in left {
            if !state.movements.contains_key(&stored.migration.id) {
                let wish = match state.jobs.get(&stored.migration.job).map(|job| job.status) {
                    Some(JobStatus::Paused) => Wish::Pause,
                    Some(JobStatus::Running) => Wish::GoOn,
                    _ => Wish::Cancel,
                };
                self.drive_migration(state, stored, wish)?;
            }
        }
        Ok(())
    }

    /// Lets a job go on. A job that is over comes back, with how it has ended.
    fn run_job(self: &Arc<Self>, state: &mut State, id: JobId) -> Result<Option<(StoredJob, JobStatus)>> {
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
                self.rebalancing.keep_job(&self.meta, state, job).map(|()| None)
            }
            Standing::Broken | Standing::TurnedBack => {
                if job.migrations.iter().flatten().any(|migration| state.movements.contains_key(migration)) {
                    return Ok(None);
                }
                let ended = if job.error.is_some() { JobStatus::Failed } else { JobStatus::Cancelled };
                Ok(Some((job, ended)))
            }
            Standing::AllDone => Ok(Some((job, JobStatus::Done))),
            Standing::UnderWay if job.status == JobStatus::Running => self.begin_moves(state, &job).map(|()| None),
            Standing::UnderWay => Ok(None),
        }
    }

    fn end_job(&self, mut job: StoredJob, mut ended: JobStatus) -> Result<()> {
        if ended == JobStatus::Done
            && let Err(error) = self.remove_shards(&job.plan.removes)
        {
            ended = JobStatus::Failed;
            job.error = Some(error.message);
        }
        let message = match &job.error {
            Some(error) => format!("{}: {error}", ended.name()),
            None => ended.name().to_string(),
        };
        self.event("job", &format!("job {}", job.id), &message);
        let imbalance_after = Some(evenkeel_planner::imbalance(&self.problem(&self.settings())));
        let job = StoredJob { status: ended, finished_at_ms: Some(now_ms()), imbalance_after, ..job };
        self.rebalancing.keep_job(&self.meta, &mut self.rebalancing.state.lock(), job)
    }

    /// Begins the next moves of a job: in the plan's order, as far as shards are free and the budget allows.
    fn begin_moves(self: &Arc<Self>, state: &mut State, job: &StoredJob) -> Result<()> {
        let settings = self.settings();
        let limits = AdmissionLimits {
            migrations_per_hour: stricter(
                settings.integer("max_migrations_per_hour").max(0) as u64,
                job.plan.max_migrations_per_hour.unwrap_or(0),
            ),
            migrations_at_once: settings.integer("max_concurrent_migrations").max(0) as u64,
            migrations_at_once_per_shard: 1,
        };
        let waiting: Vec<_> = job.waiting().map(|(at, next)| (at, next.source, next.target)).collect();
        // A later move does not overtake an earlier one of its shards: each step of the plan rests on those before it.
        let mut passed_over: BTreeSet<ShardId> = BTreeSet::new();
        for (at, source, target) in waiting {
            let busy = |shard: ShardId| {
                let of = |m: &evenkeel_rebalancer::migration::Migration| m.source == shard || m.target == shard;
                state.movements.values().filter(|movement| of(&movement.stored().migration)).count() as u64
            };
            let running =
                Running { all: state.movements.len() as u64, at_busier_shard: busy(source).max(busy(target)) };
            let overtakes = passed_over.contains(&source) || passed_over.contains(&target);
            let admitted =
                !overtakes && matches!(state.admission.admit(now_ms().max(0) as u64, running, limits), Admitted::Start);
            if admitted {
                self.begin_migration(state, job.id, at)?;
            } else {
                passed_over.extend([source, target]);
            }
        }
        Ok(())
    }
}

/// The lower of two limits, of which 0 is none.
fn stricter(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, limit) | (limit, 0) => limit,
        (one, other) => one.min(other),
    }
}
