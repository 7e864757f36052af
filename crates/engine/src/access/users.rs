//! The users of a database: who they are, their roles, what is kept of their passwords.
//!
//! One record a user in the database's facts (`user/NAME`), all of them in memory. What a user may do with a table stands
//! with the table ([`evenkeel_catalog::Access`]).
//!
//! WHAT MAY NEVER HAPPEN: there were users and there is no admin any more; a user is dropped and leaves tables or rights to
//! whoever gets that name next.

use super::scram::{self, Key, Verifier};
use super::{Identity, authorize};
use crate::database::Database;
use crate::meta::{Meta, MetaChange, MetaStore};
use crate::oracle::now_ms;
use evenkeel_catalog::{BUILT_IN_USER, snapshot as state};
use evenkeel_model::{Error, Result, Role, SqlState, did_you_mean};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first admin's name.
const FIRST_ADMIN: &str = "admin";
/// Names that mean something else.
const RESERVED: &[&str] = &[BUILT_IN_USER, "public", "none", "user", "current_user", "session_user"];
/// A name is at most so long, as PostgreSQL's are.
const NAME_BYTES_MAX: usize = 63;
/// What salts for unknown names are made from.
const SECRET: &str = "user_secret";

/// A user's record.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredUser {
    /// Never given twice: a session is its user's, not of whoever has the name.
    pub(crate) id: u64,
    pub(crate) role: Role,
    /// Milliseconds since 1970.
    created_at: i64,
    /// See [`Verifier::text`].
    verifier: String,
    /// Connections at the same time, if the user has a limit of its own.
    #[serde(default)]
    pub(crate) connection_limit: Option<u32>,
}

/// That somebody has proved to be a user: good until the user is dropped, or gets another password.
#[derive(Clone)]
pub struct Credential {
    user: String,
    id: u64,
    verifier: String,
}

impl Credential {
    /// The user's name.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

/// All users at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    by_name: BTreeMap<Arc<str>, StoredUser>,
    secret: Key,
}

impl Users {
    pub(crate) fn open(meta: &Meta) -> Result<Self> {
        let stored = meta.list::<StoredUser>("user/")?;
        let secret = match meta.get(SECRET)? {
            Some(secret) => secret,
            None => {
                let secret = scram::random_key();
                meta.put(SECRET, &secret)?;
                secret
            }
        };
        Ok(Self { by_name: stored.into_iter().map(|(name, user)| (Arc::from(name), user)).collect(), secret })
    }

    /// # Errors
    /// 42704 with the nearest name.
    pub(crate) fn get(&self, name: &str) -> Result<&StoredUser> {
        self.by_name.get(name).ok_or_else(|| {
            let error = Error::new(SqlState::UndefinedObject, format!("user \"{name}\" does not exist"));
            match did_you_mean(name, self.by_name.keys().map(AsRef::as_ref)) {
                _ if RESERVED.contains(&name) => error.with_hint(format!("{name} is no user's name; name the users")),
                Some(near) => error.with_hint(format!("did you mean {near}?")),
                None => error.with_hint("QUERY SYSTEM.USERS lists them"),
            }
        })
    }

    /// What a user is now; of a user with this number, if one is given.
    ///
    /// # Errors
    /// 28000 when there is no such user any more.
    pub(crate) fn identity(&self, name: &str, id: Option<u64>) -> Result<Identity> {
        match self.by_name.get_key_value(name) {
            Some((name, user)) if id.is_none_or(|id| id == user.id) => Ok(Identity::new(Arc::clone(name), user.role)),
            _ => Err(Error::new(SqlState::InvalidAuthorization, format!("there is no user \"{name}\""))),
        }
    }

    pub(crate) fn states(&self) -> Vec<state::User> {
        let state = |(name, user): (&Arc<str>, &StoredUser)| state::User {
            name: name.to_string(),
            role: user.role,
            connection_limit: user.connection_limit,
            created_at_ms: user.created_at,
        };
        self.by_name.iter().map(state).collect()
    }
}

/// # Errors
/// 42710 for a name that is reserved, 22023 for one that cannot be.
fn check_name(name: &str) -> Result<()> {
    if RESERVED.contains(&name) {
        return Err(Error::new(SqlState::DuplicateObject, format!("the name \"{name}\" is reserved")));
    }
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let message = format!("a user's name has 1 to {NAME_BYTES_MAX} bytes and no control characters");
        return Err(Error::new(SqlState::InvalidParameterValue, message));
    }
    Ok(())
}

