use super::CATALOG;
use crate::{INFORMATION_SCHEMA, SCHEMAS, Snapshot};

computed_table! { INFORMATION_SCHEMA, "schemata",
    /// One row a schema.
    struct Row {
        /// The database.
        catalog_name: String,
        /// The schema.
        schema_name: String,
    }
}

fn rows(_snapshot: &Snapshot) -> Vec<Row> {
    SCHEMAS.map(|name| Row { catalog_name: CATALOG.to_string(), schema_name: name.to_string() }).to_vec()
}
