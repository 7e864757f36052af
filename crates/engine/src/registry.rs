//! Who is connected, what runs, what was slow, what happened: the source of the SYSTEM tables that are about activity.

use crate::latency::{Buckets, Latencies};
use crate::meta::{Meta, MetaChange, MetaStore};
use crate::processors::Processors;
use crate::session::Cancel;
use evenkeel_catalog::snapshot as state;
use evenkeel_model::{Error, Result, ShardId};
use evenkeel_storage::Shard;
use evenkeel_storage::latency::{p99_us, since};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const SLOW_QUERIES_MAX: usize = 1_000;
const EVENTS_MAX: usize = 10_000;

/// A statement that runs.
#[derive(Debug)]
pub(crate) struct RunningQuery {
    pub(crate) id: u64,
    pub(crate) statement: Arc<str>,
    pub(crate) started_at_ms: i64,
    pub(crate) started: Instant,
    pub(crate) cancel: Arc<Cancel>,
}

/// What a session shows of itself.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) user: Arc<str>,
    pub(crate) client: Option<String>,
    pub(crate) application: String,
    pub(crate) started_at_ms: i64,
    /// Under a lock of its own: statements begin and end without waiting for other sessions'.
    pub(crate) now: Mutex<Now>,
}

/// What a session does.
#[derive(Debug, Default)]
pub(crate) struct Now {
    pub(crate) statements: u64,
    /// One at a time: the others wait until it is over.
    pub(crate) running: Option<RunningQuery>,
    pub(crate) transaction: Option<state::Transaction>,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct StoredEvent {
    time_ms: i64,
    kind: String,
    subject: String,
    message: String,
}

#[derive(Clone, Debug, Default)]
struct Sample {
    reads: u64,
    writes: u64,
    busy_ns: u64,
    used_ns: u64,
    latencies: Vec<u64>,
}

/// Rates of a shard over the last second or so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    pub(crate) cores: f64,
    /// Sessions that used it at the same time, on average.
    pub(crate) sessions: f64,
    /// The 99th percentile of reads by key and commits; `None` where there were none.
    pub(crate) p99_us: Option<u64>,
}

/// Sessions, statements and events of a database.
pub(crate) struct Registry {
    meta: Arc<Meta>,
    next_id: AtomicU64,
    next_event: AtomicU64,
    pub(crate) sessions: Mutex<BTreeMap<u64, Arc<Registered>>>,
    slow: Mutex<VecDeque<state::SlowQuery>>,
    events: Mutex<VecDeque<(u64, StoredEvent)>>,
    samples: Mutex<(Option<Instant>, HashMap<ShardId, Sample>)>,
    rates: Mutex<HashMap<ShardId, Rates>>,
    background: Mutex<Option<String>>,
    pub(crate) latencies: Latencies,
    pub(crate) processors: Processors,
    /// The number of the newest event.
    pub(crate) newest_event: watch::Sender<u64>,
    /// How long migrations were in each phase.
    pub(crate) phases: Mutex<BTreeMap<&'static str, Buckets>>,
    /// How long cutovers held writes.
    pub(crate) cutovers: Buckets,
}

impl Registry {
    pub(crate) fn open(meta: Arc<Meta>) -> Result<Self> {
        let stored = meta.list::<StoredEvent>("event/")?;
        let events: VecDeque<_> =
            stored.into_iter().filter_map(|(id, event)| id.parse().ok().map(|id: u64| (id, event))).collect();
        let newest = events.back().map_or(0, |(id, _)| *id);
        Ok(Self {
            next_event: AtomicU64::new(newest + 1),
            newest_event: watch::channel(newest).0,
            phases: Mutex::default(),
            cutovers: Buckets::default(),
            meta,
            next_id: AtomicU64::new(1),
            sessions: Mutex::default(),
            slow: Mutex::default(),
            events: Mutex::new(events),
            samples: Mutex::default(),
            rates: Mutex::default(),
            background: Mutex::default(),
            latencies: Latencies::default(),
            processors: Processors::default(),
        })
    }

