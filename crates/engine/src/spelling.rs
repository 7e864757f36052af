//! What a statement says in PostgreSQL's words, in words that DataFusion takes for the same.
//!
//! | written | becomes | because |
//! |---|---|---|
//! | `INTERVAL '3 days 04:05'` | `INTERVAL '3 days 14700000000000 nanoseconds'` | times of day are not understood |
//! | `1.005::decimal(10,2)` | `'1.005'::decimal(10,2)` | a number with a point is read as a float |
//! | `mod(a, b)`, `div(a, b)` | `a % b`, `(a - a % b) / b` | there are no such functions |
//! | `SELECT EXISTS (…)` | `SELECT (SELECT count(*) …) > 0` | EXISTS is taken only as a condition |
//! | `VALUES (1, (SELECT …))` | `SELECT 1, (SELECT …)` | values are computed before sub-queries are |
//! | `a.id` of an outer query | `public.a.id` | a column `a` of the inner query would be taken for a structure |
//! | `SELECT 1` | `SELECT CAST(1 AS integer)` | a whole number is a bigint |
//! | `generate_series(1, 9) AS n` | `generate_series(1, 9) AS n (n)` | the column has the alias's name |
//! | `generate_series(1, n::integer)` | `generate_series(1, n::integer::bigint)` | a series is of one kind of numbers |
//! | `FETCH FIRST 3 ROWS ONLY` | `LIMIT 3` | FETCH is not understood |
//! | `l EXCEPT ALL r` | `SELECT * FROM (l EXCEPT ALL r)` | relations are where [`crate::sets`] can plan it |

use crate::types::fold;
use evenkeel_catalog::PUBLIC;
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use sqlparser::ast::{self, Expr, SetExpr, SetOperator, SetQuantifier, VisitMut, VisitorMut};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Digits of the longest decimal.
const DECIMAL_DIGITS_MAX: usize = 38;
/// Digits that every bigint has room for.
const INTEGER_DIGITS_MAX: usize = 18;

/// Rewrites a statement or expression.
///
/// # Errors
/// 22007 for what is no interval.
pub(crate) fn respell(tree: &mut impl VisitMut) -> Result<()> {
    match tree.visit(&mut Speller::default()) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// A tree as text that is read as the same tree. Its own text leaves quotes alone that seem to be doubled or escaped
/// already: a literal that has such is written with escapes.
pub(crate) fn written<T: VisitMut + Clone + std::fmt::Display>(tree: &T) -> String {
    let mut tree = tree.clone();
    let _ = tree.visit(&mut Escaper);
    tree.to_string()
}

struct Escaper;

impl VisitorMut for Escaper {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ast::ValueWithSpan) -> ControlFlow<()> {
        if let ast::Value::SingleQuotedString(text) = &mut value.value
            && (text.contains("''") || text.contains("\\'"))
        {
            value.value = ast::Value::EscapedStringLiteral(std::mem::take(text));
        }
        ControlFlow::Continue(())
    }
}

#[derive(Default)]
struct Speller {
    /// The relations of each query around, the innermost last.
    scopes: Vec<BTreeSet<String>>,
}

