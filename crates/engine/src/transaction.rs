//! Transactions: buffered writes over one snapshot. [`crate::commit`] makes them durable.

use crate::load::BlockLoad;
use crate::row_locks::HeldRows;
use crate::snapshots::Pin;
use crate::table_locks::TableLock;
use evenkeel_model::{Error, Result, SqlState, TableId, Timestamp};
use evenkeel_storage::commit_log::{Coming, Expected};
use evenkeel_storage::{Mutation, Operation};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Writes that are not committed, by row key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    rows: BTreeMap<Vec<u8>, Operation>,
    bytes: usize,
}

impl Writes {
    /// What a key was changed to, if it was.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Operation> {
        self.rows.get(key)
    }

    /// The changes of a range of keys, in order.
    pub(crate) fn range(&self, start: &[u8], end: &[u8]) -> impl Iterator<Item = (&Vec<u8>, &Operation)> {
        use std::ops::Bound::{Excluded, Included};
        let range = if start < end { (Included(start), Excluded(end)) } else { (Included(end), Excluded(end)) };
        self.rows.range::<[u8], _>(range).take_while(move |_| start < end)
    }

    /// The keys that were written.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.rows.keys()
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows were written.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// About how much memory the writes take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The writes in ascending order of key.
    pub(crate) fn into_mutations(self) -> Vec<Mutation> {
        self.rows.into_iter().map(|(key, operation)| Mutation { key, operation }).collect()
    }

    /// Whether a table has writes.
    pub(crate) fn touches(&self, table: TableId) -> bool {
        let range = evenkeel_storage::codec::table_range(table);
        self.range(&range.start, &range.end).next().is_some()
    }

    /// Changes a row; returns what it was changed to before.
    pub(crate) fn put(&mut self, key: Vec<u8>, operation: Operation) -> Option<Operation> {
        self.bytes += size(&key, &operation);
        let key_len = key.len();
        let old = self.rows.insert(key, operation);
        if let Some(old) = &old {
            self.bytes = self.bytes.saturating_sub(size_of(key_len, old));
        }
        old
    }

    fn restore(&mut self, key: Vec<u8>, operation: Option<Operation>) {
        let removed = self.rows.remove(&key);
        if let Some(removed) = removed {
            self.bytes = self.bytes.saturating_sub(size(&key, &removed));
        }
        if let Some(operation) = operation {
            self.put(key, operation);
        }
    }
}

/// What a write takes beside its bytes: two vectors and a tree node.
pub(crate) const WRITE_BYTES: usize = 96;

fn size(key: &[u8], operation: &Operation) -> usize {
    size_of(key.len(), operation)
}

fn size_of(key_len: usize, operation: &Operation) -> usize {
    key_len + WRITE_BYTES + if let Operation::Put(row) = operation { row.len() } else { 0 }
}

/// About how much memory a change takes.
pub(crate) fn bytes_of(mutation: &Mutation) -> usize {
    size(&mutation.key, &mutation.operation)
}

/// A place in a transaction that it can go back to.
#[derive(Clone, Debug)]
struct Savepoint {
    name: String,
    /// How long the undo log was.
    undo: usize,
}

/// The rows that a transaction has looked at.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    keys: Vec<Vec<u8>>,
    /// Whether it has looked at more than is written down.
    is_more: bool,
}

impl Reads {
    /// Many more, and looking whether they have changed costs more than trying the transaction again.
    const KEYS_MAX: usize = 1_000;

    pub(crate) fn note(&mut self, key: &[u8]) {
        if self.is_more || self.keys.iter().rev().take(4).any(|noted| noted == key) {
            return;
        }
        if self.keys.len() == Self::KEYS_MAX {
            return self.note_more();
        }
        self.keys.push(key.to_vec());
    }

    pub(crate) fn note_more(&mut self) {
        (self.keys, self.is_more) = (Vec::new(), true);
    }

    /// The keys, if they are all there is.
    pub(crate) fn all(&self) -> Option<&[Vec<u8>]> {
        (!self.is_more).then_some(&self.keys)
    }
}

