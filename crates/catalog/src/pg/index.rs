use super::oid;
use super::relation::key;
use crate::{PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_index",
    /// Primary keys: there are no other indexes.
    struct Row {
        indexrelid: i64,
        indrelid: i64,
        indnatts: i16,
        indnkeyatts: i16,
        indisunique: bool,
        indnullsnotdistinct: bool,
        indisprimary: bool,
        indisexclusion: bool,
        indimmediate: bool,
        indisclustered: bool,
        indisvalid: bool,
        indcheckxmin: bool,
        indisready: bool,
        indislive: bool,
        indisreplident: bool,
        indkey: Vec<i16>,
        indcollation: Vec<i64>,
        indclass: Vec<i64>,
        indoption: Vec<i16>,
        indexprs: Option<String>,
        indpred: Option<String>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let tables = snapshot.tables.iter().map(|state| &state.table).filter(|table| !table.has_hidden_key());
    let row = |table: &crate::Table| {
        let indkey = key(table);
        let count = indkey.len();
        Row {
            indexrelid: oid::key_index(table.id),
            indrelid: oid::table(table.id),
            indnatts: count as i16,
            indnkeyatts: count as i16,
            indisunique: true,
            indnullsnotdistinct: false,
            indisprimary: true,
            indisexclusion: false,
            indimmediate: true,
            indisclustered: false,
            indisvalid: true,
            indcheckxmin: false,
            indisready: true,
            indislive: true,
            indisreplident: false,
            indkey,
            indcollation: vec![0; count],
            indclass: vec![0; count],
            indoption: vec![0; count],
            indexprs: None,
            indpred: None,
        }
    };
    tables.map(row).collect()
}
