//! A session's side of it: who it is now, and what its statement may do.

use super::{Identity, Need, needs};
use crate::names::Names;
use crate::pg::Shown;
use crate::session::{SessionInner, SessionState};
use crate::view::ReadView;
use evenkeel_model::{Error, Privilege, Result};
use evenkeel_pql::StatementKind;
use std::sync::Arc;

/// Whose a session is.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// The database's own: it was opened within the process.
    BuiltIn,
    /// The user of this number, whatever may have become of the name.
    User { name: Arc<str>, id: u64 },
}

impl SessionInner {
    /// What the session's user is at this moment.
    ///
    /// # Errors
    /// 28000 when the user was dropped.
    pub(crate) fn identity(&self) -> Result<Identity> {
        match &self.who {
            Who::BuiltIn => Ok(Identity::built_in()),
            Who::User { name, id } => self.database.users().identity(name, Some(*id)),
        }
    }

    /// Finds out for a new statement who carries it out. The statements of a user who was dropped end here, and so does
    /// the transaction that was open.
    pub(crate) fn identify(&self, state: &mut SessionState) -> Result<()> {
        if let Who::User { .. } = self.who {
            state.identity = self.identity().inspect_err(|_| state.transaction = None)?;
        }
        state.needs.clear();
        Ok(())
    }

    /// The names that a statement of the session can use.
    pub(crate) fn names(&self, state: &SessionState) -> Names {
        self.names_under(self.view(state), state)
    }

    /// The names that a statement of the session can use that is looked at and not carried out.
    pub(crate) fn names_unread(&self, state: &SessionState) -> Names {
        self.names_under(self.view_of_rows(state), state)
    }

    fn names_under(&self, view: ReadView, state: &SessionState) -> Names {
        let shown = Arc::new(Shown::new(&self.database, state.identity.clone(), self.id));
        Names { shown, ..Names::new(view, state.identity.clone()) }
    }

    /// Decides whether a statement may be carried out, before anything else is done for it.
    pub(crate) fn permit(&self, state: &mut SessionState, kind: &StatementKind) -> Result<()> {
        if state.identity.is_unrestricted() {
            return Ok(());
        }
        state.needs = needs(kind, &|query| self.database.registry.user_of_query(query));
        self.permitted(state)
    }

    /// Decides again, when the statement has waited for what it changes.
    pub(crate) fn permitted(&self, state: &SessionState) -> Result<()> {
        self.database.permits(&state.identity, &state.needs)
    }

    /// An error of an UPDATE, without the row that it is about for a user who may not read it.
    pub(crate) fn discreet(&self, state: &SessionState, error: Error) -> Error {
        let reads = |need: &Need| matches!(need, Need::Table(Privilege::Select, _));
        if state.identity.is_unrestricted() || state.needs.iter().any(reads) {
            return error;
        }
        Error { detail: None, ..error }
    }
}
