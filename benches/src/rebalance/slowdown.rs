//! What the foreground feels of a migration with the settings as they are by default: windows of equal length while it goes
//! on, and before and after it.
//!
//! A foreground that updates rows as fast as it can is not the same after half a minute: versions pile up, memory tables
//! fill and are written. Compared with before alone, a migration would be charged with that, too; so each window of it is
//! compared with the line from before to after.
//!
//! What is left of that, and of a machine that has other things to do, is measured too: afterwards the same load runs for
//! windows in which nothing moves, and the same comparison is made with them. What it finds is no slowdown.

use super::finding::{Finding, Outcome, Period, Target, Timeline, Unit};
use super::load::{Load, Record};
use super::stage::{Moved, Stage};
use super::{Bench, Sizes, Work};
use crate::bench::say_run;
use crate::figures::Figure;
use std::time::Duration;

const SLOWER_PERCENT_MAX: f64 = 5.0;
const P99_PERCENT_MAX: f64 = 25.0;
/// Sessions get going before anything is measured.
const WARM_UP: f64 = 10.0;
/// Windows between the two calms of a load under which nothing moves.
const CONTROL_WINDOWS: f64 = 3.0;
/// A point in the charts.
const SLICE: f64 = 0.25;

/// A migration as the foreground felt it.
pub struct Felt {
    pub record: Record,
    pub moved: Moved,
    /// It did not end by itself in time: what is compared ends where the throttle was switched off.
    pub was_hurried: bool,
    /// When the calm began, the migration began, it was over or hurried, the second calm began and ended.
    moments: [f64; 5],
}

/// Lets a load run, moves everything meanwhile, and lets it run on.
///
/// # Errors
/// When the migration or a session's thread fails.
pub async fn felt(stage: &Stage, load: Load, (calm, limit): (f64, u64), ends: (u32, u32)) -> anyhow::Result<Felt> {
    tokio::time::sleep(Duration::from_secs_f64(WARM_UP)).await;
    let began = load.now();
    tokio::time::sleep(Duration::from_secs_f64(calm)).await;
    let moving = load.now();
    stage.begin_move(ends.0, ends.1).await?;
    let was_hurried = !stage.is_over_within(limit).await?;
    let mut over = load.now();
    if was_hurried {
        stage.throttle(false).await?;
    }
    let moved = stage.end_move().await?;
    let after = load.now();
    if !was_hurried {
        over = after;
    }
    tokio::time::sleep(Duration::from_secs_f64(calm)).await;
    let moments = [began, moving, over, after, load.now()];
    Ok(Felt { record: load.stop()?, moved, was_hurried, moments })
}

/// How much slower the same load gets by itself, and what it saw: throughput, p50, p99, in per cent.
async fn unmoved(load: Load, calm: f64) -> anyhow::Result<([f64; 3], Record)> {
    tokio::time::sleep(Duration::from_secs_f64(WARM_UP)).await;
    let began = load.now();
    tokio::time::sleep(Duration::from_secs_f64(calm)).await;
    let from = load.now();
    tokio::time::sleep(Duration::from_secs_f64(calm * CONTROL_WINDOWS)).await;
    let over = load.now();
    tokio::time::sleep(Duration::from_secs_f64(calm)).await;
    let ended = load.now();
    let record = load.stop()?;
    Ok((slowdown(&record, [began, from, over, over, ended]), record))
}

/// How much slower it was in the middle, in per cent: throughput, p50, p99. All windows have the same length; where the
/// middle is longer than the calm, each figure is the median of its windows.
fn slowdown(record: &Record, [began, moving, over, after, ended]: [f64; 5]) -> [f64; 3] {
    let length = (moving - began).min(over - moving).min(ended - after);
    let (before, after) = (seen(record, moving - length, length), seen(record, ended - length, length));
    let windows = ((over - moving) / length).floor().max(1.0) as usize;
    let during = |at: usize| {
        let part = (at as f64 + 0.5) / windows as f64;
        let calm: [f64; 3] = std::array::from_fn(|at| before[at] + (after[at] - before[at]) * part);
        slower(calm, seen(record, moving + at as f64 * length, length))
    };
    let during: Vec<[f64; 3]> = (0..windows).map(during).collect();
    std::array::from_fn(|at| {
        let figures: Vec<f64> = during.iter().map(|figures| figures[at]).collect();
        Figure::of(&figures).map_or(0.0, |figure| figure.median)
    })
}

/// Requests a second, p50 and p99 of a stretch of time.
fn seen(record: &Record, from: f64, length: f64) -> [f64; 3] {
    let window = record.window(from, from + length);
    [window.rate(), window.p50_us, window.p99_us]
}

