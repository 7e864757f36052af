use super::CATALOG;
use crate::{INFORMATION_SCHEMA, PUBLIC, Snapshot};

computed_table! { INFORMATION_SCHEMA, "views",
    /// One row a view.
    struct Row {
        /// The database.
        table_catalog: String,
        /// The schema.
        table_schema: String,
        /// The view.
        table_name: String,
        /// Its query.
        view_definition: String,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |view: &crate::View| Row {
        table_catalog: CATALOG.to_string(),
        table_schema: PUBLIC.to_string(),
        table_name: view.name.clone(),
        view_definition: view.query.clone(),
    };
    snapshot.views.iter().map(row).collect()
}
