//! Commits, over one or several shards.
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
//! with loads:      rows as hidden files ─▶ lock keys ─▶ Prewrite (synced) ─▶ timestamp ─▶ the loads' records (synced)
//!                                                                                           │ the commit point
//!                                                                                           ▼
//!                                                                               Commit (synced) ─▶ acknowledged
//!
//! A commit over several shards is one record of the commit log, which has it before any shard does: a start applies
//! what a crash has left out. Two phases are for what is too large for the log, and for a log that can't be written. After a
//! crash, their intents are resolved by the primary's record: there is one, and the transaction has committed, or there is
//! none, and it never will. The second phase on the other shards needs no sync of its own for that reason. Where
//! the transaction has loads, their records in the meta store are that record, for the intents, too.

use crate::database::{Database, apply_error};
use crate::layout::Layout;
use crate::load::{BlockLoad, TakenIn, publish, settle};
use crate::row_locks::SessionId;
use crate::session::Cancel;
use crate::table::shard_of;
use crate::transaction::{WRITE_BYTES, Writes, bytes_of};
use evenkeel_model::{Error, Result, ShardId, SqlState, Timestamp};
use evenkeel_rebalancer::migration::Access;
use evenkeel_storage::codec::key::table_of;
use evenkeel_storage::commit_log::{LoggedCommit, RECORD_BYTES_MAX, Unapplied};
use evenkeel_storage::{ApplyError, Command, Durability, InFlight, Mutation, Shard};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What a transaction commits over the snapshot that it has read.
#[derive(Clone, Debug)]
pub(crate) struct ToCommit {
    /// What it has written, in ascending order of key.
    pub(crate) mutations: Vec<Mutation>,
    /// Keys of rows that it has chosen (`FOR UPDATE`) and not written.
    pub(crate) chosen: BTreeSet<Vec<u8>>,
    /// Whose it is: rows that blocks of others hold are not to be written.
    pub(crate) by: SessionId,
}

impl ToCommit {
    /// What is nothing but written, in ascending order of key.
    pub(crate) fn writes(mutations: Vec<Mutation>, by: SessionId) -> Self {
        Self { mutations, chosen: BTreeSet::new(), by }
    }

    pub(crate) fn of(writes: Writes, mut chosen: BTreeSet<Vec<u8>>, by: SessionId) -> Self {
        chosen.retain(|key| writes.get(key).is_none());
        Self { mutations: writes.into_mutations(), chosen, by }
    }

    /// About how many bytes there are to be looked at.
    pub(crate) fn bytes(&self) -> usize {
        let chosen: usize = self.chosen.iter().map(|key| key.len() + WRITE_BYTES).sum();
        chosen + self.mutations.iter().map(bytes_of).sum::<usize>()
    }
}

/// Keys registered in the shards of a commit; released however it ends.
struct Locked {
    commit: Arc<InFlight>,
    held: Vec<(Arc<Shard>, Vec<Mutation>)>,
    /// What is not written, and must be as it was: registered as if it were.
    chosen: Vec<(Arc<Shard>, Vec<Vec<u8>>)>,
    by: SessionId,
    /// The outcome is unknown: readers must go on waiting rather than miss a write that may be durable.
    in_doubt: bool,
    since: Instant,
}

impl Locked {
    /// Whether every shard takes the writes. Asked while the keys are registered: a cutover that begins now waits for us.
    fn may_write(&self) -> bool {
        let mut may = true;
        self.each_shard(|shard, keys| may &= shard.may_write(keys.iter().copied()) == Access::Granted);
        may
    }

