//! Statements about one row by its primary key, without the query planner.
//!
//! `SELECT a, b FROM t WHERE key = …` and `UPDATE t SET a = … WHERE key = …` are recognised by their shape; whatever is
//! not exactly of it goes the long way and means the same there. What was recognised can be kept ([`crate::prepared`]),
//! so that a repeated statement costs a look-up and little else.

use crate::access::{Identity, Need, authorize};
use crate::commit::ToCommit;
use crate::database::{Database, Schemas};
use crate::direct::{DirectRow, Scope};
use crate::evaluate::{Checks, compile};
use crate::output::{Event, Output};
use crate::session::{SessionInner, SessionState, note_read};
use crate::table::TableHandle;
use crate::transaction::Transaction;
use crate::types::{fold, last_name, table_name};
use crate::view::ReadView;
use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use evenkeel_model::{ColumnType, Error, Privilege, Result, SqlState};
use evenkeel_storage::codec::{Cells, ColumnBuilder, KeyBuilder, Value, arrow_type};
use evenkeel_storage::{Mutation, Operation};
use sqlparser::ast;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value of a key: known, or the parameter of a number (from 0).
#[derive(Clone, Debug, PartialEq)]
enum KeyPart {
    Known(ScalarValue),
    Parameter(usize),
}

/// A query for one row by its key.
pub(crate) struct Point {
    pub(crate) table: Arc<TableHandle>,
    key: Vec<KeyPart>,
    key_types: Vec<ColumnType>,
    /// Positions of the columns asked for, and their names in the answer.
    pub(crate) columns: Vec<usize>,
    pub(crate) schema: SchemaRef,
}

/// The table, key and nothing else of `FROM t WHERE key = …`.
fn point_of(
    schemas: &Schemas,
    from: &[ast::TableWithJoins],
    selection: Option<&ast::Expr>,
) -> Option<(Arc<TableHandle>, Vec<KeyPart>)> {
    let [ast::TableWithJoins { relation, joins }] = from else { return None };
    let ast::TableFactor::Table { name, alias, args: None, version: None, sample: None, .. } = relation else {
        return None;
    };
    let table = schemas.tables.get(&table_name(name).ok()?)?;
    if !joins.is_empty() || table.schema.has_hidden_key() || alias.as_ref().is_some_and(|a| !a.columns.is_empty()) {
        return None;
    }
    let named = Named { table, qualifier: alias.as_ref().map_or(table.schema.name.clone(), |alias| fold(&alias.name)) };
    let mut parts = BTreeMap::new();
    equalities(selection?, &named, &mut parts)?;
    let key = table.key.iter().map(|position| parts.remove(position)).collect::<Option<Vec<_>>>()?;
    parts.is_empty().then(|| (Arc::clone(table), key))
}

/// A table by the name that its columns are qualified with.
struct Named<'t> {
    table: &'t TableHandle,
    qualifier: String,
}

impl Named<'_> {
    /// The name of a column, where an expression is nothing else.
    fn column<'e>(&self, expr: &'e ast::Expr) -> Option<&'e ast::Ident> {
        match expr {
            ast::Expr::Identifier(ident) => Some(ident),
            ast::Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [qualifier, ident] if fold(qualifier) == self.qualifier => Some(ident),
                _ => None,
            },
            _ => None,
        }
    }
}

fn equalities(expr: &ast::Expr, named: &Named<'_>, parts: &mut BTreeMap<usize, KeyPart>) -> Option<()> {
    let table = named.table;
    match expr {
        ast::Expr::Nested(inner) => equalities(inner, named, parts),
        ast::Expr::BinaryOp { left, op: ast::BinaryOperator::And, right } => {
            equalities(left, named, parts)?;
            equalities(right, named, parts)
        }
        ast::Expr::BinaryOp { left, op: ast::BinaryOperator::Eq, right } => {
            let ident = named.column(left)?;
            let position = table.position(&fold(ident)).ok().filter(|at| table.key.contains(at))?;
            let value = key_part(right, &table.column(position).column_type)?;
            parts.insert(position, value).is_none().then_some(())
        }
        _ => None,
    }
}

