//! A migration while a process drives it: its record, how far it is, and what somebody wants of it.

use super::carry::record_key;
use super::driver::Wish;
use crate::database::Database;
use crate::meta::Meta;
use crate::oracle::now_ms;
use evenkeel_model::{Error, Result, SqlState};
use evenkeel_rebalancer::budget::{Pace, PaceLimits};
use evenkeel_rebalancer::migration::{Migration, Phase};
use evenkeel_rebalancer::throttle::{Throttle, ThrottleLimits};
use evenkeel_storage::SlotCount;
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// How often the foreground is looked at.
const OBSERVE_EVERY_MS: u64 = 200;

/// What the meta store keeps of a migration.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredMigration {
    pub(crate) migration: Migration,
    pub(crate) progress: Progress,
}

/// How far a migration is. Rows and bytes are counted as they are sent, and stay when the migration is over.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Progress {
    /// Rows of the moving slots when the copy began.
    pub(crate) rows_total: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) started_at_ms: Option<i64>,
    pub(crate) finished_at_ms: Option<i64>,
    /// When the last row of the copy was sent.
    pub(crate) copied_at_ms: Option<i64>,
    /// How long writes were held, the last time.
    pub(crate) pause_us: Option<u64>,
    /// When something last moved: rows, or the phase.
    pub(crate) moved_at_ms: i64,
    pub(crate) is_throttled: bool,
    pub(crate) error: Option<String>,
}

/// A migration that this process drives.
pub(crate) struct Movement {
    state: Mutex<State>,
    woken: Condvar,
}

struct State {
    stored: StoredMigration,
    wish: Wish,
    pace: Pace,
    throttle: Option<(Throttle, u64)>,
    epoch: Instant,
    /// Since when it has been in its phase, as far as this process has seen.
    phase_since: Instant,
}

impl Movement {
    pub(crate) fn new(stored: StoredMigration, wish: Wish) -> Self {
        let state = State {
            stored,
            wish,
            pace: Pace::default(),
            throttle: None,
            epoch: Instant::now(),
            phase_since: Instant::now(),
        };
        Self { state: Mutex::new(state), woken: Condvar::new() }
    }

    /// The record and its progress, now.
    pub(crate) fn stored(&self) -> StoredMigration {
        self.state.lock().stored.clone()
    }

    pub(crate) fn wish(&self) -> Wish {
        self.state.lock().wish
    }

    /// Wants something of it from now on. Nothing comes after a cancellation but the end.
    pub(crate) fn want(&self, wish: Wish) {
        let mut state = self.state.lock();
        if state.wish != Wish::Cancel || wish == Wish::Stop {
            state.wish = wish;
        }
        self.woken.notify_all();
    }

    /// Waits, or until somebody wants something else.
    pub(crate) fn sleep(&self, time: Duration) {
        let mut state = self.state.lock();
        let (wish, until) = (state.wish, Instant::now() + time);
        while state.wish == wish && !self.woken.wait_until(&mut state, until).timed_out() {}
    }

