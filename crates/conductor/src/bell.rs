//! What somebody waits for: a bell that others ring.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;

/// Counts how often it was rung. Whoever waits says what it has seen, so that no ring is missed between looking and waiting.
/// Clones are the same bell.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<(Mutex<u64>, Condvar)>);

impl Bell {
    /// Wakes everybody who waits.
    pub fn ring(&self) {
        *self.0.0.lock() += 1;
        self.0.1.notify_all();
    }

    /// How often it was rung so far.
    pub fn rings(&self) -> u64 {
        *self.0.0.lock()
    }

    /// Blocks this thread until it was rung after `seen`, or for so long: how a process's [`Clock`](crate::Clock) waits.
    pub fn block(&self, seen: u64, at_most: Duration) {
        let (rings, rung) = &*self.0;
        let mut rings = rings.lock();
        // Nobody notifies without a ring, and this condition variable wakes nobody by itself.
        if *rings == seen {
            rung.wait_for(&mut rings, at_most);
        }
    }
}