/// A literal of just the column's kind; anything that would need a conversion goes the long way.
fn key_part(expr: &ast::Expr, column: &ColumnType) -> Option<KeyPart> {
    use ColumnType::Text;
    if let ast::Expr::Cast { kind: ast::CastKind::Cast | ast::CastKind::DoubleColon, expr, data_type, .. } = expr {
        let cast = crate::types::column_type(data_type).ok()?;
        // A cast to varchar(n) may cut off.
        let is_same = match (&cast, column) {
            (Text { max_chars }, Text { .. }) => max_chars.is_none(),
            (cast, column) => cast == column,
        };
        return if is_same { key_part(expr, column) } else { None };
    }
    let (value, negative) = match expr {
        ast::Expr::Value(value) => (value, false),
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => match expr.as_ref() {
            ast::Expr::Value(value) => (value, true),
            _ => return None,
        },
        _ => return None,
    };
    if let ast::Value::Placeholder(name) = &value.value {
        // What a fraction is compared with is the planner's to say.
        if matches!(column, ColumnType::Real | ColumnType::Double | ColumnType::Decimal { .. }) {
            return None;
        }
        let number: usize = name.strip_prefix('$')?.parse().ok()?;
        return (!negative && number > 0).then(|| KeyPart::Parameter(number - 1));
    }
    let known = match (column, &value.value) {
        (ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt, ast::Value::Number(number, _)) => {
            let number: i64 = number.parse().ok()?;
            let number = if negative { -number } else { number };
            match column {
                ColumnType::SmallInt => ScalarValue::Int16(Some(i16::try_from(number).ok()?)),
                ColumnType::Integer => ScalarValue::Int32(Some(i32::try_from(number).ok()?)),
                _ => ScalarValue::Int64(Some(number)),
            }
        }
        (ColumnType::Text { .. }, ast::Value::SingleQuotedString(text)) if !negative => {
            ScalarValue::Utf8View(Some(text.clone()))
        }
        (ColumnType::Boolean, ast::Value::Boolean(value)) => ScalarValue::Boolean(Some(*value)),
        _ => return None,
    };
    Some(KeyPart::Known(known))
}

impl Point {
    /// Recognises a query for one row.
    pub(crate) fn of(schemas: &Schemas, query: &ast::Query) -> Option<Self> {
        let ast::Query { with: None, body, order_by: None, fetch: None, for_clause: None, pipe_operators, .. } = query
        else {
            return None;
        };
        if !leaves_one(query.limit_clause.as_ref()) || !query.locks.is_empty() {
            return None;
        }
        let ast::SetExpr::Select(select) = body.as_ref() else { return None };
        let plain = select.distinct.is_none()
            && select.having.is_none()
            && select.qualify.is_none()
            && select.into.is_none()
            && select.top.is_none()
            && select.lateral_views.is_empty()
            && matches!(&select.group_by, ast::GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty());
        if !plain {
            return None;
        }
        // A pipeline says the same in operators: WHERE, then SELECT.
        let (selection, items) = match pipe_operators.as_slice() {
            [] => (select.selection.as_ref(), select.projection.as_slice()),
            [ast::PipeOperator::Where { expr }] if select.selection.is_none() => {
                (Some(expr), select.projection.as_slice())
            }
            [ast::PipeOperator::Where { expr }, ast::PipeOperator::Select { exprs }]
                if select.selection.is_none()
                    && matches!(select.projection.as_slice(), [ast::SelectItem::Wildcard(_)]) =>
            {
                (Some(expr), exprs.as_slice())
            }
            _ => return None,
        };
        let (table, key) = point_of(schemas, &select.from, selection)?;
        let alias = select.from.first().and_then(|from| crate::clauses::target(&from.relation).ok()?.1);
        let qualifier = alias.map_or(table.schema.name.clone(), |alias| fold(&alias));
        let (columns, names) = projection(&Named { table: &table, qualifier }, items)?;
        let field = |(at, name): (&usize, String)| table.arrow.field(*at).clone().with_name(name);
        let schema = Arc::new(Schema::new(columns.iter().zip(names).map(field).collect::<Vec<_>>()));
        Some(Self { key_types: table.key_types(), table, key, columns, schema })
    }

