//! What counting costs a writer: the exact counts of rows and bytes per slot, and of accesses, on which balance rests.
//!
//! Two databases with the same rows, one of which counts nothing, are updated in turns by the same sessions. What is compared is
//! the processor time of an update, all threads together: unlike the rate it does not hang on what the disk did meanwhile.

use super::finding::{Finding, Outcome, Target, Unit};
use super::load::{Load, Traffic};
use super::stage::Stage;
use super::{Bench, Work};
use anyhow::Context;
use std::time::Duration;

const SHARDS: u32 = 4;
const OVERHEAD_PERCENT_MAX: f64 = 3.0;
/// Turns of each database for every run.
const TURNS: usize = 4;
/// Of what [`processor_seconds`] counts, in a second: Linux' USER_HZ.
const TICKS_PER_SECOND: f64 = 100.0;

/// Measures it.
///
/// # Errors
/// When a statement fails, or the processor time can't be read.
pub async fn measure(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let sizes = bench.sizes;
    let traffic = Traffic { reads: 0, ..bench.traffic };
    let directories = [bench.path().join("counted"), bench.path().join("uncounted")];
    let counted = Stage::create(&directories[0], SHARDS, sizes.small_rows).await?;
    let uncounted = Stage::create_uncounted(&directories[1], SHARDS, sizes.small_rows).await?;
    let turn = Duration::from_secs_f64(sizes.window / 2.0);
    for stage in [&counted, &uncounted] {
        // Caches and memory tables get going.
        update(stage, traffic, turn).await?;
    }
    let (mut times, mut rates, mut each) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS * sizes.runs {
        let with = update(&counted, traffic, turn).await?;
        let without = update(&uncounted, traffic, turn).await?;
        times.push((with.seconds_each / without.seconds_each - 1.0) * 100.0);
        rates.push((1.0 - with.per_second / without.per_second) * 100.0);
        each.push(with.seconds_each * 1e3);
    }
    let mut outcome = Outcome::new(Work::Statistics);
    outcome.findings = vec![
        Finding::of("processor time more", Unit::Percent, times).should(Target::Below(OVERHEAD_PERCENT_MAX)),
        Finding::of("processor time of an update", Unit::Milliseconds, each),
        Finding::of("fewer updates a second", Unit::Percent, rates),
    ];
    let Traffic { sessions, keys, .. } = traffic;
    outcome.notes.push(format!("{sessions} sessions, durable updates only, {} keys", keys.name()));
    drop((counted, uncounted));
    directories.iter().try_for_each(std::fs::remove_dir_all)?;
    Ok(outcome)
}

/// What a turn showed.
struct Turn {
    per_second: f64,
    /// Processor seconds of an update.
    seconds_each: f64,
}

async fn update(stage: &Stage, traffic: Traffic, turn: Duration) -> anyhow::Result<Turn> {
    let began = processor_seconds()?;
    let load = Load::start(&stage.evenkeel, traffic, stage.rows)?;
    tokio::time::sleep(turn).await;
    let record = load.stop()?;
    let updates = record.acknowledged().max(1) as f64;
    Ok(Turn { per_second: updates / turn.as_secs_f64(), seconds_each: (processor_seconds()? - began) / updates })
}

/// Processor time of this process so far, in user mode and in the kernel.
fn processor_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("cannot read this process's times")?;
    // The name of the program is in parentheses, and may have blanks.
    let fields =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).context("no times in /proc/self/stat")?;
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    anyhow::ensure!(ticks.len() == 2, "no times in /proc/self/stat");
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}
