//! The copy's rate, governed by how the foreground feels: additive increase, multiplicative decrease (AIMD, as TCP does).
//!
//! WHAT MAY NEVER HAPPEN: a rate above its maximum; a rate of nothing, with which a migration would never end; a copy that
//! takes more than its share of the processors from somebody who wants them.
//!
//! ```text
//!   p99 ≤ ceiling ─▶ rate + step        ceiling = max(floor, baseline × factor)
//!   p99 > ceiling ─▶ rate × ½, and no second time before its effect can be seen
//! ```
//!
//! However calm the foreground, a copy works for one in `SHARE` of the processors' time, and rests for the remainder: a
//! throughput that is lost to a busy processor shows in no single statement's time. Where more than half of that time is
//! idle, nobody loses it: half of what is beyond is the copy's, too. What it works is no longer idle then, so that several
//! copies share what there is, and the half is what keeps that from swinging. What it worked is the time that it had a
//! processor, not the time that it waited for one: a foreground that is busy makes a copy no slower than a calm one does,
//! and a copy that goes on for longer leaves more to catch up with.
//!
//! The baseline is the foreground's p99 measured before the migration, so that a slow disk is not taken for a fault of
//! the copy; the floor keeps noise in microseconds from being taken for harm. Decreasing at once and growing slowly is
//! what makes several copies, each with its own throttle, share what there is fairly and without an agreement.

use std::time::Duration;

/// Halved on every sign of harm: the classic factor.
const DECREASE: u64 = 2;

/// From the lowest rate to the highest in so many undisturbed measurements.
const STEPS: u64 = 32;

/// The part of all processors' time that a copy works, while there is a foreground: one in so many.
const SHARE: u32 = 64;
/// What is idle up to here is left to the foreground, of a hundred.
const IDLE_PERCENT_KEPT: u32 = 50;
/// Of what is idle beyond, the copy has one in so many.
const IDLE_SHARE: u32 = 2;

/// The part of all processors' time that sending what is owed works, at first: one in so many.
const DRAIN_SHARE: u32 = 8;
/// How often it is looked whether what is owed has become less.
const DRAIN_LOOK_EVERY: Duration = Duration::from_secs(1);
/// By so much: a sixteenth.
const DRAIN_SHRINKS: u64 = 16;

/// How long to rest after work, on a machine with so many processors, of which so much was idle lately (0 to 100). Nothing
/// where the share is a whole processor.
pub fn rest_after(worked: Duration, processors: u32, idle_percent: u32) -> Duration {
    let spare_percent = idle_percent.min(100).saturating_sub(IDLE_PERCENT_KEPT) / IDLE_SHARE;
    let whole = 100 * SHARE;
    let share = (spare_percent * SHARE).max(100).saturating_mul(processors.max(1)).min(whole);
    worked * (whole - share) / share
}

/// How much of the time what is owed is sent: little at first, and more each time that the outbox did not shrink.
///
/// An outbox that fills faster than it is drained would never be empty, so nothing that the foreground feels makes it slower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The part of all processors' time that is worked: one in so many.
    share: u32,
    /// When it was last looked, and how much was left.
    looked: Option<(Duration, u64)>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { share: DRAIN_SHARE, looked: None }
    }
}

impl Drain {
    /// How long to rest after work, when `behind` entries are left, on a machine with so many processors.
    pub fn rest(&mut self, now: Duration, worked: Duration, behind: u64, processors: u32) -> Duration {
        match self.looked {
            Some((then, _)) if now.saturating_sub(then) < DRAIN_LOOK_EVERY => {}
            Some((_, before)) if behind <= before - before / DRAIN_SHRINKS => self.looked = Some((now, behind)),
            Some(_) => {
                self.share = (self.share / 2).max(1);
                self.looked = Some((now, behind));
            }
            None => self.looked = Some((now, behind)),
        }
        let share = processors.clamp(1, self.share);
        worked * (self.share - share) / share
    }
}

/// What the foreground is let feel, and between which rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// Never slower; at least 1.
    pub bytes_per_second_min: u64,
    /// Never faster; at least the minimum.
    pub bytes_per_second_max: u64,
    /// How much of the baseline the p99 may be, in per cent: 120 is a fifth more.
    pub p99_percent_max: u64,
    /// A p99 up to here is never harm.
    pub p99_floor_us: u64,
    /// How long after a decrease measurements still show what was before it.
    pub settle_ms: u64,
}