    /// The keys that are written.
    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.held.iter().flat_map(|(_, mutations)| mutations).map(|mutation| mutation.key.as_slice())
    }

    /// Calls `each` with every shard and its registered keys, in order.
    fn each_shard(&self, mut each: impl FnMut(&Shard, &[&[u8]])) {
        if self.chosen.is_empty() {
            return self.held.iter().for_each(|(shard, mutations)| each(shard, &keys(mutations)));
        }
        let mut all: BTreeMap<ShardId, (&Shard, Vec<&[u8]>)> = BTreeMap::new();
        let held = self.held.iter().map(|(shard, mutations)| (shard, keys(mutations)));
        let chosen = self.chosen.iter().map(|(shard, keys)| (shard, keys.iter().map(Vec::as_slice).collect()));
        for (shard, keys) in held.chain(chosen) {
            all.entry(shard.id()).or_insert_with(|| (shard.as_ref(), Vec::new())).1.extend(keys);
        }
        for (shard, mut keys) in all.into_values() {
            keys.sort_unstable();
            each(shard, &keys);
        }
    }

    /// How long a record of the commit log is that holds it.
    fn bytes(&self) -> usize {
        LoggedCommit::bytes(self.held.iter().map(|(_, mutations)| mutations.as_slice()))
    }

    /// Lets go of the keys.
    fn give_back(mut self) -> ToCommit {
        self.let_go();
        let mut mutations: Vec<_> = self.held.drain(..).flat_map(|(_, mutations)| mutations).collect();
        mutations.sort_by(|a, b| a.key.cmp(&b.key));
        let chosen = self.chosen.drain(..).flat_map(|(_, keys)| keys).collect();
        ToCommit { mutations, chosen, by: self.by }
    }

    fn let_go(&self) {
        self.commit.finish();
        self.each_shard(|shard, keys| shard.locks().release(keys, &self.commit));
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
    /// Not begun: another block holds one of the rows.
    Kept(ToCommit),
}

impl Committing {
    /// # Errors
    /// When neither the commit log nor the shard's own could be written: the outcome is unknown.
    pub(crate) async fn done(self) -> Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Kept(_) => Err(Error::internal("a commit was not begun")),
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
            prewritten.and_then(|()| commit_intents(transaction, self.commit, &locked.held, true)).map_err(in_doubt);
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
        roll_back(transaction, held);
    }
    outcome
}

/// Takes intents back. One that stays behind is invisible, and the next start rolls it back.
fn roll_back(transaction: Timestamp, held: &[(Arc<Shard>, Vec<Mutation>)]) {
    for (shard, mutations) in held {
        let _ = shard.apply(&Command::Rollback { transaction, keys: cloned(mutations) }, Durability::Buffered);
    }
}

/// Second phase, the first shard's first. Where it is to keep the `record`, that is the commit point; elsewhere the record
/// stands already, and may be forgotten when this returns.
fn commit_intents(
    transaction: Timestamp,
    commit: Timestamp,
    held: &[(Arc<Shard>, Vec<Mutation>)],
    record: bool,
) -> Result<()> {
    for (at, (shard, mutations)) in held.iter().enumerate() {
        let durability = if at > 0 && record { Durability::Buffered } else { Durability::Synced };
        let record = at == 0 && record;
        let command = Command::Commit { transaction, commit, keys: cloned(mutations), record };
        shard.apply(&command, durability).map_err(apply_error)?;
    }
    Ok(())
}

fn cloned(mutations: &[Mutation]) -> Vec<Vec<u8>> {
    mutations.iter().map(|mutation| mutation.key.clone()).collect()
}

