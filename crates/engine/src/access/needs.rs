//! What a statement needs, from its tree: all but what its queries read, which is known when their names are looked up.

use crate::locking::Locking;
use crate::types::{fold, table_name};
use evenkeel_model::Privilege;
use evenkeel_pql::ast::{
    Copy, CopyDirection, CopyEndpoint, CopySource, CursorStatement, Right, Show, StatementKind, UserChange,
    UserStatement,
};
use sqlparser::ast;
use std::ops::ControlFlow;

/// Something that not everybody may do. Tables and views are meant by name, in the schema that is current when it is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Need {
    /// A privilege on a table or view.
    Table(Privilege, String),
    /// To know what a table looks like and where its rows are.
    Look(String),
    /// To change what a table is, empty it, drop it, share it.
    Own(String),
    /// To change a setting for everybody.
    Settings,
    /// To look after shards, jobs and old versions.
    Shards,
    /// To read and write files where the server runs.
    ServerFiles(String),
    /// To read a SYSTEM table that shows what everybody does.
    Activity(&'static str),
    /// To stop a statement of this user.
    Stop(String),
    /// To change this user's password.
    Password(String),
    /// To make, change and drop users.
    Users,
    /// Nobody has thought about who may do this.
    Undecided(String),
}

/// What a statement needs. `runs` says whose a running statement is.
pub(crate) fn needs(kind: &StatementKind, runs: &dyn Fn(u64) -> Option<String>) -> Vec<Need> {
    match kind {
        StatementKind::Sql(statement) => sql(statement),
        StatementKind::Upsert(insert) => of_insert(insert, true),
        StatementKind::Explain { statement, .. } => needs(&statement.kind, runs),
        StatementKind::Copy(copy) => of_copy(copy),
        StatementKind::AlterSystemSet(_) | StatementKind::AlterSystemReset(_) => vec![Need::Settings],
        StatementKind::KillQuery(id) => runs(*id).map(Need::Stop).into_iter().collect(),
        StatementKind::Show(Show::Columns(table)) | StatementKind::Describe(table) => on(table, Need::Look),
        StatementKind::Locate { table, .. } => on(table, Need::Look),
        StatementKind::Shard(_) => vec![Need::Shards],
        StatementKind::User(statement) => of_users(statement),
        StatementKind::Cursor(CursorStatement::Declare { query, .. }) => needs(&query.kind, runs),
        // Who has declared it could read it; what it reads is asked again when that begins.
        StatementKind::Cursor(CursorStatement::Fetch { .. } | CursorStatement::Close(_)) => vec![],
        // Whoever is a user may make tables, and what SHOW shows is in SYSTEM tables, which are looked up.
        StatementKind::CreateTable { .. }
        | StatementKind::Show(
            Show::Tables
            | Show::Shards
            | Show::Jobs
            | Show::Nodes
            | Show::Settings
            | Show::Balancer
            | Show::Variable(_),
        ) => Vec::new(),
    }
}

fn sql(statement: &ast::Statement) -> Vec<Need> {
    use ast::Statement as S;
    match statement {
        S::Insert(insert) => of_insert(insert, false),
        S::Update(update) => update_needs(update),
        S::Delete(delete) => of_delete(delete),
        S::AlterTable(alter) => of_alter(alter),
        S::Drop { object_type: ast::ObjectType::Table | ast::ObjectType::View, names, .. } => {
            names.iter().flat_map(|name| on(name, Need::Own)).collect()
        }
        S::Truncate(truncate) => truncate.table_names.iter().flat_map(|target| on(&target.name, Need::Own)).collect(),
        S::CreateView(view) if view.or_replace => on(&view.name, Need::Own),
        S::Vacuum(_) => vec![Need::Shards],
        S::Query(query) => match Locking::of(query) {
            Ok(Some(locking)) => locking.tables().flat_map(|name| of_privileges(name, &[Privilege::Update])).collect(),
            // What is wrong with it is said when it is carried out.
            Ok(None) | Err(_) => Vec::new(),
        },
        S::CreateView(_)
        | S::StartTransaction { .. }
        | S::Commit { .. }
        | S::Rollback { .. }
        | S::Savepoint { .. }
        | S::ReleaseSavepoint { .. }
        | S::Set(
            ast::Set::SingleAssignment { .. }
            | ast::Set::SetTransaction { .. }
            | ast::Set::SetTimeZone { .. }
            | ast::Set::SetNames { .. }
            | ast::Set::SetNamesDefault {},
        )
        | S::Reset(_)
        | S::Analyze(_) => Vec::new(),
        other => {
            let text = other.to_string();
            vec![Need::Undecided(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))]
        }
    }
}

