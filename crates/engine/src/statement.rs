//! From a statement's kind to what carries it out.

use crate::commit::ToCommit;
use crate::foreign;
use crate::locking::Locking;
use crate::measures::StatementClass;
use crate::names::{Names, resolve};
use crate::naming::name_columns;
use crate::output::{Event, Output};
use crate::planning::bind;
use crate::session::{SessionInner, SessionState};
use crate::transaction::Transaction;
use crate::types::{fold, last_name};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use evenkeel_model::{Error, Result, Setting, SettingScope, SqlState};
use evenkeel_pql::ast::{CopySource, Statement, StatementKind};
use sqlparser::ast as sql;
use std::sync::Arc;

/// How a statement ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// PostgreSQL's command tag.
    pub(crate) tag: String,
    /// Rows returned or changed.
    pub(crate) rows: u64,
}

impl Outcome {
    pub(crate) fn new(tag: impl Into<String>) -> Self {
        Self { tag: tag.into(), rows: 0 }
    }

    pub(crate) fn rows(verb: &str, rows: u64) -> Self {
        Self { tag: format!("{verb} {rows}"), rows }
    }
}

impl SessionInner {
    /// Parses and carries out one statement.
    pub(crate) async fn statement(
        &self,
        state: &mut SessionState,
        text: &str,
        variables: &[(String, String)],
        output: &Output,
    ) -> Result<Outcome> {
        let mut statement = evenkeel_pql::parse_statement(text)?;
        state.class = StatementClass::of(&statement.kind);
        bind_statement(&mut statement, variables, text)?;
        self.check_block(state, &statement.kind)?;
        self.permit(state, &statement.kind)?;
        self.settle_loads(state, &statement.kind, &output.cancel).await?;
        self.dispatch(state, statement.kind, text, output).await
    }

    /// A failed block takes nothing but its end; schema changes and administration stand outside blocks.
    pub(crate) fn check_block(&self, state: &SessionState, kind: &StatementKind) -> Result<()> {
        let Some(transaction) = &state.transaction else { return Ok(()) };
        check_failed(state, kind)?;
        if let Some(what) = outside_blocks(kind) {
            return Err(Error::new(
                SqlState::ActiveTransaction,
                format!("{what} cannot run inside a transaction block"),
            )
            .with_hint("COMMIT or ROLLBACK first"));
        }
        if transaction.read_only && writes(kind) {
            return Err(read_only_block());
        }
        Ok(())
    }

    /// What [`Self::check_block`] says of an UPDATE.
    pub(crate) fn check_writing_block(&self, state: &SessionState) -> Result<()> {
        let Some(transaction) = &state.transaction else { return Ok(()) };
        if transaction.failed {
            return Err(failed_block());
        }
        if transaction.read_only { Err(read_only_block()) } else { Ok(()) }
    }

    pub(crate) async fn dispatch(
        &self,
        state: &mut SessionState,
        kind: StatementKind,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        match kind {
            StatementKind::Sql(statement) => self.sql(state, *statement, text, output).await,
            StatementKind::Upsert(insert) => self.insert(state, *insert, true, text, output).await,
            StatementKind::CreateTable { create, shard_by } => {
                self.create_table(state, *create, shard_by, text, output).await
            }
            StatementKind::Explain { analyze, verbose, statement } => {
                self.explain(state, analyze, verbose, *statement, text, output).await
            }
            StatementKind::Copy(copy) => self.copy(state, copy, text, output).await,
            StatementKind::AlterSystemSet(assignments) => self.alter_system_set(&assignments, text),
            StatementKind::AlterSystemReset(name) => self.alter_system_reset(name.as_ref()),
            StatementKind::KillQuery(id) => self.kill_query(id),
            StatementKind::Show(show) => self.show(state, show, text, output).await,
            StatementKind::Describe(name) => self.describe(state, &name, text, output).await,
            StatementKind::Locate { table, key } => self.locate(state, &table, key, text, output).await,
            StatementKind::Shard(statement) => self.shard_statement(statement, text, output).await,
            StatementKind::User(statement) => self.user_statement(state, statement, text, output).await,
            StatementKind::Cursor(_) => Err(Error::new(SqlState::FeatureNotSupported, "a cursor needs a connection")
                .with_hint("DECLARE, FETCH and CLOSE go over PostgreSQL's protocol; a request over HTTP has nothing to keep them in")),
        }
    }