    /// Whether its key has no parameters.
    pub(crate) fn is_known(&self) -> bool {
        self.key.iter().all(|part| matches!(part, KeyPart::Known(_)))
    }

    /// The types of its parameters, by number; `None` where a number is left out.
    pub(crate) fn parameter_types(&self) -> Vec<Option<ColumnType>> {
        let mut types = Vec::new();
        for (part, column) in self.key.iter().zip(&self.key_types) {
            if let KeyPart::Parameter(number) = part {
                types.resize(types.len().max(number + 1), None);
                types[*number] = Some(column.clone());
            }
        }
        types
    }

    /// Whether the table is still as it was when this was recognised.
    pub(crate) fn is_current(&self, schemas: &Schemas) -> bool {
        schemas.tables.get(&self.table.schema.name).is_some_and(|table| Arc::ptr_eq(table, &self.table))
    }

    /// Whether somebody may read the row, under the schemas that it was recognised by.
    ///
    /// # Errors
    /// 42501
    pub(crate) fn permit(&self, identity: &Identity, schemas: &Schemas) -> Result<()> {
        if identity.is_unrestricted() {
            return Ok(());
        }
        authorize(identity, &[Need::Table(Privilege::Select, self.table.schema.name.clone())], schemas)
    }

    /// The row's key with these parameters; `None` where one is NULL, which no key is equal to.
    pub(crate) fn row_key(&self, parameters: &[ScalarValue], scratch: &mut KeyBuilder) -> Result<Option<Vec<u8>>> {
        let mut values = Vec::with_capacity(self.key.len());
        for (part, column) in self.key.iter().zip(&self.key_types) {
            let value = match part {
                KeyPart::Known(value) => value,
                KeyPart::Parameter(number) => parameters.get(*number).ok_or_else(|| {
                    Error::new(SqlState::UndefinedParameter, format!("parameter ${} has no value", number + 1))
                })?,
            };
            if value.is_null() {
                return Ok(None);
            }
            values.push(key_value(value, column)?);
        }
        Ok(Some(self.table.key_of(scratch, &values)))
    }
}

/// A parameter as the value of a key column.
fn key_value<'v>(value: &'v ScalarValue, column: &ColumnType) -> Result<Value<'v>> {
    Ok(match (column, value) {
        (ColumnType::SmallInt, ScalarValue::Int16(Some(n))) => Value::Integer(i64::from(*n)),
        (ColumnType::Integer, ScalarValue::Int32(Some(n))) => Value::Integer(i64::from(*n)),
        (ColumnType::BigInt, ScalarValue::Int64(Some(n))) => Value::Integer(*n),
        (ColumnType::Timestamp | ColumnType::TimestampTz, ScalarValue::TimestampMicrosecond(Some(n), _)) => {
            Value::Integer(*n)
        }
        (ColumnType::Boolean, ScalarValue::Boolean(Some(b))) => Value::Boolean(*b),
        (
            ColumnType::Text { .. },
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)),
        ) => Value::Bytes(Cow::Borrowed(text.as_bytes())),
        // Rounded it would be the key of another row.
        (column, value) if value.data_type().is_floating() || value.data_type().is_decimal() => {
            let message = format!("a key of type {column} is not given as {}", value.data_type());
            return Err(Error::new(SqlState::DatatypeMismatch, message).with_hint("give it as the column's type"));
        }
        (column, value) => {
            let array = value.to_array().map_err(|error| crate::error::query_error(error, ""))?;
            let array = crate::evaluate::cast(&array, column, "")?;
            owned(Cells::new(column, &array)?.value(0)?)
        }
    })
}

fn owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
        Value::Null => Value::Null,
        Value::Boolean(b) => Value::Boolean(b),
        Value::Integer(n) => Value::Integer(n),
        Value::Float(f) => Value::Float(f),
        Value::Wide(n) => Value::Wide(n),
        Value::Interval { months, days, nanoseconds } => Value::Interval { months, days, nanoseconds },
    }
}

/// Whether a LIMIT leaves the only row there is.
fn leaves_one(limit: Option<&ast::LimitClause>) -> bool {
    let Some(limit) = limit else { return true };
    let ast::LimitClause::LimitOffset { limit: Some(ast::Expr::Value(rows)), offset: None, limit_by } = limit else {
        return false;
    };
    limit_by.is_empty()
        && matches!(&rows.value, ast::Value::Number(rows, _) if rows.parse::<i64>().is_ok_and(|n| n > 0))
}

