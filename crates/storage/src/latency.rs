//! Counts by time, precise to an eighth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of a doubling, a power of two: what a throttle takes for harm is a fifth more than before, and must not vanish in one
/// bucket.
pub const STEPS: usize = 8;
/// From a microsecond to over an hour.
pub const BUCKETS: usize = 32 * STEPS;

fn bucket(micros: u64) -> usize {
    let micros = micros.max(1);
    let log = micros.ilog2() as usize;
    let step = ((u128::from(micros) * STEPS as u128) >> log) as usize % STEPS;
    (STEPS * log + step).min(BUCKETS - 1)
}

/// The largest time that a bucket counts.
fn upper_us(bucket: usize) -> u64 {
    let low = 1_u64 << (bucket / STEPS);
    low + low * (bucket % STEPS + 1) as u64 / STEPS as u64
}

/// Counts by time, in counters that nobody waits for.
#[derive(Debug)]
pub struct LatencyCounts([AtomicU64; BUCKETS]);

impl Default for LatencyCounts {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl LatencyCounts {
    /// Counts one.
    #[inline]
    pub fn note(&self, took: Duration) {
        self.0[bucket(took.as_micros() as u64)].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far, by bucket: [`STEPS`] buckets for every doubling of a microsecond.
    pub fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

/// What came between two looks at the counts; the earlier ones may be none at all.
pub fn since(now: &[u64], earlier: &[u64]) -> Vec<u64> {
    let earlier = earlier.iter().copied().chain(std::iter::repeat(0));
    now.iter().zip(earlier).map(|(now, earlier)| now.saturating_sub(earlier)).collect()
}

/// The 99th percentile of counts, in microseconds, an eighth too large at most; `None` where there are none.
pub fn p99_us(counts: &[u64]) -> Option<u64> {
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
            assert!(upper_us(at) - micros <= micros / STEPS as u64 + 1, "{micros}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn one_in_a_hundred_is_not_looked_at() {
        let counts = LatencyCounts::default();
        (0..99).for_each(|_| counts.note(Duration::from_micros(100)));
        let before = counts.counts();
        assert!(p99_us(&before).is_some_and(|us| (100..=112).contains(&us)));
        counts.note(Duration::from_secs(1));
        assert!(p99_us(&counts.counts()).is_some_and(|us| us <= 112));
        assert!(p99_us(&since(&counts.counts(), &before)).is_some_and(|us| us >= 1_000_000));
        assert_eq!(p99_us(&since(&before, &before)), None);
    }
}
