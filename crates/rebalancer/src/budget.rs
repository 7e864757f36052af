//! How much may move, and how fast: rows and bytes a second, migrations an hour, migrations at once.
//!
//! WHAT MAY NEVER HAPPEN: more moves than a limit allows, in any second or in any hour, wherever one begins to count; a
//! limit that nothing can ever pass.
//!
//! ```text
//!   batch of rows ──▶ Pace ──▶ wait_ms, then send             (rows and bytes, whichever takes longer)
//!   next migration ─▶ Admission ──▶ Start | Wait { wait_ms, limit }
//! ```
//!
//! Time comes in as milliseconds: of a monotonic clock for the pace, of the wall clock for admission, whose starts
//! outlive the process. Everywhere 0 is no limit.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// An hour.
const HOUR_MS: u64 = 3_600_000;

/// How much a bucket that was idle lets through at once, as time: short, so that a burst is not felt by the foreground.
const BURST_US: u64 = 100_000;

/// A token bucket, kept as the moment at which it is full enough again (the generic cell rate algorithm): one number, no
/// rounding that adds up, and the rate may change from one call to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    /// When everything taken so far has been paid for.
    paid_us: u64,
}

impl TokenBucket {
    /// Takes an amount and says how long to wait before using it. An amount larger than the burst is let through, too;
    /// whoever comes next waits for it.
    pub fn take(&mut self, now_ms: u64, amount: u64, per_second: u64) -> u64 {
        if per_second == 0 {
            return 0;
        }
        let now_us = now_ms.saturating_mul(1_000);
        // An idle bucket is full, and no fuller.
        let begins_us = self.paid_us.max(now_us.saturating_sub(BURST_US));
        let cost_us = u128::from(amount) * 1_000_000 / u128::from(per_second);
        self.paid_us = begins_us.saturating_add(u64::try_from(cost_us).unwrap_or(u64::MAX));
        begins_us.saturating_sub(now_us).div_ceil(1_000)
    }
}

/// The pace of one stream of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    rows: TokenBucket,
    bytes: TokenBucket,
}

/// How fast rows may be sent. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PaceLimits {
    pub rows_per_second: u64,
    pub bytes_per_second: u64,
}

impl Pace {
    /// How long to wait, in milliseconds, before a batch is sent.
    pub fn take(&mut self, now_ms: u64, rows: u64, bytes: u64, limits: PaceLimits) -> u64 {
        let for_rows_ms = self.rows.take(now_ms, rows, limits.rows_per_second);
        let for_bytes_ms = self.bytes.take(now_ms, bytes, limits.bytes_per_second);
        for_rows_ms.max(for_bytes_ms)
    }
}

/// How many migrations may start. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Starts in any hour.
    pub migrations_per_hour: u64,
    /// Of the whole database, at once.
    pub migrations_at_once: u64,
    /// With this shard as source or target, at once.
    pub migrations_at_once_per_shard: u64,
}

/// Which migrations are running, as far as limits are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// In the whole database.
    pub all: u64,
    /// At the busier of the two shards concerned.
    pub at_busier_shard: u64,
}

/// Which limit holds a migration back, in the words of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    MigrationsPerHour,
    MigrationsAtOnce,
    MigrationsAtOncePerShard,
}

/// Whether the next migration may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Now; it is counted.
    Start,
    /// Not before so many milliseconds have passed.
    Wait { wait_ms: u64, limit: Limit },
    /// Not before another one is over.
    Full { limit: Limit },
}

/// Whether a limit, of which 0 is none, lets one more run.
fn allows(limit: u64, running: u64) -> bool {
    limit == 0 || running < limit
}

/// The starts of the last hour: part of what the balancer persists, so that a restart is no way round the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Admission {
    /// In wall-clock milliseconds, ascending; none that is older than an hour.
    starts_ms: VecDeque<u64>,
}

impl Admission {
    /// Counts a start, if all limits allow one.
    pub fn admit(&mut self, now_ms: u64, running: Running, limits: AdmissionLimits) -> Admitted {
        self.forget(now_ms);
        if let full @ Admitted::Full { .. } = Self::fits(running, limits) {
            return full;
        }
        let started = self.starts_ms.len() as u64;
        if !allows(limits.migrations_per_hour, started) {
            // The limit may have been lowered: then more than one start has to be an hour old first.
            let surplus = (started - limits.migrations_per_hour) as usize;
            let wait_ms = (self.starts_ms[surplus] + HOUR_MS).saturating_sub(now_ms);
            return Admitted::Wait { wait_ms, limit: Limit::MigrationsPerHour };
        }
        self.starts_ms.push_back(now_ms);
        Admitted::Start
    }

    /// Whether one may run beside those that do, however many have started; it is not counted.
    pub fn fits(running: Running, limits: AdmissionLimits) -> Admitted {
        if !allows(limits.migrations_at_once, running.all) {
            return Admitted::Full { limit: Limit::MigrationsAtOnce };
        }
        if !allows(limits.migrations_at_once_per_shard, running.at_busier_shard) {
            return Admitted::Full { limit: Limit::MigrationsAtOncePerShard };
        }
        Admitted::Start
    }

    /// How many have started within the last hour.
    pub fn started_within_hour(&self, now_ms: u64) -> usize {
        self.starts_ms.iter().filter(|start| **start + HOUR_MS > now_ms).count()
    }

