//! ALTER SYSTEM, KILL QUERY, SHOW, DESCRIBE, LOCATE, EXPLAIN.

use crate::access::{Identity, sees_through};
use crate::locking::Locking;
use crate::names::{Names, byte_span};
use crate::output::{Event, Output};
use crate::planning::Planning;
use crate::session::{SessionInner, SessionState};
use crate::statement::{Outcome, stream};
use crate::types::{fold, table_name};
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::displayable;
use evenkeel_model::{Error, Result, Setting, SettingScope, SqlState, Token};
use evenkeel_pql::StatementKind;
use evenkeel_pql::ast::{Assignment, Show, Statement};
use evenkeel_storage::codec::{Cells, KeyBuilder, Value};
use sqlparser::ast::{self, Spanned};
use std::sync::Arc;

/// The text of a setting's value: a literal, or a bare word.
pub(crate) fn value_text(value: &ast::Expr, text: &str) -> Result<String> {
    match value {
        ast::Expr::Identifier(word) => Ok(word.value.clone()),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(number, _) => Ok(number.clone()),
            ast::Value::Boolean(on) => Ok(on.to_string()),
            other => other.clone().into_string().ok_or_else(|| not_a_value(&value.to_string())),
        },
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => Ok(format!("-{}", value_text(expr, text)?)),
        other => {
            let error = not_a_value(&other.to_string());
            Err(byte_span(other.span(), text).map_or(error.clone(), |span| error.at(span)))
        }
    }
}

fn not_a_value(text: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("{text} is not a value for a setting"))
        .with_hint("a number, on or off, or text in single quotes")
}

impl SessionInner {
    /// Every value is checked before any is set.
    pub(crate) fn alter_system_set(&self, assignments: &[Assignment], text: &str) -> Result<Outcome> {
        let mut changes = Vec::with_capacity(assignments.len());
        for assignment in assignments {
            let checked =
                system_setting(&fold(&assignment.name)).map_err(|error| at(error, assignment.name.span, text));
            let setting = checked?;
            let value = value_text(&assignment.value, text)?;
            let value = setting.check(&value).map_err(|error| at(error, assignment.value.span(), text))?;
            changes.push((setting, Some(value)));
        }
        self.database.store_settings(&changes)?;
        Ok(Outcome::new("ALTER SYSTEM"))
    }

    pub(crate) fn alter_system_reset(&self, name: Option<&ast::Ident>) -> Result<Outcome> {
        let changes = match name {
            Some(name) => vec![(system_setting(&fold(name))?, None)],
            None => {
                let set: Vec<&str> = self.database.settings.read().altered().collect();
                set.into_iter().map(|name| Ok((Setting::find(name)?, None))).collect::<Result<_>>()?
            }
        };
        self.database.store_settings(&changes)?;
        Ok(Outcome::new("ALTER SYSTEM"))
    }

    pub(crate) fn kill_query(&self, id: u64) -> Result<Outcome> {
        if self.database.registry.kill(id) {
            return Ok(Outcome::new("KILL QUERY"));
        }
        Err(Error::new(SqlState::UndefinedObject, format!("there is no running query {id}"))
            .with_hint("QUERY SYSTEM.ACTIVE_QUERIES lists them"))
    }

    pub(crate) async fn show(&self, state: &SessionState, show: Show, text: &str, output: &Output) -> Result<Outcome> {
        let query = match show {
            Show::Columns(name) => return self.describe(state, &name, text, output).await,
            Show::Balancer => return self.show_balancer(output).await,
            Show::Variable(name) if fold(&name) != "all" => {
                return self.show_variable(state, &name, text, output).await;
            }
            show => shown(&show).ok_or_else(|| Error::internal("SHOW is no query"))?.to_string(),
        };
        let StatementKind::Sql(statement) = evenkeel_pql::parse_statement(&query)?.kind else {
            return Err(Error::internal("SHOW is no query"));
        };
        let ast::Statement::Query(parsed) = *statement else { return Err(Error::internal("SHOW is no query")) };
        let (planning, plan) = self.plan(state, *parsed, &query).await?;
        Ok(Outcome::rows("SHOW", stream(&planning, plan, &query, output).await?))
    }

