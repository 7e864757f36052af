use super::oid;
use super::relation::{key, key_name};
use crate::{PG_CATALOG, PUBLIC, Snapshot};

computed_table! { PG_CATALOG, "pg_constraint",
    /// Primary keys and CHECKs.
    struct Row {
        oid: i64,
        conname: String,
        connamespace: i64,
        contype: String,
        condeferrable: bool,
        condeferred: bool,
        convalidated: bool,
        conrelid: i64,
        contypid: i64,
        conindid: i64,
        conparentid: i64,
        confrelid: i64,
        confupdtype: String,
        confdeltype: String,
        confmatchtype: String,
        conislocal: bool,
        coninhcount: i32,
        connoinherit: bool,
        conkey: Option<Vec<i16>>,
        confkey: Option<Vec<i16>>,
        conpfeqop: Option<Vec<i64>>,
        conppeqop: Option<Vec<i64>>,
        conffeqop: Option<Vec<i64>>,
        confdelsetcols: Option<Vec<i16>>,
        conexclop: Option<Vec<i64>>,
        conbin: Option<String>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |oid, conname: String, contype: &str, conrelid| Row {
        oid,
        conname,
        connamespace: oid::schema(PUBLIC),
        contype: contype.to_string(),
        condeferrable: false,
        condeferred: false,
        convalidated: true,
        conrelid,
        contypid: 0,
        conindid: 0,
        conparentid: 0,
        confrelid: 0,
        confupdtype: " ".to_string(),
        confdeltype: " ".to_string(),
        confmatchtype: " ".to_string(),
        conislocal: true,
        coninhcount: 0,
        connoinherit: contype == "p",
        conkey: None,
        confkey: None,
        conpfeqop: None,
        conppeqop: None,
        conffeqop: None,
        confdelsetcols: None,
        conexclop: None,
        conbin: None,
    };
    let mut rows = Vec::new();
    for table in snapshot.tables.iter().map(|state| &state.table) {
        let of = oid::table(table.id);
        if !table.has_hidden_key() {
            let primary = row(oid::primary_key(table.id), key_name(table), "p", of);
            rows.push(Row { conindid: oid::key_index(table.id), conkey: Some(key(table)), ..primary });
        }
        rows.extend(table.checks.iter().map(|check| Row {
            conbin: Some(check.expression.clone()),
            ..row(oid::check(&table.name, &check.name), check.name.clone(), "c", of)
        }));
    }
    rows
}
