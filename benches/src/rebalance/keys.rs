//! Which rows the load asks for.

use crate::random::Random;
use anyhow::bail;
use std::str::FromStr;

/// Rows of one tenant; they have one slot.
pub const TENANT_ROWS: usize = 20;
/// Requests in a hundred that go to the hot tenant.
const HOT_PERCENT: usize = 50;
/// How uneven the Zipfian distribution is: what YCSB uses.
const THETA: f64 = 0.99;

/// How requests are distributed over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    /// Every row alike.
    #[default]
    Uniform,
    /// The n-th row gets about 1/n of what the first gets.
    Zipfian,
    /// Half of all requests go to one tenant, whose rows are in one slot.
    HotTenant,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Zipfian, Self::HotTenant];

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipfian => "zipfian",
            Self::HotTenant => "hot-tenant",
        }
    }
}

impl FromStr for Distribution {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match Self::ALL.into_iter().find(|keys| keys.name() == name) {
            Some(keys) => Ok(keys),
            None => bail!("there are {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}

/// Picks rows by a distribution. Drawing takes constant time (Gray and others 1994, as in YCSB).
#[derive(Clone, Debug)]
pub struct Picker {
    distribution: Distribution,
    rows: usize,
    zeta: f64,
    eta: f64,
}

impl Picker {
    /// For rows 0 to `rows`, of which there is one at least.
    pub fn new(distribution: Distribution, rows: usize) -> Self {
        let zeta = |count: usize| (1..=count).map(|rank| (rank as f64).powf(-THETA)).sum::<f64>();
        let (zeta, of_two) = match distribution {
            Distribution::Zipfian => (zeta(rows), zeta(2)),
            Distribution::Uniform | Distribution::HotTenant => (1.0, 0.0),
        };
        let eta = (1.0 - (2.0 / rows as f64).powf(1.0 - THETA)) / (1.0 - of_two / zeta);
        Self { distribution, rows, zeta, eta }
    }

    /// The next row.
    pub fn row(&self, random: &mut Random) -> usize {
        match self.distribution {
            Distribution::Uniform => random.below(self.rows),
            Distribution::Zipfian => self.zipfian(random.fraction()),
            Distribution::HotTenant if random.below(100) < HOT_PERCENT => random.below(TENANT_ROWS.min(self.rows)),
            Distribution::HotTenant => random.below(self.rows),
        }
    }

    fn zipfian(&self, fraction: f64) -> usize {
        let uz = fraction * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(self.rows - 1);
        }
        let rank = self.rows as f64 * (self.eta * fraction - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        (rank as usize).min(self.rows - 1)
    }
}

/// The tenant of a row.
pub fn tenant(row: usize) -> usize {
    row / TENANT_ROWS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 100,000 requests the first 1 % of 10,000 rows get, in per cent.
    fn first_hundredth(distribution: Distribution) -> usize {
        let picker = Picker::new(distribution, 10_000);
        let mut random = Random::of(0);
        let rows: Vec<usize> = (0..100_000).map(|_| picker.row(&mut random)).collect();
        assert!(rows.iter().all(|row| *row < 10_000));
        rows.iter().filter(|row| **row < 100).count() / 1_000
    }

    #[test]
    fn each_distribution_is_as_uneven_as_it_says() {
        assert!((0..=2).contains(&first_hundredth(Distribution::Uniform)));
        assert!((45..=60).contains(&first_hundredth(Distribution::Zipfian)));
        assert!((48..=53).contains(&first_hundredth(Distribution::HotTenant)));
        for distribution in Distribution::ALL {
            assert_eq!(Picker::new(distribution, 1).row(&mut Random::of(1)), 0);
            assert_eq!(distribution.name().parse::<Distribution>().unwrap(), distribution);
        }
    }
}
