use super::oid;
use crate::{BUILT_IN_USER, PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_tablespace",
    /// Tablespaces: one.
    struct Row {
        oid: i64,
        spcname: String,
        spcowner: i64,
        spcacl: Option<Vec<String>>,
        spcoptions: Option<Vec<String>>,
    }
}

/// The number of the only one.
pub(super) const DEFAULT: i64 = 1663;

fn rows(_: &Snapshot) -> Vec<Row> {
    let spcowner = oid::user(BUILT_IN_USER);
    vec![Row { oid: DEFAULT, spcname: "pg_default".to_string(), spcowner, spcacl: None, spcoptions: None }]
}
