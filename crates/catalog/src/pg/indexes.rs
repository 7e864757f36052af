use super::relation::key_name;
use super::{oid, text};
use crate::{PG_CATALOG, PUBLIC, Snapshot};

computed_table! { PG_CATALOG, "pg_indexes",
    /// Primary keys, by name.
    struct Row {
        schemaname: String,
        tablename: String,
        indexname: String,
        tablespace: Option<String>,
        indexdef: Option<String>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let tables = snapshot.tables.iter().map(|state| &state.table).filter(|table| !table.has_hidden_key());
    let row = |table: &crate::Table| Row {
        schemaname: PUBLIC.to_string(),
        tablename: table.name.clone(),
        indexname: key_name(table),
        tablespace: None,
        indexdef: text::index(snapshot, oid::key_index(table.id), 0),
    };
    tables.map(row).collect()
}
