//! Who may do what.
//!
//! ```text
//! statement ─▶ needs (from its tree) ─▶ authorize ─▶ waits for its tables ─▶ authorize again ─▶ does it
//!              names ─▶ Select (when they are looked up, in sub-queries, views, EXPLAIN …) ─▶ authorize
//! ```
//!
//! What a statement does is decided from its tree before anything else happens, and once more when it has waited for the
//! locks of its tables: while it waited, a table of that name may have become another one's. What it reads is decided
//! where names become tables (`planning`), because nothing is read that was not looked up there; the two shorter ways to
//! one row ask by themselves. A view reads with its owner's rights, so that a part of a table can be shared.
//!
//! Everybody's rights are looked up anew for each statement, also of an open session or a prepared statement. The database's
//! own user, whom sessions are that were opened within the process, and admins may do everything: for them nothing is
//! computed.
//!
//! WHAT MAY NEVER HAPPEN: a row, or what a statement says about rows, reaches a user without the right to it; a kind of
//! statement that nobody thought about is carried out for a plain user; a password is stored or shown.

mod needs;
mod rights;
mod scram;
mod session;
mod statements;
mod users;
mod visible;

pub(crate) use needs::{Need, needs, update_needs};
pub use scram::Verifier;
pub(crate) use session::Who;
pub use users::Credential;
pub(crate) use users::Users;
pub(crate) use visible::{may_read, sees_through, visible};

use crate::database::Schemas;
use evenkeel_catalog::{Access, BUILT_IN_USER};
use evenkeel_model::{Error, Privilege, Result, Role, SqlState};
use std::sync::Arc;

/// Who carries a statement out, and what that user is at this moment.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: Arc<str>,
    /// `None` for the database's own user.
    role: Option<Role>,
}

impl Identity {
    pub(crate) fn new(name: Arc<str>, role: Role) -> Self {
        Self { name, role: Some(role) }
    }

    /// The database's own user: whoever has its files has everything.
    pub(crate) fn built_in() -> Self {
        Self { name: Arc::from(BUILT_IN_USER), role: None }
    }

    /// Whether there is nothing that this user may not do.
    pub(crate) fn is_unrestricted(&self) -> bool {
        matches!(self.role, None | Some(Role::Admin))
    }

    /// Whether this user keeps the database running, and may see what everybody does.
    pub(crate) fn is_operator(&self) -> bool {
        self.role.is_none_or(|role| role >= Role::Operator)
    }

    /// Whose the things are that this user makes.
    pub(crate) fn owner(&self) -> Option<String> {
        self.role.map(|_| self.name.to_string())
    }

    fn meets(&self, need: &Need, schemas: &Schemas) -> bool {
        // What is not there, the statement itself says.
        let access = |name: &str, may: &dyn Fn(&Access) -> bool| schemas.access(name).is_none_or(may);
        match need {
            Need::Table(privilege, table) => access(table, &|access| access.allows(&self.name, *privilege)),
            Need::Look(table) => self.is_operator() || access(table, &|access| access.concerns(&self.name)),
            Need::Own(table) => access(table, &|access| access.is_owner(&self.name)),
            Need::Settings | Need::Shards | Need::ServerFiles(_) | Need::Activity(_) => self.is_operator(),
            Need::Stop(user) => self.is_operator() || **user == *self.name,
            Need::Password(user) => **user == *self.name,
            Need::Users | Need::Undecided(_) => false,
        }
    }
}

/// Whether a user may do all that a statement needs. This is the only function that decides.
///
/// # Errors
/// 42501 with what is missing and who could help.
pub(crate) fn authorize(identity: &Identity, needs: &[Need], schemas: &Schemas) -> Result<()> {
    if identity.is_unrestricted() {
        return Ok(());
    }
    match needs.iter().find(|need| !identity.meets(need, schemas)) {
        None => Ok(()),
        Some(need) => Err(refusal(identity, need)),
    }
}

fn refusal(identity: &Identity, need: &Need) -> Error {
    let name = &identity.name;
    let denied = |message: String, hint: String| Error::new(SqlState::InsufficientPrivilege, message).with_hint(hint);
    let ask = |who: &str, what: &str| format!("{who} can: {what}");
    let operator = |what: &str| {
        denied(format!("only operators may {what}"), ask("an admin", &format!("GRANT operator TO {name}")))
    };
    match need {
        Need::Table(privilege, table) => denied(
            format!("permission denied for \"{table}\": {privilege} was not granted to {name}"),
            ask("its owner or an admin", &format!("GRANT {privilege} ON {table} TO {name}")),
        ),
        Need::Look(table) => denied(
            format!("permission denied for \"{table}\""),
            ask("its owner or an admin", &format!("GRANT {} ON {table} TO {name}", Privilege::Select)),
        ),
        Need::Own(table) => denied(
            format!("permission denied for \"{table}\": {name} does not own it"),
            "its owner and admins may do this".to_string(),
        ),
        Need::Settings => operator("change settings of the whole database"),
        Need::Shards => operator("look after shards and jobs"),
        Need::ServerFiles(file) => operator(&format!("use files of the server, such as '{file}'")),
        Need::Activity(table) => operator(&format!("read SYSTEM.{}", table.to_uppercase())),
        Need::Stop(user) => operator(&format!("stop a statement of {user}")),
        Need::Password(user) => {
            denied(format!("only admins may change the password of {user}"), format!("ALTER USER {name} PASSWORD '…'"))
        }
        Need::Users => {
            denied("only admins may look after users".to_string(), ask("an admin", &format!("GRANT admin TO {name}")))
        }
        Need::Undecided(what) => Error::unsupported(format!("{what} is not supported")),
    }
}
