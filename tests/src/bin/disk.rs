//! Opens a database and holds it, or writes until the disk has no room left.
//!
//! `disk DIRECTORY hold` says `open` and keeps the database open until standard input ends. `disk DIRECTORY insert` and
//! `disk DIRECTORY load ROWS.csv` say `done N` for each acknowledged batch, `failed SQLSTATE MESSAGE` for the first
//! statement that fails, `after SQLSTATE|ok STATEMENT` for what is tried after that, and `end`.

#[path = "../../tests/storage/client.rs"]
mod client;

use client::{numbers, rows};
use evenkeel_engine::{Database, OpenOptions, Session};
use evenkeel_model::{Error, Result};
use std::io::{Read, Write};
use std::path::PathBuf;

/// Rows of a batch of `insert`, over all shards.
const BATCH: i64 = 8;
/// Characters in each of its rows.
const ROW_CHARS: usize = 4_000;
/// Batches after which a disk that still takes more is no full disk.
const BATCHES_MAX: i64 = 20_000;

fn say(line: &str) {
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        std::process::exit(3);
    }
}

fn batch(number: i64) -> String {
    let text = "x".repeat(ROW_CHARS);
    let values: Vec<_> = (0..BATCH).map(|row| format!("({}, {number}, '{text}')", number * BATCH + row)).collect();
    format!("INSERT INTO t VALUES {}", values.join(", "))
}

async fn fill(session: &Session, file: Option<&str>) -> Result<()> {
    let copy = file.map(|file| format!("COPY pile FROM '{file}'"));
    let first = numbers(session, "SELECT MAX(batch) FROM t").await?;
    let first = first.first().and_then(|row| row.first()).copied().unwrap_or(0) + 1;
    for number in first..first + BATCHES_MAX {
        let statement = copy.clone().unwrap_or_else(|| batch(number));
        match rows(session, &statement).await {
            Ok(_) => say(&format!("done {number}")),
            Err(error) => {
                say(&format!("failed {} {error}", error.state.code()));
                break;
            }
        }
    }
    let pile = file.map_or_else(|| "TRUNCATE pile".to_string(), |file| format!("COPY pile FROM '{file}'"));
    let after = [
        batch(first + BATCHES_MAX),
        format!("INSERT INTO t VALUES (-1, -1, '{}')", "y".repeat(ROW_CHARS)),
        pile,
        "CREATE TABLE another AS QUERY t".to_string(),
        "SELECT COUNT(v) FROM t".to_string(),
    ];
    for statement in after {
        let outcome = rows(session, &statement).await;
        let outcome = outcome.map_or_else(|error| error.state.code(), |_| "ok");
        say(&format!("after {outcome} {}", statement.get(..20).unwrap_or(&statement)));
    }
    say("end");
    Ok(())
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(directory), Some(what)) = (arguments.first(), arguments.get(1)) else {
        return Err(Error::internal("disk DIRECTORY hold|insert|load [ROWS.csv]"));
    };
    let database = Database::open(&PathBuf::from(directory), &OpenOptions::default())?;
    let session = Session::new(&database, "disk");
    if what == "hold" {
        say("open");
        // Ends with the parent's end of the pipe, whether it closes it or dies.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        return Ok(());
    }
    fill(&session, arguments.get(2).map(String::as_str)).await
}

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        say(&format!("error {} {error}", error.state.code()));
        std::process::exit(1);
    }
}
