use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "tables",
    /// One row a stored table: its keys and what it holds.
    struct Row {
        /// The number under which its rows are stored.
        table_id: i64,
        /// The schema it is in.
        table_schema: String,
        /// Its name.
        table_name: String,
        /// The user who may do everything with it; `evenkeel` where nobody had to log in.
        owner: String,
        /// The columns of its primary key; NULL where rows have a hidden row id.
        primary_key: Option<String>,
        /// The columns that decide a row's shard; NULL where it is the hidden row id.
        shard_key: Option<String>,
        /// Live rows, counted exactly.
        row_count: i64,
        /// Bytes of its live keys and rows, before compression.
        storage_bytes: i64,
        /// How often its columns changed.
        row_versions: i64,
        /// When it was made.
        created_at: Instant,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |state: &crate::snapshot::TableState| {
        let table = &state.table;
        let names = |ids: &[u32]| (!table.has_hidden_key()).then(|| table.names(ids).join(", "));
        Row {
            table_id: i64::from(table.id.0),
            table_schema: crate::PUBLIC.to_string(),
            table_name: table.name.clone(),
            owner: table.access.owner.clone().unwrap_or_else(|| crate::BUILT_IN_USER.to_string()),
            primary_key: names(&table.primary_key),
            shard_key: names(&table.shard_key),
            row_count: state.rows,
            storage_bytes: state.bytes,
            row_versions: table.row_versions.len() as i64,
            created_at: Instant::from_millis(table.created_at),
        }
    };
    snapshot.tables.iter().map(row).collect()
}