    /// Keeps the record; `left` is told of a phase that is over, and how long it took.
    pub(super) fn keep(
        &self,
        meta: &Meta,
        migration: &Migration,
        left: impl FnOnce(&'static str, Duration),
    ) -> Result<()> {
        let stored = {
            let mut state = self.state.lock();
            if state.stored.migration.phase != migration.phase {
                left(state.stored.migration.phase.name(), state.phase_since.elapsed());
                state.phase_since = Instant::now();
            }
            let mut stored = state.stored.clone();
            stored.migration = migration.clone();
            let now = now_ms();
            stored.progress.moved_at_ms = now;
            stored.progress.started_at_ms.get_or_insert(now);
            if migration.phase == Phase::CatchingUp {
                stored.progress.copied_at_ms.get_or_insert(now);
            }
            if migration.phase.is_over() {
                stored.progress.finished_at_ms = Some(now);
                stored.progress.is_throttled = false;
            }
            if let Some(reason) = &migration.reason {
                stored.progress.error = Some(reason.to_string());
            }
            // What is shown may be ahead of what is on disk; what acts waits for the disk.
            state.stored = stored.clone();
            stored
        };
        meta.put(&record_key(migration.id), &stored)
    }

    pub(super) fn begin_copy(&self, count: SlotCount) {
        let progress = &mut self.state.lock().stored.progress;
        progress.rows_total = count.rows.max(0) as u64;
        (progress.rows, progress.bytes, progress.copied_at_ms) = (0, 0, None);
    }

    pub(super) fn note_pause(&self, pause: Duration) {
        self.state.lock().stored.progress.pause_us = Some(pause.as_micros() as u64);
    }

    pub(super) fn note_error(&self, error: &Error) {
        self.state.lock().stored.progress.error = Some(error.message.clone());
    }

    pub(super) fn note_stuck(&self, why: &str) {
        self.state.lock().stored.progress.error = Some(why.to_string());
        self.woken.notify_all();
    }

    /// Notes what was sent.
    pub(super) fn count(&self, rows: u64, bytes: u64) {
        let progress = &mut self.state.lock().stored.progress;
        progress.rows += rows;
        progress.bytes += bytes;
        progress.moved_at_ms = now_ms();
    }

    /// Notes what was sent, and waits as the limits and the foreground want it.
    ///
    /// # Errors
    /// 57014 when it is to turn back or stop.
    pub(super) fn pace(&self, database: &Database, rows: u64, bytes: u64) -> Result<()> {
        self.count(rows, bytes);
        self.wait_for_turn(database, rows, bytes, false)
    }

    /// As [`Self::pace`], of what is only read.
    pub(super) fn pace_reading(&self, database: &Database, bytes: u64) -> Result<()> {
        self.state.lock().stored.progress.moved_at_ms = now_ms();
        self.wait_for_turn(database, 0, bytes, true)
    }

    /// Waits as long as the limits want it. Limits that somebody changes meanwhile hold at once: what was waited for by
    /// the old ones is forgotten. Who only reads is past turning back, and nothing but a close stops it.
    fn wait_for_turn(&self, database: &Database, rows: u64, bytes: u64, reads: bool) -> Result<()> {
        let asked = Asked::of(database);
        let until = Instant::now() + self.turn(database, rows, bytes);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let changed = Asked::of(database) != asked;
            match self.wish() {
                Wish::Stop => return Err(interrupted()),
                Wish::Cancel if !reads => return Err(interrupted()),
                Wish::Pause if !reads => self.sleep(Duration::from_secs(1)),
                _ if left.is_zero() => return Ok(()),
                _ if changed => {
                    self.state.lock().pace = Pace::default();
                    return Ok(());
                }
                _ => self.sleep(left.min(Duration::from_millis(OBSERVE_EVERY_MS))),
            }
        }
    }

    /// How long to wait before the next batch.
    fn turn(&self, database: &Database, rows: u64, bytes: u64) -> Duration {
        let Asked { rate, bandwidth, throttle } = Asked::of(database);
        let mut state = self.state.lock();
        let now_ms = state.epoch.elapsed().as_millis() as u64;
        let allowed = if throttle {
            let (throttle, seen_ms) = state.throttle.get_or_insert_with(|| {
                (Throttle::new(ThrottleLimits::DEFAULT, database.registry.latencies.baseline_us()), 0)
            });
            if now_ms >= *seen_ms + OBSERVE_EVERY_MS {
                throttle.observe(now_ms, database.registry.latencies.recent_us());
                *seen_ms = now_ms;
            }
            Some((throttle.bytes_per_second(), throttle.is_throttled()))
        } else {
            None
        };
        let foreground = database.registry.latencies.recent_us().is_some();
        let by_throttle = allowed.filter(|_| foreground).map_or(0, |(bytes_per_second, _)| bytes_per_second);
        state.stored.progress.is_throttled = by_throttle > 0 && allowed.is_some_and(|(_, throttled)| throttled);
        let bytes_per_second = [bandwidth, by_throttle].into_iter().filter(|limit| *limit > 0).min().unwrap_or(0);
        let limits = PaceLimits { rows_per_second: rate, bytes_per_second };
        Duration::from_millis(state.pace.take(now_ms, rows, bytes, limits))
    }
}

/// The limits that people set.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Asked {
    rate: u64,
    bandwidth: u64,
    throttle: bool,
}

impl Asked {
    fn of(database: &Database) -> Self {
        let settings = database.settings();
        Self {
            rate: settings.integer("migration_rate").max(0) as u64,
            bandwidth: settings.size("migration_bandwidth"),
            throttle: settings.boolean("migration_throttle"),
        }
    }
}

fn interrupted() -> Error {
    Error::new(SqlState::QueryCanceled, "the migration was asked to stop")
}
