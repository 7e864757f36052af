//! PostgreSQL's spellings in queries over its catalogs, rewritten in the tree.
//!
//! | written | becomes |
//! |---|---|
//! | `pg_catalog.format_type(…)` | `format_type(…)` |
//! | `a OPERATOR(pg_catalog.~) b` | `a ~ b` |
//! | `a COLLATE pg_catalog.default` | `a` |
//! | `a::pg_catalog.int4`, `a::name`, `a::oid` | `a::integer`, `a::text`, `a::bigint` |
//! | `'t'::regclass` | `regclassin('t')`, and `regclassout('t')` where it is shown or made text |
//! | `array(SELECT a …)` | `array_or_empty((SELECT array_agg(a) …))` |
//! | `generate_subscripts(a, 1)` | `unnest(generate_series(1, array_upper(a, 1)))` |
//! | `FROM pg_catalog.unnest(a) x` | `FROM (SELECT unnest(a) AS x) x` |
//! | `(f(…)).x` | `get_field(f(…), 'x')` |
//! | `a = ANY('{1,2}')`, `a = ANY($1)` | `array_has('{1,2}'::text[], a::text)` |
//! | `a['x'::text]` | `a -> 'x'` |
//! | `a LIKE b ESCAPE '/'` | `a LIKE like_pattern(b, '/')` |
//! | `SELECT t.a, t.*`, `SELECT NULL, NULL` | with other names for those that are there twice |
//! | `a = '{0}'`, where `a` may be an array | `array_out(a) = '{0}'` |

