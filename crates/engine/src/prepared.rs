//! Statements about one row that are prepared once and carried out often, with other parameters each time.

use crate::access::{Need, update_needs};
use crate::output::Output;
use crate::point::{Point, PointUpdate};
use crate::session::{Session, SessionInner, Work, shown};
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use evenkeel_model::{Error, Result};
use evenkeel_pql::StatementKind;
use evenkeel_storage::View;
use evenkeel_storage::codec::{KeyBuilder, Value};
use sqlparser::ast;
use std::sync::Arc;

/// A query for one row by its primary key, prepared once and asked often.
///
/// It reads what is committed when it is asked, outside the session's transaction block.
pub struct Prepared {
    session: Arc<SessionInner>,
    query: ast::Query,
    point: Point,
    ids: Vec<u32>,
    key: KeyBuilder,
    /// As long as the database has this one, the table is as it was and may be read.
    access_epoch: u64,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("table", &self.point.table.schema.name).finish_non_exhaustive()
    }
}

/// An UPDATE of one row by its primary key, prepared once and carried out often, each time as a statement of its session.
pub struct PreparedUpdate {
    session: Arc<SessionInner>,
    pub(crate) text: String,
    /// As others are shown it.
    pub(crate) shown: Arc<str>,
    pub(crate) update: ast::Update,
    needs: Vec<Need>,
    pub(crate) compiled: PointUpdate,
}

impl std::fmt::Debug for PreparedUpdate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedUpdate").field("text", &self.text).finish_non_exhaustive()
    }
}

impl Session {
    /// Prepares `SELECT … FROM t WHERE key = $1 …`.
    ///
    /// # Errors
    /// 0A000 for a statement that is not a query for one row by its whole primary key.
    pub fn prepare(&self, text: &str) -> Result<Prepared> {
        let not_one = || {
            Error::unsupported("this statement is not a query for one row by its primary key")
                .with_hint("SELECT columns FROM t WHERE every key column = $n or a literal")
        };
        let StatementKind::Sql(statement) = evenkeel_pql::parse_statement(text)?.kind else { return Err(not_one()) };
        let ast::Statement::Query(query) = *statement else { return Err(not_one()) };
        let access_epoch = self.inner.database.access_epoch();
        let schemas = self.inner.database.schemas();
        let point = Point::of(&schemas, &query).ok_or_else(not_one)?;
        point.permit(&self.inner.identity()?, &schemas)?;
        let (session, ids) = (Arc::clone(&self.inner), point.table.ids(&point.columns));
        Ok(Prepared { session, query: *query, point, ids, key: KeyBuilder::new(), access_epoch })
    }

    /// Prepares `UPDATE t SET … WHERE key = $1 …`.
    ///
    /// # Errors
    /// 0A000 for a statement that is not an update of one row by its whole primary key.
    pub fn prepare_update(&self, text: &str) -> Result<PreparedUpdate> {
        let not_one = || {
            Error::unsupported("this statement is not an update of one row by its primary key")
                .with_hint("UPDATE t SET column = expression WHERE every key column = $n or a literal")
        };
        let StatementKind::Sql(statement) = evenkeel_pql::parse_statement(text)?.kind else { return Err(not_one()) };
        let ast::Statement::Update(update) = *statement else { return Err(not_one()) };
        let (identity, needs) = (self.inner.identity()?, update_needs(&update));
        self.inner.database.permits(&identity, &needs)?;
        let compiled = PointUpdate::of(&self.inner.database, &identity, &update, text, &[])?.ok_or_else(not_one)?;
        let (session, shown) = (Arc::clone(&self.inner), shown(text));
        Ok(PreparedUpdate { session, text: text.to_string(), shown, update, needs, compiled })
    }
}

impl PreparedUpdate {
    /// Carries the update out; returns how many rows there were: one or none. Dropping the future cancels it, unless it
    /// is committing.
    ///
    /// # Errors
    /// As the statement itself; 42P02 for a missing parameter.
    pub async fn execute(&self, parameters: &[ScalarValue]) -> Result<u64> {
        let output = Output::nobody();
        self.session.carry_out(&self.text, Work::Prepared(self, parameters), &output).await.map(|outcome| outcome.rows)
    }
}

impl SessionInner {
    pub(crate) async fn prepared_update(
        &self,
        state: &mut crate::session::SessionState,
        prepared: &PreparedUpdate,
        parameters: &[ScalarValue],
        output: &Output,
    ) -> Result<crate::statement::Outcome> {
        state.class = crate::measures::StatementClass::Update;
        self.check_writing_block(state)?;
        if !state.identity.is_unrestricted() {
            state.needs.clone_from(&prepared.needs);
            self.permitted(state)?;
        }
        self.write_loads(state, &output.cancel).await?;
        let PreparedUpdate { text, update, compiled, .. } = prepared;
        let rows = self.update_point(state, compiled, update, parameters, text, output).await;
        let rows = rows.map_err(|error| self.discreet(state, error))?.ok_or_else(|| {
            Error::unsupported("the table has changed: the statement is no update of one row by its key any more")
                .with_hint("prepare it again, or send it as text")
        })?;
        Ok(crate::statement::Outcome::rows("UPDATE", rows))
    }
}

impl Prepared {
    /// The columns of the answer.
    pub fn schema(&self) -> &SchemaRef {
        &self.point.schema
    }

    /// Calls `each` with the index and value of every column of the row, if there is one; returns whether there is.
    ///
    /// # Errors
    /// 42P02 for a missing parameter; 42501 when the right to it was revoked; 0A000 when the table has changed so that the
    /// answer would have other columns; what the disk says.
    pub fn get(&mut self, parameters: &[ScalarValue], mut each: impl FnMut(usize, &Value<'_>)) -> Result<bool> {
        if self.access_epoch != self.session.database.access_epoch() {
            self.renew()?;
        }
        let database = &self.session.database;
        let Some(key) = self.point.row_key(parameters, &mut self.key)? else { return Ok(false) };
        let table = &self.point.table;
        // A version that this reads is collected only after minutes: no need to register the reader.
        let (read, layout) = {
            let layout = database.topology.steady();
            (database.oracle.read(), Arc::clone(&layout))
        };
        let hidden = database.hidden_loads(table.schema.id, read);
        let view = View { read, hidden: &hidden, lock_timeout: std::time::Duration::from_secs(10), map: None };
        let projection = table.format.projection(&self.ids);
        let found =
            layout.shard_of(&key)?.get(&key, &view, |row| projection.read(row, |index, value| each(index, value)))?;
        found.transpose().map(|found| found.is_some())
    }

    /// Prepares the query again, because tables or users are others now.
    fn renew(&mut self) -> Result<()> {
        let access_epoch = self.session.database.access_epoch();
        let (identity, schemas) = (self.session.identity()?, self.session.database.schemas());
        let point = Point::of(&schemas, &self.query).filter(|point| point.schema == self.point.schema);
        let point = point.ok_or_else(|| {
            Error::unsupported("the table has changed: the query gives other columns, or is none of one row any more")
                .with_hint("prepare it again, or send it as text")
        })?;
        point.permit(&identity, &schemas)?;
        self.ids = point.table.ids(&point.columns);
        (self.point, self.access_epoch) = (point, access_epoch);
        Ok(())
    }
}
