use super::oid;
use crate::{BUILT_IN_USER, PG_CATALOG, SCHEMAS, Snapshot};

computed_table! { PG_CATALOG, "pg_namespace",
    /// Schemas.
    struct Row {
        oid: i64,
        nspname: String,
        nspowner: i64,
        nspacl: Option<Vec<String>>,
    }
}

fn rows(_: &Snapshot) -> Vec<Row> {
    let nspowner = oid::user(BUILT_IN_USER);
    SCHEMAS.map(|name| Row { oid: oid::schema(name), nspname: name.to_string(), nspowner, nspacl: None }).to_vec()
}
