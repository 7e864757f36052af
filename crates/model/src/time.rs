//! Timestamps: the order of transactions, close to the wall clock so that `AS OF` means something.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The bits below the milliseconds: about a million timestamps a millisecond.
const COUNTER_BITS: u32 = 20;

/// A point in the order of all commits: milliseconds since 1970 in the upper 44 bits, a counter in the lower 20.
///
/// The oracle issues them strictly ascending and never twice, also across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Before every commit.
    pub const ZERO: Timestamp = Timestamp(0);
    /// After every commit.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// The first timestamp of a millisecond since 1970; saturates at either end.
    pub fn from_millis(millis: i64) -> Self {
        let millis = u64::try_from(millis).unwrap_or(0).min(u64::MAX >> COUNTER_BITS);
        Self(millis << COUNTER_BITS)
    }

    /// The last timestamp of a millisecond since 1970.
    pub fn end_of_millis(millis: i64) -> Self {
        Self(Self::from_millis(millis).0 | ((1 << COUNTER_BITS) - 1))
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        (self.0 >> COUNTER_BITS) as i64
    }

    /// The timestamp after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.0 & ((1 << COUNTER_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_order_timestamps() {
        let noon = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(noon.millis(), 1_700_000_000_000);
        assert!(noon < noon.next() && noon.next() < Timestamp::from_millis(1_700_000_000_001));
        assert_eq!(Timestamp::end_of_millis(5).next(), Timestamp::from_millis(6));
        assert_eq!(Timestamp::from_millis(-1), Timestamp::ZERO);
    }
}
