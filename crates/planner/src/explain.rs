//! An outcome as rows: what would be done, and why.

use crate::job::{JobKind, JobPlan, Summary};
use crate::words::{bytes, counted, duration, hint, named, percent, runs, said_of, said_of_move, thousands};
use crate::{Nothing, Outcome, WaitFor};
use evenkeel_model::ShardId;
use evenkeel_model::settings::format_duration_ms;
use evenkeel_rebalancer::balance::{Move, Reason};

/// One row of an EXPLAIN, or of SHOW BALANCER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainRow {
    /// What the row is about: the plan, a move, a shard, a job, a setting.
    pub item: String,
    /// How it is, or what becomes of it.
    pub what: String,
    /// The reason; empty where none is needed.
    pub why: String,
    /// The statement or setting that would change that.
    pub hint: Option<String>,
}

impl ExplainRow {
    pub(crate) fn new(item: impl Into<String>, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { item: item.into(), what: what.into(), why: why.into(), hint: None }
    }

    pub(crate) fn with_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

pub(crate) fn rows(outcome: &Outcome) -> Vec<ExplainRow> {
    let shard = |shard: &ShardId, what: &str, why: &str| vec![ExplainRow::new(format!("shard {shard}"), what, why)];
    let job = |job, what: &str, why: &str| vec![ExplainRow::new(format!("job {job}"), what, why)];
    match outcome {
        Outcome::Start(plan) => job_rows(plan),
        Outcome::Rows(rows) => rows.clone(),
        Outcome::Nothing(nothing) => nothing_rows(nothing),
        Outcome::Pin(id) => shard(id, "is pinned", "its slots stay, and no others come"),
        Outcome::Unpin(id) => shard(id, "is unpinned", "the balancer may move its slots again"),
        Outcome::AddShard(id) => {
            shard(id, "is made", "it is empty until REBALANCE SHARDS or the balancer gives it slots")
        }
        Outcome::Verify(id) => shard(id, "is verified", "its rows are compared with its counts and checksums"),
        Outcome::Pause(id) => job(id, "is paused", "no migration of it is begun until RESUME"),
        Outcome::Resume(id) => job(id, "goes on", "it was paused"),
        Outcome::Cancel(id) => job(id, "is cancelled", "what is past the point of no return goes on to its end"),
        Outcome::Wait(wait) => wait_rows(wait),
    }
}

fn wait_rows(wait: &WaitFor) -> Vec<ExplainRow> {
    let at_most = wait.timeout_ms.map_or_else(String::new, |ms| format!("for {} at most", format_duration_ms(ms)));
    let row = |job| ExplainRow::new(format!("job {job}"), "is waited for", at_most.clone());
    match wait.jobs.as_slice() {
        [] => vec![ExplainRow::new("plan", "nothing to wait for", "no job is running")],
        jobs => jobs.iter().map(row).collect(),
    }
}

fn nothing_rows(nothing: &Nothing) -> Vec<ExplainRow> {
    let first = ExplainRow::new("plan", "nothing to do", nothing.reason.clone()).with_hint(nothing.hint.clone());
    let others = nothing.left_alone.iter().map(|(shard, reason)| left_alone(*shard, reason, false));
    std::iter::once(first).chain(others).collect()
}

fn job_rows(job: &JobPlan) -> Vec<ExplainRow> {
    let mut rows = vec![summary(job)];
    rows.extend(job.new_shards.iter().map(|shard| ExplainRow::new(format!("shard {shard}"), "is made", "")));
    rows.extend(job.moves.iter().enumerate().map(|(nth, step)| move_row(job, nth, step)));
    rows.extend(
        job.removes.iter().map(|shard| ExplainRow::new(format!("shard {shard}"), "is removed", "it is empty then")),
    );
    let is_touched = |shard: ShardId| job.moves.iter().any(|step| step.source == shard || step.target == shard);
    let left = job.plan.iter().flat_map(|plan| &plan.left_alone).filter(|(shard, _)| !job.removes.contains(shard));
    rows.extend(left.filter_map(|(shard, reason)| match (job.kind, is_touched(*shard)) {
        (JobKind::Remove, true) => None,
        (JobKind::Remove, false) => Some(not_heir(*shard, reason)),
        (_, is_touched) => Some(left_alone(*shard, reason, is_touched)),
    }));
    rows.extend(job.notices.iter().map(|notice| ExplainRow::new("notice", notice.clone(), "")));
    rows
}

fn summary(job: &JobPlan) -> ExplainRow {
    let Summary { migrations, rows, bytes: size, imbalance_before, imbalance_after, seconds_estimated } = job.summary;
    let takes = seconds_estimated.map_or_else(String::new, |seconds| format!(", about {}", duration(seconds)));
    let migrations = counted(migrations as u64, "migration");
    let what = format!("{}: {migrations}, {}, {}{takes}", job.kind, counted(rows, "row"), bytes(size));
    let imbalance = format!("imbalance {} → {}", percent(imbalance_before), percent(imbalance_after));
    let wanted = job
        .plan
        .iter()
        .filter(|_| job.kind == JobKind::Rebalance)
        .map(|plan| format!(", strategy {}, target {}", plan.strategy, percent(plan.target_imbalance)));
    ExplainRow::new("plan", what, std::iter::once(imbalance).chain(wanted).collect::<String>())
}

fn move_row(job: &JobPlan, nth: usize, step: &Move) -> ExplainRow {
    let why = match job.undoes {
        Some(undone) => {
            format!("job {undone} took {} the other way", if step.slots.len() == 1 { "it" } else { "them" })
        }
        None => said_of_move(step),
    };
    ExplainRow::new(format!("move {}", thousands(nth as u64 + 1)), moved(step), why)
}

/// `slots 0-3 from shard 1 to shard 2: 4 slots, 4,000 rows, 3.8 MiB`.
pub(crate) fn moved(step: &Move) -> String {
    let Move { source, target, slots, rows, .. } = step;
    let (count, rows, size) = (counted(slots.len() as u64, "slot"), counted(*rows, "row"), bytes(step.bytes));
    match slots.ranges() {
        [(first, last)] if first == last => {
            format!("{} from shard {source} to shard {target}: {rows}, {size}", named(slots))
        }
        _ => format!("slots {} from shard {source} to shard {target}: {count}, {rows}, {size}", runs(slots)),
    }
}

fn left_alone(shard: ShardId, reason: &Reason, is_touched: bool) -> ExplainRow {
    let what = if is_touched { "no more can be done" } else { "is left alone" };
    let is_content = matches!(reason, Reason::WithinTarget { .. });
    ExplainRow::new(format!("shard {shard}"), what, said_of(reason, shard))
        .with_hint(hint(reason, shard).filter(|_| !is_content))
}

/// Shards that take nothing of one that is emptied. The plan is not about their balance, so only what keeps them from
/// taking is said of them.
fn not_heir(shard: ShardId, reason: &Reason) -> ExplainRow {
    match reason {
        Reason::Pinned | Reason::Unavailable | Reason::Full | Reason::TooSoonToReturn { .. } => {
            left_alone(shard, reason, false)
        }
        _ => ExplainRow::new(format!("shard {shard}"), "is left alone", "the others have more room"),
    }
}
