use super::CATALOG;
use crate::{INFORMATION_SCHEMA, PUBLIC, Snapshot};

computed_table! { INFORMATION_SCHEMA, "key_column_usage",
    /// One row a column of a primary key.
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
        /// The column.
        column_name: String,
        /// Its position in the key, from 1.
        ordinal_position: i64,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for table in snapshot.tables.iter().map(|state| &state.table).filter(|table| !table.has_hidden_key()) {
        rows.extend(table.names(&table.primary_key).into_iter().enumerate().map(|(position, column_name)| Row {
            constraint_catalog: CATALOG.to_string(),
            constraint_schema: PUBLIC.to_string(),
            constraint_name: format!("{}_pkey", table.name),
            table_schema: PUBLIC.to_string(),
            table_name: table.name.clone(),
            column_name,
            ordinal_position: position as i64 + 1,
        }));
    }
    rows
}
