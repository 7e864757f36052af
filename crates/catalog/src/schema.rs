//! What a table is.
//!
//! Columns have numbers that are never reused, so that rows written under an older schema can be read under a newer
//! one: ADD, DROP and RENAME COLUMN change this description and no row.

use evenkeel_model::{ColumnType, Privilege, TableId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A stored table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The number under which its rows are stored. Changes with TRUNCATE and with a new primary key.
    pub id: TableId,
    pub name: String,
    /// In the order in which they were made; those with [`Column::hidden`] are not shown.
    pub columns: Vec<Column>,
    /// Column numbers, in key order. Never empty: a table without a primary key has a hidden row id.
    pub primary_key: Vec<u32>,
    /// Column numbers, a subset of the primary key: what decides the shard.
    pub shard_key: Vec<u32>,
    pub checks: Vec<Check>,
    /// The columns that rows of each version hold, by version; the last is written. Version n is entry n - 1.
    pub row_versions: Vec<Vec<RowColumn>>,
    /// The number of the next column.
    pub next_column: u32,
    /// Milliseconds since 1970.
    pub created_at: i64,
    #[serde(default)]
    pub access: Access,
}

/// Whose a table or view is, and what others may do with it. It is a part of its description, so that it goes where
/// the table goes: renamed, emptied, dropped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// The user who made it; `None` where nobody had to say who they were.
    pub owner: Option<String>,
    /// By user.
    pub grants: BTreeMap<String, BTreeSet<Privilege>>,
}

impl Access {
    /// That of something which a user makes.
    pub fn of(owner: Option<String>) -> Self {
        Self { owner, grants: BTreeMap::new() }
    }

    /// Whether it is a user's.
    pub fn is_owner(&self, user: &str) -> bool {
        self.owner.as_deref() == Some(user)
    }

    /// Whether a user may do this with it.
    pub fn allows(&self, user: &str, privilege: Privilege) -> bool {
        self.is_owner(user) || self.grants.get(user).is_some_and(|granted| granted.contains(&privilege))
    }

    /// Whether a user may do anything with it.
    pub fn concerns(&self, user: &str) -> bool {
        self.is_owner(user) || self.grants.contains_key(user)
    }

    /// Adds rights.
    pub fn grant(&mut self, user: &str, privileges: &BTreeSet<Privilege>) {
        self.grants.entry(user.to_string()).or_default().extend(privileges);
    }

    /// Takes rights away.
    pub fn revoke(&mut self, user: &str, privileges: &BTreeSet<Privilege>) {
        if let Some(granted) = self.grants.get_mut(user) {
            granted.retain(|privilege| !privileges.contains(privilege));
            if granted.is_empty() {
                self.grants.remove(user);
            }
        }
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its number in the table, never reused.
    pub id: u32,
    pub name: String,
    pub column_type: ColumnType,
    pub nullable: bool,
    /// The DEFAULT expression, in PQL.
    pub default: Option<String>,
    /// What rows have that were written before the column was added.
    pub added: Option<Constant>,
    /// The row id of a table without a primary key.
    pub hidden: bool,
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    /// The expression, in PQL.
    pub expression: String,
}

/// A column as a version of rows holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowColumn {
    pub id: u32,
    pub column_type: ColumnType,
}

/// A value that is stored in the schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Constant {
    Boolean(bool),
    Integer(i64),
    /// The bits of a double.
    Float(u64),
    /// A DECIMAL's digits or a UUID's number, in text.
    Wide(String),
    Interval {
        months: i32,
        days: i32,
        nanoseconds: i64,
    },
    Bytes(Vec<u8>),
}

/// A stored query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub name: String,
    /// In PQL.
    pub query: String,
    /// Names given to its columns, or none.
    pub columns: Vec<String>,
    /// Its query reads what its owner may read.
    #[serde(default)]
    pub access: Access,
}

impl Table {
    /// The columns that users see.
    pub fn visible(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.hidden)
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column of this number.
    pub fn column_by_id(&self, id: u32) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// The columns of these numbers, in their order.
    pub fn columns_by_id<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = &'a Column> {
        ids.iter().filter_map(|id| self.column_by_id(*id))
    }

    /// The names of these columns.
    pub fn names(&self, ids: &[u32]) -> Vec<String> {
        self.columns_by_id(ids).map(|column| column.name.clone()).collect()
    }

    /// Whether rows are told apart by a hidden row id.
    pub fn has_hidden_key(&self) -> bool {
        self.columns_by_id(&self.primary_key).any(|column| column.hidden)
    }

    /// Makes the present columns the row version that is written from now on, unless it is already.
    pub fn cut_row_version(&mut self) {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|column| RowColumn { id: column.id, column_type: column.column_type.clone() })
            .collect();
        if self.row_versions.last() != Some(&columns) {
            self.row_versions.push(columns);
        }
    }
}