fn projection(named: &Named<'_>, items: &[ast::SelectItem]) -> Option<(Vec<usize>, Vec<String>)> {
    let table = named.table;
    let (mut columns, mut names) = (Vec::new(), Vec::new());
    let is_own = |kind: &ast::SelectItemQualifiedWildcardKind| {
        matches!(kind, ast::SelectItemQualifiedWildcardKind::ObjectName(name)
            if name.0.len() == 1 && last_name(name) == named.qualifier)
    };
    for item in items {
        match item {
            ast::SelectItem::Wildcard(options) if *options == ast::WildcardAdditionalOptions::default() => {
                columns.extend(0..table.visible);
                names.extend((0..table.visible).map(|at| table.arrow.field(at).name().clone()));
            }
            ast::SelectItem::QualifiedWildcard(kind, options)
                if is_own(kind) && *options == ast::WildcardAdditionalOptions::default() =>
            {
                columns.extend(0..table.visible);
                names.extend((0..table.visible).map(|at| table.arrow.field(at).name().clone()));
            }
            ast::SelectItem::UnnamedExpr(expr) => {
                let ident = named.column(expr)?;
                columns.push(table.position(&fold(ident)).ok()?);
                names.push(fold(ident));
            }
            ast::SelectItem::ExprWithAlias { expr, alias } => {
                columns.push(table.position(&fold(named.column(expr)?)).ok()?);
                names.push(fold(alias));
            }
            _ => return None,
        }
    }
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    (distinct.len() == names.len()).then_some((columns, names))
}

impl SessionInner {
    /// Answers a query for one row, if it is one. Returns how many rows there were.
    pub(crate) async fn point_query(
        &self,
        state: &SessionState,
        query: &ast::Query,
        output: &Output,
    ) -> Result<Option<u64>> {
        let schemas = self.database.schemas();
        let Some(point) = Point::of(&schemas, query) else { return Ok(None) };
        if !point.is_known() {
            return Ok(None);
        }
        point.permit(&state.identity, &schemas)?;
        self.fetch_point(state, &point, &[], output).await.map(Some)
    }

    /// Answers a query for one row, which its user may read. Returns how many rows there were.
    pub(crate) async fn fetch_point(
        &self,
        state: &SessionState,
        point: &Point,
        parameters: &[ScalarValue],
        output: &Output,
    ) -> Result<u64> {
        let key = point.row_key(parameters, &mut KeyBuilder::new())?;
        let Some(key) = key else {
            output.send(Event::Schema(Arc::clone(&point.schema))).await?;
            return Ok(0);
        };
        let ids = point.table.ids(&point.columns);
        let projection = point.table.format.projection(&ids);
        let columns = point.columns.iter();
        let mut builders: Vec<ColumnBuilder> =
            columns.map(|at| ColumnBuilder::new(&point.table.column(*at).column_type, 1)).collect();
        note_read(state, &key);
        let view = self.view_of_rows(state);
        let found = view
            .get(point.table.schema.id, &key, |row| projection.read(row, |index, value| builders[index].append(value)))?
            .transpose()?;
        output.send(Event::Schema(Arc::clone(&point.schema))).await?;
        if found.is_none() {
            return Ok(0);
        }
        let arrays = builders.iter_mut().map(ColumnBuilder::finish).collect();
        let batch = RecordBatch::try_new(Arc::clone(&point.schema), arrays).map_err(crate::error::arrow_error)?;
        output.send(Event::Batch(batch)).await?;
        Ok(1)
    }

    /// Carries out an UPDATE of one row, if it is one. Returns how many rows there were.
    pub(crate) async fn point_update(
        &self,
        state: &mut SessionState,
        update: &ast::Update,
        text: &str,
        output: &Output,
    ) -> Result<Option<u64>> {
        if update.returning.is_some() {
            return Ok(None);
        }
        let compiled = PointUpdate::of(&self.database, &state.identity, update, text, &[])?;
        let Some(prepared) = compiled else { return Ok(None) };
        if !prepared.point.is_known() {
            return Ok(None);
        }
        self.update_point(state, &prepared, update, &[], text, output).await
    }

