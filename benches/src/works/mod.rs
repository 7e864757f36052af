//! The works: what is done, by whom, and how good it should be.

mod copy;
pub mod memory;
mod point;
mod route;
mod scan;
mod update;

use crate::bench::Bench;
use crate::figures::Measured;

/// One work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// COPY of the flights.
    Copy,
    /// An aggregate over all flights.
    Scan,
    /// Look-ups by primary key.
    Point,
    /// Durable updates of single rows by several sessions.
    Update,
    /// From a key to its shard.
    Route,
    /// Memory of work on a table that is larger than it.
    Memory,
}

impl Work {
    /// All works, in the order in which they are measured.
    pub const ALL: [Self; 6] = [Self::Copy, Self::Scan, Self::Point, Self::Update, Self::Route, Self::Memory];

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Scan => "scan",
            Self::Point => "point",
            Self::Update => "update",
            Self::Route => "route",
            Self::Memory => "memory",
        }
    }

    /// What the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Copy => "COPY of 336,776 flights",
            Self::Scan => "full-scan aggregate",
            Self::Point => "look-up by primary key",
            Self::Update => "durable update, 8 sessions",
            Self::Route => "key to shard",
            Self::Memory => "memory for a 2 GB table",
        }
    }

    /// Whether PostgreSQL does it too.
    pub fn needs_postgres(self) -> bool {
        matches!(self, Self::Copy | Self::Scan | Self::Update)
    }

    /// Measures it.
    ///
    /// # Errors
    /// When a contestant complains or answers wrongly.
    pub async fn measure(self, bench: &mut Bench) -> anyhow::Result<Measured> {
        match self {
            Self::Copy => copy::measure(bench).await,
            Self::Scan => scan::measure(bench).await,
            Self::Point => point::measure(bench).await,
            Self::Update => update::measure(bench).await,
            Self::Route => Ok(route::measure(bench)),
            Self::Memory => memory::measure(bench).await,
        }
    }

    /// A report of this work.
    fn report(
        self,
        unit: crate::figures::Unit,
        samples: crate::figures::Samples,
        targets: Vec<crate::figures::Target>,
    ) -> Measured {
        Measured { name: self.name(), title: self.title(), unit, samples, targets, notes: Vec::new() }
    }
}
