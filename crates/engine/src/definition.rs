//! What a table's definition may say, and what becomes of it: constraints, keys, columns that come and go.

use crate::database::Schemas;
use crate::error::undefined_table;
use crate::names::byte_span;
use crate::spelling::written;
use crate::types::fold;
use evenkeel_catalog as catalog;
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use sqlparser::ast;

/// The row id of a table without a primary key.
pub(crate) const ROW_ID: &str = "_rowid";

pub(crate) fn missing(schemas: &Schemas, name: &str, is_view: bool) -> Error {
    match (is_view, schemas.tables.contains_key(name), schemas.views.contains_key(name)) {
        (true, true, _) => Error::new(SqlState::WrongObjectType, format!("\"{name}\" is a table"))
            .with_hint(format!("DROP TABLE {name}")),
        (false, _, true) => Error::new(SqlState::WrongObjectType, format!("\"{name}\" is a view"))
            .with_hint(format!("DROP VIEW {name}")),
        (true, ..) => Error::new(SqlState::UndefinedTable, format!("view \"{name}\" does not exist")),
        (false, ..) => undefined_table(name, schemas.tables.keys().map(String::as_str)),
    }
}

pub(crate) fn unsupported_table(create: &ast::CreateTable) -> Option<&'static str> {
    match create {
        _ if create.external => Some("CREATE EXTERNAL TABLE is not supported"),
        _ if create.temporary => Some("temporary tables are not supported"),
        _ if create.like.is_some() => Some("CREATE TABLE … LIKE is not supported"),
        _ if create.partition_by.is_some() => Some("PARTITION BY is not supported; SHARD BY says how rows are spread"),
        _ if create.inherits.is_some() => Some("INHERITS is not supported"),
        _ => None,
    }
}

pub(crate) fn two_keys() -> Error {
    Error::new(SqlState::InvalidTableDefinition, "a table has one primary key")
        .with_hint("PRIMARY KEY (a, b) at the end names several columns")
}

pub(crate) fn no_unique() -> Error {
    Error::unsupported("UNIQUE is not supported but for the primary key").with_hint(
        "rows of one value stand in different shards; make the column the primary key, or keep a table of its values",
    )
}

pub(crate) fn no_foreign_key() -> Error {
    Error::unsupported("FOREIGN KEY is not supported")
        .with_hint("ANTI JOIN finds rows without a partner: QUERY t ANTI JOIN parents ON …")
}

pub(crate) fn is_key(constraint: &ast::TableConstraint) -> bool {
    matches!(constraint, ast::TableConstraint::PrimaryKey(_))
}

pub(crate) fn add_constraint(table: &mut catalog::Table, constraint: &ast::TableConstraint, text: &str) -> Result<()> {
    match constraint {
        ast::TableConstraint::PrimaryKey(key) => {
            if !table.primary_key.is_empty() {
                return Err(two_keys());
            }
            for column in &key.columns {
                let ast::Expr::Identifier(name) = &column.column.expr else {
                    return Err(Error::unsupported("a primary key is made of columns"));
                };
                let at = column_index(table, name, text)?;
                table.columns[at].nullable = false;
                let id = table.columns[at].id;
                if table.primary_key.contains(&id) {
                    return Err(Error::new(
                        SqlState::DuplicateColumn,
                        format!("column \"{}\" is in the key twice", fold(name)),
                    ));
                }
                table.primary_key.push(id);
            }
            Ok(())
        }
        ast::TableConstraint::Check(check) => {
            let name = match &check.name {
                Some(name) => fold(name),
                None => format!("{}_check{}", table.name, table.checks.len() + 1),
            };
            table.checks.push(catalog::Check { name, expression: written(&*check.expr) });
            Ok(())
        }
        ast::TableConstraint::Unique(_) => Err(no_unique()),
        ast::TableConstraint::ForeignKey(_) => Err(no_foreign_key()),
        other => Err(Error::unsupported(format!("{other} is not supported"))),
    }
}

/// Settles the primary and the shard key: without a primary key rows get a hidden id.
pub(crate) fn finish_keys(
    table: &mut catalog::Table,
    create: &ast::CreateTable,
    shard_by: Option<&[ast::Ident]>,
    text: &str,
) -> Result<()> {
    if create.query.is_some()
        && table.primary_key.is_empty()
        && let Some(key) = create.constraints.iter().find(|constraint| is_key(constraint))
    {
        add_constraint(table, key, text)?;
    }
    for id in &table.primary_key {
        let Some(column) = table.column_by_id(*id) else { continue };
        if !column.column_type.is_key() {
            return Err(Error::new(
                SqlState::InvalidTableDefinition,
                format!("column \"{}\" of type {} cannot be in a primary key", column.name, column.column_type),
            ));
        }
    }
    let mut shard_key = Vec::new();
    for name in shard_by.unwrap_or_default() {
        let at = column_index(table, name, text)?;
        let id = table.columns[at].id;
        if !table.primary_key.contains(&id) {
            let error = Error::new(
                SqlState::InvalidTableDefinition,
                format!("SHARD BY column \"{}\" is not in the primary key", fold(name)),
            )
            .with_hint("the shard must follow from the key; put the column into PRIMARY KEY (…)");
            return Err(byte_span(name.span, text).map_or(error.clone(), |span| error.at(span)));
        }
        if !shard_key.contains(&id) {
            shard_key.push(id);
        }
    }
    if table.primary_key.is_empty() {
        let id = table.next_column;
        table.next_column += 1;
        table.columns.push(catalog::Column {
            id,
            name: ROW_ID.to_string(),
            column_type: ColumnType::BigInt,
            nullable: false,
            default: None,
            added: None,
            hidden: true,
        });
        table.primary_key = vec![id];
    }
    table.shard_key = if shard_key.is_empty() { table.primary_key.clone() } else { shard_key };
    Ok(())
}

