//! Transactions that have written something and are to commit: what a group may wait for.
//!
//! A sync costs the processor as much as some statements do. Where the disk is faster than the processors, each commit would
//! have one of its own, and those who are about to commit would wait for the processor meanwhile. So the log's thread gives way to them
//! first, as long as they have a use for it; where a processor is free, it syncs at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Somebody else was let in, if giving way took longer than this.
const GAVE_WAY: Duration = Duration::from_micros(10);
/// No commit waits for others for longer than this, and for as long as the scheduler then gives to somebody else.
const GATHER_MAX: Duration = Duration::from_millis(1);

/// Counts them.
#[derive(Clone, Debug, Default)]
pub struct Expected(Arc<AtomicUsize>);

impl Expected {
    /// One more, until it is dropped.
    pub fn one(&self) -> Coming {
        self.0.fetch_add(1, Ordering::Relaxed);
        Coming(self.clone())
    }

    /// Gives way to them.
    pub(super) fn gather(&self) {
        let began = Instant::now();
        while self.0.load(Ordering::Relaxed) > 0 && began.elapsed() < GATHER_MAX {
            let before = Instant::now();
            std::thread::yield_now();
            if before.elapsed() < GAVE_WAY {
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
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_come_is_not_waited_for() {
        let expected = Expected::default();
        let (first, second) = (expected.one(), expected.one());
        assert_eq!(expected.0.load(Ordering::Relaxed), 2);
        // Ends, whatever else runs on this machine.
        expected.gather();
        drop((first, second));
        assert_eq!(expected.0.load(Ordering::Relaxed), 0);
    }
}
