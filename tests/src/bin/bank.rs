//! A bank that is meant to be killed: transfers, loads and changes of tables, each reported once it was acknowledged.
//!
//! `bank DIRECTORY RUN SEED SYNCHRONOUS_COMMIT ROWS.csv` works on a database that has the tables `accounts`, `ledger`,
//! `clocks`, `pile`, `freight`, `receipts` and `n`, until it is killed or a statement fails in a way it may not. With the word `moves` behind it
//! slots move meanwhile; with `moves PHASE before|after TURN` it ends itself by SIGKILL when a migration enters that phase.
//! Lines on standard output:
//!
//! ```text
//! ready                                       the database is open
//! transfer WORKER SEQ SOURCE TARGET AMOUNT    committed, with its row in the ledger under RUN, WORKER, SEQ
//! trying freight ROWS COLUMNS                 about to commit a block that copies rows and writes receipts for them
//! tick CLOCK VALUE                            the clock shows the value: a commit to one row
//! trying TABLE ROWS COLUMNS                   about to make the table so (- - : no such table)
//! done TABLE ROWS COLUMNS                     the table is so
//! job NUMBER                                  a job was started
//! phase MIGRATION PHASE                       the record of the phase was kept
//! error …                                     what may not happen; the process ends
//! ```

#[path = "../../tests/storage/client.rs"]
mod client;
#[path = "bank/moment.rs"]
mod moment;
#[path = "bank/moves.rs"]
mod moves;

use client::{numbers, rows};
use evenkeel_engine::{Database, OpenOptions, Session};
use evenkeel_model::{Error, Result};
use moment::{Aim, Moment};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const WORKERS: u64 = 4;
/// Where slots move, scans run too.
const MOVED_WORKERS: u64 = 2;
const CLOCKS: i64 = 2;
const ACCOUNTS: i64 = 64;
/// Rows of the file that is loaded.
const FILE_ROWS: i64 = 2_000;
/// Rows of the file that is copied in blocks, together more than a block keeps as writes, and receipts for it.
const FREIGHT_ROWS: i64 = 45;
const RECEIPTS: i64 = 3;
/// Rows of an INSERT … SELECT: more than a transaction buffers, so that it goes through sorted files.
const SELECTED_ROWS: i64 = 120 * 200;
/// Between two loads where slots move: they stay where they are during a load.
const LOADS_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Bank {
    database: Arc<Database>,
    run: i64,
    seed: u64,
    durability: String,
    file: PathBuf,
    moves: bool,
    aim: Aim,
}

fn say(line: &str) {
    // The parent has gone: nobody is there to be told.
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        std::process::exit(3);
    }
}

impl Bank {
    async fn session(&self, name: &str) -> Result<Session> {
        let session = Session::new(&self.database, name);
        rows(&session, &format!("SET synchronous_commit = {}", self.durability)).await?;
        Ok(session)
    }

    /// One transfer in a transaction block; `false` when it conflicted with another.
    async fn transfer(&self, session: &Session, statements: &[String]) -> Result<bool> {
        for statement in statements {
            match rows(session, statement).await {
                Ok(_) => {}
                Err(error) if error.is_retryable() => {
                    rows(session, "ROLLBACK").await?;
                    return Ok(false);
                }
                Err(error) => return Err(Error { message: format!("{statement}: {}", error.message), ..error }),
            }
        }
        Ok(true)
    }

