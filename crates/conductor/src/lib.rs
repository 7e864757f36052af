//! Jobs, their migrations and the balancer: decided and carried out, over traits.
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
//! Nothing here knows a file, a socket, a store or a clock: all of it comes in as a [`World`]. A process is one; the
//! simulation is another, in which this very code is run against crashes, lost commands and a clock that jumps, one
//! seed after another (`src/simulation`).
//!
//! | file | says |
//! |---|---|
//! | `world`, `meta`, `bell` | what is needed of the process: shards, pictures, time, durable facts, waiting |
//! | `jobs`, `movement` | what is kept of a job and of a migration; a migration's progress and pace |
//! | `driver`, `carry`, `copy` | from phase to phase; what a phase wants, done; rows on their way |
//! | `orders`, `runner` | what people ask for; beginning migrations, ending jobs |
//! | `shards` | which shards there are: adding, removing, pinning |
//! | `snapshot`, `balancer`, `hot` | what decisions are made from; measuring, and deciding by itself |

mod balancer;
mod bell;
mod carry;
mod copy;
mod driver;
mod hot;
mod jobs;
mod meta;
mod mistake;
mod movement;
mod orders;
mod runner;
mod shards;
mod snapshot;
mod world;

#[cfg(test)]
mod simulation;

pub use balancer::{Balancer, verdict_name};
pub use bell::Bell;
pub use driver::{Carrier, Wish, drive};
pub use hot::limits as hot_limits;
pub use jobs::StoredJob;
pub use meta::{MetaChange, MetaStore};
pub use movement::{Movement, Progress, StoredMigration};
pub use orders::unknown_job;
pub use runner::LOOK_EVERY;
pub use shards::{StoredShard, listed_shards};
pub use world::{Activity, Clock, Copied, Cutover, Foreground, Owed, Pace, Picture, Shards, Topology, Versions, World};

use crate::movement::record_key;
use evenkeel_model::{JobId, MigrationId, Result, ShardId, Timestamp};
use evenkeel_rebalancer::budget::Admission;
use evenkeel_rebalancer::migration::Phase;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often whoever waits for a job is asked whether to go on.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Jobs and migrations of a database, and its balancer.
pub struct Conductor {
    state: Mutex<State>,
    /// A job or migration has changed.
    changed: Bell,
    /// There is something for whoever tends the jobs.
    called: Bell,
    shards: Mutex<BTreeMap<ShardId, StoredShard>>,
    /// The highest number that a shard ever had.
    last_shard: Mutex<ShardId>,
    balancer: Mutex<Balancer>,
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

impl std::fmt::Debug for Conductor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conductor").finish_non_exhaustive()
    }
}

impl Conductor {
    /// Reads what the last process left. Nothing goes on before [`Self::settle`].
    ///
    /// # Errors
    /// What the meta store says.
    pub fn open<M: MetaStore>(meta: &M, shards: BTreeMap<ShardId, StoredShard>, now_ms: i64) -> Result<Self> {
        let jobs = meta.list::<StoredJob>("job/")?;
        let migrations = meta.list::<StoredMigration>("migration/")?;
        let jobs: BTreeMap<_, _> = jobs.into_iter().map(|(_, job)| (job.id, job)).collect();
        let migrations = migrations.into_iter().map(|(_, m)| (m.migration.id, m)).collect();
        let migrations = Self::forget_unnamed(meta, &jobs, migrations)?;
        let state = State {
            next_job: jobs.keys().next_back().map_or(1, |id| id.0 + 1),
            next_migration: migrations.keys().next_back().map_or(1, |id| id.0 + 1),
            admission: meta.get("admission")?.unwrap_or_default(),
            jobs,
            migrations,
            ..State::default()
        };
        let known = shards.keys().next_back().copied().unwrap_or(ShardId(0));
        let last_shard = known.max(ShardId(meta.get("last_shard")?.unwrap_or(0)));
        Ok(Self {
            state: Mutex::new(state),
            changed: Bell::default(),
            called: Bell::default(),
            shards: Mutex::new(shards),
            last_shard: Mutex::new(last_shard),
            balancer: Mutex::new(Balancer::open(meta, now_ms)?),
        })
    }

    /// Forgets migrations that their job does not name. A commit that failed may have kept one all the same, and then its job
    /// was kept without it: nobody was ever told of such a migration, and nobody would end it.
    fn forget_unnamed<M: MetaStore>(
        meta: &M,
        jobs: &BTreeMap<JobId, StoredJob>,
        mut migrations: BTreeMap<MigrationId, StoredMigration>,
    ) -> Result<BTreeMap<MigrationId, StoredMigration>> {
        let is_named = |stored: &StoredMigration| {
            let job = jobs.get(&stored.migration.job);
            job.is_some_and(|job| job.migrations.contains(&Some(stored.migration.id)))
        };
        let mut change = MetaChange::default();
        migrations.retain(|id, stored| {
            let is_kept = stored.migration.phase != Phase::Planned || is_named(stored);
            if !is_kept {
                change.delete(&record_key(*id));
            }
            is_kept
        });
        if !change.keys.is_empty() {
            meta.commit(change)?;
        }
        Ok(migrations)
    }

    /// Every job, oldest first.
    pub fn jobs(&self) -> Vec<StoredJob> {
        self.state.lock().jobs.values().cloned().collect()
    }

    /// Every migration, oldest first.
    pub fn migrations(&self) -> Vec<StoredMigration> {
        self.state.lock().all_migrations().into_values().collect()
    }

    /// Migrations that were started within an hour.
    pub fn started_last_hour(&self, now_ms: i64) -> u64 {
        self.state.lock().admission.started_within_hour(now_ms.max(0) as u64) as u64
    }

    /// Whether rows may be in more than one shard.
    pub fn is_moving(&self) -> bool {
        let state = self.state.lock();
        let open = |stored: &StoredMigration| !stored.migration.phase.is_over();
        state.migrations.values().any(open) || !state.movements.is_empty()
    }

    /// When the oldest migration that is not over began; the end of time where there is none. A deletion that its target
    /// collected could no longer hide an older version on its way there.
    pub fn oldest_start(&self) -> Timestamp {
        let open = self.state.lock().all_migrations().into_values().filter(|stored| !stored.migration.phase.is_over());
        let starts = open.filter_map(|stored| stored.progress.started_at_ms);
        starts.min().map_or(Timestamp::MAX, Timestamp::from_millis)
    }

    /// Rung when there is something to tend: whoever calls [`Self::tend`] waits for it between two calls.
    pub fn called(&self) -> &Bell {
        &self.called
    }

    /// The balancer as it is now.
    pub fn with_balancer<T>(&self, look: impl FnOnce(&Balancer) -> T) -> T {
        look(&self.balancer.lock())
    }

    /// Waits until these jobs are over; `false` when `go_on` says so, which is asked several times a second.
    pub fn wait(&self, clock: &impl Clock, jobs: &[JobId], mut go_on: impl FnMut() -> bool) -> bool {
        loop {
            let seen = self.changed.rings();
            if jobs.iter().all(|id| self.state.lock().jobs.get(id).is_none_or(|job| job.status.is_over())) {
                return true;
            }
            if !go_on() {
                return false;
            }
            clock.wait(&self.changed, seen, ASK_EVERY);
        }
    }

    /// Whether somebody is where nobody may be interrupted.
    #[cfg(test)]
    fn is_locked(&self) -> bool {
        self.state.is_locked() || self.balancer.is_locked() || self.shards.is_locked()
    }

    fn wake(&self) {
        self.changed.ring();
        self.called.ring();
    }
}