    /// Carries out a compiled UPDATE of one row; `None` when the table has changed since in a way that it no longer is one.
    pub(crate) async fn update_point(
        &self,
        state: &mut SessionState,
        prepared: &PointUpdate,
        update: &ast::Update,
        parameters: &[ScalarValue],
        text: &str,
        output: &Output,
    ) -> Result<Option<u64>> {
        let (table, guard) = self.writable(state, &prepared.name, text).await?;
        let compiled;
        // A check may ask for the time, which compiling settles.
        let prepared = if Arc::ptr_eq(&table, &prepared.point.table) && table.schema.checks.is_empty() {
            prepared
        } else {
            let again = PointUpdate::of(&self.database, &state.identity, update, text, &prepared.parameters)?;
            let Some(again) = again else { return Ok(None) };
            compiled = again;
            &compiled
        };
        let mut tried = 0;
        let rows = loop {
            output.cancel.check()?;
            match self.update_point_once(state, prepared, parameters, output).await {
                Err(error) if self.again(&mut tried, &error, state, output).await => {}
                outcome => break outcome?,
            }
        };
        drop(guard);
        Ok(Some(rows))
    }

    async fn update_point_once(
        &self,
        state: &mut SessionState,
        prepared: &PointUpdate,
        parameters: &[ScalarValue],
        output: &Output,
    ) -> Result<u64> {
        let key = prepared.point.row_key(parameters, &mut KeyBuilder::new())?;
        let Some(key) = key else { return Ok(0) };
        let is_new = state.transaction.as_ref().is_some_and(|transaction| !transaction.rows.holds(&key));
        let _held = self.hold_row(state, &key).await?;
        let view = self.view_of_rows(state);
        let Some(mutation) = prepared.mutation(&view, key.clone(), parameters)? else {
            // There is no row to be held: whoever inserts it is not to wait.
            if let Some(transaction) = state.transaction.as_mut().filter(|_| is_new) {
                transaction.rows.let_go(&key);
            }
            return Ok(0);
        };
        self.commit_one(state, &view, mutation, output).await?;
        Ok(1)
    }

    /// Hands a change of one row to the transaction block, or commits it.
    pub(crate) async fn commit_one(
        &self,
        state: &mut SessionState,
        view: &ReadView,
        mutation: Mutation,
        output: &Output,
    ) -> Result<()> {
        let limit = self.database.settings().size("max_transaction_size");
        if let Some(transaction) = &mut state.transaction {
            return Transaction::add(transaction, vec![mutation], limit);
        }
        let mut held = self.database.row_locks.block(self.id);
        self.wait_for_holders(state, &mut held, std::iter::once(&mutation.key)).await?;
        output.cancel.shield()?;
        self.commit_written(state, view.read, ToCommit::writes(vec![mutation], self.id), held, ()).await
    }
}

/// An UPDATE of one row by its key, compiled.
pub(crate) struct PointUpdate {
    name: ast::ObjectName,
    point: Point,
    assignments: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    /// The same, where it needs no expressions.
    direct: Option<DirectRow>,
    checks: Checks,
    /// The types of its parameters, which follow the table's columns in what the new values are computed from.
    parameters: Vec<ColumnType>,
}