    async fn work(self, worker: u64) -> Result<()> {
        let session = self.session("worker").await?;
        let mut random = StdRng::seed_from_u64(self.seed ^ (worker << 32));
        for seq in 0.. {
            loop {
                let source = random.random_range(0..ACCOUNTS);
                let target = (source + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
                let amount = random.random_range(1..50);
                let keep = random.random_bool(0.9);
                // What is rolled back is booked under run -1, where nothing may ever be found.
                let run = if keep { self.run } else { -1 };
                let statements = [
                    "BEGIN".to_string(),
                    format!("UPDATE accounts SET balance = balance - {amount} WHERE id = {source}"),
                    format!("UPDATE accounts SET balance = balance + {amount} WHERE id = {target}"),
                    format!("INSERT INTO ledger VALUES ({run}, {worker}, {seq}, {source}, {target}, {amount})"),
                    if keep { "COMMIT" } else { "ROLLBACK" }.to_string(),
                ];
                if self.transfer(&session, &statements).await? && keep {
                    say(&format!("transfer {worker} {seq} {source} {target} {amount}"));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Counts on, one row and one commit at a time.
    async fn tick(self, clock: i64) -> Result<()> {
        let session = self.session("clock").await?;
        let shown = format!("SELECT value FROM clocks WHERE id = {clock}");
        let mut value = numbers(&session, &shown).await?[0][0];
        loop {
            value += 1;
            rows(&session, &format!("UPDATE clocks SET value = value + 1 WHERE id = {clock}")).await?;
            say(&format!("tick {clock} {value}"));
        }
    }

    /// One step in the life of a table.
    async fn step(&self, session: &Session, table: &str, state: &str, statement: &str) -> Result<()> {
        say(&format!("trying {table} {state}"));
        let done = rows(session, statement).await;
        done.map_err(|error| Error { message: format!("{statement}: {}", error.message), ..error })?;
        say(&format!("done {table} {state}"));
        Ok(())
    }

    async fn define(self) -> Result<()> {
        let session = self.session("definitions").await?;
        let file = self.file.display();
        for number in 0.. {
            let table = format!("d_{}_{number}", self.run);
            let values: Vec<_> = (0..50).map(|key| format!("({key}, 'row {key}')")).collect();
            let create = format!("CREATE TABLE {table} (k BIGINT PRIMARY KEY, v TEXT)");
            self.step(&session, &table, "0 2", &create).await?;
            let insert = format!("INSERT INTO {table} VALUES {}", values.join(", "));
            self.step(&session, &table, "50 2", &insert).await?;
            self.step(&session, &table, "50 3", &format!("ALTER TABLE {table} ADD COLUMN extra BIGINT DEFAULT 7"))
                .await?;
            let copied = format!("c_{}_{number}", self.run);
            self.step(&session, &copied, "50 3", &format!("CREATE TABLE {copied} AS QUERY {table}")).await?;
            self.step(&session, &table, "25 3", &format!("DELETE FROM {table} WHERE k % 2 = 0")).await?;
            self.step(&session, &table, "0 3", &format!("TRUNCATE {table}")).await?;
            let copy = format!("COPY {table} (k, v) FROM '{file}'");
            self.step(&session, &table, &format!("{FILE_ROWS} 3"), &copy).await?;
            self.step(&session, &copied, "- -", &format!("DROP TABLE {copied}")).await?;
            if number % 2 == 1 {
                self.step(&session, &table, "- -", &format!("DROP TABLE {table}")).await?;
            }
        }
        Ok(())
    }

    /// Copies in blocks that write something else, too.
    async fn ship(self) -> Result<()> {
        let session = self.session("freight").await?;
        let file = self.file.with_file_name("freight.csv");
        let mut first = numbers(&session, "SELECT COUNT(v) FROM receipts").await?[0][0];
        say(&format!("done freight {} 2", first / RECEIPTS * FREIGHT_ROWS));
        loop {
            let receipts: Vec<_> = (first..first + RECEIPTS).map(|id| format!("({id}, {id})")).collect();
            first += RECEIPTS;
            rows(&session, "BEGIN").await?;
            rows(&session, &format!("INSERT INTO receipts VALUES {}", receipts.join(", "))).await?;
            rows(&session, &format!("COPY freight FROM '{}'", file.display())).await?;
            self.step(&session, "freight", &format!("{} 2", first / RECEIPTS * FREIGHT_ROWS), "COMMIT").await?;
            tokio::time::sleep(LOADS_PAUSE).await;
        }
    }

    async fn load(self) -> Result<()> {
        let session = self.session("loads").await?;
        let count = numbers(&session, "SELECT COUNT(k) FROM pile").await?;
        let mut rows = count.first().and_then(|row| row.first()).copied().unwrap_or(0);
        say(&format!("done pile {rows} 2"));
        for number in 0.. {
            for _ in 0..4 {
                rows += FILE_ROWS;
                let copy = format!("COPY pile FROM '{}'", self.file.display());
                self.step(&session, "pile", &format!("{rows} 2"), &copy).await?;
                if self.moves {
                    tokio::time::sleep(LOADS_PAUSE).await;
                }
            }
            if self.moves {
                continue;
            }
            let table = format!("s_{}_{number}", self.run);
            let create = format!("CREATE TABLE {table} (k BIGINT PRIMARY KEY, v TEXT)");
            self.step(&session, &table, "0 2", &create).await?;
            let insert = format!(
                "INSERT INTO {table} SELECT a.n * 200 + b.n, 'selected' FROM n AS a CROSS JOIN n AS b WHERE a.n < 120"
            );
            self.step(&session, &table, &format!("{SELECTED_ROWS} 2"), &insert).await?;
        }
        Ok(())
    }
}

async fn run() -> Result<()> {
    let usage =
        || Error::internal("bank DIRECTORY RUN SEED SYNCHRONOUS_COMMIT ROWS.csv [moves [PHASE before|after TURN]]");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, run, seed, durability, file, more @ ..] = arguments.as_slice() else { return Err(usage()) };
    let (moves, moment) = match more {
        [] => (false, None),
        [word] if word == "moves" => (true, None),
        [word, moment @ ..] if word == "moves" => (true, Some(Moment::read(moment).ok_or_else(usage)?)),
        _ => return Err(usage()),
    };
    let aim = moment.as_ref().map_or(Aim::Anything, Moment::aim);
    let options = OpenOptions { on_phase: moves.then(|| moment::hook(moment)), ..OpenOptions::default() };
    let bank = Bank {
        database: Database::open(&PathBuf::from(directory), &options)?,
        run: run.parse().map_err(|_| usage())?,
        seed: seed.parse().map_err(|_| usage())?,
        durability: durability.clone(),
        file: PathBuf::from(file),
        moves,
        aim,
    };
    say("ready");
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..if moves { MOVED_WORKERS } else { WORKERS } {
        tasks.spawn(bank.clone().work(worker));
    }
    for clock in 0..CLOCKS {
        tasks.spawn(bank.clone().tick(clock));
    }
    // A migration that begins while rows of a dropped table are being removed turns back, and its job fails.
    if !moves {
        tasks.spawn(bank.clone().define());
    }
    tasks.spawn(bank.clone().load());
    tasks.spawn(bank.clone().ship());
    if moves {
        tasks.spawn(bank.clone().shift());
        tasks.spawn(bank.clone().scan());
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Error::internal(error.to_string()))??;
    }
    Ok(())
}

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        say(&format!("error {} {error} {}", error.state.code(), error.detail.as_deref().unwrap_or_default()));
        std::process::exit(1);
    }
}
