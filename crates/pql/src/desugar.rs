//! PQL's own spellings rewritten, token by token, into what sqlparser reads.
//!
//! A pipeline may stand wherever SQL takes a query, so brackets are visited from the inside out: when a bracket closes, what
//! it holds is rewritten as a whole and becomes a part of the bracket around it. Nothing here recurses, each token is
//! copied once per bracket around it, and every token, also a made-up one, keeps the place of the user's text it stands for.
//!
//! ```text
//! QUERY t WHERE a > 1 SELECT b        SELECT * FROM t |> WHERE a > 1 |> SELECT b
//! FROM t AS OF '2026-01-01'           FROM t FOR SYSTEM_TIME AS OF '2026-01-01'
//! FROM 'flights.parquet'              FROM "flights.parquet"
//! ```

use evenkeel_model::Error;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lex::Place;
use crate::locking;
use crate::pipeline;
use crate::sources;
use crate::tokens::{begins, closing, is, word};

/// A statement's tokens as sqlparser reads them.
pub(crate) fn desugar(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<Vec<TokenWithSpan>, Error> {
    let columns = column_list(&tokens);
    let mut groups: Vec<Vec<TokenWithSpan>> = vec![Vec::with_capacity(tokens.len())];
    let mut column_depth = None;
    for (at, token) in tokens.into_iter().enumerate() {
        if token.token == Token::LParen {
            if columns == Some(at) {
                column_depth = Some(groups.len());
            }
            append(&mut groups, token);
            groups.push(vec![]);
        } else if token.token == Token::RParen && groups.len() > 1 {
            let group = groups.pop().unwrap_or_default();
            let finished = if column_depth == Some(groups.len()) {
                column_depth = None;
                group
            } else {
                query_group(group, place)?
            };
            extend(&mut groups, finished);
            append(&mut groups, token);
        } else {
            append(&mut groups, token);
        }
    }
    // A bracket that never closes is sqlparser's to complain about.
    let unfinished = groups.split_off(1).into_iter().flatten();
    let mut outermost = groups.pop().unwrap_or_default();
    outermost.extend(unfinished);
    statement_group(outermost, place)
}

fn append(groups: &mut [Vec<TokenWithSpan>], token: TokenWithSpan) {
    if let Some(group) = groups.last_mut() {
        group.push(token);
    }
}

fn extend(groups: &mut [Vec<TokenWithSpan>], tokens: Vec<TokenWithSpan>) {
    if let Some(group) = groups.last_mut() {
        group.extend(tokens);
    }
}

/// The bracket with the columns of a CREATE TABLE, where `query` may be a column's name.
fn column_list(tokens: &[TokenWithSpan]) -> Option<usize> {
    let open = tokens.iter().position(|token| token.token == Token::LParen)?;
    let head = &tokens[..open];
    let creates = begins(tokens, &["CREATE"]) && head.iter().any(|token| is(token, "TABLE"));
    (creates && !head.iter().any(|token| is(token, "AS"))).then_some(open)
}

/// What stands in a bracket: a pipeline, a query with a pipeline behind its WITH, or anything else.
fn query_group(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<Vec<TokenWithSpan>, Error> {
    if looks_like_pipeline(&tokens) {
        return pipeline_at(tokens, 0, place);
    }
    match after_with(&tokens) {
        Some(start) => pipeline_at(tokens, start, place),
        None => Ok(sources::rewrite_query(tokens)),
    }
}

/// The tokens outside all brackets.
fn statement_group(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<Vec<TokenWithSpan>, Error> {
    let (tokens, clauses) = locking::cut(tokens);
    let body = body_of_statement(&tokens);
    let start = if tokens.get(body).is_some_and(|token| is(token, "QUERY")) {
        Some(body)
    } else {
        after_with(&tokens[body..]).map(|start| body + start)
    };
    let query = match start {
        Some(start) => pipeline_at(tokens, start, place)?,
        None => sources::rewrite_query(tokens),
    };
    Ok(locking::put_back(query, clauses))
}

/// Rewrites the pipeline from `start` on; INSERT's own clauses may follow it.
fn pipeline_at(mut tokens: Vec<TokenWithSpan>, start: usize, place: &Place<'_>) -> Result<Vec<TokenWithSpan>, Error> {
    let inserts = begins(&tokens, &["INSERT"]);
    let mut written = tokens.split_off(start);
    let end = if inserts { end_of_source(&written) } else { written.len() };
    let rest = written.split_off(end);
    tokens.extend(pipeline::rewrite(written, place)?);
    tokens.extend(rest);
    Ok(tokens)
}

/// Where ON CONFLICT or RETURNING begins.
fn end_of_source(tokens: &[TokenWithSpan]) -> usize {
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].token == Token::LParen {
            at = closing(tokens, at);
        } else if is(&tokens[at], "RETURNING") || begins(&tokens[at..], &["ON", "CONFLICT"]) {
            return at;
        }
        at += 1;
    }
    tokens.len()
}

/// Where the query of a statement begins: after the target of an INSERT, after the AS of a CREATE or PREPARE.
fn body_of_statement(tokens: &[TokenWithSpan]) -> usize {
    if begins(tokens, &["INSERT", "INTO"]) {
        return after_target(tokens);
    }
    if begins(tokens, &["CREATE"]) || begins(tokens, &["PREPARE"]) {
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                token if token.token == Token::LParen => at = closing(tokens, at),
                token if is(token, "AS") => return at + 1,
                _ => {}
            }
            at += 1;
        }
    }
    0
}

