//! Moves slots between shards while they are read and written: the process's side of [`evenkeel_conductor`], which keeps the
//! jobs and their migrations and carries them out.
//!
//! Modules: `world` (what the conductor needs of a process: time, the meta store, the slot map that statements go by),
//! `shards` (what it tells the shards, and which there are), `runner` (the thread that tends the jobs), `states` (what tables
//! show), `statements` (what people ask for).

mod runner;
mod shards;
mod statements;
mod states;
mod world;

pub(crate) use statements::STARTED;

use crate::database::{Database, PhaseHook};
use crate::meta::Meta;
use crate::oracle::now_ms;
use crate::traces::PhaseSpans;
use evenkeel_catalog::snapshot::ShardMetric;
use evenkeel_conductor::{Conductor, StoredShard};
use evenkeel_model::{Result, ShardId};
use parking_lot::Mutex;
use runner::Runner;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;
use world::Process;

/// Jobs and migrations of a database, with what this process adds to them.
pub(crate) struct Rebalancing {
    pub(crate) conductor: Conductor,
    runner: Mutex<Option<Runner>>,
    /// Held from the picture that a job is planned from until the job is kept.
    planning: tokio::sync::Mutex<()>,
    on_phase: Option<PhaseHook>,
    phase_spans: PhaseSpans,
    opened: Instant,
    /// Whose shards they are: every thread that drives a migration has the database.
    database: OnceLock<Weak<Database>>,
    /// The last measurements of every shard, oldest first.
    metrics: Mutex<VecDeque<ShardMetric>>,
}

impl Rebalancing {
    /// Reads what the last process left.
    pub(crate) fn open(
        meta: &Meta,
        shards: BTreeMap<ShardId, StoredShard>,
        on_phase: Option<PhaseHook>,
    ) -> Result<Self> {
        Ok(Self {
            conductor: Conductor::open(meta, shards, now_ms())?,
            runner: Mutex::default(),
            planning: tokio::sync::Mutex::default(),
            on_phase,
            phase_spans: PhaseSpans::default(),
            opened: Instant::now(),
            database: OnceLock::new(),
            metrics: Mutex::default(),
        })
    }

    /// Ends the thread that tends the jobs.
    pub(crate) fn stop_runner(&self) {
        let runner = self.runner.lock().take();
        drop(runner);
    }
}

impl Database {
    /// What the conductor works in.
    fn world(&self) -> Process<'_> {
        Process(self)
    }

    /// Finishes what stood between a seal and its outcome, and lets the rest go on.
    pub(crate) fn resume_rebalancing(self: &Arc<Self>) -> Result<()> {
        let rebalancing = &self.rebalancing;
        let this = rebalancing.database.get_or_init(|| Arc::downgrade(self));
        rebalancing.conductor.settle(&self.world())?;
        self.sweep_shards()?;
        let called = rebalancing.conductor.called().clone();
        *rebalancing.runner.lock() = Some(Runner::start(Weak::clone(this), called));
        Ok(())
    }

    /// Lets every migration stop where it is and waits for that: what was begun goes on when the database is opened again.
    pub(crate) fn stop_rebalancing(&self) {
        self.rebalancing.conductor.close(&self.world());
        self.rebalancing.stop_runner();
    }
}
