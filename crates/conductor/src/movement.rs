//! A migration while a process drives it: its record, how far it is, and what somebody wants of it.

use crate::bell::Bell;
use crate::driver::Wish;
use crate::meta::{MetaChange, MetaStore};
use crate::mistake::mistaken;
use crate::world::{Clock, World};
use evenkeel_model::{Error, MigrationId, Result, Settings, SqlState};
use evenkeel_rebalancer::budget::{Pace, PaceLimits};
use evenkeel_rebalancer::migration::{Migration, Phase};
use evenkeel_rebalancer::throttle::{Drain, Throttle, ThrottleLimits, rest_after};
use parking_lot::Mutex;
use std::time::Duration;

/// How often the foreground is looked at.
const OBSERVE_EVERY_MS: u64 = 200;
/// What a batch is rested for at most.
const WORK_MAX: Duration = Duration::from_millis(100);

/// What the meta store keeps of a migration.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct StoredMigration {
    pub migration: Migration,
    pub progress: Progress,
}

/// How far a migration is. Rows and bytes are counted as they are sent, and stay when the migration is over.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Rows of the moving slots when the copy began.
    pub rows_total: u64,
    pub rows: u64,
    pub bytes: u64,
    pub started_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
    /// When the last row of the copy was sent.
    pub copied_at_ms: Option<i64>,
    /// How long writes were held, the last time.
    pub pause_us: Option<u64>,
    /// When something last moved: rows, or the phase; or it was not its turn. Cutovers that are tried again are no movement.
    pub moved_at_ms: i64,
    /// How many cutovers were given up because they would have taken too long.
    #[serde(default)]
    pub cutovers_too_slow: u64,
    pub is_throttled: bool,
    pub error: Option<String>,
}

impl StoredMigration {
    /// Takes the next record, with what follows for its progress.
    fn advance(&mut self, migration: &Migration, now_ms: i64) {
        let progress = &mut self.progress;
        let before = self.migration.phase;
        if before == Phase::Sealing && migration.phase == Phase::CatchingUp {
            progress.cutovers_too_slow += 1;
        }
        if !(progress.tries_again(before) && progress.tries_again(migration.phase)) {
            progress.moved_at_ms = now_ms;
        }
        progress.started_at_ms.get_or_insert(now_ms);
        if migration.phase == Phase::CatchingUp {
            progress.copied_at_ms.get_or_insert(now_ms);
        }
        if migration.phase.is_over() {
            progress.finished_at_ms = Some(now_ms);
            progress.is_throttled = false;
        }
        if before != migration.phase {
            // What was said of an earlier phase is over.
            progress.error = None;
        }
        if let Some(reason) = &migration.reason {
            progress.error = Some(reason.to_string());
        }
        self.migration = migration.clone();
    }
}

impl Progress {
    /// Whether all that happens in this phase is one more try of what was too slow.
    fn tries_again(&self, phase: Phase) -> bool {
        self.cutovers_too_slow > 0 && matches!(phase, Phase::CatchingUp | Phase::Sealing)
    }
}

/// A migration in which nothing moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub(crate) phase: Phase,
    pub(crate) unmoved: Duration,
}

impl Stuck {
    /// What is said of it, as far as it is known.
    fn why(self, cutovers_too_slow: u64) -> String {
        let Self { phase, unmoved } = self;
        let seconds = unmoved.as_secs();
        match phase {
            Phase::CatchingUp | Phase::Sealing if cutovers_too_slow > 0 => format!(
                "stuck before its cutover for {seconds} s: {cutovers_too_slow} times, writes would have been held for longer \
                 than cutover_budget"
            ),
            Phase::Dropping => format!(
                "stuck in dropping for {seconds} s: a statement or transaction from before the cutover still reads the source"
            ),
            _ => format!("stuck in {phase}: nothing moved for {seconds} s"),
        }
    }
}

/// A migration that this process drives.
pub struct Movement {
    state: Mutex<State>,
    woken: Bell,
}

struct State {
    stored: StoredMigration,
    wish: Wish,
    pace: Pace,
    /// With when it has looked at the foreground last.
    throttle: Option<(Throttle, u64)>,
    /// What its thread had worked when it rested last.
    rested_at: Option<Duration>,
    drain: Drain,
    /// Since when it has been in its phase, if this process has seen it enter.
    phase_since: Option<Duration>,
    /// It waits because limits want it.
    is_resting: bool,
    /// When something last moved, as it was noted that nothing does.
    stuck_since_ms: Option<i64>,
}

