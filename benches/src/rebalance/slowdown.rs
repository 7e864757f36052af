//! What the foreground feels of a migration with the settings as they are by default.
//!
//! A foreground that updates rows as fast as it can is not the same after half a minute: versions pile up, memory tables
//! fill and are written, and the machine has other things to do. So all rows move in many pieces, each a job of its own, and
//! after each of them nothing moves for as long: a piece, with all that belongs to a migration, is compared with the calm
//! before and after it. The median of these comparisons, over all runs, counts, and it is told how sure it is. The pieces are
//! smaller than the parts that a plan cuts a large move into: what a job costs besides its rows weighs more here, not less.
//!
//! What is left of everything else is measured too: every other calm is compared in the same way with the calms before and
//! after it. What that finds is no slowdown.

use super::finding::{Finding, Outcome, Period, Target, Timeline, Unit};
use super::load::{Load, Record};
use super::stage::{SLOTS, Stage};
use super::{Bench, Sizes, Work};
use crate::bench::say_run;
use crate::figures::Figure;
use std::time::Duration;

const SLOWER_PERCENT_MAX: f64 = 5.0;
const P99_PERCENT_MAX: f64 = 25.0;
/// Sessions get going before anything is measured.
const WARM_UP: f64 = 10.0;
/// A point in the charts.
const SLICE: f64 = 0.25;

/// How all rows move while a load runs.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Seconds of calm before and after everything.
    pub calm: f64,
    /// Seconds of calm between two pieces, at least; otherwise as many as the piece before has taken.
    pub between: f64,
    /// Jobs in which all slots move, one after another.
    pub pieces: u32,
    /// Seconds that all of them have together. After that the throttle is switched off.
    pub limit: f64,
}

/// When something happened: from and to, in seconds since the load began.
type Stretch = (f64, f64);

/// A migration as the foreground felt it.
pub struct Felt {
    pub record: Record,
    /// Rows a second until the target served them.
    pub rate: f64,
    /// It did not end by itself in time: what is compared ends where the throttle was switched off.
    pub was_hurried: bool,
    /// A calm, then a piece that moves, then a calm …
    still: Vec<Stretch>,
    moving: Vec<Stretch>,
    ended: f64,
}

/// Lets a load run, moves everything meanwhile, and lets it run on.
///
/// # Errors
/// When the migration or a session's thread fails, or not all rows have moved.
pub async fn felt(stage: &Stage, load: Load, course: Course, ends: (u32, u32)) -> anyhow::Result<Felt> {
    let Course { calm, between, pieces, limit } = course;
    wait(&load, WARM_UP).await;
    let mut still = vec![wait(&load, calm).await];
    let (mut moving, mut left, mut was_hurried) = (Vec::new(), limit, false);
    let (mut rows, mut seconds) = (0.0, 0.0);
    let (mut next, mut took) = (0, 0.0);
    for piece in 1..=pieces {
        if left <= 0.0 {
            was_hurried = true;
            stage.throttle(false).await?;
            break;
        }
        if next > 0 {
            still.push(wait(&load, between.max(took)).await);
        }
        let upto = SLOTS * piece / pieces;
        let began = load.now();
        stage.begin_move(next..=upto - 1, ends.0, ends.1).await?;
        next = upto;
        was_hurried = !stage.is_over_within(left).await?;
        let over = load.now();
        moving.push((began, over));
        took = over - began;
        left -= took;
        if was_hurried {
            stage.throttle(false).await?;
        }
        let moved = stage.end_move().await?;
        (rows, seconds) = (rows + moved.rows, seconds + moved.served_seconds);
        if was_hurried {
            break;
        }
    }
    if next < SLOTS {
        stage.begin_move(next..=SLOTS - 1, ends.0, ends.1).await?;
        let moved = stage.end_move().await?;
        (rows, seconds) = (rows + moved.rows, seconds + moved.served_seconds);
    }
    still.push(wait(&load, calm).await);
    stage.ensure_all(rows)?;
    let ended = load.now();
    Ok(Felt { record: load.stop()?, rate: rows / seconds, was_hurried, still, moving, ended })
}

async fn wait(load: &Load, seconds: f64) -> Stretch {
    let from = load.now();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    (from, load.now())
}

/// How much slower it was while something moved, in per cent: throughput, p50, p99; for each piece, which stands between
/// two calms.
fn slowdowns(record: &Record, still: &[Stretch], moving: &[Stretch]) -> Vec<[f64; 3]> {
    let seen = |stretch: &Stretch| {
        let window = record.window(&[*stretch]);
        [window.rate(), window.p50_us, window.p99_us]
    };
    let still: Vec<[f64; 3]> = still.iter().map(seen).collect();
    let compare = |(calms, piece): (&[[f64; 3]], &Stretch)| {
        let calm = std::array::from_fn(|at| f64::midpoint(calms[0][at], calms[1][at]));
        slower(calm, seen(piece))
    };
    still.windows(2).zip(moving).map(compare).collect()
}