impl ThrottleLimits {
    /// 4 to 256 MiB a second; harm is a p99 of a fifth more than the baseline, above half a millisecond; one second to settle.
    pub const DEFAULT: ThrottleLimits = ThrottleLimits {
        bytes_per_second_min: 4 << 20,
        bytes_per_second_max: 256 << 20,
        p99_percent_max: 120,
        p99_floor_us: 500,
        settle_ms: 1_000,
    };
}

/// One copy's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    limits: ThrottleLimits,
    p99_us_max: u64,
    bytes_per_second: u64,
    settled_at_ms: u64,
    is_harming: bool,
}

impl Throttle {
    /// Begins at the lowest rate: what a copy does to the foreground is found out from below.
    ///
    /// # Panics
    /// If the rates are zero or in the wrong order.
    pub fn new(limits: ThrottleLimits, p99_baseline_us: u64) -> Self {
        let (min, max) = (limits.bytes_per_second_min, limits.bytes_per_second_max);
        assert!(min > 0 && min <= max, "a rate from {min} to {max} bytes per second lets nothing through");
        let relative_us = u128::from(p99_baseline_us) * u128::from(limits.p99_percent_max) / 100;
        let p99_us_max = u64::try_from(relative_us).unwrap_or(u64::MAX).max(limits.p99_floor_us);
        Self { limits, p99_us_max, bytes_per_second: min, settled_at_ms: 0, is_harming: false }
    }

    /// Takes a measurement of the foreground's p99 since the last one; `None` where there was no foreground.
    pub fn observe(&mut self, now_ms: u64, p99_us: Option<u64>) {
        let ThrottleLimits { bytes_per_second_min: min, bytes_per_second_max: max, settle_ms, .. } = self.limits;
        self.is_harming = p99_us.is_some_and(|p99_us| p99_us > self.p99_us_max);
        if !self.is_harming {
            let step = ((max - min) / STEPS).max(1);
            self.bytes_per_second = self.bytes_per_second.saturating_add(step).min(max);
        } else if now_ms >= self.settled_at_ms {
            self.bytes_per_second = (self.bytes_per_second / DECREASE).max(min);
            self.settled_at_ms = now_ms.saturating_add(settle_ms);
        }
    }

    /// How fast the copy may go now; never zero.
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// Whether the foreground holds the copy back at present.
    pub fn is_throttled(&self) -> bool {
        self.is_harming
    }

