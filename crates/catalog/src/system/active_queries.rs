use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "active_queries",
    /// One row a statement that runs now; KILL QUERY stops it.
    struct Row {
        /// The number that KILL QUERY takes.
        query_id: i64,
        /// The session that runs it.
        session_id: i64,
        /// Whose session that is.
        user_name: String,
        /// Its text.
        statement: String,
        /// When it began.
        started_at: Instant,
        /// How long it has run, in milliseconds.
        elapsed_ms: f64,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |query: &crate::snapshot::Query| Row {
        query_id: query.id as i64,
        session_id: query.session as i64,
        user_name: query.user.clone(),
        statement: query.statement.clone(),
        started_at: Instant::from_millis(query.started_at_ms),
        elapsed_ms: query.elapsed_ms,
    };
    snapshot.queries.iter().map(row).collect()
}
