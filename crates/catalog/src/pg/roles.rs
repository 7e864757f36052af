use super::oid;
use crate::{BUILT_IN_USER, PG_CATALOG, Snapshot};
use evenkeel_model::Role;

computed_table! { PG_CATALOG, "pg_roles",
    /// Users.
    struct Row {
        rolname: String,
        rolsuper: bool,
        rolinherit: bool,
        rolcreaterole: bool,
        rolcreatedb: bool,
        rolcanlogin: bool,
        rolreplication: bool,
        rolconnlimit: i32,
        rolpassword: Option<String>,
        rolvaliduntil: Option<crate::Instant>,
        rolbypassrls: bool,
        rolconfig: Option<Vec<String>>,
        oid: i64,
    }
}

fn row(name: &str, role: Role) -> Row {
    let admin = role == Role::Admin;
    Row {
        rolname: name.to_string(),
        rolsuper: admin,
        rolinherit: true,
        rolcreaterole: admin,
        rolcreatedb: false,
        rolcanlogin: true,
        rolreplication: false,
        rolconnlimit: -1,
        rolpassword: Some("********".to_string()),
        rolvaliduntil: None,
        rolbypassrls: admin,
        rolconfig: None,
        oid: oid::user(name),
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let built_in = Row { rolcanlogin: false, ..row(BUILT_IN_USER, Role::Admin) };
    let users = snapshot.users.iter().filter(|user| user.name != BUILT_IN_USER);
    let of = |user: &crate::snapshot::User| {
        let rolconnlimit = user.connection_limit.and_then(|limit| i32::try_from(limit).ok()).unwrap_or(-1);
        Row { rolconnlimit, ..row(&user.name, user.role) }
    };
    std::iter::once(built_in).chain(users.map(of)).collect()
}
