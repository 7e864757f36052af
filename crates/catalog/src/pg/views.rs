use super::relation::owner;
use crate::{PG_CATALOG, PUBLIC, Snapshot};

computed_table! { PG_CATALOG, "pg_views",
    /// Views, by name.
    struct Row {
        schemaname: String,
        viewname: String,
        viewowner: String,
        definition: String,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |view: &crate::View| Row {
        schemaname: PUBLIC.to_string(),
        viewname: view.name.clone(),
        viewowner: owner(&view.access),
        definition: view.query.clone(),
    };
    snapshot.views.iter().map(row).collect()
}
