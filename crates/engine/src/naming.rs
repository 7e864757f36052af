//! Names of computed columns: PostgreSQL's, by which clients look columns up.
//!
//! | written | named |
//! |---|---|
//! | `count(*)`, `upper(a)`, `coalesce(a, b)` | as the function: `count`, `upper`, `coalesce` |
//! | `a::text`, `CAST(a AS text)` | as what is cast: `a`; `'1'::integer` as the type: `int4` |
//! | `CASE …` | as its ELSE where that has a name, else `case` |
//! | `(SELECT a …)`, `EXISTS (…)`, `ARRAY[…]` | `a`, `exists`, `array` |
//! | `a + 1`, `'text'` and everything else | `?column?` |
//!
//! PostgreSQL gives two columns of a query one name where it comes to that. Here the second is `count 2`, also of a column
//! that is asked for twice: columns are found by their names in every layer beneath. The columns of two tables may have one. Beside a `*`, whose columns are not known yet, a column is named with
//! the text that it is written in, which no column is called.

use crate::types::{fold, last_name};
use evenkeel_model::{ColumnType, PG_TYPES};
use sqlparser::ast::{self, Expr, VisitMut, VisitorMut};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What has no better name.
const UNNAMED: &str = "?column?";

/// Gives the computed columns of a query their names, and those of the queries among its tables.
pub(crate) fn name_columns(query: &mut ast::Query) {
    struct Derived;
    impl VisitorMut for Derived {
        type Break = std::convert::Infallible;
        fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Self::Break> {
            if let Some(with) = &mut query.with {
                with.cte_tables.iter_mut().for_each(|table| name_items(&mut table.query));
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_table_factor(&mut self, factor: &mut ast::TableFactor) -> ControlFlow<Self::Break> {
            if let ast::TableFactor::Derived { subquery, .. } = factor {
                name_items(subquery);
            }
            ControlFlow::Continue(())
        }
    }
    name_items(query);
    let ControlFlow::Continue(()) = query.visit(&mut Derived);
}

fn name_items(query: &mut ast::Query) {
    match query.pipe_operators.last_mut() {
        Some(ast::PipeOperator::Select { exprs }) => name_apart(exprs, &BTreeSet::new()),
        Some(_) => {}
        None => {
            let sorted_by = sorted_by(query.order_by.as_ref());
            if let Some(items) = first_items(&mut query.body) {
                name_apart(items, &sorted_by);
            }
        }
    }
}

/// The columns that an ORDER BY computes with, or names with their table: those of the tables, not of the answer. A
/// computed column of the same name would be taken for them.
fn sorted_by(order: Option<&ast::OrderBy>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Some(ast::OrderBy { kind: ast::OrderByKind::Expressions(keys), .. }) = order {
        for key in keys.iter().filter(|key| !matches!(key.expr, Expr::Identifier(_))) {
            let ControlFlow::Continue(()) = ast::visit_expressions(key, |expr| {
                found.extend(column(expr));
                ControlFlow::<std::convert::Infallible>::Continue(())
            });
        }
    }
    found
}

/// The list of a query's first SELECT, which names the columns of a set operation.
fn first_items(body: &mut ast::SetExpr) -> Option<&mut Vec<ast::SelectItem>> {
    match body {
        ast::SetExpr::Select(select) => Some(&mut select.projection),
        ast::SetExpr::SetOperation { left, .. } => first_items(left),
        _ => None,
    }
}

fn name_apart(items: &mut [ast::SelectItem], sorted_by: &BTreeSet<String>) {
    let mut taken: BTreeSet<String> = items.iter().filter_map(given).collect();
    let all =
        |item: &ast::SelectItem| matches!(item, ast::SelectItem::Wildcard(_) | ast::SelectItem::QualifiedWildcard(..));
    let known = !items.iter().any(all);
    number_twins(items, &mut taken);
    for item in items {
        let ast::SelectItem::UnnamedExpr(expr) = item else { continue };
        // What expands to several columns has several names.
        if column(expr).is_some() || expr.to_string().to_lowercase().contains("unnest(") {
            continue;
        }
        let name = Some(name(expr)).filter(|name| known && !sorted_by.contains(name));
        let name = name.unwrap_or_else(|| expr.to_string());
        let name = if taken.contains(&name) { numbered(&name, &taken) } else { name };
        taken.insert(name.clone());
        let alias = ast::Ident::with_quote('"', name);
        *item = ast::SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

/// A name with the first number that makes it another than those that are taken.
fn numbered(name: &str, taken: &BTreeSet<String>) -> String {
    let mut number = 2;
    while taken.contains(&format!("{name} {number}")) {
        number += 1;
    }
    format!("{name} {number}")
}

/// Gives columns that are asked for again, beside a `*` or by themselves, and names that are given again, a number.
fn number_twins(items: &mut [ast::SelectItem], taken: &mut BTreeSet<String>) {
    let of_all = items.iter().any(|item| matches!(item, ast::SelectItem::Wildcard(_)));
    let of_tables: BTreeSet<String> = items.iter().filter_map(all_of).collect();
    let mut columns: Vec<Vec<String>> = Vec::new();
    let mut aliases = BTreeSet::new();
    for item in items {
        let (expr, alias) = match item {
            ast::SelectItem::ExprWithAlias { expr, alias } => {
                let alias = fold(alias);
                let is_column = columns.iter().any(|path| path.last() == Some(&alias));
                if aliases.insert(alias.clone()) && !is_column {
                    continue;
                }
                (expr, alias)
            }
            ast::SelectItem::UnnamedExpr(expr) => {
                let Some(path) = path(expr) else { continue };
                // `n` and `t.n` are one column; `a.n` and `b.n` are two.
                let again = columns.iter().any(|other| other.ends_with(&path) || path.ends_with(other));
                let beside = path.len() > 1 && of_tables.contains(&path[path.len() - 2]);
                let name = path.last().cloned().unwrap_or_default();
                columns.push(path);
                if !again && !beside && !of_all && !aliases.contains(&name) {
                    continue;
                }
                (expr, name)
            }
            _ => continue,
        };
        let alias = numbered(&alias, taken);
        taken.insert(alias.clone());
        *item = ast::SelectItem::ExprWithAlias { expr: expr.clone(), alias: ast::Ident::with_quote('"', alias) };
    }
}

/// The parts of a column's name.
fn path(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Identifier(name) => Some(vec![fold(name)]),
        Expr::CompoundIdentifier(parts) => Some(parts.iter().map(fold).collect()),
        _ => None,
    }
}

/// The table of `t.*`.
fn all_of(item: &ast::SelectItem) -> Option<String> {
    match item {
        ast::SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            Some(last_name(name))
        }
        _ => None,
    }
}

/// The name that an item has in the answer; `None` for what is several columns.
pub(crate) fn output_name(item: &ast::SelectItem) -> Option<String> {
    given(item).or_else(|| match item {
        ast::SelectItem::UnnamedExpr(expr) => Some(name(expr)),
        _ => None,
    })
}

/// The name that an item has anyway.
fn given(item: &ast::SelectItem) -> Option<String> {
    match item {
        ast::SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
        ast::SelectItem::UnnamedExpr(expr) => column(expr),
        _ => None,
    }
}

/// The name of what is a column and nothing else.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(fold(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(fold),
        Expr::CompoundFieldAccess { .. } => Some(String::new()),
        _ => None,
    }
}

