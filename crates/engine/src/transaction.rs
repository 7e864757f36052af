//! Transactions: buffered writes over one snapshot, and their commit over one or several shards.
//!
//! WHAT MAY NEVER HAPPEN: a transaction sees half of another, or two that wrote one key both commit
//! (`snapshot-isolation`); an acknowledged write is missing after a crash (`acked-is-durable`).
//!
//! ```text
//! one shard:       lock keys ─▶ timestamp ─▶ apply ─▶ commit log, one sync for many sessions ─▶ acknowledged
//!
//! several shards:  lock keys ─▶ look for conflicts ─▶ timestamp ─▶ commit log ─▶ apply to each ─▶ acknowledged
//!                                                                  │ the commit point
//!
//! several, large:  lock keys ─▶ Prewrite on every shard (synced) ─▶ timestamp ─▶ Commit at the primary (synced)
//!                               │ any failure: Rollback                              │ the commit point
//!                               ▼                                                    ▼
//!                             nothing                                    Commit elsewhere ─▶ acknowledged
//! ```
//!
//! A commit over several shards is one record of the commit log, which has it before any shard does: a start applies
//! what a crash has left out. Two phases are for what is too large for the log, and for a log that can't be written. After a
//! crash, their intents are resolved by the primary's record: there is one, and the transaction has committed, or there is
//! none, and it never will. The second phase on the other shards needs no sync of its own for that reason.

use crate::database::{Database, apply_error};
use crate::layout::Layout;
use crate::row_locks::HeldRows;
use crate::snapshots::Pin;
use crate::table::shard_of;
use crate::table_locks::TableLock;
use evenkeel_model::{Error, Result, ShardId, SqlState, TableId, Timestamp};
use evenkeel_rebalancer::migration::Access;
use evenkeel_storage::codec::key::table_of;
use evenkeel_storage::commit_log::{LoggedCommit, RECORD_BYTES_MAX, Unapplied};
use evenkeel_storage::{ApplyError, Command, Durability, InFlight, Mutation, Operation, Shard};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

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

fn size(key: &[u8], operation: &Operation) -> usize {
    size_of(key.len(), operation)
}

fn size_of(key_len: usize, operation: &Operation) -> usize {
    // Two vectors and a tree node beside the bytes.
    key_len + 96 + if let Operation::Put(row) = operation { row.len() } else { 0 }
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
    /// Rows that it has changed one by one, kept from other blocks until the end.
    pub(crate) rows: HeldRows,
    pub(crate) reads: Mutex<Reads>,
    pub(crate) read_only: bool,
    pub(crate) failed: bool,
    pub(crate) started_at_ms: i64,
}

impl Transaction {
    pub(crate) fn new(pin: Pin, rows: HeldRows, started_at_ms: i64) -> Self {
        Self {
            pin,
            writes: Arc::default(),
            undo: Vec::new(),
            savepoints: Vec::new(),
            tables: BTreeMap::new(),
            rows,
            reads: Mutex::default(),
            read_only: false,
            failed: false,
            started_at_ms,
        }
    }

    /// The timestamp it reads at.
    pub(crate) fn start(&self) -> Timestamp {
        self.pin.read
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
        if self.savepoints.is_empty() {
            self.rows.give_back();
        }
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

/// Keys registered in the shards of a commit; released however it ends.
struct Locked {
    commit: Arc<InFlight>,
    held: Vec<(Arc<Shard>, Vec<Mutation>)>,
    /// The outcome is unknown: readers must go on waiting rather than miss a write that may be durable.
    in_doubt: bool,
    since: Instant,
}

impl Locked {
    /// Whether every shard takes the writes. Asked while the keys are registered: a cutover that begins now waits for us.
    fn may_write(&self) -> bool {
        self.held.iter().all(|(shard, mutations)| shard.may_write(keys(mutations).into_iter()) == Access::Granted)
    }

    /// How long a record of the commit log is that holds it.
    fn bytes(&self) -> usize {
        LoggedCommit::bytes(self.held.iter().map(|(_, mutations)| mutations.as_slice()))
    }

    /// Lets go of the keys.
    fn give_back(mut self) -> Vec<Mutation> {
        self.let_go();
        let mut mutations: Vec<_> = self.held.drain(..).flat_map(|(_, mutations)| mutations).collect();
        mutations.sort_by(|a, b| a.key.cmp(&b.key));
        mutations
    }

    fn let_go(&self) {
        self.commit.finish();
        for (shard, mutations) in &self.held {
            shard.locks().release(&keys(mutations), &self.commit);
        }
    }
}

fn keys(mutations: &[Mutation]) -> Vec<&[u8]> {
    mutations.iter().map(|mutation| mutation.key.as_slice()).collect()
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.in_doubt {
            return;
        }
        self.let_go();
        let took = self.since.elapsed();
        self.held.iter().for_each(|(shard, _)| shard.served(took));
    }
}

/// A commit that is applied and becomes durable with its group.
#[must_use]
pub(crate) enum Committing {
    Done,
    Logged(oneshot::Receiver<Result<()>>),
}

impl Committing {
    /// # Errors
    /// When neither the commit log nor the shard's own could be written: the outcome is unknown.
    pub(crate) async fn done(self) -> Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Logged(receiver) => receiver.await.unwrap_or_else(|_| Err(log_stopped())),
        }
    }
}