use super::functions::needs_snapshot;
use crate::types::{fold, last_name};
use evenkeel_catalog::{INFORMATION_SCHEMA, PG_CATALOG};
use sqlparser::ast::{self, BinaryOperator, Expr, FunctionArguments, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// Types whose values are numbers with a name.
const NAMED: &[&str] = &["regclass", "regnamespace", "regrole", "regtype"];
/// Types that are text here.
const TEXTS: &[&str] = &[
    "aclitem",
    "bpchar",
    "char",
    "character_data",
    "cstring",
    "name",
    "pg_node_tree",
    "regproc",
    "regprocedure",
    "sql_identifier",
    "yes_or_no",
];
/// Types that are numbers here.
const NUMBERS: &[&str] = &["cardinal_number", "cid", "oid", "tid", "xid", "xid8"];
/// Types that are arrays here already.
const VECTORS: &[&str] = &["int2vector", "oidvector"];

/// Functions among tables that are computed tables here.
const TABLES: &[&str] = &["pg_get_keywords"];

/// Rewrites a statement; returns whether it calls functions that [`super::register`] has.
pub(crate) fn rewrite(statement: &mut ast::Statement) -> bool {
    let mut rewriter = Rewriter { calls: false, about_catalogs: about_catalogs(statement), depth: 0 };
    let ControlFlow::Continue(()) = statement.visit(&mut rewriter);
    rewriter.calls
}

/// Whether a statement names a table of the catalogs.
fn about_catalogs(statement: &ast::Statement) -> bool {
    ast::visit_relations(statement, |name| match last_name(name).starts_with("pg_") {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })
    .is_break()
}

struct Rewriter {
    calls: bool,
    about_catalogs: bool,
    /// Queries within queries.
    depth: usize,
}

impl VisitorMut for Rewriter {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<Self::Break> {
        name_apart(&mut select.projection);
        if self.depth <= 1 {
            for item in &mut select.projection {
                if let ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } = item {
                    show_names(expr);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut ast::TableFactor) -> ControlFlow<Self::Break> {
        if let Some(derived) = derived(factor) {
            *factor = derived;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(function) => {
                unqualify(&mut function.name);
                self.calls |= needs_snapshot(&last_name(&function.name));
                if let Some(rewritten) = called(function) {
                    *expr = rewritten;
                }
            }
            Expr::Identifier(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("current_schema") =>
            {
                self.calls = true;
                *expr = call("current_schema", vec![]);
            }
            Expr::BinaryOp { left, op, right } => {
                if let Some(plain) = plain_operator(op) {
                    *op = plain;
                }
                if self.about_catalogs
                    && matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq)
                    && is_array_text(right)
                {
                    **left = call("array_out", vec![(**left).clone()]);
                }
            }
            Expr::Collate { expr: inner, collation } => {
                if matches!(last_name(collation).to_lowercase().as_str(), "default" | "c" | "posix" | "ucs_basic") {
                    *expr = (**inner).clone();
                }
            }
            Expr::Cast { kind: ast::CastKind::Cast | ast::CastKind::DoubleColon, expr: inner, data_type, .. } => {
                if let Some(rewritten) = cast(inner, data_type) {
                    *expr = rewritten;
                    self.calls |=
                        matches!(expr, Expr::Function(function) if needs_snapshot(&last_name(&function.name)));
                }
            }
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } if is_untyped(right) => {
                *expr = has(left, right);
            }
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } if is_untyped(right) => {
                *expr = Expr::UnaryOp { op: ast::UnaryOperator::Not, expr: Box::new(has(left, right)) };
            }
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                if let Some(escape) = escape_char.take_if(|escape| is_other_escape(escape)) {
                    **pattern = call("like_pattern", vec![(**pattern).clone(), Expr::Value(escape)]);
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                if let Some(member) = member(root, access_chain) {
                    *expr = member;
                } else if let [ast::AccessExpr::Dot(Expr::Identifier(field))] = access_chain.as_slice()
                    && let Expr::Nested(inner) = root.as_ref()
                {
                    let field = Expr::value(ast::Value::SingleQuotedString(fold(field)));
                    *expr = call("get_field", vec![(**inner).clone(), field]);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// What a document has under names that are said to be text: arrays are asked by number.
fn member(root: &Expr, chain: &[ast::AccessExpr]) -> Option<Expr> {
    let name = |access: &ast::AccessExpr| match access {
        ast::AccessExpr::Subscript(ast::Subscript::Index { index: Expr::Cast { expr, data_type, .. } }) => {
            let text = matches!(data_type, ast::DataType::Text | ast::DataType::Varchar(_));
            text.then(|| (**expr).clone())
        }
        _ => None,
    };
    // `t.a['x'::text]` is `t`, of which `.a` is taken first.
    let column = |access: &ast::AccessExpr| match access {
        ast::AccessExpr::Dot(Expr::Identifier(part)) => Some(part.clone()),
        _ => None,
    };
    let parts: Vec<ast::Ident> = chain.iter().map_while(column).collect();
    let names: Vec<Expr> = chain[parts.len()..].iter().map(name).collect::<Option<_>>()?;
    let document = match (root, parts.as_slice()) {
        (root, []) => root.clone(),
        (Expr::Identifier(first), _) => Expr::CompoundIdentifier(std::iter::once(first.clone()).chain(parts).collect()),
        _ => return None,
    };
    let arrow = |document, name| {
        let (left, right) = (Box::new(document), Box::new(name));
        Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Arrow, right }))
    };
    (!names.is_empty()).then(|| names.into_iter().fold(document, arrow))
}

/// Takes the schema off a function's name.
fn unqualify(name: &mut ast::ObjectName) {
    if let [schema, _] = name.0.as_slice()
        && schema.as_ident().is_some_and(|schema| [PG_CATALOG, INFORMATION_SCHEMA].contains(&fold(schema).as_str()))
    {
        name.0.remove(0);
    }
}

/// A call of a function.
fn call(name: &str, args: Vec<Expr>) -> Expr {
    let unnamed = |expr| ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr));
    let args = args.into_iter().map(unnamed).collect();
    Expr::Function(ast::Function {
        name: ast::ObjectName::from(vec![ast::Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(ast::FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// The arguments of a call.
fn arguments(function: &ast::Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = |arg: &ast::FunctionArg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// Functions that are others here.
fn called(function: &ast::Function) -> Option<Expr> {
    match (last_name(&function.name).as_str(), &function.args) {
        ("array", FunctionArguments::Subquery(query)) => Some(array_of(query)),
        ("generate_subscripts", _) => {
            let [array, dimension]: [Expr; 2] = arguments(function)?.try_into().ok()?;
            let one = Expr::value(ast::Value::Number("1".to_string(), false));
            let series = call("generate_series", vec![one, call("array_upper", vec![array, dimension])]);
            Some(call("unnest", vec![series]))
        }
        ("_pg_expandarray", _) => Some(call("unnest", vec![call("expand_array", arguments(function)?)])),
        _ => None,
    }
}

/// An array of a query's rows: its rows aggregated, in its order.
fn array_of(query: &ast::Query) -> Expr {
    let mut query = query.clone();
    let plain = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    if let ast::SetExpr::Select(select) = query.body.as_mut()
        && plain
        && select.distinct.is_none()
        && matches!(&select.group_by, ast::GroupByExpr::Expressions(keys, _) if keys.is_empty())
        && let [ast::SelectItem::UnnamedExpr(item) | ast::SelectItem::ExprWithAlias { expr: item, .. }] =
            select.projection.as_slice()
    {
        let item = item.clone();
        let order_by = query.order_by.take().map(|order| order.kind);
        let clauses = match order_by {
            Some(ast::OrderByKind::Expressions(keys)) => {
                let by_item = |mut key: ast::OrderByExpr| {
                    if matches!(key.expr, Expr::Value(_)) {
                        key.expr = item.clone();
                    }
                    key
                };
                vec![ast::FunctionArgumentClause::OrderBy(keys.into_iter().map(by_item).collect())]
            }
            _ => vec![],
        };
        let mut aggregate = call("array_agg", vec![item]);
        if let Expr::Function(ast::Function { args: FunctionArguments::List(list), .. }) = &mut aggregate {
            list.clauses = clauses;
        }
        select.projection = vec![ast::SelectItem::UnnamedExpr(aggregate)];
    }
    call("array_or_empty", vec![Expr::Subquery(Box::new(query))])
}

/// An operator without its schema.
fn plain_operator(op: &BinaryOperator) -> Option<BinaryOperator> {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return None };
    Some(match parts.last()?.as_str() {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "||" => BinaryOperator::StringConcat,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        _ => return None,
    })
}

fn is_array_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value)
        if matches!(&value.value, ast::Value::SingleQuotedString(text) if text.starts_with('{') && text.ends_with('}')))
}

/// Whether this is text, or will be, that PostgreSQL would take for whatever is needed.
fn is_untyped(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => {
            use ast::Value as V;
            matches!(value.value, V::SingleQuotedString(_) | V::Placeholder(_) | V::Null)
        }
        Expr::Nested(inner) => is_untyped(inner),
        // A parameter of type text whose value is not known yet.
        Expr::Cast { expr, data_type: ast::DataType::Text, .. } => {
            matches!(expr.as_ref(), Expr::Value(value) if value.value == ast::Value::Null)
        }
        _ => false,
    }
}

/// Whether an array that is given as text has a value.
fn has(value: &Expr, array: &Expr) -> Expr {
    let value = crate::spelling::cast(value.clone(), ast::DataType::Text);
    let element = Box::new(ast::DataType::Text);
    let texts = ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(element, None));
    call("array_has", vec![crate::spelling::cast(array.clone(), texts), value])
}

fn is_other_escape(escape: &ast::ValueWithSpan) -> bool {
    matches!(&escape.value, ast::Value::SingleQuotedString(text) if text != "\\")
}

/// Gives what a SELECT has twice another name, which DataFusion wants.
fn name_apart(items: &mut [ast::SelectItem]) {
    let of_all = items.iter().any(|item| matches!(item, ast::SelectItem::Wildcard(_)));
    let relation = |item: &ast::SelectItem| match item {
        ast::SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            Some(last_name(name))
        }
        _ => None,
    };
    let of: Vec<String> = items.iter().filter_map(relation).collect();
    let mut seen: Vec<String> = Vec::new();
    for item in items {
        let ast::SelectItem::UnnamedExpr(expr) = item else { continue };
        let text = expr.to_string();
        let name = match expr {
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [.., relation, column] if of_all || of.contains(&fold(relation)) => Some(format!("{} 2", fold(column))),
                _ => None,
            },
            Expr::Identifier(_) => None,
            _ => {
                let twins = seen.iter().filter(|seen| **seen == text).count();
                (twins > 0 && !text.to_lowercase().contains("unnest(")).then(|| format!("{text} {}", twins + 1))
            }
        };
        seen.push(text);
        if let Some(name) = name {
            *item = ast::SelectItem::ExprWithAlias { expr: expr.clone(), alias: ast::Ident::with_quote('"', name) };
        }
    }
}

