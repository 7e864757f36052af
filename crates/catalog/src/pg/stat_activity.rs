use super::oid;
use crate::{DATABASE, Instant, PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_stat_activity",
    /// Sessions, and the statement that each runs.
    struct Row {
        datid: i64,
        datname: String,
        pid: i64,
        leader_pid: Option<i64>,
        usesysid: i64,
        usename: String,
        application_name: String,
        client_addr: Option<String>,
        client_hostname: Option<String>,
        client_port: Option<i32>,
        backend_start: Instant,
        xact_start: Option<Instant>,
        query_start: Option<Instant>,
        state_change: Option<Instant>,
        wait_event_type: Option<String>,
        wait_event: Option<String>,
        state: String,
        backend_xid: Option<i64>,
        backend_xmin: Option<i64>,
        query_id: Option<i64>,
        query: String,
        backend_type: String,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |session: &crate::snapshot::Session| {
        let query = snapshot.queries.iter().find(|query| query.session == session.id);
        let transaction = snapshot.transactions.iter().find(|transaction| transaction.session == session.id);
        let client = session.client.as_deref().and_then(|client| client.rsplit_once(':'));
        Row {
            datid: 5,
            datname: DATABASE.to_string(),
            pid: session.id as i64,
            leader_pid: None,
            usesysid: oid::user(&session.user),
            usename: session.user.clone(),
            application_name: session.application.clone(),
            client_addr: client.map(|(address, _)| address.to_string()),
            client_hostname: None,
            client_port: client.and_then(|(_, port)| port.parse().ok()),
            backend_start: Instant::from_millis(session.started_at_ms),
            xact_start: transaction.map(|transaction| Instant::from_millis(transaction.started_at_ms)),
            query_start: query.map(|query| Instant::from_millis(query.started_at_ms)),
            state_change: None,
            wait_event_type: None,
            wait_event: None,
            state: session.state.to_string(),
            backend_xid: None,
            backend_xmin: None,
            query_id: query.map(|query| query.id as i64),
            query: query.map(|query| query.statement.clone()).unwrap_or_default(),
            backend_type: "client backend".to_string(),
        }
    };
    snapshot.sessions.iter().map(row).collect()
}
