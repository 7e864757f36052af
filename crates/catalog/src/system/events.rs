use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "events",
    /// The last 10,000 changes of topology, schema and settings, kept across restarts.
    struct Row {
        /// Its number: ascending, never given twice.
        event_id: i64,
        /// When it happened.
        time: Instant,
        /// What kind: `database`, `table`, `setting`, `recovery` …
        kind: String,
        /// What it happened to.
        subject: String,
        /// What happened.
        message: String,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |event: &crate::snapshot::Event| Row {
        event_id: event.id as i64,
        time: Instant::from_millis(event.time_ms),
        kind: event.kind.clone(),
        subject: event.subject.clone(),
        message: event.message.clone(),
    };
    snapshot.events.iter().map(row).collect()
}
