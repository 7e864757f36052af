use super::oid;
use crate::{PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_collation",
    /// Collations: text is compared by its bytes, whatever the name.
    struct Row {
        oid: i64,
        collname: String,
        collnamespace: i64,
        collowner: i64,
        collprovider: String,
        collisdeterministic: bool,
        collencoding: i32,
        collcollate: Option<String>,
        collctype: Option<String>,
        colliculocale: Option<String>,
        collversion: Option<String>,
    }
}

/// The number of `default`.
pub(super) const DEFAULT: i64 = 100;

fn rows(_: &Snapshot) -> Vec<Row> {
    let row = |oid, name: &str, locale: Option<&str>| Row {
        oid,
        collname: name.to_string(),
        collnamespace: oid::schema(PG_CATALOG),
        collowner: oid::user(crate::BUILT_IN_USER),
        collprovider: if locale.is_some() { "c" } else { "d" }.to_string(),
        collisdeterministic: true,
        collencoding: -1,
        collcollate: locale.map(str::to_string),
        collctype: locale.map(str::to_string),
        colliculocale: None,
        collversion: None,
    };
    vec![row(DEFAULT, "default", None), row(950, "C", Some("C"))]
}
