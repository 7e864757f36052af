//! What must be true of the bank after a crash, given the lines it said before.

use crate::client::{numbers, rows};
use crate::jobs::Jobs;
use crate::shards::{self, close};
use evenkeel_engine::Session;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use tempfile::TempDir;

const ACCOUNTS: i64 = 64;
const BALANCE: i64 = 1_000;
const FILE_ROWS: i64 = 2_000;
/// Rows of the file that is copied in blocks, and receipts that each of them writes; see `src/bin/bank.rs`.
const FREIGHT_ROWS: i64 = 45;
const FREIGHT_CHARS: usize = 100_000;
const RECEIPTS: i64 = 3;
const TIDY_EVERY: u32 = 3;
/// Rows above which the pile is emptied between two crashes.
const PILE_MAX: i64 = 40_000;
/// The same where slots move, which takes as long as there are rows in them.
const MOVED_PILE_MAX: i64 = 4_000;

/// Rows and columns of a table as they are said: `2000 2`, or `- -` where there is none.
type State = String;

/// The last state of a table that was acknowledged, and the one that was tried after it.
#[derive(Debug, Default)]
struct Life {
    done: Option<State>,
    trying: Option<State>,
}

/// Run, worker and number of a transfer.
type TransferId = (i64, i64, i64);
/// Source, target and amount of a transfer.
type Transfer = (i64, i64, i64);

/// A bank's directory, and everything that it has acknowledged so far.
pub struct Bank {
    home: TempDir,
    transfers: BTreeMap<TransferId, Transfer>,
    tables: BTreeMap<String, Life>,
    /// What each clock was last said to show.
    clocks: BTreeMap<i64, i64>,
    /// How many processes worked since the last check.
    runs: i64,
    checks: u32,
    /// The last process that had the database open.
    opened: Option<i64>,
    /// What moves slots meanwhile.
    pub jobs: Jobs,
}

fn number(word: Option<&str>) -> i64 {
    word.and_then(|word| word.parse().ok()).expect("a number")
}

impl Bank {
    /// A bank with money in its accounts.
    pub async fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let (transfers, tables, clocks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let bank = Self { home, transfers, tables, clocks, runs: 0, checks: 0, opened: None, jobs: Jobs::default() };
        let lines = (0..FILE_ROWS).fold("k,v\n".to_string(), |mut text, row| {
            let _ = writeln!(text, "{row},row number {row}");
            text
        });
        std::fs::write(bank.file(), lines).expect("the file to load");
        let freight: String = (0..FREIGHT_ROWS).map(|row| format!("{row},{}\n", "x".repeat(FREIGHT_CHARS))).collect();
        std::fs::write(bank.file().with_file_name("freight.csv"), format!("k,v\n{freight}")).expect("the freight");
        let database = shards::open(&bank.directory());
        let session = Session::new(&database, "setup");
        let accounts: Vec<_> = (0..ACCOUNTS).map(|id| format!("({id}, {BALANCE})")).collect();
        let n: Vec<_> = (0..200).map(|n| format!("({n})")).collect();
        let statements = [
            "CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)",
            "CREATE TABLE ledger (run BIGINT, worker BIGINT, seq BIGINT, source BIGINT, target BIGINT, amount BIGINT, \
             PRIMARY KEY (run, worker, seq))",
            "CREATE TABLE clocks (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)",
            "INSERT INTO clocks VALUES (0, 0), (1, 0)",
            "CREATE TABLE pile (k BIGINT, v TEXT)",
            "CREATE TABLE freight (k BIGINT, v TEXT)",
            "CREATE TABLE receipts (id BIGINT PRIMARY KEY, v BIGINT)",
            "CREATE TABLE n (n BIGINT PRIMARY KEY)",
            &format!("INSERT INTO accounts VALUES {}", accounts.join(", ")),
            &format!("INSERT INTO n VALUES {}", n.join(", ")),
        ];
        for statement in statements {
            rows(&session, statement).await.expect(statement);
        }
        drop(session);
        close(database);
        bank
    }