impl PointUpdate {
    /// Recognises an UPDATE of one row. `parameters` are the types of those that its new values may name.
    pub(crate) fn of(
        database: &Arc<Database>,
        identity: &Identity,
        update: &ast::Update,
        text: &str,
        parameters: &[ColumnType],
    ) -> Result<Option<Self>> {
        let plain =
            update.from.is_none() && update.order_by.is_empty() && update.limit.is_none() && update.or.is_none();
        let Ok((name, None)) = crate::clauses::target(&update.table.relation) else { return Ok(None) };
        if !plain || !update.table.joins.is_empty() {
            return Ok(None);
        }
        let from = std::slice::from_ref(&update.table);
        let Some((table, key)) = point_of(&database.schemas(), from, update.selection.as_ref()) else {
            return Ok(None);
        };
        // The planner compares a parameter of another type in the wider of the two.
        let keys = key.iter().zip(table.key_types());
        let is_exact = |(part, column): (&KeyPart, ColumnType)| match part {
            KeyPart::Parameter(number) => parameters.get(*number).is_none_or(|declared| holds(&column, declared)),
            KeyPart::Known(_) => true,
        };
        if !keys.into_iter().all(is_exact) {
            return Ok(None);
        }
        let mut set = crate::clauses::assignments(&table, &update.assignments, text)?;
        set.iter_mut().for_each(|(_, value)| drop_idle_cast(value, parameters));
        let plain = |value: &ast::Expr| is_plain(value, parameters.len());
        if set.iter().any(|(position, value)| table.key.contains(position) || !plain(value)) {
            return Ok(None);
        }
        // A check may call functions such as now(), whose value must be this statement's.
        let planner = if table.schema.checks.is_empty() {
            database.planner.expressions()
        } else {
            let view = ReadView::latest(database, std::time::Duration::ZERO);
            Arc::new(database.planner.state(crate::names::Names::new(view, identity.clone())))
        };
        let schema = with_parameters(&table.arrow, parameters);
        let schema = DFSchema::try_from_qualified_schema(table.schema.name.as_str(), &schema)
            .map_err(|error| crate::error::query_error(error, text))?;
        let scope = Scope { table: Some(&table), parameters, now: None };
        let direct = DirectRow::of(&table, set.iter().map(|(position, value)| (*position, value)), scope);
        let assignments = set
            .into_iter()
            .map(|(position, mut value)| {
                name_parameters(&mut value);
                Ok((position, compile(&planner, value, &schema, text)?))
            })
            .collect::<Result<_>>()?;
        let checks = Checks::compile(&planner, &table)?;
        let columns = (0..table.arrow.fields().len()).collect();
        let schema = Arc::clone(&table.arrow);
        let point = Point { key_types: table.key_types(), table, key, columns, schema };
        Ok(Some(Self { name, point, assignments, direct, checks, parameters: parameters.to_vec() }))
    }

    /// The row and the parameters, as the new values are computed from them.
    fn inputs(&self, mut columns: Vec<ArrayRef>, parameters: &[ScalarValue]) -> Result<RecordBatch> {
        let table = &self.point.table;
        if self.parameters.is_empty() {
            return crate::changes::with_columns(table, columns);
        }
        columns.extend(parameter_columns(&self.parameters, parameters)?);
        let schema = Arc::new(with_parameters(&table.arrow, &self.parameters));
        RecordBatch::try_new(schema, columns).map_err(crate::error::arrow_error)
    }

    /// What the row becomes; `None` where there is none.
    fn mutation(&self, view: &ReadView, key: Vec<u8>, parameters: &[ScalarValue]) -> Result<Option<Mutation>> {
        let table = &self.point.table;
        let directly = |row: &[u8]| {
            let values = table.format.current_values(row)?.ok()?;
            let (_, row) = self.direct.as_ref()?.encode(table, values, parameters)?;
            Some(row)
        };
        let row = match view.get(table.schema.id, &key, |row| directly(row).ok_or_else(|| row.to_vec()))? {
            None => return Ok(None),
            Some(Ok(row)) => return Ok(Some(Mutation { key, operation: Operation::Put(row) })),
            Some(Err(row)) => row,
        };
        let ids = table.ids(&self.point.columns);
        let columns = self.point.columns.iter();
        let mut builders: Vec<ColumnBuilder> =
            columns.map(|at| ColumnBuilder::new(&table.column(*at).column_type, 1)).collect();
        table.format.projection(&ids).read(&row, |index, value| builders[index].append(value))?;
        let mut arrays: Vec<_> = builders.iter_mut().map(ColumnBuilder::finish).collect();
        let old = self.inputs(arrays.clone(), parameters)?;
        for (position, value) in &self.assignments {
            let value = value
                .evaluate(&old)
                .and_then(|value| value.into_array(1))
                .map_err(|error| crate::error::query_error(error, ""))?;
            arrays[*position] = crate::changes::column_value(table, *position, &value)?;
        }
        let new = crate::changes::with_columns(table, arrays)?;
        self.checks.check(table, &new, &|_| None)?;
        let mut row = Vec::new();
        table.encoder(&new)?.row(0, &mut row)?;
        Ok(Some(Mutation { key, operation: Operation::Put(row) }))
    }
}

