//! What PostgreSQL's clients say to its system catalogs, in words that are understood here.
//!
//! ```text
//! statement ─▶ rewrite ─▶ respell ─▶ plan ─▶ correlated ─▶ …
//!                │                     ▲
//!                ╰── does it call functions about the catalogs? ── then `functions` are there, over one snapshot
//! ```
//!
//! [`rewrite`] takes qualified functions, operators, types and casts to names (`'t'::regclass`) apart in the tree.
//! [`functions`] are what is asked about what the catalogs name by numbers: `format_type`, `pg_get_constraintdef`. Queries
//! within queries that DataFusion has no join for are carried out row by row by [`correlated`], over computed tables only.

mod arrays;
mod correlated;
mod functions;
mod privileges;
mod rewrite;
mod rows;

pub(crate) use correlated::Correlated;
pub(crate) use functions::{register, register_always};
pub(crate) use rewrite::rewrite;

use crate::access::{Identity, visible};
use crate::database::Database;
use evenkeel_catalog::Snapshot;
use std::sync::{Arc, OnceLock};

/// What a statement is shown of the database: taken when it is first asked for, and then the same for all of it.
pub(crate) struct Shown {
    pub(crate) database: Arc<Database>,
    pub(crate) identity: Identity,
    /// The session that asks; 0 where none does.
    pub(crate) session: u64,
    snapshot: OnceLock<Arc<Snapshot>>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Shown {
    pub(crate) fn new(database: &Arc<Database>, identity: Identity, session: u64) -> Self {
        Self { database: Arc::clone(database), identity, session, snapshot: OnceLock::new() }
    }

    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        self.snapshot.get_or_init(|| Arc::new(visible(self.database.snapshot(), &self.identity)))
    }
}