    /// The database's directory.
    pub fn directory(&self) -> PathBuf {
        self.home.path().join("bank")
    }

    /// The file that the bank loads.
    pub fn file(&self) -> PathBuf {
        self.home.path().join("rows.csv")
    }

    /// Takes note of a line that run `run` has said.
    pub fn heard(&mut self, run: i64, line: &str) {
        let mut words = line.split(' ');
        match words.next() {
            Some("ready") => {
                self.runs += 1;
                self.opened = Some(run);
            }
            Some("job") => self.jobs.acknowledge(number(words.next())),
            Some("phase") => {
                let migration = number(words.next());
                self.jobs.enter(migration, words.next().expect("a phase"));
            }
            Some("transfer") => {
                let [worker, seq, source, target, amount] = [(); 5].map(|()| number(words.next()));
                self.transfers.insert((run, worker, seq), (source, target, amount));
            }
            Some("tick") => {
                let [clock, value] = [(); 2].map(|()| number(words.next()));
                self.clocks.insert(clock, value);
            }
            Some(what @ ("trying" | "done")) => {
                let life = self.tables.entry(words.next().expect("a table").to_string()).or_default();
                let state = words.collect::<Vec<_>>().join(" ");
                if what == "trying" {
                    life.trying = Some(state);
                } else {
                    *life = Life { done: Some(state), trying: None };
                }
            }
            _ => panic!("the bank said: {line}"),
        }
    }

    /// Opens the database after a crash and checks every promise.
    pub async fn check(&mut self) {
        if self.jobs.expected {
            self.settle().await;
        }
        let database = shards::open(&self.directory());
        let session = Session::new(&database, "check");
        self.check_transfers(&session).await;
        self.check_tables(&session).await;
        self.check_freight(&session).await;
        self.check_clocks(&session).await;
        let claims = shards::claims(&database).await;
        drop(session);
        close(database);
        shards::check(&self.directory(), &claims);
        self.checks += 1;
        if self.checks.is_multiple_of(TIDY_EVERY) {
            self.tidy().await;
        }
    }

    /// Opens the database after a crash and lets every job come to its end. What the jobs leave to the next start is done
    /// by that.
    async fn settle(&mut self) {
        let database = shards::open(&self.directory());
        let session = Session::new(&database, "settle");
        // Some rows are still in two shards.
        self.check_transfers(&session).await;
        self.jobs.settle(&session).await;
        drop(session);
        close(database);
    }

    /// Acknowledged transfers are in the ledger, at most one more of each worker is, and the balances are the ledger's.
    async fn check_transfers(&self, session: &Session) {
        let ledger = "SELECT run, worker, seq, source, target, amount FROM ledger ORDER BY run, worker, seq";
        let mut found = BTreeMap::new();
        let mut balances: BTreeMap<i64, i64> = (0..ACCOUNTS).map(|id| (id, BALANCE)).collect();
        for row in numbers(session, ledger).await.expect("the ledger") {
            found.insert((row[0], row[1], row[2]), (row[3], row[4], row[5]));
            *balances.entry(row[3]).or_default() -= row[5];
            *balances.entry(row[4]).or_default() += row[5];
        }
        for (id, transfer) in &self.transfers {
            assert_eq!(found.get(id), Some(transfer), "acknowledged transfer {id:?}");
        }
        for (run, worker, seq) in found.keys().filter(|id| !self.transfers.contains_key(id)) {
            assert_ne!(*run, -1, "a transfer that was rolled back is in the ledger");
            // Committed, and killed before it could say so: the one after the last that was acknowledged.
            let last = *seq == 0 || self.transfers.contains_key(&(*run, *worker, seq - 1));
            assert!(last && !self.transfers.contains_key(&(*run, *worker, seq + 1)), "transfer {run} {worker} {seq}");
        }
        let accounts = numbers(session, "SELECT id, balance FROM accounts ORDER BY id").await.expect("accounts");
        let accounts: BTreeMap<_, _> = accounts.into_iter().map(|row| (row[0], row[1])).collect();
        assert_eq!(accounts, balances, "left: balances, right: what the ledger makes of them");
        assert_eq!(accounts.values().sum::<i64>(), ACCOUNTS * BALANCE, "money was made or lost");
    }

