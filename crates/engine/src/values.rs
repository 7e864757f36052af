//! The literals of statements that write: of what type they are read.

use crate::names::byte_span;
use crate::spelling::{cast, without_exponent};
use crate::table::TableHandle;
use datafusion::execution::context::SessionState;
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use sqlparser::ast::{self, Expr, Spanned, Value};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Reads `1.10` as a decimal, so that a DECIMAL column gets exactly that.
pub(crate) fn exact_literals(state: &mut SessionState, query: Option<&mut ast::Query>) {
    state.config_mut().options_mut().sql_parser.parse_float_as_decimal = true;
    let Some(query) = query else { return };
    // Decimals are not read with an exponent.
    let _ = ast::visit_expressions_mut(query, |expr| {
        if let Expr::Value(value) = expr
            && let Value::Number(number, _) = &mut value.value
            && number.contains(['e', 'E'])
        {
            match without_exponent(number) {
                Some(plain) => *number = plain,
                None => {
                    value.value = Value::SingleQuotedString(std::mem::take(number));
                    *expr = cast(expr.clone(), ast::DataType::Double(ast::ExactNumberInfo::None));
                }
            }
        }
        ControlFlow::<()>::Continue(())
    });
}

/// Puts the columns' DEFAULT in the place of the word in VALUES, and gives each value the column's type where DataFusion
/// would look for one that all rows have in common.
pub(crate) fn with_defaults(
    mut query: ast::Query,
    table: &TableHandle,
    given: &[usize],
    text: &str,
) -> Result<ast::Query> {
    let ast::SetExpr::Values(values) = query.body.as_mut() else { return Ok(query) };
    for row in &mut values.rows {
        if row.len() != given.len() {
            let message = format!("INSERT gives {} values for {} columns", row.len(), given.len());
            let error = Error::new(SqlState::SyntaxError, message);
            let span = row.first().and_then(|first| byte_span(first.span(), text));
            return Err(span.map_or(error.clone(), |span| error.at(span)));
        }
        for (value, position) in row.iter_mut().zip(given) {
            *value = default_of(table, *position, value.clone())?;
        }
    }
    for (at, position) in given.iter().enumerate() {
        let column = &table.column(*position).column_type;
        if mixed(values.rows.iter().map(|row| &row[at]), column) {
            let data_type = sql_type(column)?;
            for row in &mut values.rows {
                let value = std::mem::replace(&mut row[at], Expr::value(Value::Null));
                row[at] = cast(value, data_type.clone());
            }
        }
    }
    Ok(query)
}

/// The value of an assignment: the word DEFAULT is the column's.
pub(crate) fn default_of(table: &TableHandle, position: usize, value: Expr) -> Result<Expr> {
    match &value {
        Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default") => {
            match &table.column(position).default {
                Some(text) => evenkeel_pql::parse_expr(text),
                None => Ok(Expr::value(Value::Null)),
            }
        }
        _ => Ok(value),
    }
}

/// What a value looks like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Integer,
    Decimal,
    Text,
    Boolean,
    /// Of a type that is known only later.
    Computed,
}

fn kind(value: &Expr) -> Option<Kind> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::Null => None,
            Value::Number(number, _) if number.contains(['.', 'e', 'E']) => Some(Kind::Decimal),
            Value::Number(..) => Some(Kind::Integer),
            Value::Boolean(_) => Some(Kind::Boolean),
            Value::SingleQuotedString(_) => Some(Kind::Text),
            _ => Some(Kind::Computed),
        },
        Expr::UnaryOp { op: ast::UnaryOperator::Minus | ast::UnaryOperator::Plus, expr } => kind(expr),
        _ => Some(Kind::Computed),
    }
}

/// Whether the values for a column may be of several types.
fn mixed<'v>(values: impl ExactSizeIterator<Item = &'v Expr>, column: &ColumnType) -> bool {
    if values.len() < 2 || matches!(column, ColumnType::Array(_)) {
        return false;
    }
    let kinds: BTreeSet<Kind> = values.filter_map(kind).collect();
    // As decimals of one type, `1.5` beside `2.25` would be `1.50`.
    let spelled = matches!(column, ColumnType::Text { .. }) && kinds.contains(&Kind::Decimal);
    kinds.len() > 1 || kinds.contains(&Kind::Computed) || spelled
}

/// A column's type in a statement's tree.
fn sql_type(column: &ColumnType) -> Result<ast::DataType> {
    match evenkeel_pql::parse_expr(&format!("CAST(NULL AS {column})"))? {
        Expr::Cast { data_type, .. } => Ok(data_type),
        _ => Err(Error::internal(format!("{column} is no type"))),
    }
}
