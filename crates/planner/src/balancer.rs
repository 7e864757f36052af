//! EXPLAIN SHARD and SHOW BALANCER: why things are as they are, and what would change them.

use crate::explain::{ExplainRow, moved};
use crate::snapshot::{JobState, Snapshot};
use crate::words::{
    bytes, counted, duration, hint, named, nobody_hint, percent, said_of, said_of_move, shards, thousands,
};
use evenkeel_model::{Error, Result, ShardId, SqlState};
use evenkeel_rebalancer::balance::{
    Decision, Imbalance, Load, Plan, Problem, Reason, ShardRole, Verdict, check, explain, measure, plan,
};

/// Why a shard stands where it stands, and what REBALANCE SHARDS would do with it.
///
/// # Errors
/// 42704 where there is no such shard.
pub fn explain_shard(shard: ShardId, snapshot: &Snapshot) -> Result<Vec<ExplainRow>> {
    let problem = snapshot.problem();
    if problem.shard(shard).is_none() {
        return Err(Error::new(SqlState::UndefinedObject, format!("there is no shard {shard}")));
    }
    let made = plan(&problem, snapshot.previous.as_ref());
    let mut rows = vec![holds(&problem, shard, &made)];
    rows.extend(snapshot.jobs.iter().flat_map(|job| at_work(job, shard)));
    let touching = made.moves.iter().filter(|step| step.source == shard || step.target == shard);
    rows.extend(
        touching
            .map(|step| ExplainRow::new("REBALANCE SHARDS", format!("would move {}", moved(step)), said_of_move(step))),
    );
    if let Some(reason) = made.reason(shard) {
        let what = match rows.iter().any(|row| row.item == "REBALANCE SHARDS") {
            true => "would do no more",
            false => "would leave it alone",
        };
        rows.push(ExplainRow::new("REBALANCE SHARDS", what, said_of(reason, shard)).with_hint(hint(reason, shard)));
    }
    rows.push(verdict(&problem, snapshot));
    Ok(rows)
}

/// What the balancer would do by itself, and if it is nothing, which setting or statement would change that.
pub fn show_balancer(snapshot: &Snapshot) -> Vec<ExplainRow> {
    let problem = snapshot.problem();
    let mut rows = vec![verdict(&problem, snapshot), imbalance_row(&measure(&problem))];
    rows.extend(settings(&problem, snapshot));
    let unfinished = snapshot.jobs.iter().filter(|job| !job.status.is_over());
    rows.extend(unfinished.map(|job| {
        let over = format!("{} of {}", job.migrations_over(), counted(job.migrations.len() as u64, "migration"));
        ExplainRow::new(format!("job {}", job.id), format!("{}, {}", job.kind, job.status), format!("{over} over"))
    }));
    rows.extend(snapshot.balancer.last.iter().map(|decision| last_row(decision, problem.now_ms)));
    rows
}

/// What the next check would decide.
fn verdict(problem: &Problem, snapshot: &Snapshot) -> ExplainRow {
    let balancer = &snapshot.balancer;
    let watch = balancer.watch.next(&measure(problem));
    let (decision, made) = check(problem, watch, snapshot.previous.as_ref(), balancer.auto_rebalance);
    let what = match (&made, snapshot.running()) {
        (Some(made), _) => format!("would start {}", counted(made.moves.len() as u64, "migration")),
        (None, 0) => "idle".to_string(),
        (None, running) => format!("idle, {} running", counted(running as u64, "migration")),
    };
    let hint = match &decision.reason {
        _ if decision.verdict == Verdict::Started => None,
        Reason::NobodyTakesPart => Some(nobody_hint(problem)),
        // A lower trigger would start what finds nothing to do.
        Reason::BelowThreshold { deviation, .. } if *deviation <= problem.target_imbalance => None,
        reason => hint(reason, decision.shard.unwrap_or(ShardId(0))),
    };
    ExplainRow::new("balancer", what, why(&decision)).with_hint(hint)
}

