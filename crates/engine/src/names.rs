//! The names that a statement can use: the tables, views and functions that it sees, at the time that it sees them at.

use crate::access::{Identity, Need, authorize, may_read};
use crate::database::Schemas;
use crate::error::{external, offset, query_error, undefined_table};
use crate::pg::{self, Shown};
use crate::scan::TableScan;
use crate::spelling::respell;
use crate::view::ReadView;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemTable, SchemaProvider};
use datafusion::common::{Result as DfResult, TableReference};
use datafusion::datasource::{TableProvider, ViewTable};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::sql::parser::Statement as DfStatement;
use evenkeel_catalog::snapshot::Function;
use evenkeel_catalog::{INFORMATION_SCHEMA, PG_CATALOG, PUBLIC, SCHEMAS, Snapshot, SystemTable};
use evenkeel_model::{Error, Privilege, Result, Span, SqlState};
use sqlparser::ast::{self, Spanned, Visit, Visitor};
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// The one catalog there is.
pub(crate) const CATALOG: &str = evenkeel_catalog::DATABASE;
/// Views within views.
const VIEW_DEPTH_MAX: usize = 32;

/// The names that a statement can use.
pub(crate) struct Names {
    pub(crate) view: ReadView,
    /// Who reads what they mean.
    pub(crate) identity: Identity,
    pub(crate) schemas: Arc<Schemas>,
    /// Tables of this statement only, by name; they hide stored ones.
    pub(crate) extra: HashMap<String, Arc<dyn TableProvider>>,
    /// Views and tables at other times, by their name with a mark (see [`at_time`]).
    pub(crate) times: HashMap<String, (String, evenkeel_model::Timestamp)>,
    /// Whether the statement calls functions about the system catalogs.
    pub(crate) asks_catalogs: bool,
    /// What the computed tables are computed from.
    pub(crate) shown: Arc<Shown>,
}

impl Names {
    pub(crate) fn new(view: ReadView, identity: Identity) -> Self {
        let schemas = view.database.schemas();
        let shown = Arc::new(Shown::new(&view.database, identity.clone(), 0));
        let (extra, times) = (HashMap::new(), HashMap::new());
        Self { view, identity, schemas, extra, times, asks_catalogs: false, shown }
    }

    /// Whether a name in a schema means something.
    fn knows(&self, schema: &str, name: &str) -> bool {
        match schema {
            PUBLIC => {
                self.extra.contains_key(name)
                    || self.times.contains_key(name)
                    || self.schemas.tables.contains_key(name)
                    || self.schemas.views.contains_key(name)
                    || self.catalog_table(name).is_some()
            }
            _ => computed_table(schema, name).is_some(),
        }
    }

    /// The table of the system catalogs that a name without a schema means: none where a user's table has the name.
    fn catalog_table(&self, name: &str) -> Option<&'static SystemTable> {
        let own = self.schemas.tables.contains_key(name) || self.schemas.views.contains_key(name);
        if own { None } else { computed_table(PG_CATALOG, name) }
    }

    /// Whether the reader may read what a name in a schema means.
    ///
    /// # Errors
    /// 42501
    fn permit(&self, schema: &str, name: &str) -> Result<()> {
        if self.identity.is_unrestricted() {
            return Ok(());
        }
        if schema != PUBLIC {
            let table = computed_table(schema, name);
            return table.map_or(Ok(()), |table| may_read(&self.identity, table, &self.schemas));
        }
        // What the statement itself brings was decided when it was brought.
        if self.extra.contains_key(name) {
            return Ok(());
        }
        if let Some(table) = self.catalog_table(name) {
            return may_read(&self.identity, table, &self.schemas);
        }
        let name = self.times.get(name).map_or(name, |(name, _)| name);
        authorize(&self.identity, &[Need::Table(Privilege::Select, name.to_string())], &self.schemas)
    }

    fn candidates(&self) -> Vec<String> {
        let mut names: Vec<String> = self.schemas.tables.keys().chain(self.schemas.views.keys()).cloned().collect();
        let computed = evenkeel_catalog::computed_tables().filter(|table| table.schema_name != PG_CATALOG);
        names.extend(computed.map(|table| format!("{}.{}", table.schema_name, table.name)));
        names
    }
}

