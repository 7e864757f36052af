//! Locking clauses, as sqlparser reads them.
//!
//! ```text
//! FOR NO KEY UPDATE                   FOR UPDATE
//! FOR KEY SHARE                       FOR SHARE
//! FOR UPDATE OF a, b NOWAIT           FOR UPDATE OF a NOWAIT FOR UPDATE OF b NOWAIT
//! SELECT … FOR UPDATE LIMIT 1         SELECT … LIMIT 1 FOR UPDATE
//! QUERY t WHERE … FOR UPDATE          SELECT * FROM t FOR UPDATE |> WHERE …
//! ```

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::tokens::{begins, is, made};

/// Strengths, as they are written; sqlparser knows the first and the last word of each.
const STRENGTHS: &[&[&str]] =
    &[&["FOR", "UPDATE"], &["FOR", "NO", "KEY", "UPDATE"], &["FOR", "SHARE"], &["FOR", "KEY", "SHARE"]];

/// What PostgreSQL takes behind a locking clause.
const FOLLOWS: &[&str] = &["FOR", "LIMIT", "OFFSET", "FETCH", "ORDER"];

/// The clauses of a query that is a statement, and the query without them.
pub(crate) fn cut(tokens: Vec<TokenWithSpan>) -> (Vec<TokenWithSpan>, Vec<TokenWithSpan>) {
    let queries = ["SELECT", "QUERY", "WITH"].iter().any(|first| begins(&tokens, &[first]));
    if !queries || !tokens.iter().any(|token| is(token, "FOR")) {
        return (tokens, vec![]);
    }
    let (mut query, mut clauses) = (Vec::with_capacity(tokens.len()), vec![]);
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(token) = tokens.get(at) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth == 0 => {
                if let Some(length) = clause(&tokens[at..], &mut clauses) {
                    at += length;
                    continue;
                }
            }
            _ => {}
        }
        query.push(token.clone());
        at += 1;
    }
    (query, clauses)
}

/// Puts the clauses back where sqlparser expects them: before the first pipe.
pub(crate) fn put_back(mut query: Vec<TokenWithSpan>, clauses: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut depth = 0_usize;
    let pipe = query.iter().position(|token| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.token == Token::VerticalBarRightAngleBracket
    });
    let at = pipe.unwrap_or(query.len());
    query.splice(at..at, clauses);
    query
}

/// Appends the clause that the tokens begin with, if they do; says how many there were.
fn clause(tokens: &[TokenWithSpan], clauses: &mut Vec<TokenWithSpan>) -> Option<usize> {
    let strength = STRENGTHS.iter().find(|strength| begins(tokens, strength))?;
    let (first, last) = (&tokens[0], &tokens[strength.len() - 1]);
    let mut at = strength.len();
    let mut names: Vec<&[TokenWithSpan]> = vec![];
    if tokens.get(at).is_some_and(|token| is(token, "OF")) {
        loop {
            let start = at + 1;
            let ends = |token: &TokenWithSpan| !matches!(token.token, Token::Word(_) | Token::Period);
            let mut end = start + 1;
            while tokens.get(end).is_some_and(|token| token.token == Token::Period) {
                end += 2;
            }
            let name = tokens.get(start..end).filter(|name| !name.iter().any(ends))?;
            names.push(name);
            at = end;
            if tokens.get(at).is_none_or(|token| token.token != Token::Comma) {
                break;
            }
        }
    }
    let patience: &[&str] = match &tokens[at..] {
        rest if begins(rest, &["NOWAIT"]) => &["NOWAIT"],
        rest if begins(rest, &["SKIP", "LOCKED"]) => &["SKIP", "LOCKED"],
        _ => &[],
    };
    let rest = at..at + patience.len();
    // What is not a clause to its end is sqlparser's to complain about, where it stands.
    if tokens.get(rest.end).is_some_and(|next| !FOLLOWS.iter().any(|known| is(next, known))) {
        return None;
    }
    let mut one = |name: &[TokenWithSpan]| {
        clauses.extend([first.clone(), last.clone()]);
        if !name.is_empty() {
            clauses.push(made("OF", first.span));
            clauses.extend_from_slice(name);
        }
        clauses.extend_from_slice(&tokens[rest.clone()]);
    };
    match names.as_slice() {
        [] => one(&[]),
        names => names.iter().for_each(|name| one(name)),
    }
    Some(rest.end)
}
