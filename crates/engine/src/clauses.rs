//! The clauses of INSERT, UPDATE and DELETE in terms of their table's columns, and the queries that are made of them.

use crate::changes::{Conflict, ConflictUpdate};
use crate::error::query_error;
use crate::evaluate::compile;
use crate::names::byte_span;
use crate::table::TableHandle;
use crate::types::{fold, last_name};
use crate::values::default_of;
use arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::execution::context::SessionState as DfState;
use evenkeel_model::{Error, Result, SqlState};
use sqlparser::ast::{self, Spanned};
use std::sync::Arc;

/// The positions of the columns that an INSERT gives.
pub(crate) fn insert_columns(
    table: &TableHandle,
    insert: &ast::Insert,
    source: Option<&ast::Query>,
    text: &str,
) -> Result<Vec<usize>> {
    if insert.columns.is_empty() {
        // Fewer values than columns are the first ones, as in PostgreSQL.
        let width = match source.map(|query| query.body.as_ref()) {
            None => 0,
            Some(ast::SetExpr::Values(values)) => values.rows.first().map_or(0, |row| row.len()).min(table.visible),
            Some(_) => table.visible,
        };
        return Ok((0..width).collect());
    }
    let mut positions = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let position = table.position(&last_name(name));
        let span = byte_span(name.span(), text);
        let position = position.map_err(|error| span.clone().map_or(error.clone(), |span| error.at(span)))?;
        if positions.contains(&position) {
            let message = format!("column \"{}\" is named twice", last_name(name));
            let error = Error::new(SqlState::DuplicateColumn, message);
            return Err(span.map_or(error.clone(), |span| error.at(span)));
        }
        positions.push(position);
    }
    Ok(positions)
}

pub(crate) fn conflict(
    state: &DfState,
    table: &TableHandle,
    insert: &ast::Insert,
    upsert: bool,
    text: &str,
) -> Result<Conflict> {
    let on = match &insert.on {
        None if upsert => return Ok(Conflict::Replace),
        None => return Ok(Conflict::Fail),
        Some(_) if upsert => {
            return Err(Error::new(SqlState::SyntaxError, "UPSERT has no ON CONFLICT: it replaces the row")
                .with_hint("INSERT … ON CONFLICT DO UPDATE changes some columns of it"));
        }
        Some(ast::OnInsert::OnConflict(on)) => on,
        Some(_) => {
            return Err(Error::unsupported("ON DUPLICATE KEY UPDATE is not supported").with_hint("ON CONFLICT …"));
        }
    };
    match &on.conflict_target {
        Some(ast::ConflictTarget::Columns(columns)) => {
            let mut named = columns.iter().map(|c| table.position(&fold(c))).collect::<Result<Vec<_>>>()?;
            let mut key = table.key.clone();
            named.sort_unstable();
            key.sort_unstable();
            if named != key {
                return Err(Error::new(
                    SqlState::InvalidTableDefinition,
                    "ON CONFLICT names no unique key of the table",
                )
                .with_hint(format!(
                    "the primary key is ({})",
                    table.schema.names(&table.schema.primary_key).join(", ")
                )));
            }
        }
        Some(ast::ConflictTarget::OnConstraint(name)) => {
            let expected = format!("{}_pkey", table.schema.name);
            if last_name(name) != expected {
                return Err(Error::new(SqlState::UndefinedObject, format!("there is no constraint \"{name}\""))
                    .with_hint(format!("the primary key is called {expected}")));
            }
        }
        None => {}
    }
    match &on.action {
        ast::OnConflictAction::DoNothing => Ok(Conflict::Nothing),
        ast::OnConflictAction::DoUpdate(update) => conflict_update(state, table, insert, update, text),
    }
}

fn conflict_update(
    state: &DfState,
    table: &TableHandle,
    insert: &ast::Insert,
    update: &ast::DoUpdate,
    text: &str,
) -> Result<Conflict> {
    let alias = insert.table_alias.as_ref().map(|alias| fold(&alias.alias));
    let own = alias.unwrap_or_else(|| table.schema.name.clone());
    let qualified =
        |name: &str| DFSchema::try_from_qualified_schema(name, &table.arrow).map_err(|error| query_error(error, text));
    let both = qualified(&own)?.join(&qualified("excluded")?).map_err(|error| query_error(error, text))?;
    let mut compiled = Vec::new();
    for (position, value) in assignments(table, &update.assignments, text)? {
        let value = own_columns(default_of(table, position, value)?, &own);
        compiled.push((position, compile(state, value, &both, text)?));
    }
    let condition = update.selection.clone().map(|c| compile(state, own_columns(c, &own), &both, text)).transpose()?;
    let fields: Vec<Field> = both.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Ok(Conflict::Update(ConflictUpdate { assignments: compiled, condition, schema: Arc::new(Schema::new(fields)) }))
}

