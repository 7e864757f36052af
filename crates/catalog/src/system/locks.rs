use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "locks",
    /// One row a table, or a row of a table, that a session keeps from changing, or waits for.
    struct Row {
        /// The session that holds it or waits for it.
        session_id: i64,
        /// The table, or that of the row.
        table_name: String,
        /// `shared`: it writes rows, and the schema stays as it is; `exclusive`: it loads rows or changes the schema, and
        /// nobody else writes; `row`: its transaction changes this row or has chosen it with `FOR UPDATE`, and nobody else
        /// changes or chooses it until that ends.
        mode: String,
        /// Whether it has the lock; otherwise it waits for it.
        granted: bool,
        /// Sessions that it waits for, as `3, 5`: those that hold the table or row, and those that came earlier; NULL when it
        /// waits for none.
        waits_for: Option<String>,
        /// Since when it has the lock, or waits for it.
        since: Instant,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |lock: &crate::snapshot::Lock| Row {
        session_id: lock.session as i64,
        table_name: lock.table.clone(),
        mode: lock.mode.to_string(),
        granted: lock.granted,
        waits_for: listed(&lock.waits_for),
        since: Instant::from_millis(lock.since_ms),
    };
    snapshot.locks.iter().map(row).collect()
}

fn listed(sessions: &[u64]) -> Option<String> {
    let numbers = sessions.iter().map(ToString::to_string).collect::<Vec<_>>();
    (!numbers.is_empty()).then(|| numbers.join(", "))
}