    /// A wall clock that was set back must not hold everything up: what lies ahead of it has started just now.
    fn forget(&mut self, now_ms: u64) {
        self.starts_ms.iter_mut().for_each(|start| *start = (*start).min(now_ms));
        while self.starts_ms.front().is_some_and(|start| start + HOUR_MS <= now_ms) {
            self.starts_ms.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    #[test]
    fn zero_is_no_limit() {
        let mut pace = Pace::default();
        assert_eq!(pace.take(5, u64::MAX, u64::MAX, PaceLimits::default()), 0);
        let mut admission = Admission::default();
        let busy = Running { all: 1_000, at_busier_shard: 1_000 };
        assert!((0..5_000).all(|_| admission.admit(5, busy, AdmissionLimits::default()) == Admitted::Start));
    }

    #[test]
    fn a_batch_above_the_burst_goes_through_and_the_next_one_waits() {
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.take(10_000, 5_000, 1_000), 0);
        assert_eq!(bucket.take(10_000, 1, 1_000), 4_900); // five seconds, less the burst's tenth
        assert_eq!(bucket.take(20_000, 1, 1_000), 0);
    }

    #[test]
    fn the_slower_of_rows_and_bytes_sets_the_pace() {
        let limits = PaceLimits { rows_per_second: 1_000, bytes_per_second: 1_000_000 };
        let mut pace = Pace::default();
        pace.take(10_000, 1_000, 0, limits);
        assert_eq!(pace.take(10_000, 0, 2_000_000, limits), 900);
        assert_eq!(pace.take(10_000, 0, 0, limits), 1_900);
    }

    #[test]
    fn the_hour_slides_and_says_how_long_to_wait() {
        let limits = AdmissionLimits { migrations_per_hour: 2, ..AdmissionLimits::default() };
        let mut admission = Admission::default();
        let mut admit = |now_ms| admission.admit(now_ms, Running::default(), limits);
        assert_eq!((admit(1_000), admit(2_000)), (Admitted::Start, Admitted::Start));
        let wait_ms = HOUR_MS - 2_000;
        assert_eq!(admit(3_000), Admitted::Wait { wait_ms, limit: Limit::MigrationsPerHour });
        assert_eq!(admit(3_000 + wait_ms), Admitted::Start);
        assert_eq!(admit(3_000 + wait_ms), Admitted::Wait { wait_ms: 1_000, limit: Limit::MigrationsPerHour });
        // A wall clock that was set back by a day holds the next start up for an hour at most.
        admission.starts_ms = VecDeque::from([100_000_000, 100_000_000]);
        let seen = admission.admit(5_000, Running::default(), limits);
        assert_eq!(seen, Admitted::Wait { wait_ms: HOUR_MS, limit: Limit::MigrationsPerHour });
    }

    #[test]
    fn running_migrations_hold_others_back() {
        let limits = AdmissionLimits { migrations_at_once: 4, migrations_at_once_per_shard: 1, migrations_per_hour: 0 };
        let admit = |all, at_busier_shard| Admission::default().admit(0, Running { all, at_busier_shard }, limits);
        assert_eq!(admit(3, 0), Admitted::Start);
        assert_eq!(admit(4, 0), Admitted::Full { limit: Limit::MigrationsAtOnce });
        assert_eq!(admit(3, 1), Admitted::Full { limit: Limit::MigrationsAtOncePerShard });
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(20_261_122),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// From whichever batch one begins to count, what is used until another is no more than the rate and one burst
        /// allow, the last batch itself left out.
        #[test]
        fn no_window_sees_more_than_the_rate(
            per_second in 1_000u64..1_000_000,
            calls in prop::collection::vec((0u64..300, 0u64..50_000), 1..60),
        ) {
            let mut bucket = TokenBucket::default();
            let (mut now_ms, mut used) = (1_000_000, Vec::new());
            for (passed_ms, amount) in calls {
                now_ms += passed_ms;
                used.push((now_ms + bucket.take(now_ms, amount, per_second), amount));
            }
            for from in 0..used.len() {
                let mut sum = 0;
                for (at_ms, amount) in &used[from..] {
                    let window_ms = at_ms - used[from].0 + BURST_US / 1_000 + 1;
                    prop_assert!(sum <= per_second * window_ms / 1_000 + 60, "{sum} in {window_ms} ms at {per_second}/s");
                    sum += amount;
                }
            }
        }

        /// However starts are asked for, no hour sees more than allowed.
        #[test]
        fn no_hour_sees_more_starts(
            per_hour in 1u64..6,
            gaps_ms in prop::collection::vec(0u64..HOUR_MS / 2, 1..60),
        ) {
            let limits = AdmissionLimits { migrations_per_hour: per_hour, ..AdmissionLimits::default() };
            let (mut admission, mut now_ms, mut starts) = (Admission::default(), 0, Vec::new());
            for gap_ms in gaps_ms {
                now_ms += gap_ms;
                match admission.admit(now_ms, Running::default(), limits) {
                    Admitted::Start => starts.push(now_ms),
                    Admitted::Wait { wait_ms, .. } => prop_assert!(wait_ms > 0 && wait_ms <= HOUR_MS),
                    Admitted::Full { .. } => prop_assert!(false, "nothing is running"),
                }
            }
            for window in starts.windows(per_hour as usize + 1) {
                prop_assert!(window[window.len() - 1] - window[0] >= HOUR_MS);
            }
        }
    }
}
