//! Statements that are parsed and described once, and carried out often with other parameters.

use crate::database::Schemas;
use crate::locking::Locking;
use crate::measures::StatementClass;
use crate::naming::name_columns;
use crate::output::Output;
use crate::parameters::{bind, field_type, settle_series};
use crate::point::{Point, PointUpdate, holds};
use crate::row_insert::RowInsert;
use crate::session::{Answer, Session, SessionInner, SessionState, Work, shown};
use crate::statement::Outcome;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use evenkeel_model::{ColumnType, Error, Result};
use evenkeel_pql::StatementKind;
use evenkeel_pql::ast::{CopyDirection, CopyEndpoint, ShardStatement, Show};
use sqlparser::ast;
use std::borrow::Cow;
use std::sync::Arc;

/// A statement of a session: its text is read, its parameters and the columns of its answer are known.
///
/// It stays valid when tables change; if the columns of its answer would change, carrying it out fails with 0A000.
pub struct Parsed {
    pub(crate) text: String,
    /// As others are shown it.
    pub(crate) shown: Arc<str>,
    kind: StatementKind,
    parameters: Vec<ColumnType>,
    columns: Option<SchemaRef>,
    short: Short,
    /// The tables that it was described with.
    schemas: Arc<Schemas>,
}

/// Ways past the planner.
enum Short {
    No,
    Point(Box<Point>),
    Locking(Box<Point>, Locking),
    Update(Box<PointUpdate>),
    Insert(Box<RowInsert>),
}

/// Which way rows go between a statement and the client's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStream {
    /// `COPY … FROM STDIN`
    In,
    /// `COPY … TO STDOUT`
    Out,
}

impl std::fmt::Debug for Parsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parsed").field("text", &self.text).finish_non_exhaustive()
    }
}

impl Parsed {
    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The types of `$1`, `$2` ….
    pub fn parameters(&self) -> &[ColumnType] {
        &self.parameters
    }

    /// The columns of the answer; `None` for a statement that answers with no rows.
    pub fn columns(&self) -> Option<&SchemaRef> {
        self.columns.as_ref()
    }

    /// Whether rows stream between it and the client.
    pub fn copy_stream(&self) -> Option<CopyStream> {
        copy_stream(&self.kind)
    }

    /// Whether it is a query, which changes nothing.
    pub fn is_query(&self) -> bool {
        matches!(&self.kind, StatementKind::Sql(statement) if matches!(statement.as_ref(), ast::Statement::Query(_)))
    }

    /// Whether it is COMMIT or ROLLBACK, which a failed transaction block takes.
    pub fn ends_block(&self) -> bool {
        crate::statement::ends_block(&self.kind)
    }
}

/// Whether rows stream between a statement and the client.
pub fn copy_stream_of(text: &str) -> Option<CopyStream> {
    // Most statements are known not to be one by their first word.
    evenkeel_pql::first_word(text).filter(|word| word.eq_ignore_ascii_case("copy"))?;
    copy_stream(&evenkeel_pql::parse_statement(text).ok()?.kind)
}

/// Prepared statements that a connection is to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// `DEALLOCATE ALL`
    All,
    /// `DEALLOCATE name`
    One(String),
}

/// What a statement has its connection forget.
pub fn forgotten_by(text: &str) -> Option<Forgotten> {
    evenkeel_pql::first_word(text).filter(|word| word.eq_ignore_ascii_case("deallocate"))?;
    let StatementKind::Sql(statement) = evenkeel_pql::parse_statement(text).ok()?.kind else { return None };
    let ast::Statement::Deallocate { name, .. } = *statement else { return None };
    let all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
    Some(if all { Forgotten::All } else { Forgotten::One(crate::types::fold(&name)) })
}

/// Whether a text is COMMIT or ROLLBACK, to a savepoint or not.
pub fn ends_block(text: &str) -> bool {
    const VERBS: [&str; 4] = ["commit", "end", "rollback", "abort"];
    evenkeel_pql::first_word(text).is_some_and(|word| VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb)))
}

/// The character that quotes fields of the rows that a COPY TO STDOUT sends; within quotes a row may have several lines.
pub fn copied_quote(text: &str) -> Option<u8> {
    let StatementKind::Copy(copy) = evenkeel_pql::parse_statement(text).ok()?.kind else { return None };
    crate::files::CopyOptions::of_stream(&copy.options).ok()?.quoting()
}

/// Whether a statement may stand in a transaction block with others, and says nothing about blocks itself.
pub fn may_share_a_block(text: &str) -> bool {
    use ast::Statement as S;
    let Ok(statement) = evenkeel_pql::parse_statement(text) else { return true };
    let about_blocks = matches!(&statement.kind, StatementKind::Sql(inner) if matches!(inner.as_ref(),
        S::StartTransaction { .. } | S::Commit { .. } | S::Rollback { .. } | S::Savepoint { .. } | S::ReleaseSavepoint { .. }));
    !about_blocks && crate::statement::outside_blocks(&statement.kind).is_none()
}

