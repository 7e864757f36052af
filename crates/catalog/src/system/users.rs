use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "users",
    /// One row a user that can log in.
    struct Row {
        /// The user's name.
        user_name: String,
        /// `user`, `operator` or `admin`.
        role: String,
        /// Connections that the user may have at the same time; NULL where `max_connections_per_user` says.
        connection_limit: Option<i64>,
        /// When the user was made.
        created_at: Instant,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |user: &crate::snapshot::User| Row {
        user_name: user.name.clone(),
        role: user.role.name().to_string(),
        connection_limit: user.connection_limit.map(i64::from),
        created_at: Instant::from_millis(user.created_at_ms),
    };
    snapshot.users.iter().map(row).collect()
}