    /// Each table is as it was last acknowledged, or as the statement under way would have made it.
    async fn check_tables(&self, session: &Session) {
        let columns = rows(session, "SELECT table_name, COUNT(*) FROM SYSTEM.COLUMNS GROUP BY table_name").await;
        let columns: BTreeMap<_, _> =
            columns.expect("SYSTEM.COLUMNS").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        for (table, life) in &self.tables {
            let found = match columns.get(table) {
                None => "- -".to_string(),
                Some(columns) => {
                    // The second column holds no NULL: all rows are read to count it.
                    let count = numbers(session, &format!("SELECT COUNT(v) FROM {table}")).await;
                    format!("{} {columns}", count.expect("a count")[0][0])
                }
            };
            let new = || life.done.is_none() && found == "- -";
            let expected = [&life.done, &life.trying].into_iter().flatten().any(|state| *state == found);
            assert!(expected || new(), "table {table} is {found:?}, and should be {life:?}");
        }
    }

    /// What a block has copied is there with its receipts, or neither is.
    async fn check_freight(&self, session: &Session) {
        let counts = "SELECT (SELECT COUNT(v) FROM freight), (SELECT COUNT(v) FROM receipts)";
        let counts = numbers(session, counts).await.expect("freight and receipts").remove(0);
        assert_eq!(counts[0] * RECEIPTS, counts[1] * FREIGHT_ROWS, "rows copied, and receipts for them");
    }

    /// Each clock shows what it was said to show, or one more for each process that was killed before it could say so.
    async fn check_clocks(&mut self, session: &Session) {
        for row in numbers(session, "SELECT id, value FROM clocks").await.expect("clocks") {
            let said = self.clocks.insert(row[0], row[1]).unwrap_or(0);
            let unsaid = row[1] - said;
            assert!((0..=self.runs).contains(&unsaid), "clock {} shows {} and said {said}", row[0], row[1]);
        }
        self.runs = 0;
    }

    /// Drops what the runs so far have left, so that a check takes no longer than the one before.
    async fn tidy(&mut self) {
        let database = shards::open(&self.directory());
        let session = Session::new(&database, "tidy");
        let pile_max = if self.jobs.expected { MOVED_PILE_MAX } else { PILE_MAX };
        let kept = ["accounts", "ledger", "clocks", "pile", "freight", "receipts", "n"];
        for row in rows(&session, "QUERY SYSTEM.TABLES SELECT table_name, row_count").await.expect("SYSTEM.TABLES") {
            if !kept.contains(&row[0].as_str()) {
                rows(&session, &format!("DROP TABLE {}", row[0])).await.expect("DROP TABLE");
            } else if row[0] == "pile" && number(Some(row[1].as_str())) > pile_max {
                rows(&session, "TRUNCATE pile").await.expect("TRUNCATE");
            } else if row[0] == "freight" {
                rows(&session, "TRUNCATE freight, receipts").await.expect("TRUNCATE");
            }
        }
        self.tables.clear();
        drop(session);
        close(database);
    }

    /// How often a start found commits that only the commit log had.
    pub async fn replays(&self) -> i64 {
        let database = shards::open(&self.directory());
        let session = Session::new(&database, "events");
        let events = "SELECT COUNT(*) FROM SYSTEM.EVENTS WHERE kind = 'recovery' AND subject = 'commit log'";
        let count = numbers(&session, events).await.expect("events")[0][0];
        drop(session);
        close(database);
        count
    }

    /// Whether run `run` had the database open before it ended.
    pub fn had_opened(&self, run: i64) -> bool {
        self.opened == Some(run)
    }

    /// How many transfers were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.transfers.len()
    }
}
