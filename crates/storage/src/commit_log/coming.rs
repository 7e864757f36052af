//! Transactions that have written something and are to commit: what a group may wait for.
//!
//! A sync costs the processor as much as some statements do. Where the disk is faster than the processors, each commit would
//! have one of its own, and those who are about to commit would wait for the processor meanwhile. So the log's thread gives
//! way to them first, as long as they have a use for it; where a processor is free, it syncs at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Somebody else was let in, if giving way took longer than this.
const GAVE_WAY: Duration = Duration::from_micros(10);
/// No commit waits for others for longer than this, and for as long as the scheduler then gives to somebody else.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// A block whose first write is older than this is not about to commit, as far as is known.
const COMES_WITHIN: Duration = Duration::from_millis(10);

/// Counts them.
#[derive(Clone, Debug)]
pub struct Expected(Arc<State>);

#[derive(Debug)]
struct State {
    created: Instant,
    count: AtomicUsize,
    /// When the last one was added, in microseconds since this was created.
    added_us: AtomicU64,
}

impl Default for Expected {
    fn default() -> Self {
        let state = State { created: Instant::now(), count: AtomicUsize::new(0), added_us: AtomicU64::new(0) };
        Self(Arc::new(state))
    }
}

impl Expected {
    /// One more, until it is dropped.
    pub fn one(&self) -> Coming {
        self.0.added_us.store(self.0.created.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Coming(self.clone())
    }

    /// Whether one may be about to commit.
    fn is_any(&self, now: Instant) -> bool {
        let State { created, count, added_us } = &*self.0;
        let added = *created + Duration::from_micros(added_us.load(Ordering::Relaxed));
        count.load(Ordering::Relaxed) > 0 && now.saturating_duration_since(added) < COMES_WITHIN
    }

    /// Gives way to them.
    pub(super) fn gather(&self) {
        let began = Instant::now();
        let mut now = began;
        while self.is_any(now) && now - began < GATHER_MAX {
            std::thread::yield_now();
            let before = std::mem::replace(&mut now, Instant::now());
            if now - before < GAVE_WAY {
                return;
            }
        }
    }
}

/// A transaction that is to commit.
#[derive(Debug)]
pub struct Coming(Expected);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_written_lately_or_is_over_is_not_waited_for() {
        let expected = Expected::default();
        let now = Instant::now();
        assert!(!expected.is_any(now));
        let (first, second) = (expected.one(), expected.one());
        assert!(expected.is_any(now));
        // Ends, whatever else runs on this machine.
        expected.gather();
        assert!(!expected.is_any(Instant::now() + COMES_WITHIN), "both have been open for long");
        drop((first, second));
        assert!(!expected.is_any(now));
    }
}
