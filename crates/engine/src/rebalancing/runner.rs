//! The thread that tends the jobs: begins migrations, ends jobs, measures and decides.

use crate::database::Database;
use evenkeel_conductor::{Bell, LOOK_EVERY};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

/// Stops when dropped.
pub(super) struct Runner {
    called: Bell,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Tends the jobs of a database whenever the bell rings, and from time to time.
    pub(super) fn start(database: Weak<Database>, called: Bell) -> Self {
        let stop: Arc<AtomicBool> = Arc::default();
        let (bell, stopped) = (called.clone(), Arc::clone(&stop));
        let thread =
            std::thread::Builder::new().name("jobs".to_string()).spawn(move || run(&database, &bell, &stopped));
        Self { called, stop, thread: thread.ok() }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.called.ring();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

fn run(database: &Weak<Database>, called: &Bell, stop: &AtomicBool) {
    let mut seen = called.rings();
    loop {
        called.block(seen, LOOK_EVERY);
        seen = called.rings();
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Some(database) = database.upgrade() else { return };
        if let Err(error) = database.rebalancing.conductor.tend(&database.world()) {
            database.registry.report_background(&error);
        }
    }
}
