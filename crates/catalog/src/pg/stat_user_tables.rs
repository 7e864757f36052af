use super::oid;
use crate::{Instant, PG_CATALOG, PUBLIC, Snapshot};

computed_table! { PG_CATALOG, "pg_stat_user_tables",
    /// Stored tables and how many rows they have.
    struct Row {
        relid: i64,
        schemaname: String,
        relname: String,
        seq_scan: i64,
        idx_scan: i64,
        n_live_tup: i64,
        n_dead_tup: i64,
        last_vacuum: Option<Instant>,
        last_autovacuum: Option<Instant>,
        last_analyze: Option<Instant>,
        last_autoanalyze: Option<Instant>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |state: &crate::snapshot::TableState| Row {
        relid: oid::table(state.table.id),
        schemaname: PUBLIC.to_string(),
        relname: state.table.name.clone(),
        seq_scan: 0,
        idx_scan: 0,
        n_live_tup: state.rows,
        n_dead_tup: 0,
        last_vacuum: None,
        last_autovacuum: None,
        last_analyze: None,
        last_autoanalyze: None,
    };
    snapshot.tables.iter().map(row).collect()
}
