//! The demo's second part: one shard gets most of the rows and most of the traffic, the balancer says what it would do and why,
//! and does it while sessions go on reading and writing. Then everything is counted.

use super::traffic::{FELT_TABLE_HEADER, Traffic, felt};
use super::{echo, say, step};
use anyhow::{Context, ensure};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use evenkeel_benches::rebalance::thousands;
use evenkeel_engine::{Database, Event, Session};
use evenkeel_shell::{Outcome, Shell};
use futures::StreamExt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

const CUSTOMERS: i64 = 2_000;
/// Its customers are the busy ones.
const BUSY_SHARD: i64 = 2;
/// Sessions work this long before anything moves: the balancer goes by its last ten measurements, and what else was done
/// before would make it take the traffic for another.
const MEASURED: Duration = Duration::from_secs(11);
/// And this long after.
const CALM: Duration = Duration::from_secs(4);
const COUNT: &str = "SELECT count(*) AS bookings FROM bookings;";
const SHARDS: &str = "QUERY SYSTEM.SHARDS SELECT shard_id, slots, row_count, storage_bytes, ROUND(qps) AS qps \
                      ORDER BY shard_id;";

/// Shows it.
///
/// # Errors
/// When a session fails, or something was lost.
pub async fn show(shell: &mut Shell, database: &Arc<Database>) -> anyhow::Result<Outcome> {
    let session = Session::new(database, "evenkeel demo");
    let text = "Now for some imbalance. Bookings are sharded by customer, and the customers of shard 2 get busy: ten times \
                the bookings of the others, and most of the traffic.";
    let outcome = step(
        shell,
        text,
        &["CREATE TABLE bookings (customer BIGINT NOT NULL, id BIGINT NOT NULL, fare BIGINT NOT NULL,\n\
           PRIMARY KEY (customer, id)) SHARD BY (customer);"],
    )
    .await?;
    if outcome != Outcome::Succeeded {
        return Ok(outcome);
    }
    let busy = customers(&session).await?;
    let fill = "INSERT INTO bookings SELECT customer, n, 50 + (customer * n) % 900\n\
                FROM customers CROSS JOIN generate_series(1, 400) AS g(n) WHERE busy OR n <= 40;";
    let measure = "ALTER SYSTEM SET load_collection_interval = '1s';";
    for statement in [fill, measure] {
        echo(statement)?;
        let outcome = shell.run_script(statement, "demo").await;
        if outcome != Outcome::Succeeded {
            return Ok(outcome);
        }
    }
    let before = count(&session).await?;
    let traffic = Traffic::start(database, &busy, CUSTOMERS)?;
    say(
        "Sessions begin to read, change and make bookings, and don't stop until the end. The balancer goes by its last ten \
         measurements; after ten seconds:",
    )?;
    tokio::time::sleep(MEASURED).await;
    let moving = traffic.now();
    let outcome = rebalance(shell).await?;
    if outcome != Outcome::Succeeded {
        return Ok(outcome);
    }
    let over = traffic.now();
    tokio::time::sleep(CALM).await;
    let ended = traffic.now();
    let text = "The shards are even, and so is the traffic. What each move did, and for how long it held writes back:";
    let moves = "QUERY SYSTEM.REBALANCE_STATUS\n\
                 SELECT migration_id, source_shard, target_shard, phase, slots, rows_migrated, cutover_ms\n\
                 ORDER BY migration_id;";
    let outcome = step(shell, text, &[SHARDS, moves]).await?;
    if outcome != Outcome::Succeeded {
        return Ok(outcome);
    }
    let done = traffic.stop()?;
    say("What the sessions felt of it:")?;
    let mut out = std::io::stdout();
    writeln!(out, "{FELT_TABLE_HEADER}")?;
    for (name, from, to) in [("before", 0.0, moving), ("meanwhile", moving, over), ("after", over, ended)] {
        writeln!(out, "{}", felt(name, &done.record.window(&[(from, to)])))?;
    }
    for (error, times) in done.record.errors() {
        writeln!(out, "{times} requests failed: {error}")?;
    }
    say("And nothing was lost:")?;
    echo(COUNT)?;
    let outcome = shell.run_script(COUNT, "demo").await;
    let after = count(&session).await?;
    let number = |count: i64| thousands(count as f64);
    let sum = format!("{} before + {} made meanwhile = {}", number(before), number(done.made), number(after));
    ensure!(after == before + done.made, "bookings are missing: not {sum}");
    say(&sum)?;
    Ok(outcome)
}

/// The state of things, the plan and its reasons, the job.
async fn rebalance(shell: &mut Shell) -> anyhow::Result<Outcome> {
    echo(SHARDS)?;
    let outcome = shell.run_script(SHARDS, "demo").await;
    if outcome != Outcome::Succeeded {
        return Ok(outcome);
    }
    let why = "Shard 2 is large and hot. What would the balancer do, and why?";
    let outcome = step(shell, why, &["EXPLAIN REBALANCE SHARDS;"]).await?;
    if outcome != Outcome::Succeeded {
        return Ok(outcome);
    }
    let go = "Do it, while the sessions go on. On a terminal every move has its bar.";
    step(shell, go, &["REBALANCE SHARDS;", "WAIT FOR JOB LAST;"]).await
}

/// Makes customers; those of one shard are busy. Returns these.
async fn customers(session: &Session) -> anyhow::Result<Vec<i64>> {
    run(session, "CREATE TABLE customers (customer BIGINT PRIMARY KEY, busy BOOLEAN NOT NULL)").await?;
    let mut busy = Vec::new();
    let mut rows = Vec::new();
    for customer in 1..=CUSTOMERS {
        let is_busy = number(session, &format!("LOCATE bookings KEY ({customer}, 1)"), "shard_id").await? == BUSY_SHARD;
        rows.push(format!("({customer}, {is_busy})"));
        busy.extend(is_busy.then_some(customer));
    }
    run(session, &format!("INSERT INTO customers VALUES {}", rows.join(", "))).await?;
    ensure!(!busy.is_empty(), "shard {BUSY_SHARD} has no customers");
    Ok(busy)
}

async fn count(session: &Session) -> anyhow::Result<i64> {
    number(session, COUNT.trim_end_matches(';'), "bookings").await
}

/// Runs a statement for its effect.
async fn run(session: &Session, statement: &str) -> anyhow::Result<()> {
    let mut answer = session.execute(statement, &[]);
    while let Some(event) = answer.next().await {
        event?;
    }
    Ok(())
}

/// One number of a statement's single row.
async fn number(session: &Session, statement: &str, column: &str) -> anyhow::Result<i64> {
    let mut answer = session.execute(statement, &[]);
    let mut number = None;
    while let Some(event) = answer.next().await {
        if let Event::Batch(batch) = event? {
            let values =
                batch.column_by_name(column).and_then(|values| values.as_primitive_opt::<Int64Type>().cloned());
            number = values.filter(|values| values.len() == 1).map(|values| values.value(0)).or(number);
        }
    }
    number.with_context(|| format!("{statement} has no {column}"))
}
