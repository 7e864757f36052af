//! Table schemas, and the SYSTEM and information_schema tables as Arrow rows computed from one consistent snapshot.
//!
//! Values only: the engine takes the [`Snapshot`], this crate says what the rows are. Every system table is one file: a
//! row struct whose field comments are the column documentation, and one function from the snapshot to rows.

#[macro_use]
mod rows;
pub mod information;
pub mod schema;
pub mod snapshot;
pub mod system;

pub use rows::{Instant, SystemTable};
pub use schema::{Access, Check, Column, Constant, RowColumn, Table, View};
pub use snapshot::Snapshot;

/// Who made what nobody in particular made, and whom sessions are that need not say who they are.
pub const BUILT_IN_USER: &str = "evenkeel";
/// The schema that holds users' tables.
pub const PUBLIC: &str = "public";
/// The schema of the SYSTEM tables.
pub const SYSTEM: &str = "system";
/// The schema that the SQL standard describes.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// Every table of the schemas that are computed rather than stored.
pub fn computed_tables() -> impl Iterator<Item = &'static SystemTable> {
    system::TABLES.iter().chain(information::TABLES)
}