impl VisitorMut for Speller {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Error> {
        if let Some(clause) = query.locks.first() {
            // Passed over, it would promise what is not so.
            let refused = Error::unsupported(format!("{clause} is not supported within another statement"));
            return ControlFlow::Break(
                refused.with_hint("it ends a SELECT that stands for itself, whose rows it holds"),
            );
        }
        if let Err(error) = limit_instead_of_fetch(query) {
            return ControlFlow::Break(error);
        }
        let mut found = BTreeSet::new();
        relations(&query.body, &mut found);
        self.scopes.push(found);
        select_values(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<Error> {
        for item in &mut select.projection {
            if let ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } = item {
                count_instead_of_exists(expr);
                if self.scopes.len() == 1 {
                    small_integer(expr);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut ast::TableFactor) -> ControlFlow<Error> {
        widen_series(factor);
        name_series(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Error> {
        self.scopes.pop();
        derive_counted(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [relation, _] = parts.as_slice()
            && let Some((inner, outer)) = self.scopes.split_last()
        {
            let relation = fold(relation);
            if !inner.contains(&relation) && outer.iter().any(|scope| scope.contains(&relation)) {
                parts.insert(0, ast::Ident::new(PUBLIC));
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match expr {
            Expr::Interval(interval) => match spelled_interval(interval) {
                Ok(()) => {}
                Err(error) => return ControlFlow::Break(error),
            },
            Expr::Cast { expr: inner, data_type, kind: ast::CastKind::Cast | ast::CastKind::DoubleColon, .. } => {
                exact_number(inner, data_type);
            }
            Expr::Function(function) => {
                if let Some(replaced) = remainder(function) {
                    *expr = replaced;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The standard's way of saying LIMIT.
///
/// # Errors
/// 42601 beside a LIMIT, 0A000 for shares of the rows and for ties.
pub(crate) fn limit_instead_of_fetch(query: &mut ast::Query) -> Result<()> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.with_ties || fetch.percent {
        return Err(Error::unsupported("FETCH … PERCENT and WITH TIES are not supported")
            .with_hint("rank() OVER (ORDER BY …) <= n in an outer query keeps ties"));
    }
    let one = || Expr::value(ast::Value::Number("1".to_string(), false));
    let rows = Some(fetch.quantity.unwrap_or_else(one));
    query.limit_clause = Some(match query.limit_clause.take() {
        None => ast::LimitClause::LimitOffset { limit: rows, offset: None, limit_by: vec![] },
        Some(ast::LimitClause::LimitOffset { limit: None, offset, limit_by }) => {
            ast::LimitClause::LimitOffset { limit: rows, offset, limit_by }
        }
        Some(_) => return Err(Error::new(SqlState::SyntaxError, "a query has one LIMIT or FETCH, and not both")),
    });
    Ok(())
}

/// The names by which a query's columns may be qualified, of relations that have a name of one word.
fn relations(body: &SetExpr, found: &mut BTreeSet<String>) {
    match body {
        SetExpr::Select(select) => select.from.iter().for_each(|table| joined(table, found)),
        SetExpr::SetOperation { left, right, .. } => {
            relations(left, found);
            relations(right, found);
        }
        _ => {}
    }
}

fn joined(table: &ast::TableWithJoins, found: &mut BTreeSet<String>) {
    for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
        match factor {
            ast::TableFactor::Table { alias: Some(alias), .. }
            | ast::TableFactor::Derived { alias: Some(alias), .. }
            | ast::TableFactor::Function { alias: Some(alias), .. }
            | ast::TableFactor::UNNEST { alias: Some(alias), .. } => {
                found.insert(fold(&alias.name));
            }
            ast::TableFactor::Table { name, alias: None, .. } => {
                if let [ast::ObjectNamePart::Identifier(name)] = name.0.as_slice() {
                    found.insert(fold(name));
                }
            }
            ast::TableFactor::NestedJoin { table_with_joins, .. } => joined(table_with_joins, found),
            _ => {}
        }
    }
}

/// A number that is answered as it stands is an integer where it fits.
fn small_integer(expr: &mut Expr) {
    let number = match &*expr {
        Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => expr.as_ref(),
        other => other,
    };
    if let Expr::Value(value) = number
        && let ast::Value::Number(digits, false) = &value.value
        && digits.parse::<i32>().is_ok()
    {
        *expr = cast(expr.clone(), ast::DataType::Integer(None));
    }
}

/// Makes every number of a series a bigint, and a NULL one of no type.
fn widen_series(factor: &mut ast::TableFactor) {
    let ast::TableFactor::Table { name, args: Some(ast::TableFunctionArgs { args, .. }), .. } = factor else { return };
    if crate::types::last_name(name) != "generate_series" {
        return;
    }
    for arg in args {
        if let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) = arg
            && let Expr::Cast { expr: inner, data_type, .. } = &expr
            && let Ok(ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt) =
                crate::types::column_type(data_type)
        {
            let is_null = matches!(inner.as_ref(), Expr::Value(value) if value.value == ast::Value::Null);
            *expr = if is_null { inner.as_ref().clone() } else { cast(expr.clone(), ast::DataType::BigInt(None)) };
        }
    }
}

/// Names the column of a series as the series is.
fn name_series(factor: &mut ast::TableFactor) {
    if let ast::TableFactor::Table { name, args: Some(_), alias: Some(alias), .. } = factor
        && alias.columns.is_empty()
        && crate::types::last_name(name) == "generate_series"
    {
        alias.columns = vec![ast::TableAliasColumnDef { name: alias.name.clone(), data_type: None }];
    }
}

/// Makes `SELECT … UNION ALL SELECT …` of VALUES with sub-queries.
fn select_values(body: &mut Box<SetExpr>) {
    let SetExpr::Values(values) = body.as_mut() else { return };
    let is_query = |expr: &Expr| match expr {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    if !values.rows.iter().any(|row| row.iter().any(|value| ast::visit_expressions(value, is_query).is_break())) {
        return;
    }
    let select = |row: &[Expr]| {
        let item = |(at, value): (usize, &Expr)| ast::SelectItem::ExprWithAlias {
            expr: value.clone(),
            alias: ast::Ident::new(format!("column{}", at + 1)),
        };
        crate::clauses::select(row.iter().enumerate().map(item).collect(), vec![], None).ok().map(|query| query.body)
    };
    let union = |left, right| {
        let (op, set_quantifier) = (SetOperator::Union, SetQuantifier::All);
        Box::new(SetExpr::SetOperation { left, op, set_quantifier, right })
    };
    if let Some(selected) = values.rows.iter().map(|row| select(row)).reduce(|left, right| Some(union(left?, right?)))
        && let Some(selected) = selected
    {
        *body = selected;
    }
}

/// Makes a derived table of a set operation that counts.
fn derive_counted(body: &mut Box<SetExpr>) {
    if let SetExpr::SetOperation { left, right, .. } = body.as_mut() {
        derive_counted(left);
        derive_counted(right);
    }
    if crate::sets::counts(body)
        && let Ok(mut query) = crate::clauses::select(vec![], vec![], None)
        && let Ok(mut all) = crate::clauses::select(vec![wildcard()], vec![], None)
        && let SetExpr::Select(select) = all.body.as_mut()
    {
        std::mem::swap(&mut query.body, body);
        let relation =
            ast::TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: None, sample: None };
        select.from = vec![ast::TableWithJoins { relation, joins: vec![] }];
        *body = all.body;
    }
}

fn wildcard() -> ast::SelectItem {
    ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default())
}

/// Puts `(SELECT count(*) …) > 0` in the place of `EXISTS (…)`, anywhere in an expression but in its sub-queries.
fn count_instead_of_exists(expr: &mut Expr) {
    struct Exists {
        depth: usize,
    }
    impl VisitorMut for Exists {
        type Break = ();
        fn pre_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Exists { subquery, negated } = expr
                && self.depth == 0
                && let Some(counting) = counting((**subquery).clone())
            {
                let op = if *negated { ast::BinaryOperator::Eq } else { ast::BinaryOperator::Gt };
                let zero = Expr::value(ast::Value::Number("0".to_string(), false));
                let compared =
                    Expr::BinaryOp { left: Box::new(Expr::Subquery(Box::new(counting))), op, right: Box::new(zero) };
                *expr = Expr::Nested(Box::new(compared));
            }
            ControlFlow::Continue(())
        }
    }
    let _ = expr.visit(&mut Exists { depth: 0 });
}

/// A query for how many rows a query has.
fn counting(mut query: ast::Query) -> Option<ast::Query> {
    let ast::SelectItem::UnnamedExpr(count) = count_item()? else { return None };
    let simple = query.with.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.pipe_operators.is_empty()
        && match query.body.as_ref() {
            SetExpr::Select(select) => {
                let ungrouped = matches!(&select.group_by, ast::GroupByExpr::Expressions(keys, _) if keys.is_empty());
                let plain = |item: &ast::SelectItem| match item {
                    ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } => {
                        matches!(expr, Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_))
                    }
                    _ => true,
                };
                ungrouped && select.having.is_none() && select.projection.iter().all(plain)
            }
            _ => false,
        };
    match query.body.as_mut() {
        // The rows themselves are counted, so that conditions on the outer query stay where they can be joined by.
        SetExpr::Select(select) if simple => {
            select.projection = vec![ast::SelectItem::UnnamedExpr(count)];
            select.distinct = None;
            query.order_by = None;
            Some(query)
        }
        _ => {
            let alias = ast::TableAlias {
                name: ast::Ident::with_quote('"', "rows"),
                columns: vec![],
                explicit: true,
                at: None,
            };
            let relation = ast::TableFactor::Derived {
                lateral: false,
                subquery: Box::new(query),
                alias: Some(alias),
                sample: None,
            };
            let from = vec![ast::TableWithJoins { relation, joins: vec![] }];
            crate::clauses::select(vec![ast::SelectItem::UnnamedExpr(count)], from, None).ok()
        }
    }
}

fn count_item() -> Option<ast::SelectItem> {
    evenkeel_pql::parse_expr("count(*)").ok().map(ast::SelectItem::UnnamedExpr)
}

fn spelled_interval(interval: &mut ast::Interval) -> Result<()> {
    let (Expr::Value(value), None) = (interval.value.as_mut(), &interval.last_field) else { return Ok(()) };
    let ast::Value::SingleQuotedString(text) = &mut value.value else { return Ok(()) };
    let unit = interval.leading_field.take().map_or_else(|| "second".to_string(), |unit| unit.to_string());
    let parsed = crate::interval::parse(text, &unit.to_lowercase())?;
    *text = format!("{} months {} days {} nanoseconds", parsed.months, parsed.days, parsed.nanoseconds);
    Ok(())
}

/// A number with a point or an exponent that is cast to a decimal or integer is read as the decimal that it is.
fn exact_number(expr: &mut Box<Expr>, to: &ast::DataType) {
    use evenkeel_model::ColumnType;
    let target = match crate::types::column_type(to) {
        Ok(ColumnType::Decimal { .. }) => to.clone(),
        Ok(ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt) => {
            ast::DataType::Decimal(ast::ExactNumberInfo::PrecisionAndScale(38, 10))
        }
        _ => return,
    };
    let mut inner = expr.as_mut();
    loop {
        match inner {
            Expr::Nested(nested) => inner = nested.as_mut(),
            Expr::UnaryOp { op: ast::UnaryOperator::Minus | ast::UnaryOperator::Plus, expr } => inner = expr.as_mut(),
            _ => break,
        }
    }
    let Expr::Value(value) = inner else { return };
    let ast::Value::Number(number, _) = &value.value else { return };
    let plain = if number.contains(['e', 'E']) { without_exponent(number) } else { Some(number.clone()) };
    // A short whole number is exact as it is; a number that is too long for a decimal stays a float.
    if let Some(plain) = plain.filter(|plain| plain.contains('.') || plain.len() > INTEGER_DIGITS_MAX) {
        value.value = ast::Value::SingleQuotedString(plain);
        *inner = cast(Expr::Value(value.clone()), target);
    }
}

/// `1.5e3` as `1500`; `None` for more digits than a decimal has.
pub(crate) fn without_exponent(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() <= DECIMAL_DIGITS_MAX as i32)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    let mut point = whole.len() as i32 + exponent;
    if point < 1 {
        digits.insert_str(0, &"0".repeat((1 - point) as usize));
        point = 1;
    }
    let padded = format!("{digits:0<width$}", width = point as usize);
    let (whole, fraction) = padded.split_at(point as usize);
    let plain = if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") };
    (padded.len() <= DECIMAL_DIGITS_MAX).then_some(plain)
}

pub(crate) fn cast(expr: Expr, data_type: ast::DataType) -> Expr {
    Expr::Cast { kind: ast::CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// `mod` and `div` as operators.
fn remainder(function: &ast::Function) -> Option<Expr> {
    let division = match crate::types::last_name(&function.name).as_str() {
        "mod" => false,
        "div" => true,
        _ => return None,
    };
    let ast::FunctionArguments::List(list) = &function.args else { return None };
    let [
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(dividend)),
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(divisor)),
    ] = list.args.as_slice()
    else {
        return None;
    };
    let nested = |expr: Expr| Box::new(Expr::Nested(Box::new(expr)));
    let operation = |left: &Expr, op, right: &Expr| {
        let (left, right) = (nested(left.clone()), nested(right.clone()));
        Expr::Nested(Box::new(Expr::BinaryOp { left, op, right }))
    };
    let rest = operation(dividend, ast::BinaryOperator::Modulo, divisor);
    Some(match division {
        false => rest,
        true => {
            let whole = operation(dividend, ast::BinaryOperator::Minus, &rest);
            operation(&whole, ast::BinaryOperator::Divide, divisor)
        }
    })
}
