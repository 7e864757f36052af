use super::relation::{Kind, relations};
use super::{am, oid};
use crate::{PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_class",
    /// Tables, views, computed tables and the indexes of primary keys.
    struct Row {
        oid: i64,
        relname: String,
        relnamespace: i64,
        reltype: i64,
        reloftype: i64,
        relowner: i64,
        relam: i64,
        relfilenode: i64,
        reltablespace: i64,
        relpages: i32,
        reltuples: f64,
        relallvisible: i32,
        reltoastrelid: i64,
        relhasindex: bool,
        relisshared: bool,
        relpersistence: String,
        relkind: String,
        relnatts: i16,
        relchecks: i16,
        relhasrules: bool,
        relhastriggers: bool,
        relhassubclass: bool,
        relrowsecurity: bool,
        relforcerowsecurity: bool,
        relispopulated: bool,
        relreplident: String,
        relispartition: bool,
        relrewrite: i64,
        relfrozenxid: i64,
        relminmxid: i64,
        relacl: Option<Vec<String>>,
        reloptions: Option<Vec<String>>,
        relpartbound: Option<String>,
    }
}

/// The bytes of a page of PostgreSQL's.
const PAGE_BYTES: i64 = 8192;

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |relation: super::relation::Relation| Row {
        oid: relation.oid,
        relnamespace: oid::schema(relation.schema),
        reltype: if relation.kind == Kind::Index { 0 } else { oid::row_type(relation.oid) },
        reloftype: 0,
        relowner: oid::user(&relation.owner),
        relam: match relation.kind {
            Kind::Table => am::HEAP,
            Kind::View => 0,
            Kind::Index => am::BTREE,
        },
        relfilenode: 0,
        reltablespace: 0,
        relpages: i32::try_from((relation.bytes + PAGE_BYTES - 1) / PAGE_BYTES).unwrap_or(i32::MAX),
        reltuples: relation.rows as f64,
        relallvisible: 0,
        reltoastrelid: 0,
        relhasindex: relation.has_key,
        relisshared: false,
        relpersistence: "p".to_string(),
        relkind: relation.kind.letter().to_string(),
        relnatts: relation.columns.len() as i16,
        relchecks: relation.checks as i16,
        relhasrules: relation.kind == Kind::View,
        relhastriggers: false,
        relhassubclass: false,
        relrowsecurity: false,
        relforcerowsecurity: false,
        relispopulated: true,
        relreplident: if relation.kind == Kind::Table { "d" } else { "n" }.to_string(),
        relispartition: false,
        relrewrite: 0,
        relfrozenxid: 0,
        relminmxid: 0,
        relacl: None,
        reloptions: None,
        relpartbound: None,
        relname: relation.name,
    };
    relations(snapshot).into_iter().map(row).collect()
}