fn log_stopped() -> Error {
    Error::internal("the commit log has stopped")
}

fn in_doubt(cause: Error) -> Error {
    Error { message: format!("it is not known whether the transaction has committed: {}", cause.message), ..cause }
        .with_hint("open the database again: the transaction will then be there as a whole or not at all")
}

/// A commit over several shards that the commit log has, or is about to have.
struct Spread {
    /// Until every shard has its part.
    locked: Option<Locked>,
    commit: Timestamp,
    /// Who waits for the outcome, until told.
    sender: Option<oneshot::Sender<Result<()>>>,
}

impl Spread {
    /// Lets go of the keys, unless the outcome is an error, and tells who waits.
    fn end(&mut self, outcome: Result<()>) {
        let locked = if outcome.is_ok() { self.locked.take() } else { None };
        drop(locked);
        // The session may be gone, or was told of a failure before.
        self.sender.take().map(|sender| sender.send(outcome));
    }
}

impl Unapplied for Spread {
    fn apply(&mut self) -> Result<()> {
        let Some(locked) = &mut self.locked else { return Ok(()) };
        locked.in_doubt = true;
        for (shard, mutations) in &locked.held {
            if let Err(cause) = shard.apply_logged(self.commit, mutations) {
                self.end(Err(not_shown(cause.clone())));
                return Err(cause);
            }
        }
        locked.in_doubt = false;
        self.end(Ok(()));
        Ok(())
    }

    /// Two phases, in the shards' own logs. The record may be found at the next start: it has this commit, and no other.
    fn not_logged(mut self: Box<Self>, _why: Error) {
        let Some(locked) = &mut self.locked else { return };
        locked.in_doubt = true;
        // Nobody else has this timestamp, and no version of these keys is above it.
        let transaction = self.commit;
        let prewritten = prewrite(transaction, transaction, &locked.held).map_err(apply_error);
        let outcome =
            prewritten.and_then(|()| commit_intents(transaction, self.commit, &locked.held)).map_err(in_doubt);
        locked.in_doubt = outcome.is_err();
        self.end(outcome);
    }
}

fn not_shown(cause: Error) -> Error {
    let message = format!("the transaction has committed, but a shard cannot take it: {}", cause.message);
    Error { message, ..cause }.with_hint(
        "nothing is lost: it is tried again every second and at the next start, and its rows are locked until then",
    )
}

/// First phase on all shards at once: each waits for its own disk write. Takes it back where one fails.
fn prewrite(
    transaction: Timestamp,
    start: Timestamp,
    held: &[(Arc<Shard>, Vec<Mutation>)],
) -> std::result::Result<(), ApplyError> {
    let Some(primary) = held.first().map(|(shard, _)| shard.id()) else { return Ok(()) };
    let one = |(shard, mutations): &(Arc<Shard>, Vec<Mutation>)| {
        let command = Command::Prewrite { transaction, start, primary, mutations: mutations.clone() };
        shard.apply(&command, Durability::Synced)
    };
    let panicked = || ApplyError::Failed(Error::internal("a prewrite panicked"));
    let outcome = std::thread::scope(|scope| {
        let mut shards = held.iter();
        let first = shards.next();
        let others: Vec<_> = shards.map(|part| scope.spawn(move || one(part))).collect();
        let outcome = first.map_or(Ok(()), one);
        others.into_iter().fold(outcome, |outcome, other| outcome.and(other.join().unwrap_or_else(|_| Err(panicked()))))
    });
    if outcome.is_err() {
        for (shard, mutations) in held {
            // An intent that stays behind is invisible, and the next start rolls it back.
            let _ = shard.apply(&Command::Rollback { transaction, keys: cloned(mutations) }, Durability::Buffered);
        }
    }
    outcome
}