pub(crate) fn copy_stream(kind: &StatementKind) -> Option<CopyStream> {
    let StatementKind::Copy(copy) = kind else { return None };
    match (copy.direction, &copy.endpoint) {
        (CopyDirection::From, CopyEndpoint::Stdin) => Some(CopyStream::In),
        (CopyDirection::To, CopyEndpoint::Stdout) => Some(CopyStream::Out),
        _ => None,
    }
}

impl Session {
    /// Reads and describes a statement. `declared` are the types that the client gives some of its parameters.
    ///
    /// # Errors
    /// What planning the statement would say: syntax, unknown tables and columns, types that do not fit; 25P02 in a block
    /// that has failed.
    pub async fn parse(&self, text: &str, declared: &[Option<ColumnType>]) -> Result<Parsed> {
        let kind = evenkeel_pql::parse_statement(text)?.kind;
        let mut state = self.inner.state.lock().await;
        self.inner.identify(&mut state)?;
        crate::statement::check_failed(&state, &kind)?;
        // What it may not do, its user is told when it is prepared, and asked again each time it is carried out.
        self.inner.permit(&mut state, &kind)?;
        self.inner.parse(&state, kind, text, declared).await
    }

    /// Carries a statement out with these values for its parameters, as the answer is read.
    ///
    /// # Errors
    /// Those of the answer.
    pub fn carry_out(&self, statement: &Arc<Parsed>, parameters: Vec<ScalarValue>) -> Answer {
        let inner = Arc::clone(&self.inner);
        let statement = Arc::clone(statement);
        Answer::driven(move |output| async move {
            inner.answer(&statement.text, Work::Parsed(&statement, &parameters), output).await;
        })
    }

    /// Carries out a COPY FROM STDIN, whose rows come from `input`; it is read on a thread of its own, which may wait. Rows
    /// are taken in while whoever has the answer receives more of them.
    pub fn copy_in(&self, text: &str, input: Box<dyn std::io::Read + Send>) -> Answer {
        let inner = Arc::clone(&self.inner);
        let text = text.to_string();
        Answer::spawned(move |output| async move {
            inner.answer(&text, Work::Text(&[]), output.with_input(input)).await;
        })
    }

    /// As [`Session::execute`], but carried out as the answer is read, by whoever reads it.
    pub fn answer(&self, text: &str) -> Answer {
        let inner = Arc::clone(&self.inner);
        let text = text.to_string();
        Answer::driven(move |output| async move { inner.answer(&text, Work::Text(&[]), output).await })
    }
}

impl SessionInner {
    async fn parse(
        &self,
        state: &SessionState,
        kind: StatementKind,
        text: &str,
        declared: &[Option<ColumnType>],
    ) -> Result<Parsed> {
        let schemas = self.database.schemas();
        let (text_kept, parameters) = (text.to_string(), vec![]);
        let mut parsed = Parsed {
            text: text_kept,
            shown: shown(text),
            kind,
            parameters,
            columns: None,
            short: Short::No,
            schemas: Arc::clone(&schemas),
        };
        if let StatementKind::Sql(statement) = &parsed.kind {
            match statement.as_ref() {
                ast::Statement::Query(query) => {
                    let locking = Locking::of(query)?;
                    if let Some(point) = Point::of(&schemas, &without_locks(query)) {
                        point.permit(&state.identity, &schemas)?;
                        if let Some(types) = declared_types(point.parameter_types(), declared) {
                            parsed.columns = Some(Arc::clone(&point.schema));
                            parsed.parameters = types;
                            let point = Box::new(point);
                            parsed.short = match locking {
                                None => Short::Point(point),
                                Some(locking) => Short::Locking(point, locking),
                            };
                            return Ok(parsed);
                        }
                    }
                }
                ast::Statement::Update(update) if update.returning.is_none() => {
                    parsed.parameters = self.parameter_types(state, &parsed.kind, declared, text).await?;
                    if let Some(update) =
                        PointUpdate::of(&self.database, &state.identity, update, text, &parsed.parameters)?
                    {
                        parsed.short = Short::Update(Box::new(update));
                        return Ok(parsed);
                    }
                }
                ast::Statement::Insert(insert) if insert.returning.is_none() => {
                    parsed.parameters = self.parameter_types(state, &parsed.kind, declared, text).await?;
                    if let Some(insert) = RowInsert::of(&self.database, insert, text, &parsed.parameters)? {
                        parsed.short = Short::Insert(Box::new(insert));
                        return Ok(parsed);
                    }
                }
                _ => {}
            }
        }
        parsed.parameters = self.parameter_types(state, &parsed.kind, declared, text).await?;
        let mut bound = parsed.kind.clone();
        settle_series(&mut bound)?;
        let nulls: Vec<_> = parsed.parameters.iter().map(|_| ScalarValue::Null).collect();
        bind(&mut bound, &parsed.parameters, &nulls)?;
        parsed.columns = self.columns_of(state, &bound, text).await?;
        Ok(parsed)
    }

