//! What may stand in a FROM and SQL does not know: files as tables, and tables as they were.
//!
//! `'flights.parquet'` becomes the name `"flights.parquet"`; `t AS OF '…'` becomes `t FOR SYSTEM_TIME AS OF '…'`. A table
//! may still be called `of`: `FROM t AS of` is an alias unless something follows that can be a time.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::tokens::{begins, closing, is, made, word};

/// Words that end a FROM clause.
const ENDS_FROM: &[&str] = &[
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "WINDOW",
    "RETURNING",
    "SET",
    "SELECT",
    "FETCH",
];

/// Words after `AS of` that show `of` to be an alias.
const AFTER_ALIAS: &[&str] =
    &["JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "SEMI", "ANTI", "NATURAL", "ON", "USING", "FOR", "QUALIFY"];

/// Rewrites the sources in the FROM clauses of a query or data statement; its brackets are done already.
pub(crate) fn rewrite_query(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let interesting = |token: &TokenWithSpan| is(token, "FROM") || is(token, "JOIN");
    if !tokens.iter().any(interesting) || begins(&tokens, &["COPY"]) {
        return tokens;
    }
    rewrite(tokens, false)
}

/// Rewrites what follows a FROM.
pub(crate) fn rewrite_from(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    rewrite(tokens, true)
}

/// Rewrites a join with its keywords.
pub(crate) fn rewrite_from_join(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    rewrite(tokens, false)
}

fn rewrite(tokens: Vec<TokenWithSpan>, starts_in_from: bool) -> Vec<TokenWithSpan> {
    let mut result = Vec::with_capacity(tokens.len() + 8);
    let (mut in_from, mut at_source, mut is_query) = (starts_in_from, starts_in_from, starts_in_from);
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        if at_source {
            at_source = false;
            at = source(&tokens, at, &mut result);
            continue;
        }
        match &token.token {
            Token::LParen => {
                let end = closing(&tokens, at).min(tokens.len() - 1);
                result.extend_from_slice(&tokens[at..end]);
                at = end;
            }
            Token::Comma => at_source = in_from,
            Token::VerticalBarRightAngleBracket => in_from = false,
            _ => {}
        }
        let token = &tokens[at];
        let from = is(token, "FROM") && is_query && !(at > 0 && is(&tokens[at - 1], "DISTINCT"));
        if from || is(token, "JOIN") {
            (in_from, at_source) = (true, true);
        } else if word(token).is_some_and(|word| ENDS_FROM.iter().any(|end| end.eq_ignore_ascii_case(word))) {
            in_from = false;
            is_query = is_query || is(token, "SELECT") || is(token, "SET");
        }
        result.push(token.clone());
        at += 1;
    }
    result
}

/// Rewrites one source at `at`, and answers where it ends.
fn source(tokens: &[TokenWithSpan], mut at: usize, result: &mut Vec<TokenWithSpan>) -> usize {
    if is(&tokens[at], "LATERAL") || is(&tokens[at], "ONLY") {
        result.push(tokens[at].clone());
        return at + 1;
    }
    match &tokens[at].token {
        Token::SingleQuotedString(path) => {
            result.push(TokenWithSpan::new(Token::make_word(path.as_str(), Some('"')), tokens[at].span));
            at += 1;
        }
        Token::Word(_) => {
            let start = at;
            at += 1;
            while at + 1 < tokens.len() && tokens[at].token == Token::Period {
                at += 2;
            }
            result.extend_from_slice(&tokens[start..at]);
        }
        _ => return push_one(tokens, at, result),
    }
    let alias = alias(tokens, at);
    let Some(time) = time(tokens, at + alias) else { return at };
    let span = tokens[at + alias].span;
    let end = end_of_time(tokens, time);
    result.extend(["FOR", "SYSTEM_TIME", "AS", "OF"].map(|keyword| made(keyword, span)));
    result.extend_from_slice(&tokens[time..end]);
    result.extend_from_slice(&tokens[at..at + alias]);
    end
}

/// How many tokens at `at` are an alias with a time behind it; sqlparser wants the time first.
fn alias(tokens: &[TokenWithSpan], at: usize) -> usize {
    let explicit = tokens.get(at).is_some_and(|token| is(token, "AS")) && time(tokens, at).is_none();
    let name = at + usize::from(explicit);
    if !tokens
        .get(name)
        .is_some_and(|token| matches!(token.token, Token::Word(_)) && !is(token, "AS") && !ends_source(token))
    {
        return 0;
    }
    let columns = tokens.get(name + 1).is_some_and(|token| token.token == Token::LParen);
    let end = if columns { closing(tokens, name + 1) + 1 } else { name + 1 };
    if time(tokens, end).is_some() { end - at } else { 0 }
}

/// Where the time of `AS OF time` or `FOR SYSTEM_TIME AS OF time` begins.
fn time(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let rest = tokens.get(at..)?;
    let long = usize::from(begins(rest, &["FOR", "SYSTEM_TIME"])) * 2;
    let found = begins(&rest[long..], &["AS", "OF"]) && rest.get(long + 2).is_some_and(may_be_time);
    found.then_some(at + long + 2)
}

fn end_of_time(tokens: &[TokenWithSpan], mut at: usize) -> usize {
    while at < tokens.len() {
        match &tokens[at].token {
            Token::LParen => at = closing(tokens, at),
            Token::Comma | Token::RParen | Token::VerticalBarRightAngleBracket => return at,
            Token::Word(_) if is(&tokens[at], "AS") || ends_source(&tokens[at]) => return at,
            _ => {}
        }
        at += 1;
    }
    tokens.len()
}

/// Whether a token can't belong to a source with its alias and time.
fn ends_source(token: &TokenWithSpan) -> bool {
    let ends = |word: &str| ENDS_FROM.iter().chain(AFTER_ALIAS).any(|known| known.eq_ignore_ascii_case(word));
    word(token).is_some_and(ends)
}

/// What is no name is copied as it is; a bracket together with what it holds.
fn push_one(tokens: &[TokenWithSpan], at: usize, result: &mut Vec<TokenWithSpan>) -> usize {
    let end = if tokens[at].token == Token::LParen { closing(tokens, at).min(tokens.len() - 1) } else { at };
    result.extend_from_slice(&tokens[at..=end]);
    end + 1
}

fn may_be_time(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::SingleQuotedString(_) | Token::Number(..) | Token::Placeholder(_) | Token::LParen => true,
        Token::Word(_) => !ends_source(token),
        _ => false,
    }
}
