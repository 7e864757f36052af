use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "sessions",
    /// One row a session.
    struct Row {
        /// The session's number.
        session_id: i64,
        /// What the client calls itself.
        application: String,
        /// `active` while a statement runs, `idle`, or `idle in transaction`.
        state: String,
        /// Statements it has run.
        statements: i64,
        /// When it began.
        started_at: Instant,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |session: &crate::snapshot::Session| Row {
        session_id: session.id as i64,
        application: session.application.clone(),
        state: session.state.to_string(),
        statements: session.statements as i64,
        started_at: Instant::from_millis(session.started_at_ms),
    };
    snapshot.sessions.iter().map(row).collect()
}
