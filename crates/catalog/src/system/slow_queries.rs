use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "slow_queries",
    /// The last 1,000 statements that took at least slow_query_threshold, since the database was opened.
    struct Row {
        /// The statement's number.
        query_id: i64,
        /// The session that ran it.
        session_id: i64,
        /// Whose session that is.
        user_name: String,
        /// Its text.
        statement: String,
        /// When it began.
        started_at: Instant,
        /// How long it took, in milliseconds.
        duration_ms: f64,
        /// Rows it returned or changed; NULL when it failed.
        row_count: Option<i64>,
        /// Why it failed; NULL when it did not.
        error: Option<String>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |query: &crate::snapshot::SlowQuery| Row {
        query_id: query.id as i64,
        session_id: query.session as i64,
        user_name: query.user.clone(),
        statement: query.statement.clone(),
        started_at: Instant::from_millis(query.started_at_ms),
        duration_ms: query.duration_ms,
        row_count: query.rows.map(|rows| rows as i64),
        error: query.error.clone(),
    };
    snapshot.slow_queries.iter().map(row).collect()
}
