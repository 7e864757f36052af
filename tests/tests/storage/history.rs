//! Random histories of one shard against a model in memory.
//!
//! Commands, restarts and garbage collection follow each other at random. After every step the shard is read at several
//! timestamps at or above the safe point, at the end at all of them: every row is the model's, nothing that was deleted
//! comes back (`no-resurrection`), conflicts are found where they are and nowhere else, and the counters are those of a
//! full count (`counters-exact`).

use crate::recount::{Counts, counted, recount};
use evenkeel_model::{ShardId, Slot, SlotBits, TableId, Timestamp};
use evenkeel_storage::codec::key::{row_key, slot_of, table_of, table_range};
use evenkeel_storage::{
    ApplyError, Command, Cursor, Durability, Mutation, Operation, Shard, SlotCount, SortedRows, Store, View,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;

/// Histories are the same in every run; another number tries others.
const SEED: u64 = 0x45_56_45_4E;
const KEYS: u8 = 24;
const PRIMARY: ShardId = ShardId(1);

type Writes = Vec<(u8, Option<u8>)>;

#[derive(Clone, Debug)]
enum Step {
    /// A commit whose start lies `back` timestamps ago.
    Commit {
        back: u64,
        writes: Writes,
    },
    /// A transaction over several shards, seen from one, with a restart between its phases or not.
    TwoPhase {
        back: u64,
        writes: Writes,
        commit: bool,
        reopen: bool,
    },
    /// A bulk load of those keys of a table that have no row.
    Load {
        table: u32,
        rows: Vec<(u8, u8)>,
        finish: bool,
        reopen: bool,
    },
    DropTable(u32),
    /// Raises the safe point to `back` timestamps ago and compacts.
    Collect {
        back: u64,
    },
    Reopen,
}

fn writes() -> impl Strategy<Value = Writes> {
    let distinct = prop::collection::btree_map(0..KEYS, prop::option::weighted(0.7, any::<u8>()), 1..5);
    distinct.prop_map(|writes| writes.into_iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    let rows = prop::collection::btree_map(0..KEYS, any::<u8>(), 1..12).prop_map(|rows| rows.into_iter().collect());
    prop_oneof![
        8 => (0..6_u64, writes()).prop_map(|(back, writes)| Step::Commit { back, writes }),
        4 => (0..6_u64, writes(), any::<bool>(), any::<bool>())
            .prop_map(|(back, writes, commit, reopen)| Step::TwoPhase { back, writes, commit, reopen }),
        2 => (1..3_u32, rows, any::<bool>(), any::<bool>())
            .prop_map(|(table, rows, finish, reopen)| Step::Load { table, rows, finish, reopen }),
        1 => (1..3_u32).prop_map(Step::DropTable),
        2 => (0..8_u64).prop_map(|back| Step::Collect { back }),
        1 => Just(Step::Reopen),
    ]
}

fn bits() -> SlotBits {
    SlotBits::new(4).expect("16 slots")
}

fn key(number: u8) -> Vec<u8> {
    let token = bits().first_token(Slot(u32::from(number) * 7 % 16));
    row_key(TableId(1 + u32::from(number) % 2), token, &[b'k', number])
}

/// Rows differ in length, so that bytes are counted and not only rows.
fn row(value: u8) -> Vec<u8> {
    vec![value; usize::from(value % 9) + 1]
}

fn mutations(writes: &Writes) -> Vec<Mutation> {
    let operation = |value: &Option<u8>| value.map_or(Operation::Delete, |value| Operation::Put(row(value)));
    let mut all: Vec<_> =
        writes.iter().map(|(number, value)| Mutation { key: key(*number), operation: operation(value) }).collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

/// A version of a row in the model.
#[derive(Clone, Debug)]
struct Version {
    at: u64,
    row: Option<Vec<u8>>,
    /// A deletion over a deletion that may have been collected: it is there or it isn't.
    doubtful: bool,
}

struct World {
    directory: TempDir,
    store: Store,
    shard: Option<Shard>,
    versions: BTreeMap<Vec<u8>, Vec<Version>>,
    now: u64,
    safe: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            store: Store::new(16 << 20).expect("a store"),
            shard: None,
            versions: BTreeMap::new(),
            now: 1,
            safe: 0,
        };
        world.reopen();
        world
    }

    /// As a new process would: nothing is known but what is on disk.
    fn reopen(&mut self) {
        self.shard = None;
        self.store = Store::new(16 << 20).expect("a store");
        let path = self.directory.path().join("shard");
        self.shard = Some(Shard::open(ShardId(1), &path, bits(), &self.store).expect("the shard opens"));
    }

    fn shard(&self) -> &Shard {
        self.shard.as_ref().expect("open")
    }

    fn next(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn apply(&self, command: &Command) {
        self.shard().apply(command, Durability::Buffered).unwrap_or_else(|error| panic!("{command:?}: {error:?}"));
    }

    fn visible(&self, key: &[u8], read: u64) -> Option<&Vec<u8>> {
        let versions = self.versions.get(key)?;
        versions.iter().rev().find(|version| version.at <= read)?.row.as_ref()
    }

    /// Notes in the model what a commit did.
    fn note(&mut self, mutations: &[Mutation], at: u64) {
        for Mutation { key, operation } in mutations {
            let row = if let Operation::Put(row) = operation { Some(row.clone()) } else { None };
            let last = self.versions.get(key).and_then(|versions| versions.last());
            if row.is_none() && last.is_none() {
                continue;
            }
            let safe = self.safe;
            let deleted = last.filter(|last| last.row.is_none());
            let doubtful = row.is_none() && deleted.is_some_and(|last| last.doubtful || last.at <= safe);
            self.versions.entry(key.clone()).or_default().push(Version { at, row, doubtful });
        }
    }

    /// Whether the shard's answer to a write fits the model; returns whether it was accepted.
    fn judge(&self, mutations: &[Mutation], start: u64, outcome: Result<(), ApplyError>) -> bool {
        let newer = |doubtful: bool| {
            let versions = |mutation: &Mutation| self.versions.get(&mutation.key).into_iter().flatten();
            mutations.iter().flat_map(versions).any(|version| version.at > start && version.doubtful == doubtful)
        };
        match outcome {
            Ok(()) => {
                assert!(!newer(false), "a conflict since {start} went unnoticed: {mutations:?}");
                true
            }
            Err(ApplyError::Conflict { key }) => {
                assert!(newer(false) || newer(true), "no conflict since {start} at {key:?}");
                false
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Commit { back, writes } => self.commit(*back, writes),
            Step::TwoPhase { back, writes, commit, reopen } => self.two_phase(*back, writes, *commit, *reopen),
            Step::Load { table, rows, finish, reopen } => self.load(TableId(*table), rows, *finish, *reopen),
            Step::DropTable(table) => {
                self.apply(&Command::DropTable { table: TableId(*table) });
                self.versions.retain(|key, _| table_of(key) != Some(TableId(*table)));
            }
            Step::Collect { back } => {
                self.safe = self.safe.max(self.now.saturating_sub(*back));
                self.store.raise_safe_point(Timestamp(self.safe));
                self.shard().compact(None);
            }
            Step::Reopen => self.reopen(),
        }
    }

    fn start(&self, back: u64) -> u64 {
        self.now.saturating_sub(back).max(self.safe)
    }

    fn commit(&mut self, back: u64, writes: &Writes) {
        let (start, mutations) = (self.start(back), mutations(writes));
        let at = self.next();
        let command =
            Command::CommitOnePhase { start: Timestamp(start), commit: Timestamp(at), mutations: mutations.clone() };
        let outcome = self.shard().apply(&command, Durability::Buffered);
        if self.judge(&mutations, start, outcome) {
            self.note(&mutations, at);
        }
    }

    fn two_phase(&mut self, back: u64, writes: &Writes, commit: bool, reopen: bool) {
        let (start, mutations) = (Timestamp(self.start(back)), mutations(writes));
        let keys: Vec<_> = mutations.iter().map(|mutation| mutation.key.clone()).collect();
        let prewrite = Command::Prewrite { transaction: start, start, primary: PRIMARY, mutations: mutations.clone() };
        let outcome = self.shard().apply(&prewrite, Durability::Buffered);
        let accepted = self.judge(&mutations, start.0, outcome);
        self.check(self.now, &[]);
        if reopen {
            self.reopen();
        }
        let intents = self.shard().intents().expect("intents");
        assert_eq!(intents.len(), if accepted { keys.len() } else { 0 });
        let at = self.next();
        if accepted && commit {
            let command =
                Command::Commit { transaction: start, commit: Timestamp(at), keys: keys.clone(), record: true };
            self.apply(&command);
            self.note(&mutations, at);
            let records = self.shard().transaction_records().expect("records");
            assert_eq!(records, BTreeMap::from([(start, Timestamp(at))]));
            self.apply(&command);
            self.apply(&Command::Forget { transactions: vec![start] });
        }
        self.apply(&Command::Rollback { transaction: start, keys });
        assert_eq!(self.shard().intents().expect("intents"), []);
        assert!(self.shard().transaction_records().expect("records").is_empty());
    }

    fn load(&mut self, table: TableId, rows: &[(u8, u8)], finish: bool, reopen: bool) {
        let load = Timestamp(self.next());
        let absent = |(number, value): &(u8, u8)| {
            let key = key(*number);
            (table_of(&key) == Some(table) && self.visible(&key, load.0).is_none()).then(|| (key, row(*value)))
        };
        let mut rows: Vec<_> = rows.iter().filter_map(absent).collect();
        rows.sort();
        let directory = self.directory.path().join(format!("load-{}", load.0));
        std::fs::create_dir(&directory).expect("a directory");
        let mut files = SortedRows::new(self.shard(), &self.store, &directory, load);
        files.write(rows.iter().map(|(key, row)| Ok((key.as_slice(), row.as_slice())))).expect("sorted rows");
        self.apply(&Command::BeginLoad { load, table, counts: files.counts() });
        self.shard().ingest(files.files()).expect("files are taken in");
        let now = self.next();
        self.check(now, &[load]);
        if reopen {
            self.reopen();
        }
        assert_eq!(self.shard().loads().expect("loads"), [load]);
        self.apply(&if finish { Command::FinishLoad { load } } else { Command::AbortLoad { load } });
        for (key, row) in rows {
            let version = Version { at: load.0, row: finish.then_some(row), doubtful: false };
            self.versions.entry(key).or_default().push(version);
        }
        assert_eq!(self.shard().loads().expect("loads"), []);
    }

    /// Everything that a reader at `read` sees is the model's.
    fn check(&self, read: u64, hidden: &[Timestamp]) {
        let view = View { read: Timestamp(read), hidden, lock_timeout: Duration::from_secs(10), map: None };
        for table in [TableId(1), TableId(2)] {
            let mut seen = Vec::new();
            let mut cursor = Cursor::new(table_range(table));
            while !cursor.is_done() {
                let each = |key: &[u8], row: &[u8]| {
                    seen.push((key.to_vec(), row.to_vec()));
                    Ok(())
                };
                self.shard().scan(&mut cursor, &view, 5, each).expect("a scan");
            }
            let of_table = self.versions.keys().filter(|key| table_of(key) == Some(table));
            let expected: Vec<_> =
                of_table.filter_map(|key| Some((key.clone(), self.visible(key, read)?.clone()))).collect();
            assert_eq!(seen, expected, "a scan of table {table} at {read}, safe point {}", self.safe);
        }
        for number in 0..KEYS {
            let key = key(number);
            let seen = self.shard().get(&key, &view, <[u8]>::to_vec).expect("a get");
            assert_eq!(seen.as_ref(), self.visible(&key, read), "key {number} at {read}, safe point {}", self.safe);
        }
        self.check_counters(hidden);
    }

    fn check_counters(&self, hidden: &[Timestamp]) {
        let mut expected = Counts::new();
        for key in self.versions.keys() {
            if let Some(row) = self.visible(key, u64::MAX) {
                let table = table_of(key).expect("a row key");
                let difference = SlotCount { rows: 1, bytes: (key.len() + row.len()) as i64 };
                *expected.entry((table, slot_of(key, bits()))).or_default() += difference;
            }
        }
        assert_eq!(counted(self.shard()), expected, "counters, against the model");
        assert_eq!(recount(self.shard(), hidden).expect("a full count"), expected, "a full count, against the model");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_shard_is_its_history(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for (number, step) in steps.iter().enumerate() {
            world.step(step);
            world.check(world.now, &[]);
            world.check(world.safe, &[]);
            let between = world.safe + (number as u64 * 7) % (world.now - world.safe + 1);
            world.check(between, &[]);
        }
        world.reopen();
        for read in world.safe..=world.now {
            world.check(read, &[]);
        }
    }
}
