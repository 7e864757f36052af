//! What a database does by itself: acknowledged but unsynced commits go to disk, old versions go away, rates are taken.

use crate::database::Database;
use crate::oracle::now_ms;
use parking_lot::{Condvar, Mutex};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most that `synchronous_commit = off` risks.
const SYNC_EVERY: Duration = Duration::from_millis(200);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const SAFE_POINT_EVERY: Duration = Duration::from_secs(10);
/// Replaced versions of a shard, in bytes, above which it is rewritten, at most once in this time.
const HISTORY_BYTES_MAX: u64 = 128 << 20;
const COMPACT_EVERY: Duration = Duration::from_secs(600);

/// The thread that does it; stops when dropped.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    pub(crate) fn start(database: Weak<Database>) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("background".to_string()).spawn(move || run(&database, &stopped)).ok();
        Self { stop, thread }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

fn run(database: &Weak<Database>, stop: &(Mutex<bool>, Condvar)) {
    let start = Instant::now();
    let (mut sampled, mut collected, mut compacted) = (start, start, start);
    loop {
        {
            let mut stopped = stop.0.lock();
            if !*stopped {
                stop.1.wait_for(&mut stopped, SYNC_EVERY);
            }
            if *stopped {
                return;
            }
        }
        let Some(database) = database.upgrade() else { return };
        let now = Instant::now();
        let mut outcome = database.sync();
        database.registry.latencies.look(database.rebalancing.conductor.is_moving());
        if now - sampled >= SAMPLE_EVERY {
            sampled = now;
            database.registry.sample(&database.layout().shards);
            database.registry.processors.look();
            outcome = outcome.and_then(|()| database.purge_dropped());
        }
        if now - collected >= SAFE_POINT_EVERY {
            collected = now;
            outcome = outcome.and_then(|()| database.raise_safe_point(now_ms()));
        }
        if now - compacted >= COMPACT_EVERY {
            compacted = now;
            let layout = database.layout();
            let large = layout.shards.values().filter(|shard| shard.storage_bytes().1 > HISTORY_BYTES_MAX);
            large.for_each(|shard| shard.compact(None));
        }
        if let Err(error) = outcome {
            database.registry.report_background(&error);
        }
    }
}
