use super::oid;
use crate::{BUILT_IN_USER, DATABASE, PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_database",
    /// The one database.
    struct Row {
        oid: i64,
        datname: String,
        datdba: i64,
        encoding: i32,
        datlocprovider: String,
        datistemplate: bool,
        datallowconn: bool,
        datconnlimit: i32,
        datfrozenxid: i64,
        datminmxid: i64,
        dattablespace: i64,
        datcollate: String,
        datctype: String,
        daticulocale: Option<String>,
        datcollversion: Option<String>,
        datacl: Option<Vec<String>>,
    }
}

/// PostgreSQL's number of UTF-8.
const UTF8: i32 = 6;

fn rows(_: &Snapshot) -> Vec<Row> {
    vec![Row {
        oid: 5,
        datname: DATABASE.to_string(),
        datdba: oid::user(BUILT_IN_USER),
        encoding: UTF8,
        datlocprovider: "c".to_string(),
        datistemplate: false,
        datallowconn: true,
        datconnlimit: -1,
        datfrozenxid: 0,
        datminmxid: 0,
        dattablespace: super::tablespace::DEFAULT,
        datcollate: "C".to_string(),
        datctype: "C".to_string(),
        daticulocale: None,
        datcollversion: None,
        datacl: None,
    }]
}
