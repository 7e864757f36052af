//! Jobs: plans of migrations, kept before anything moves, and carried on by whoever opens the database next.

use crate::mistake::mistaken;
use crate::movement::StoredMigration;
use evenkeel_model::{JobId, MigrationId};
use evenkeel_planner::{JobPlan, JobStatus};
use evenkeel_rebalancer::balance::Move;
use evenkeel_rebalancer::migration::{Phase, Reason};
use std::collections::BTreeMap;

/// What the meta store keeps of a job.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct StoredJob {
    pub id: JobId,
    /// What asked for it: a statement, or the balancer.
    pub statement: String,
    pub reason: String,
    pub status: JobStatus,
    /// It never changes.
    pub plan: JobPlan,
    /// The migrations of its moves, as far as they have begun.
    pub migrations: Vec<Option<MigrationId>>,
    pub created_at_ms: i64,
    pub finished_at_ms: Option<i64>,
    /// The largest deviation when it was over.
    pub imbalance_after: Option<f64>,
    pub error: Option<String>,
}

/// What a job's migrations say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Some are under way, or not begun.
    UnderWay,
    AllDone,
    /// One went back without being asked, or its copies differ.
    Broken,
    /// What was begun is over, and some of it went back.
    TurnedBack,
}

impl StoredJob {
    /// The moves that have not begun, with their places in the plan.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (usize, &Move)> {
        self.plan.moves.iter().enumerate().filter(|(at, _)| self.migrations[*at].is_none())
    }

    pub(crate) fn standing(&self, migrations: &BTreeMap<MigrationId, StoredMigration>) -> Standing {
        let begun: Vec<_> = self.migrations.iter().flatten().filter_map(|id| migrations.get(id)).collect();
        let broken = |stored: &&StoredMigration| match stored.migration.phase {
            Phase::VerificationFailed => true,
            Phase::Undone => !matches!(stored.migration.reason, Some(Reason::Cancelled)),
            _ => false,
        };
        if begun.iter().any(broken) {
            return Standing::Broken;
        }
        let is_over = |stored: &&StoredMigration| stored.migration.phase.is_over();
        let all_over = begun.iter().all(is_over) || (mistaken!(JobEndsEarly) && begun.iter().any(is_over));
        let all_begun = self.migrations.iter().all(Option::is_some);
        let any_undone = begun.iter().any(|stored| stored.migration.phase == Phase::Undone);
        match (all_over, all_begun || self.status == JobStatus::Cancelling) {
            (true, true) if any_undone || !all_begun => Standing::TurnedBack,
            (true, true) => Standing::AllDone,
            _ => Standing::UnderWay,
        }
    }

    /// Why it failed, in its migrations' words.
    pub(crate) fn failure(&self, migrations: &BTreeMap<MigrationId, StoredMigration>) -> Option<String> {
        let begun = self.migrations.iter().flatten().filter_map(|id| migrations.get(id));
        begun.filter(|stored| matches!(stored.migration.phase, Phase::Undone | Phase::VerificationFailed)).find_map(
            |stored| {
                let reason = stored.migration.reason.as_ref()?;
                Some(format!("migration {}: {reason}", stored.migration.id))
            },
        )
    }
}
