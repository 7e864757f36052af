//! From a statement's tree to a DataFusion plan: names are looked up in one view of the database, and everything that is
//! wrong is said with its place.

use crate::arithmetic::CheckedArithmetic;
use crate::error::query_error;
use crate::memory;
use crate::names::{CATALOG, Names, StatementCatalog, byte_span};
use crate::pg::{self};
use arrow::record_batch::RecordBatch;
use datafusion::common::{ParamValues, Result as DfResult, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DfStatement;
use evenkeel_catalog::PUBLIC;
use evenkeel_model::{Error, Result, SqlState};
use evenkeel_storage::codec::arrow_type;
use futures::StreamExt;
use parking_lot::RwLock;
use sqlparser::ast;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Rows of a batch, where there is memory for it.
const BATCH_ROWS: usize = 8192;
/// Rows of a batch at the least.
const BATCH_ROWS_MIN: usize = 256;
/// A row more in a batch for this much memory: a sort that spills holds some dozens of batches at once.
const BATCH_MEMORY_SHARE: usize = 64 << 10;
/// Spilled runs that are merged at once; more are merged in rounds.
const MERGED_RUNS_MAX: usize = 4;
/// Batches that a plan may be ahead of whoever takes them.
const BATCHES_AHEAD: usize = 2;
/// With less memory than this, rows of all shards are sorted in one place.
const PARALLEL_SORTS_MEMORY: usize = 1 << 30;
/// How long a query that computes between two batches is waited for when the database closes.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// What all statements of a database are planned with: functions, optimizer, memory.
pub(crate) struct Planner {
    spill: PathBuf,
    base: RwLock<Arc<SessionState>>,
    /// What one query may have of the memory, in bytes.
    query_memory: AtomicUsize,
    /// Plans run on threads of their own, so that a query that computes for long keeps nobody from being answered, or
    /// from being cancelled. `None` only while it is being shut down.
    threads: Option<Runtime>,
}

impl Drop for Planner {
    fn drop(&mut self) {
        // A thread that still ran when the process ends would use what the process is taking down. The database may be
        // dropped on a thread of a runtime, which must not wait for another itself.
        if let Some(threads) = self.threads.take() {
            let stopped = std::thread::spawn(move || threads.shutdown_timeout(STOP_WITHIN)).join();
            debug_assert!(stopped.is_ok(), "stopping threads does not panic");
        }
    }
}

impl Planner {
    pub(crate) fn new(spill: &Path, memory: Memory) -> Result<Self> {
        let base = base_state(spill, memory).map_err(|error| query_error(error, ""))?;
        // More than there are processors: a join that computes for long without a pause holds a thread each of its parts,
        // also when it was cancelled, and the others' queries have to go on beside it.
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads((4 * processors).max(16))
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(|error| Error::new(SqlState::IoError, format!("cannot start the query threads: {error}")))?;
        let (spill, base, query_memory) = (spill.to_path_buf(), RwLock::new(Arc::new(base)), memory.one.into());
        Ok(Self { spill, base, query_memory, threads: Some(threads) })
    }

    /// Statements planned from now on share this much memory.
    pub(crate) fn set_memory(&self, memory: Memory) {
        if let Ok(base) = base_state(&self.spill, memory) {
            *self.base.write() = Arc::new(base);
            self.query_memory.store(memory.one, Ordering::Relaxed);
        }
    }

    /// What one query may have of the memory, in bytes.
    pub(crate) fn query_memory(&self) -> usize {
        self.query_memory.load(Ordering::Relaxed)
    }

    /// Where plans run.
    pub(crate) fn threads(&self) -> Result<Handle> {
        let threads = self.threads.as_ref().ok_or_else(|| Error::internal("the query threads are gone"))?;
        Ok(threads.handle().clone())
    }

    /// What expressions that name no table and no function are compiled with.
    pub(crate) fn expressions(&self) -> Arc<SessionState> {
        Arc::clone(&self.base.read())
    }

    /// A state in which a statement's tables are looked up in `names`.
    pub(crate) fn state(&self, names: Names) -> SessionState {
        let planner = Arc::clone(&self.base.read());
        let mut state = planner.as_ref().clone();
        state.mark_start_execution();
        let current_user = Arc::new(crate::functions::current_user(&names.identity.name));
        // Functions are added, never refused.
        let _ = state.register_udf(Arc::clone(&current_user));
        if names.asks_catalogs {
            let _ = pg::register(&mut state, &names.shown);
        }
        let names = Arc::new(names);
        state.register_catalog_list(Arc::new(StatementCatalog::new(names, planner, current_user)));
        state
    }
}

/// What queries compute in, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All together.
    pub(crate) all: usize,
    /// One of them.
    pub(crate) one: usize,
}