impl State {
    /// What its thread has worked since it rested.
    fn worked(&self, clock: &impl Clock) -> Duration {
        let worked = self.rested_at.map_or(Duration::ZERO, |rested| clock.worked().saturating_sub(rested));
        // What is longer was no batch: a cutover, an ingestion.
        worked.min(WORK_MAX)
    }
}

impl Movement {
    pub fn new(stored: StoredMigration, wish: Wish) -> Self {
        let state = State {
            stored,
            wish,
            pace: Pace::default(),
            throttle: None,
            rested_at: None,
            drain: Drain::default(),
            phase_since: None,
            is_resting: false,
            stuck_since_ms: None,
        };
        Self { state: Mutex::new(state), woken: Bell::default() }
    }

    /// The record and its progress, now.
    pub fn stored(&self) -> StoredMigration {
        self.state.lock().stored.clone()
    }

    pub fn wish(&self) -> Wish {
        self.state.lock().wish
    }

    /// Wants something of it from now on. Nothing comes after a cancellation but the end.
    pub fn want(&self, wish: Wish) {
        let mut state = self.state.lock();
        if state.wish != Wish::Cancel || wish == Wish::Stop {
            state.wish = wish;
        }
        self.woken.ring();
    }

    /// Waits, or until somebody wants something else.
    pub fn sleep(&self, clock: &impl Clock, time: Duration) {
        clock.wait(&self.woken, self.woken.rings(), time);
    }

    /// Keeps the record in place of the one before it. It is shown when it is kept: whoever sees that a migration is over
    /// may rely on it. Returns the phase that is over, if one is, and how long it took.
    pub(crate) fn keep<W: MetaStore + Clock>(
        &self,
        world: &W,
        migration: &Migration,
    ) -> Result<Option<(&'static str, Duration)>> {
        self.keep_with(world, migration, MetaChange::default())
    }

    /// As [`Self::keep`], together with something else.
    pub(crate) fn keep_with<W: MetaStore + Clock>(
        &self,
        world: &W,
        migration: &Migration,
        mut change: MetaChange,
    ) -> Result<Option<(&'static str, Duration)>> {
        let now_ms = world.now_ms();
        let mut stored = self.stored();
        stored.advance(migration, now_ms);
        if mistaken!(ShownBeforeKept) {
            self.state.lock().stored.advance(migration, now_ms);
        }
        change.put(&record_key(migration.id), &stored)?;
        world.commit(change)?;
        let mut state = self.state.lock();
        let left = state.stored.migration.phase;
        state.stored.advance(migration, now_ms);
        if left == migration.phase {
            return Ok(None);
        }
        let now = world.elapsed();
        let since = state.phase_since.replace(now);
        Ok(since.map(|since| (left.name(), now.saturating_sub(since))))
    }

    pub(crate) fn begin_copy(&self, rows: u64) {
        let progress = &mut self.state.lock().stored.progress;
        progress.rows_total = rows;
        (progress.rows, progress.bytes, progress.copied_at_ms, progress.cutovers_too_slow) = (0, 0, None, 0);
    }

    pub(crate) fn note_pause(&self, pause: Duration) {
        self.state.lock().stored.progress.pause_us = Some(pause.as_micros() as u64);
    }

    pub(crate) fn note_error(&self, error: &Error) {
        self.state.lock().stored.progress.error = Some(error.message.clone());
    }

    /// Looks whether nothing has moved for as long as `timeout_ms`. If so, it says why, and is given up: it turns back where
    /// it still can, and where it can't, it is woken, as what it waits for may have come while nobody told it. What is stuck
    /// is returned when that is news.
    pub(crate) fn watch(&self, now_ms: i64, timeout_ms: i64) -> Option<Stuck> {
        let mut state = self.state.lock();
        if state.stored.migration.phase.is_over() {
            return None;
        }
        if state.wish == Wish::Pause {
            state.stored.progress.moved_at_ms = now_ms;
        }
        if state.is_resting {
            return None;
        }
        let moved_at_ms = state.stored.progress.moved_at_ms;
        if now_ms - moved_at_ms < timeout_ms {
            return None;
        }
        let stuck = Stuck {
            phase: state.stored.migration.phase,
            unmoved: Duration::from_millis((now_ms - moved_at_ms) as u64),
        };
        state.stored.progress.error = Some(stuck.why(state.stored.progress.cutovers_too_slow));
        if state.wish == Wish::GoOn {
            state.wish = Wish::GiveUp;
        }
        let is_news = state.stuck_since_ms.replace(moved_at_ms) != Some(moved_at_ms);
        drop(state);
        self.woken.ring();
        is_news.then_some(stuck)
    }

