//! CREATE, DROP, TRUNCATE; ALTER TABLE is in [`crate::alter`].
//!
//! A schema change holds its table alone (writers of open transactions are waited for), is one synced record in the
//! database's facts, and rewrites no rows but for ADD PRIMARY KEY, which loads them into a new table under their new
//! keys and then takes its place. Dropped rows go in the background, once no reader is older than the drop.

use crate::database::{Database, Schemas};
use crate::definition::{
    ROW_ID, add_constraint, finish_keys, is_key, missing, no_foreign_key, no_unique, stored_type, two_keys,
    unsupported_table,
};
use crate::error::{query_error, undefined_table};
use crate::evaluate::{constant, table_schema};
use crate::meta::{MetaChange, MetaStore};
use crate::names::{byte_span, resolve};
use crate::oracle::now_ms;
use crate::output::Output;
use crate::session::{SessionInner, SessionState};
use crate::spelling::written;
use crate::statement::Outcome;
use crate::table::TableHandle;
use crate::types::{column_type, fold, table_name};
use datafusion::common::ScalarValue;
use evenkeel_catalog as catalog;
use evenkeel_model::{Error, Result, SqlState, TableId};
use sqlparser::ast::{self, Spanned};
use std::sync::Arc;

/// Columns of a table at the most; rows keep a bit for each.
const COLUMNS_MAX: usize = 1_600;

impl Database {
    /// Makes a schema change durable and then visible.
    pub(crate) fn change_schemas(&self, change: MetaChange, apply: impl FnOnce(&mut Schemas)) -> Result<()> {
        self.meta.commit(change)?;
        let mut schemas = self.schemas.write();
        let mut next = schemas.as_ref().clone();
        apply(&mut next);
        *schemas = Arc::new(next);
        drop(schemas);
        self.access_changed();
        Ok(())
    }

    /// A number for a table's rows, never given before. The caller holds `schema_change` until the number is used.
    fn next_table_id(&self, change: &mut MetaChange) -> Result<TableId> {
        let next = self.meta.get::<u32>("next_table")?.unwrap_or(1);
        change.put("next_table", &(next + 1))?;
        Ok(TableId(next))
    }

    /// Notes that a table's rows may go.
    pub(crate) fn note_dropped(&self, table: TableId, change: &mut MetaChange) -> Result<()> {
        change.put(&format!("dropped/{table}"), &self.oracle.next()?)
    }

    pub(crate) fn start_dropping(&self, table: TableId) -> Result<()> {
        let at = self.oracle.next()?;
        self.dropped.lock().push((table, at));
        Ok(())
    }

    /// Gives a table its number before it is in the schema, so that rows can be loaded into it. Until it is, the mark
    /// makes a restart drop them.
    pub(crate) fn provisional(&self, table: &mut catalog::Table) -> Result<Arc<TableHandle>> {
        let mut change = MetaChange::default();
        table.id = self.next_table_id(&mut change)?;
        table.cut_row_version();
        self.note_dropped(table.id, &mut change)?;
        self.meta.commit(change)?;
        Ok(Arc::new(TableHandle::new(table.clone())))
    }

    /// Puts a new table into the schema; one that is provisional keeps its number.
    fn create(&self, mut table: catalog::Table) -> Result<()> {
        let mut change = MetaChange::default();
        if table.id == TableId(0) {
            table.id = self.next_table_id(&mut change)?;
            table.cut_row_version();
        } else {
            change.delete(&format!("dropped/{}", table.id));
        }
        change.put(&format!("table/{}", table.name), &table)?;
        let handle = Arc::new(TableHandle::new(table));
        let name = handle.schema.name.clone();
        self.change_schemas(change, |schemas| {
            schemas.tables.insert(name.clone(), handle);
        })?;
        self.event("table", &name, "created");
        Ok(())
    }

    fn drop_table(&self, handle: &TableHandle, message: &str) -> Result<()> {
        let name = &handle.schema.name;
        let mut change = MetaChange::default();
        change.delete(&format!("table/{name}"));
        self.note_dropped(handle.schema.id, &mut change)?;
        self.change_schemas(change, |schemas| {
            schemas.tables.remove(name);
        })?;
        self.start_dropping(handle.schema.id)?;
        self.event("table", name, message);
        Ok(())
    }

