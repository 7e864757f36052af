//! ALTER TABLE: columns without rewriting rows, other names, and a primary key for a table that had none.

use crate::definition::{add_constraint, column_index, drop_column, is_key, rename_column};
use crate::error::{query_error, undefined_table};
use crate::evaluate::constant;
use crate::meta::MetaChange;
use crate::names::byte_span;
use crate::session::{SessionInner, SessionState};
use crate::spelling::written;
use crate::statement::Outcome;
use crate::table::{TableHandle, value_constant};
use crate::types::{fold, table_name};
use datafusion::common::ScalarValue;
use evenkeel_catalog as catalog;
use evenkeel_model::{Error, Result, SqlState};
use evenkeel_storage::codec::Cells;
use sqlparser::ast::{self, Spanned};
use std::sync::Arc;

impl SessionInner {
    pub(crate) async fn alter_table(
        &self,
        state: &mut SessionState,
        alter: ast::AlterTable,
        text: &str,
    ) -> Result<Outcome> {
        let name = table_name(&alter.name)?;
        let timeout = self.duration(state, "shard_lock_timeout");
        let _alone = self.alone(&name, timeout).await?;
        let _one_at_a_time = self.database.schema_change.lock().await;
        self.permitted(state)?;
        let Some(handle) = self.database.schemas().tables.get(&name).cloned() else {
            if alter.if_exists {
                return Ok(Outcome::new("ALTER TABLE"));
            }
            let schemas = self.database.schemas();
            let error = undefined_table(&name, schemas.tables.keys().map(String::as_str));
            return Err(byte_span(alter.name.span(), text).map_or(error.clone(), |span| error.at(span)));
        };
        let mut table = handle.schema.clone();
        let mut said = Vec::new();
        for operation in &alter.operations {
            match operation {
                ast::AlterTableOperation::AddConstraint { constraint, .. } if is_key(constraint) => {
                    if alter.operations.len() > 1 {
                        return Err(Error::unsupported("ADD PRIMARY KEY stands alone in its ALTER TABLE"));
                    }
                    return self.add_primary_key(state, &handle, constraint, text).await;
                }
                ast::AlterTableOperation::RenameTable { table_name: new } => {
                    if alter.operations.len() > 1 {
                        return Err(Error::unsupported("RENAME TO stands alone in its ALTER TABLE"));
                    }
                    return self.rename_table(&handle, new, text);
                }
                other => said.push(self.alter_columns(state, &mut table, other, &handle, text)?),
            }
        }
        self.validate_expressions(state, &table)?;
        self.database.replace_table(table, &said.join(", "))?;
        Ok(Outcome::new("ALTER TABLE"))
    }