    /// Notes what was sent.
    pub(crate) fn count(&self, clock: &impl Clock, rows: u64, bytes: u64) {
        let StoredMigration { migration, progress } = &mut self.state.lock().stored;
        progress.rows += rows;
        progress.bytes += bytes;
        if !progress.tries_again(migration.phase) {
            progress.moved_at_ms = clock.now_ms();
        }
    }

    /// Notes what was sent, and waits as the limits and the foreground want it.
    ///
    /// # Errors
    /// 57014 when it is to turn back or stop.
    pub(crate) fn pace(&self, world: &impl World, rows: u64, bytes: u64) -> Result<()> {
        self.count(world, rows, bytes);
        self.wait_for_turn(world, rows, bytes, false)
    }

    /// Notes what was sent of what is owed, and rests as long as the outbox shrinks all the same, where `behind` entries are
    /// left.
    ///
    /// # Errors
    /// 57014 when it is to turn back or stop.
    pub(crate) fn pace_catching_up(&self, world: &impl World, bytes: u64, behind: u64) -> Result<()> {
        self.count(world, 0, bytes);
        let asked = Asked::of(&world.settings());
        let foreground = world.foreground();
        let now = world.elapsed();
        let rest = {
            let mut state = self.state.lock();
            let worked = state.worked(world);
            let is_throttled = asked.throttle && foreground.recent_us.is_some();
            if is_throttled { state.drain.rest(now, worked, behind, foreground.processors) } else { Duration::ZERO }
        };
        self.rest(world, now + rest, asked, false)
    }

    /// As [`Self::pace`], of what is only read.
    pub(crate) fn pace_reading(&self, world: &impl World, bytes: u64) -> Result<()> {
        self.state.lock().stored.progress.moved_at_ms = world.now_ms();
        self.wait_for_turn(world, 0, bytes, true)
    }

    /// Waits as long as the limits want it. Limits that somebody changes meanwhile hold at once: what was waited for by
    /// the old ones is forgotten. Who only reads is past turning back, and nothing but a close stops it.
    fn wait_for_turn(&self, world: &impl World, rows: u64, bytes: u64, reads: bool) -> Result<()> {
        let asked = Asked::of(&world.settings());
        let until = world.elapsed() + self.turn(world, rows, bytes, reads);
        self.rest(world, until, asked, reads)
    }

    /// The time of the rest is none in which something should have moved.
    fn rest(&self, world: &impl World, until: Duration, asked: Asked, reads: bool) -> Result<()> {
        let began_ms = world.now_ms();
        self.state.lock().is_resting = true;
        let outcome = self.rest_until(world, until, asked, reads);
        let mut state = self.state.lock();
        state.rested_at = Some(world.worked());
        state.is_resting = false;
        state.stored.progress.moved_at_ms += (world.now_ms() - began_ms).max(0);
        outcome
    }

    fn rest_until(&self, world: &impl World, until: Duration, asked: Asked, reads: bool) -> Result<()> {
        loop {
            let left = until.saturating_sub(world.elapsed());
            let changed = Asked::of(&world.settings()) != asked;
            match self.wish() {
                Wish::Stop => return Err(interrupted()),
                Wish::Cancel | Wish::GiveUp if !reads => return Err(interrupted()),
                Wish::Pause if !reads => self.sleep(world, Duration::from_secs(1)),
                _ if left.is_zero() => return Ok(()),
                _ if changed => {
                    self.state.lock().pace = Pace::default();
                    return Ok(());
                }
                _ => self.sleep(world, left.min(Duration::from_millis(OBSERVE_EVERY_MS))),
            }
        }
    }

