use crate::{Instant, SYSTEM, Snapshot};
use evenkeel_model::ShardId;

computed_table! { SYSTEM, "balancer_decisions",
    /// One row a decision of the balancer, also those to do nothing, with what weighed most.
    struct Row {
        /// When it was made.
        time: Instant,
        /// What made the balancer look: `manual` (a statement), `threshold` (the regular check), `hot shard` or
        /// `cold shards`.
        trigger: String,
        /// `started` or `skipped`.
        decision: String,
        /// Why.
        reason: String,
        /// The largest deviation of a shard from its fair share: 0.15 is 15 %.
        max_deviation: f64,
        /// What that shard has too much or too little of: `rows`, `bytes`, `qps`, `cpu` or `slots`.
        dimension: String,
        /// Shards that carried too much, as `3, 5`; NULL when none did.
        overloaded: Option<String>,
        /// Shards that carried too little, as `1, 2`; NULL when none did.
        underloaded: Option<String>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |decision: &crate::snapshot::Decision| Row {
        time: Instant::from_millis(decision.time_ms),
        trigger: decision.trigger.to_string(),
        decision: decision.decision.to_string(),
        reason: decision.reason.clone(),
        max_deviation: decision.max_deviation,
        dimension: decision.dimension.to_string(),
        overloaded: listed(&decision.overloaded),
        underloaded: listed(&decision.underloaded),
    };
    snapshot.decisions.iter().map(row).collect()
}

fn listed(shards: &[ShardId]) -> Option<String> {
    let numbers = shards.iter().map(ToString::to_string).collect::<Vec<_>>();
    (!numbers.is_empty()).then(|| numbers.join(", "))
}
