//! What a statement about shards means here and now: a job, an order to a job that there is, or an error with a hint.
//!
//! WHAT MAY NEVER HAPPEN:
//! * a job moves the slots of a pinned shard, or others to it (`pinned-stays`);
//! * a job names a slot that another job still has in hand, or a slot twice;
//! * a shard is removed that would not be empty, or that was the last one that could hold the slots;
//! * a statement is refused without saying what stands in its way and, where something can be done, what;
//! * EXPLAIN shows another plan than the statement would start.
//!
//! ```text
//!  ShardStatement ─┐                            ┌─▶ Start(JobPlan)              the caller persists it, then runs it
//!                  ├──▶ plan ──▶ Outcome ───────┼─▶ Pause, Pin, Wait …          the caller does it
//!  Snapshot ───────┘     │          │           └─▶ Nothing(why, what would change that)
//!                        ▼          └──▶ explain ──▶ rows
//!                Error: SQLSTATE, message, hint, place
//! ```
//!
//! Everything is a function of values. A [`Snapshot`] is one consistent picture; what running jobs have in hand is laid over
//! it once ([`Snapshot::problem`]), so that all statements see slots on their way where they will be. EXPLAIN plans the
//! statement and shows the outcome instead of carrying it out, and so cannot differ from it.
//!
//! The trade-off taken: a plan is made from a picture that is a moment old when it is carried out. Nothing is locked
//! meanwhile: each migration asks the slot map again before it begins, and a plan that was overtaken loses those moves.
//! A plan need not be right for ever; it must be right for its picture, and harmless for any other.
//!
//! | file | says |
//! |---|---|
//! | `snapshot` | what planning looks at |
//! | `job` | a job as it is persisted, and how one is put together |
//! | `planning` | one statement at work: its picture, its places, what every kind of statement must ask |
//! | `rebalance`, `options` | REBALANCE SHARDS, and what may stand behind its WITH |
//! | `by_hand`, `remove`, `undo` | SPLIT, MERGE, MOVE; REMOVE; UNDO |
//! | `control` | statements that plan nothing: PIN, ADD, PAUSE, WAIT … |
//! | `explain`, `balancer` | EXPLAIN of all these; EXPLAIN SHARD and SHOW BALANCER |
//! | `place`, `words` | where in the text a number stands; numbers and reasons in words |

mod balancer;
mod by_hand;
mod control;
mod explain;
mod job;
mod options;
mod place;
mod planning;
mod rebalance;
mod remove;
mod snapshot;
mod undo;
mod words;

pub use balancer::{explain_shard, show_balancer};
pub use explain::ExplainRow;
pub use job::{JobKind, JobPlan, JobStatus, Summary, imbalance};
pub use snapshot::{BalancerState, Defaults, JobState, MigrationState, Snapshot};

use evenkeel_model::{JobId, Result, ShardId};
use evenkeel_pql::ast::ShardStatement;
use evenkeel_rebalancer::balance::{Decision, Reason};
use planning::Planning;

/// What a statement comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A new job: persist it, then run it.
    Start(Box<JobPlan>),
    /// The balancer is to keep its hands off a shard.
    Pin(ShardId),
    /// The balancer may move a shard's slots again.
    Unpin(ShardId),
    /// A new shard of this number, without slots.
    AddShard(ShardId),
    /// A running job is to start nothing more for now.
    Pause(JobId),
    /// A paused job is to go on.
    Resume(JobId),
    /// A job is to stop: what is before the point of no return turns back, what is past it goes on to its end.
    Cancel(JobId),
    /// The session waits.
    Wait(WaitFor),
    /// A shard's rows are to be compared with its counts and checksums.
    Verify(ShardId),
    /// EXPLAIN SHARD: these rows are the answer.
    Rows(Vec<ExplainRow>),
    /// There is nothing to do.
    Nothing(Nothing),
}

/// Until when a session waits: until all of these jobs are over. There may be none, and they may be over already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitFor {
    /// Ascending.
    pub jobs: Vec<JobId>,
    /// `None` waits for as long as it takes.
    pub timeout_ms: Option<u64>,
}

/// Why there is nothing to do, and what would change that.
#[derive(Clone, Debug, PartialEq)]
pub struct Nothing {
    /// A sentence without a full stop.
    pub reason: String,
    /// What to do instead, or first.
    pub hint: Option<String>,
    /// Why each shard is left as it is; only REBALANCE says so.
    pub left_alone: Vec<(ShardId, Reason)>,
    /// The balancer's decision, for SYSTEM.BALANCER_DECISIONS; only REBALANCE makes one.
    pub decision: Option<Decision>,
}

/// What a statement means in this picture. `text` is the statement's own text, for the places of errors; an EXPLAIN in
/// front does no harm.
///
/// # Errors
/// What stands in its way, with a hint where something can be done, and with its place. States: 42704 no such shard, slot
/// or job; 22023 a value that can't be; 55000 not as things are; 53100 no room.
pub fn plan(statement: &ShardStatement, text: &str, snapshot: &Snapshot) -> Result<Outcome> {
    Planning::new(text, snapshot).outcome(statement)
}

/// The same plan, shown and not carried out: a summary first, a row for each move with its reason, for each shard left
/// alone with its reason, and for what would change that.
///
/// # Errors
/// Those of [`plan`].
pub fn explain(statement: &ShardStatement, text: &str, snapshot: &Snapshot) -> Result<Vec<ExplainRow>> {
    Ok(explain::rows(&plan(statement, text, snapshot)?))
}
