//! The source of timestamps: ascending, never issued twice, close to the wall clock.
//!
//! A mark is persisted ahead of use; after a restart timestamps go on above the mark, whatever the clock says. A clock
//! that jumps back makes timestamps run ahead of it until it has caught up; order is never lost.

use crate::meta::{Meta, MetaStore};
use evenkeel_model::{Result, Timestamp};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const MARK: &str = "timestamp_mark";
/// How far ahead of use the mark is set: one small synced write in this time.
const AHEAD_MS: i64 = 5_000;

/// Milliseconds since 1970 by the wall clock.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Issues timestamps.
pub(crate) struct Oracle {
    meta: Arc<Meta>,
    last: AtomicU64,
    mark: AtomicU64,
    extending: Mutex<()>,
}

impl Oracle {
    /// Goes on above everything that was issued before.
    pub(crate) fn open(meta: Arc<Meta>) -> Result<Self> {
        let mark = meta.get::<u64>(MARK)?.unwrap_or(0);
        Ok(Self { meta, last: AtomicU64::new(mark), mark: AtomicU64::new(mark), extending: Mutex::new(()) })
    }

    /// The next timestamp.
    pub(crate) fn next(&self) -> Result<Timestamp> {
        self.reserve(1)
    }

    /// The first of `count` timestamps that nobody else gets.
    pub(crate) fn reserve(&self, count: u64) -> Result<Timestamp> {
        loop {
            let last = self.last.load(Ordering::SeqCst);
            let first = (last + 1).max(Timestamp::from_millis(now_ms()).0);
            let end = first + count - 1;
            if end >= self.mark.load(Ordering::SeqCst) {
                self.extend(Timestamp(end))?;
            }
            if self.last.compare_exchange(last, end, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return Ok(Timestamp(first));
            }
        }
    }

    /// The newest timestamp that was issued: everything acknowledged so far is at or below it.
    pub(crate) fn read(&self) -> Timestamp {
        Timestamp(self.last.load(Ordering::SeqCst))
    }

    /// Makes sure that later timestamps are above this one.
    pub(crate) fn observe(&self, timestamp: Timestamp) -> Result<()> {
        if timestamp.0 >= self.mark.load(Ordering::SeqCst) {
            self.extend(timestamp)?;
        }
        self.last.fetch_max(timestamp.0, Ordering::SeqCst);
        Ok(())
    }

    fn extend(&self, end: Timestamp) -> Result<()> {
        let _one = self.extending.lock();
        if end.0 < self.mark.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mark = Timestamp::from_millis(end.millis() + AHEAD_MS).0;
        self.meta.put(MARK, &mark)?;
        self.mark.store(mark, Ordering::SeqCst);
        Ok(())
    }
}
