//! INSERT of one row of plain values, without the planner.
//!
//! Most rows that applications write come one by one, as constants and parameters. What is recognised here is exactly
//! that; everything else (sub-queries, ON CONFLICT, RETURNING, defaults that are computed) goes the long way and means
//! the same there.

use crate::changes::Defaults;
use crate::database::Database;
use crate::direct::{DirectRow, Scope};
use crate::error::query_error;
use crate::evaluate::{Checks, compile};
use crate::load::duplicate_key;
use crate::output::Output;
use crate::point::{drop_idle_cast, is_plain, name_parameters, parameter_columns, with_parameters};
use crate::session::{SessionInner, SessionState, note_read};
use crate::table::{TableHandle, describe_key};
use crate::types::table_name;
use crate::view::ReadView;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use evenkeel_model::{ColumnType, Result};
use evenkeel_storage::codec::row::RowColumn;
use evenkeel_storage::codec::{KeyBuilder, Value};
use evenkeel_storage::{Mutation, Operation};
use sqlparser::ast;
use std::ops::ControlFlow;
use std::sync::Arc;

/// An INSERT of one row, compiled.
pub(crate) struct RowInsert {
    name: ast::ObjectName,
    table: Arc<TableHandle>,
    values: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns of what `values` give.
    given: Arc<Schema>,
    /// The same, with what the table adds, where it needs no expressions.
    direct: Option<DirectRow>,
    defaults: Defaults,
    checks: Checks,
    parameters: Vec<ColumnType>,
    /// Whether the moment of the statement stands behind its parameters.
    says_now: bool,
}