impl Database {
    /// Commits what was written over a snapshot at `start`. The wait for the disk is the caller's. `patience` is how long other
    /// commits of these rows are waited for; `None` is for threads that serve others, which get 55P03 also where the disk
    /// would be waited for here. Says [`Committing::Kept`], and has done nothing, where another block holds one of the rows.
    ///
    /// # Errors
    /// 40001 when another transaction changed one of the rows since `start`, chosen ones too; 55P03 when a row stays locked,
    /// or what the disk says; nothing is committed then. An error that says the outcome is unknown leaves it to the next
    /// start.
    pub(crate) fn commit(
        &self,
        start: Timestamp,
        written: ToCommit,
        durability: Durability,
        patience: Option<Duration>,
    ) -> Result<Committing> {
        // What only reads has read one snapshot, whatever has changed since.
        if written.mutations.is_empty() {
            return Ok(Committing::Done);
        }
        let locked = self.lock_steadily(written, Instant::now() + patience.unwrap_or_default())?;
        // Looked at now that the keys are registered: who takes hold of a row from here on finds them, and waits for us.
        if !self.row_locks.is_quiet() && locked.keys().any(|key| self.row_locks.is_anothers(locked.by, key)) {
            return Ok(Committing::Kept(locked.give_back()));
        }
        self.commit_locked(start, durability, locked, patience.is_some())
    }

    /// Commits what a transaction block has written together with what it has copied in. The caller holds the tables of
    /// `loads` alone. Waits for the disk.
    ///
    /// # Errors
    /// As [`Self::commit`]; 23505 for a row that has been there since the transaction began; 57014 when it is cancelled.
    pub(crate) fn commit_with_loads(
        &self,
        start: Timestamp,
        written: ToCommit,
        loads: Vec<BlockLoad>,
        cancel: &Arc<Cancel>,
        patience: Duration,
    ) -> Result<()> {
        let taken: Result<Vec<TakenIn>> = loads.into_iter().map(|load| load.take_in(cancel)).collect();
        let mut taken = taken?;
        let mut locked = self.lock_steadily(written, Instant::now() + patience)?;
        self.check_loads(start, &locked)?;
        self.check_chosen(start, &locked)?;
        self.sync_log()?;
        cancel.shield()?;
        let transaction = self.oracle.next()?;
        prewrite(transaction, start, &locked.held).map_err(|error| self.explain(error))?;
        let in_flight = Arc::clone(&locked.commit);
        let next = || in_flight.take_timestamp(|| self.oracle.next());
        let commit = match publish(self, &mut taken, Some(transaction), next) {
            Ok(commit) => commit,
            Err(cause) => {
                // Where it is not known whether the loads' records stand, the intents follow them at the next start.
                locked.in_doubt = taken.iter().any(TakenIn::is_decided);
                if !locked.in_doubt {
                    roll_back(transaction, &locked.held);
                }
                return Err(cause);
            }
        };
        let outcome = commit_intents(transaction, commit, &locked.held, false);
        settle(self, &taken, outcome.is_ok());
        locked.in_doubt = outcome.is_err();
        outcome.map_err(|cause| {
            not_shown(cause).with_hint("nothing is lost: the next start shows it; its rows are locked until then")
        })
    }

    /// Registers the keys with shards that have them and take them: no cutover comes before they are given back.
    fn lock_steadily(&self, mut written: ToCommit, deadline: Instant) -> Result<Locked> {
        loop {
            let seen = self.topology.changes();
            let layout = self.layout();
            let locked = self.lock(&layout, written, deadline)?;
            if locked.may_write() && Arc::ptr_eq(&layout, &self.layout()) {
                return Ok(locked);
            }
            // Slots are changing hands: in a moment somebody else has them, or the same shard again.
            written = locked.give_back();
            if Arc::ptr_eq(&layout, &self.layout()) {
                self.topology.wait_for_change(seen, deadline)?;
            }
        }
    }