impl Database {
    /// All users, now.
    pub(crate) fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.read())
    }

    /// Makes the first admin, `admin`, where there is no user at all, with this password, or a random one, which is
    /// returned: say it once.
    ///
    /// # Errors
    /// 22023 for a password that cannot be; what the disk says.
    pub fn ensure_admin(&self, password: Option<&str>) -> Result<Option<String>> {
        if !self.users().by_name.is_empty() {
            return Ok(None);
        }
        let random = password.is_none().then(scram::random_password);
        let verifier = Verifier::of(password.or(random.as_deref()).unwrap_or_default())?;
        let made = self.create_user(FIRST_ADMIN, &verifier, Role::Admin, |users| users.by_name.is_empty())?;
        Ok(random.filter(|_| made))
    }

    /// What a SCRAM-SHA-256 exchange with this user needs; `None` where there is no such user: then
    /// [`Self::scram_verifier_of_nobody`] keeps that from being seen.
    pub fn scram_verifier(&self, user: &str) -> Option<Verifier> {
        self.users().by_name.get(user).and_then(|user| Verifier::parse(&user.verifier))
    }

    /// A verifier that no password fits, for a name that no user has: the same for a name whenever it is asked for, and
    /// another one in every database.
    pub fn scram_verifier_of_nobody(&self, name: &str) -> Verifier {
        Verifier::of_nobody(name, &self.users().secret)
    }

    /// Whether this is the user's password. Computes for some milliseconds: not on a thread that others wait for.
    ///
    /// # Errors
    /// 28P01, also where there is no such user.
    pub fn authenticate_plain(&self, user: &str, password: &str) -> Result<()> {
        let known = self.scram_verifier(user);
        let verifier = known.unwrap_or_else(|| self.scram_verifier_of_nobody(user));
        if verifier.verifies(password) {
            return Ok(());
        }
        Err(Error::new(SqlState::InvalidPassword, format!("password authentication failed for user \"{user}\"")))
    }

    /// What a user has who has proved to be that with a password.
    ///
    /// # Errors
    /// 28P01 where the password is not the user's, or there is no such user.
    pub fn log_in(&self, user: &str, password: &str) -> Result<Credential> {
        // Taken first: of a password that changes meanwhile, nothing is kept.
        let stored = self.users().by_name.get(user).cloned();
        self.authenticate_plain(user, password)?;
        let gone = || Error::new(SqlState::InvalidAuthorization, format!("there is no user \"{user}\""));
        let StoredUser { id, verifier, .. } = stored.ok_or_else(gone)?;
        Ok(Credential { user: user.to_string(), id, verifier })
    }

    /// # Errors
    /// 28000 when the user was dropped, or has another password.
    pub(crate) fn recognise(&self, credential: &Credential) -> Result<()> {
        let users = self.users();
        match users.by_name.get(credential.user.as_str()) {
            Some(user) if user.id == credential.id && user.verifier == credential.verifier => Ok(()),
            _ => Err(Error::new(SqlState::InvalidAuthorization, "the login is not valid any more")
                .with_hint("the user was dropped, or has another password")),
        }
    }

    /// Makes a user while `still` holds; returns whether it did.
    pub(super) fn create_user(
        &self,
        name: &str,
        verifier: &Verifier,
        role: Role,
        still: impl FnOnce(&Users) -> bool,
    ) -> Result<bool> {
        check_name(name)?;
        let mut users = self.users.write();
        if !still(&users) {
            return Ok(false);
        }
        let mut change = MetaChange::default();
        let id = self.meta.get::<u64>("next_user")?.unwrap_or(1);
        change.put("next_user", &(id + 1))?;
        let (created_at, verifier, connection_limit) = (now_ms(), verifier.text(), None);
        let user = StoredUser { id, role, created_at, verifier, connection_limit };
        change.put(&format!("user/{name}"), &user)?;
        self.meta.commit(change)?;
        Arc::make_mut(&mut users).by_name.insert(Arc::from(name), user);
        drop(users);
        self.access_changed();
        self.event("user", name, &format!("created, {role}"));
        Ok(true)
    }

    /// Changes users that are there, all or none. `what` is for SYSTEM.EVENTS.
    pub(super) fn change_users(
        &self,
        names: &[String],
        what: &str,
        mut change: impl FnMut(&mut StoredUser),
    ) -> Result<()> {
        let mut users = self.users.write();
        let mut next = users.as_ref().clone();
        let mut record = MetaChange::default();
        for name in names {
            next.get(name)?;
            let Some(user) = next.by_name.get_mut(name.as_str()) else { continue };
            change(user);
            record.put(&format!("user/{name}"), user)?;
        }
        keeps_an_admin(&users, &next)?;
        self.meta.commit(record)?;
        *users = Arc::new(next);
        drop(users);
        self.access_changed();
        names.iter().for_each(|name| self.event("user", name, what));
        Ok(())
    }

    /// Forgets users in the same change that takes their rights away. The caller holds `schema_change`.
    pub(super) fn drop_users(&self, names: &[String], mut record: MetaChange) -> Result<()> {
        let mut users = self.users.write();
        let mut next = users.as_ref().clone();
        for name in names {
            next.get(name)?;
            next.by_name.remove(name.as_str());
            record.delete(&format!("user/{name}"));
        }
        keeps_an_admin(&users, &next)?;
        self.change_schemas(record, |schemas| names.iter().for_each(|name| schemas.forget_user(name)))?;
        *users = Arc::new(next);
        drop(users);
        self.access_changed();
        names.iter().for_each(|name| self.event("user", name, "dropped"));
        Ok(())
    }

    /// Whether a user that was asked about may do something with what there is now.
    pub(crate) fn permits(&self, identity: &Identity, needs: &[super::Need]) -> Result<()> {
        if identity.is_unrestricted() { Ok(()) } else { authorize(identity, needs, &self.schemas()) }
    }
}

/// # Errors
/// 55000 when the last admin would go.
fn keeps_an_admin(before: &Users, after: &Users) -> Result<()> {
    let is_admin = |user: &StoredUser| user.role == Role::Admin;
    if after.by_name.values().any(is_admin) || !before.by_name.values().any(is_admin) {
        return Ok(());
    }
    Err(Error::new(SqlState::ObjectNotInPrerequisiteState, "this would leave the database without an admin")
        .with_hint("GRANT admin TO another user first"))
}

impl StoredUser {
    /// Gives the user another password.
    pub(super) fn set_verifier(&mut self, verifier: &Verifier) {
        self.verifier = verifier.text();
    }
}
