//! What a list of expressions needs: groups, windows, or columns that are no longer there.
//!
//! Decided by looking at tokens, before there is a tree. Sub-queries are other scopes and are passed over.

use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::tokens::{begins, closing, comma_separated, is, word};

/// Names of functions that make one value of many rows.
const AGGREGATES: &[&str] = &[
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar",
    "covar_pop",
    "covar_samp",
    "every",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "mean",
    "median",
    "min",
    "mode",
    "nth_value",
    "percentile_cont",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var",
    "var_pop",
    "var_population",
    "var_samp",
    "var_sample",
    "variance",
];

/// Words in an ORDER BY that are no columns.
const NO_COLUMNS: &[&str] = &[
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "FALSE",
    "FIRST",
    "FROM",
    "ILIKE",
    "IN",
    "INTERVAL",
    "IS",
    "LAST",
    "LIKE",
    "NOT",
    "NULL",
    "NULLS",
    "OR",
    "ORDER",
    "OVER",
    "PARTITION",
    "THEN",
    "TRUE",
    "WHEN",
];

/// Whether only a SELECT of plain SQL can compute these: aggregates, windows, unnest.
pub(crate) fn is_plain(tokens: &[TokenWithSpan]) -> bool {
    let calls = |at: usize, name: &str| is(&tokens[at], name) && opens(tokens, at + 1);
    let windows = |at: usize| at > 0 && is(&tokens[at], "OVER") && tokens[at - 1].token != Token::Period;
    aggregate_call(tokens).is_some() || outside_queries(tokens).any(|at| calls(at, "unnest") || windows(at))
}

/// The first call of an aggregate that is not computed over a window.
pub(crate) fn aggregate_call(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    let is_aggregate = |name: &str| AGGREGATES.iter().any(|known| known.eq_ignore_ascii_case(name));
    outside_queries(tokens)
        .find(|at| word(&tokens[*at]).is_some_and(is_aggregate) && opens(tokens, at + 1) && !has_window(tokens, at + 1))
        .map(|at| &tokens[at])
}

fn opens(tokens: &[TokenWithSpan], at: usize) -> bool {
    tokens.get(at).is_some_and(|token| token.token == Token::LParen)
}

/// Whether OVER follows a call's arguments and what may stand between.
fn has_window(tokens: &[TokenWithSpan], open: usize) -> bool {
    let mut at = closing(tokens, open) + 1;
    loop {
        let rest = &tokens[at.min(tokens.len())..];
        at += match () {
            () if begins(rest, &["FILTER"]) && opens(rest, 1) => closing(rest, 1) + 1,
            () if begins(rest, &["WITHIN", "GROUP"]) && opens(rest, 2) => closing(rest, 2) + 1,
            () if begins(rest, &["IGNORE", "NULLS"]) || begins(rest, &["RESPECT", "NULLS"]) => 2,
            () => return begins(rest, &["OVER"]),
        };
    }
}

/// Indexes of the tokens that stand in no sub-query.
fn outside_queries(tokens: &[TokenWithSpan]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while opens(tokens, at) && ["SELECT", "WITH", "VALUES"].iter().any(|first| begins(&tokens[at + 1..], &[first]))
        {
            at = closing(tokens, at);
        }
        at += 1;
        (at <= tokens.len()).then(|| at - 1)
    })
}

/// Whether an ORDER BY names a column that is not among the outputs of the SELECT before it.
pub(crate) fn names_dropped(order: &[TokenWithSpan], items: &[TokenWithSpan]) -> bool {
    let items = comma_separated(&items[usize::from(begins(items, &["DISTINCT"]))..]);
    if items.iter().any(|item| ends_in_star(item)) {
        return false;
    }
    let columns: Vec<&[TokenWithSpan]> = outside_queries(order).filter_map(|at| column_at(order, at)).collect();
    columns.iter().any(|column| !items.iter().any(|item| puts_out(item, column)))
}

fn ends_in_star(item: &[TokenWithSpan]) -> bool {
    let star = item.iter().position(|token| token.token == Token::Mul);
    star.is_some_and(|at| at == 0 || (item[at - 1].token == Token::Period && at <= 4))
}

/// The column name, with its qualifiers, that begins at a token.
fn column_at(tokens: &[TokenWithSpan], at: usize) -> Option<&[TokenWithSpan]> {
    let follows_period = at > 0 && tokens[at - 1].token == Token::Period;
    let Token::Word(Word { value, quote_style, .. }) = &tokens[at].token else { return None };
    let is_noise = quote_style.is_none() && NO_COLUMNS.iter().any(|known| known.eq_ignore_ascii_case(value));
    let is_call = opens(tokens, at + 1);
    let types = at > 0 && (tokens[at - 1].token == Token::DoubleColon || is(&tokens[at - 1], "AS"));
    if follows_period || is_noise || is_call || types {
        return None;
    }
    let mut end = at + 1;
    while end + 1 < tokens.len() && tokens[end].token == Token::Period {
        end += 2;
    }
    Some(&tokens[at..end])
}

/// Whether a SELECT item has this column as its output.
fn puts_out(item: &[TokenWithSpan], column: &[TokenWithSpan]) -> bool {
    let is_path = item.len() % 2 == 1
        && item.iter().enumerate().all(|(at, token)| match token.token {
            Token::Word(_) => at % 2 == 0,
            Token::Period => at % 2 == 1,
            _ => false,
        });
    let [.., last] = item else { return false };
    let [.., wanted] = column else { return false };
    let named = is_path || item.len() < 2 || is(&item[item.len() - 2], "AS");
    same_name(last, wanted) && if column.len() > 1 { is_path && same_path(item, column) } else { named }
}

fn same_path(item: &[TokenWithSpan], column: &[TokenWithSpan]) -> bool {
    item.len() == column.len() && item.iter().zip(column).all(|(a, b)| a.token == b.token || same_name(a, b))
}

/// Unquoted names fold to lower case.
fn same_name(a: &TokenWithSpan, b: &TokenWithSpan) -> bool {
    let folded = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
        Token::Word(word) => Some(word.value.clone()),
        _ => None,
    };
    folded(a).is_some_and(|name| Some(name) == folded(b))
}