/// The name of a type that is none of SQL's, without its schema.
fn type_name(data_type: &ast::DataType) -> Option<String> {
    match data_type {
        ast::DataType::Regclass => Some("regclass".to_string()),
        ast::DataType::Custom(name, _) => {
            let own = match name.0.as_slice() {
                [schema, _] => schema
                    .as_ident()
                    .is_some_and(|schema| [PG_CATALOG, INFORMATION_SCHEMA].contains(&fold(schema).as_str())),
                [_] => true,
                _ => false,
            };
            own.then(|| last_name(name))
        }
        _ => None,
    }
}

/// A type in words that are understood here; `None` where it is understood already.
fn known_type(data_type: &ast::DataType) -> Option<ast::DataType> {
    if let ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(element, size)) = data_type {
        let element = known_type(element)?;
        return Some(ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(Box::new(element), *size)));
    }
    let name = type_name(data_type)?;
    let written = match name.as_str() {
        name if TEXTS.contains(&name) => "text",
        name if NUMBERS.contains(&name) || NAMED.contains(&name) => "bigint",
        "bool" => "boolean",
        name => name,
    };
    match evenkeel_pql::parse_expr(&format!("CAST(NULL AS {written})")).ok()? {
        Expr::Cast { data_type: known, .. } if known != *data_type => Some(known),
        _ => None,
    }
}