    /// Puts a changed table in the place of the present one of its name.
    pub(crate) fn replace_table(&self, mut table: catalog::Table, message: &str) -> Result<()> {
        table.cut_row_version();
        if table.row_versions.len() > usize::from(u16::MAX) {
            return Err(Error::new(SqlState::ProgramLimitExceeded, "the table's columns changed 65535 times")
                .with_hint("CREATE TABLE … AS QUERY makes a fresh one"));
        }
        let mut change = MetaChange::default();
        change.put(&format!("table/{}", table.name), &table)?;
        let name = table.name.clone();
        self.change_schemas(change, |schemas| {
            schemas.tables.insert(table.name.clone(), Arc::new(TableHandle::new(table)));
        })?;
        self.event("table", &name, message);
        Ok(())
    }
}

impl SessionInner {
    pub(crate) async fn create_table(
        &self,
        state: &mut SessionState,
        create: ast::CreateTable,
        shard_by: Option<Vec<ast::Ident>>,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let name = table_name(&create.name)?;
        if let Some(what) = unsupported_table(&create) {
            return Err(Error::unsupported(what));
        }
        let _one_at_a_time = self.database.schema_change.lock().await;
        if self.name_taken(&name, create.if_not_exists, create.or_replace, &create.name, text)? {
            output.notice(format!("table \"{name}\" exists already, skipping"), None).await?;
            return Ok(Outcome::new("CREATE TABLE"));
        }
        let query = create.query.clone();
        let mut table = self.described(state, &name, &create, shard_by.as_deref(), text)?;
        if let Some(query) = &query {
            self.add_query_columns(state, &mut table, query, text).await?;
            finish_keys(&mut table, &create, shard_by.as_deref(), text)?;
        }
        self.validate_expressions(state, &table)?;
        let rows = match query {
            None => None,
            Some(query) => {
                let handle = self.database.provisional(&mut table)?;
                let given: Vec<usize> = (0..handle.visible).collect();
                let loaded = self.load_rows(state, &handle, &given, *query, text, output, ()).await;
                if loaded.is_err() {
                    self.database.start_dropping(handle.schema.id)?;
                }
                Some(loaded?)
            }
        };
        self.database.create(table)?;
        Ok(rows.map_or_else(|| Outcome::new("CREATE TABLE"), |rows| Outcome::rows("SELECT", rows)))
    }

    /// Whether a name is there already and that is fine.
    pub(crate) fn name_taken(
        &self,
        name: &str,
        if_not_exists: bool,
        or_replace: bool,
        place: &ast::ObjectName,
        text: &str,
    ) -> Result<bool> {
        let schemas = self.database.schemas();
        if or_replace {
            return Err(
                Error::unsupported("CREATE OR REPLACE TABLE is not supported").with_hint("DROP TABLE IF EXISTS first")
            );
        }
        if !schemas.tables.contains_key(name) && !schemas.views.contains_key(name) {
            return Ok(false);
        }
        if if_not_exists && schemas.tables.contains_key(name) {
            return Ok(true);
        }
        let error = Error::new(SqlState::DuplicateTable, format!("\"{name}\" exists already"))
            .with_hint("CREATE TABLE IF NOT EXISTS, or DROP it first");
        Err(byte_span(place.span(), text).map_or(error.clone(), |span| error.at(span)))
    }

