//! Expressions outside queries: DEFAULT, CHECK, `AS OF`, keys of LOCATE, values of settings.

use crate::error::{arrow_error, query_error};
use crate::names::{Names, byte_span};
use crate::table::TableHandle;
use arrow::array::{ArrayRef, BooleanArray, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use arrow::util::display::FormatOptions;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use evenkeel_model::{ColumnType, Error, Result, SqlState, Timestamp};
use evenkeel_storage::codec::arrow_type;
use sqlparser::ast::{self, Spanned};
use std::sync::Arc;

const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };

/// Compiles an expression over the columns of a schema.
pub(crate) fn compile(
    state: &SessionState,
    mut expr: ast::Expr,
    schema: &DFSchema,
    text: &str,
) -> Result<Arc<dyn PhysicalExpr>> {
    crate::spelling::respell(&mut expr)?;
    let aliased = ast::ExprWithAlias { expr, alias: None };
    let logical = state.create_logical_expr_from_sql_expr(aliased, schema).map_err(|error| query_error(error, text))?;
    let simplify = || {
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(Arc::clone(state.config_options()))
            .with_query_execution_start_time(state.execution_props().query_execution_start_time)
            .build();
        let simplifier = ExprSimplifier::new(context);
        // now() and its like are values only after this.
        let logical = crate::arithmetic::checked(simplifier.coerce(logical, schema)?, schema)?.data;
        let logical = simplifier.simplify(logical)?;
        state.create_physical_expr(logical, schema)
    };
    simplify().map_err(|error| query_error(error, text))
}

/// A batch of rows without columns, over which constants are evaluated.
pub(crate) fn rows_without_columns(rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).map_err(arrow_error)
}

/// Evaluates an expression that names no column, as the value of a column.
pub(crate) fn constant(state: &SessionState, expr: ast::Expr, column: &ColumnType, text: &str) -> Result<ScalarValue> {
    let span = byte_span(expr.span(), text);
    let evaluate = || {
        let compiled = compile(state, expr, &DFSchema::empty(), text)?;
        let array = compiled
            .evaluate(&rows_without_columns(1)?)
            .and_then(|value| value.into_array(1))
            .map_err(|error| query_error(error, text))?;
        let array = cast(&array, column, "")?;
        ScalarValue::try_from_array(&array, 0).map_err(|error| query_error(error, text))
    };
    evaluate().map_err(|error: Error| match (error.span.is_none(), span) {
        (true, Some(span)) => error.at(span),
        _ => error,
    })
}

/// Converts an array to a column's type, as an assignment does: what does not fit is an error, not NULL.
pub(crate) fn cast(array: &ArrayRef, column: &ColumnType, name: &str) -> Result<ArrayRef> {
    let wanted = arrow_type(column);
    if *array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    let place = if name.is_empty() { String::new() } else { format!(" in column \"{name}\"") };
    if let Some(converted) = crate::casts::convert(array, &wanted, name) {
        return converted.map_err(|error| match *column {
            // Its message says the column already.
            ColumnType::Bytea => error,
            _ => Error { message: format!("{}{place}", error.message), ..error },
        });
    }
    cast_with_options(array, &wanted, &STRICT).map_err(|error| {
        let error = arrow_error(error);
        let state = match error.state {
            _ if ["overflow", "too large to store", "too small to store"]
                .iter()
                .any(|sign| error.message.to_lowercase().contains(sign)) =>
            {
                SqlState::NumericValueOutOfRange
            }
            SqlState::DatatypeMismatch | SqlState::NumericValueOutOfRange => error.state,
            _ if matches!(
                column,
                ColumnType::Date | ColumnType::Time | ColumnType::Timestamp | ColumnType::TimestampTz
            ) =>
            {
                SqlState::InvalidDatetimeFormat
            }
            _ => SqlState::InvalidTextRepresentation,
        };
        Error::new(state, format!("a value is not of type {column}{place}")).with_detail(error.message)
    })
}