/// Second phase, the first shard's first: that is the commit point.
fn commit_intents(transaction: Timestamp, commit: Timestamp, held: &[(Arc<Shard>, Vec<Mutation>)]) -> Result<()> {
    for (at, (shard, mutations)) in held.iter().enumerate() {
        let record = at == 0;
        let durability = if record { Durability::Synced } else { Durability::Buffered };
        let command = Command::Commit { transaction, commit, keys: cloned(mutations), record };
        shard.apply(&command, durability).map_err(apply_error)?;
    }
    Ok(())
}

fn cloned(mutations: &[Mutation]) -> Vec<Vec<u8>> {
    mutations.iter().map(|mutation| mutation.key.clone()).collect()
}

impl Database {
    /// Commits mutations, in ascending order of key, that were made over a snapshot at `start`. The wait for the disk is the
    /// caller's. `patience` is how long other commits of these rows are waited for; `None` is for threads that serve others,
    /// which get 55P03 also where the disk would be waited for here.
    ///
    /// # Errors
    /// 40001 when another transaction changed one of the rows since `start`, 55P03 when a row stays locked, or what the
    /// disk says; nothing is committed then. An error that says the outcome is unknown leaves it to the next start.
    pub(crate) fn commit(
        &self,
        start: Timestamp,
        mut mutations: Vec<Mutation>,
        durability: Durability,
        patience: Option<Duration>,
    ) -> Result<Committing> {
        let deadline = Instant::now() + patience.unwrap_or_default();
        loop {
            let seen = self.topology.changes();
            let layout = self.layout();
            let locked = self.lock(&layout, mutations, deadline)?;
            if locked.may_write() && Arc::ptr_eq(&layout, &self.layout()) {
                return self.commit_locked(start, durability, locked, patience.is_some());
            }
            // Slots are changing hands: in a moment somebody else has them, or the same shard again.
            mutations = locked.give_back();
            if Arc::ptr_eq(&layout, &self.layout()) {
                self.topology.wait_for_change(seen, deadline)?;
            }
        }
    }

    /// Registers the keys with the shards that have them.
    fn lock(&self, layout: &Layout, mutations: Vec<Mutation>, deadline: Instant) -> Result<Locked> {
        let mut by_shard: BTreeMap<ShardId, Vec<Mutation>> = BTreeMap::new();
        for mutation in mutations {
            by_shard.entry(shard_of(&mutation.key, &layout.slots)).or_default().push(mutation);
        }
        let mut locked = Locked { commit: InFlight::new(), held: Vec::new(), in_doubt: false, since: Instant::now() };
        for (id, mutations) in by_shard {
            let shard = layout.shard(id)?;
            shard.locks().acquire(&keys(&mutations), &locked.commit, deadline)?;
            locked.held.push((Arc::clone(shard), mutations));
        }
        Ok(locked)
    }

    fn commit_locked(
        &self,
        start: Timestamp,
        durability: Durability,
        mut locked: Locked,
        may_wait: bool,
    ) -> Result<Committing> {
        self.check_loads(start, &locked.held)?;
        if durability == Durability::Buffered && locked.held.len() == 1 {
            self.unsynced.store(true, Ordering::SeqCst);
        }
        match locked.held.len() {
            0 => Ok(Committing::Done),
            1 => self.commit_one_phase(start, durability, locked),
            // Also where a sync was not asked for: a record that is lost where a shard's part of it is not tears the commit.
            _ if !self.log().is_broken() && locked.bytes() <= RECORD_BYTES_MAX => self.commit_log_first(start, locked),
            _ if may_wait => self.commit_two_phase(start, &mut locked).map(|()| Committing::Done),
            _ => Err(Error::new(SqlState::LockNotAvailable, "this commit waits for the disk")),
        }
    }

    /// Refuses to write over rows of a bulk load that committed after `start`: they carry the load's timestamp, which
    /// may be below it.
    fn check_loads(&self, start: Timestamp, held: &[(Arc<Shard>, Vec<Mutation>)]) -> Result<()> {
        if self.loads.read().is_empty() {
            return Ok(());
        }
        for (shard, mutations) in held {
            for Mutation { key, .. } in mutations {
                let hidden = table_of(key).map_or_else(Vec::new, |table| self.hidden_loads(table, start));
                if !hidden.is_empty() && shard.version(key)?.is_some_and(|version| hidden.contains(&version)) {
                    return Err(self.explain(ApplyError::Conflict { key: key.clone() }));
                }
            }
        }
        Ok(())
    }

