//! `evenkeel demo`: the flights of 2013 in a temporary database, looked at, queried and changed; then a shard gets too much to
//! do, and is relieved of it while everything goes on.

mod balance;
mod traffic;

use crate::embedded::Embedded;
use evenkeel_engine::{Database, OpenOptions};
use evenkeel_shell::connection::Connection;
use evenkeel_shell::{Interrupt, Options, Outcome, Shell, Streams};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

/// The data, as Parquet. See `assets/README.md` for its source and licence.
const FILES: &[(&str, &[u8])] = &[
    ("airlines", include_bytes!("../../assets/airlines.parquet")),
    ("airports", include_bytes!("../../assets/airports.parquet")),
    ("planes", include_bytes!("../../assets/planes.parquet")),
    ("weather", include_bytes!("../../assets/weather.parquet")),
    ("flights", include_bytes!("../../assets/flights.parquet")),
];

const SCHEMA: &str = include_str!("../../assets/schema.pql");

/// What is shown: what it says, and the statements.
const STEPS: &[(&str, &[&str])] = &[
    (
        "Every row's shard follows from a hash of its key, so the rows spread evenly. Counts are exact, not estimates.",
        &["QUERY SYSTEM.SHARDS SELECT shard_id, slots, row_count, storage_bytes ORDER BY shard_id;"],
    ),
    (
        "A pipeline: each operator sees the output of the one before it. Which airlines were late in January?",
        &["QUERY flights\n\
           JOIN airlines ON flights.carrier = airlines.carrier\n\
           WHERE month = 1 AND dep_delay IS NOT NULL\n\
           GROUP BY airlines.name\n\
           COMPUTE n = COUNT(*), late = ROUND(AVG(dep_delay), 1)\n\
           HAVING n > 100\n\
           SELECT name, n, late\n\
           ORDER BY late DESC\n\
           LIMIT 5;"],
    ),
    (
        "Ordinary SQL means the same, and the two may stand inside one another. Does rain delay flights?",
        &["SELECT CASE WHEN w.precip > 0 THEN 'wet' ELSE 'dry' END AS sky, count(*) AS n,\n\
           round(avg(f.dep_delay), 1) AS late\n\
           FROM (QUERY flights WHERE dep_delay IS NOT NULL) AS f\n\
           JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour\n\
           GROUP BY 1 ORDER BY 1;"],
    ),
    (
        "The whole key names one row in one shard; LOCATE says which, EXPLAIN that no other shard is asked.",
        &[
            "LOCATE flights KEY (TIMESTAMPTZ '2013-01-01 10:00:00+00', 'UA', 1545);",
            "EXPLAIN SELECT * FROM flights\n\
             WHERE time_hour = TIMESTAMPTZ '2013-01-01 10:00:00+00' AND carrier = 'UA' AND flight = 1545;",
            "QUERY flights\n\
             WHERE time_hour = TIMESTAMPTZ '2013-01-01 10:00:00+00' AND carrier = 'UA' AND flight = 1545\n\
             SELECT origin, dest, dep_time, dep_delay, tailnum;",
        ],
    ),
    (
        "A transaction over all shards: other sessions see all of it after COMMIT, or nothing.",
        &[
            "BEGIN;",
            "UPDATE flights SET dep_delay = 0 WHERE carrier = 'HA' AND dep_delay < 0;",
            "INSERT INTO airlines {carrier: 'EK', name: 'Evenkeel Air'};",
            "QUERY airlines WHERE carrier = 'EK';",
            "ROLLBACK;",
            "SELECT count(*) AS evenkeel_air FROM airlines WHERE carrier = 'EK';",
        ],
    ),
    (
        "Every setting can be changed while the database runs, and says where its value comes from.",
        &[
            "ALTER SYSTEM SET gc_retention = '1h';",
            "QUERY SYSTEM.SETTINGS WHERE origin = 'ALTER SYSTEM' SELECT name, value, default, description;",
        ],
    ),
];

/// Runs the demo; then opens the prompt on a terminal.
pub async fn run() -> anyhow::Result<i32> {
    let directory = tempfile::Builder::new().prefix("evenkeel-demo-").tempdir()?;
    let database =
        Database::open(&directory.path().join("data"), &OpenOptions { shards: Some(4), ..OpenOptions::default() })?;
    let server = Embedded::new(&database);
    let connection: Arc<dyn Connection> = Arc::new(server.connect("evenkeel demo").await?);
    let code = tour(connection, &database, directory.path()).await;
    server.end().await;
    database.close();
    code
}

async fn tour(connection: Arc<dyn Connection>, database: &Arc<Database>, directory: &Path) -> anyhow::Result<i32> {
    let mut shell =
        Shell::new(Arc::clone(&connection), &Options::default(), Streams::standard(), Interrupt::from_signals());
    say("A new database with 4 shards, in a temporary directory. The flights that left New York City in 2013 go in.")?;
    let mut outcome = load(&mut shell, directory).await?;
    for (text, statements) in STEPS {
        if outcome == Outcome::Succeeded {
            outcome = step(&mut shell, text, statements).await?;
        }
    }
    if outcome == Outcome::Succeeded {
        outcome = balance::show(&mut shell, database).await?;
    }
    if outcome != Outcome::Succeeded {
        return Ok(outcome.exit_code());
    }
    drop(shell);
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        let banner = "\nThat was the demo; the database is yours until you leave.\n\
                      Statements end with ;  \\d lists the tables, \\? helps, \\q leaves.";
        let options = Options { banner: Some(banner.to_string()), history: crate::history(), ..Options::default() };
        return Ok(evenkeel_shell::interactive(connection, options).await);
    }
    say(
        "Done. On a terminal the demo now opens the prompt; `evenkeel shell --data DIR` opens one for a database to keep.",
    )?;
    Ok(0)
}

/// Says something and runs statements, up to the first that fails.
async fn step(shell: &mut Shell, text: &str, statements: &[&str]) -> anyhow::Result<Outcome> {
    say(text)?;
    for statement in statements {
        echo(statement)?;
        let outcome = shell.run_script(statement, "demo").await;
        if outcome != Outcome::Succeeded {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Succeeded)
}

async fn load(shell: &mut Shell, directory: &Path) -> anyhow::Result<Outcome> {
    let outcome = shell.run_script(SCHEMA, "schema.pql").await;
    if outcome != Outcome::Succeeded {
        return Ok(outcome);
    }
    for (table, bytes) in FILES {
        let path = directory.join(format!("{table}.parquet"));
        std::fs::write(&path, bytes)?;
        echo(&format!("COPY {table} FROM '{table}.parquet';"))?;
        let statement = format!("COPY {table} FROM '{}';", path.display().to_string().replace('\'', "''"));
        let outcome = shell.run_script(&statement, "demo").await;
        if outcome != Outcome::Succeeded {
            return Ok(outcome);
        }
        std::fs::remove_file(&path)?;
    }
    Ok(Outcome::Succeeded)
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    if out.is_terminal() { writeln!(out, "\n\x1b[1m{text}\x1b[0m\n") } else { writeln!(out, "\n{text}\n") }
}

fn echo(statement: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    for (at, line) in statement.lines().enumerate() {
        writeln!(out, "evenkeel{} {line}", if at == 0 { "=>" } else { "->" })?;
    }
    out.flush()
}