fn name(expr: &Expr) -> String {
    named(expr).or_else(|| typed(expr)).unwrap_or_else(|| UNNAMED.to_string())
}

/// The name that an expression takes from what it is made of.
fn named(expr: &Expr) -> Option<String> {
    Some(match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => return column(expr),
        Expr::CompoundFieldAccess { root, .. } => return named(root),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } | Expr::Cast { expr: inner, .. } => {
            return named(inner);
        }
        Expr::Function(function) => last_name(&function.name),
        Expr::Case { else_result, .. } => {
            return else_result.as_deref().and_then(named).or_else(|| Some("case".to_string()));
        }
        Expr::Subquery(query) => return first_of(query),
        Expr::Exists { .. } => "exists".to_string(),
        Expr::Array(_) => "array".to_string(),
        Expr::Extract { .. } => "extract".to_string(),
        Expr::Position { .. } => "position".to_string(),
        Expr::Substring { .. } => "substring".to_string(),
        Expr::Overlay { .. } => "overlay".to_string(),
        Expr::Ceil { .. } => "ceil".to_string(),
        Expr::Floor { .. } => "floor".to_string(),
        Expr::AtTimeZone { .. } => "timezone".to_string(),
        Expr::Trim { trim_where, .. } => match trim_where {
            Some(ast::TrimWhereField::Leading) => "ltrim".to_string(),
            Some(ast::TrimWhereField::Trailing) => "rtrim".to_string(),
            _ => "btrim".to_string(),
        },
        _ => return None,
    })
}

/// The name of a query's only column.
fn first_of(query: &ast::Query) -> Option<String> {
    let ast::SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.projection.as_slice() {
        [ast::SelectItem::UnnamedExpr(expr)] if query.pipe_operators.is_empty() => Some(name(expr)),
        [ast::SelectItem::ExprWithAlias { alias, .. }] if query.pipe_operators.is_empty() => Some(fold(alias)),
        _ => None,
    }
}