/// An open transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) pin: Pin,
    pub(crate) writes: Arc<Writes>,
    /// What each write replaced, in order of writing: savepoints go back along it.
    undo: Vec<(Vec<u8>, Option<Operation>)>,
    savepoints: Vec<Savepoint>,
    /// Tables that were written, kept from changing their schema until the end.
    pub(crate) tables: BTreeMap<String, TableLock>,
    /// Rows that it has changed one by one or chosen, kept from other blocks until the end.
    pub(crate) rows: HeldRows,
    /// Of these, the chosen ones (`FOR UPDATE`): it commits its writes only where they are as it has seen them.
    pub(crate) chosen: BTreeSet<Vec<u8>>,
    /// What it has copied in: its rows are visible to nobody before the commit, not even to itself (see [`BlockLoad`]).
    pub(crate) loads: Vec<BlockLoad>,
    pub(crate) reads: Mutex<Reads>,
    pub(crate) read_only: bool,
    pub(crate) failed: bool,
    pub(crate) started_at_ms: i64,
    expected: Expected,
    /// The log is told that it has something to commit, until it does.
    pub(crate) coming: Option<Coming>,
}

impl Transaction {
    pub(crate) fn new(pin: Pin, rows: HeldRows, started_at_ms: i64, expected: &Expected) -> Self {
        Self {
            pin,
            writes: Arc::default(),
            undo: Vec::new(),
            savepoints: Vec::new(),
            tables: BTreeMap::new(),
            rows,
            chosen: BTreeSet::new(),
            loads: Vec::new(),
            reads: Mutex::default(),
            read_only: false,
            failed: false,
            started_at_ms,
            expected: expected.clone(),
            coming: None,
        }
    }

    /// The timestamp it reads at.
    pub(crate) fn start(&self) -> Timestamp {
        self.pin.read
    }

    /// Whether it has neither looked at anything nor written anything.
    pub(crate) fn is_untouched(&self) -> bool {
        self.writes.is_empty() && self.loads.is_empty() && self.reads.lock().all().is_some_and(<[_]>::is_empty)
    }

    /// Takes over the writes of a statement that has succeeded.
    ///
    /// # Errors
    /// 54000 above the limit; nothing is taken over then.
    pub(crate) fn add(&mut self, mutations: Vec<Mutation>, limit: u64) -> Result<()> {
        let added: usize = mutations.iter().map(bytes_of).sum();
        if (self.writes.bytes() + added) as u64 > limit {
            return Err(too_large(limit));
        }
        self.coming.get_or_insert_with(|| self.expected.one());
        let writes = Arc::make_mut(&mut self.writes);
        for Mutation { key, operation } in mutations {
            if self.savepoints.is_empty() {
                writes.put(key, operation);
            } else {
                let old = writes.put(key.clone(), operation);
                self.undo.push((key, old));
            }
        }
        Ok(())
    }

    /// A statement of it has failed. It may go on from a savepoint, if it has one; otherwise it is in nobody's way now.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
        self.coming = None;
        if !self.has_savepoints() {
            self.loads.clear();
            self.tables.clear();
            self.chosen.clear();
            self.rows.give_back();
        }
    }

    /// Whether it can go back to a place in it.
    pub(crate) fn has_savepoints(&self) -> bool {
        !self.savepoints.is_empty()
    }

    pub(crate) fn savepoint(&mut self, name: &str) {
        self.savepoints.push(Savepoint { name: name.to_string(), undo: self.undo.len() });
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.savepoints
            .iter()
            .rposition(|savepoint| savepoint.name == name)
            .ok_or_else(|| Error::new(SqlState::InvalidSavepoint, format!("there is no savepoint \"{name}\"")))
    }

    /// Forgets a savepoint and those after it, keeping their writes.
    pub(crate) fn release(&mut self, name: &str) -> Result<()> {
        let at = self.find(name)?;
        self.savepoints.truncate(at);
        if self.savepoints.is_empty() {
            self.undo.clear();
        }
        Ok(())
    }

    /// Goes back to a savepoint, which stays.
    pub(crate) fn rollback_to(&mut self, name: &str) -> Result<()> {
        let at = self.find(name)?;
        let undo = self.savepoints[at].undo;
        self.savepoints.truncate(at + 1);
        let writes = Arc::make_mut(&mut self.writes);
        for (key, old) in self.undo.drain(undo..).rev() {
            writes.restore(key, old);
        }
        self.failed = false;
        Ok(())
    }
}

pub(crate) fn too_large(limit: u64) -> Error {
    let limit = evenkeel_model::settings::format_size(limit);
    Error::new(SqlState::ProgramLimitExceeded, format!("the transaction writes more than {limit}"))
        .with_detail("a transaction keeps its writes in memory until COMMIT")
        .with_hint(
            "load with COPY, INSERT … QUERY or CREATE TABLE AS outside BEGIN … COMMIT, or raise max_transaction_size",
        )
}