impl RowInsert {
    /// Recognises an INSERT of one row. `parameters` are the types of those that its values may name.
    ///
    /// # Errors
    /// What is wrong with the columns; what the planner would say of a value.
    pub(crate) fn of(
        database: &Arc<Database>,
        insert: &ast::Insert,
        text: &str,
        parameters: &[ColumnType],
    ) -> Result<Option<Self>> {
        let plain = insert.on.is_none() && insert.returning.is_none() && insert.or.is_none();
        let (ast::TableObject::TableName(name), Some(source), true) = (&insert.table, &insert.source, plain) else {
            return Ok(None);
        };
        let ast::Query { with: None, order_by: None, limit_clause: None, fetch: None, body, pipe_operators, .. } =
            source.as_ref()
        else {
            return Ok(None);
        };
        let ast::SetExpr::Values(values) = body.as_ref() else { return Ok(None) };
        let ([row], true) = (values.rows.as_slice(), pipe_operators.is_empty()) else { return Ok(None) };
        let Ok(named) = table_name(name) else { return Ok(None) };
        let Some(table) = database.schemas().tables.get(&named).cloned() else { return Ok(None) };
        // A check or a default may call functions such as now(), whose value must be this statement's.
        let computed = |at: usize| table.column(at).default.as_deref().is_some_and(|default| !is_constant(default));
        if !table.schema.checks.is_empty() || (0..table.arrow.fields().len()).any(computed) {
            return Ok(None);
        }
        let positions = crate::clauses::insert_columns(&table, insert, Some(source), text)?;
        let mut row: Vec<ast::Expr> = row.iter().cloned().collect();
        let (mut parameters, mut says_now) = (parameters.to_vec(), false);
        for value in &mut row {
            drop_idle_cast(value, &parameters);
            says_now |= name_now(value, parameters.len() + 1);
        }
        if says_now {
            parameters.push(ColumnType::TimestampTz);
        }
        let names_column = |expr: &ast::Expr| {
            matches!(expr, ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) | ast::Expr::Subquery(_))
        };
        let is_value = |value: &ast::Expr| is_plain(value, parameters.len()) && !any(value, names_column);
        if row.len() != positions.len() || !row.iter().all(is_value) {
            return Ok(None);
        }
        let direct = direct_row(&table, &positions, &row, &parameters, says_now);
        let planner = database.planner.expressions();
        let schema = with_parameters(&Schema::empty(), &parameters);
        let schema = DFSchema::try_from(schema).map_err(|error| query_error(error, text))?;
        let values = row
            .into_iter()
            .map(|mut value| {
                name_parameters(&mut value);
                compile(&planner, value, &schema, text)
            })
            .collect::<Result<Vec<_>>>()?;
        let field = |(at, value): (usize, &Arc<dyn PhysicalExpr>)| {
            let kind = value.data_type(schema.as_arrow()).map_err(|error| query_error(error, text))?;
            Ok(Field::new(format!("column{}", at + 1), kind, true))
        };
        let given = Schema::new(values.iter().enumerate().map(field).collect::<Result<Vec<_>>>()?);
        let defaults = Defaults::new(&table, &positions, &planner)?;
        let checks = Checks::compile(&planner, &table)?;
        let (name, given) = (name.clone(), Arc::new(given));
        Ok(Some(Self { name, table, values, given, direct, defaults, checks, parameters, says_now }))
    }

    /// The row's key and its bytes, where nothing stands in the way that had to be told.
    fn directly(&self, database: &Database, view: &ReadView, parameters: &[ScalarValue]) -> Result<Option<Mutation>> {
        let (Some(direct), table) = (&self.direct, &self.table) else { return Ok(None) };
        let columns = table.format.current().columns();
        let mut row = vec![Value::Null; columns.len()];
        let hidden = table.schema.has_hidden_key();
        if hidden {
            let id = database.oracle.reserve(1)?.0 as i64;
            let is_id = |column: &RowColumn| column.id == table.column(table.key[0]).id;
            if let Some(place) = columns.iter().position(is_id) {
                row[place] = Value::Integer(id);
            }
        }
        let Some((row, bytes)) = direct.encode(table, row, parameters) else { return Ok(None) };
        let value = |position: &usize| {
            let id = table.column(*position).id;
            columns.iter().position(|column| column.id == id).map_or(Value::Null, |place| row[place].clone())
        };
        let key: Vec<Value<'_>> = table.key.iter().map(value).collect();
        let key = table.key_of(&mut KeyBuilder::new(), &key);
        // The key of a table that has none of its own is new.
        if !hidden && view.get(table.schema.id, &key, |_| ())?.is_some() {
            return Ok(None);
        }
        Ok(Some(Mutation { key, operation: Operation::Put(bytes) }))
    }

    /// The row's key and its bytes.
    fn mutation(&self, database: &Database, view: &ReadView, parameters: &[ScalarValue]) -> Result<Mutation> {
        let mut parameters = parameters.to_vec();
        if self.says_now {
            let now = crate::oracle::now_ms() * 1_000;
            parameters.push(ScalarValue::TimestampMicrosecond(Some(now), Some("UTC".into())));
        }
        if let Some(mutation) = self.directly(database, view, &parameters)? {
            return Ok(mutation);
        }
        let inputs = if self.parameters.is_empty() {
            crate::evaluate::rows_without_columns(1)?
        } else {
            let schema = Arc::new(with_parameters(&Schema::empty(), &self.parameters));
            RecordBatch::try_new(schema, parameter_columns(&self.parameters, &parameters)?)
                .map_err(crate::error::arrow_error)?
        };
        let value = |value: &Arc<dyn PhysicalExpr>| {
            value.evaluate(&inputs).and_then(|value| value.into_array(1)).map_err(|error| query_error(error, ""))
        };
        let values = self.values.iter().map(value).collect::<Result<_>>()?;
        let given = RecordBatch::try_new(Arc::clone(&self.given), values).map_err(crate::error::arrow_error)?;
        let row = self.defaults.complete(&self.table, &given, database)?;
        self.checks.check(&self.table, &row, &|_| None)?;
        let mut encoder = self.table.encoder(&row)?;
        let (mut key, mut bytes) = (Vec::new(), Vec::new());
        encoder.key(0, &mut key)?;
        // The key of a table that has none of its own is new.
        if !self.table.schema.has_hidden_key() && view.get(self.table.schema.id, &key, |_| ())?.is_some() {
            let detail = describe_key(&self.table, &row, 0);
            return Err(duplicate_key(&self.table.schema.name).with_detail(detail));
        }
        encoder.row(0, &mut bytes)?;
        Ok(Mutation { key, operation: Operation::Put(bytes) })
    }
}

