//! Seeing that shards are out of balance, and choosing the slots to move.
//!
//! WHAT MAY NEVER HAPPEN:
//! * a pinned shard's slots move, or others come to it (`pinned-stays`);
//! * a slot moves that its source doesn't own, that is on its way already, or twice in one plan;
//! * a plan makes the balance worse, also when it is stopped half-way;
//! * a target overflows, also while both copies exist;
//! * a plan made right after another was carried out finds something to do, or takes a slot back where it came from;
//! * nothing is done, and nobody can say why.
//!
//! ```text
//!  History ──▶ Problem ──▶ measure ──▶ Watch ──▶ check ──▶ Plan ── moves in order, a reason for every shard
//!  loads of    all that a  how far     has it    start,      │
//!  slots       decision    from fair?  lasted?   or why not  └──▶ `previous` of the next one
//!              depends on
//! ```
//!
//! Everything is a function of values: the same problem and the same previous plan give the same plan, in a test, in
//! `EXPLAIN REBALANCE SHARDS` and in production. A **fair share** is what the shards that may be balanced hold together, in
//! proportion to their capacities; a **deviation** is |x − fair share| / fair share. The measure of imbalance is the
//! sum of the squares of all deviations, of every shard and in every dimension that counts. Every move makes it smaller,
//! and that alone is why plans end, may be stopped anywhere, and don't go round in circles. Squares, because they make the
//! worst weigh most and yet let a shard with many cold rows and one with few hot ones exchange slots, which no order that
//! looks at the worst alone would begin.
//!
//! The trade-off taken: the search is greedy, worst shard first, and does not look ahead. It moves what is in excess and
//! hardly more, takes milliseconds for thousands of shards, and can be explained move by move. Where a shard has only a
//! handful of slots that is not close enough, and exchanges within the plan bring it closer, as far as a fixed amount of
//! work allows; an optimal plan is not looked for. How close any plan could come is known as a bound: what lies beyond
//! that is not tried, and said to be out of reach. Doubling the number of slots helps more than any search.
//!
//! | file | says |
//! |---|---|
//! | `load` | what slots carry, and carried lately |
//! | `problem` | all that a decision may depend on |
//! | `board` | the same as flat arrays, with fair shares and room |
//! | `imbalance` | how far shards are from their shares, and whether it has lasted |
//! | `planning` | from a problem to a plan; `search`, `exchange`, `places`, `drain`, `bundle`, `supply`, `ledger` are its parts |
//! | `granularity` | how even shards can be at best, given that slots can't be divided |
//! | `plan`, `reason` | the answer, and why |
//! | `by_hand` | moves, splits and merges that are asked for |
//! | `hot` | shards beyond limits of their own |
//! | `decision` | start something or not, in one row |

mod board;
mod bundle;
mod by_hand;
mod decision;
mod drain;
mod exchange;
mod granularity;
mod hot;
mod imbalance;
mod ledger;
mod load;
mod places;
mod plan;
mod planning;
mod problem;
mod reason;
mod search;
mod supply;

pub use by_hand::{SplitAt, admit, in_parts, merge, mergeable, split};
pub use decision::{Decision, Trigger, Verdict, check, rebalance};
pub use granularity::Granularity;
pub use hot::{Gauges, HotDimension, HotShard, HotWatch, Relief, relieve};
pub use imbalance::{Imbalance, Watch, detect, measure};
pub use load::{Dimension, History, Load, Traffic};
pub use plan::{Move, Plan, Settling, Standing, explain};
pub use planning::{drain, plan};
pub use problem::{Limits, PendingDrop, Problem, ShardRole, ShardState, SlotState, Strategy, Thresholds};
pub use reason::Reason;
