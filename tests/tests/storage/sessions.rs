//! Transactions of several sessions, interleaved one statement at a time, against a model (`snapshot-isolation`).
//!
//! The model of a transaction is a copy of all rows as they were at BEGIN, and its own writes over it. Every read must be
//! that; COMMIT succeeds exactly when no row that it wrote or chose was written by a commit since BEGIN. An UPDATE by key and
//! SELECT … FOR UPDATE hold the row, if there is one, until their block ends, and nobody else changes it before. If the row
//! was written since BEGIN the block begins anew at now, where it has looked at single rows only and neither these nor those
//! that it wrote were written since; otherwise it fails.

use crate::client::{numbers, rows};
use evenkeel_engine::{Database, Session};
use evenkeel_model::SqlState;
use evenkeel_tests::Temporary;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 32;
const STEPS: usize = 150;
const SESSIONS: usize = 3;
const KEYS: i64 = 10;

type Rows = BTreeMap<i64, i64>;
type Writes = BTreeMap<i64, Option<i64>>;

/// An open transaction in the model.
struct Open {
    start: u64,
    snapshot: Rows,
    writes: Writes,
    savepoints: Vec<(u8, Writes)>,
    failed: bool,
    /// Keys that it keeps others from changing.
    held: BTreeSet<i64>,
    /// Of these, the chosen ones.
    chosen: BTreeSet<i64>,
    /// Keys that it has looked at; `None` when it has looked at everything.
    read: Option<BTreeSet<i64>>,
}

/// What is committed, and when each row was last written.
#[derive(Default)]
struct Committed {
    rows: Rows,
    written: BTreeMap<i64, u64>,
    commits: u64,
    /// How often a block began anew, and how often a statement found its row held.
    renewed: u64,
    kept_off: u64,
}

fn overlay(snapshot: &Rows, writes: &Writes) -> Rows {
    let mut rows = snapshot.clone();
    for (key, value) in writes {
        match value {
            Some(value) => rows.insert(*key, *value),
            None => rows.remove(key),
        };
    }
    rows
}

impl Committed {
    fn is_written_since(&self, start: u64, key: &i64) -> bool {
        self.written.get(key).is_some_and(|at| *at > start)
    }

    /// Fails where another block holds one of these rows.
    fn keep_off<'k>(
        &mut self,
        others: &BTreeSet<i64>,
        keys: impl IntoIterator<Item = &'k i64>,
    ) -> Result<(), SqlState> {
        let is_kept_off = keys.into_iter().any(|key| others.contains(key));
        self.kept_off += u64::from(is_kept_off);
        if is_kept_off { Err(SqlState::LockNotAvailable) } else { Ok(()) }
    }

    /// What an UPDATE by key does before it looks at the row.
    fn hold(&mut self, open: &mut Open, key: i64) -> Result<(), SqlState> {
        open.held.insert(key);
        if self.is_written_since(open.start, &key) {
            let read = open.read.as_ref().ok_or(SqlState::SerializationFailure)?;
            if read.iter().chain(open.writes.keys()).any(|key| self.is_written_since(open.start, key)) {
                return Err(SqlState::SerializationFailure);
            }
            (open.start, open.snapshot) = (self.commits, self.rows.clone());
            self.renewed += 1;
        }
        open.note(Some(key));
        Ok(())
    }

    /// Whether a transaction that began at `start` may commit these writes; if so they are committed.
    fn commit(&mut self, start: u64, writes: &Writes) -> bool {
        if writes.keys().any(|key| self.is_written_since(start, key)) {
            return false;
        }
        self.commits += 1;
        for (key, value) in writes {
            // Deleting what never was is no write that others could conflict with.
            if value.is_some() || self.written.contains_key(key) {
                self.written.insert(*key, self.commits);
            }
        }
        self.rows = overlay(&self.rows, writes);
        true
    }

    fn begin(&self) -> Open {
        Open {
            start: self.commits,
            snapshot: self.rows.clone(),
            writes: Writes::new(),
            savepoints: Vec::new(),
            failed: false,
            held: BTreeSet::new(),
            chosen: BTreeSet::new(),
            read: Some(BTreeSet::new()),
        }
    }
}

