//! Parameters `$1`, `$2` … of a statement: which there are, of what types, and their values in their places.
//!
//! A parameter has the type of the column it is put into or compared with; where nothing says, it is text, as
//! PostgreSQL's *unknown* becomes. What a client declares goes before what is inferred.

use crate::clauses;
use crate::error::query_error;
use crate::names::resolve;
use crate::naming::name_columns;
use crate::session::{SessionInner, SessionState};
use crate::table::TableHandle;
use crate::types::{column_type, fold, last_name, table_name};
use arrow::array::Array;
use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use evenkeel_pql::StatementKind;
use evenkeel_pql::ast::CopySource;
use sqlparser::ast;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

/// As many as the protocol can count.
const PARAMETERS_MAX: usize = 65_535;

/// Types by number, from 0.
type Types = BTreeMap<usize, ColumnType>;

/// The number of a placeholder, from 0.
pub(crate) fn number(name: &str) -> Option<usize> {
    let number: usize = name.strip_prefix('$')?.parse().ok()?;
    (1..=PARAMETERS_MAX).contains(&number).then(|| number - 1)
}

/// The number of an expression that is nothing but a placeholder.
fn bare(expr: &ast::Expr) -> Option<usize> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Placeholder(name) => number(name),
            _ => None,
        },
        ast::Expr::Nested(inner) => bare(inner),
        _ => None,
    }
}

/// How many parameters a statement has: as many as its highest number says.
pub(crate) fn count(kind: &StatementKind) -> usize {
    let mut count = 0;
    let mut kind = kind.clone();
    // A visitor that never breaks.
    let _ = visit(&mut kind, &mut |value| {
        if let ast::Value::Placeholder(name) = &value.value {
            count = count.max(number(name).map_or(0, |number| number + 1));
        }
        Ok(())
    });
    count
}

/// Puts values in the places of `$n`.
///
/// # Errors
/// 42P02 for a parameter that has no value.
pub(crate) fn bind(kind: &mut StatementKind, types: &[ColumnType], values: &[ScalarValue]) -> Result<()> {
    let mut expressions = |expr: &mut ast::Expr| {
        let Some(number) = placeholder(expr)? else { return Ok(()) };
        let (Some(column), Some(value)) = (types.get(number), values.get(number)) else {
            return Err(missing(number));
        };
        *expr = literal(column, value)?;
        Ok(())
    };
    visit_expressions(kind, &mut expressions)
}

fn placeholder(expr: &ast::Expr) -> Result<Option<usize>> {
    let ast::Expr::Value(value) = expr else { return Ok(None) };
    let ast::Value::Placeholder(name) = &value.value else { return Ok(None) };
    match number(name) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::new(SqlState::UndefinedParameter, format!("parameter {name} has no value"))
            .with_hint("parameters of a prepared statement are $1, $2 …")),
    }
}

fn missing(number: usize) -> Error {
    Error::new(SqlState::UndefinedParameter, format!("parameter ${} has no value", number + 1))
}

/// A value as it could stand in the statement's text. Text stands as a string, whose type its place decides.
fn literal(column: &ColumnType, value: &ScalarValue) -> Result<ast::Expr> {
    let plain = |value: ast::Value| ast::Expr::Value(value.with_empty_span());
    let inner = if value.is_null() {
        plain(ast::Value::Null)
    } else if let ColumnType::Bytea = column {
        let ScalarValue::Binary(Some(bytes)) = value else {
            return Err(Error::internal("a parameter of type bytea is not bytes"));
        };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok(plain(ast::Value::HexStringLiteral(hex)));
    } else if let (ColumnType::Array(item), ScalarValue::List(list)) = (column, value) {
        let items = list.value(0);
        let item = |at: usize| {
            let value = ScalarValue::try_from_array(&items, at).map_err(|error| query_error(error, ""))?;
            literal(item, &value)
        };
        let elem = (0..items.len()).map(item).collect::<Result<_>>()?;
        ast::Expr::Array(ast::Array { elem, named: true })
    } else {
        let text = crate::files::text_of(value)?;
        match column {
            ColumnType::Text { .. } => return Ok(plain(ast::Value::SingleQuotedString(text))),
            ColumnType::Boolean => return Ok(plain(ast::Value::Boolean(text == "true"))),
            ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt => {
                let digits = text.strip_prefix('-');
                let number = plain(ast::Value::Number(digits.unwrap_or(&text).to_string(), false));
                match digits {
                    // -9223372036854775808 is read as a string: without its sign it is no bigint.
                    Some(_) if text == i64::MIN.to_string() => plain(ast::Value::SingleQuotedString(text)),
                    Some(_) => ast::Expr::Nested(Box::new(ast::Expr::UnaryOp {
                        op: ast::UnaryOperator::Minus,
                        expr: Box::new(number),
                    })),
                    None => number,
                }
            }
            _ => plain(ast::Value::SingleQuotedString(text)),
        }
    };
    let ast::Expr::Cast { data_type, .. } = evenkeel_pql::parse_expr(&format!("CAST(NULL AS {column})"))? else {
        return Err(Error::internal("CAST is no cast"));
    };
    Ok(ast::Expr::Cast { kind: ast::CastKind::Cast, expr: Box::new(inner), data_type, array: false, format: None })
}

