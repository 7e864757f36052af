use super::CATALOG;
use crate::{INFORMATION_SCHEMA, PUBLIC, Snapshot};

computed_table! { INFORMATION_SCHEMA, "table_constraints",
    /// One row a PRIMARY KEY or CHECK of a table.
    struct Row {
        /// The database.
        constraint_catalog: String,
        /// The schema.
        constraint_schema: String,
        /// The constraint's name.
        constraint_name: String,
        /// The table's schema.
        table_schema: String,
        /// The table.
        table_name: String,
        /// `PRIMARY KEY` or `CHECK`.
        constraint_type: String,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |table: &str, name: String, kind: &str| Row {
        constraint_catalog: CATALOG.to_string(),
        constraint_schema: PUBLIC.to_string(),
        constraint_name: name,
        table_schema: PUBLIC.to_string(),
        table_name: table.to_string(),
        constraint_type: kind.to_string(),
    };
    let mut rows = Vec::new();
    for table in snapshot.tables.iter().map(|state| &state.table) {
        if !table.has_hidden_key() {
            rows.push(row(&table.name, format!("{}_pkey", table.name), "PRIMARY KEY"));
        }
        rows.extend(table.checks.iter().map(|check| row(&table.name, check.name.clone(), "CHECK")));
    }
    rows
}