/// One of the three.
fn each(comparisons: &[[f64; 3]], at: usize) -> Vec<f64> {
    comparisons.iter().map(|figures| figures[at]).collect()
}

impl Felt {
    /// How much slower it was for each piece, in per cent: throughput, p50, p99.
    fn slowdowns(&self) -> Vec<[f64; 3]> {
        slowdowns(&self.record, &self.still, &self.moving)
    }

    /// How much slower one calm is than those around it: nothing, but for what the measurement can't tell apart.
    fn unmoved(&self) -> Vec<[f64; 3]> {
        let among = self.still.iter().step_by(2).copied().collect::<Vec<_>>();
        let others = self.still.iter().skip(1).step_by(2).copied().collect::<Vec<_>>();
        slowdowns(&self.record, &among, &others)
    }

    /// Before, during, between the pieces and after, as they were.
    pub fn periods(&self) -> Vec<Period> {
        let (before, others) = self.still.split_at(1);
        let (between, after) = others.split_at(others.len() - 1);
        let periods = [("before", before), ("during", &self.moving), ("between", between), ("after", after)];
        let some = periods.into_iter().filter(|(_, stretches)| !stretches.is_empty());
        some.map(|(name, stretches)| Period { name, window: self.record.window(stretches) }).collect()
    }

    /// For the charts.
    pub fn timeline(&self) -> Timeline {
        Timeline { points: self.record.timeline(SLICE, self.ended), moving: self.moving.clone() }
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
    let Sizes { runs, window: calm, between, pieces, limit, .. } = bench.sizes;
    let course = Course { calm, between, pieces, limit };
    let traffic = bench.traffic;
    let mut outcome = Outcome::new(Work::Slowdown);
    let (mut moving, mut still) = (Vec::new(), Vec::new());
    let (mut rates, mut lengths, mut failed, mut hurried) = (Vec::new(), Vec::new(), 0, 0);
    for run in 0..runs {
        let (source, target) = bench.moving_ends();
        let stage = bench.moving().await?;
        stage.throttle(true).await?;
        let load = Load::start(&stage.evenkeel, traffic, stage.rows)?;
        let felt = felt(stage, load, course, (source, target)).await?;
        hurried += u64::from(felt.was_hurried);
        bench.moved_to(target);
        let slowdowns = felt.slowdowns();
        let [throughput, p50, p99] =
            std::array::from_fn(|at| Finding::compared("", Unit::Percent, each(&slowdowns, at)).text());
        say_run(run, &format!("slower by {throughput} in throughput, {p50} in p50, {p99} in p99"));
        moving.extend(slowdowns);
        still.extend(felt.unmoved());
        rates.push(felt.rate);
        lengths.extend(felt.moving.iter().map(|(from, to)| to - from));
        failed += felt.record.failed();
        bench.acknowledged += felt.record.acknowledged();
        outcome.notes.extend(felt.errors());
        if run == 0 {
            outcome.periods = felt.periods();
            outcome.timeline = Some(felt.timeline());
        }
    }
    let length = Figure::of(&lengths).map_or(0.0, |figure| figure.median);
    let compared = |what, comparisons, at| Finding::compared(what, Unit::Percent, each(comparisons, at));
    outcome.findings = vec![
        compared("slower, throughput", &moving, 0).should(Target::Below(SLOWER_PERCENT_MAX)),
        compared("slower, p50", &moving, 1).should(Target::Below(SLOWER_PERCENT_MAX)),
        compared("slower, p99", &moving, 2).should(Target::Below(P99_PERCENT_MAX)),
        compared("one calm and another, throughput", &still, 0),
        compared("one calm and another, p50", &still, 1),
        compared("one calm and another, p99", &still, 2),
        Finding::of("until the target serves", Unit::RowsPerSecond, rates),
        Finding::of("migrations that did not end in time", Unit::Count, vec![hurried as f64]).should(Target::None),
        Finding::of("errors that clients saw", Unit::Count, vec![failed as f64]).should(Target::None),
    ];
    outcome.notes.push(format!(
        "all rows move in {pieces} jobs of about {length:.1} s, with a calm of the same length after each; together they have {limit} s, \
         then the throttle is switched off; {} pieces and {} calms were compared",
        moving.len(),
        still.len()
    ));
    let acknowledged = bench.acknowledged;
    outcome.notes.push(bench.moving().await?.check(acknowledged, failed).await?);
    Ok(outcome)
}