impl SessionInner {
    /// Carries out a compiled INSERT of one row; `None` when the table has changed since in a way that it no longer is one.
    pub(crate) async fn insert_row(
        &self,
        state: &mut SessionState,
        prepared: &RowInsert,
        insert: &ast::Insert,
        parameters: &[ScalarValue],
        text: &str,
        output: &Output,
    ) -> Result<Option<()>> {
        let (table, guard) = self.writable(state, &prepared.name, text).await?;
        let compiled;
        let prepared = if Arc::ptr_eq(&table, &prepared.table) {
            prepared
        } else {
            let types = &prepared.parameters[..prepared.parameters.len() - usize::from(prepared.says_now)];
            let Some(again) = RowInsert::of(&self.database, insert, text, types)? else { return Ok(None) };
            compiled = again;
            &compiled
        };
        let mut tried = 0;
        loop {
            output.cancel.check()?;
            let view = self.view_of_rows(state);
            let outcome = match prepared.mutation(&self.database, &view, parameters) {
                Ok(mutation) => {
                    note_read(state, &mutation.key);
                    self.commit_one(state, &view, mutation, output).await
                }
                Err(error) => {
                    // A block may go on from a savepoint, and knows of the row that was in the way.
                    self.view(state);
                    Err(error)
                }
            };
            match outcome {
                Err(error) if self.again(&mut tried, &error, state, output).await => {}
                outcome => break outcome?,
            }
        }
        drop(guard);
        Ok(Some(()))
    }
}

/// The values that a row is given, and the defaults of the other columns.
fn direct_row(
    table: &TableHandle,
    positions: &[usize],
    row: &[ast::Expr],
    parameters: &[ColumnType],
    says_now: bool,
) -> Option<DirectRow> {
    let others = (0..table.arrow.fields().len()).filter(|position| !positions.contains(position));
    let default = |position| Some((position, table.column(position).default.as_deref()?));
    let defaults: Vec<(usize, ast::Expr)> = others
        .filter_map(default)
        .map(|(position, text)| Some((position, evenkeel_pql::parse_expr(text).ok()?)))
        .collect::<Option<_>>()?;
    let scope = Scope { table: None, parameters, now: says_now.then(|| parameters.len() - 1) };
    let given = positions.iter().copied().zip(row);
    DirectRow::of(table, given.chain(defaults.iter().map(|(position, value)| (*position, value))), scope)
}

/// Whether a default is the same whenever it is asked for.
fn is_constant(default: &str) -> bool {
    evenkeel_pql::parse_expr(default).is_ok_and(|expr| matches!(expr, ast::Expr::Value(_)))
}

fn any(expr: &ast::Expr, of: impl Fn(&ast::Expr) -> bool) -> bool {
    ast::visit_expressions(expr, |expr| if of(expr) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        .is_break()
}

/// Makes CURRENT_TIMESTAMP and now() the parameter of this number; returns whether there were any.
fn name_now(expr: &mut ast::Expr, number: usize) -> bool {
    let mut found = false;
    let _ = ast::visit_expressions_mut(expr, |expr| {
        if let ast::Expr::Function(function) = expr
            && let [ast::ObjectNamePart::Identifier(name)] = function.name.0.as_slice()
            && (name.value.eq_ignore_ascii_case("now") || name.value.eq_ignore_ascii_case("current_timestamp"))
            && match &function.args {
                ast::FunctionArguments::None => true,
                ast::FunctionArguments::List(list) => list.args.is_empty(),
                ast::FunctionArguments::Subquery(_) => false,
            }
        {
            *expr = ast::Expr::Value(ast::Value::Placeholder(format!("${number}")).with_empty_span());
            found = true;
        }
        ControlFlow::<()>::Continue(())
    });
    found
}