/// The name that a value takes from the type that it is cast to.
fn typed(expr: &Expr) -> Option<String> {
    let data_type = match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => return typed(inner),
        Expr::Cast { data_type, .. } => data_type,
        Expr::TypedString(typed) => &typed.data_type,
        Expr::Interval(_) => return Some("interval".to_string()),
        _ => return None,
    };
    crate::types::column_type(data_type).ok().map(|column| catalog_name(&column))
}

/// A type's name in `pg_type`; of an array, its elements'.
fn catalog_name(column: &ColumnType) -> String {
    let column = if let ColumnType::Array(element) = column { element } else { column };
    let oid = column.oid().oid;
    PG_TYPES.iter().find(|known| known.oid == oid).map_or_else(|| column.to_string(), |known| known.name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let evenkeel_pql::StatementKind::Sql(statement) = evenkeel_pql::parse_statement(text).expect("SQL").kind else {
            panic!("{text} is not SQL");
        };
        let ast::Statement::Query(mut query) = *statement else { panic!("{text} is no query") };
        name_columns(&mut query);
        let items = match query.pipe_operators.last_mut() {
            Some(ast::PipeOperator::Select { exprs }) => exprs,
            _ => first_items(&mut query.body).expect("a list"),
        };
        items.iter().map(|item| given(item).unwrap_or_else(|| "*".to_string())).collect()
    }

    #[test]
    fn computed_columns_have_postgresql_s_names() {
        for (written, wanted) in [
            ("SELECT count(*), sum(a), pg_catalog.upper(b), now() FROM t", &["count", "sum", "upper", "now"][..]),
            ("SELECT max(a) OVER (), coalesce(a, 1), current_date FROM t", &["max", "coalesce", "current_date"]),
            (
                "SELECT 1, 'x', a + 1, NOT b, $1 FROM t",
                &["?column?", "?column? 2", "?column? 3", "?column? 4", "?column? 5"],
            ),
            ("SELECT a::text, t.b::date, (lower(c))::varchar(3) FROM t", &["a", "b", "lower"]),
            (
                "SELECT 1::integer, '2'::numeric(9,2), DATE '2026-01-01', '{}'::int[]",
                &["int4", "numeric", "date", "int4 2"],
            ),
            ("SELECT INTERVAL '1 day', CAST(NULL AS JSONB)", &["interval", "jsonb"]),
            ("SELECT CASE WHEN a THEN 1 END, CASE WHEN a THEN 1 ELSE b END FROM t", &["case", "b"]),
            ("SELECT (SELECT max(a) FROM t), EXISTS (SELECT 1), ARRAY[1, 2]", &["max", "exists", "array"]),
            ("SELECT extract(year FROM a), trim(b), substring(b FROM 2) FROM t", &["extract", "btrim", "substring"]),
            // Columns and names that are given stay what they are; what would be the same is told apart.
            ("SELECT a, t.b AS c, count(*) AS a2, max(a), max(b) FROM t", &["a", "c", "a2", "max", "max 2"]),
            ("SELECT count, count(*) FROM t", &["count", "count 2"]),
            ("SELECT *, count(*) OVER () FROM t", &["*", "count(*) OVER ()"]),
            // What rows are sorted by stays the table's.
            ("SELECT a::text, max(b) FROM t ORDER BY a", &["a", "max"]),
            ("SELECT a::text, b::text FROM t ORDER BY t.a, b + 1", &["a::TEXT", "b::TEXT"]),
            ("SELECT count(*) FROM t UNION ALL SELECT 1", &["count"]),
            ("QUERY t SELECT upper(a), n = a + 1", &["upper", "n"]),
        ] {
            assert_eq!(names(written), wanted, "{written}");
        }
    }

    #[test]
    fn queries_among_tables_name_their_columns_too() {
        for (written, wanted) in [
            ("SELECT * FROM (SELECT count(*) FROM t) AS s", "(SELECT count(*) AS \"count\" FROM t) AS s"),
            ("WITH s AS (SELECT max(a) FROM t) SELECT max FROM s", "(SELECT max(a) AS \"max\" FROM t)"),
        ] {
            let evenkeel_pql::StatementKind::Sql(statement) = evenkeel_pql::parse_statement(written).expect("SQL").kind
            else {
                panic!("{written} is not SQL");
            };
            let ast::Statement::Query(mut query) = *statement else { panic!("{written} is no query") };
            name_columns(&mut query);
            assert!(query.to_string().contains(wanted), "{query}");
        }
    }
}
