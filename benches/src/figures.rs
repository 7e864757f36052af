//! What was measured: figures of each contestant, what they should be, and whether they are.

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds for the work; less is better.
    Seconds,
    /// Nanoseconds for one of many operations; less is better.
    Nanoseconds,
    /// Operations per second; more is better.
    PerSecond,
    /// MiB of memory; less is better.
    Mebibytes,
}

impl Unit {
    /// How the unit is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Nanoseconds => "ns",
            Self::PerSecond => "/s",
            Self::Mebibytes => "MiB",
        }
    }

    /// How many times better `own` is than `other`.
    fn times(self, own: f64, other: f64) -> f64 {
        match self {
            Self::Seconds | Self::Nanoseconds | Self::Mebibytes => other / own,
            Self::PerSecond => own / other,
        }
    }

    fn digits(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.3}"),
            Self::Nanoseconds if value < 100.0 => format!("{value:.1}"),
            Self::Nanoseconds | Self::PerSecond | Self::Mebibytes => format!("{value:.0}"),
        }
    }
}

/// The runs of one contestant in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Figure {
    /// `None` without runs.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, min, max })
    }

    /// The median of many samples, and between which of them the median of what they are samples of is in 95 of 100
    /// cases, whatever its distribution: the order statistics around the middle (the sign test's interval, with the normal
    /// approximation of its ranks). `None` without samples.
    pub fn sure(samples: &[f64]) -> Option<Self> {
        const NORMAL_95: f64 = 1.96;
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let aside = (NORMAL_95 * (count as f64).sqrt() / 2.0).ceil() as usize;
        let low = (count / 2).saturating_sub(aside);
        let (min, max) = (*sorted.get(low)?, *sorted.get(count - 1 - low)?);
        Some(Self { min, max, ..Self::of(samples)? })
    }

    /// `1.234 s (1.201–1.310)`; without the range where it is empty.
    pub fn text(&self, unit: Unit) -> String {
        let (median, min, max) = (unit.digits(self.median), unit.digits(self.min), unit.digits(self.max));
        let space = if unit == Unit::PerSecond { "" } else { " " };
        let text = format!("{median}{space}{}", unit.name());
        if min == max { text } else { format!("{text} ({min}–{max})") }
    }
}

/// What a work should reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// So many times PostgreSQL.
    Postgres(f64),
    /// This share of raw RocksDB.
    Raw(f64),
    /// At most this, in the work's unit.
    AtMost(f64),
}

/// Runs of all contestants, in the work's unit.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    pub evenkeel: Vec<f64>,
    pub postgres: Vec<f64>,
    pub raw: Vec<f64>,
}

/// A work that was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    pub name: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    pub samples: Samples,
    pub targets: Vec<Target>,
    /// What else is worth knowing, a line each.
    pub notes: Vec<String>,
}

impl Measured {
    /// Evenkeel's figure.
    pub fn evenkeel(&self) -> Option<Figure> {
        Figure::of(&self.samples.evenkeel)
    }

    /// PostgreSQL's figure, where it took part.
    pub fn postgres(&self) -> Option<Figure> {
        Figure::of(&self.samples.postgres)
    }

    /// Raw RocksDB's figure, where it took part.
    pub fn raw(&self) -> Option<Figure> {
        Figure::of(&self.samples.raw)
    }

    /// How many times better Evenkeel is than another.
    pub fn times(&self, other: Option<Figure>) -> Option<f64> {
        Some(self.unit.times(self.evenkeel()?.median, other?.median))
    }

    /// Whether a target is met; `None` where its contestant took no part.
    pub fn meets(&self, target: Target) -> Option<bool> {
        match target {
            Target::Postgres(times) => Some(self.times(self.postgres())? >= times),
            Target::Raw(share) => Some(self.times(self.raw())? >= share),
            Target::AtMost(limit) => Some(self.evenkeel()?.median <= limit),
        }
    }

    /// Whether all targets are met, as far as is known; `None` where nothing is.
    pub fn met(&self) -> Option<bool> {
        let known: Vec<bool> = self.targets.iter().filter_map(|target| self.meets(*target)).collect();
        (!known.is_empty()).then(|| known.iter().all(|met| *met))
    }

    /// A target in words.
    pub fn target_text(&self, target: Target) -> String {
        match target {
            Target::Postgres(times) => format!("{times} × PostgreSQL"),
            Target::Raw(share) => format!("{:.0} % of raw", share * 100.0),
            Target::AtMost(limit) => format!("≤ {} {}", self.unit.digits(limit), self.unit.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Figure::of(&[]), None);
        assert_eq!(Figure::of(&[3.0, 1.0, 2.0]), Some(Figure { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Figure::of(&[4.0, 1.0]).map(|figure| figure.median), Some(2.5));
        assert_eq!(Figure::of(&[2.0]).unwrap().text(Unit::Seconds), "2.000 s");
        assert_eq!(Figure::of(&[900.0, 1000.0, 1200.0]).unwrap().text(Unit::PerSecond), "1000/s (900–1200)");
    }

    #[test]
    fn the_surer_the_more_samples() {
        assert_eq!(Figure::sure(&[]), None);
        assert_eq!(Figure::sure(&[1.0, 2.0, 3.0]), Figure::of(&[1.0, 2.0, 3.0]), "three tell nothing of the range");
        let samples: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(Figure::sure(&samples), Some(Figure { median: 49.5, min: 40.0, max: 59.0 }));
        // Of a thousand medians that are known, the interval has about 95 in a hundred.
        let mut random = crate::random::Random::of(7);
        let mut has_it = || {
            let samples: Vec<f64> = (0..60).map(|_| random.below(1_000_001) as f64 - 500_000.0).collect();
            Figure::sure(&samples).is_some_and(|figure| (figure.min..=figure.max).contains(&0.0))
        };
        let hits = (0..1_000).filter(|_| has_it()).count();
        assert!((930..=985).contains(&hits), "{hits}");
    }

    fn measured(unit: Unit, evenkeel: f64, postgres: Option<f64>, targets: Vec<Target>) -> Measured {
        let samples =
            Samples { evenkeel: vec![evenkeel], postgres: postgres.into_iter().collect(), raw: vec![evenkeel / 2.0] };
        Measured { name: "work", title: "a work", unit, samples, targets, notes: Vec::new() }
    }

    #[test]
    fn ratios_say_how_many_times_better() {
        let seconds = measured(Unit::Seconds, 1.0, Some(3.0), vec![Target::Postgres(2.0), Target::Raw(0.4)]);
        assert_eq!((seconds.times(seconds.postgres()), seconds.times(seconds.raw())), (Some(3.0), Some(0.5)));
        assert_eq!(seconds.met(), Some(true));
        let rate = measured(Unit::PerSecond, 100.0, Some(200.0), vec![Target::Postgres(1.5)]);
        assert_eq!((rate.times(rate.postgres()), rate.met()), (Some(0.5), Some(false)));
    }

    #[test]
    fn what_was_not_measured_is_not_missed() {
        let alone = measured(Unit::Seconds, 1.0, None, vec![Target::Postgres(2.0)]);
        assert_eq!(alone.met(), None);
        let one_known = measured(Unit::Seconds, 1.0, None, vec![Target::Postgres(2.0), Target::Raw(0.9)]);
        assert_eq!(one_known.met(), Some(false));
        assert_eq!(measured(Unit::Nanoseconds, 51.0, None, vec![Target::AtMost(50.0)]).met(), Some(false));
    }
}
