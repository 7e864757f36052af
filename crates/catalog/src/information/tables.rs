use super::CATALOG;
use crate::{INFORMATION_SCHEMA, PUBLIC, Snapshot};

computed_table! { INFORMATION_SCHEMA, "tables",
    /// One row a table or view, of every schema.
    struct Row {
        /// The database.
        table_catalog: String,
        /// The schema.
        table_schema: String,
        /// The name.
        table_name: String,
        /// `BASE TABLE`, `VIEW`, or `SYSTEM VIEW` for what is computed.
        table_type: String,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |schema: &str, name: &str, kind: &str| Row {
        table_catalog: CATALOG.to_string(),
        table_schema: schema.to_string(),
        table_name: name.to_string(),
        table_type: kind.to_string(),
    };
    let tables = snapshot.tables.iter().map(|state| row(PUBLIC, &state.table.name, "BASE TABLE"));
    let views = snapshot.views.iter().map(|view| row(PUBLIC, &view.name, "VIEW"));
    let computed = crate::computed_tables().map(|table| row(table.schema_name, table.name, "SYSTEM VIEW"));
    tables.chain(views).chain(computed).collect()
}