    /// A number for a session or statement, unique while the database is open.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn slow_query(&self, query: state::SlowQuery) {
        let mut slow = self.slow.lock();
        if slow.len() == SLOW_QUERIES_MAX {
            slow.pop_front();
        }
        slow.push_back(query);
    }

    pub(crate) fn slow_queries(&self) -> Vec<state::SlowQuery> {
        self.slow.lock().iter().cloned().collect()
    }

    /// Keeps an event, also across restarts. A disk that does not take it costs the event, not what it is about.
    pub(crate) fn event(&self, time_ms: i64, kind: &str, subject: &str, message: &str) {
        let event =
            StoredEvent { time_ms, kind: kind.to_string(), subject: subject.to_string(), message: message.to_string() };
        tracing::info!(kind, subject, change = message, "event");
        let mut events = self.events.lock();
        // Under the lock, so that whoever has seen a number has seen those below it.
        let id = self.next_event.fetch_add(1, Ordering::SeqCst);
        let mut change = MetaChange::default();
        let mut stored = change.put(&format!("event/{id:020}"), &event);
        events.push_back((id, event));
        while events.len() > EVENTS_MAX {
            if let Some((old, _)) = events.pop_front() {
                change.delete(&format!("event/{old:020}"));
            }
        }
        stored = stored.and_then(|()| self.meta.commit(change));
        drop(events);
        self.newest_event.send_if_modified(|newest| std::mem::replace(newest, id.max(*newest)) < id);
        if let Err(error) = stored {
            self.report_background(&error);
        }
    }

    pub(crate) fn events(&self) -> Vec<state::Event> {
        let events = self.events.lock();
        events
            .iter()
            .map(|(id, event)| state::Event {
                id: *id,
                time_ms: event.time_ms,
                kind: event.kind.clone(),
                subject: event.subject.clone(),
                message: event.message.clone(),
            })
            .collect()
    }

    /// Whose a running statement is.
    pub(crate) fn user_of_query(&self, id: u64) -> Option<String> {
        let sessions = self.sessions.lock();
        let runs = |session: &&Arc<Registered>| session.now.lock().running.as_ref().is_some_and(|query| query.id == id);
        sessions.values().find(runs).map(|session| session.user.to_string())
    }

    /// Asks a running statement to stop; `false` where there is none of this number.
    pub(crate) fn kill(&self, id: u64) -> bool {
        let sessions = self.sessions.lock();
        sessions.values().any(|session| {
            let now = session.now.lock();
            let query = now.running.as_ref().filter(|query| query.id == id);
            query.inspect(|query| query.cancel.ask()).is_some()
        })
    }

    /// Says once in the log what went wrong where no session is there to be told.
    pub(crate) fn report_background(&self, error: &Error) {
        let mut last = self.background.lock();
        if last.as_deref() != Some(error.message.as_str()) {
            *last = Some(error.message.clone());
            let (sqlstate, detail) = (error.state.code(), error.detail.as_deref());
            tracing::warn!(sqlstate, error = error.message, detail, "background work failed");
        }
    }

    /// Counts how long a migration was in a phase.
    pub(crate) fn note_phase(&self, phase: &'static str, took: Duration) {
        self.phases.lock().entry(phase).or_default().note(took);
    }

    /// Takes the shards' rates since the last call.
    pub(crate) fn sample(&self, shards: &BTreeMap<ShardId, Arc<Shard>>) {
        let now = Instant::now();
        let mut samples = self.samples.lock();
        let seconds = samples.0.map(|last| (now - last).as_secs_f64());
        for (id, shard) in shards {
            let activity = shard.activity();
            let (reads, writes) = activity.total();
            let (busy_ns, used_ns) = (activity.busy_ns(), activity.used_ns());
            let sample = Sample { reads, writes, busy_ns, used_ns, latencies: activity.latencies().counts() };
            let last = samples.1.insert(*id, sample.clone()).unwrap_or_default();
            if let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) {
                let rate = |now: u64, last: u64| now.saturating_sub(last) as f64 / seconds;
                let rates = Rates {
                    reads: rate(sample.reads, last.reads),
                    writes: rate(sample.writes, last.writes),
                    cores: rate(sample.busy_ns, last.busy_ns) / 1e9,
                    sessions: rate(sample.used_ns, last.used_ns) / 1e9,
                    p99_us: p99_us(&since(&sample.latencies, &last.latencies)),
                };
                self.rates.lock().insert(*id, rates);
            }
        }
        samples.0 = Some(now);
    }

    pub(crate) fn rates(&self, shard: ShardId) -> Rates {
        self.rates.lock().get(&shard).copied().unwrap_or_default()
    }
}