    async fn sql(
        &self,
        state: &mut SessionState,
        statement: sql::Statement,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        use sql::Statement as S;
        match statement {
            S::Query(query) => self.query(state, *query, text, output).await,
            S::Insert(insert) => self.insert(state, insert, false, text, output).await,
            S::Update(update) => self.update(state, update, text, output).await,
            S::Delete(delete) => self.delete(state, delete, text, output).await,
            S::StartTransaction { modes, .. } => self.begin(state, &modes, output).await,
            S::Commit { .. } => self.commit(state, output).await,
            S::Rollback { savepoint, .. } => self.rollback(state, savepoint.as_ref(), output).await,
            S::Savepoint { name } => {
                block(state, "SAVEPOINT")?.savepoint(&fold(&name));
                Ok(Outcome::new("SAVEPOINT"))
            }
            S::ReleaseSavepoint { name } => {
                block(state, "RELEASE SAVEPOINT")?.release(&fold(&name))?;
                Ok(Outcome::new("RELEASE"))
            }
            S::Set(set) => self.set(state, set, text),
            S::Reset(reset) => {
                match reset.reset {
                    sql::Reset::ALL => {
                        state.settings = evenkeel_model::Settings::default();
                        state.foreign.clear();
                    }
                    sql::Reset::ConfigurationParameter(name) if foreign::is_known(&last_name(&name)) => {
                        state.foreign.remove(&last_name(&name));
                    }
                    sql::Reset::ConfigurationParameter(name) => {
                        state.settings.reset(session_setting(&last_name(&name))?);
                    }
                }
                Ok(Outcome::new("RESET"))
            }
            S::AlterTable(alter) => self.alter_table(state, alter, text).await,
            S::Drop { object_type, if_exists, names, .. } => {
                self.drop_objects(state, object_type, if_exists, &names, text, output).await
            }
            S::Truncate(truncate) => self.truncate(state, &truncate, text, output).await,
            S::CreateView(view) => self.create_view(state, view, text).await,
            S::CreateIndex(_) => Err(Error::unsupported("CREATE INDEX is not supported")
                .with_hint("rows are found by primary key and by shard key; put the columns you look up by into them")),
            S::Vacuum(vacuum) => {
                let table = vacuum.table_name.map(|name| crate::types::table_name(&name)).transpose()?;
                let schemas = self.database.schemas();
                let named = |name: &String| {
                    let tables = schemas.tables.keys().map(String::as_str);
                    let table = schemas.tables.get(name);
                    table.map(|table| table.schema.id).ok_or_else(|| crate::error::undefined_table(name, tables))
                };
                let table = table.as_ref().map(named).transpose()?;
                let database = Arc::clone(&self.database);
                blocking(move || database.collect_garbage(table)).await?;
                Ok(Outcome::new("VACUUM"))
            }
            S::Analyze(_) => Ok(Outcome::new("ANALYZE")),
            // The statements themselves are the connection's: it forgets them (see [`crate::forgotten_by`]).
            S::Deallocate { name, .. } if fold(&name) == "all" => Ok(Outcome::new("DEALLOCATE ALL")),
            S::Deallocate { .. } => Ok(Outcome::new("DEALLOCATE")),
            other => Err(unsupported(&other)),
        }
    }

