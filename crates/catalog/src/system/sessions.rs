use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "sessions",
    /// One row a session.
    struct Row {
        /// The session's number.
        session_id: i64,
        /// Whose it is; `evenkeel` where nobody had to log in.
        user_name: String,
        /// Where the client is; NULL within the process.
        client_address: Option<String>,
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
        user_name: session.user.clone(),
        client_address: session.client.clone(),
        application: session.application.clone(),
        state: session.state.to_string(),
        statements: session.statements as i64,
        started_at: Instant::from_millis(session.started_at_ms),
    };
    snapshot.sessions.iter().map(row).collect()
}