/// Calls `each` with every literal and placeholder.
fn visit(kind: &mut StatementKind, each: &mut impl FnMut(&mut ast::ValueWithSpan) -> Result<()>) -> Result<()> {
    struct Values<F>(F);
    impl<F: FnMut(&mut ast::ValueWithSpan) -> Result<()>> ast::VisitorMut for Values<F> {
        type Break = Error;
        fn pre_visit_value(&mut self, value: &mut ast::ValueWithSpan) -> ControlFlow<Error> {
            match (self.0)(value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    walk(kind, &mut Values(each))
}

/// Calls `each` with every expression, inner ones first.
fn visit_expressions(kind: &mut StatementKind, each: &mut impl FnMut(&mut ast::Expr) -> Result<()>) -> Result<()> {
    struct Expressions<F>(F);
    impl<F: FnMut(&mut ast::Expr) -> Result<()>> ast::VisitorMut for Expressions<F> {
        type Break = Error;
        fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Error> {
            match (self.0)(expr) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    walk(kind, &mut Expressions(each))
}

fn walk<V: ast::VisitorMut<Break = Error>>(kind: &mut StatementKind, visitor: &mut V) -> Result<()> {
    fn over<V: ast::VisitorMut<Break = Error>>(node: &mut impl ast::VisitMut, visitor: &mut V) -> Result<()> {
        match node.visit(visitor) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }
    match kind {
        StatementKind::Sql(inner) => over(inner.as_mut(), visitor),
        StatementKind::Upsert(insert) => over(insert.as_mut(), visitor),
        StatementKind::Explain { statement, .. } => walk(&mut statement.kind, visitor),
        StatementKind::Copy(copy) => match &mut copy.source {
            CopySource::Query(query) => over(query.as_mut(), visitor),
            CopySource::Table { .. } => Ok(()),
        },
        StatementKind::Locate { key, .. } => key.iter_mut().try_for_each(|value| over(value, visitor)),
        _ => Ok(()),
    }
}

impl SessionInner {
    /// The types of a statement's parameters.
    pub(crate) async fn parameter_types(
        &self,
        state: &SessionState,
        kind: &StatementKind,
        declared: &[Option<ColumnType>],
        text: &str,
    ) -> Result<Vec<ColumnType>> {
        let count = count(kind).max(declared.len());
        let mut types: Types =
            declared.iter().enumerate().filter_map(|(at, column)| Some((at, column.clone()?))).collect();
        let is_decimal = |column: &ColumnType| matches!(column, ColumnType::Decimal { .. });
        if types.len() < count || types.values().any(is_decimal) {
            for (at, column) in stated(kind)?.into_iter().chain(self.infer(state, kind, text).await?) {
                let known = types.entry(at).or_insert_with(|| column.clone());
                // Clients declare a numeric, and not which: its digits follow from where it stands.
                if is_decimal(known) && is_decimal(&column) {
                    *known = column;
                }
            }
        }
        Ok((0..count).map(|at| types.remove(&at).unwrap_or(ColumnType::Text { max_chars: None })).collect())
    }

    async fn infer(&self, state: &SessionState, kind: &StatementKind, text: &str) -> Result<Types> {
        match kind {
            StatementKind::Sql(statement) => match statement.as_ref() {
                ast::Statement::Query(query) => {
                    self.of_query(state, crate::parsed::without_locks(query).into_owned(), text).await
                }
                ast::Statement::Insert(insert) => self.of_insert(state, insert, text).await,
                ast::Statement::Update(update) => self.of_update(state, update, text).await,
                ast::Statement::Delete(delete) => {
                    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
                    self.of_rows(state, vec![], from.clone(), delete.selection.clone(), text).await
                }
                _ => Ok(Types::new()),
            },
            StatementKind::Upsert(insert) => self.of_insert(state, insert, text).await,
            StatementKind::Explain { statement, .. } => Box::pin(self.infer(state, &statement.kind, text)).await,
            StatementKind::Copy(copy) => match &copy.source {
                CopySource::Query(query) => self.of_query(state, query.as_ref().clone(), text).await,
                CopySource::Table { .. } => Ok(Types::new()),
            },
            StatementKind::Locate { table, key } => {
                let Some(table) = self.table_named(table) else { return Ok(Types::new()) };
                let columns = if key.len() == table.key.len() { &table.key } else { &table.shard_key };
                let typed = key.iter().zip(columns);
                Ok(typed
                    .filter_map(|(value, at)| Some((bare(value)?, table.column(*at).column_type.clone())))
                    .collect())
            }
            _ => Ok(Types::new()),
        }
    }

    fn table_named(&self, name: &ast::ObjectName) -> Option<Arc<TableHandle>> {
        self.database.schemas().tables.get(&table_name(name).ok()?).cloned()
    }

    /// What the planner makes of the places where a query's parameters stand.
    async fn of_query(&self, state: &SessionState, mut query: ast::Query, text: &str) -> Result<Types> {
        let mut names = self.names_unread(state);
        // Two columns that the planner would call the same are told apart, as when it is carried out.
        name_columns(&mut query);
        let mut statement = ast::Statement::Query(Box::new(query));
        let lists = compare_elements(&mut statement);
        let mut bounds = Bounds::default();
        if let ControlFlow::Break(error) = ast::VisitMut::visit(&mut statement, &mut bounds) {
            return Err(error);
        }
        resolve(&mut statement, &mut names, text)?;
        let ast::Statement::Query(query) = statement else { return Err(Error::internal("a query became another")) };
        let planning = self.planning(names, text)?;
        let plan = planning.query(*query, &[]).await?;
        let fields = plan.get_parameter_fields().map_err(|error| query_error(error, text))?;
        let typed = fields.into_iter().filter_map(|(name, found)| Some((number(&name)?, field_type(found?.as_ref())?)));
        let listed = |(number, column)| match lists.contains(&number) {
            true => (number, ColumnType::Array(Box::new(column))),
            false => (number, column),
        };
        let mut types: Types = typed.map(listed).collect();
        for number in bounds.0 {
            types.entry(number).or_insert(ColumnType::BigInt);
        }
        Ok(types)
    }

    /// As of the query that would find the rows of a statement.
    async fn of_rows(
        &self,
        state: &SessionState,
        values: Vec<ast::Expr>,
        from: Vec<ast::TableWithJoins>,
        selection: Option<ast::Expr>,
        text: &str,
    ) -> Result<Types> {
        let mut items: Vec<_> = values.into_iter().map(ast::SelectItem::UnnamedExpr).collect();
        if items.is_empty() {
            items.push(ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default()));
        }
        let query = clauses::select(items, from, selection)?;
        self.of_query(state, query, text).await
    }

    async fn of_update(&self, state: &SessionState, update: &ast::Update, text: &str) -> Result<Types> {
        let mut types = Types::new();
        let mut computed = Vec::new();
        let (name, _) = clauses::target(&update.table.relation)?;
        if let Some(table) = self.table_named(&name) {
            for (position, value) in clauses::assignments(&table, &update.assignments, text)? {
                match bare(&value) {
                    Some(number) => {
                        types.entry(number).or_insert_with(|| table.column(position).column_type.clone());
                    }
                    None if matches!(&value, ast::Expr::Identifier(word) if fold(word) == "default") => {}
                    None => computed.push(value),
                }
            }
        }
        let mut from = vec![update.table.clone()];
        if let Some(ast::UpdateTableFromKind::AfterSet(more) | ast::UpdateTableFromKind::BeforeSet(more)) = &update.from
        {
            from.extend(more.iter().cloned());
        }
        for (number, column) in self.of_rows(state, computed, from, update.selection.clone(), text).await? {
            types.entry(number).or_insert(column);
        }
        Ok(types)
    }

    async fn of_insert(&self, state: &SessionState, insert: &ast::Insert, text: &str) -> Result<Types> {
        let mut types = Types::new();
        let ast::TableObject::TableName(name) = &insert.table else { return Ok(types) };
        let (Some(table), Some(source)) = (self.table_named(name), insert.source.as_deref()) else { return Ok(types) };
        let given = clauses::insert_columns(&table, insert, Some(source), text)?;
        let column = |at: usize| given.get(at).map(|position| table.column(*position).column_type.clone());
        let mut computed = Vec::new();
        match source.body.as_ref() {
            ast::SetExpr::Values(values) => {
                for (at, value) in values.rows.iter().flat_map(|row| row.iter().enumerate()) {
                    match (bare(value), column(at)) {
                        (Some(number), Some(column)) => {
                            types.entry(number).or_insert(column);
                        }
                        _ if matches!(value, ast::Expr::Identifier(word) if fold(word) == "default") => {}
                        _ => computed.push(value.clone()),
                    }
                }
                if computed.iter().any(has_parameter) {
                    for (number, column) in self.of_rows(state, computed, vec![], None, text).await? {
                        types.entry(number).or_insert(column);
                    }
                }
            }
            ast::SetExpr::Select(select) => {
                for (at, item) in select.projection.iter().enumerate() {
                    if let ast::SelectItem::UnnamedExpr(value) | ast::SelectItem::ExprWithAlias { expr: value, .. } =
                        item
                        && let (Some(number), Some(column)) = (bare(value), column(at))
                    {
                        types.entry(number).or_insert(column);
                    }
                }
                for (number, column) in self.of_query(state, source.clone(), text).await? {
                    types.entry(number).or_insert(column);
                }
            }
            _ => types.extend(self.of_query(state, source.clone(), text).await?),
        }
        Ok(types)
    }
}

/// Puts `a = $1` in the place of `a = ANY($1)`, so that the planner says of which type the list's elements are; returns
/// the numbers of the lists.
fn compare_elements(statement: &mut ast::Statement) -> BTreeSet<usize> {
    struct Lists(BTreeSet<usize>);
    impl ast::VisitorMut for Lists {
        type Break = Infallible;
        fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Infallible> {
            if let ast::Expr::AnyOp { left, compare_op: op, right, .. }
            | ast::Expr::AllOp { left, compare_op: op, right } = expr
                && let Some(number) = bare(right)
            {
                self.0.insert(number);
                let (left, op, right) = (left.clone(), op.clone(), right.clone());
                *expr = ast::Expr::Nested(Box::new(ast::Expr::BinaryOp { left, op, right }));
            }
            ControlFlow::Continue(())
        }
    }
    let mut lists = Lists(BTreeSet::new());
    let ControlFlow::Continue(()) = ast::VisitMut::visit(statement, &mut lists);
    lists.0
}

/// Puts values in the places of the parameters of every series, without which the planner can't tell what it answers with.
pub(crate) fn settle_series(kind: &mut StatementKind) -> Result<()> {
    walk(kind, &mut Bounds::default())
}

/// The parameters of series: values take their places. Has the numbers of those that are a number.
#[derive(Default)]
struct Bounds(BTreeSet<usize>);

impl Bounds {
    fn settle(&mut self, expr: &mut ast::Expr) {
        let one = || Box::new(ast::Expr::Value(ast::Value::Number("1".to_string(), false).with_empty_span()));
        if let ast::Expr::Cast { expr: inner, .. } = expr
            && bare(inner).is_some()
        {
            *inner = one();
        } else if let Some(number) = bare(expr) {
            self.0.insert(number);
            *expr = *one();
        } else if let ast::Expr::BinaryOp { left, right, .. } = expr {
            self.settle(left);
            self.settle(right);
        } else if let ast::Expr::Nested(inner) | ast::Expr::UnaryOp { expr: inner, .. } = expr {
            self.settle(inner);
        }
    }
}

impl ast::VisitorMut for Bounds {
    type Break = Error;
    fn pre_visit_table_factor(&mut self, factor: &mut ast::TableFactor) -> ControlFlow<Error> {
        if let ast::TableFactor::Table { name, args: Some(ast::TableFunctionArgs { args, .. }), .. }
        | ast::TableFactor::Function { name, args, .. } = factor
            && last_name(name) == "generate_series"
        {
            for arg in args {
                if let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) = arg {
                    self.settle(expr);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// The types of parameters that are cast, or are a number of rows.
fn stated(kind: &StatementKind) -> Result<Types> {
    struct Stated(Types);
    impl Stated {
        fn rows<'e>(&mut self, numbers: impl IntoIterator<Item = Option<&'e ast::Expr>>) {
            for number in numbers.into_iter().flatten().filter_map(bare) {
                self.0.entry(number).or_insert(ColumnType::BigInt);
            }
        }
    }
    impl ast::VisitorMut for Stated {
        type Break = Error;
        fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Error> {
            if let ast::Expr::Cast { expr, data_type, .. } = expr
                && let (Some(number), Ok(column)) = (bare(expr), column_type(data_type))
            {
                self.0.entry(number).or_insert(column);
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Error> {
            if let Some(ast::LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
                self.rows([limit.as_ref(), offset.as_ref().map(|offset| &offset.value)]);
            }
            self.rows([query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref())]);
            for operator in &query.pipe_operators {
                if let ast::PipeOperator::Limit { expr, offset } = operator {
                    self.rows([Some(expr), offset.as_ref()]);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut stated = Stated(Types::new());
    walk(&mut kind.clone(), &mut stated)?;
    Ok(stated.0)
}

fn has_parameter(expr: &ast::Expr) -> bool {
    let mut found = false;
    let _ = ast::visit_expressions(expr, |expr| {
        found |= bare(expr).is_some();
        ControlFlow::<()>::Continue(())
    });
    found
}

/// Under which a field keeps the name of a type that Arrow does not tell from text.
const TYPE_MARK: &str = "pql_type";

/// A field that says of which type it is where Arrow's type doesn't.
pub(crate) fn marked(field: Field, column: &ColumnType) -> Field {
    let element = if let ColumnType::Array(element) = column { element } else { column };
    match element {
        ColumnType::Uuid | ColumnType::Json | ColumnType::Jsonb => {
            field.with_metadata([(TYPE_MARK.to_string(), column.to_string())].into())
        }
        _ => field,
    }
}

/// The type of a column of an answer; `None` for types that no column has.
pub fn field_type(field: &Field) -> Option<ColumnType> {
    let found = column_of(field.data_type())?;
    let mark = field.metadata().get(TYPE_MARK).map_or("", String::as_str);
    let scalar = match mark.trim_end_matches("[]") {
        "uuid" => ColumnType::Uuid,
        "json" => ColumnType::Json,
        "jsonb" => ColumnType::Jsonb,
        _ => return Some(found),
    };
    // A mark may outlast what it was put on: an element taken from an array is none.
    Some(match (&found, mark.ends_with("[]")) {
        (ColumnType::Array(_), true) => ColumnType::Array(Box::new(scalar)),
        (ColumnType::Text { .. }, _) => scalar,
        _ => found,
    })
}

/// The column type whose values an Arrow type holds.
pub(crate) fn column_of(found: &DataType) -> Option<ColumnType> {
    Some(match found {
        DataType::Boolean => ColumnType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => ColumnType::SmallInt,
        DataType::Int32 | DataType::UInt16 => ColumnType::Integer,
        // Of what functions count as unsigned; what does not fit is an error when it is written.
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => ColumnType::BigInt,
        DataType::Float16 | DataType::Float32 => ColumnType::Real,
        DataType::Float64 => ColumnType::Double,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => ColumnType::Decimal { precision: *precision, scale: *scale },
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnType::Text { max_chars: None },
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            ColumnType::Bytea
        }
        DataType::Date32 | DataType::Date64 => ColumnType::Date,
        DataType::Time32(_) | DataType::Time64(_) => ColumnType::Time,
        DataType::Timestamp(_, None) => ColumnType::Timestamp,
        DataType::Timestamp(_, Some(_)) => ColumnType::TimestampTz,
        DataType::Interval(_) | DataType::Duration(_) => ColumnType::Interval,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            ColumnType::Array(Box::new(column_of(item.data_type())?))
        }
        DataType::Dictionary(_, values) => column_of(values)?,
        _ => return None,
    })
}