    async fn show_variable(
        &self,
        state: &SessionState,
        name: &ast::Ident,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let folded = fold(name);
        let value = if folded == "server_version" {
            env!("CARGO_PKG_VERSION").to_string()
        } else if let Some(value) = state.foreign.get(&folded) {
            value.clone()
        } else if let Some(value) = crate::foreign::default_value(&folded) {
            value.to_string()
        } else {
            let setting = Setting::find(&folded).map_err(|error| at(error, name.span, text))?;
            let own = state.settings.get(setting.name).map(str::to_string);
            let states = self.database.setting_states();
            let system = states.into_iter().find(|state| state.setting.name == setting.name);
            own.or(system.map(|state| state.value)).unwrap_or_default()
        };
        send_rows(output, &[(folded.as_str(), Column::Text(vec![Some(value)]))]).await?;
        Ok(Outcome::rows("SHOW", 1))
    }

    pub(crate) async fn describe(
        &self,
        state: &SessionState,
        name: &ast::ObjectName,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let schemas = self.database.schemas();
        let public = table_name(name).ok();
        let table = public.as_ref().and_then(|name| schemas.tables.get(name));
        let mut columns: [Vec<Option<String>>; 5] = Default::default();
        if let Some(handle) = table {
            let table = &handle.schema;
            for column in table.visible() {
                let mark = |ids: &[u32]| {
                    (!table.has_hidden_key())
                        .then(|| ids.iter().position(|id| *id == column.id))
                        .flatten()
                        .map(|at| at + 1)
                };
                let keys = [("primary", mark(&table.primary_key)), ("shard", mark(&table.shard_key))];
                let keys: Vec<String> =
                    keys.iter().filter_map(|(kind, at)| at.map(|at| format!("{kind} {at}"))).collect();
                columns[0].push(Some(column.name.clone()));
                columns[1].push(Some(column.column_type.to_string()));
                columns[2].push(Some(if column.nullable { "yes" } else { "no" }.to_string()));
                columns[3].push(column.default.clone());
                columns[4].push((!keys.is_empty()).then(|| keys.join(", ")));
            }
        } else {
            // Views and computed tables have the columns of their query.
            let target = crate::clauses::table_with_joins(name.clone(), None);
            let wildcard = ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default());
            let query = crate::clauses::select(vec![wildcard], vec![target], None)?;
            // Who may look at a view need not be one who may read it, and no row is read.
            let is_view = public.is_some_and(|name| schemas.views.contains_key(&name));
            let identity = if is_view { Identity::built_in() } else { state.identity.clone() };
            let names = Names::new(self.view(state), identity);
            let (_, plan) = self.plan_with(names, query, text).await?;
            for field in plan.schema().fields() {
                columns[0].push(Some(field.name().clone()));
                columns[1].push(Some(type_name(field.data_type())));
                columns[2].push(Some(if field.is_nullable() { "yes" } else { "no" }.to_string()));
                columns[3].push(None);
                columns[4].push(None);
            }
        }
        let rows = columns[0].len() as u64;
        let names = ["column", "type", "nullable", "default", "key"];
        let columns: Vec<_> = names.into_iter().zip(columns.map(Column::Text)).collect();
        send_rows(output, &columns).await?;
        Ok(Outcome::rows("DESCRIBE", rows))
    }

    pub(crate) async fn locate(
        &self,
        state: &SessionState,
        name: &ast::ObjectName,
        key: Vec<ast::Expr>,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let shown = table_name(name)?;
        let schemas = self.database.schemas();
        let Some(table) = schemas.tables.get(&shown) else {
            let error = crate::error::undefined_table(&shown, schemas.tables.keys().map(String::as_str));
            return Err(at(error, name.span(), text));
        };
        if table.schema.has_hidden_key() {
            return Err(Error::new(SqlState::WrongObjectType, format!("\"{shown}\" has no primary key to locate by"))
                .with_hint("ALTER TABLE … ADD PRIMARY KEY (…) gives it one"));
        }
        // The whole primary key, or the shard key alone.
        let columns = match key.len() {
            n if n == table.key.len() => &table.key,
            n if n == table.shard_key.len() => &table.shard_key,
            n => {
                return Err(Error::new(SqlState::SyntaxError, format!("LOCATE gives {n} values for the key"))
                    .with_hint(format!(
                        "the primary key is ({})",
                        table.schema.names(&table.schema.primary_key).join(", ")
                    )));
            }
        };
        let planner = self.planning(self.names(state), text)?;
        let mut shard_key = KeyBuilder::new();
        for position in &table.shard_key {
            let Some(value) = columns.iter().position(|at| at == position).and_then(|index| key.get(index)) else {
                continue;
            };
            let column = &table.column(*position).column_type;
            let array = crate::evaluate::constant(&planner.state, value.clone(), column, text)?
                .to_array()
                .map_err(|error| crate::error::query_error(error, text))?;
            match Cells::new(column, &array)?.value(0)? {
                Value::Null => {
                    let error = Error::new(SqlState::NotNullViolation, "a key is never NULL");
                    return Err(at(error, value.span(), text));
                }
                value => shard_key.push(column, &value),
            }
        }
        let token = Token::of(shard_key.bytes());
        let layout = self.database.layout();
        let slot = token.slot(layout.slots.bits());
        let shard = layout.slots.owner(slot);
        let columns = [
            ("token", Column::Text(vec![Some(format!("{:016x}", token.0))])),
            ("slot", Column::Number(vec![Some(i64::from(slot.0))])),
            ("shard_id", Column::Number(vec![Some(i64::from(shard.0))])),
            ("node_id", Column::Number(vec![Some(1)])),
        ];
        send_rows(output, &columns).await?;
        Ok(Outcome::rows("LOCATE", 1))
    }

    pub(crate) async fn explain(
        &self,
        state: &mut SessionState,
        analyze: bool,
        verbose: bool,
        statement: Statement,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let query = match statement.kind {
            StatementKind::Sql(inner) => match *inner {
                ast::Statement::Query(query) => {
                    if Locking::of(&query)?.is_some() && analyze {
                        return Err(Error::unsupported(
                            "EXPLAIN ANALYZE with FOR UPDATE or FOR SHARE is not supported",
                        )
                        .with_hint("without the clause it shows the same plan, and holds no rows"));
                    }
                    crate::parsed::without_locks(&query).into_owned()
                }
                ast::Statement::Insert(ast::Insert { source: Some(source), .. }) if !analyze => *source,
                ast::Statement::Update(update) if !analyze => reading(vec![update.table], update.selection)?,
                ast::Statement::Delete(delete) if !analyze => {
                    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = delete.from;
                    reading(from, delete.selection)?
                }
                _ => return Err(not_explained(analyze)),
            },
            StatementKind::Shard(_) if analyze => {
                return Err(Error::unsupported("EXPLAIN ANALYZE would carry the statement out")
                    .with_hint("EXPLAIN shows its plan; WAIT FOR JOB shows how a job goes"));
            }
            StatementKind::Shard(statement) => return self.explain_shards(&statement, text, output).await,
            _ => return Err(not_explained(analyze)),
        };
        let names = self.names(state);
        let sees_through = sees_through(&state.identity, &query, &names.schemas);
        let (planning, outline) = self.outline(names, query, text).await?;
        let plan = planning.physical(&outline).await?;
        let how = |measured: bool| match measured {
            _ if !sees_through => planning.optimized(&outline).map(|plan| plan.display_indent().to_string()),
            false => Ok(displayable(plan.as_ref()).indent(verbose).to_string()),
            true => Ok(DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(verbose).to_string()),
        };
        if !sees_through {
            let message = format!(
                "the plan leaves out what was measured: it reads tables that {} may not read",
                state.identity.name
            );
            output.notice(message, Some("views are read with their owners' rights")).await?;
        }
        let lines = if analyze {
            let spent = carried_out(&planning, &plan, text).await?;
            format!("{}\n{spent}", how(true)?.trim_end())
        } else {
            how(false)?
        };
        let lines: Vec<_> = lines.lines().map(|line| Some(line.to_string())).collect();
        let rows = lines.len() as u64;
        send_rows(output, &[("plan", Column::Text(lines))]).await?;
        Ok(Outcome::rows("EXPLAIN", rows))
    }
}