    /// The table that a CREATE TABLE describes.
    fn described(
        &self,
        state: &SessionState,
        name: &str,
        create: &ast::CreateTable,
        shard_by: Option<&[ast::Ident]>,
        text: &str,
    ) -> Result<catalog::Table> {
        let mut table = catalog::Table {
            id: TableId(0),
            name: name.to_string(),
            columns: Vec::new(),
            primary_key: Vec::new(),
            shard_key: Vec::new(),
            checks: Vec::new(),
            row_versions: Vec::new(),
            next_column: 1,
            created_at: now_ms(),
            access: catalog::Access::of(state.identity.owner()),
        };
        for definition in &create.columns {
            self.add_column(state, &mut table, definition, text)?;
        }
        if table.columns.len() > COLUMNS_MAX {
            return Err(Error::new(
                SqlState::ProgramLimitExceeded,
                format!("a table has at most {COLUMNS_MAX} columns"),
            ));
        }
        // Of a CREATE TABLE … AS, the columns are not known yet.
        let known = create.query.is_none() || !create.columns.is_empty();
        for constraint in create.constraints.iter().filter(|constraint| known || !is_key(constraint)) {
            add_constraint(&mut table, constraint, text)?;
        }
        if create.query.is_none() {
            if table.columns.is_empty() {
                return Err(Error::new(SqlState::InvalidTableDefinition, "a table has at least one column"));
            }
            finish_keys(&mut table, create, shard_by, text)?;
        }
        Ok(table)
    }

    /// Adds the columns of a CREATE TABLE … AS.
    async fn add_query_columns(
        &self,
        state: &SessionState,
        table: &mut catalog::Table,
        query: &ast::Query,
        text: &str,
    ) -> Result<()> {
        let mut names = self.names(state);
        let mut query = query.clone();
        crate::naming::name_columns(&mut query);
        let mut statement = ast::Statement::Query(Box::new(query));
        resolve(&mut statement, &mut names, text)?;
        let ast::Statement::Query(query) = statement else { return Err(Error::internal("no query")) };
        let plan = self.planning(names, text)?.query(*query, &[] as &[ScalarValue]).await?;
        let given = !table.columns.is_empty();
        if given {
            if table.columns.len() != plan.schema().fields().len() {
                return Err(Error::new(
                    SqlState::SyntaxError,
                    format!(
                        "the query gives {} columns for the table's {}",
                        plan.schema().fields().len(),
                        table.columns.len()
                    ),
                ));
            }
            return Ok(());
        }
        for field in plan.schema().fields() {
            if table.column(field.name()).is_some() {
                return Err(Error::new(
                    SqlState::DuplicateColumn,
                    format!("the query gives two columns the name \"{}\"", field.name()),
                )
                .with_hint("give one of them another name with AS"));
            }
            let id = table.next_column;
            table.next_column += 1;
            table.columns.push(catalog::Column {
                id,
                name: field.name().clone(),
                column_type: stored_type(field.data_type()).ok_or_else(|| {
                    Error::unsupported(format!("a column of type {} cannot be stored", field.data_type()))
                })?,
                nullable: true,
                default: None,
                added: None,
                hidden: false,
            });
        }
        Ok(())
    }

    pub(crate) fn add_column(
        &self,
        state: &SessionState,
        table: &mut catalog::Table,
        definition: &ast::ColumnDef,
        text: &str,
    ) -> Result<()> {
        let name = fold(&definition.name);
        let span = byte_span(definition.name.span, text);
        let fail = |error: Error| match (&error.span, span.clone()) {
            (None, Some(span)) => error.at(span),
            _ => error,
        };
        if name == ROW_ID {
            return Err(fail(Error::new(SqlState::InvalidTableDefinition, format!("the name {ROW_ID} is reserved"))));
        }
        if table.column(&name).is_some() {
            return Err(fail(Error::new(SqlState::DuplicateColumn, format!("column \"{name}\" is there twice"))));
        }
        let column_type = column_type(&definition.data_type).map_err(fail)?;
        let id = table.next_column;
        table.next_column += 1;
        let mut column =
            catalog::Column { id, name, column_type, nullable: true, default: None, added: None, hidden: false };
        for option in &definition.options {
            match &option.option {
                ast::ColumnOption::Null => column.nullable = true,
                ast::ColumnOption::NotNull => column.nullable = false,
                ast::ColumnOption::Default(expr) => {
                    self.check_default(state, expr, &column, text)?;
                    column.default = Some(written(expr));
                }
                ast::ColumnOption::PrimaryKey(_) => {
                    if !table.primary_key.is_empty() {
                        return Err(fail(two_keys()));
                    }
                    column.nullable = false;
                    table.primary_key = vec![id];
                }
                ast::ColumnOption::Check(check) => {
                    let name = match &option.name {
                        Some(name) => fold(name),
                        None => format!("{}_{}_check", table.name, column.name),
                    };
                    table.checks.push(catalog::Check { name, expression: written(&*check.expr) });
                }
                ast::ColumnOption::Unique(_) => return Err(fail(no_unique())),
                ast::ColumnOption::ForeignKey(_) => return Err(fail(no_foreign_key())),
                ast::ColumnOption::Comment(_) => {}
                other => return Err(fail(Error::unsupported(format!("the column option {other} is not supported")))),
            }
        }
        table.columns.push(column);
        Ok(())
    }

