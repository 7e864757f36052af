use super::relation::relations;
use crate::{PG_CATALOG, Snapshot};
use evenkeel_model::{ColumnType, PgType};

computed_table! { PG_CATALOG, "pg_attribute",
    /// Columns of tables, views and indexes.
    struct Row {
        attrelid: i64,
        attname: String,
        atttypid: i64,
        attstattarget: i32,
        attlen: i16,
        attnum: i16,
        attndims: i32,
        attcacheoff: i32,
        atttypmod: i32,
        attbyval: bool,
        attalign: String,
        attstorage: String,
        attcompression: String,
        attnotnull: bool,
        atthasdef: bool,
        atthasmissing: bool,
        attidentity: String,
        attgenerated: String,
        attisdropped: bool,
        attislocal: bool,
        attinhcount: i32,
        attcollation: i64,
        attacl: Option<Vec<String>>,
        attoptions: Option<Vec<String>>,
        attfdwoptions: Option<Vec<String>>,
        attmissingval: Option<String>,
    }
}

/// The collation of text, as of everything that is compared by its bytes.
pub(super) fn collation(category: char) -> i64 {
    if category == 'S' { super::collation::DEFAULT } else { 0 }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for relation in relations(snapshot) {
        for (at, column) in relation.columns.into_iter().enumerate() {
            let kind = column.column_type.oid();
            let category =
                PgType::find(kind.oid).map_or('U', |(kind, is_array)| if is_array { 'A' } else { kind.category });
            let is_array = matches!(column.column_type, ColumnType::Array(_));
            rows.push(Row {
                attrelid: relation.oid,
                attname: column.name,
                atttypid: i64::from(kind.oid),
                attstattarget: -1,
                attlen: kind.size,
                attnum: at as i16 + 1,
                attndims: i32::from(is_array),
                attcacheoff: -1,
                atttypmod: kind.modifier,
                attbyval: matches!(kind.size, 1..=8),
                attalign: "i".to_string(),
                attstorage: if kind.size < 0 { "x" } else { "p" }.to_string(),
                attcompression: String::new(),
                attnotnull: column.not_null,
                atthasdef: column.default.is_some(),
                atthasmissing: false,
                attidentity: String::new(),
                attgenerated: String::new(),
                attisdropped: false,
                attislocal: true,
                attinhcount: 0,
                attcollation: collation(category),
                attacl: None,
                attoptions: None,
                attfdwoptions: None,
                attmissingval: None,
            });
        }
    }
    rows
}
