//! Rights on tables and views: a part of their descriptions, changed as those are.

use crate::database::{Database, Schemas};
use crate::meta::MetaChange;
use crate::table::TableHandle;
use evenkeel_catalog::{self as catalog, Access};
use evenkeel_model::{Error, Result, SqlState};
use std::sync::Arc;

impl Schemas {
    /// Whose a table or view is, and what others may do with it.
    pub(crate) fn access(&self, name: &str) -> Option<&Access> {
        let table = self.tables.get(name).map(|table| &table.schema.access);
        table.or_else(|| self.views.get(name).map(|view| &view.access))
    }

    /// Every table and view.
    fn all_access(&self) -> impl Iterator<Item = (&String, &Access)> {
        let tables = self.tables.iter().map(|(name, table)| (name, &table.schema.access));
        tables.chain(self.views.iter().map(|(name, view)| (name, &view.access)))
    }

    /// The tables and views that a user owns.
    pub(super) fn owned(&self, user: &str) -> Vec<&str> {
        self.all_access().filter(|(_, access)| access.is_owner(user)).map(|(name, _)| name.as_str()).collect()
    }

    /// The tables and views on which a user was granted something.
    pub(super) fn granted(&self, user: &str) -> Vec<String> {
        let granted = self.all_access().filter(|(_, access)| access.grants.contains_key(user));
        granted.map(|(name, _)| name.clone()).collect()
    }

    /// Takes away what was granted to a user.
    pub(super) fn forget_user(&mut self, user: &str) {
        for name in self.granted(user) {
            let forget = |access: &mut Access| drop(access.grants.remove(user));
            self.change_access(&name, forget);
        }
    }

    fn change_access(&mut self, name: &str, change: impl FnOnce(&mut Access)) {
        if let Some(table) = self.tables.get_mut(name) {
            let mut schema = table.schema.clone();
            change(&mut schema.access);
            *table = Arc::new(TableHandle::new(schema));
        } else if let Some(view) = self.views.get_mut(name) {
            change(&mut view.access);
        }
    }

    /// The record of a table or view in the database's facts.
    fn put(&self, name: &str, record: &mut MetaChange) -> Result<()> {
        if let Some(table) = self.tables.get(name) {
            return record.put(&format!("table/{name}"), &table.schema);
        }
        match self.views.get(name) {
            Some(view) => record.put(&format!("view/{name}"), view),
            None => {
                let names = self.tables.keys().chain(self.views.keys()).map(String::as_str);
                Err(crate::error::undefined_table(name, names))
            }
        }
    }
}

impl Database {
    /// Changes rights on tables and views, on all or none. The caller holds `schema_change`.
    pub(super) fn change_rights(&self, names: &[String], change: impl Fn(&mut Access)) -> Result<()> {
        let mut next = self.schemas().as_ref().clone();
        let mut record = MetaChange::default();
        for name in names {
            next.change_access(name, &change);
            next.put(name, &mut record)?;
        }
        self.change_schemas(record, |schemas| *schemas = next)
    }

    /// What drops a user's rights. The caller holds `schema_change`.
    ///
    /// # Errors
    /// 2BP01 for a user who owns something.
    pub(super) fn forget_rights(&self, user: &str, record: &mut MetaChange) -> Result<()> {
        let mut schemas = self.schemas().as_ref().clone();
        let owned = schemas.owned(user);
        if !owned.is_empty() {
            let message = format!("user \"{user}\" owns tables or views and cannot be dropped");
            return Err(Error::new(SqlState::DependentObjectsStillExist, message)
                .with_detail(owned.join(", "))
                .with_hint("ALTER TABLE … OWNER TO another user, or DROP them first"));
        }
        let granted = schemas.granted(user);
        schemas.forget_user(user);
        granted.iter().try_for_each(|name| schemas.put(name, record))
    }

    /// Gives a table to another user, or to the database's own.
    pub(crate) fn change_owner(&self, table: &mut catalog::Table, owner: &str) -> Result<()> {
        if owner == catalog::BUILT_IN_USER {
            table.access.owner = None;
            return Ok(());
        }
        self.users().get(owner)?;
        table.access.owner = Some(owner.to_string());
        Ok(())
    }
}
