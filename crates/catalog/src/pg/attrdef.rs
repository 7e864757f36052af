use super::oid;
use crate::{PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_attrdef",
    /// DEFAULT expressions; `adbin` is the expression itself.
    struct Row {
        oid: i64,
        adrelid: i64,
        adnum: i16,
        adbin: String,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for table in snapshot.tables.iter().map(|state| &state.table) {
        rows.extend(table.visible().enumerate().filter_map(|(at, column)| {
            let adbin = column.default.clone()?;
            let oid = oid::default(&table.name, &column.name);
            Some(Row { oid, adrelid: oid::table(table.id), adnum: at as i16 + 1, adbin })
        }));
    }
    rows
}
