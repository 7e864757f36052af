//! A migration of all rows at full speed, with and without a foreground, and beside it what RocksDB itself needs to copy
//! the same rows: iterator, sorted files, ingestion, on one thread.
//!
//! What counts for a migration is the time from the statement until the target serves the rows, which includes the cutover.
//! Comparing the two copies and dropping the old one come after that, and are told apart.

use super::finding::{Finding, Outcome, Target, Unit};
use super::load::Load;
use super::slowdown::{Course, felt};
use super::{Bench, Sizes, Work};
use crate::bench::say_run;
use crate::raw;
use anyhow::ensure;
use std::time::Instant;

const IDLE_RATE: f64 = 500_000.0;
const LOADED_RATE: f64 = 100_000.0;
const SHARE_OF_RAW_PERCENT: f64 = 40.0;

/// Without a foreground, beside the raw copy.
///
/// # Errors
/// When a statement or the disk fails.
pub async fn alone(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let runs = bench.sizes.runs;
    let directory = bench.path().to_path_buf();
    let (mut rates, mut raws, mut shares, mut with_comparison) = (vec![], vec![], vec![], vec![]);
    let mut row_bytes = 0.0;
    for run in 0..runs {
        let (source, target) = bench.moving_ends();
        let stage = bench.moving().await?;
        stage.throttle(false).await?;
        let moved = stage.move_all(source, target).await?;
        // Where the rows are now they are in files and in memory: the copy gets the best of it.
        let shard = stage.evenkeel.session().database().directory().join("shards").join(target.to_string());
        let began = Instant::now();
        let rows = raw::copy_once(&shard, &directory.join("raw"))?;
        let raw_rate = rows as f64 / began.elapsed().as_secs_f64();
        ensure!(rows == stage.rows as u64, "raw RocksDB copied {rows} rows of {}", stage.rows);
        bench.moved_to(target);
        let rate = moved.rows / moved.served_seconds;
        say_run(run, &format!("{rate:.0} rows/s until served, raw copy {raw_rate:.0} rows/s"));
        rates.push(rate);
        raws.push(raw_rate);
        shares.push(rate / raw_rate * 100.0);
        with_comparison.push(moved.rows / moved.over_seconds);
        row_bytes = moved.bytes / moved.rows;
    }
    let mut outcome = Outcome::new(Work::Migrate);
    outcome.findings = vec![
        Finding::of("until the target serves", Unit::RowsPerSecond, rates).should(Target::AtLeast(IDLE_RATE)),
        Finding::of("share of a raw copy", Unit::Percent, shares).should(Target::AtLeast(SHARE_OF_RAW_PERCENT)),
        Finding::of("raw RocksDB: iterate, write, ingest", Unit::RowsPerSecond, raws),
        Finding::of("with comparing and dropping", Unit::RowsPerSecond, with_comparison),
    ];
    outcome.notes.push(format!("a row is {row_bytes:.0} bytes of key and value"));
    Ok(outcome)
}

/// Under the foreground at its fullest.
///
/// # Errors
/// When a statement fails, or a row or update is missing.
pub async fn loaded(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let Sizes { runs, window: calm, limit, .. } = bench.sizes;
    let course = Course { calm, between: 0.0, pieces: 1, limit };
    let traffic = bench.traffic;
    let mut outcome = Outcome::new(Work::Loaded);
    let (mut rates, mut failed) = (Vec::new(), 0);
    for run in 0..runs {
        let (source, target) = bench.moving_ends();
        let stage = bench.moving().await?;
        stage.throttle(false).await?;
        let load = Load::start(&stage.evenkeel, traffic, stage.rows)?;
        let felt = felt(stage, load, course, (source, target)).await?;
        bench.moved_to(target);
        say_run(run, &format!("{:.0} rows/s until served", felt.rate));
        rates.push(felt.rate);
        failed += felt.record.failed();
        bench.acknowledged += felt.record.acknowledged();
        outcome.notes.extend(felt.errors());
        if run == 0 {
            outcome.periods = felt.periods();
            outcome.timeline = Some(felt.timeline());
        }
    }
    outcome.findings = vec![
        Finding::of("until the target serves", Unit::RowsPerSecond, rates).should(Target::AtLeast(LOADED_RATE)),
        Finding::of("errors that clients saw", Unit::Count, vec![failed as f64]).should(Target::None),
    ];
    let acknowledged = bench.acknowledged;
    outcome.notes.push(bench.moving().await?.check(acknowledged, failed).await?);
    Ok(outcome)
}
