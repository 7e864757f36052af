//! How long things take: counts by time, from which the migrations' throttle, the SYSTEM tables and the metrics are made.

use crate::measures::{Histogram, StatementClass};
use evenkeel_model::SqlState;
use evenkeel_storage::latency::{BUCKETS, LatencyCounts, STEPS, p99_us, since};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much of the old baseline stays with every new measurement.
const BASELINE_KEEPS: u64 = 9;
/// Buckets of a histogram as it is shown: two doublings each, from 64 microseconds to 18 minutes.
const SHOWN: std::ops::RangeInclusive<u32> = 3..=15;

/// Counts by time.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    counts: LatencyCounts,
    sum_us: AtomicU64,
}

impl Buckets {
    pub(crate) fn note(&self, took: Duration) {
        self.counts.note(took);
        self.sum_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn histogram(&self) -> Histogram {
        let counts = self.counts.counts();
        let up_to = |power: u32| {
            let bound = 1_u64 << (2 * power);
            (bound as f64 / 1e6, counts[..2 * STEPS * power as usize].iter().sum())
        };
        Histogram {
            buckets: SHOWN.map(up_to).collect(),
            count: counts.iter().sum(),
            sum_seconds: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

/// Counts of statements by how long they took.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    classes: [Buckets; StatementClass::ALL.len()],
    failures: Mutex<BTreeMap<(StatementClass, &'static str), u64>>,
    seen: Mutex<Vec<u64>>,
    recent_us: AtomicU64,
    baseline_us: AtomicU64,
}

impl Latencies {
    /// Counts a statement.
    pub(crate) fn note(&self, class: StatementClass, took: Duration) {
        self.classes[class as usize].note(took);
    }

    /// Counts a statement that failed.
    pub(crate) fn note_failure(&self, class: StatementClass, state: SqlState) {
        *self.failures.lock().entry((class, &state.code()[..2])).or_default() += 1;
    }

    /// What was counted, by class.
    pub(crate) fn histograms(&self) -> Vec<(StatementClass, Histogram)> {
        StatementClass::ALL.iter().map(|class| (*class, self.classes[*class as usize].histogram())).collect()
    }

    /// Statements that failed, by class and by the first two characters of their SQLSTATE.
    pub(crate) fn failures(&self) -> Vec<(StatementClass, &'static str, u64)> {
        self.failures.lock().iter().map(|((class, state), count)| (*class, *state, *count)).collect()
    }

    /// Looks at what came since the last time. Without migrations it goes into the baseline.
    pub(crate) fn look(&self, moving: bool) {
        let mut now = vec![0; BUCKETS];
        for class in &self.classes {
            now.iter_mut().zip(class.counts.counts()).for_each(|(sum, count)| *sum += count);
        }
        let mut seen = self.seen.lock();
        let recent = p99_us(&since(&now, &seen)).unwrap_or(0);
        *seen = now;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_count_up_to_their_bounds() {
        let buckets = Buckets::default();
        [10, 63, 64, 70, 2_000_000, 80_000_000_000].iter().for_each(|us| buckets.note(Duration::from_micros(*us)));
        let shown = buckets.histogram();
        assert_eq!(shown.buckets[0], (0.000_064, 2));
        assert_eq!(shown.buckets[1], (0.000_256, 4));
        assert!(shown.buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        assert_eq!((shown.buckets.last().map(|last| last.1), shown.count), (Some(5), 6), "the last took a day");
    }

    #[test]
    fn the_baseline_is_what_was_before_the_move() {
        let latencies = Latencies::default();
        (0..1_000).for_each(|_| latencies.note(StatementClass::Query, Duration::from_micros(100)));
        latencies.look(false);
        let calm = latencies.baseline_us();
        assert!((100..=128).contains(&calm), "{calm}");
        (0..1_000).for_each(|_| latencies.note(StatementClass::Query, Duration::from_millis(10)));
        latencies.look(true);
        assert_eq!(latencies.baseline_us(), calm);
        assert!(latencies.recent_us().is_some_and(|us| us >= 10_000));
        latencies.look(true);
        assert_eq!(latencies.recent_us(), None, "nobody asked anything since");
    }
}