fn base_state(spill: &Path, memory: Memory) -> DfResult<SessionState> {
    // How a query goes about it depends on what it may have; a query that may have half of it all may as well plan with all.
    let memory_limit = memory.all.min(memory.one.saturating_mul(2));
    let cores = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, PUBLIC)
        .with_create_default_catalog_and_schema(false)
        .with_target_partitions(cores)
        .with_batch_size((memory_limit / BATCH_MEMORY_SHARE).clamp(BATCH_ROWS_MIN, BATCH_ROWS));
    let options = config.options_mut();
    options.sql_parser.dialect = datafusion::common::config::Dialect::PostgreSQL;
    options.sql_parser.collect_spans = true;
    // now() is a moment: a timestamp with a zone, the one in which every moment is kept and shown.
    options.execution.time_zone = Some("+00:00".to_string());
    // Sorting each shard by itself is quicker, and takes memory for each.
    options.optimizer.repartition_sorts = memory_limit >= PARALLEL_SORTS_MEMORY;
    // A sort may spill, but must keep enough to merge with.
    options.execution.sort_spill_reservation_bytes = (memory_limit / 16).min(10 << 20);
    let tops = NonZeroUsize::new(3).unwrap_or(NonZeroUsize::MIN);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(memory.all), tops)))
        .with_max_spill_merge_fan_in(MERGED_RUNS_MAX)
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![spill.to_path_buf()])),
        )
        .build_arc()?;
    let inner = SessionStateBuilder::new()
        .with_config(config.clone().with_target_partitions(1))
        .with_runtime_env(Arc::clone(&runtime))
        .with_default_features()
        .build();
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_type_planner(Arc::new(PqlTypes))
        .with_analyzer_rule(Arc::new(CheckedArithmetic))
        .with_analyzer_rule(Arc::new(pg::Correlated::new(inner)))
        .build();
    state.register_expr_planner(Arc::new(crate::operators::Operators))?;
    state.register_relation_planner(Arc::new(crate::sets::Sets))?;
    crate::functions::register(&mut state)?;
    pg::register_always(&mut state)?;
    Ok(state)
}

/// PQL's types where DataFusion would take others: times in microseconds, UUID and JSON as text.
#[derive(Debug)]
struct PqlTypes;

impl TypePlanner for PqlTypes {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> DfResult<Option<arrow::datatypes::FieldRef>> {
        use ast::DataType as Sql;
        let ours = match sql_type {
            Sql::Timestamp(..)
            | Sql::Time(..)
            | Sql::Uuid
            | Sql::JSON
            | Sql::JSONB
            | Sql::Interval { .. }
            | Sql::TimestampNtz(_) => crate::types::column_type(sql_type).ok(),
            Sql::Custom(name, _) if name.to_string().eq_ignore_ascii_case("timestamptz") => {
                Some(evenkeel_model::ColumnType::TimestampTz)
            }
            _ => None,
        };
        Ok(ours.map(|column| {
            let field = arrow::datatypes::Field::new("", arrow_type(&column), true);
            Arc::new(crate::parameters::marked(field, &column))
        }))
    }
}

/// A statement with the text it came from and the names it can use.
pub(crate) struct Planning<'a> {
    pub(crate) state: SessionState,
    pub(crate) text: &'a str,
    pub(crate) threads: Handle,
    /// Bytes that its query may have of all queries' memory.
    pub(crate) memory: usize,
}