/// The query that SHOW stands for, where it stands for one.
pub(crate) fn shown(show: &Show) -> Option<&'static str> {
    Some(match show {
        Show::Tables => {
            "SELECT table_name, table_type AS type FROM information_schema.tables \
             WHERE table_schema = 'public' ORDER BY table_name"
        }
        Show::Shards => {
            "SELECT shard_id, state, slots, row_count, storage_bytes, qps FROM system.shards ORDER BY shard_id"
        }
        Show::Settings => "SELECT name, value, origin, description FROM system.settings ORDER BY name",
        Show::Jobs => {
            "SELECT job_id, kind, state, progress_pct, eta_seconds, migrations_done, migrations_total, statement \
             FROM system.jobs ORDER BY job_id"
        }
        Show::Nodes => "SELECT * FROM system.nodes ORDER BY node_id",
        Show::Variable(name) if fold(name) == "all" => {
            "SELECT name, value, description FROM system.settings ORDER BY name"
        }
        Show::Columns(_) | Show::Balancer | Show::Variable(_) => return None,
    })
}

/// The query that finds the rows of an UPDATE or DELETE.
fn reading(from: Vec<ast::TableWithJoins>, selection: Option<ast::Expr>) -> Result<ast::Query> {
    let wildcard = ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default());
    crate::clauses::select(vec![wildcard], from, selection)
}