/// Unqualified columns in DO UPDATE are those of the row that is there.
fn own_columns(mut expr: ast::Expr, table: &str) -> ast::Expr {
    let _ = ast::visit_expressions_mut(&mut expr, |expr| {
        if let ast::Expr::Identifier(ident) = expr
            && !(ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
        {
            *expr = ast::Expr::CompoundIdentifier(vec![ast::Ident::with_quote('"', table), ident.clone()]);
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    expr
}

/// Positions and values of SET.
pub(crate) fn assignments(
    table: &TableHandle,
    assignments: &[ast::Assignment],
    text: &str,
) -> Result<Vec<(usize, ast::Expr)>> {
    let mut found: Vec<(usize, ast::Expr)> = Vec::new();
    let mut assign = |name: &ast::ObjectName, value: ast::Expr| {
        let span = byte_span(name.span(), text);
        let fail = |error: Error| span.clone().map_or(error.clone(), |span| error.at(span));
        let position = table.position(&last_name(name)).map_err(fail)?;
        if found.iter().any(|(other, _)| *other == position) {
            let message = format!("column \"{}\" is set twice", last_name(name));
            return Err(fail(Error::new(SqlState::DuplicateColumn, message)));
        }
        found.push((position, value));
        Ok(())
    };
    for assignment in assignments {
        match (&assignment.target, &assignment.value) {
            (ast::AssignmentTarget::ColumnName(name), value) => assign(name, value.clone())?,
            (ast::AssignmentTarget::Tuple(names), ast::Expr::Tuple(values)) if names.len() == values.len() => {
                names.iter().zip(values).try_for_each(|(name, value)| assign(name, value.clone()))?;
            }
            _ => {
                return Err(
                    Error::unsupported("SET (a, b) takes as many values in parentheses").with_hint("SET a = …, b = …")
                );
            }
        }
    }
    Ok(found)
}

/// The table of an UPDATE or DELETE, and its alias.
pub(crate) fn target(relation: &ast::TableFactor) -> Result<(ast::ObjectName, Option<ast::Ident>)> {
    match relation {
        ast::TableFactor::Table { name, alias, version: None, .. } => {
            Ok((name.clone(), alias.as_ref().map(|alias| alias.name.clone())))
        }
        _ => Err(Error::new(SqlState::WrongObjectType, "only a table can be changed")),
    }
}

pub(crate) fn all_columns(table: &TableHandle, qualifier: &ast::Ident) -> Vec<ast::SelectItem> {
    let column = |(at, field): (usize, &Arc<Field>)| {
        let ident = ast::Ident::with_quote('"', field.name());
        item(ast::Expr::CompoundIdentifier(vec![qualifier.clone(), ident]), format!("column {at}"))
    };
    table.arrow.fields().iter().enumerate().map(column).collect()
}

pub(crate) fn item(expr: ast::Expr, alias: String) -> ast::SelectItem {
    ast::SelectItem::ExprWithAlias { expr, alias: ast::Ident::with_quote('"', alias) }
}

pub(crate) fn table_with_joins(name: ast::ObjectName, alias: Option<ast::TableAlias>) -> ast::TableWithJoins {
    let relation = ast::TableFactor::Table {
        name,
        alias,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    };
    ast::TableWithJoins { relation, joins: vec![] }
}

/// `SELECT items FROM from WHERE selection`.
pub(crate) fn select(
    items: Vec<ast::SelectItem>,
    from: Vec<ast::TableWithJoins>,
    selection: Option<ast::Expr>,
) -> Result<ast::Query> {
    let evenkeel_pql::StatementKind::Sql(statement) = evenkeel_pql::parse_statement("SELECT 1")?.kind else {
        return Err(Error::internal("SELECT is no query"));
    };
    let ast::Statement::Query(mut query) = *statement else { return Err(Error::internal("SELECT is no query")) };
    let ast::SetExpr::Select(body) = query.body.as_mut() else { return Err(Error::internal("SELECT is no query")) };
    body.projection = items;
    body.from = from;
    body.selection = selection;
    Ok(*query)
}