    /// A DEFAULT must have a value of the column's type, and name no column.
    pub(crate) fn check_default(
        &self,
        state: &SessionState,
        expr: &ast::Expr,
        column: &catalog::Column,
        text: &str,
    ) -> Result<ScalarValue> {
        let planner = self.planning(self.names(state), text)?;
        constant(&planner.state, expr.clone(), &column.column_type, text).map_err(|error| {
            let message = format!("the DEFAULT of \"{}\" is not possible: {}", column.name, error.message);
            Error { message, ..error }
        })
    }

    /// CHECK constraints must be conditions over the table's columns.
    pub(crate) fn validate_expressions(&self, state: &SessionState, table: &catalog::Table) -> Result<()> {
        let mut shown = table.clone();
        shown.cut_row_version();
        let handle = TableHandle::new(shown);
        let planner = self.planning(self.names(state), "")?;
        let schema = table_schema(&handle)?;
        for check in &table.checks {
            let place = |error: Error| {
                let message = format!("the check \"{}\" is not possible: {}", check.name, error.message);
                Error { message, span: None, ..error }
            };
            let expr = evenkeel_pql::parse_expr(&check.expression).map_err(place)?;
            let compiled = crate::evaluate::compile(&planner.state, expr, &schema, &check.expression).map_err(place)?;
            let data_type =
                compiled.data_type(&handle.arrow).map_err(|error| place(query_error(error, &check.expression)))?;
            if data_type != arrow::datatypes::DataType::Boolean {
                return Err(place(Error::new(SqlState::DatatypeMismatch, "it is no condition")));
            }
        }
        Ok(())
    }

    pub(crate) async fn drop_objects(
        &self,
        state: &mut SessionState,
        object: ast::ObjectType,
        if_exists: bool,
        names: &[ast::ObjectName],
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let is_view = match object {
            ast::ObjectType::Table => false,
            ast::ObjectType::View => true,
            other => return Err(Error::unsupported(format!("DROP {other} is not supported"))),
        };
        let timeout = self.duration(state, "shard_lock_timeout");
        let mut found = Vec::new();
        for name in names {
            let shown = table_name(name)?;
            let schemas = self.database.schemas();
            let known = if is_view { schemas.views.contains_key(&shown) } else { schemas.tables.contains_key(&shown) };
            if known {
                if !found.contains(&shown) {
                    found.push(shown);
                }
            } else if if_exists {
                output.notice(format!("\"{shown}\" does not exist, skipping"), None).await?;
            } else {
                let error = missing(&schemas, &shown, is_view);
                return Err(byte_span(name.span(), text).map_or(error.clone(), |span| error.at(span)));
            }
        }
        found.sort();
        for name in found {
            let _alone = self.alone(&name, timeout).await?;
            let _one_at_a_time = self.database.schema_change.lock().await;
            self.permitted(state)?;
            if is_view {
                let mut change = MetaChange::default();
                change.delete(&format!("view/{name}"));
                self.database.change_schemas(change, |schemas| {
                    schemas.views.remove(&name);
                })?;
                self.database.event("view", &name, "dropped");
            } else if let Some(handle) = self.database.schemas().tables.get(&name) {
                self.database.drop_table(handle, "dropped")?;
            }
        }
        Ok(Outcome::new(if is_view { "DROP VIEW" } else { "DROP TABLE" }))
    }

