//! What of the database's state a user is shown.
//!
//! Operators see everything that the SYSTEM tables have: it says what is done, and holds no rows. Everybody else sees shards,
//! jobs and settings, and of what belongs to somebody only their own: tables and views on which they have a right, their
//! sessions and statements, themselves. `SYSTEM.EVENTS`, which tells of everybody, is refused rather than shown empty.

use super::{Identity, Need, authorize};
use crate::database::Schemas;
use evenkeel_catalog::{Access, Snapshot, SystemTable};
use evenkeel_model::Result;
use std::collections::BTreeSet;

/// SYSTEM tables that tell of everybody, without saying of whom each row is.
const OF_EVERYBODY: &[&str] = &["events"];

/// Whether a user may read a computed table.
///
/// # Errors
/// 42501
pub(crate) fn may_read(identity: &Identity, table: &'static SystemTable, schemas: &Schemas) -> Result<()> {
    if table.schema_name == evenkeel_catalog::SYSTEM && OF_EVERYBODY.contains(&table.name) {
        return authorize(identity, &[Need::Activity(table.name)], schemas);
    }
    Ok(())
}

/// The part of a snapshot that a user is shown.
pub(crate) fn visible(mut snapshot: Snapshot, identity: &Identity) -> Snapshot {
    if identity.is_operator() {
        return snapshot;
    }
    let user = &*identity.name;
    snapshot.tables.retain(|state| state.table.access.concerns(user));
    snapshot.views.retain(|view| view.access.concerns(user));
    let tables = snapshot.tables.iter_mut().map(|state| &mut state.table.access);
    let views = snapshot.views.iter_mut().map(|view| &mut view.access);
    tables.chain(views).for_each(|access| keep_own_grants(access, user));
    snapshot.users.retain(|other| other.name == user);
    snapshot.sessions.retain(|session| session.user == user);
    snapshot.queries.retain(|query| query.user == user);
    snapshot.slow_queries.retain(|query| query.user == user);
    let sessions: BTreeSet<u64> = snapshot.sessions.iter().map(|session| session.id).collect();
    snapshot.transactions.retain(|transaction| sessions.contains(&transaction.session));
    snapshot.locks.retain(|lock| sessions.contains(&lock.session));
    snapshot.events.clear();
    snapshot
}

/// What others may do with a table is its owner's business.
fn keep_own_grants(access: &mut Access, user: &str) {
    if !access.is_owner(user) {
        access.grants.retain(|other, _| other == user);
    }
}
