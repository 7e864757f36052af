//! Durable updates of single rows by a prepared statement: eight sessions at once, each waits for the disk before its
//! next. Every row that was reported as updated must be.

use super::Work;
use crate::bench::{Bench, say_run};
use crate::evenkeel::Evenkeel;
use crate::figures::{Measured, Samples, Target, Unit};
use crate::random::Random;
use anyhow::{Context, ensure};
use evenkeel_engine::{ScalarValue, Session};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_postgres::Client;

const SESSIONS: u64 = 8;
const ACCOUNTS: usize = 10_000;
const RUN: Duration = Duration::from_secs(2);
const TABLE: &str = "CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)";
const FILL: &str = "INSERT INTO accounts SELECT i, 0 FROM generate_series(1, 10000) AS g(i)";
const SUM: &str = "SELECT CAST(sum(balance) AS BIGINT) FROM accounts";

/// Measures it.
///
/// # Errors
/// When a contestant complains or updates are missing.
pub async fn measure(bench: &mut Bench) -> anyhow::Result<Measured> {
    let evenkeel = Evenkeel::create(&bench.path().join("accounts"))?;
    evenkeel.execute(TABLE).await?;
    evenkeel.execute(FILL).await?;
    let mut clients = Vec::new();
    if let Some(server) = &bench.server {
        for _ in 0..SESSIONS {
            clients.push(server.connect().await?);
        }
        clients[0].batch_execute(&format!("{TABLE}; {FILL}")).await?;
        clients[0].batch_execute("VACUUM (ANALYZE) accounts").await?;
    }
    let mut samples = Samples::default();
    let (mut by_evenkeel, mut by_postgres) = (0, 0);
    for run in 0..bench.about.runs {
        let (updates, rate) = evenkeel_run(&evenkeel, run).await?;
        by_evenkeel += updates;
        samples.evenkeel.push(rate);
        let mut said = format!("Evenkeel {rate:.0}/s");
        if !clients.is_empty() {
            let (updates, rate) = postgres_run(&mut clients, run).await?;
            by_postgres += updates;
            samples.postgres.push(rate);
            said.push_str(&format!(", PostgreSQL {rate:.0}/s"));
        }
        say_run(run, &said);
    }
    let sum = evenkeel.number(SUM).await? as u64;
    ensure!(sum == by_evenkeel, "Evenkeel acknowledged {by_evenkeel} updates and has {sum}");
    if let Some(client) = clients.first() {
        let sum = client.query_one(SUM, &[]).await?.get::<_, i64>(0) as u64;
        ensure!(sum == by_postgres, "PostgreSQL acknowledged {by_postgres} updates and has {sum}");
        client.batch_execute("DROP TABLE accounts").await?;
    }
    Ok(Work::Update.report(Unit::PerSecond, samples, vec![Target::Postgres(1.5)]))
}

/// Ids for one session in one run: both contestants get the same.
fn ids(session: u64, run: usize) -> Random {
    Random::of(1 + session + run as u64 * SESSIONS)
}

async fn evenkeel_run(evenkeel: &Evenkeel, run: usize) -> anyhow::Result<(u64, f64)> {
    let mut sessions = JoinSet::new();
    let since = Instant::now();
    for number in 0..SESSIONS {
        sessions.spawn(update_evenkeel(evenkeel.another_session(), ids(number, run), since + RUN));
    }
    let mut updates = 0;
    while let Some(session) = sessions.join_next().await {
        updates += session??;
    }
    Ok((updates, updates as f64 / since.elapsed().as_secs_f64()))
}

async fn update_evenkeel(session: Session, mut ids: Random, until: Instant) -> anyhow::Result<u64> {
    let statement = session.prepare_update("UPDATE accounts SET balance = balance + 1 WHERE id = $1")?;
    let mut updates = 0;
    while Instant::now() < until {
        let id = 1 + ids.below(ACCOUNTS) as i64;
        let rows = statement.execute(&[ScalarValue::Int64(Some(id))]).await.with_context(|| format!("account {id}"))?;
        ensure!(rows == 1, "account {id}: {rows} rows");
        updates += 1;
    }
    Ok(updates)
}

async fn postgres_run(clients: &mut Vec<Client>, run: usize) -> anyhow::Result<(u64, f64)> {
    let mut sessions = JoinSet::new();
    let since = Instant::now();
    for (number, client) in clients.drain(..).enumerate() {
        sessions.spawn(update_postgres(client, ids(number as u64, run), since + RUN));
    }
    let mut updates = 0;
    while let Some(session) = sessions.join_next().await {
        let (client, done) = session??;
        clients.push(client);
        updates += done;
    }
    Ok((updates, updates as f64 / since.elapsed().as_secs_f64()))
}

async fn update_postgres(client: Client, mut ids: Random, until: Instant) -> anyhow::Result<(Client, u64)> {
    let statement = client.prepare("UPDATE accounts SET balance = balance + 1 WHERE id = $1").await?;
    let mut updates = 0;
    while Instant::now() < until {
        let id = 1 + ids.below(ACCOUNTS) as i64;
        let rows = client.execute(&statement, &[&id]).await.with_context(|| format!("account {id}"))?;
        ensure!(rows == 1, "account {id}: {rows} rows");
        updates += 1;
    }
    Ok((client, updates))
}