    /// Plans a query in the session's view.
    pub(crate) async fn plan<'t>(
        &self,
        state: &SessionState,
        query: sql::Query,
        text: &'t str,
    ) -> Result<(crate::planning::Planning<'t>, Arc<dyn ExecutionPlan>)> {
        self.plan_with(self.names(state), query, text).await
    }

    /// Plans a query with names to look its tables up in.
    pub(crate) async fn plan_with<'t>(
        &self,
        names: Names,
        query: sql::Query,
        text: &'t str,
    ) -> Result<(crate::planning::Planning<'t>, Arc<dyn ExecutionPlan>)> {
        let (planning, plan) = self.outline(names, query, text).await?;
        let plan = planning.physical(&plan).await?;
        Ok((planning, plan))
    }

    /// What a query does, before it is decided how.
    pub(crate) async fn outline<'t>(
        &self,
        mut names: Names,
        mut query: sql::Query,
        text: &'t str,
    ) -> Result<(crate::planning::Planning<'t>, LogicalPlan)> {
        name_columns(&mut query);
        let mut statement = sql::Statement::Query(Box::new(query));
        resolve(&mut statement, &mut names, text)?;
        let sql::Statement::Query(query) = statement else { return Err(Error::internal("a query became another")) };
        let planning = self.planning(names, text)?;
        let plan = planning.query(*query, &[] as &[ScalarValue]).await?;
        Ok((planning, plan))
    }

    async fn query(&self, state: &mut SessionState, query: sql::Query, text: &str, output: &Output) -> Result<Outcome> {
        if let Some(locking) = Locking::of(&query)? {
            let outcome = self.locking_query(state, query, &locking, text, output).await;
            return outcome.inspect_err(|_| drop(self.view(state)));
        }
        if let Some(rows) = self.point_query(state, &query, output).await? {
            return Ok(Outcome::rows("SELECT", rows));
        }
        let (planning, plan) = self.plan(state, query, text).await?;
        let rows = stream(&planning, plan, text, output).await?;
        Ok(Outcome::rows("SELECT", rows))
    }

    async fn begin(
        &self,
        state: &mut SessionState,
        modes: &[sql::TransactionMode],
        output: &Output,
    ) -> Result<Outcome> {
        if state.transaction.is_some() {
            output.notice("a transaction is open already", Some("COMMIT or ROLLBACK ends it")).await?;
            return Ok(Outcome::new("BEGIN"));
        }
        let oracle = &self.database.oracle;
        let pin = self.database.snapshots.pin(|| oracle.read());
        let rows = self.database.row_locks.block(self.id);
        let mut transaction = Transaction::new(pin, rows, crate::oracle::now_ms(), self.database.log().expected());
        for mode in modes {
            match mode {
                sql::TransactionMode::AccessMode(sql::TransactionAccessMode::ReadOnly) => transaction.read_only = true,
                sql::TransactionMode::IsolationLevel(sql::TransactionIsolationLevel::Serializable) => {
                    output
                        .notice(
                            "the transaction runs under snapshot isolation, which is weaker than SERIALIZABLE",
                            None,
                        )
                        .await?;
                }
                _ => {}
            }
        }
        state.transaction = Some(transaction);
        Ok(Outcome::new("BEGIN"))
    }

    async fn commit(&self, state: &mut SessionState, output: &Output) -> Result<Outcome> {
        let Some(transaction) = state.transaction.take() else {
            output.notice("there is no transaction to commit", None).await?;
            return Ok(Outcome::new("COMMIT"));
        };
        if transaction.failed {
            return Ok(Outcome::new("ROLLBACK"));
        }
        if !transaction.loads.is_empty() {
            self.commit_loads(state, transaction, &output.cancel).await?;
            return Ok(Outcome::new("COMMIT"));
        }
        let start = transaction.start();
        let Transaction { writes, pin, tables, mut rows, chosen, coming, .. } = transaction;
        self.wait_for_holders(state, &mut rows, writes.keys()).await?;
        output.cancel.shield()?;
        drop(coming);
        let written = ToCommit::of(Arc::unwrap_or_clone(writes), chosen, self.id);
        self.commit_written(state, start, written, rows, (pin, tables)).await?;
        Ok(Outcome::new("COMMIT"))
    }

    async fn rollback(
        &self,
        state: &mut SessionState,
        savepoint: Option<&sql::Ident>,
        output: &Output,
    ) -> Result<Outcome> {
        match savepoint {
            Some(name) => block(state, "ROLLBACK TO")?.rollback_to(&fold(name))?,
            None if state.transaction.is_none() => {
                output.notice("there is no transaction to roll back", None).await?;
            }
            None => state.transaction = None,
        }
        Ok(Outcome::new("ROLLBACK"))
    }

    fn set(&self, state: &mut SessionState, set: sql::Set, text: &str) -> Result<Outcome> {
        match set {
            sql::Set::SingleAssignment { variable, values, .. } if foreign::is_known(&last_name(&variable)) => {
                let values = values.iter().map(|value| crate::administration::value_text(value, text));
                set_foreign(state, &last_name(&variable), &values.collect::<Result<Vec<_>>>()?.join(", "))
            }
            sql::Set::SetTimeZone { value, .. } => {
                set_foreign(state, "timezone", &crate::administration::value_text(&value, text)?)
            }
            sql::Set::SetNames { charset_name, .. } => set_foreign(state, "client_encoding", &charset_name.value),
            sql::Set::SetNamesDefault {} => set_foreign(state, "client_encoding", "UTF8"),
            sql::Set::SingleAssignment { variable, values, .. } => {
                let setting = session_setting(&last_name(&variable))?;
                let [value] = values.as_slice() else {
                    return Err(Error::new(SqlState::InvalidParameterValue, "SET takes one value"));
                };
                if matches!(value, sql::Expr::Identifier(word) if fold(word) == "default") {
                    state.settings.reset(setting);
                } else {
                    let value = crate::administration::value_text(value, text)?;
                    state.settings.set(setting, setting.check(&value)?);
                }
                Ok(Outcome::new("SET"))
            }
            sql::Set::SetTransaction { modes, .. } => {
                for mode in modes {
                    if let (sql::TransactionMode::AccessMode(access), Some(open)) = (mode, &mut state.transaction) {
                        open.read_only = access == sql::TransactionAccessMode::ReadOnly;
                    }
                }
                Ok(Outcome::new("SET"))
            }
            other => Err(Error::unsupported(format!("{other} is not supported"))
                .with_hint("SET name = value sets a setting of the session; QUERY SYSTEM.SETTINGS lists them")),
        }
    }
}

