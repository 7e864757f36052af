//! Tables, views, computed tables and indexes as what they all are to PostgreSQL: relations.

use super::oid;
use crate::{Access, BUILT_IN_USER, PG_CATALOG, PUBLIC, Snapshot, Table};
use evenkeel_model::ColumnType;

/// `pg_class.relkind`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Table,
    View,
    Index,
}

impl Kind {
    pub fn letter(self) -> &'static str {
        match self {
            Self::Table => "r",
            Self::View => "v",
            Self::Index => "i",
        }
    }
}

/// A relation.
#[derive(Clone, Debug)]
pub struct Relation {
    pub oid: i64,
    pub schema: &'static str,
    pub name: String,
    pub kind: Kind,
    pub owner: String,
    pub columns: Vec<Attribute>,
    pub rows: i64,
    pub bytes: i64,
    pub checks: usize,
    pub has_key: bool,
}

/// A column of a relation.
#[derive(Clone, Debug)]
pub struct Attribute {
    pub name: String,
    pub column_type: ColumnType,
    pub not_null: bool,
    pub default: Option<String>,
}

/// Whose something is.
pub fn owner(access: &Access) -> String {
    access.owner.clone().unwrap_or_else(|| BUILT_IN_USER.to_string())
}

/// The positions, from 1, of a table's key columns.
pub fn key(table: &Table) -> Vec<i16> {
    let position = |id: &u32| table.visible().position(|column| column.id == *id).map(|at| at as i16 + 1);
    table.primary_key.iter().filter_map(position).collect()
}

/// The name of a primary key's index and constraint.
pub fn key_name(table: &Table) -> String {
    format!("{}_pkey", table.name)
}

/// Every relation that a snapshot shows.
pub fn relations(snapshot: &Snapshot) -> Vec<Relation> {
    let mut found = Vec::new();
    for state in &snapshot.tables {
        let table = &state.table;
        let attribute = |column: &crate::Column| Attribute {
            name: column.name.clone(),
            column_type: column.column_type.clone(),
            not_null: !column.nullable,
            default: column.default.clone(),
        };
        let relation = Relation {
            oid: oid::table(table.id),
            schema: PUBLIC,
            name: table.name.clone(),
            kind: Kind::Table,
            owner: owner(&table.access),
            columns: table.visible().map(attribute).collect(),
            rows: state.rows,
            bytes: state.bytes,
            checks: table.checks.len(),
            has_key: !table.has_hidden_key(),
        };
        if relation.has_key {
            let columns = key(table).into_iter().filter_map(|at| relation.columns.get(at as usize - 1).cloned());
            found.push(Relation {
                oid: oid::key_index(table.id),
                name: key_name(table),
                kind: Kind::Index,
                columns: columns.collect(),
                bytes: 0,
                checks: 0,
                has_key: false,
                ..relation.clone()
            });
        }
        found.push(relation);
    }
    for view in &snapshot.views {
        let columns = snapshot.view_columns.get(&view.name).into_iter().flatten();
        let attribute = |(name, column_type): &(String, ColumnType)| Attribute {
            name: name.clone(),
            column_type: column_type.clone(),
            not_null: false,
            default: None,
        };
        found.push(Relation {
            owner: owner(&view.access),
            columns: columns.map(attribute).collect(),
            ..computed(oid::view(&view.name), PUBLIC, view.name.clone(), Kind::View)
        });
    }
    for table in crate::computed_tables() {
        let kind = if table.schema_name == PG_CATALOG { Kind::Table } else { Kind::View };
        let attribute = |column: crate::rows::ColumnDoc| Attribute {
            name: column.name.to_string(),
            column_type: column.column_type(),
            not_null: !column.nullable,
            default: None,
        };
        let oid = oid::computed(table.schema_name, table.name);
        found.push(Relation {
            columns: (table.columns)().into_iter().map(attribute).collect(),
            ..computed(oid, table.schema_name, table.name.to_string(), kind)
        });
    }
    found
}

fn computed(oid: i64, schema: &'static str, name: String, kind: Kind) -> Relation {
    let owner = BUILT_IN_USER.to_string();
    Relation { oid, schema, name, kind, owner, columns: vec![], rows: 0, bytes: 0, checks: 0, has_key: false }
}

/// The relation of a name, with or without its schema, each folded as SQL does it.
pub fn find(snapshot: &Snapshot, name: &str) -> Option<Relation> {
    let parts = parts(name);
    let (schema, name) = match parts.as_slice() {
        [name] => (None, name),
        [schema, name] | [_, schema, name] => (Some(schema.as_str()), name),
        _ => return None,
    };
    let mut found: Vec<Relation> = relations(snapshot).into_iter().filter(|relation| relation.name == *name).collect();
    match schema {
        Some(schema) => found.into_iter().find(|relation| relation.schema == schema),
        None => {
            found.retain(is_visible);
            found.sort_by_key(|relation| relation.schema != PUBLIC);
            found.into_iter().next()
        }
    }
}

/// Whether a relation is found by its name alone.
pub fn is_visible(relation: &Relation) -> bool {
    relation.schema == PUBLIC || relation.schema == PG_CATALOG
}

/// The words of a name, unquoted ones in lower case.
pub fn parts(name: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = name.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c if quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}