fn computed_table(schema: &str, name: &str) -> Option<&'static SystemTable> {
    evenkeel_catalog::computed_tables().find(|table| table.schema_name == schema && table.name == name)
}

#[derive(Clone)]
pub(crate) struct StatementCatalog {
    names: Arc<Names>,
    planner: Arc<SessionState>,
    /// The user of the session, also within views.
    current_user: Arc<ScalarUDF>,
    depth: usize,
    /// Whether a view is planned to learn its columns. Tables that show the columns of views then show none: a view
    /// over one of them would be planned for itself.
    for_columns: bool,
}

impl std::fmt::Debug for StatementCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StatementCatalog")
    }
}

impl CatalogProviderList for StatementCatalog {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_string()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for StatementCatalog {
    fn schema_names(&self) -> Vec<String> {
        SCHEMAS.map(str::to_string).to_vec()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let schema = SCHEMAS.into_iter().find(|schema| *schema == name)?;
        Some(Arc::new(StatementSchema { schema, catalog: self.clone() }))
    }
}

#[derive(Debug)]
struct StatementSchema {
    schema: &'static str,
    catalog: StatementCatalog,
}

#[async_trait]
impl SchemaProvider for StatementSchema {
    fn table_names(&self) -> Vec<String> {
        self.catalog.names.candidates()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let names = &self.catalog.names;
        names.permit(self.schema, name).map_err(external)?;
        if self.schema != PUBLIC {
            return match computed_table(self.schema, name) {
                Some(table) => self.catalog.computed(table).await.map(Some),
                None => Ok(None),
            };
        }
        if let Some(extra) = names.extra.get(name) {
            return Ok(Some(Arc::clone(extra)));
        }
        let (name, view) = match names.times.get(name) {
            Some((name, read)) => (name.as_str(), names.view.as_of(*read)),
            None => (name, names.view.clone()),
        };
        if let Some(table) = names.schemas.tables.get(name) {
            return Ok(Some(Arc::new(TableScan::new(Arc::clone(table), view))));
        }
        match names.schemas.views.get(name) {
            Some(stored) => self.catalog.view(stored, view).await.map(Some),
            None => match names.catalog_table(name) {
                Some(table) => self.catalog.computed(table).await.map(Some),
                None => Ok(None),
            },
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.catalog.names.knows(self.schema, name)
    }
}

impl StatementCatalog {
    pub(crate) fn new(names: Arc<Names>, planner: Arc<SessionState>, current_user: Arc<ScalarUDF>) -> Self {
        Self { names, planner, current_user, depth: 0, for_columns: false }
    }

    async fn computed(&self, table: &'static SystemTable) -> DfResult<Arc<dyn TableProvider>> {
        let snapshot = self.names.shown.snapshot();
        let batch = match (table.schema_name, table.name) {
            (PG_CATALOG, "pg_attribute" | "pg_class") | (INFORMATION_SCHEMA, "columns") if !self.for_columns => {
                (table.batch)(&self.with_view_columns(snapshot).await)
            }
            (PG_CATALOG, "pg_proc") => {
                let functions = functions_of(&self.planner);
                (table.batch)(&Snapshot { functions, ..Snapshot::clone(snapshot) })
            }
            _ => (table.batch)(snapshot),
        };
        Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
    }

    /// A snapshot that knows which columns its views have. A view that cannot be planned any more has none.
    async fn with_view_columns(&self, snapshot: &Snapshot) -> Snapshot {
        let mut snapshot = snapshot.clone();
        let catalog = Self { for_columns: true, ..self.clone() };
        for stored in &snapshot.views {
            let planned = Box::pin(catalog.view(stored, self.names.view.clone())).await;
            let Ok(planned) = planned else { continue };
            let text = evenkeel_model::ColumnType::Text { max_chars: None };
            let column = |field: &Arc<arrow::datatypes::Field>| {
                (field.name().clone(), crate::field_type(field).unwrap_or(text.clone()))
            };
            snapshot.view_columns.insert(stored.name.clone(), planned.schema().fields().iter().map(column).collect());
        }
        snapshot
    }

