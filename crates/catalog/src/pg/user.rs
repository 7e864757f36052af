use super::oid;
use crate::{PG_CATALOG, Snapshot};
use evenkeel_model::Role;

computed_table! { PG_CATALOG, "pg_user",
    /// Users, by PostgreSQL's older names.
    struct Row {
        usename: String,
        usesysid: i64,
        usecreatedb: bool,
        usesuper: bool,
        userepl: bool,
        usebypassrls: bool,
        passwd: Option<String>,
        valuntil: Option<crate::Instant>,
        useconfig: Option<Vec<String>>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |user: &crate::snapshot::User| Row {
        usename: user.name.clone(),
        usesysid: oid::user(&user.name),
        usecreatedb: false,
        usesuper: user.role == Role::Admin,
        userepl: false,
        usebypassrls: user.role == Role::Admin,
        passwd: Some("********".to_string()),
        valuntil: None,
        useconfig: None,
    };
    snapshot.users.iter().map(row).collect()
}