impl Felt {
    /// Before, during and after, as they were.
    pub fn periods(&self) -> Vec<Period> {
        let [began, moving, over, after, ended] = self.moments;
        [("before", began, moving), ("during", moving, over), ("after", after, ended)]
            .map(|(name, from, to)| Period { name, window: self.record.window(from, to) })
            .to_vec()
    }

    /// For the charts.
    pub fn timeline(&self) -> Timeline {
        let [_, moving, _, after, ended] = self.moments;
        Timeline { points: self.record.timeline(SLICE, ended), moving: (moving, after) }
    }

    /// What went wrong, a line each.
    pub fn errors(&self) -> impl Iterator<Item = String> {
        self.record.errors().iter().map(|(error, times)| format!("{times} requests failed: {error}"))
    }
}

fn slower(calm: [f64; 3], during: [f64; 3]) -> [f64; 3] {
    let more = |at: usize| (during[at] / calm[at].max(1e-9) - 1.0) * 100.0;
    [-more(0), more(1), more(2)]
}

/// Measures it.
///
/// # Errors
/// When a statement fails, or a row or update is missing.
pub async fn measure(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let Sizes { runs, window: calm, limit, .. } = bench.sizes;
    let traffic = bench.traffic;
    let mut outcome = Outcome::new(Work::Slowdown);
    let mut slowdowns: [Vec<f64>; 3] = Default::default();
    let mut controls: [Vec<f64>; 3] = Default::default();
    let (mut rates, mut failed, mut hurried) = (Vec::new(), 0, 0);
    for run in 0..runs {
        let (source, target) = bench.moving_ends();
        let stage = bench.moving().await?;
        stage.throttle(true).await?;
        let load = Load::start(&stage.evenkeel, traffic, stage.rows)?;
        let felt = felt(stage, load, (calm, limit), (source, target)).await?;
        hurried += u64::from(felt.was_hurried);
        bench.moved_to(target);
        let [throughput, p50, p99] = slowdown(&felt.record, felt.moments);
        say_run(run, &format!("slower by {throughput:.1} % in throughput, {p50:.1} % in p50, {p99:.1} % in p99"));
        slowdowns.iter_mut().zip([throughput, p50, p99]).for_each(|(all, figure)| all.push(figure));
        rates.push(felt.moved.rows / felt.moved.served_seconds);
        failed += felt.record.failed();
        bench.acknowledged += felt.record.acknowledged();
        outcome.notes.extend(felt.errors());
        if run == 0 {
            outcome.periods = felt.periods();
            outcome.timeline = Some(felt.timeline());
        }
    }
    // Last: whatever is written before a migration has versions that move with it.
    for run in 0..runs {
        let stage = bench.moving().await?;
        let (figures, record) = unmoved(Load::start(&stage.evenkeel, traffic, stage.rows)?, calm).await?;
        let [throughput, p50, p99] = figures;
        let all = format!("{throughput:.1} % in throughput, {p50:.1} % in p50, {p99:.1} % in p99");
        say_run(run, &format!("with nothing moving, slower by {all}"));
        controls.iter_mut().zip(figures).for_each(|(all, figure)| all.push(figure));
        failed += record.failed();
        bench.acknowledged += record.acknowledged();
    }
    let [throughput, p50, p99] = slowdowns;
    let [still, still_p50, still_p99] = controls;
    outcome.findings = vec![
        Finding::of("slower, throughput", Unit::Percent, throughput).should(Target::Below(SLOWER_PERCENT_MAX)),
        Finding::of("slower, p50", Unit::Percent, p50).should(Target::Below(SLOWER_PERCENT_MAX)),
        Finding::of("slower, p99", Unit::Percent, p99).should(Target::Below(P99_PERCENT_MAX)),
        Finding::of("with nothing moving, throughput", Unit::Percent, still),
        Finding::of("with nothing moving, p50", Unit::Percent, still_p50),
        Finding::of("with nothing moving, p99", Unit::Percent, still_p99),
        Finding::of("until the target serves", Unit::RowsPerSecond, rates),
        Finding::of("migrations that did not end in time", Unit::Count, vec![hurried as f64]).should(Target::None),
        Finding::of("errors that clients saw", Unit::Count, vec![failed as f64]).should(Target::None),
    ];
    outcome.notes.push(format!("a migration has {limit} s; after that the throttle is switched off"));
    let acknowledged = bench.acknowledged;
    outcome.notes.push(bench.moving().await?.check(acknowledged, failed).await?);
    Ok(outcome)
}