/// A need of a table; none where it has no such name, which the statement itself complains about.
fn on(name: &ast::ObjectName, need: impl Fn(String) -> Need) -> Vec<Need> {
    table_name(name).ok().map(need).into_iter().collect()
}

fn of_privileges(name: &ast::ObjectName, privileges: &[Privilege]) -> Vec<Need> {
    privileges.iter().flat_map(|privilege| on(name, |table| Need::Table(*privilege, table))).collect()
}

/// As PostgreSQL has it, whoever learns something about rows that are there needs SELECT beside the right to change them.
fn of_insert(insert: &ast::Insert, upsert: bool) -> Vec<Need> {
    let ast::TableObject::TableName(name) = &insert.table else { return Vec::new() };
    let mut privileges = vec![Privilege::Insert];
    let mut reads = insert.returning.is_some();
    match &insert.on {
        None => {}
        Some(ast::OnInsert::OnConflict(on)) => {
            let updates = matches!(on.action, ast::OnConflictAction::DoUpdate(_));
            privileges.extend(updates.then_some(Privilege::Update));
            reads |= updates || on.conflict_target.is_some();
        }
        Some(_) => privileges.push(Privilege::Update),
    }
    privileges.extend(upsert.then_some(Privilege::Update));
    privileges.extend(reads.then_some(Privilege::Select));
    of_privileges(name, &privileges)
}

/// What an UPDATE needs, also one that was prepared.
pub(crate) fn update_needs(update: &ast::Update) -> Vec<Need> {
    let Ok((name, _)) = crate::clauses::target(&update.table.relation) else { return Vec::new() };
    let reads = update.selection.is_some()
        || update.returning.is_some()
        || update.from.is_some()
        || !update.table.joins.is_empty()
        || update.assignments.iter().any(|assignment| !is_constant(&assignment.value));
    let select = reads.then_some(Privilege::Select);
    of_privileges(&name, &[Privilege::Update].into_iter().chain(select).collect::<Vec<_>>())
}

fn of_delete(delete: &ast::Delete) -> Vec<Need> {
    let (ast::FromTable::WithFromKeyword(tables) | ast::FromTable::WithoutKeyword(tables)) = &delete.from;
    let Some(Ok((name, _))) = tables.first().map(|first| crate::clauses::target(&first.relation)) else {
        return Vec::new();
    };
    let reads = delete.selection.is_some()
        || delete.returning.is_some()
        || delete.using.is_some()
        || tables.iter().any(|table| !table.joins.is_empty());
    let select = reads.then_some(Privilege::Select);
    of_privileges(&name, &[Privilege::Delete].into_iter().chain(select).collect::<Vec<_>>())
}

