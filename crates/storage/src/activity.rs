//! What a shard is used for: rows read and written per slot, and how long those who use it take.

use crate::codec::key::slot_of;
use crate::latency::LatencyCounts;
use evenkeel_model::{Slot, SlotBits};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Rows read and written per slot, and times, in counters that nobody waits for.
#[derive(Debug)]
pub struct Activity {
    bits: SlotBits,
    reads: Vec<AtomicU64>,
    writes: Vec<AtomicU64>,
    busy_ns: AtomicU64,
    used_ns: AtomicU64,
    served: LatencyCounts,
}

impl Activity {
    pub(crate) fn new(bits: SlotBits) -> Self {
        let zeros = || (0..bits.slots()).map(|_| AtomicU64::new(0)).collect();
        Self {
            bits,
            reads: zeros(),
            writes: zeros(),
            busy_ns: AtomicU64::new(0),
            used_ns: AtomicU64::new(0),
            served: LatencyCounts::default(),
        }
    }

    pub(crate) fn read(&self, key: &[u8]) {
        self.reads[slot_of(key, self.bits).0 as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn write(&self, key: &[u8]) {
        self.writes[slot_of(key, self.bits).0 as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn busy(&self, since: Instant) {
        self.busy_ns.fetch_add(since.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// Somebody had to do with the shard for so long.
    pub(crate) fn used(&self, took: Duration) {
        self.used_ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn served(&self, took: Duration) {
        self.used(took);
        self.served.note(took);
    }

    /// How long reads by key and commits took.
    pub fn latencies(&self) -> &LatencyCounts {
        &self.served
    }

    /// Nanoseconds that everybody has spent in reads and commits, waits included: what grows by a second each second is used
    /// by one session at a time.
    pub fn used_ns(&self) -> u64 {
        self.used_ns.load(Ordering::Relaxed)
    }

    /// Nanoseconds that threads spent in scans and in preparing commits, without the wait for the disk.
    pub fn busy_ns(&self) -> u64 {
        self.busy_ns.load(Ordering::Relaxed)
    }

    /// Gathers the reads of a scan, so that a run of rows in one slot costs one addition.
    pub(crate) fn reader(&self) -> ScanActivity<'_> {
        ScanActivity { activity: self, slot: Slot(0), count: 0 }
    }

    /// Rows read from and written to a slot since the shard was opened.
    pub fn of(&self, slot: Slot) -> (u64, u64) {
        let load = |counters: &[AtomicU64]| counters[slot.0 as usize].load(Ordering::Relaxed);
        (load(&self.reads), load(&self.writes))
    }

    /// Rows read and written in all slots.
    pub fn total(&self) -> (u64, u64) {
        let sum = |counters: &[AtomicU64]| counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        (sum(&self.reads), sum(&self.writes))
    }
}

pub(crate) struct ScanActivity<'a> {
    activity: &'a Activity,
    slot: Slot,
    count: u64,
}

impl ScanActivity<'_> {
    #[inline]
    pub(crate) fn read(&mut self, key: &[u8]) {
        let slot = slot_of(key, self.activity.bits);
        if slot != self.slot {
            self.flush();
            self.slot = slot;
        }
        self.count += 1;
    }

    fn flush(&mut self) {
        if self.count > 0 {
            self.activity.reads[self.slot.0 as usize].fetch_add(self.count, Ordering::Relaxed);
            self.count = 0;
        }
    }
}

impl Drop for ScanActivity<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