fn why(decision: &Decision) -> String {
    match decision.shard {
        Some(shard) => said_of(&decision.reason, shard),
        None => decision.reason.to_string(),
    }
}

fn imbalance_row(seen: &Imbalance) -> ExplainRow {
    let of = seen.shard.map_or_else(String::new, |shard| format!(" ({} of shard {shard})", seen.dimension));
    let mut sides = Vec::new();
    for (side, ids) in [("above", &seen.overloaded), ("below", &seen.underloaded)] {
        if !ids.is_empty() {
            sides.push(format!(", {side} it: {}", shards(ids)));
        }
    }
    let why = format!("the trigger is {}{}", percent(seen.threshold), sides.concat());
    ExplainRow::new("imbalance", format!("{}{of}", percent(seen.max_deviation)), why)
}

fn settings(problem: &Problem, snapshot: &Snapshot) -> Vec<ExplainRow> {
    let (defaults, balancer) = (&snapshot.defaults, &snapshot.balancer);
    let on = if balancer.auto_rebalance { "on" } else { "off" };
    let next = balancer.next_check_ms.map_or_else(String::new, |at_ms| {
        format!("the next check is in {}", duration((at_ms - problem.now_ms) as f64 / 1e3))
    });
    let at_once = format!("{} running of {} at most", problem.limits.running, problem.limits.concurrent_max);
    let per_hour = match defaults.max_migrations_per_hour {
        0 => format!("{} started in the last hour", thousands(snapshot.started_last_hour)),
        max => format!("{} of {} started in the last hour", thousands(snapshot.started_last_hour), thousands(max)),
    };
    let target = format!("target {}", percent(defaults.target_imbalance));
    vec![
        ExplainRow::new("auto_rebalance", on, next),
        ExplainRow::new("strategy", defaults.strategy.name(), target),
        ExplainRow::new("migrations", at_once, per_hour),
    ]
}

fn last_row(decision: &Decision, now_ms: i64) -> ExplainRow {
    let verdict = if decision.verdict == Verdict::Started { "started" } else { "skipped" };
    let ago = duration((now_ms - decision.time_ms) as f64 / 1e3);
    let what = format!("{verdict}, {ago} ago ({})", decision.trigger.name());
    ExplainRow::new("last decision", what, why(decision))
}

/// What a shard holds, and what would be fair.
fn holds(problem: &Problem, shard: ShardId, made: &Plan) -> ExplainRow {
    let slots = problem.slots_of(shard);
    let load: Load = slots.iter().map(|slot| problem.slots[slot.0 as usize].load).sum();
    let (rows, size) = (counted(load.rows.round() as u64, "row"), bytes(load.bytes.round() as u64));
    let rate =
        if load.qps > 0.0 { format!(", {} queries/s", thousands(load.qps.round() as u64)) } else { String::new() };
    let what = match slots.len() {
        0 => "no slots".to_string(),
        count => format!("{}: {}, {rows}, {size}{rate}", named(&slots), counted(count as u64, "slot")),
    };
    let state = problem.shard(shard).and_then(|state| match state.role {
        _ if state.pinned => Some(" (pinned)"),
        ShardRole::Draining => Some(" (draining)"),
        ShardRole::Unavailable => Some(" (unavailable)"),
        ShardRole::Active => None,
    });
    let standing = explain(made, shard).into_iter().next().unwrap_or_default();
    ExplainRow::new(format!("shard {shard}{}", state.unwrap_or_default()), what, standing)
}

/// A job's moves from and to a shard.
fn at_work(job: &JobState, shard: ShardId) -> Vec<ExplainRow> {
    let touching = job.at_hand().filter(|step| step.source == shard || step.target == shard);
    let row = |step: &crate::MigrationState| {
        let count = named(&step.slots);
        let what = format!("moves {count} from shard {} to shard {}", step.source, step.target);
        ExplainRow::new(format!("job {}", job.id), what, format!("{}, {}", job.kind, step.phase))
    };
    touching.map(row).collect()
}