/// A cast that is something else here.
fn cast(inner: &Expr, data_type: &ast::DataType) -> Option<Expr> {
    let name = type_name(data_type).unwrap_or_default();
    if VECTORS.contains(&name.as_str()) {
        return Some(inner.clone());
    }
    if NAMED.contains(&name.as_str()) {
        return Some(call(&format!("{name}in"), vec![inner.clone()]));
    }
    let known = known_type(data_type);
    let is_text = matches!(
        known.as_ref().unwrap_or(data_type),
        ast::DataType::Text | ast::DataType::Varchar(_) | ast::DataType::CharacterVarying(_)
    );
    if is_text && named(inner).is_some() {
        let mut shown = inner.clone();
        show_names(&mut shown);
        return Some(shown);
    }
    Some(crate::spelling::cast(inner.clone(), known?))
}

/// The type of a number with a name.
fn named(expr: &Expr) -> Option<&'static str> {
    match expr {
        Expr::Function(function) => {
            let name = last_name(&function.name);
            NAMED.iter().copied().find(|kind| name.strip_suffix("in") == Some(*kind))
        }
        Expr::Nested(inner) => named(inner),
        _ => None,
    }
}

/// Makes the name of a number that has one.
fn show_names(expr: &mut Expr) {
    if let Some(kind) = named(expr) {
        let mut inner = expr.clone();
        while let Expr::Nested(nested) = inner {
            inner = *nested;
        }
        if let Expr::Function(mut function) = inner {
            function.name = ast::ObjectName::from(vec![ast::Ident::new(format!("{kind}out"))]);
            *expr = Expr::Function(function);
        }
    }
}

