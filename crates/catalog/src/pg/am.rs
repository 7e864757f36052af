use crate::{PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_am",
    /// Access methods: what tables and primary keys are said to be kept in.
    struct Row {
        oid: i64,
        amname: String,
        amhandler: String,
        amtype: String,
    }
}

/// The method of tables.
pub(super) const HEAP: i64 = 2;
/// The method of primary keys.
pub(super) const BTREE: i64 = 403;

fn rows(_: &Snapshot) -> Vec<Row> {
    let row = |oid, amname: &str, handler: &str, amtype: &str| Row {
        oid,
        amname: amname.to_string(),
        amhandler: handler.to_string(),
        amtype: amtype.to_string(),
    };
    vec![row(HEAP, "heap", "heap_tableam_handler", "t"), row(BTREE, "btree", "bthandler", "i")]
}