    /// Applies the commit to its shard and hands it to the commit log, whose thread lets go of the keys: nobody sees the
    /// rows before they are durable, and no thread waits for the disk.
    fn commit_one_phase(&self, start: Timestamp, durability: Durability, mut locked: Locked) -> Result<Committing> {
        let commit = locked.commit.take_timestamp(|| self.oracle.next())?;
        let (shard, mutations) = &mut locked.held[0];
        let shard = Arc::clone(shard);
        let record = LoggedCommit::encode(commit, [(shard.id(), mutations.as_slice())]);
        let direct = durability == Durability::Synced && record.len() > RECORD_BYTES_MAX;
        if direct {
            self.sync_log()?;
        }
        let command = Command::CommitOnePhase { start, commit, mutations: std::mem::take(mutations) };
        let applied = shard.apply(&command, if direct { Durability::Synced } else { Durability::Buffered });
        if let Command::CommitOnePhase { mutations: back, .. } = command {
            *mutations = back;
        }
        applied.map_err(|error| self.explain(error))?;
        if direct {
            return Ok(Committing::Done);
        }
        let (sender, receiver) = oneshot::channel();
        let done = move |logged: Result<()>| {
            // A log that can't be written leaves it to the shard's own.
            let outcome = logged.or_else(|_| shard.sync()).map_err(in_doubt);
            locked.in_doubt = outcome.is_err();
            drop(locked);
            // The session may be gone.
            let _ = sender.send(outcome);
        };
        self.log().submit(commit, record, durability, Box::new(done));
        Ok(Committing::Logged(receiver))
    }

    /// Commits that were acknowledged before they were on disk go first: nothing durable is built on what may be lost.
    fn sync_log(&self) -> Result<()> {
        if self.unsynced.load(Ordering::SeqCst) {
            // A log that can't be written has left its commits to the shards' own, which are synced in turn.
            let _ = self.log().sync();
        }
        Ok(())
    }

    /// Hands the commit to the commit log, whose thread applies it to the shards and lets go of the keys.
    fn commit_log_first(&self, start: Timestamp, locked: Locked) -> Result<Committing> {
        for (shard, mutations) in &locked.held {
            for Mutation { key, .. } in mutations {
                if shard.version(key)?.is_some_and(|version| version > start) {
                    return Err(self.explain(ApplyError::Conflict { key: key.clone() }));
                }
            }
        }
        let commit = locked.commit.take_timestamp(|| self.oracle.next())?;
        let parts = locked.held.iter().map(|(shard, mutations)| (shard.id(), mutations.as_slice()));
        let record = LoggedCommit::encode(commit, parts);
        let (sender, receiver) = oneshot::channel();
        let spread = Spread { locked: Some(locked), commit, sender: Some(sender) };
        self.log().submit_first(commit, record, Box::new(spread));
        Ok(Committing::Logged(receiver))
    }

    fn commit_two_phase(&self, start: Timestamp, locked: &mut Locked) -> Result<()> {
        let Some((primary, _)) = locked.held.first() else { return Ok(()) };
        let primary = primary.id();
        self.sync_log()?;
        // Two transactions may read at one timestamp; their intents and records must not be taken for one another's.
        let transaction = self.oracle.next()?;
        prewrite(transaction, start, &locked.held).map_err(|error| self.explain(error))?;
        let commit = locked.commit.take_timestamp(|| self.oracle.next())?;
        if let Err(cause) = commit_intents(transaction, commit, &locked.held) {
            locked.in_doubt = true;
            return Err(in_doubt(cause));
        }
        self.resolved.lock().push((primary, transaction));
        Ok(())
    }

    /// A failed command in the user's words, with the key of a conflict.
    pub(crate) fn explain(&self, error: ApplyError) -> Error {
        let ApplyError::Conflict { key } = &error else { return apply_error(error) };
        let schemas = self.schemas();
        let table = table_of(key);
        let table = schemas.tables.values().find(|handle| Some(handle.schema.id) == table);
        let explained = apply_error(error.clone());
        match table {
            Some(table) => explained.with_detail(format!(
                "row {} of {}",
                evenkeel_storage::codec::key::describe(&table.key_types(), key),
                table.schema.name
            )),
            None => explained,
        }
    }
}