/// A function among tables as a query that has it in its list, so that its arguments may be any.
fn derived(factor: &ast::TableFactor) -> Option<ast::TableFactor> {
    let ast::TableFactor::Table { name, alias, args: Some(args), with_ordinality: false, .. } = factor else {
        return None;
    };
    let mut name = name.clone();
    let before = name.0.len();
    unqualify(&mut name);
    let function = last_name(&name);
    if TABLES.contains(&function.as_str()) {
        let name = ast::ObjectName::from(vec![ast::Ident::new(PG_CATALOG), ast::Ident::new(function)]);
        let mut factor = factor.clone();
        if let ast::TableFactor::Table { name: table, args, .. } = &mut factor {
            (*table, *args) = (name, None);
        }
        return Some(factor);
    }
    if before == name.0.len() || !matches!(function.as_str(), "unnest" | "generate_series" | "generate_subscripts") {
        return None;
    }
    let plain = |arg: &ast::FunctionArg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let args: Vec<Expr> = args.args.iter().map(plain).collect::<Option<_>>()?;
    let column = match alias {
        Some(alias) => alias.columns.first().map_or_else(|| alias.name.clone(), |column| column.name.clone()),
        None => ast::Ident::new(&function),
    };
    let mut expr = call(&function, args);
    if let Expr::Function(inner) = &expr
        && let Some(rewritten) = called(inner)
    {
        expr = rewritten;
    }
    if function == "generate_series" {
        expr = call("unnest", vec![expr]);
    }
    let item = ast::SelectItem::ExprWithAlias { expr, alias: column };
    let subquery = Box::new(crate::clauses::select(vec![item], vec![], None).ok()?);
    let alias = alias.clone().map(|alias| ast::TableAlias { columns: vec![], ..alias });
    Some(ast::TableFactor::Derived { lateral: false, subquery, alias, sample: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let evenkeel_pql::StatementKind::Sql(mut statement) = evenkeel_pql::parse_statement(text).expect("SQL").kind
        else {
            panic!("{text} is not SQL");
        };
        rewrite(&mut statement);
        statement.to_string()
    }

    #[test]
    fn what_is_postgresql_s_becomes_what_is_known() {
        for (written, becomes) in [
            ("SELECT pg_catalog.lower(a) FROM t", "SELECT lower(a) FROM t"),
            ("SELECT a OPERATOR(pg_catalog.~) 'b' COLLATE pg_catalog.default FROM t", "SELECT a ~ 'b' FROM t"),
            (
                "SELECT a::pg_catalog.int4, a::name, a::oid, b::\"char\" FROM t",
                "SELECT CAST(a AS INT4), CAST(a AS TEXT), CAST(a AS BIGINT), CAST(b AS TEXT) FROM t",
            ),
            ("SELECT 1 FROM t WHERE a = 'b'::pg_catalog.regclass", "SELECT 1 FROM t WHERE a = regclassin('b')"),
            ("SELECT a::regclass, b::regtype::text FROM t", "SELECT regclassout(a), regtypeout(b) FROM t"),
            (
                "SELECT array(SELECT a FROM t ORDER BY 1)",
                "SELECT array_or_empty((SELECT array_agg(a ORDER BY a) FROM t))",
            ),
            ("SELECT x FROM pg_catalog.unnest(a) x", "SELECT x FROM (SELECT unnest(a) AS x) x"),
            ("SELECT (pg_catalog.f(a)).n FROM t", "SELECT get_field(f(a), 'n') FROM t"),
            (
                "SELECT 1 FROM pg_policy WHERE polroles = '{0}'",
                "SELECT 1 FROM pg_policy WHERE array_out(polroles) = '{0}'",
            ),
            ("SELECT 1 FROM t WHERE a = '{0}'", "SELECT 1 FROM t WHERE a = '{0}'"),
            (
                "SELECT 1 FROM t WHERE a = ANY($1)",
                "SELECT 1 FROM t WHERE array_has(CAST($1 AS TEXT[]), CAST(a AS TEXT))",
            ),
            ("SELECT a LIKE 'x/_%' ESCAPE '/' FROM t", "SELECT a LIKE like_pattern('x/_%', '/') FROM t"),
            ("SELECT t.a, t.* FROM t", "SELECT t.a AS \"a 2\", t.* FROM t"),
            ("SELECT NULL, NULL FROM t", "SELECT NULL, NULL AS \"NULL 2\" FROM t"),
            ("SELECT a['x'::text]['y'::text] FROM t", "SELECT ((a -> 'x') -> 'y') FROM t"),
            ("SELECT t.a[$1::text], t.a[1] FROM t", "SELECT (t.a -> $1), t.a[1] FROM t"),
            ("SELECT current_schema", "SELECT current_schema()"),
        ] {
            assert_eq!(rewritten(written), becomes, "{written}");
        }
    }
}
