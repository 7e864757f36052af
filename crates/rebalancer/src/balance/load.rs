//! What a slot or a shard carries, in every dimension that is balanced, and what it carried lately.
//!
//! Loads belong to **slots**; a shard's load is the sum over its slots. So the history of a slot travels with it: a shard
//! that has just received slots is measured with their past, and nothing has to be learned again after a move.
//!
//! Rows and bytes are exact counts, so the newest measurement stands. Rates (qps, cpu) jump about, so they are smoothed
//! over the last measurements, the newer the heavier: a burst of one measurement moves the mean by less than a fifth.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Index, IndexMut, Sub, SubAssign};

/// Something of which every shard should carry its fair share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Live rows.
    Rows,
    /// Live bytes.
    Bytes,
    /// Reads and writes per second.
    Qps,
    /// Processor time, in cores.
    Cpu,
    /// Slots, whatever they hold.
    Slots,
}

impl Dimension {
    /// Every dimension, in the order of [`Load::to_array`].
    pub const ALL: [Dimension; 5] = [Self::Rows, Self::Bytes, Self::Qps, Self::Cpu, Self::Slots];

    /// The word in SYSTEM tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Qps => "qps",
            Self::Cpu => "cpu",
            Self::Slots => "slots",
        }
    }

    /// What a shard has a share of, in a sentence: "48 % of the rows".
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Rows => "the rows",
            Self::Bytes => "the bytes",
            Self::Qps => "the queries",
            Self::Cpu => "the processor time",
            Self::Slots => "the slots",
        }
    }

    /// Whether it is a rate, which comes and goes, and not a count of what is stored.
    pub fn is_rate(self) -> bool {
        matches!(self, Self::Qps | Self::Cpu)
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An amount in every dimension: of a slot, of a shard, or what a shard can carry. Never negative in a problem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub rows: f64,
    pub bytes: f64,
    pub qps: f64,
    /// In cores.
    pub cpu: f64,
    /// How many slots this is the load of.
    pub slots: f64,
}

impl Load {
    /// Nothing.
    pub const ZERO: Load = Load { rows: 0.0, bytes: 0.0, qps: 0.0, cpu: 0.0, slots: 0.0 };

    /// The load of one slot.
    pub fn of_slot(rows: f64, bytes: f64, qps: f64, cpu: f64) -> Self {
        Self { rows, bytes, qps, cpu, slots: 1.0 }
    }

    /// The amounts in the order of [`Dimension::ALL`].
    pub fn to_array(self) -> [f64; 5] {
        [self.rows, self.bytes, self.qps, self.cpu, self.slots]
    }

    /// The load with these amounts, in the order of [`Dimension::ALL`].
    pub fn from_array([rows, bytes, qps, cpu, slots]: [f64; 5]) -> Self {
        Self { rows, bytes, qps, cpu, slots }
    }

    /// Every amount through `change`.
    #[must_use]
    pub fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self::from_array(self.to_array().map(change))
    }

    /// What a faulty measurement may not do: amounts that are negative or no number count as nothing.
    #[must_use]
    pub(super) fn sound(self) -> Self {
        self.map(|amount| if amount.is_finite() && amount > 0.0 { amount } else { 0.0 })
    }
}

impl Index<Dimension> for Load {
    type Output = f64;

    #[inline]
    fn index(&self, dimension: Dimension) -> &f64 {
        match dimension {
            Dimension::Rows => &self.rows,
            Dimension::Bytes => &self.bytes,
            Dimension::Qps => &self.qps,
            Dimension::Cpu => &self.cpu,
            Dimension::Slots => &self.slots,
        }
    }
}

impl IndexMut<Dimension> for Load {
    #[inline]
    fn index_mut(&mut self, dimension: Dimension) -> &mut f64 {
        match dimension {
            Dimension::Rows => &mut self.rows,
            Dimension::Bytes => &mut self.bytes,
            Dimension::Qps => &mut self.qps,
            Dimension::Cpu => &mut self.cpu,
            Dimension::Slots => &mut self.slots,
        }
    }
}

impl AddAssign for Load {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.qps += other.qps;
        self.cpu += other.cpu;
        self.slots += other.slots;
    }
}

impl SubAssign for Load {
    #[inline]
    fn sub_assign(&mut self, other: Self) {
        self.rows -= other.rows;
        self.bytes -= other.bytes;
        self.qps -= other.qps;
        self.cpu -= other.cpu;
        self.slots -= other.slots;
    }
}

impl Add for Load {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Sub for Load {
    type Output = Self;

    fn sub(mut self, other: Self) -> Self {
        self -= other;
        self
    }
}

impl Sum for Load {
    fn sum<I: Iterator<Item = Self>>(loads: I) -> Self {
        loads.fold(Self::ZERO, Add::add)
    }
}

/// The last measurements of every slot.
///
/// Rates are kept as `f32`: ten measurements of 65,536 slots take 5 MiB.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    measurements_max: usize,
    /// Oldest first: qps and cpu of every slot.
    rates: VecDeque<Vec<[f32; 2]>>,
    /// The newest measurement, whose counts stand.
    newest: Vec<Load>,
}