    pub(crate) async fn truncate(
        &self,
        state: &mut SessionState,
        truncate: &ast::Truncate,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        if state.transaction.is_some() {
            // Part of the transaction, as any other change of rows is.
            for target in &truncate.table_names {
                let empty = evenkeel_pql::parse_statement(&format!("DELETE FROM {}", target.name))?;
                let evenkeel_pql::StatementKind::Sql(empty) = empty.kind else {
                    return Err(Error::internal("DELETE is another"));
                };
                let ast::Statement::Delete(empty) = *empty else { return Err(Error::internal("DELETE is another")) };
                self.delete(state, empty, text, output).await?;
            }
            return Ok(Outcome::new("TRUNCATE TABLE"));
        }
        let timeout = self.duration(state, "shard_lock_timeout");
        for target in &truncate.table_names {
            let name = table_name(&target.name)?;
            let _alone = self.alone(&name, timeout).await?;
            let _one_at_a_time = self.database.schema_change.lock().await;
            self.permitted(state)?;
            let schemas = self.database.schemas();
            let Some(handle) = schemas.tables.get(&name) else {
                let error = undefined_table(&name, schemas.tables.keys().map(String::as_str));
                return Err(byte_span(target.name.span(), text).map_or(error.clone(), |span| error.at(span)));
            };
            let old = handle.schema.id;
            let mut table = handle.schema.clone();
            let mut change = MetaChange::default();
            table.id = self.database.next_table_id(&mut change)?;
            change.put(&format!("table/{name}"), &table)?;
            self.database.note_dropped(old, &mut change)?;
            self.database.change_schemas(change, |schemas| {
                schemas.tables.insert(name.clone(), Arc::new(TableHandle::new(table)));
            })?;
            self.database.start_dropping(old)?;
            self.database.event("table", &name, "truncated");
        }
        Ok(Outcome::new("TRUNCATE TABLE"))
    }

    pub(crate) async fn create_view(
        &self,
        state: &mut SessionState,
        view: ast::CreateView,
        text: &str,
    ) -> Result<Outcome> {
        if view.materialized {
            return Err(Error::unsupported("materialized views are not supported").with_hint("CREATE TABLE … AS QUERY"));
        }
        let name = table_name(&view.name)?;
        let _one_at_a_time = self.database.schema_change.lock().await;
        self.permitted(state)?;
        let schemas = self.database.schemas();
        let replaces = view.or_replace && schemas.views.contains_key(&name);
        if view.if_not_exists && schemas.views.contains_key(&name) {
            return Ok(Outcome::new("CREATE VIEW"));
        }
        if !replaces {
            self.name_taken(&name, false, false, &view.name, text)?;
        }
        // The query must be one now; it is planned anew whenever it is used.
        let mut names = self.names(state);
        let mut named = view.query.clone();
        crate::naming::name_columns(&mut named);
        let mut statement = ast::Statement::Query(named.clone());
        resolve(&mut statement, &mut names, text)?;
        let ast::Statement::Query(query) = statement else { return Err(Error::internal("no query")) };
        let plan = self.planning(names, text)?.query(*query, &[] as &[ScalarValue]).await?;
        if view.columns.len() > plan.schema().fields().len() {
            return Err(Error::new(SqlState::SyntaxError, "the view names more columns than its query has"));
        }
        let stored = catalog::View {
            name: name.clone(),
            query: written(&*named),
            columns: view.columns.iter().map(|column| fold(&column.name)).collect(),
            // A view that is replaced stays whose it was, and what others may do with it.
            access: schemas
                .views
                .get(&name)
                .map_or_else(|| catalog::Access::of(state.identity.owner()), |replaced| replaced.access.clone()),
        };
        let mut change = MetaChange::default();
        change.put(&format!("view/{name}"), &stored)?;
        self.database.change_schemas(change, |schemas| {
            schemas.views.insert(name.clone(), stored);
        })?;
        self.database.event("view", &name, if replaces { "replaced" } else { "created" });
        Ok(Outcome::new("CREATE VIEW"))
    }
}