/// The timestamp that an `AS OF` means.
pub(crate) fn timestamp(time: &ast::Expr, names: &Names, text: &str) -> Result<Timestamp> {
    let database = &names.view.database;
    let state = database.planner.state(Names::new(names.view.clone(), names.identity.clone()));
    let value = constant(&state, time.clone(), &ColumnType::TimestampTz, text)?;
    let span = byte_span(time.span(), text);
    let fail = |error: Error| span.clone().map_or(error.clone(), |span| error.at(span));
    let ScalarValue::TimestampMicrosecond(Some(micros), _) = value else {
        return Err(fail(Error::new(SqlState::InvalidParameterValue, "AS OF needs a point in time, and this is NULL")));
    };
    let read = Timestamp::end_of_millis(micros.div_euclid(1_000));
    let now = crate::oracle::now_ms();
    if read.millis() > now {
        return Err(fail(Error::new(SqlState::InvalidParameterValue, "AS OF a time in the future")));
    }
    let retention = database.settings().duration_ms("gc_retention") as i64;
    if read.millis() < now - retention {
        return Err(fail(
            Error::new(SqlState::InvalidParameterValue, "AS OF a time whose versions may have been collected")
                .with_detail(format!(
                    "versions are kept for {}",
                    evenkeel_model::settings::format_duration_ms(retention as u64)
                ))
                .with_hint("ALTER SYSTEM SET gc_retention keeps them longer from now on"),
        ));
    }
    // Commits from now on are above it, so that the same query gives the same answer again.
    database.oracle.observe(read)?;
    Ok(read)
}

/// A table's CHECK constraints, compiled.
pub(crate) struct Checks {
    checks: Vec<(String, Arc<dyn PhysicalExpr>)>,
}

impl Checks {
    pub(crate) fn compile(state: &SessionState, table: &TableHandle) -> Result<Self> {
        let schema = table_schema(table)?;
        let compiled = table.schema.checks.iter().map(|check| {
            let expr = evenkeel_pql::parse_expr(&check.expression)?;
            Ok((check.name.clone(), compile(state, expr, &schema, &check.expression)?))
        });
        Ok(Self { checks: compiled.collect::<Result<_>>()? })
    }

    /// # Errors
    /// 23514, 23502 or 22001 for the first row that violates a constraint; `place` says where the row came from.
    pub(crate) fn check(
        &self,
        table: &TableHandle,
        batch: &RecordBatch,
        place: &dyn Fn(usize) -> Option<String>,
    ) -> Result<()> {
        not_null(table, batch, place)?;
        crate::validate::columns(table, batch, place)?;
        for (name, check) in &self.checks {
            let verdicts = check
                .evaluate(batch)
                .and_then(|value| value.into_array(batch.num_rows()))
                .map_err(|error| query_error(error, ""))?;
            let Some(verdicts) = verdicts.as_any().downcast_ref::<BooleanArray>() else { continue };
            // NULL passes, as the standard says.
            if let Some(row) = verdicts.iter().position(|verdict| verdict == Some(false)) {
                let message = format!("a row of \"{}\" violates the check \"{name}\"", table.schema.name);
                return Err(at_row(Error::new(SqlState::CheckViolation, message), table, batch, row, place));
            }
        }
        Ok(())
    }
}

fn not_null(table: &TableHandle, batch: &RecordBatch, place: &dyn Fn(usize) -> Option<String>) -> Result<()> {
    for (position, array) in batch.columns().iter().enumerate() {
        let column = table.column(position);
        if column.nullable || array.null_count() == 0 {
            continue;
        }
        let row = (0..array.len()).find(|row| array.is_null(*row)).unwrap_or(0);
        let message = format!("NULL in column \"{}\" of \"{}\", which is NOT NULL", column.name, table.schema.name);
        return Err(at_row(Error::new(SqlState::NotNullViolation, message), table, batch, row, place));
    }
    Ok(())
}

/// Says which row an error is about.
pub(crate) fn at_row(
    error: Error,
    table: &TableHandle,
    batch: &RecordBatch,
    row: usize,
    place: &dyn Fn(usize) -> Option<String>,
) -> Error {
    let values: Vec<String> = batch.columns()[..table.visible]
        .iter()
        .map(|array| {
            if array.is_null(row) {
                return "NULL".to_string();
            }
            let text = arrow::util::display::array_value_to_string(array, row).unwrap_or_default();
            if text.chars().count() > 40 { format!("{}…", text.chars().take(40).collect::<String>()) } else { text }
        })
        .collect();
    let row_text = format!("the row is ({})", values.join(", "));
    error.with_detail(place(row).map_or(row_text.clone(), |place| format!("{place}: {row_text}")))
}

/// A table's columns, for compiling expressions over its rows.
pub(crate) fn table_schema(table: &TableHandle) -> Result<DFSchema> {
    DFSchema::try_from_qualified_schema(table.schema.name.as_str(), &table.arrow)
        .map_err(|error| query_error(error, ""))
}