/// What a statement is to do, apart from its text.
enum Action {
    Begin,
    Commit,
    Rollback,
    Savepoint(u8),
    RollbackTo(u8),
    Release(u8),
    Read(Option<i64>),
    Choose(i64),
    Count,
    Insert(Vec<(i64, i64)>),
    Upsert(Vec<(i64, i64)>),
    Add { remainder: i64, difference: i64 },
    Put { key: i64, value: i64 },
    Delete(i64),
}

fn some_rows(random: &mut StdRng) -> Vec<(i64, i64)> {
    let rows: Rows =
        (0..random.random_range(1..4)).map(|_| (random.random_range(0..KEYS), random.random_range(0..100))).collect();
    rows.into_iter().collect()
}

impl Action {
    /// `is_by_key`: blocks look at and change single rows.
    fn choose(random: &mut StdRng, open: bool, is_by_key: bool) -> Self {
        let key = random.random_range(0..KEYS);
        let savepoint = random.random_range(0..2);
        if !open && random.random_bool(0.5) {
            return Self::Begin;
        }
        if open && random.random_bool(0.35) {
            // Savepoints make long blocks of which most are failed; these are to meet each other.
            return match random.random_range(0..if is_by_key { 5 } else { 9 }) {
                0..=2 => Self::Commit,
                3 => Self::Rollback,
                4..=5 => Self::Savepoint(savepoint),
                6..=7 => Self::RollbackTo(savepoint),
                _ => Self::Release(savepoint),
            };
        }
        if open && is_by_key && random.random_bool(0.9) {
            return match random.random_range(0..10) {
                0..3 => Self::Read(Some(key)),
                3..6 => Self::Choose(key),
                _ => Self::Put { key, value: random.random_range(0..100) },
            };
        }
        match random.random_range(0..13) {
            0..=1 => Self::Read(None),
            2 => Self::Read(Some(key)),
            3 => Self::Count,
            4..=5 => Self::Insert(some_rows(random)),
            6..=7 => Self::Upsert(some_rows(random)),
            8 => Self::Add { remainder: random.random_range(0..3), difference: random.random_range(1..5) },
            9 => Self::Put { key, value: random.random_range(0..100) },
            10 => Self::Choose(key),
            _ => Self::Delete(key),
        }
    }

    fn text(&self, table: &str) -> String {
        let values = |rows: &Vec<(i64, i64)>| {
            let rows: Vec<_> = rows.iter().map(|(key, value)| format!("({key}, {value})")).collect();
            rows.join(", ")
        };
        match self {
            Self::Begin => "BEGIN".to_string(),
            Self::Commit => "COMMIT".to_string(),
            Self::Rollback => "ROLLBACK".to_string(),
            Self::Savepoint(name) => format!("SAVEPOINT s{name}"),
            Self::RollbackTo(name) => format!("ROLLBACK TO SAVEPOINT s{name}"),
            Self::Release(name) => format!("RELEASE SAVEPOINT s{name}"),
            Self::Read(None) => format!("SELECT k, v FROM {table} ORDER BY k"),
            Self::Read(Some(key)) => format!("SELECT k, v FROM {table} WHERE k = {key}"),
            Self::Choose(key) => format!("SELECT k, v FROM {table} WHERE k = {key} FOR UPDATE"),
            Self::Count => format!("SELECT COUNT(*), SUM(v) FROM {table}"),
            Self::Insert(rows) => format!("INSERT INTO {table} VALUES {}", values(rows)),
            Self::Upsert(rows) => format!("UPSERT INTO {table} VALUES {}", values(rows)),
            Self::Add { remainder, difference } => {
                format!("UPDATE {table} SET v = v + {difference} WHERE k % 3 = {remainder}")
            }
            Self::Put { key, value } => format!("UPDATE {table} SET v = {value} WHERE k = {key}"),
            Self::Delete(key) => format!("DELETE FROM {table} WHERE k = {key}"),
        }
    }