    /// The p99 above which it backs off.
    pub fn p99_us_max(&self) -> u64 {
        self.p99_us_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    /// An outbox that gets so many entries in a second, on a machine that sends so many when it does nothing else: whether
    /// it is empty within two minutes, and the least and the greatest part of the time that was worked.
    fn drained(mut behind: f64, filled: f64, sent: f64) -> (bool, f64, f64) {
        let (mut drain, mut now, worked) = (Drain::default(), Duration::ZERO, Duration::from_millis(50));
        let (mut least, mut most) = (1.0f64, 0.0f64);
        while now < Duration::from_secs(120) && behind > 0.0 {
            let rest = drain.rest(now, worked, behind as u64, 2);
            let part = worked.as_secs_f64() / (worked + rest).as_secs_f64();
            (least, most) = (least.min(part), most.max(part));
            now += worked + rest;
            behind += filled * (worked + rest).as_secs_f64() - sent * worked.as_secs_f64();
        }
        (behind <= 0.0, least, most)
    }

    #[test]
    fn what_is_owed_is_sent_at_leisure_where_that_is_enough() {
        assert_eq!(drained(100_000.0, 0.0, 100_000.0), (true, 0.25, 0.25));
        // Half of the time is needed, and all of it.
        assert_eq!(drained(100_000.0, 40_000.0, 100_000.0), (true, 0.25, 0.5));
        assert_eq!(drained(100_000.0, 80_000.0, 100_000.0), (true, 0.25, 1.0));
        // More cannot be done.
        assert_eq!(drained(100_000.0, 120_000.0, 100_000.0), (false, 0.25, 1.0));
    }

    const LIMITS: ThrottleLimits = ThrottleLimits { p99_floor_us: 100, ..ThrottleLimits::DEFAULT };

    /// A machine whose p99 grows with the copy's rate once that is above what it has to spare.
    fn p99_us(baseline_us: u64, spare: u64, rate: u64) -> u64 {
        baseline_us + baseline_us * rate.saturating_sub(spare) / (1 << 20)
    }

    #[test]
    fn an_idle_foreground_lets_it_grow_to_the_maximum() {
        let mut throttle = Throttle::new(LIMITS, 1_000);
        (0..STEPS).for_each(|second| throttle.observe(second * 1_000, None));
        assert_eq!(throttle.bytes_per_second(), LIMITS.bytes_per_second_max);
        assert!(!throttle.is_throttled());
    }

    #[test]
    fn harm_halves_once_until_its_effect_can_be_seen() {
        let mut throttle = Throttle::new(LIMITS, 1_000);
        (0..STEPS).for_each(|_| throttle.observe(0, Some(1_200)));
        let seen = [10_000, 10_100, 10_999, 11_000].map(|now_ms| {
            throttle.observe(now_ms, Some(1_201));
            throttle.bytes_per_second() >> 20
        });
        assert_eq!((seen, throttle.is_throttled()), ([128, 128, 128, 64], true));
    }

    #[test]
    fn noise_below_the_floor_is_no_harm() {
        let mut throttle = Throttle::new(ThrottleLimits::DEFAULT, 0);
        throttle.observe(0, Some(500));
        assert_eq!((throttle.is_throttled(), throttle.p99_us_max()), (false, 500));
    }

    #[test]
    fn a_copy_works_for_its_share_of_the_processors_and_no_longer() {
        let worked = Duration::from_millis(10);
        for (processors, idle) in [(1, 0), (2, 30), (8, 50), (16, 53)] {
            let cycle = worked + rest_after(worked, processors, idle);
            assert_eq!(worked.as_micros() * u128::from(SHARE), cycle.as_micros() * u128::from(processors));
        }
        assert_eq!([SHARE, 1_000].map(|processors| rest_after(worked, processors, 0)), [Duration::ZERO; 2]);
    }

    #[test]
    fn half_of_what_is_idle_beyond_the_half_is_the_copys() {
        // Of one processor's time, in per cent.
        let part = |processors, idle| {
            let worked = Duration::from_millis(10);
            (worked.as_secs_f64() / (worked + rest_after(worked, processors, idle)).as_secs_f64() * 100.0).round()
        };
        assert_eq!([part(2, 60), part(2, 80), part(2, 100), part(2, u32::MAX)], [10.0, 30.0, 50.0, 50.0]);
        assert_eq!([part(16, 54), part(16, 60), part(16, 70), part(4, 100)], [32.0, 80.0, 100.0, 100.0]);
        // Each second it sees what it has left of what is idle: it comes to rest at a third, and never swings.
        let (mut idle, mut seen) = (100.0, Vec::new());
        for _ in 0..12 {
            let work = part(1, idle as u32);
            idle = 100.0 - work;
            seen.push(work);
        }
        assert!(seen[0] == 25.0 && seen[6..].iter().all(|work| (16.0..=18.0).contains(work)), "{seen:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(20_261_122),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn it_stays_within_its_rates_and_is_a_function_of_what_it_saw(
            min in 1u64..1 << 30,
            more in 0u64..1 << 40,
            baseline_us in 0u64..100_000,
            seen in prop::collection::vec((0u64..3_000, prop::option::of(0u64..1_000_000)), 0..100),
        ) {
            let limits = ThrottleLimits { bytes_per_second_min: min, bytes_per_second_max: min + more, ..LIMITS };
            let mut throttles = [Throttle::new(limits, baseline_us); 2];
            let mut now_ms = 0;
            for (passed_ms, p99_us) in seen {
                now_ms += passed_ms;
                for throttle in &mut throttles {
                    throttle.observe(now_ms, p99_us);
                    prop_assert!((min..=min + more).contains(&throttle.bytes_per_second()));
                }
                prop_assert_eq!(throttles[0], throttles[1]);
            }
        }

        /// It settles into a saw tooth around the rate at which the foreground begins to be harmed: after a warm-up the
        /// mean rate is above half of it, and the foreground is within its band most of the time.
        #[test]
        fn it_settles_where_the_foreground_begins_to_feel_it(
            spare_mib in 16u64..240,
            baseline_us in 200u64..50_000,
        ) {
            let mut throttle = Throttle::new(LIMITS, baseline_us);
            let (mut sum, mut harmed) = (0, 0);
            for second in 0..400u64 {
                let p99_us = p99_us(baseline_us, spare_mib << 20, throttle.bytes_per_second());
                throttle.observe(second * 1_000, Some(p99_us));
                if second >= 200 {
                    sum += throttle.bytes_per_second() >> 20;
                    harmed += u64::from(throttle.is_throttled());
                }
            }
            let mean_mib = sum / 200;
            prop_assert!(mean_mib >= spare_mib / 2 && mean_mib <= spare_mib + 8, "{mean_mib} of {spare_mib} MiB/s");
            prop_assert!(harmed <= 100, "harmed for {harmed} of 200 s");
        }
    }
}
