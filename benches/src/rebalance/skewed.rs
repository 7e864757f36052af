//! REBALANCE SHARDS of four shards of which one has 80 % of the rows. Afterwards every shard's rows are read and counted.

use super::finding::{Finding, Outcome, Target, Unit, thousands};
use super::plan::least_to_move;
use super::stage::{SLOTS, Stage};
use super::{Bench, Work};
use std::time::Instant;

const SHARDS: u32 = 4;
/// Of the slots of each other shard, so many in a hundred go to the first, which then has 80 of a hundred of all.
const GIVEN_PERCENT: u32 = 73;
const TARGET_IMBALANCE: f64 = 0.05;
const IMBALANCE_PERCENT_MAX: f64 = 100.0 * TARGET_IMBALANCE;

/// Measures it.
///
/// # Errors
/// When a statement or a migration fails, or a row is missing.
pub async fn measure(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let directory = bench.path().join("skewed");
    let stage = Stage::create(&directory, SHARDS, bench.sizes.small_rows).await?;
    stage.throttle(false).await?;
    let each = SLOTS / SHARDS;
    for shard in 2..=SHARDS {
        let from = (shard - 1) * each;
        let to = from + each * GIVEN_PERCENT / 100 - 1;
        stage.evenkeel.execute(&format!("MOVE SLOTS {from} TO {to} FROM SHARD {shard} TO SHARD 1")).await?;
    }
    stage.evenkeel.execute("WAIT FOR JOB ALL").await?;
    let before = stage.rows_by_shard().await?;
    let began = Instant::now();
    let options = format!("strategy = 'rows' AND target_imbalance = {TARGET_IMBALANCE}");
    stage.evenkeel.execute(&format!("REBALANCE SHARDS WITH {options}")).await?;
    stage.evenkeel.execute("WAIT FOR JOB LAST").await?;
    let seconds = began.elapsed().as_secs_f64();
    let after = stage.rows_by_shard().await?;
    let mut outcome = Outcome::new(Work::Skewed);
    let fair = stage.rows as f64 / f64::from(SHARDS);
    let moved: f64 = after.iter().zip(&before).map(|(after, before)| (after - before).max(0) as f64).sum();
    let least = least_to_move(&before.iter().map(|rows| *rows as f64).collect::<Vec<_>>(), TARGET_IMBALANCE);
    outcome.findings = vec![
        Finding::of("furthest from its share, by counting", Unit::Percent, vec![furthest(&after, fair)])
            .should(Target::AtMost(IMBALANCE_PERCENT_MAX)),
        Finding::of("furthest from its share, before", Unit::Percent, vec![furthest(&before, fair)]),
        Finding::of("rows moved ÷ least that had to", Unit::Times, vec![moved / least.max(1.0)]),
        Finding::of("the whole job", Unit::RowsPerSecond, vec![moved / seconds]),
    ];
    let rows = |rows: &[i64]| rows.iter().map(|rows| thousands(*rows as f64)).collect::<Vec<_>>().join(" · ");
    outcome.notes.push(format!("rows of the shards: {} before, {} after", rows(&before), rows(&after)));
    outcome.notes.push(stage.check(0, 0).await?);
    drop(stage);
    std::fs::remove_dir_all(&directory)?;
    Ok(outcome)
}

/// The largest distance from the fair share, in per cent of it.
fn furthest(rows: &[i64], fair: f64) -> f64 {
    rows.iter().map(|rows| (*rows as f64 / fair - 1.0).abs() * 100.0).fold(0.0, f64::max)
}