fn set_foreign(state: &mut SessionState, name: &str, value: &str) -> Result<Outcome> {
    if value.eq_ignore_ascii_case("default") {
        state.foreign.remove(name);
    } else {
        foreign::check(name, value)?;
        state.foreign.insert(name.to_string(), value.to_string());
    }
    Ok(Outcome::new("SET"))
}

/// Sends all rows of a plan; returns how many there were.
pub(crate) async fn stream(
    planning: &crate::planning::Planning<'_>,
    plan: Arc<dyn ExecutionPlan>,
    text: &str,
    output: &Output,
) -> Result<u64> {
    output.send(Event::Schema(plan.schema())).await?;
    let mut batches = planning.execute(plan);
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| crate::error::query_error(error, text))?;
        rows += batch.num_rows() as u64;
        if batch.num_rows() > 0 {
            output.send(Event::Batch(batch)).await?;
        }
    }
    Ok(rows)
}

/// Runs what blocks on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::internal(format!("a thread failed: {error}"))))
}

fn block<'s>(state: &'s mut SessionState, what: &str) -> Result<&'s mut Transaction> {
    state.transaction.as_mut().ok_or_else(|| {
        Error::new(SqlState::NoActiveTransaction, format!("{what} is only possible inside a transaction block"))
            .with_hint("BEGIN starts one")
    })
}

pub(crate) fn session_setting(name: &str) -> Result<&'static Setting> {
    let setting = Setting::find(name)?;
    if setting.scope != SettingScope::Session {
        return Err(Error::new(
            SqlState::InvalidParameterValue,
            format!("{} cannot be set for one session", setting.name),
        )
        .with_hint(match setting.scope {
            SettingScope::System => format!("ALTER SYSTEM SET {} = … sets it for everybody", setting.name),
            _ => "it is fixed when the database is made".to_string(),
        }));
    }
    Ok(setting)
}

