//! The SYSTEM tables, one file each.

mod active_queries;
mod columns;
mod events;
mod sessions;
mod settings;
mod shards;
mod slots;
mod slow_queries;
mod tables;
mod transactions;

use crate::SystemTable;

/// Every SYSTEM table, by name.
pub const TABLES: &[SystemTable] = &[
    active_queries::TABLE,
    columns::TABLE,
    events::TABLE,
    sessions::TABLE,
    settings::TABLE,
    shards::TABLE,
    slots::TABLE,
    slow_queries::TABLE,
    tables::TABLE,
    transactions::TABLE,
];