/// How much all slots together are asked for, in accesses a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// How many measurements there are.
    pub measurements: usize,
    /// At the newest of them.
    pub newest_qps: f64,
    /// In the mean that plans go by.
    pub smoothed_qps: f64,
}

impl Traffic {
    /// Less is no traffic to speak of.
    const QPS_MIN: f64 = 100.0;

    /// Whether the newest measurement is another than the mean by a factor of two.
    pub fn is_changing(&self) -> bool {
        let (less, more) = (self.newest_qps.min(self.smoothed_qps), self.newest_qps.max(self.smoothed_qps));
        more >= Self::QPS_MIN && more > 2.0 * less
    }
}

impl History {
    /// The default of `load_history`.
    pub const MEASUREMENTS: usize = 10;

    /// Remembers the last `measurements_max` measurements, and at least one.
    pub fn new(measurements_max: usize) -> Self {
        Self { measurements_max: measurements_max.max(1), rates: VecDeque::new(), newest: Vec::new() }
    }

    /// Adds a measurement of every slot, in slot order. A measurement of another number of slots (they were doubled)
    /// starts a new history.
    pub fn record(&mut self, loads: Vec<Load>) {
        if loads.len() != self.newest.len() {
            self.rates.clear();
        }
        if self.rates.len() == self.measurements_max {
            self.rates.pop_front();
        }
        self.newest = loads.into_iter().map(Load::sound).collect();
        self.rates.push_back(self.newest.iter().map(|load| [load.qps as f32, load.cpu as f32]).collect());
    }

    /// How many measurements there are.
    pub fn len(&self) -> usize {
        self.rates.len()
    }

    /// What was measured of all slots together.
    pub fn traffic(&self) -> Traffic {
        let newest = self.rates.back().into_iter().flatten().map(|[qps, _]| f64::from(*qps)).sum();
        let smoothed = self.smoothed().iter().map(|load| load.qps).sum();
        Traffic { measurements: self.len(), newest_qps: newest, smoothed_qps: smoothed }
    }

    /// Whether nothing has been measured.
    pub fn is_empty(&self) -> bool {
        self.rates.is_empty()
    }

    /// Every slot's load: counts of the newest measurement, rates as a mean in which the newest of n measurements weighs
    /// n, the one before n − 1, and the oldest 1.
    pub fn smoothed(&self) -> Vec<Load> {
        let mut loads = self.newest.clone();
        let count = self.rates.len() as f64;
        let weights = count * (count + 1.0) / 2.0;
        loads.iter_mut().for_each(|load| (load.qps, load.cpu) = (0.0, 0.0));
        for (age, rates) in self.rates.iter().enumerate() {
            let weight = (age + 1) as f64 / weights;
            for (load, [qps, cpu]) in loads.iter_mut().zip(rates) {
                load.qps += weight * f64::from(*qps);
                load.cpu += weight * f64::from(*cpu);
            }
        }
        loads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(rows: f64, qps: f64) -> Vec<Load> {
        vec![Load::of_slot(rows, rows * 100.0, qps, qps / 1000.0)]
    }

    #[test]
    fn traffic_that_changes_is_noticed() {
        let mut history = History::new(History::MEASUREMENTS);
        assert!(!history.traffic().is_changing(), "nothing was measured");
        for (qps, is_changing) in
            [(10_000.0, false), (10_000.0, false), (1_000.0, true), (1_000.0, true), (1_000.0, true)]
        {
            history.record(busy(10.0, qps));
            let traffic = history.traffic();
            assert_eq!((traffic.newest_qps, traffic.is_changing()), (qps, is_changing), "{traffic:?}");
        }
        for _ in 0..10 {
            history.record(busy(10.0, 1_000.0));
        }
        assert_eq!(history.traffic(), Traffic { measurements: 10, newest_qps: 1_000.0, smoothed_qps: 1_000.0 });
        let mut idle = History::new(3);
        [0.0, 90.0].into_iter().for_each(|qps| idle.record(busy(10.0, qps)));
        assert!(!idle.traffic().is_changing(), "that is no traffic");
    }

    #[test]
    fn counts_are_the_newest_and_rates_are_smoothed() {
        let mut history = History::new(History::MEASUREMENTS);
        for _ in 0..30 {
            history.record(busy(10.0, 100.0));
        }
        assert_eq!(history.len(), 10);
        history.record(busy(20.0, 200.0));
        let load = history.smoothed()[0];
        assert_eq!((load.rows, load.slots), (20.0, 1.0));
        // 10 of 55 parts are the newest's.
        assert!((load.qps - (100.0 + 100.0 * 10.0 / 55.0)).abs() < 1e-3, "{load:?}");
    }

    #[test]
    fn a_faulty_measurement_counts_as_nothing_and_another_number_of_slots_starts_anew() {
        let mut history = History::new(3);
        history.record(vec![Load::of_slot(f64::NAN, -1.0, f64::INFINITY, 0.5)]);
        assert_eq!(history.smoothed(), vec![Load { cpu: 0.5, slots: 1.0, ..Load::ZERO }]);
        history.record([busy(1.0, 1.0), busy(1.0, 1.0)].concat());
        assert_eq!(history.len(), 1);
    }
}
