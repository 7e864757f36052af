//! A set of slots, as the ranges it consists of.
//!
//! What a migration moves is a `SlotSet`. Slots that were balanced come in runs, so ranges stay short to print, to keep and
//! to walk, however many slots there are.

use crate::slot::Slot;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A set of slots: ranges in ascending order, both ends included, with at least one slot between two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotSet {
    ranges: Vec<(Slot, Slot)>,
}

impl SlotSet {
    /// No slots.
    pub fn new() -> Self {
        Self::default()
    }

    /// The slots from `first` to `last`, both included; none if `last` is below `first`.
    pub fn range(first: Slot, last: Slot) -> Self {
        Self { ranges: if first <= last { vec![(first, last)] } else { vec![] } }
    }

    /// The ranges, both ends included, ascending, none touching the next.
    pub fn ranges(&self) -> &[(Slot, Slot)] {
        &self.ranges
    }

    /// How many slots.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(|(first, last)| (last.0 - first.0) as usize + 1).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether a slot is in the set.
    pub fn contains(&self, slot: Slot) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= slot);
        after > 0 && self.ranges[after - 1].1 >= slot
    }

    /// The slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.ranges.iter().flat_map(|(first, last)| (first.0..=last.0).map(Slot))
    }

    /// Adds a slot.
    pub fn insert(&mut self, slot: Slot) {
        let after = self.ranges.partition_point(|(first, _)| *first <= slot);
        if after > 0 && self.ranges[after - 1].1 >= slot {
            return;
        }
        let joins_left = after > 0 && self.ranges[after - 1].1.0 + 1 == slot.0;
        let joins_right = self.ranges.get(after).is_some_and(|(first, _)| slot.0 + 1 == first.0);
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[after - 1].1 = self.ranges[after].1;
                self.ranges.remove(after);
            }
            (true, false) => self.ranges[after - 1].1 = slot,
            (false, true) => self.ranges[after].0 = slot,
            (false, false) => self.ranges.insert(after, (slot, slot)),
        }
    }

    /// The slots of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut ranges: Vec<_> = self.ranges.iter().chain(&other.ranges).copied().collect();
        ranges.sort_unstable();
        let mut merged: Vec<(Slot, Slot)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(end) if first.0 <= end.1.0.saturating_add(1) => end.1 = end.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self { ranges: merged }
    }

    /// The slots that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        let mut ranges = Vec::new();
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                ranges.push((first, last));
            }
            if a.1 < b.1 {
                left.next()
            } else {
                right.next()
            };
        }
        Self { ranges }
    }

    /// The slots of this set that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let mut others = other.ranges.iter().peekable();
        for (first, last) in &self.ranges {
            let mut next = first.0;
            while let Some((from, to)) = others.peek() {
                if from.0 > last.0 {
                    break;
                }
                if from.0 > next {
                    ranges.push((Slot(next), Slot(from.0 - 1)));
                }
                next = next.max(to.0 + 1);
                if to.0 > last.0 {
                    break;
                }
                others.next();
            }
            if next <= last.0 {
                ranges.push((Slot(next), *last));
            }
        }
        Self { ranges }
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut slots: Vec<_> = slots.into_iter().collect();
        slots.sort_unstable();
        let mut ranges: Vec<(Slot, Slot)> = Vec::new();
        for slot in slots {
            match ranges.last_mut() {
                Some((_, last)) if slot.0 <= last.0 + 1 => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        Self { ranges }
    }
}

impl fmt::Display for SlotSet {
    /// `0-99, 200, 300-310`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(bits: u32) -> SlotSet {
        (0..6).filter(|at| bits >> at & 1 == 1).map(Slot).collect()
    }

    fn model(set: &SlotSet) -> BTreeSet<Slot> {
        set.iter().collect()
    }

    /// Whether ranges are ascending and none touches the next.
    fn is_canonical(set: &SlotSet) -> bool {
        set.ranges.iter().all(|(first, last)| first <= last) && set.ranges.windows(2).all(|w| w[0].1.0 + 1 < w[1].0.0)
    }

    #[test]
    fn operations_agree_with_plain_sets_on_every_pair_of_small_sets() {
        for a in 0..64 {
            for b in 0..64 {
                let (left, right) = (set(a), set(b));
                for (result, expected) in
                    [(left.union(&right), a | b), (left.intersection(&right), a & b), (left.difference(&right), a & !b)]
                {
                    assert!(is_canonical(&result), "{left} with {right}: {result:?}");
                    assert_eq!(result, set(expected), "{left} with {right}");
                }
            }
            for slot in (0..6).map(Slot) {
                let mut grown = set(a);
                grown.insert(slot);
                assert_eq!(grown, set(a | 1 << slot.0));
                assert_eq!(set(a).contains(slot), model(&set(a)).contains(&slot));
            }
            assert_eq!((set(a).len(), set(a).is_empty()), (a.count_ones() as usize, a == 0));
        }
    }

    #[test]
    fn prints_as_ranges() {
        assert_eq!(set(0b10_0111).to_string(), "0-2, 5");
        assert_eq!(SlotSet::range(Slot(3), Slot(2)), SlotSet::new());
    }
}
