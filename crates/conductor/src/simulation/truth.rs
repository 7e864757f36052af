//! What was acknowledged, in plain maps: what every read must answer.

use super::history::{Invariant, Violation};
use super::rows::{Key, Value};
use evenkeel_model::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// A transaction that has its timestamp, and whose outcome its client does not know yet.
#[derive(Clone, Debug)]
pub struct Pending {
    pub start: Timestamp,
    pub writes: Vec<(Key, Value)>,
}

/// Every commit, by timestamp.
#[derive(Default)]
pub struct Truth {
    rows: BTreeMap<Key, BTreeMap<Timestamp, Value>>,
    pub pending: BTreeMap<Timestamp, Pending>,
    /// Bulk loads, with when they became visible.
    pub loads: BTreeMap<Timestamp, Option<Timestamp>>,
    /// Below this, versions may be gone.
    pub collected: Timestamp,
}

impl Truth {
    pub fn begin(&mut self, at: Timestamp, pending: Pending) {
        self.pending.insert(at, pending);
    }

    /// The commit is known to have happened.
    ///
    /// # Errors
    /// When another transaction has written one of the keys since it began.
    pub fn acknowledge(&mut self, at: Timestamp) -> Result<(), Violation> {
        let Some(Pending { start, writes }) = self.pending.remove(&at) else { return Ok(()) };
        let mut conflict = None;
        for (key, value) in writes {
            let versions = self.rows.entry(key).or_default();
            if let Some((other, _)) = versions.range(start.next()..).find(|(other, _)| **other != at) {
                let what = format!("{at} and {other} both wrote key {key}; {at} had begun at {start}");
                conflict = Some(Violation { invariant: Invariant::SnapshotIsolation, what });
            }
            versions.insert(at, value);
        }
        conflict.map_or(Ok(()), Err)
    }

    pub fn forget(&mut self, at: Timestamp) {
        self.pending.remove(&at);
    }

    pub fn read(&self, key: Key, at: Timestamp) -> Value {
        *self.rows.get(&key)?.range(..=at).next_back()?.1
    }

    /// Every row at a moment.
    pub fn scan(&self, at: Timestamp) -> BTreeMap<Key, i64> {
        self.rows.keys().filter_map(|key| Some((*key, self.read(*key, at)?))).collect()
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.rows.keys().copied()
    }

    /// The loads that a reader must not see.
    pub fn hidden(&self, at: Timestamp) -> BTreeSet<Timestamp> {
        let hides =
            |(load, commit): (&Timestamp, &Option<Timestamp>)| commit.is_none_or(|commit| commit > at).then_some(*load);
        self.loads.iter().filter_map(hides).collect()
    }

    /// A load becomes visible, all of it.
    pub fn show_load(&mut self, load: Timestamp, commit: Timestamp, rows: &[(Key, i64)]) {
        self.loads.insert(load, Some(commit));
        for (key, value) in rows {
            self.rows.entry(*key).or_default().insert(commit, Some(*value));
        }
    }
}
