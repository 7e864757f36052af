//! How long statements take: counts by time, from which the migrations' throttle and the SYSTEM tables have their p99.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Two buckets for every doubling, from a microsecond to over an hour.
const BUCKETS: usize = 64;
/// How much of the old baseline stays with every new measurement.
const BASELINE_KEEPS: u64 = 9;

fn bucket(micros: u64) -> usize {
    let micros = micros.max(1);
    let log = micros.ilog2() as usize;
    let upper_half = log > 0 && micros >> (log - 1) & 1 == 1;
    (2 * log + usize::from(upper_half)).min(BUCKETS - 1)
}

/// The largest time that a bucket counts.
fn upper_us(bucket: usize) -> u64 {
    let low = 1_u64 << (bucket / 2);
    if bucket.is_multiple_of(2) { low + low / 2 } else { low * 2 }
}

/// Counts of statements by how long they took.
#[derive(Debug)]
pub(crate) struct Latencies {
    counts: Vec<AtomicU64>,
    seen: Mutex<Vec<u64>>,
    recent_us: AtomicU64,
    baseline_us: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            seen: Mutex::new(vec![0; BUCKETS]),
            recent_us: AtomicU64::new(0),
            baseline_us: AtomicU64::new(0),
        }
    }
}

impl Latencies {
    /// Counts a statement.
    pub(crate) fn note(&self, took: Duration) {
        self.counts[bucket(took.as_micros() as u64)].fetch_add(1, Ordering::Relaxed);
    }

    /// Looks at what came since the last time. Without migrations it goes into the baseline.
    pub(crate) fn look(&self, moving: bool) {
        let now: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let mut seen = self.seen.lock();
        let new: Vec<u64> = now.iter().zip(seen.iter()).map(|(now, seen)| now - seen).collect();
        *seen = now;
        let recent = p99_us(&new).unwrap_or(0);
        self.recent_us.store(recent, Ordering::Relaxed);
        if recent > 0 && !moving {
            let old = self.baseline_us.load(Ordering::Relaxed);
            let baseline = if old == 0 { recent } else { (old * BASELINE_KEEPS + recent) / (BASELINE_KEEPS + 1) };
            self.baseline_us.store(baseline, Ordering::Relaxed);
        }
    }

    /// The p99 of the statements between the last two looks, in microseconds; `None` where there were none.
    pub(crate) fn recent_us(&self) -> Option<u64> {
        Some(self.recent_us.load(Ordering::Relaxed)).filter(|us| *us > 0)
    }

    /// The p99 while nothing moved, in microseconds; 0 where nothing was measured.
    pub(crate) fn baseline_us(&self) -> u64 {
        self.baseline_us.load(Ordering::Relaxed)
    }
}

fn p99_us(counts: &[u64]) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    let wanted = total - total / 100;
    let mut sum = 0;
    for (bucket, count) in counts.iter().enumerate() {
        sum += count;
        if total > 0 && sum >= wanted {
            return Some(upper_us(bucket));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_what_they_say() {
        for micros in [1, 2, 3, 5, 8, 12, 100, 1_000, 65_535, 1_000_000] {
            let at = bucket(micros);
            assert!(micros <= upper_us(at), "{micros}");
            assert!(at == 0 || micros >= upper_us(at - 1), "{micros}");
        }
    }

    #[test]
    fn the_baseline_is_what_was_before_the_move() {
        let latencies = Latencies::default();
        (0..1_000).for_each(|_| latencies.note(Duration::from_micros(100)));
        latencies.look(false);
        let calm = latencies.baseline_us();
        assert!((100..=128).contains(&calm), "{calm}");
        (0..1_000).for_each(|_| latencies.note(Duration::from_millis(10)));
        latencies.look(true);
        assert_eq!(latencies.baseline_us(), calm);
        assert!(latencies.recent_us().is_some_and(|us| us >= 10_000));
        latencies.look(true);
        assert_eq!(latencies.recent_us(), None, "nobody asked anything since");
    }
}
