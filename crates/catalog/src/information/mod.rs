//! `information_schema`: the tables of the SQL standard that clients look into.

mod columns;
mod key_column_usage;
mod schemata;
mod table_constraints;
mod tables;
mod views;

use crate::SystemTable;

/// Every information_schema table, by name.
pub const TABLES: &[SystemTable] =
    &[columns::TABLE, key_column_usage::TABLE, schemata::TABLE, table_constraints::TABLE, tables::TABLE, views::TABLE];

/// The one catalog there is.
const CATALOG: &str = crate::DATABASE;
