//! The timestamps at which somebody reads: what must not be collected yet.

use evenkeel_model::Timestamp;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many readers there are at each timestamp.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    readers: Arc<Mutex<BTreeMap<Timestamp, usize>>>,
}

/// Keeps what is visible at a timestamp from being collected.
#[derive(Debug)]
pub(crate) struct Pin {
    readers: Arc<Mutex<BTreeMap<Timestamp, usize>>>,
    pub(crate) read: Timestamp,
}

impl Snapshots {
    /// Registers a reader; `read` is called under the lock, so that the oldest never passes it.
    pub(crate) fn pin(&self, read: impl FnOnce() -> Timestamp) -> Pin {
        let mut readers = self.readers.lock();
        let read = read();
        *readers.entry(read).or_default() += 1;
        Pin { readers: Arc::clone(&self.readers), read }
    }

    /// The oldest timestamp that is read at.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.readers.lock().keys().next().copied()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut readers = self.readers.lock();
        if let Some(count) = readers.get_mut(&self.read) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.read);
            }
        }
    }
}
