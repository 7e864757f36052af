//! CREATE, ALTER and DROP USER, GRANT, REVOKE.

use super::scram::Verifier;
use crate::meta::MetaChange;
use crate::names::byte_span;
use crate::output::Output;
use crate::session::{SessionInner, SessionState};
use crate::statement::{Outcome, blocking};
use crate::types::{fold, table_name};
use evenkeel_catalog::Access;
use evenkeel_model::{Error, Privilege, Result, Role, SqlState};
use evenkeel_pql::ast::{Password, Right, UserChange, UserStatement};
use sqlparser::ast::{self, Spanned};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What happens to rights.
#[derive(Clone, Copy)]
enum Change {
    Grant,
    Revoke,
}

impl SessionInner {
    pub(crate) async fn user_statement(
        &self,
        state: &SessionState,
        statement: UserStatement,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        match statement {
            UserStatement::Create { name, if_not_exists, password, role } => {
                self.create_user(&name, if_not_exists, &password, role, text, output).await
            }
            UserStatement::Alter { name, change } => self.alter_user(&name, change, text).await,
            UserStatement::Drop { names, if_exists } => self.drop_users(state, &names, if_exists, text, output).await,
            UserStatement::Grant { right: Right::Role(role), to } => self.grant_role(role, &to, text),
            UserStatement::Revoke { right: Right::Role(role), from } => {
                self.revoke_role(role, &from, text, output).await
            }
            UserStatement::Grant { right: Right::On { privileges, tables }, to } => {
                self.change_rights(state, Change::Grant, &privileges, &tables, &to, text).await
            }
            UserStatement::Revoke { right: Right::On { privileges, tables }, from } => {
                self.change_rights(state, Change::Revoke, &privileges, &tables, &from, text).await
            }
        }
    }

    async fn create_user(
        &self,
        name: &ast::Ident,
        if_not_exists: bool,
        password: &Password,
        role: Role,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let user = fold(name);
        let verifier = verifier(password).await?;
        let absent = |users: &super::Users| users.get(&user).is_err();
        let made = self.database.create_user(&user, &verifier, role, absent).map_err(|error| at(error, name, text))?;
        if !made && !if_not_exists {
            let error = Error::new(SqlState::DuplicateObject, format!("user \"{user}\" exists already"))
                .with_hint(format!("ALTER USER {name} PASSWORD '…' changes the password"));
            return Err(at(error, name, text));
        }
        if !made {
            output.notice(format!("user \"{user}\" exists already, skipping"), None).await?;
        }
        Ok(Outcome::new("CREATE ROLE"))
    }

    async fn alter_user(&self, name: &ast::Ident, change: UserChange, text: &str) -> Result<Outcome> {
        let users = [self.known(name, text)?];
        match change {
            UserChange::Password(password) => {
                let verifier = verifier(&password).await?;
                self.database.change_users(&users, "password changed", |user| user.set_verifier(&verifier))?;
            }
            UserChange::Role(role) => {
                self.database.change_users(&users, &format!("made {role}"), |user| user.role = role)?;
            }
            UserChange::ConnectionLimit(limit) => {
                let told =
                    limit.map_or("connection limit lifted".to_string(), |limit| format!("connection limit {limit}"));
                self.database.change_users(&users, &told, |user| user.connection_limit = limit)?;
            }
        }
        Ok(Outcome::new("ALTER ROLE"))
    }

    async fn drop_users(
        &self,
        state: &SessionState,
        names: &[ast::Ident],
        if_exists: bool,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        // Tables that the user is making right now are its own when they are there.
        let _one_at_a_time = self.database.schema_change.lock().await;
        let (mut users, mut record) = (Vec::new(), MetaChange::default());
        for name in names {
            let user = fold(name);
            if if_exists && self.database.users().get(&user).is_err() {
                output.notice(format!("user \"{user}\" does not exist, skipping"), None).await?;
                continue;
            }
            let user = self.known(name, text)?;
            if *user == *state.identity.name {
                let error =
                    Error::new(SqlState::ObjectNotInPrerequisiteState, "the user of this session cannot be dropped");
                return Err(at(error.with_hint("another admin can do it"), name, text));
            }
            self.database.forget_rights(&user, &mut record).map_err(|error| at(error, name, text))?;
            if !users.contains(&user) {
                users.push(user);
            }
        }
        self.database.drop_users(&users, record)?;
        Ok(Outcome::new("DROP ROLE"))
    }

    fn grant_role(&self, role: Role, to: &[ast::Ident], text: &str) -> Result<Outcome> {
        let users = to.iter().map(|name| self.known(name, text)).collect::<Result<Vec<_>>>()?;
        // An admin is an operator already.
        self.database.change_users(&users, &format!("granted {role}"), |user| user.role = user.role.max(role))?;
        Ok(Outcome::new("GRANT ROLE"))
    }

    async fn revoke_role(&self, role: Role, from: &[ast::Ident], text: &str, output: &Output) -> Result<Outcome> {
        let mut users = Vec::new();
        for name in from {
            let user = self.known(name, text)?;
            let present = self.database.users().get(&user)?.role;
            if present == role {
                users.push(user);
            } else {
                let message = format!("user \"{user}\" is no {role} but {present}, skipping");
                output.notice(message, Some("ALTER USER name SET ROLE role")).await?;
            }
        }
        let take = |user: &mut super::users::StoredUser| {
            if user.role == role {
                user.role = Role::User;
            }
        };
        self.database.change_users(&users, &format!("no {role} any more"), take)?;
        Ok(Outcome::new("REVOKE ROLE"))
    }

    async fn change_rights(
        &self,
        state: &SessionState,
        change: Change,
        privileges: &BTreeSet<Privilege>,
        tables: &[ast::ObjectName],
        users: &[ast::Ident],
        text: &str,
    ) -> Result<Outcome> {
        let _one_at_a_time = self.database.schema_change.lock().await;
        self.permitted(state)?;
        let users = users.iter().map(|name| self.known(name, text)).collect::<Result<Vec<_>>>()?;
        let names = tables.iter().map(table_name).collect::<Result<Vec<_>>>()?;
        let changed = |access: &mut Access| {
            users.iter().for_each(|user| match change {
                Change::Grant => access.grant(user, privileges),
                Change::Revoke => access.revoke(user, privileges),
            });
        };
        self.database.change_rights(&names, changed).map_err(|error| match tables {
            [only] => byte_span(only.span(), text).map_or(error.clone(), |span| error.at(span)),
            _ => error,
        })?;
        let privileges = privileges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (did, tag) = match change {
            Change::Grant => ("granted to", "GRANT"),
            Change::Revoke => ("revoked from", "REVOKE"),
        };
        let told = format!("{privileges} {did} {}", users.join(", "));
        names.iter().for_each(|name| self.database.event("rights", name, &told));
        Ok(Outcome::new(tag))
    }

    /// A user's name, if there is the user.
    fn known(&self, name: &ast::Ident, text: &str) -> Result<String> {
        let user = fold(name);
        self.database.users().get(&user).map_err(|error| at(error, name, text))?;
        Ok(user)
    }
}

/// Computes for some milliseconds.
async fn verifier(password: &Password) -> Result<Arc<Verifier>> {
    let password = password.clone();
    blocking(move || Verifier::of(password.reveal()).map(Arc::new)).await
}

fn at(error: Error, name: &ast::Ident, text: &str) -> Error {
    byte_span(name.span, text).map_or(error.clone(), |span| error.at(span))
}
