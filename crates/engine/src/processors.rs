//! Processors: how many there are, and how much of them nobody wants.
//!
//! Two things are asked, and the lesser answer counts. The system says what is idle on all its processors; where a
//! container may use but some of them, that is more than there is for it. What this process has worked, of what it may use,
//! is right there, and knows nothing of others. Neither says anything of a moment: it is the mean since the last look.

use parking_lot::Mutex;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Asking takes files to be read.
static COUNT: LazyLock<u32> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, |processors| processors.get() as u32));

/// Processors that this process may use.
pub(crate) fn count() -> u32 {
    *COUNT
}

/// What was idle between the last two looks.
#[derive(Debug, Default)]
pub(crate) struct Processors {
    seen: Mutex<Option<(Instant, Seen)>>,
    idle_percent: AtomicU32,
}

/// Since the start of the process, and of the system.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    own: Duration,
    system: Option<Ticks>,
}

/// The time of all processors, in the system's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    /// The first line of Linux' `/proc/stat` (proc(5)); `None` for what is none.
    fn of(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is part of user.
        let fields: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let idle = fields.get(3)? + fields.get(4)?;
        Some(Self { idle, all: fields.iter().sum() })
    }
}

impl Seen {
    fn now() -> Self {
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let own = Duration::new(own.tv_sec.unsigned_abs(), own.tv_nsec.unsigned_abs() as u32);
        // Other systems have no such file: what the process knows of itself has to do there.
        let system = std::fs::read_to_string("/proc/stat").ok().and_then(|stat| Ticks::of(&stat));
        Self { own, system }
    }

    /// How much of the processors was idle since `before`, of a hundred.
    fn idle_percent(self, before: Self, passed: Duration, processors: u32) -> u32 {
        let own = self.own.saturating_sub(before.own).as_secs_f64();
        let free = 1.0 - own / (passed.as_secs_f64() * f64::from(processors)).max(f64::MIN_POSITIVE);
        let idle = match (before.system, self.system) {
            (Some(before), Some(now)) if now.all > before.all => {
                now.idle.saturating_sub(before.idle) as f64 / (now.all - before.all) as f64
            }
            _ => 1.0,
        };
        (free.min(idle).clamp(0.0, 1.0) * 100.0) as u32
    }
}

impl Processors {
    /// Measures what was idle since the last look.
    pub(crate) fn look(&self) {
        let (at, now) = (Instant::now(), Seen::now());
        if let Some((then, before)) = self.seen.lock().replace((at, now)) {
            self.idle_percent.store(now.idle_percent(before, at - then, count()), Ordering::Relaxed);
        }
    }

    /// How much of the processors was idle between the last two looks, of a hundred; 0 where there were none.
    pub(crate) fn idle_percent(&self) -> u32 {
        self.idle_percent.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_the_first_line() {
        let stat = "cpu  100 20 30 400 50 6 7 8 90 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 5\n";
        assert_eq!(Ticks::of(stat), Some(Ticks { idle: 450, all: 621 }));
        for other in ["", "cpu0 1 2 3 4 5 6 7 8", "cpu  1 2 3", "cpu  1 2 three 4 5"] {
            assert_eq!(Ticks::of(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_lesser_of_both_is_idle() {
        let seen = |own_ms, idle, all| Seen { own: Duration::from_millis(own_ms), system: Some(Ticks { idle, all }) };
        let idle = |before: Seen, now: Seen, processors| now.idle_percent(before, Duration::from_secs(1), processors);
        // The process used a quarter of its two processors, and others as much.
        assert_eq!(idle(seen(1_000, 500, 1_000), seen(1_500, 600, 1_200), 2), 50);
        // It may use two of the sixteen that the system has, and uses them.
        assert_eq!(idle(seen(0, 0, 0), seen(2_000, 1_400, 1_600), 2), 0);
        // More than is possible was measured.
        assert_eq!(idle(seen(0, 0, 0), seen(2_100, 10, 200), 2), 0);
        // The system says nothing, or nothing yet.
        let alone = |own_ms| Seen { own: Duration::from_millis(own_ms), system: None };
        assert_eq!((idle(alone(0), alone(400), 2), idle(seen(0, 5, 9), seen(400, 5, 9), 2)), (80, 80));
    }

    #[test]
    fn nothing_is_idle_before_the_second_look() {
        let processors = Processors::default();
        processors.look();
        assert_eq!(processors.idle_percent(), 0);
        processors.look();
        assert!(processors.idle_percent() <= 100);
    }
}
