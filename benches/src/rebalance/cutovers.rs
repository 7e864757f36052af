//! Many small moves under load: for how long each holds writes back, and whether a client ever sees an error.

use super::finding::{Finding, Outcome, Period, Target, Timeline, Unit};
use super::load::Load;
use super::stage::{SLOTS, Stage};
use super::{Bench, Work};
use crate::bench::say;
use anyhow::ensure;
use std::time::Duration;

const SHARDS: u32 = 4;
const PAUSE_MS_MAX: f64 = 20.0;
/// Jobs that are asked for before they are waited for: the database keeps a thousand that are over.
const BATCH: usize = 50;
/// From slot to slot: odd, so that each gets its turn before one comes twice.
const STRIDE: usize = 2_731;
const SLICE: f64 = 0.25;

/// Measures it.
///
/// # Errors
/// When a statement or a migration fails, or a row or update is missing.
pub async fn measure(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let sizes = bench.sizes;
    let directory = bench.path().join("cutovers");
    let stage = Stage::create(&directory, SHARDS, sizes.small_rows).await?;
    let load = Load::start(&stage.evenkeel, bench.traffic, stage.rows)?;
    let calm = Duration::from_secs_f64(sizes.window);
    tokio::time::sleep(calm).await;
    let moving = load.now();
    let mut outcome = Outcome::new(Work::Cutovers);
    let mut mover = Mover::new();
    while outcome.pauses_ms.len() < sizes.cutovers {
        let batch = BATCH.min(sizes.cutovers - outcome.pauses_ms.len());
        outcome.pauses_ms.extend(mover.batch(&stage, batch).await?);
        say(&format!("  {} cutovers after {:.1} s", outcome.pauses_ms.len(), load.now() - moving));
    }
    let over = load.now();
    tokio::time::sleep(calm).await;
    let ended = load.now();
    let record = load.stop()?;
    let mut sorted = outcome.pauses_ms.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| vec![sorted[((sorted.len() as f64 * part).ceil() as usize).max(1) - 1]];
    outcome.findings = vec![
        Finding::of("writes held back, p99", Unit::Milliseconds, at(0.99)).should(Target::Below(PAUSE_MS_MAX)),
        Finding::of("writes held back, median", Unit::Milliseconds, at(0.5)),
        Finding::of("writes held back, longest", Unit::Milliseconds, at(1.0)),
        Finding::of("errors that clients saw", Unit::Count, vec![record.failed() as f64]).should(Target::None),
    ];
    let periods = [("before", 0.0, moving), ("during", moving, over), ("after", over, ended)];
    outcome.periods = periods.map(|(name, from, to)| Period { name, window: record.window(&[(from, to)]) }).to_vec();
    outcome.timeline = Some(Timeline { points: record.timeline(SLICE, ended), moving: vec![(moving, over)] });
    outcome.notes.push(format!("{} cutovers in {:.1} s", sorted.len(), over - moving));
    outcome.notes.extend(record.errors().iter().map(|(error, times)| format!("{times} requests failed: {error}")));
    outcome.notes.push(stage.check(record.acknowledged(), record.failed()).await?);
    drop(stage);
    std::fs::remove_dir_all(&directory)?;
    Ok(outcome)
}

/// Knows where every slot is, and moves some.
struct Mover {
    owners: Vec<u32>,
    moved: usize,
}

impl Mover {
    fn new() -> Self {
        let owners = (0..SLOTS).map(|slot| slot / (SLOTS / SHARDS) + 1).collect();
        Self { owners, moved: 0 }
    }

    /// Moves so many single slots and returns for how long writes to each were held back, in milliseconds.
    async fn batch(&mut self, stage: &Stage, moves: usize) -> anyhow::Result<Vec<f64>> {
        for _ in 0..moves {
            let slot = self.moved * STRIDE % self.owners.len();
            self.moved += 1;
            let source = self.owners[slot];
            let target = source % SHARDS + 1;
            let statement = format!("MOVE SLOTS {slot} TO {slot} FROM SHARD {source} TO SHARD {target}");
            stage.evenkeel.execute(&statement).await?;
            self.owners[slot] = target;
        }
        stage.evenkeel.execute("WAIT FOR JOB ALL").await?;
        let status = "FROM SYSTEM.REBALANCE_STATUS WHERE phase = 'done'";
        let newest = format!("ORDER BY migration_id DESC LIMIT {moves}");
        let pauses = stage.evenkeel.floats(&format!("SELECT cutover_ms {status} {newest}")).await?;
        ensure!(pauses.len() == moves, "{} of {moves} moves were done", pauses.len());
        Ok(pauses)
    }
}
