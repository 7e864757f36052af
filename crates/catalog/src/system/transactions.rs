use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "transactions",
    /// One row an open transaction block.
    struct Row {
        /// The session that has it open.
        session_id: i64,
        /// The timestamp it reads at.
        start_timestamp: i64,
        /// `open`, or `failed`: it takes nothing but ROLLBACK.
        state: String,
        /// Rows it has written and not committed.
        written_rows: i64,
        /// Bytes it has written and not committed.
        written_bytes: i64,
        /// When it began.
        started_at: Instant,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |transaction: &crate::snapshot::Transaction| Row {
        session_id: transaction.session as i64,
        start_timestamp: transaction.start as i64,
        state: transaction.state.to_string(),
        written_rows: transaction.written_rows as i64,
        written_bytes: transaction.written_bytes as i64,
        started_at: Instant::from_millis(transaction.started_at_ms),
    };
    snapshot.transactions.iter().map(row).collect()
}
