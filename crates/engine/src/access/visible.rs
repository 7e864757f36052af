//! What of the database's state a user is shown.
//!
//! Operators see everything that the SYSTEM tables have: it says what is done, and holds no rows. Everybody else sees shards,
//! jobs and settings, and of what belongs to somebody only their own: tables and views on which they have a right, their
//! sessions and statements, themselves. `SYSTEM.EVENTS`, which tells of everybody, is refused rather than shown empty.

use super::{Identity, Need, authorize};
use crate::database::Schemas;
use crate::types::table_name;
use evenkeel_catalog::{Access, Snapshot, SystemTable};
use evenkeel_model::{Privilege, Result};
use evenkeel_pql::StatementKind;
use sqlparser::ast;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

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

/// Whether a user may read every table that a query reads, also those behind views, which are read with their owners'
/// rights. How such a query is carried out says how many rows a view leaves out, and is for nobody else.
pub(crate) fn sees_through(identity: &Identity, query: &ast::Query, schemas: &Schemas) -> bool {
    if identity.is_unrestricted() {
        return true;
    }
    let (mut left, mut seen) = (relations(query), BTreeSet::new());
    while let Some(name) = left.pop() {
        let view = schemas.views.get(&name);
        if schemas.tables.contains_key(&name)
            && authorize(identity, &[Need::Table(Privilege::Select, name.clone())], schemas).is_err()
        {
            return false;
        }
        let Some(view) = view.filter(|_| seen.insert(name)) else { continue };
        match evenkeel_pql::parse_statement(&view.query).map(|statement| statement.kind) {
            Ok(StatementKind::Sql(inner)) => left.extend(relations(inner.as_ref())),
            // It cannot be read either.
            _ => return false,
        }
    }
    true
}

/// The tables and views that are named anywhere in a query.
fn relations(query: &impl ast::Visit) -> Vec<String> {
    let mut names = Vec::new();
    let _ = ast::visit_relations(query, |name| {
        names.extend(table_name(name));
        ControlFlow::<()>::Continue(())
    });
    names
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