    async fn view(&self, stored: &evenkeel_catalog::View, view: ReadView) -> DfResult<Arc<dyn TableProvider>> {
        if self.depth == VIEW_DEPTH_MAX {
            let message = format!("view \"{}\" is nested deeper than {VIEW_DEPTH_MAX} views", stored.name);
            return Err(external(Error::new(SqlState::ProgramLimitExceeded, message)));
        }
        let mut state = self.planner.as_ref().clone();
        state.register_udf(Arc::clone(&self.current_user))?;
        let owner = match &stored.access.owner {
            None => Identity::built_in(),
            Some(owner) => view.database.users().identity(owner, None).map_err(external)?,
        };
        let mut names = Names::new(view, owner);
        let inside = |error: Error| {
            let message = format!("in view \"{}\": {}", stored.name, error.message);
            external(Error { message, span: None, ..error })
        };
        let statement = evenkeel_pql::parse_statement(&stored.query).map_err(inside)?;
        let evenkeel_pql::StatementKind::Sql(mut statement) = statement.kind else {
            return Err(external(Error::internal(format!("view \"{}\" is not a query", stored.name))));
        };
        resolve(&mut statement, &mut names, &stored.query).map_err(inside)?;
        if names.asks_catalogs {
            pg::register(&mut state, &names.shown)?;
        }
        let catalog = Self { names: Arc::new(names), depth: self.depth + 1, ..self.clone() };
        state.register_catalog_list(Arc::new(catalog));
        let plan = Box::pin(state.statement_to_plan(DfStatement::Statement(statement)));
        let plan = plan.await.map_err(|error| inside(query_error(error, &stored.query)))?;
        Ok(Arc::new(ViewTable::new(rename(plan, &stored.columns)?, Some(stored.query.clone()))))
    }
}

/// What statements can call.
fn functions_of(planner: &SessionState) -> Vec<Function> {
    let of =
        |names: Vec<&String>, kind| names.into_iter().map(move |name| Function { name: name.clone(), kind }).collect();
    let scalar: Vec<Function> = of(planner.scalar_functions().keys().collect(), "f");
    let aggregate: Vec<Function> = of(planner.aggregate_functions().keys().collect(), "a");
    let window: Vec<Function> = of(planner.window_functions().keys().collect(), "w");
    let mut functions: Vec<Function> = scalar.into_iter().chain(aggregate).chain(window).collect();
    functions.sort();
    functions.dedup_by(|one, other| one.name == other.name);
    functions
}

/// Gives a plan's columns other names.
pub(crate) fn rename(plan: LogicalPlan, columns: &[String]) -> DfResult<LogicalPlan> {
    use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
    if columns.is_empty() {
        return Ok(plan);
    }
    let items: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .enumerate()
        .map(|(at, column)| match columns.get(at) {
            Some(name) => Expr::Column(column).alias(name),
            None => Expr::Column(column),
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(items)?.build()
}

/// Looks at every table that a statement names, before DataFusion does: unknown ones are reported with their place and
/// the nearest name, tables `AS OF` a time get a name of their own.
pub(crate) fn resolve(statement: &mut ast::Statement, names: &mut Names, text: &str) -> Result<()> {
    times(statement, names, text)?;
    names.asks_catalogs |= pg::rewrite(statement);
    respell(statement)?;
    let wrapped = DfStatement::Statement(Box::new(statement.clone()));
    let (references, _) =
        datafusion::sql::resolve::resolve_table_references(&wrapped, true).map_err(|error| query_error(error, text))?;
    let functions = functions(statement)?;
    for reference in references {
        if functions.contains(reference.table()) {
            continue;
        }
        if reference.catalog().is_some_and(|catalog| catalog != CATALOG) {
            return Err(Error::new(SqlState::UndefinedTable, format!("database \"{reference}\" does not exist")));
        }
        let schema = reference.schema().unwrap_or(PUBLIC);
        let located = |error: Error| match place(statement, reference.table(), text) {
            Some(span) => error.at(span),
            None => error,
        };
        if names.knows(schema, reference.table()) {
            names.permit(schema, reference.table()).map_err(located)?;
            continue;
        }
        if schema == PUBLIC && crate::files::is_file_name(reference.table()) {
            let need = Need::ServerFiles(reference.table().to_string());
            authorize(&names.identity, &[need], &names.schemas).map_err(located)?;
            let file = crate::files::FileTable::open(Path::new(reference.table()))?;
            names.extra.insert(reference.table().to_string(), Arc::new(file));
            continue;
        }
        let name = match &reference {
            TableReference::Bare { table } => table.to_string(),
            _ => format!("{schema}.{}", reference.table()),
        };
        let candidates = names.candidates();
        return Err(located(undefined_table(&name, candidates.iter().map(String::as_str))));
    }
    Ok(())
}

/// The table functions that a statement calls: `generate_series(…)` is no table's name.
///
/// # Errors
/// 0A000 for TABLESAMPLE, which would give wrong answers in silence.
fn functions(statement: &ast::Statement) -> Result<BTreeSet<String>> {
    struct Functions(BTreeSet<String>);
    impl Visitor for Functions {
        type Break = Error;
        fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<Error> {
            match factor {
                ast::TableFactor::Table { sample: Some(_), .. } => {
                    return ControlFlow::Break(
                        Error::unsupported("TABLESAMPLE is not supported")
                            .with_hint("WHERE random() < 0.01 keeps about one row of a hundred"),
                    );
                }
                ast::TableFactor::Table { name, args: Some(_), .. } | ast::TableFactor::Function { name, .. } => {
                    self.0.insert(crate::types::last_name(name));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut found = Functions(BTreeSet::new());
    match statement.visit(&mut found) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(found.0),
    }
}

/// Where a table is named.
fn place(statement: &ast::Statement, table: &str, text: &str) -> Option<Span> {
    struct Finder<'a>(&'a str);
    impl Visitor for Finder<'_> {
        type Break = sqlparser::tokenizer::Span;
        fn pre_visit_relation(&mut self, name: &ast::ObjectName) -> ControlFlow<Self::Break> {
            let last = name.0.last().and_then(|part| part.as_ident());
            match last {
                Some(ident) if ident.value.eq_ignore_ascii_case(self.0) => ControlFlow::Break(name.span()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match statement.visit(&mut Finder(table)) {
        ControlFlow::Break(span) => byte_span(span, text),
        ControlFlow::Continue(()) => None,
    }
}

/// A tokenizer's span in bytes; `None` where it has none.
pub(crate) fn byte_span(span: sqlparser::tokenizer::Span, text: &str) -> Option<Span> {
    let start = offset(text, span.start.line, span.start.column)?;
    let end = offset(text, span.end.line, span.end.column)?;
    (end >= start).then_some(start..end)
}

/// Takes `AS OF` off tables and gives them names of their own.
fn times(statement: &mut ast::Statement, names: &mut Names, text: &str) -> Result<()> {
    struct Times<'a> {
        names: &'a mut Names,
        text: &'a str,
    }
    impl ast::VisitorMut for Times<'_> {
        type Break = Error;
        fn pre_visit_table_factor(&mut self, factor: &mut ast::TableFactor) -> ControlFlow<Error> {
            let ast::TableFactor::Table { name, alias, version, .. } = factor else { return ControlFlow::Continue(()) };
            let Some(ast::TableVersion::ForSystemTimeAsOf(time)) = version.take() else {
                return ControlFlow::Continue(());
            };
            match at_time(name, &time, self.names, self.text) {
                Ok((marked, ident)) => {
                    alias.get_or_insert_with(|| ast::TableAlias {
                        name: ident,
                        columns: vec![],
                        explicit: true,
                        at: None,
                    });
                    *name = ast::ObjectName::from(vec![ast::Ident::with_quote('"', marked)]);
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    match ast::VisitMut::visit(statement, &mut Times { names, text }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn at_time(name: &ast::ObjectName, time: &ast::Expr, names: &mut Names, text: &str) -> Result<(String, ast::Ident)> {
    let table = crate::types::table_name(name)?;
    let read = crate::evaluate::timestamp(time, names, text)?;
    let known = names.schemas.tables.contains_key(&table) || names.schemas.views.contains_key(&table);
    if !known {
        let candidates = names.candidates();
        let error = undefined_table(&table, candidates.iter().map(String::as_str));
        return Err(byte_span(name.span(), text).map_or(error.clone(), |span| error.at(span)));
    }
    let marked = format!("{table} as of {}", read.0);
    names.times.insert(marked.clone(), (table.clone(), read));
    Ok((marked, ast::Ident::with_quote('"', table)))
}