    /// How long to wait before the next batch. Who only reads moves no rows: what the last batch of a copy has to wait for
    /// is nothing to it.
    fn turn(&self, world: &impl World, rows: u64, bytes: u64, reads: bool) -> Duration {
        let Asked { rate, bandwidth, throttle } = Asked::of(&world.settings());
        let foreground = world.foreground();
        let mut state = self.state.lock();
        let now_ms = world.elapsed().as_millis() as u64;
        let allowed = if throttle {
            let (throttle, seen_ms) = state
                .throttle
                .get_or_insert_with(|| (Throttle::new(ThrottleLimits::DEFAULT, foreground.baseline_us), 0));
            if now_ms >= *seen_ms + OBSERVE_EVERY_MS {
                throttle.observe(now_ms, foreground.recent_us);
                *seen_ms = now_ms;
            }
            Some((throttle.bytes_per_second(), throttle.is_throttled()))
        } else {
            None
        };
        let by_throttle =
            allowed.filter(|_| foreground.recent_us.is_some()).map_or(0, |(bytes_per_second, _)| bytes_per_second);
        state.stored.progress.is_throttled = by_throttle > 0 && allowed.is_some_and(|(_, throttled)| throttled);
        let bytes_per_second = [bandwidth, by_throttle].into_iter().filter(|limit| *limit > 0).min().unwrap_or(0);
        let limits = PaceLimits { rows_per_second: if reads { 0 } else { rate }, bytes_per_second };
        let by_limits = Duration::from_millis(state.pace.take(now_ms, rows, bytes, limits));
        let worked = state.worked(world);
        let by_share = if by_throttle > 0 {
            rest_after(worked, foreground.processors, foreground.idle_percent)
        } else {
            Duration::ZERO
        };
        by_limits.max(by_share)
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
    fn of(settings: &Settings) -> Self {
        Self {
            rate: settings.integer("migration_rate").max(0) as u64,
            bandwidth: settings.size("migration_bandwidth"),
            throttle: settings.boolean("migration_throttle"),
        }
    }
}

/// The key of a migration's record.
pub(crate) fn record_key(id: MigrationId) -> String {
    format!("migration/{:020}", id.0)
}

fn interrupted() -> Error {
    Error::new(SqlState::QueryCanceled, "the migration was asked to stop")
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_model::{JobId, ShardId, Slot, SlotSet};

    fn movement() -> Movement {
        let migration =
            Migration::new(MigrationId(1), JobId(1), ShardId(1), ShardId(2), SlotSet::range(Slot(0), Slot(1)));
        Movement::new(StoredMigration { migration, progress: Progress::default() }, Wish::GoOn)
    }

    /// As if it had gone on to a phase.
    fn advance(movement: &Movement, phase: Phase, now_ms: i64) {
        let mut state = movement.state.lock();
        let next = Migration { phase, ..state.stored.migration.clone() };
        state.stored.advance(&next, now_ms);
    }

    fn error(movement: &Movement) -> String {
        movement.stored().progress.error.unwrap_or_default()
    }

    #[test]
    fn it_is_news_once_that_nothing_moves() {
        let movement = movement();
        advance(&movement, Phase::Copying, 0);
        assert_eq!(movement.watch(599_999, 600_000), None);
        assert_eq!(movement.wish(), Wish::GoOn);
        let stuck = Stuck { phase: Phase::Copying, unmoved: Duration::from_secs(600) };
        assert_eq!(movement.watch(600_000, 600_000), Some(stuck));
        assert_eq!(movement.wish(), Wish::GiveUp);
        assert_eq!(movement.watch(601_000, 600_000), None);
        assert_eq!(error(&movement), "stuck in copying: nothing moved for 601 s");
        movement.state.lock().stored.progress.moved_at_ms = 7;
        assert!(movement.watch(600_007, 600_000).is_some());
    }

    #[test]
    fn cutovers_that_are_tried_again_are_no_movement() {
        let movement = movement();
        advance(&movement, Phase::CatchingUp, 0);
        advance(&movement, Phase::Sealing, 1_000);
        for second in 2..600 {
            advance(&movement, Phase::CatchingUp, second * 1_000);
            advance(&movement, Phase::Sealing, second * 1_000 + 500);
        }
        assert_eq!(movement.watch(600_999, 600_000), None);
        assert!(movement.watch(601_000, 600_000).is_some());
        assert!(error(&movement).contains("598 times, writes would have been held for longer than cutover_budget"));
        // What comes after it is.
        advance(&movement, Phase::Switching, 602_000);
        assert_eq!((movement.watch(603_000, 600_000), error(&movement).as_str()), (None, ""));
    }

    #[test]
    fn who_may_not_go_on_is_not_stuck() {
        let movement = movement();
        advance(&movement, Phase::Copying, 0);
        movement.want(Wish::Pause);
        assert_eq!(movement.watch(900_000, 600_000), None);
        movement.want(Wish::GoOn);
        assert_eq!(movement.watch(1_499_999, 600_000), None, "the pause does not count");
        movement.state.lock().is_resting = true;
        assert_eq!(movement.watch(1_500_000, 600_000), None, "it waits for its turn");
    }
}
