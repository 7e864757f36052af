use super::relation::{Kind, relations};
use crate::{PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_tables",
    /// Tables, by name.
    struct Row {
        schemaname: String,
        tablename: String,
        tableowner: String,
        tablespace: Option<String>,
        hasindexes: bool,
        hasrules: bool,
        hastriggers: bool,
        rowsecurity: bool,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let tables = relations(snapshot).into_iter().filter(|relation| relation.kind == Kind::Table);
    let row = |relation: super::relation::Relation| Row {
        schemaname: relation.schema.to_string(),
        tablename: relation.name,
        tableowner: relation.owner,
        tablespace: None,
        hasindexes: relation.has_key,
        hasrules: false,
        hastriggers: false,
        rowsecurity: false,
    };
    tables.map(row).collect()
}