    /// The columns that a statement answers with.
    async fn columns_of(&self, state: &SessionState, kind: &StatementKind, text: &str) -> Result<Option<SchemaRef>> {
        const TEXT: DataType = DataType::Utf8;
        const NUMBER: DataType = DataType::Int64;
        let fixed = |columns: &[(&str, DataType)]| {
            let fields = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
            Ok(Some(Arc::new(Schema::new(fields.collect::<Vec<_>>()))))
        };
        match kind {
            StatementKind::Sql(statement) => match statement.as_ref() {
                ast::Statement::Query(query) => self.columns_of_query(state, query.as_ref().clone(), text).await,
                ast::Statement::Insert(ast::Insert {
                    table: ast::TableObject::TableName(name),
                    returning: Some(items),
                    ..
                }) => self.columns_of_items(state, name.clone(), items.clone(), text).await,
                ast::Statement::Update(ast::Update { table, returning: Some(items), .. }) => {
                    let (name, _) = crate::clauses::target(&table.relation)?;
                    self.columns_of_items(state, name, items.clone(), text).await
                }
                ast::Statement::Delete(delete) => {
                    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
                    match (&delete.returning, from.first()) {
                        (Some(items), Some(first)) => {
                            let (name, _) = crate::clauses::target(&first.relation)?;
                            self.columns_of_items(state, name, items.clone(), text).await
                        }
                        _ => Ok(None),
                    }
                }
                _ => Ok(None),
            },
            StatementKind::Upsert(insert) => match (&insert.table, &insert.returning) {
                (ast::TableObject::TableName(name), Some(items)) => {
                    self.columns_of_items(state, name.clone(), items.clone(), text).await
                }
                _ => Ok(None),
            },
            StatementKind::Explain { statement, .. } => match &statement.kind {
                StatementKind::Shard(_) => fixed(&EXPLAINED),
                _ => fixed(&[("plan", TEXT)]),
            },
            StatementKind::Describe(_) | StatementKind::Show(Show::Columns(_)) => {
                fixed(&["column", "type", "nullable", "default", "key"].map(|name| (name, TEXT)))
            }
            StatementKind::Locate { .. } => {
                fixed(&[("token", TEXT), ("slot", NUMBER), ("shard_id", NUMBER), ("node_id", NUMBER)])
            }
            StatementKind::Show(Show::Balancer) => fixed(&EXPLAINED),
            StatementKind::Show(show) => match crate::administration::shown(show) {
                Some(query) => {
                    let StatementKind::Sql(inner) = evenkeel_pql::parse_statement(query)?.kind else {
                        return Err(Error::internal("SHOW is no query"));
                    };
                    let ast::Statement::Query(inner) = *inner else { return Err(Error::internal("SHOW is no query")) };
                    self.columns_of_query(state, *inner, query).await
                }
                None => match show {
                    Show::Variable(name) => fixed(&[(crate::types::fold(name).as_str(), TEXT)]),
                    _ => Ok(None),
                },
            },
            StatementKind::Shard(statement) => match statement {
                ShardStatement::ExplainShard(_) => fixed(&EXPLAINED),
                ShardStatement::VerifyShard(_) => {
                    fixed(&[("shard_id", NUMBER), ("row_count", NUMBER), ("bytes", NUMBER), ("digest", TEXT)])
                }
                ShardStatement::Rebalance { .. }
                | ShardStatement::Split { .. }
                | ShardStatement::Merge { .. }
                | ShardStatement::MoveSlots { .. }
                | ShardStatement::RemoveShard(_)
                | ShardStatement::UndoJob(_) => fixed(&crate::rebalancing::STARTED),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    async fn columns_of_query(&self, state: &SessionState, query: ast::Query, text: &str) -> Result<Option<SchemaRef>> {
        let schemas = self.database.schemas();
        let locking = Locking::of(&query)?;
        let query = without_locks(&query).into_owned();
        if let Some(point) = Point::of(&schemas, &query) {
            point.permit(&state.identity, &schemas)?;
            return Ok(Some(point.schema));
        }
        let (planning, outline) = self.outline(self.names_unread(state), query, text).await?;
        locking.map_or(Ok(()), |locking| locking.check(&outline))?;
        Ok(Some(planning.physical(&outline).await?.schema()))
    }

    /// The columns of RETURNING.
    async fn columns_of_items(
        &self,
        state: &SessionState,
        table: ast::ObjectName,
        items: Vec<ast::SelectItem>,
        text: &str,
    ) -> Result<Option<SchemaRef>> {
        let mut query = crate::clauses::select(items, vec![crate::clauses::table_with_joins(table, None)], None)?;
        name_columns(&mut query);
        let mut names = self.names_unread(state);
        let mut statement = ast::Statement::Query(Box::new(query));
        crate::names::resolve(&mut statement, &mut names, text)?;
        let ast::Statement::Query(query) = statement else { return Err(Error::internal("a query became another")) };
        let planning = self.planning(names, text)?;
        let plan = planning.query(*query, &[]).await?;
        Ok(Some(planning.physical(&plan).await?.schema()))
    }

    /// Carries out a parsed statement.
    pub(crate) async fn parsed(
        &self,
        state: &mut SessionState,
        parsed: &Parsed,
        parameters: &[ScalarValue],
        output: &Output,
    ) -> Result<Outcome> {
        state.class = StatementClass::of(&parsed.kind);
        self.check_block(state, &parsed.kind)?;
        self.permit(state, &parsed.kind)?;
        self.settle_loads(state, &parsed.kind, &output.cancel).await?;
        let schemas = self.database.schemas();
        match &parsed.short {
            Short::Point(point) if point.is_current(&schemas) => {
                point.permit(&state.identity, &schemas)?;
                let rows = self.fetch_point(state, point, parameters, output).await?;
                return Ok(Outcome::rows("SELECT", rows));
            }
            Short::Locking(point, locking) => {
                let rows = self.locking_point(state, point, parameters, locking, &parsed.text, output).await;
                if let Some(rows) = rows.inspect_err(|_| drop(self.view(state)))? {
                    return Ok(Outcome::rows("SELECT", rows));
                }
            }
            Short::Update(update) => {
                if let StatementKind::Sql(statement) = &parsed.kind
                    && let ast::Statement::Update(plain) = statement.as_ref()
                    && let Some(rows) = self
                        .update_point(state, update, plain, parameters, &parsed.text, output)
                        .await
                        .map_err(|error| self.discreet(state, error))?
                {
                    return Ok(Outcome::rows("UPDATE", rows));
                }
            }
            Short::Insert(prepared) => {
                if let StatementKind::Sql(statement) = &parsed.kind
                    && let ast::Statement::Insert(plain) = statement.as_ref()
                    && self.insert_row(state, prepared, plain, parameters, &parsed.text, output).await?.is_some()
                {
                    return Ok(Outcome::rows("INSERT 0", 1));
                }
            }
            _ => {}
        }
        let mut kind = parsed.kind.clone();
        bind(&mut kind, &parsed.parameters, parameters)?;
        if let Some(described) = &parsed.columns
            && !Arc::ptr_eq(&parsed.schemas, &schemas)
        {
            let now = Box::pin(self.columns_of(state, &kind, &parsed.text)).await?;
            if now.as_ref().is_some_and(|now| !same(now, described)) {
                return Err(Error::unsupported(
                    "the columns of the statement's answer have changed since it was prepared",
                )
                .with_hint("prepare it again"));
            }
        }
        Box::pin(self.dispatch(state, kind, &parsed.text, output)).await
    }
}

/// The types of a point's parameters, as the client declares them where it does; `None` where one is not known, or would have
/// to be rounded or cut off to be part of a key.
fn declared_types(columns: Vec<Option<ColumnType>>, declared: &[Option<ColumnType>]) -> Option<Vec<ColumnType>> {
    if declared.len() > columns.len() {
        return None;
    }
    let one = |(at, column): (usize, Option<ColumnType>)| {
        let column = column?;
        let Some(declared) = declared.get(at).cloned().flatten() else { return Some(column) };
        holds(&column, &declared).then_some(declared)
    };
    columns.into_iter().enumerate().map(one).collect()
}

/// A query as it would be asked without choosing rows.
pub(crate) fn without_locks(query: &ast::Query) -> Cow<'_, ast::Query> {
    if query.locks.is_empty() {
        return Cow::Borrowed(query);
    }
    let mut query = query.clone();
    query.locks.clear();
    Cow::Owned(query)
}

/// Whether two answers look the same to a client.
fn same(one: &Schema, other: &Schema) -> bool {
    let shape = |field: &Arc<Field>| (field.name().clone(), field_type(field));
    one.fields().iter().map(shape).eq(other.fields().iter().map(shape))
}

/// The columns of an explanation.
pub(crate) const EXPLAINED: [(&str, DataType); 4] =
    [("item", DataType::Utf8), ("what", DataType::Utf8), ("why", DataType::Utf8), ("hint", DataType::Utf8)];
