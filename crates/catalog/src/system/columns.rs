use crate::{SYSTEM, Snapshot};

computed_table! { SYSTEM, "columns",
    /// One row a column of a stored table.
    struct Row {
        /// The table's name.
        table_name: String,
        /// The column's name.
        column_name: String,
        /// Its position, from 1.
        position: i64,
        /// Its type.
        data_type: String,
        /// Whether it may be NULL.
        nullable: bool,
        /// Its DEFAULT expression.
        default: Option<String>,
        /// Its position in the primary key, from 1.
        primary_key_position: Option<i64>,
        /// Its position in the shard key, from 1.
        shard_key_position: Option<i64>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let place = |ids: &[u32], id: u32| ids.iter().position(|other| *other == id).map(|at| at as i64 + 1);
    let mut rows = Vec::new();
    for table in snapshot.tables.iter().map(|state| &state.table) {
        rows.extend(table.visible().enumerate().map(|(position, column)| Row {
            table_name: table.name.clone(),
            column_name: column.name.clone(),
            position: position as i64 + 1,
            data_type: column.column_type.to_string(),
            nullable: column.nullable,
            default: column.default.clone(),
            primary_key_position: place(&table.primary_key, column.id),
            shard_key_position: place(&table.shard_key, column.id),
        }));
    }
    rows
}