/// The batches of a running plan. Dropping it stops the plan.
pub(crate) struct Batches {
    receiver: mpsc::Receiver<DfResult<RecordBatch>>,
    task: AbortHandle,
}

impl Batches {
    /// The next batch.
    pub(crate) async fn next(&mut self) -> Option<DfResult<RecordBatch>> {
        self.receiver.recv().await
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn drive(plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>, sender: mpsc::Sender<DfResult<RecordBatch>>) {
    let mut stream = match execute_stream(plan, context) {
        Ok(stream) => stream,
        Err(error) => {
            // Nobody listens any more: then nobody needs the error.
            let _ = sender.send(Err(error)).await;
            return;
        }
    };
    while let Some(batch) = stream.next().await {
        if sender.send(batch).await.is_err() {
            return;
        }
    }
}

impl Planning<'_> {
    /// Plans a query.
    pub(crate) async fn query(&self, query: ast::Query, parameters: &[ScalarValue]) -> Result<LogicalPlan> {
        let statement = ast::Statement::Query(Box::new(query));
        let plan = self.state.statement_to_plan(DfStatement::Statement(Box::new(statement)));
        let plan = plan.await.map_err(|error| query_error(error, self.text))?;
        if parameters.is_empty() {
            return Ok(plan);
        }
        plan.with_param_values(ParamValues::from(parameters.to_vec())).map_err(|error| query_error(error, self.text))
    }

    /// What is left of a plan when it is simplified.
    pub(crate) fn optimized(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        self.state.optimize(plan).map_err(|error| query_error(error, self.text))
    }

    /// Optimizes a plan and decides how it runs.
    pub(crate) async fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        self.state.create_physical_plan(plan).await.map_err(|error| query_error(error, self.text))
    }

    /// Starts a plan.
    pub(crate) fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Batches {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let runtime = memory::of_query(self.state.runtime_env(), self.memory);
        let context = Arc::new(TaskContext::from(&self.state).with_runtime(runtime));
        let task = self.threads.spawn(drive(plan, context, sender)).abort_handle();
        Batches { receiver, task }
    }
}

/// Puts values in the place of `@name` parameters.
pub(crate) fn bind(statement: &mut impl ast::VisitMut, variables: &[(String, String)], text: &str) -> Result<()> {
    struct Bind<'a> {
        variables: &'a [(String, String)],
        text: &'a str,
    }
    impl ast::VisitorMut for Bind<'_> {
        type Break = Error;
        fn pre_visit_value(&mut self, value: &mut ast::ValueWithSpan) -> ControlFlow<Error> {
            let ast::Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
            let Some(name) = name.strip_prefix('@') else {
                let error = Error::new(SqlState::UndefinedParameter, format!("parameter {name} has no value"))
                    .with_hint("here parameters have names: @name, with --set name=value or \\set name value");
                let span = byte_span(value.span, self.text);
                return ControlFlow::Break(span.map_or(error.clone(), |span| error.at(span)));
            };
            match self.variables.iter().find(|(variable, _)| variable == name) {
                Some((_, text)) => value.value = literal(text),
                None => {
                    let error = Error::new(SqlState::UndefinedParameter, format!("parameter @{name} has no value"))
                        .with_hint(format!("give it one with --set {name}=value or \\set {name} value"));
                    let span = byte_span(value.span, self.text);
                    return ControlFlow::Break(span.map_or(error.clone(), |span| error.at(span)));
                }
            }
            ControlFlow::Continue(())
        }
    }
    match ast::VisitMut::visit(statement, &mut Bind { variables, text }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// A variable's text as a value: a number, true, false, null, or a string.
fn literal(text: &str) -> ast::Value {
    let number = text.parse::<f64>().is_ok_and(f64::is_finite)
        && text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+' || c == '.');
    match text.to_ascii_lowercase().as_str() {
        "null" => ast::Value::Null,
        "true" => ast::Value::Boolean(true),
        "false" => ast::Value::Boolean(false),
        _ if number => ast::Value::Number(text.trim_start_matches('+').to_string(), false),
        _ => ast::Value::SingleQuotedString(text.to_string()),
    }
}