/// Where an INSERT's rows begin: after `INTO name [AS alias] [(columns)]`.
pub(crate) fn after_target(tokens: &[TokenWithSpan]) -> usize {
    let mut at = 3;
    while tokens.get(at).is_some_and(|token| token.token == Token::Period) {
        at += 2;
    }
    if tokens.get(at).is_some_and(|token| is(token, "AS")) {
        at += 2;
    }
    let queries = tokens.get(at + 1).is_some_and(starts_query);
    if tokens.get(at).is_some_and(|token| token.token == Token::LParen) && !queries {
        at = closing(tokens, at) + 1;
    }
    at.min(tokens.len())
}

/// Where the query behind `WITH name AS (…), …` begins, when that is a pipeline.
fn after_with(tokens: &[TokenWithSpan]) -> Option<usize> {
    if !begins(tokens, &["WITH"]) {
        return None;
    }
    let is_open = |at: usize| tokens.get(at).is_some_and(|token| token.token == Token::LParen);
    let mut at = if begins(&tokens[1..], &["RECURSIVE"]) { 2 } else { 1 };
    loop {
        at += 1;
        if is_open(at) {
            at = closing(tokens, at) + 1;
        }
        while tokens.get(at).is_some_and(|token| ["AS", "NOT", "MATERIALIZED"].iter().any(|known| is(token, known))) {
            at += 1;
        }
        if !is_open(at) {
            return None;
        }
        at = closing(tokens, at) + 1;
        match tokens.get(at) {
            Some(TokenWithSpan { token: Token::Comma, .. }) => at += 1,
            Some(token) if is(token, "QUERY") => return Some(at),
            _ => return None,
        }
    }
}

/// Whether a query may begin with this token, pipelines in brackets being rewritten already.
pub(crate) fn starts_query(token: &TokenWithSpan) -> bool {
    token.token == Token::LParen || ["SELECT", "WITH", "VALUES", "TABLE", "QUERY"].iter().any(|first| is(token, first))
}

/// Words that go on with an expression, so that the word before them is a column that happens to be named `query`.
const CONTINUES: &[&str] = &[
    "AND", "AS", "ASC", "AT", "BETWEEN", "COLLATE", "DESC", "DISTINCT", "ESCAPE", "FOR", "FROM", "ILIKE", "IGNORE",
    "IN", "IS", "ISNULL", "LIKE", "NOT", "NOTNULL", "NULLS", "OPERATOR", "OR", "ORDER", "OVERLAPS", "REGEXP",
    "RESPECT", "RLIKE", "SIMILAR", "USING", "XOR", "LIMIT", "PLACING",
];

/// Whether what stands in a bracket is a pipeline: QUERY, and then something to query.
fn looks_like_pipeline(tokens: &[TokenWithSpan]) -> bool {
    if !begins(tokens, &["QUERY"]) {
        return false;
    }
    match tokens.get(1) {
        Some(next) => match &next.token {
            Token::SingleQuotedString(_) => true,
            Token::LParen => tokens.get(2).is_some_and(starts_query),
            Token::Word(_) => {
                !word(next).is_some_and(|word| CONTINUES.iter().any(|known| known.eq_ignore_ascii_case(word)))
            }
            _ => false,
        },
        None => false,
    }
}