    fn alter_columns(
        &self,
        state: &SessionState,
        table: &mut catalog::Table,
        operation: &ast::AlterTableOperation,
        handle: &TableHandle,
        text: &str,
    ) -> Result<String> {
        match operation {
            ast::AlterTableOperation::AddColumn { column_def, if_not_exists, .. } => {
                let name = fold(&column_def.name);
                if *if_not_exists && table.column(&name).is_some() {
                    return Ok(format!("column {name} was there"));
                }
                self.add_late_column(state, table, column_def, handle, text)?;
                Ok(format!("column {name} added"))
            }
            ast::AlterTableOperation::DropColumn { column_names, if_exists, .. } => {
                for name in column_names {
                    drop_column(table, name, *if_exists, text)?;
                }
                Ok(format!("dropped {}", column_names.iter().map(fold).collect::<Vec<_>>().join(", ")))
            }
            ast::AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                rename_column(table, old_column_name, new_column_name, text)
            }
            ast::AlterTableOperation::OwnerTo { new_owner: ast::Owner::Ident(user) } => {
                let owner = fold(user);
                let fail = |error: Error| byte_span(user.span, text).map_or(error.clone(), |span| error.at(span));
                self.database.change_owner(table, &owner).map_err(fail)?;
                Ok(format!("given to {owner}"))
            }
            ast::AlterTableOperation::AlterColumn { column_name, op } => {
                self.alter_column(state, table, column_name, op, text)
            }
            ast::AlterTableOperation::AddConstraint { constraint, .. } => {
                if let ast::TableConstraint::Check(_) = constraint {
                    return Err(Error::unsupported("a CHECK cannot be added to a table that exists")
                        .with_hint("CREATE TABLE … AS QUERY makes a table with the check"));
                }
                add_constraint(table, constraint, text)?;
                Ok("constraint added".to_string())
            }
            ast::AlterTableOperation::DropConstraint { name, if_exists, .. } => {
                let name = fold(name);
                let before = table.checks.len();
                table.checks.retain(|check| check.name != name);
                if table.checks.len() == before && !if_exists {
                    return Err(Error::new(SqlState::UndefinedObject, format!("there is no check \"{name}\""))
                        .with_hint("only CHECK constraints can be dropped"));
                }
                Ok(format!("check {name} dropped"))
            }
            other => Err(Error::unsupported(format!("ALTER TABLE … {other} is not supported")).with_hint(
                "ADD, DROP and RENAME COLUMN, ALTER COLUMN SET/DROP DEFAULT, ADD PRIMARY KEY, RENAME TO, OWNER TO",
            )),
        }
    }

    /// ADD COLUMN: rows that are there get the default's value of this moment, without being written.
    fn add_late_column(
        &self,
        state: &SessionState,
        table: &mut catalog::Table,
        definition: &ast::ColumnDef,
        handle: &TableHandle,
        text: &str,
    ) -> Result<()> {
        let checks = table.checks.len();
        let key = table.primary_key.clone();
        self.add_column(state, table, definition, text)?;
        if table.primary_key != key {
            return Err(Error::unsupported("ADD COLUMN … PRIMARY KEY is not supported")
                .with_hint("add the column, fill it, then ALTER TABLE … ADD PRIMARY KEY (…)"));
        }
        if table.checks.len() != checks {
            return Err(Error::unsupported("ADD COLUMN … CHECK is not supported")
                .with_hint("CREATE TABLE … AS QUERY makes a table with the check"));
        }
        let Some(column) = table.columns.last_mut() else { return Ok(()) };
        if let Some(default) = &column.default {
            let expr = evenkeel_pql::parse_expr(default)?;
            let planner = self.planning(self.names(state), text)?;
            let value = constant(&planner.state, expr, &column.column_type, default)?;
            let array = value.to_array().map_err(|error| query_error(error, text))?;
            column.added = value_constant(&Cells::new(&column.column_type, &array)?.value(0)?);
        }
        let rows = self.view(state).exact_count(handle.schema.id).map_or(1, |(rows, _)| rows);
        if !column.nullable && column.added.is_none() && rows > 0 {
            return Err(Error::new(
                SqlState::NotNullViolation,
                format!("column \"{}\" is NOT NULL and the table has rows", column.name),
            )
            .with_hint("give it a DEFAULT"));
        }
        // The hidden row id stays last in what statements see; columns keep their numbers anyway.
        Ok(())
    }

    fn alter_column(
        &self,
        state: &SessionState,
        table: &mut catalog::Table,
        name: &ast::Ident,
        operation: &ast::AlterColumnOperation,
        text: &str,
    ) -> Result<String> {
        let at = column_index(table, name, text)?;
        let shown = fold(name);
        match operation {
            ast::AlterColumnOperation::SetDefault { value } => {
                self.check_default(state, value, &table.columns[at], text)?;
                table.columns[at].default = Some(written(value));
                Ok(format!("default of {shown} set"))
            }
            ast::AlterColumnOperation::DropDefault => {
                table.columns[at].default = None;
                Ok(format!("default of {shown} dropped"))
            }
            ast::AlterColumnOperation::DropNotNull => {
                if table.primary_key.contains(&table.columns[at].id) {
                    return Err(Error::new(SqlState::InvalidTableDefinition, "a primary key column is NOT NULL"));
                }
                table.columns[at].nullable = true;
                Ok(format!("{shown} may be NULL"))
            }
            other => Err(Error::unsupported(format!("ALTER COLUMN … {other} is not supported"))
                .with_hint("add a column of the new kind, UPDATE it, drop the old one, and rename")),
        }
    }

    fn rename_table(&self, handle: &TableHandle, new: &ast::RenameTableNameKind, text: &str) -> Result<Outcome> {
        let (ast::RenameTableNameKind::As(new) | ast::RenameTableNameKind::To(new)) = new;
        let name = table_name(new)?;
        self.name_taken(&name, false, false, new, text)?;
        let old = handle.schema.name.clone();
        let table = catalog::Table { name: name.clone(), ..handle.schema.clone() };
        let mut change = MetaChange::default();
        change.delete(&format!("table/{old}"));
        change.put(&format!("table/{name}"), &table)?;
        self.database.change_schemas(change, |schemas| {
            schemas.tables.remove(&old);
            schemas.tables.insert(name.clone(), Arc::new(TableHandle::new(table)));
        })?;
        self.database.event("table", &old, &format!("renamed to {name}"));
        Ok(Outcome::new("ALTER TABLE"))
    }

    /// Loads the rows under their new keys into a new table, which then takes the old one's place.
    async fn add_primary_key(
        &self,
        state: &mut SessionState,
        handle: &Arc<TableHandle>,
        constraint: &ast::TableConstraint,
        text: &str,
    ) -> Result<Outcome> {
        if !handle.schema.has_hidden_key() {
            return Err(Error::new(
                SqlState::InvalidTableDefinition,
                format!("\"{}\" has a primary key already", handle.schema.name),
            ));
        }
        let mut table = handle.schema.clone();
        let hidden: Vec<u32> = table.primary_key.clone();
        table.columns.retain(|column| !hidden.contains(&column.id));
        table.primary_key.clear();
        table.shard_key.clear();
        table.row_versions.clear();
        table.columns.iter_mut().for_each(|column| column.added = None);
        add_constraint(&mut table, constraint, text)?;
        table.shard_key.clone_from(&table.primary_key);
        let new = self.database.provisional(&mut table)?;
        if let Err(error) = self.copy_rows(state, handle, &new, text).await {
            self.database.start_dropping(new.schema.id)?;
            return Err(error);
        }
        let mut change = MetaChange::default();
        change.put(&format!("table/{}", new.schema.name), &new.schema)?;
        change.delete(&format!("dropped/{}", new.schema.id));
        self.database.note_dropped(handle.schema.id, &mut change)?;
        self.database.change_schemas(change, |schemas| {
            schemas.tables.insert(new.schema.name.clone(), Arc::clone(&new));
        })?;
        self.database.start_dropping(handle.schema.id)?;
        self.database.event("table", &new.schema.name, "primary key added");
        Ok(Outcome::new("ALTER TABLE"))
    }

    async fn copy_rows(
        &self,
        state: &SessionState,
        old: &Arc<TableHandle>,
        new: &Arc<TableHandle>,
        text: &str,
    ) -> Result<u64> {
        let planning = self.planning(self.names(state), text)?;
        let target = ast::ObjectName::from(vec![ast::Ident::with_quote('"', &old.schema.name)]);
        let wildcard = ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default());
        let query = crate::clauses::select(vec![wildcard], vec![crate::clauses::table_with_joins(target, None)], None)?;
        let plan = planning.query(query, &[] as &[ScalarValue]).await?;
        let plan = planning.physical(&plan).await?;
        let checks = crate::evaluate::Checks::compile(&planning.state, new)?;
        let lock_timeout = self.duration(state, "shard_lock_timeout");
        let mut load = crate::load::BulkLoad::new(&self.database, Arc::clone(new), lock_timeout, Arc::default())?;
        let mut batches = planning.execute(plan);
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| query_error(error, text))?;
            let batch = crate::changes::with_columns(new, batch.columns().to_vec())?;
            checks.check(new, &batch, &|_| None)?;
            load.add(&batch)?;
        }
        crate::statement::blocking(move || load.finish(&|_| None)).await
    }
}