    /// Registers the keys with the shards that have them.
    fn lock(&self, layout: &Layout, written: ToCommit, deadline: Instant) -> Result<Locked> {
        let mut by_shard: BTreeMap<ShardId, (Vec<Mutation>, Vec<Vec<u8>>)> = BTreeMap::new();
        for mutation in written.mutations {
            by_shard.entry(shard_of(&mutation.key, &layout.slots)).or_default().0.push(mutation);
        }
        for key in written.chosen {
            by_shard.entry(shard_of(&key, &layout.slots)).or_default().1.push(key);
        }
        let (commit, since) = (InFlight::new(), Instant::now());
        let by = written.by;
        let mut locked = Locked { commit, held: Vec::new(), chosen: Vec::new(), by, in_doubt: false, since };
        for (id, (mutations, chosen)) in by_shard {
            let shard = layout.shard(id)?;
            let mut keys = keys(&mutations);
            if !chosen.is_empty() {
                keys.extend(chosen.iter().map(Vec::as_slice));
                keys.sort_unstable();
            }
            shard.locks().acquire(&keys, &locked.commit, deadline)?;
            if !chosen.is_empty() {
                locked.chosen.push((Arc::clone(shard), chosen));
            }
            if !mutations.is_empty() {
                locked.held.push((Arc::clone(shard), mutations));
            }
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
        self.check_loads(start, &locked)?;
        self.check_chosen(start, &locked)?;
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
    fn check_loads(&self, start: Timestamp, locked: &Locked) -> Result<()> {
        if self.loads.read().is_empty() {
            return Ok(());
        }
        let mut outcome = Ok(());
        locked.each_shard(|shard, keys| {
            for key in keys {
                let hidden = table_of(key).map_or_else(Vec::new, |table| self.hidden_loads(table, start));
                if outcome.is_ok() && !hidden.is_empty() {
                    outcome = self.unless(shard, key, |version| hidden.contains(&version));
                }
            }
        });
        outcome
    }

    /// Refuses a commit for which a row that it has chosen is another by now: what it writes may follow from that row.
    fn check_chosen(&self, start: Timestamp, locked: &Locked) -> Result<()> {
        for (shard, keys) in &locked.chosen {
            keys.iter().try_for_each(|key| self.unless(shard, key, |version| version > start))?;
        }
        Ok(())
    }

    /// # Errors
    /// 40001 for a row whose newest version `conflicts`.
    fn unless(&self, shard: &Shard, key: &[u8], conflicts: impl Fn(Timestamp) -> bool) -> Result<()> {
        match shard.version(key)? {
            Some(version) if conflicts(version) => Err(self.explain(ApplyError::Conflict { key: key.to_vec() })),
            _ => Ok(()),
        }
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
            mutations.iter().try_for_each(|mutation| self.unless(shard, &mutation.key, |version| version > start))?;
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
        if let Err(cause) = commit_intents(transaction, commit, &locked.held, true) {
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

#[cfg(test)]
mod tests {
    //! What a crash leaves of a block with loads: copies of the directory at each of its steps, opened again.

    use super::*;
    use crate::database::OpenOptions;
    use crate::output::Event;
    use crate::session::Session;
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use futures::StreamExt;
    use std::path::{Path, PathBuf};

    async fn numbers(session: &Session, statement: &str) -> Vec<i64> {
        let mut answer = session.execute(statement, &[]);
        let mut numbers = Vec::new();
        while let Some(event) = answer.next().await {
            if let Event::Batch(batch) = event.expect(statement) {
                numbers.extend(batch.columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)));
            }
        }
        numbers
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a directory");
        for entry in std::fs::read_dir(from).expect("a directory") {
            let (path, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
            if path.is_dir() {
                copy(&path, &to);
            } else {
                std::fs::copy(&path, &to).expect("a file");
            }
        }
    }

    /// Rows copied, notes written beside them, and both together by the counters of the shards.
    async fn seen(session: &Session) -> Vec<i64> {
        let counted = "(SELECT CAST(sum(row_count) AS bigint) FROM system.shards)";
        numbers(session, &format!("SELECT (SELECT count(v) FROM t), (SELECT count(v) FROM notes), {counted}")).await
    }

    /// What a start makes of the directory as it is, and what the start after that one does.
    async fn after_a_crash(database: &Database, to: PathBuf) -> Vec<i64> {
        copy(database.directory(), &to);
        let mut all = Vec::new();
        for _ in 0..2 {
            let opened = Database::open(&to, &OpenOptions::default()).expect("it opens");
            all.push(seen(&Session::new(&opened, "after")).await);
            opened.close();
        }
        assert_eq!(all[0], all[1], "the second start finds what the first has made of it");
        all.remove(0)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crash_leaves_a_block_with_loads_whole_or_not_at_all() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let options = OpenOptions { shards: Some(4), ..OpenOptions::default() };
        let database = Database::open(&place.path().join("data"), &options).expect("a new database");
        let session = Session::new(&database, "test");
        let text = "x".repeat(100_000);
        let rows: String = (0..50).map(|row| format!("{row},{text}\n")).collect();
        let file = place.path().join("rows.csv");
        std::fs::write(&file, format!("id,v\n{rows}")).expect("a file");
        for statement in [
            "ALTER SYSTEM SET gc_retention = '1s'",
            "CREATE TABLE t (id bigint PRIMARY KEY, v text)",
            "CREATE TABLE notes (id bigint PRIMARY KEY, v bigint)",
            "INSERT INTO notes VALUES (1, 0), (2, 0), (3, 0)",
            "BEGIN",
            "UPDATE notes SET v = 1 WHERE id = 1",
            "INSERT INTO notes VALUES (4, 0), (5, 0), (6, 0), (7, 0), (8, 0)",
            &format!("COPY t FROM '{}'", file.display()),
        ] {
            numbers(&session, statement).await;
        }
        let transaction = session.inner.state.lock().await.transaction.take().expect("a block");
        let crate::transaction::Transaction { pin, writes, loads, .. } = transaction;
        assert_eq!(loads.len(), 1);
        let at = |name: &str| place.path().join(name);

        // The steps of `commit_with_loads`.
        let cancel = Arc::default();
        let taken: Result<Vec<TakenIn>> = loads.into_iter().map(|load| load.take_in(&cancel)).collect();
        let mut taken = taken.expect("it is taken in");
        assert_eq!(after_a_crash(&database, at("taken in")).await, [0, 3, 3]);
        let mutations = Arc::unwrap_or_clone(writes).into_mutations();
        let locked = database.lock_steadily(ToCommit::writes(mutations, 0), Instant::now()).expect("nobody else");
        assert!(locked.held.len() > 1, "the notes are in several shards");
        let stamp = database.oracle.next().expect("a timestamp");
        prewrite(stamp, pin.read, &locked.held).expect("no conflict");
        assert_eq!(after_a_crash(&database, at("prewritten")).await, [0, 3, 3]);
        let commit = publish(&database, &mut taken, Some(stamp), || database.oracle.next()).expect("decided");
        assert_eq!(after_a_crash(&database, at("decided")).await, [50, 8, 58]);
        let part = &locked.held[..1];
        commit_intents(stamp, commit, part, false).expect("the first shard's part");
        assert_eq!(after_a_crash(&database, at("half done")).await, [50, 8, 58]);
        // No reader is so old that the load's record had to stay; but there is still what goes by it.
        settle(&database, &taken, false);
        drop(pin);
        // As if `gc_retention` had passed.
        let later = crate::oracle::now_ms() + 1_001;
        database.raise_safe_point(later).expect("it rises");
        assert_eq!(after_a_crash(&database, at("counted")).await, [50, 8, 58]);
        commit_intents(stamp, commit, &locked.held, false).expect("all parts");
        settle(&database, &taken, true);
        drop((taken, locked));
        assert_eq!(after_a_crash(&database, at("done")).await, [50, 8, 58]);
        database.raise_safe_point(later).expect("it rises");
        assert!(database.loads.read().is_empty(), "every reader sees it");
        assert_eq!(after_a_crash(&database, at("forgotten")).await, [50, 8, 58]);
        assert_eq!(seen(&session).await, [50, 8, 58]);
        assert_eq!(numbers(&session, "SELECT v FROM notes WHERE id = 1").await, [1]);
        drop(session);
        database.close();
    }
}