/// Whether a value names no column and asks no query.
fn is_constant(value: &ast::Expr) -> bool {
    let found = ast::visit_expressions(value, |expr| match expr {
        ast::Expr::Identifier(word) if fold(word) == "default" => ControlFlow::Continue(()),
        ast::Expr::Value(_)
        | ast::Expr::UnaryOp { .. }
        | ast::Expr::BinaryOp { .. }
        | ast::Expr::Nested(_)
        | ast::Expr::Cast { .. } => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    found.is_continue()
}

fn of_alter(alter: &ast::AlterTable) -> Vec<Need> {
    let gives = |operation: &ast::AlterTableOperation| matches!(operation, ast::AlterTableOperation::OwnerTo { .. });
    // Who gives a table away gives away what its owner is answerable for: no plain user's decision.
    if alter.operations.iter().any(gives) { vec![Need::Users] } else { on(&alter.name, Need::Own) }
}

fn of_copy(copy: &Copy) -> Vec<Need> {
    let mut needs = match (&copy.source, copy.direction) {
        (CopySource::Table { name, .. }, CopyDirection::From) => of_privileges(name, &[Privilege::Insert]),
        (CopySource::Table { name, .. }, CopyDirection::To) => of_privileges(name, &[Privilege::Select]),
        (CopySource::Query(_), _) => Vec::new(),
    };
    if let CopyEndpoint::File(path) = &copy.endpoint {
        needs.push(Need::ServerFiles(path.clone()));
    }
    needs
}

fn of_users(statement: &UserStatement) -> Vec<Need> {
    match statement {
        UserStatement::Alter { name, change: UserChange::Password(_) } => vec![Need::Password(fold(name))],
        UserStatement::Grant { right: Right::On { tables, .. }, .. }
        | UserStatement::Revoke { right: Right::On { tables, .. }, .. } => {
            tables.iter().flat_map(|table| on(table, Need::Own)).collect()
        }
        UserStatement::Create { .. }
        | UserStatement::Alter { change: UserChange::Role(_) | UserChange::ConnectionLimit(_), .. }
        | UserStatement::Drop { .. }
        | UserStatement::Grant { right: Right::Role(_), .. }
        | UserStatement::Revoke { right: Right::Role(_), .. } => vec![Need::Users],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Privilege::{Delete, Insert, Select, Update};

    fn of(text: &str) -> Vec<Need> {
        let statement = evenkeel_pql::parse_statement(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        needs(&statement.kind, &|_| None)
    }

    #[test]
    fn changes_that_learn_about_rows_need_select() {
        let table = |privileges: &[Privilege]| privileges.iter().map(|p| Need::Table(*p, "t".into())).collect();
        let expected: [(&str, Vec<Need>); 15] = [
            ("INSERT INTO t VALUES (1)", table(&[Insert])),
            ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", table(&[Insert])),
            ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO NOTHING", table(&[Insert, Select])),
            ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1", table(&[Insert, Update, Select])),
            ("INSERT INTO t VALUES (1) RETURNING a", table(&[Insert, Select])),
            ("UPSERT INTO t VALUES (1)", table(&[Insert, Update])),
            ("UPDATE t SET b = -(1 + 2)", table(&[Update])),
            ("UPDATE t SET b = DEFAULT", table(&[Update])),
            ("UPDATE t SET b = a", table(&[Update, Select])),
            ("UPDATE t SET b = (SELECT 1)", table(&[Update, Select])),
            ("UPDATE t SET b = 1 WHERE a = 1", table(&[Update, Select])),
            ("DELETE FROM t", table(&[Delete])),
            ("DELETE FROM t WHERE a = 1", table(&[Delete, Select])),
            ("DELETE FROM t RETURNING 1", table(&[Delete, Select])),
            ("EXPLAIN DELETE FROM t", table(&[Delete])),
        ];
        for (text, needs) in expected {
            assert_eq!(of(text), needs, "{text}");
        }
    }

    #[test]
    fn what_nobody_thought_about_is_nobodys() {
        for text in ["SET ROLE admin", "PREPARE p AS SELECT 1", "COMMENT ON TABLE t IS 'x'"] {
            assert!(matches!(of(text).as_slice(), [Need::Undecided(_)]), "{text}: {:?}", of(text));
        }
    }
}
