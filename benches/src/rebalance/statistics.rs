//! What counting costs a writer: the exact counts of rows and bytes per slot, and of accesses, on which balance rests.
//!
//! Two databases with the same rows, one of which counts nothing, are updated in turns by the same sessions, first one, then
//! the other first. What is compared is the processor time of an update, all threads together: unlike the rate it does not hang
//! on what the disk did meanwhile. A turn is short, so that the machine is the same for both of a pair.

use super::finding::{Finding, Outcome, Target, Unit};
use super::load::{Load, Traffic};
use super::stage::Stage;
use super::{Bench, Work};
use crate::figures::Figure;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

const SHARDS: u32 = 4;
const OVERHEAD_PERCENT_MAX: f64 = 3.0;
/// Before a turn counts, for the sessions to get going.
const LEAD: Duration = Duration::from_millis(100);

/// Measures it.
///
/// # Errors
/// When a statement fails.
pub async fn measure(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let sizes = bench.sizes;
    let traffic = Traffic { reads: 0, ..bench.traffic };
    let directories = [bench.path().join("counted"), bench.path().join("uncounted")];
    let counted = Stage::create(&directories[0], SHARDS, sizes.small_rows).await?;
    let uncounted = Stage::create_uncounted(&directories[1], SHARDS, sizes.small_rows).await?;
    let turn = Duration::from_secs_f64(sizes.window / 8.0);
    for stage in [&counted, &uncounted] {
        // Caches and memory tables get going.
        update(stage, traffic, turn * 4).await?;
    }
    let (mut times, mut rates, mut each) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..sizes.runs {
        let mut pairs: [Vec<f64>; 3] = Default::default();
        for at in 0..sizes.turns {
            let (with, without) = if at % 2 == 0 {
                let with = update(&counted, traffic, turn).await?;
                (with, update(&uncounted, traffic, turn).await?)
            } else {
                let without = update(&uncounted, traffic, turn).await?;
                (update(&counted, traffic, turn).await?, without)
            };
            let more = (with.seconds_each / without.seconds_each - 1.0) * 100.0;
            let fewer = (1.0 - with.per_second / without.per_second) * 100.0;
            pairs.iter_mut().zip([more, fewer, with.seconds_each * 1e3]).for_each(|(all, figure)| all.push(figure));
        }
        let [more, fewer, seconds] = pairs.map(|all| Figure::of(&all).map_or(0.0, |figure| figure.median));
        times.push(more);
        rates.push(fewer);
        each.push(seconds);
    }
    let mut outcome = Outcome::new(Work::Statistics);
    outcome.findings = vec![
        Finding::of("processor time more", Unit::Percent, times).should(Target::Below(OVERHEAD_PERCENT_MAX)),
        Finding::of("processor time of an update", Unit::Milliseconds, each),
        Finding::of("fewer updates a second", Unit::Percent, rates),
    ];
    let Traffic { sessions, keys, .. } = traffic;
    let pairs = format!("each run is the median of {} pairs of turns of {:.1} s", sizes.turns, turn.as_secs_f64());
    outcome.notes.push(format!("{sessions} sessions, durable updates only, {} keys; {pairs}", keys.name()));
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
    let load = Load::start(&stage.evenkeel, traffic, stage.rows)?;
    tokio::time::sleep(LEAD).await;
    let (from, began) = (load.now(), worked());
    tokio::time::sleep(turn).await;
    let (to, seconds) = (load.now(), (worked() - began).as_secs_f64());
    let window = load.stop()?.window(&[(from, to)]);
    Ok(Turn { per_second: window.rate(), seconds_each: seconds / window.requests.max(1) as f64 })
}

/// Processor time of this process so far, in user mode and in the kernel.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