/// Carries a plan out; how many rows it gives, and how long that took.
async fn carried_out(planning: &Planning<'_>, plan: &Arc<dyn ExecutionPlan>, text: &str) -> Result<String> {
    let started = std::time::Instant::now();
    let mut batches = planning.execute(Arc::clone(plan));
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        rows += batch.map_err(|error| crate::error::query_error(error, text))?.num_rows();
    }
    let elapsed = started.elapsed().as_secs_f64() * 1e3;
    Ok(format!("{rows} rows in {elapsed:.3} ms"))
}

fn not_explained(analyze: bool) -> Error {
    Error::unsupported(if analyze {
        "EXPLAIN ANALYZE takes a query"
    } else {
        "EXPLAIN takes a query, INSERT, UPDATE or DELETE"
    })
}

fn system_setting(name: &str) -> Result<&'static Setting> {
    let setting = Setting::find(name)?;
    if setting.scope == SettingScope::Creation {
        return Err(Error::new(
            SqlState::InvalidParameterValue,
            format!("{} is fixed when the database is made", setting.name),
        )
        .with_hint("evenkeel shell --data NEW --shards N makes a database with N shards"));
    }
    Ok(setting)
}

fn at(error: Error, span: sqlparser::tokenizer::Span, text: &str) -> Error {
    byte_span(span, text).map_or(error.clone(), |span| error.at(span))
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_string(),
        DataType::Int16 => "smallint".to_string(),
        DataType::Int32 => "integer".to_string(),
        DataType::Int64 => "bigint".to_string(),
        DataType::Float32 => "real".to_string(),
        DataType::Float64 => "double precision".to_string(),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "text".to_string(),
        DataType::Date32 => "date".to_string(),
        DataType::Timestamp(_, None) => "timestamp".to_string(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_string(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other => other.to_string().to_lowercase(),
    }
}

/// A column of a small answer.
pub(crate) enum Column {
    Text(Vec<Option<String>>),
    Number(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
}

/// Answers with a few rows.
pub(crate) async fn send_rows(output: &Output, columns: &[(&str, Column)]) -> Result<()> {
    let field = |(name, column): &(&str, Column)| match column {
        Column::Text(_) => Field::new(*name, DataType::Utf8, true),
        Column::Number(_) => Field::new(*name, DataType::Int64, true),
        Column::Float(_) => Field::new(*name, DataType::Float64, true),
    };
    let array = |(_, column): &(&str, Column)| -> ArrayRef {
        match column {
            Column::Text(values) => Arc::new(StringArray::from(values.clone())),
            Column::Number(values) => Arc::new(Int64Array::from(values.clone())),
            Column::Float(values) => Arc::new(Float64Array::from(values.clone())),
        }
    };
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.iter().map(array).collect());
    output.send(Event::Schema(schema)).await?;
    output.send(Event::Batch(batch.map_err(crate::error::arrow_error)?)).await
}