/// Whether the planner is not needed for a value: sub-queries, functions and DEFAULT are its business, and so are numbers
/// that are no bigint, which it reads as exact decimals. `parameters` is how many of them the value may name.
pub(crate) fn is_plain(value: &ast::Expr, parameters: usize) -> bool {
    let mut plain = true;
    let _ = ast::visit_expressions(value, |expr| {
        plain &= match expr {
            ast::Expr::Value(value) => match &value.value {
                ast::Value::Placeholder(name) => {
                    crate::parameters::number(name).is_some_and(|number| number < parameters)
                }
                ast::Value::Number(number, _) => number.parse::<i64>().is_ok(),
                _ => true,
            },
            ast::Expr::Identifier(word) => fold(word) != "default",
            ast::Expr::CompoundIdentifier(_)
            | ast::Expr::BinaryOp { .. }
            | ast::Expr::UnaryOp { .. }
            | ast::Expr::Nested(_) => true,
            _ => false,
        };
        std::ops::ControlFlow::<()>::Continue(())
    });
    plain
}

/// Whether every value of a type is one of a column, without being rounded or cut off.
pub(crate) fn holds(column: &ColumnType, value: &ColumnType) -> bool {
    let width = |kind: &ColumnType| match kind {
        ColumnType::SmallInt => Some(16),
        ColumnType::Integer => Some(32),
        ColumnType::BigInt => Some(64),
        _ => None,
    };
    column == value || width(value).zip(width(column)).is_some_and(|(value, column)| value <= column)
}

/// Puts `$1` in the place of `$1::bigint` where the parameter has that type, or a narrower one: what is computed is put into a
/// column of a type of its own anyway. SQLAlchemy casts every value.
pub(crate) fn drop_idle_cast(value: &mut ast::Expr, parameters: &[ColumnType]) {
    let ast::Expr::Cast { kind: ast::CastKind::Cast | ast::CastKind::DoubleColon, expr, data_type, .. } = value else {
        return;
    };
    let Ok(cast) = crate::types::column_type(data_type) else { return };
    if matches!(cast, ColumnType::Text { max_chars: Some(_) }) {
        return;
    }
    if let ast::Expr::Value(inner) = expr.as_ref()
        && let ast::Value::Placeholder(name) = &inner.value
        && let Some(declared) = crate::parameters::number(name).and_then(|number| parameters.get(number))
        && holds(&cast, declared)
    {
        *value = expr.as_ref().clone();
    }
}

/// Values of parameters, as columns of one row.
pub(crate) fn parameter_columns(types: &[ColumnType], values: &[ScalarValue]) -> Result<Vec<ArrayRef>> {
    let column = |(number, column): (usize, &ColumnType)| {
        let value = values.get(number).ok_or_else(|| {
            Error::new(SqlState::UndefinedParameter, format!("parameter ${} has no value", number + 1))
        })?;
        let array = value.to_array().map_err(|error| crate::error::query_error(error, ""))?;
        crate::evaluate::cast(&array, column, "")
    };
    types.iter().enumerate().map(column).collect()
}

/// A table's columns, and a column for every parameter.
pub(crate) fn with_parameters(columns: &Schema, parameters: &[ColumnType]) -> Schema {
    let parameter = |(number, column): (usize, &ColumnType)| {
        Arc::new(Field::new(format!("${}", number + 1), arrow_type(column), true))
    };
    let parameters = parameters.iter().enumerate().map(parameter);
    Schema::new(columns.fields().iter().cloned().chain(parameters).collect::<Vec<_>>())
}

/// Makes parameters the columns of [`with_parameters`].
pub(crate) fn name_parameters(expr: &mut ast::Expr) {
    let _ = ast::visit_expressions_mut(expr, |expr| {
        if let ast::Expr::Value(value) = expr
            && let ast::Value::Placeholder(name) = &value.value
        {
            *expr = ast::Expr::Identifier(ast::Ident::with_quote('"', name.clone()));
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
}
