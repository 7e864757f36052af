//! How long things take: counts by time, from which the migrations' throttle, the SYSTEM tables and the metrics are made.

use crate::measures::{Histogram, StatementClass};
use evenkeel_model::SqlState;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Two buckets for every doubling, from a microsecond to over an hour.
const BUCKETS: usize = 64;
/// How much of the old baseline stays with every new measurement.
const BASELINE_KEEPS: u64 = 9;
/// Buckets of a histogram as it is shown: two doublings each, from 64 microseconds to 18 minutes.
const SHOWN: std::ops::RangeInclusive<u32> = 3..=15;

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

/// Counts by time.
#[derive(Debug)]
pub(crate) struct Buckets {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

impl Buckets {
    pub(crate) fn note(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        self.counts[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn histogram(&self) -> Histogram {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let up_to = |power: u32| {
            let bound = 1_u64 << (2 * power);
            (bound as f64 / 1e6, counts[..4 * power as usize].iter().sum())
        };
        Histogram {
            buckets: SHOWN.map(up_to).collect(),
            count: counts.iter().sum(),
            sum_seconds: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

/// Counts of statements by how long they took.
#[derive(Debug)]
pub(crate) struct Latencies {
    classes: [Buckets; StatementClass::ALL.len()],
    failures: Mutex<BTreeMap<(StatementClass, &'static str), u64>>,
    seen: Mutex<Vec<u64>>,
    recent_us: AtomicU64,
    baseline_us: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            classes: std::array::from_fn(|_| Buckets::default()),
            failures: Mutex::default(),
            seen: Mutex::new(vec![0; BUCKETS]),
            recent_us: AtomicU64::new(0),
            baseline_us: AtomicU64::new(0),
        }
    }
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
        let load = |at: usize| self.classes.iter().map(|class| class.counts[at].load(Ordering::Relaxed)).sum();
        let now: Vec<u64> = (0..BUCKETS).map(load).collect();
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
