//! An aggregate over all flights, everything in memory. PostgreSQL runs it on as many cores as it likes to; bare
//! RocksDB only reads the same keys and values, on as many threads as there are cores.

use super::Work;
use crate::bench::{Bench, say_run};
use crate::evenkeel::Evenkeel;
use crate::figures::{Measured, Samples, Target, Unit};
use crate::raw::Raw;
use anyhow::ensure;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use std::time::Instant;
use tokio_postgres::Client;

const QUERY: &str = "SELECT carrier, count(*), avg(dep_delay) FROM flights GROUP BY carrier";

/// Measures it.
///
/// # Errors
/// When a contestant complains or counts wrongly.
pub async fn measure(bench: &mut Bench) -> anyhow::Result<Measured> {
    bench.loaded().await?;
    let directory = bench.path().to_path_buf();
    let (runs, threads, rows) = (bench.about.runs, bench.about.cores, bench.flights.rows());
    bench.flights.raw(&directory)?;
    let mut samples = Samples::default();
    // The first round brings everything into memory and does not count.
    for round in 0..=runs {
        let evenkeel = evenkeel(bench.flights.evenkeel()?, rows).await?;
        let postgres = match bench.flights.postgres() {
            Some(client) => Some(postgres(client, rows).await?),
            None => None,
        };
        let raw = raw(bench.flights.raw(&directory)?, threads, rows)?;
        let Some(run) = round.checked_sub(1) else { continue };
        samples.evenkeel.push(evenkeel);
        samples.postgres.extend(postgres);
        samples.raw.push(raw);
        let postgres = postgres.map_or_else(String::new, |seconds| format!(", PostgreSQL {seconds:.3} s"));
        say_run(run, &format!("Evenkeel {evenkeel:.3} s{postgres}, raw RocksDB {raw:.3} s"));
    }
    Ok(Work::Scan.report(Unit::Seconds, samples, vec![Target::Postgres(2.0), Target::Raw(0.4)]))
}

async fn evenkeel(evenkeel: &Evenkeel, rows: u64) -> anyhow::Result<f64> {
    let since = Instant::now();
    let batches = evenkeel.query(QUERY).await?;
    let seconds = since.elapsed().as_secs_f64();
    let counts = batches.iter().filter_map(|batch| batch.column(1).as_primitive_opt::<Int64Type>());
    let counted: i64 = counts.flat_map(|counts| counts.values().iter()).sum();
    ensure!(counted as u64 == rows, "Evenkeel counted {counted} flights of {rows}");
    Ok(seconds)
}

async fn postgres(client: &Client, rows: u64) -> anyhow::Result<f64> {
    let since = Instant::now();
    let answer = client.query(QUERY, &[]).await?;
    let seconds = since.elapsed().as_secs_f64();
    let counted: i64 = answer.iter().map(|row| row.get::<_, i64>(1)).sum();
    ensure!(counted as u64 == rows, "PostgreSQL counted {counted} flights of {rows}");
    Ok(seconds)
}

fn raw(raw: &Raw, threads: usize, rows: u64) -> anyhow::Result<f64> {
    let since = Instant::now();
    let (read, bytes) = raw.iterate(threads)?;
    let seconds = since.elapsed().as_secs_f64();
    ensure!(read == rows && bytes > 0, "RocksDB read {read} flights of {rows}");
    Ok(seconds)
}