    /// The rows that a query answers with, or the writes of a statement, or how it fails.
    fn outcome(&self, visible: &Rows) -> Result<(Vec<Vec<i64>>, Writes), SqlState> {
        let mut writes = Writes::new();
        let mut answer = Vec::new();
        match self {
            Self::Read(None) => answer.extend(visible.iter().map(|(key, value)| vec![*key, *value])),
            Self::Read(Some(key)) | Self::Choose(key) => {
                answer.extend(visible.get(key).map(|value| vec![*key, *value]))
            }
            Self::Count => answer.push(vec![visible.len() as i64, visible.values().sum()]),
            Self::Insert(rows) if rows.iter().any(|(key, _)| visible.contains_key(key)) => {
                return Err(SqlState::UniqueViolation);
            }
            Self::Insert(rows) | Self::Upsert(rows) => writes.extend(rows.iter().map(|(k, v)| (*k, Some(*v)))),
            Self::Add { remainder, difference } => {
                let of_remainder = visible.iter().filter(|(key, _)| *key % 3 == *remainder);
                writes.extend(of_remainder.map(|(key, value)| (*key, Some(value + difference))));
            }
            Self::Put { key, value } if visible.contains_key(key) => writes.extend([(*key, Some(*value))]),
            Self::Delete(key) if visible.contains_key(key) => writes.extend([(*key, None)]),
            _ => {}
        }
        Ok((answer, writes))
    }
}

impl Open {
    fn note(&mut self, key: Option<i64>) {
        match (key, &mut self.read) {
            (Some(key), Some(read)) => {
                read.insert(key);
            }
            (_, read) => *read = None,
        }
    }

    fn fail(&mut self) {
        self.failed = true;
        if self.savepoints.is_empty() {
            self.held.clear();
            self.chosen.clear();
        }
    }

    /// Savepoints and what goes back to them.
    fn savepoint(&mut self, action: &Action) -> Result<(), SqlState> {
        let (Action::Savepoint(name) | Action::RollbackTo(name) | Action::Release(name)) = action else {
            return Ok(());
        };
        let back = matches!(action, Action::RollbackTo(_));
        if self.failed && !back {
            return Err(SqlState::InFailedTransaction);
        }
        if matches!(action, Action::Savepoint(_)) {
            self.savepoints.push((*name, self.writes.clone()));
            return Ok(());
        }
        let found = self.savepoints.iter().rposition(|(other, _)| other == name);
        let at = found.ok_or(SqlState::InvalidSavepoint)?;
        if back {
            self.writes = self.savepoints[at].1.clone();
            self.failed = false;
        }
        self.savepoints.truncate(if back { at + 1 } else { at });
        Ok(())
    }
}

/// What the model says of a statement.
fn expect(
    action: &Action,
    who: usize,
    blocks: &mut [Option<Open>],
    committed: &mut Committed,
) -> Result<Vec<Vec<i64>>, SqlState> {
    let others = blocks.iter().enumerate().filter(|(block, _)| *block != who);
    let others: BTreeSet<i64> = others.flat_map(|(_, open)| open.iter().flat_map(|open| open.held.clone())).collect();
    let by_key = match action {
        Action::Put { key, .. } | Action::Choose(key) => Some(*key),
        _ => None,
    };
    let open = &mut blocks[who];
    match action {
        Action::Begin => *open = Some(committed.begin()),
        Action::Rollback => *open = None,
        Action::Commit => {
            let Some(open) = open.take().filter(|open| !open.failed && !open.writes.is_empty()) else {
                return Ok(Vec::new());
            };
            committed.keep_off(&others, open.writes.keys())?;
            let mut chosen = open.chosen.iter();
            if chosen.any(|key| committed.is_written_since(open.start, key))
                || !committed.commit(open.start, &open.writes)
            {
                return Err(SqlState::SerializationFailure);
            }
        }
        action => {
            let Some(open) = open else {
                committed.keep_off(&others, &by_key)?;
                let (answer, writes) = action.outcome(&committed.rows)?;
                committed.keep_off(&others, writes.keys())?;
                assert!(committed.commit(committed.commits, &writes));
                return Ok(answer);
            };
            let outcome = open.savepoint(action).and_then(|()| {
                if open.failed {
                    return Err(SqlState::InFailedTransaction);
                }
                let is_new = by_key.is_some_and(|key| !open.held.contains(&key));
                match action {
                    Action::Put { key, .. } => {
                        committed.keep_off(&others, [key])?;
                        committed.hold(open, *key)?;
                    }
                    Action::Choose(key) => {
                        if open.writes.is_empty() && open.read.as_ref().is_some_and(BTreeSet::is_empty) {
                            (open.start, open.snapshot) = (committed.commits, committed.rows.clone());
                        }
                        let held = committed.keep_off(&others, [key]).and_then(|()| committed.hold(open, *key));
                        held.inspect_err(|_| open.note(None))?;
                        open.chosen.insert(*key);
                    }
                    Action::Read(Some(key)) => open.note(Some(*key)),
                    Action::Insert(rows) if rows.len() == 1 => {
                        let (key, _) = rows[0];
                        let is_there = overlay(&open.snapshot, &open.writes).contains_key(&key);
                        open.note((!is_there).then_some(key));
                    }
                    Action::Savepoint(_) | Action::RollbackTo(_) | Action::Release(_) => {}
                    _ => open.note(None),
                }
                let visible = overlay(&open.snapshot, &open.writes);
                // A row that is not there is not held.
                if let Some(key) = by_key.filter(|key| !visible.contains_key(key)) {
                    open.chosen.remove(&key);
                    if is_new {
                        open.held.remove(&key);
                    }
                }
                action.outcome(&visible)
            });
            if outcome.is_err() {
                open.fail();
            }
            let (answer, writes) = outcome?;
            open.writes.extend(writes);
            return Ok(answer);
        }
    }
    Ok(Vec::new())
}