pub(crate) fn column_index(table: &catalog::Table, name: &ast::Ident, text: &str) -> Result<usize> {
    let folded = fold(name);
    table.columns.iter().position(|column| column.name == folded && !column.hidden).ok_or_else(|| {
        let names = table.visible().map(|column| column.name.as_str());
        let error = crate::error::undefined_column(&folded, Some(&table.name), names);
        byte_span(name.span, text).map_or(error.clone(), |span| error.at(span))
    })
}

pub(crate) fn drop_column(table: &mut catalog::Table, name: &ast::Ident, if_exists: bool, text: &str) -> Result<()> {
    let at = match column_index(table, name, text) {
        Ok(at) => at,
        Err(_) if if_exists => return Ok(()),
        Err(error) => return Err(error),
    };
    let column = table.columns[at].clone();
    if table.primary_key.contains(&column.id) {
        return Err(Error::new(SqlState::InvalidTableDefinition, format!("\"{}\" is in the primary key", column.name)));
    }
    if table.visible().count() == 1 {
        return Err(Error::new(SqlState::InvalidTableDefinition, "a table has at least one column"));
    }
    let used = |check: &&catalog::Check| {
        evenkeel_pql::tokens(&check.expression)
            .iter()
            .any(|(span, _)| check.expression[span.clone()].trim_matches('"').eq_ignore_ascii_case(&column.name))
    };
    if let Some(check) = table.checks.iter().find(used) {
        return Err(Error::new(
            SqlState::ObjectNotInPrerequisiteState,
            format!("the check \"{}\" uses column \"{}\"", check.name, column.name),
        )
        .with_hint(format!("ALTER TABLE {} DROP CONSTRAINT {} first", table.name, check.name)));
    }
    table.columns.remove(at);
    Ok(())
}

pub(crate) fn rename_column(
    table: &mut catalog::Table,
    old: &ast::Ident,
    new: &ast::Ident,
    text: &str,
) -> Result<String> {
    let at = column_index(table, old, text)?;
    let (old, new) = (fold(old), fold(new));
    if table.column(&new).is_some() || new == ROW_ID {
        return Err(Error::new(SqlState::DuplicateColumn, format!("column \"{new}\" exists already")));
    }
    for check in &mut table.checks {
        check.expression = renamed(&check.expression, &old, &new)?;
    }
    table.columns[at].name.clone_from(&new);
    Ok(format!("column {old} renamed to {new}"))
}

/// An expression in which a column has another name.
pub(crate) fn renamed(expression: &str, old: &str, new: &str) -> Result<String> {
    let mut expr = evenkeel_pql::parse_expr(expression)?;
    let _ = ast::visit_expressions_mut(&mut expr, |expr| {
        let ident = match expr {
            ast::Expr::Identifier(ident) => Some(ident),
            ast::Expr::CompoundIdentifier(parts) => parts.last_mut(),
            _ => None,
        };
        if let Some(ident) = ident.filter(|ident| fold(ident) == old) {
            *ident = ast::Ident::with_quote('"', new);
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    Ok(written(&expr))
}

/// The type under which a computed column is stored.
pub(crate) fn stored_type(data_type: &arrow::datatypes::DataType) -> Option<ColumnType> {
    use arrow::datatypes::DataType as Arrow;
    Some(match data_type {
        Arrow::Boolean => ColumnType::Boolean,
        Arrow::Int8 | Arrow::Int16 | Arrow::UInt8 => ColumnType::SmallInt,
        Arrow::Int32 | Arrow::UInt16 => ColumnType::Integer,
        Arrow::Int64 | Arrow::UInt32 | Arrow::UInt64 => ColumnType::BigInt,
        Arrow::Float16 | Arrow::Float32 => ColumnType::Real,
        Arrow::Float64 => ColumnType::Double,
        Arrow::Decimal32(precision, scale)
        | Arrow::Decimal64(precision, scale)
        | Arrow::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            ColumnType::Decimal { precision: *precision, scale: *scale }
        }
        Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View | Arrow::Null => ColumnType::Text { max_chars: None },
        Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView | Arrow::FixedSizeBinary(_) => ColumnType::Bytea,
        Arrow::Date32 | Arrow::Date64 => ColumnType::Date,
        Arrow::Time32(_) | Arrow::Time64(_) => ColumnType::Time,
        Arrow::Timestamp(_, None) => ColumnType::Timestamp,
        Arrow::Timestamp(_, Some(_)) => ColumnType::TimestampTz,
        Arrow::Interval(_) => ColumnType::Interval,
        Arrow::List(field) | Arrow::LargeList(field) | Arrow::FixedSizeList(field, _) => {
            ColumnType::Array(Box::new(stored_type(field.data_type())?))
        }
        Arrow::Dictionary(_, value) => stored_type(value)?,
        _ => return None,
    })
}