fn unsupported(statement: &sql::Statement) -> Error {
    let text = statement.to_string();
    let verb: Vec<&str> = text.split_whitespace().take(2).collect();
    Error::unsupported(format!("{} is not supported", verb.join(" ")))
}

/// # Errors
/// 25P02 in a failed block, but for what ends it.
pub(crate) fn check_failed(state: &SessionState, kind: &StatementKind) -> Result<()> {
    let failed = state.transaction.as_ref().is_some_and(|transaction| transaction.failed);
    if failed && !ends_block(kind) { Err(failed_block()) } else { Ok(()) }
}

fn failed_block() -> Error {
    Error::new(SqlState::InFailedTransaction, "the transaction has failed")
        .with_hint("ROLLBACK ends it; ROLLBACK TO goes back to a savepoint")
}

fn read_only_block() -> Error {
    Error::new(SqlState::ReadOnly, "the transaction is read-only")
}

pub(crate) fn ends_block(kind: &StatementKind) -> bool {
    matches!(kind, StatementKind::Sql(statement)
        if matches!(statement.as_ref(), sql::Statement::Rollback { .. } | sql::Statement::Commit { .. }))
}

/// What may not stand inside a transaction block, in words.
pub(crate) fn outside_blocks(kind: &StatementKind) -> Option<&'static str> {
    use sql::Statement as S;
    match kind {
        StatementKind::CreateTable { .. } => Some("CREATE TABLE"),
        StatementKind::AlterSystemSet(_) | StatementKind::AlterSystemReset(_) => Some("ALTER SYSTEM"),
        StatementKind::Shard(_) => Some("a shard statement"),
        StatementKind::User(_) => Some("a statement about users"),
        StatementKind::Sql(statement) => match statement.as_ref() {
            S::AlterTable(_) => Some("ALTER TABLE"),
            S::Drop { .. } => Some("DROP"),
            S::CreateView(_) => Some("CREATE VIEW"),
            S::Vacuum(_) => Some("VACUUM"),
            _ => None,
        },
        _ => None,
    }
}

fn writes(kind: &StatementKind) -> bool {
    use evenkeel_pql::ast::CopyDirection;
    match kind {
        StatementKind::Upsert(_) => true,
        StatementKind::Copy(copy) => copy.direction == CopyDirection::From,
        StatementKind::Sql(statement) => {
            matches!(
                statement.as_ref(),
                sql::Statement::Insert(_)
                    | sql::Statement::Update(_)
                    | sql::Statement::Delete(_)
                    | sql::Statement::Truncate(_)
            ) || matches!(statement.as_ref(), sql::Statement::Query(query) if !query.locks.is_empty())
        }
        _ => false,
    }
}

fn bind_statement(statement: &mut Statement, variables: &[(String, String)], text: &str) -> Result<()> {
    match &mut statement.kind {
        StatementKind::Sql(inner) => bind(inner.as_mut(), variables, text),
        StatementKind::Upsert(insert) => bind(insert.as_mut(), variables, text),
        StatementKind::CreateTable { create, .. } => bind(create.as_mut(), variables, text),
        StatementKind::Explain { statement, .. } => bind_statement(statement, variables, text),
        StatementKind::Copy(copy) => {
            copy.options.iter_mut().try_for_each(|option| bind(&mut option.value, variables, text))?;
            match &mut copy.source {
                CopySource::Query(query) => bind(query.as_mut(), variables, text),
                CopySource::Table { .. } => Ok(()),
            }
        }
        StatementKind::AlterSystemSet(assignments) => {
            assignments.iter_mut().try_for_each(|assignment| bind(&mut assignment.value, variables, text))
        }
        StatementKind::Locate { key, .. } => key.iter_mut().try_for_each(|value| bind(value, variables, text)),
        _ => Ok(()),
    }
}