/// Plays one story; returns how often a block began anew, and how often a statement found its row held.
async fn interleave(database: &std::sync::Arc<Database>, seed: u64) -> (u64, u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let table = format!("t{seed}");
    let sessions: Vec<_> = (0..SESSIONS).map(|number| Session::new(database, &format!("s{number}"))).collect();
    rows(&sessions[0], &format!("CREATE TABLE {table} (k BIGINT PRIMARY KEY, v BIGINT NOT NULL)"))
        .await
        .expect("a statement");
    for session in &sessions {
        // One statement at a time: who finds a row held would wait for ever.
        rows(session, "SET shard_lock_timeout = '1ms'").await.expect("a statement");
    }
    let mut open: Vec<Option<Open>> = (0..SESSIONS).map(|_| None).collect();
    let mut committed = Committed::default();
    let mut story = Vec::new();
    for _ in 0..STEPS {
        let who = random.random_range(0..SESSIONS);
        let action = Action::choose(&mut random, open[who].is_some(), seed.is_multiple_of(2));
        let text = action.text(&table);
        story.push(format!("{who}: {text}"));
        let answer = numbers(&sessions[who], &text).await.map_err(|error| error.state);
        let answer = if matches!(action, Action::Read(_) | Action::Choose(_) | Action::Count) {
            answer
        } else {
            answer.map(|_| Vec::new())
        };
        let expected = expect(&action, who, &mut open, &mut committed);
        assert_eq!(answer, expected, "seed {seed}, at the end of\n{}", story.join("\n"));
    }
    for session in &sessions {
        rows(session, "ROLLBACK").await.expect("a statement");
    }
    let left = numbers(&sessions[0], &format!("SELECT k, v FROM {table} ORDER BY k")).await.expect("a statement");
    let expected: Vec<_> = committed.rows.iter().map(|(key, value)| vec![*key, *value]).collect();
    assert_eq!(left, expected, "seed {seed}, after\n{}", story.join("\n"));
    (committed.renewed, committed.kept_off)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interleaved_transactions_are_isolated() {
    let home = Temporary::new(4);
    let quick = home.session();
    rows(&quick, "ALTER SYSTEM SET synchronous_commit = off").await.expect("a statement");
    let (mut renewed, mut kept_off) = (0, 0);
    for seed in 0..SEEDS {
        let happened = interleave(home.database(), seed).await;
        (renewed, kept_off) = (renewed + happened.0, kept_off + happened.1);
    }
    assert!(renewed >= SEEDS / 2 && kept_off >= SEEDS, "{renewed} blocks began anew, {kept_off} rows were held");
}
