//! Pipe operators back into a pipeline, for printing.
//!
//! `SELECT a FROM t WHERE p |> LIMIT 3` becomes `QUERY t WHERE p SELECT a LIMIT 3`. Tokens again: what sqlparser prints is
//! tokenized, each bracket that holds pipes is rewritten, and the printer keeps the result only when it reads back as the
//! statement it came from. So this may guess, and need not know every way in which a guess could be wrong.

use std::collections::BTreeMap;

use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::lex::{Place, advance, lex};
use crate::tokens::{begins, closing, comma_separated, is, made, mark, word};

/// The text with its pipes as pipelines, when there are any.
pub(crate) fn resugar(text: &str) -> Option<String> {
    if !text.contains("|>") && !text.contains("FOR SYSTEM_TIME AS OF") {
        return None;
    }
    let place = Place { script: text, statement: 0..text.len(), start: Location::new(1, 1) };
    let tokens = lex(&place).ok()?;
    let spellings = spellings(&tokens, text);
    let mut groups: Vec<Vec<TokenWithSpan>> = vec![vec![]];
    for token in tokens {
        match token.token {
            Token::LParen => groups.push(vec![token]),
            Token::RParen if groups.len() > 1 => {
                let group = groups.pop()?;
                let outer = groups.last_mut()?;
                outer.push(group[0].clone());
                outer.extend(pipeline(&group[1..]));
                outer.push(token);
            }
            _ => groups.last_mut()?.push(token),
        }
    }
    let whole = groups.pop().filter(|_| groups.is_empty())?;
    Some(spell(&pipeline(&whole), &spellings))
}

/// How locking clauses begin.
const LOCKS: [&[&str]; 2] = [&["FOR", "UPDATE"], &["FOR", "SHARE"]];

/// What stands in a bracket, or outside all of them.
fn pipeline(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let pipes = marks(tokens, 0, |token| token.token == Token::VerticalBarRightAngleBracket);
    let Some(first) = pipes.first().copied() else { return tokens.to_vec() };
    let selects = marks(&tokens[..first], 0, |token| is(token, "SELECT"));
    let Some(start) = selects.last().copied() else { return tokens.to_vec() };
    // Locking clauses stand before the pipes, and behind a pipeline.
    let locks = marks(&tokens[..first], start, |token| is(token, "FOR"));
    let locking =
        locks.iter().copied().find(|at| LOCKS.iter().any(|locks| begins(&tokens[*at..], locks))).unwrap_or(first);
    let Some(mut result) = head(&tokens[start..locking]) else { return tokens.to_vec() };
    let mut ends = pipes[1..].to_vec();
    ends.push(end(tokens, first));
    let mut grouped = false;
    for (pipe, end) in pipes.iter().zip(&ends) {
        let tokens = &tokens[pipe + 1..*end];
        match tokens.split_first() {
            Some((first, rest)) if grouped && is(first, "WHERE") => {
                result.push(made("HAVING", first.span));
                result.extend_from_slice(rest);
            }
            _ => operator(tokens, &mut result),
        }
        grouped = begins(tokens, &["AGGREGATE"]);
    }
    [&tokens[..start], &result, &tokens[locking..first], &tokens[end(tokens, first)..]].concat()
}

/// Where the clauses of an INSERT go on behind the query.
fn end(tokens: &[TokenWithSpan], from: usize) -> usize {
    let returning = |token: &TokenWithSpan| is(token, "RETURNING") || is(token, "CONFLICT");
    let at = marks(tokens, from, returning).first().copied();
    if !begins(tokens, &["INSERT"]) && !begins(tokens, &["UPSERT"]) {
        return tokens.len();
    }
    at.map_or(tokens.len(), |at| if is(&tokens[at], "CONFLICT") { at - 1 } else { at })
}

/// `SELECT items FROM source WHERE … ORDER BY …` as `QUERY source WHERE … SELECT items ORDER BY …`.
fn head(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let from = *marks(tokens, 0, |token| is(token, "FROM")).first()?;
    let clause = |token: &TokenWithSpan| is(token, "WHERE") || is(token, "ORDER") || is(token, "OFFSET");
    if !marks(tokens, from, |token| is(token, "GROUP") || is(token, "HAVING")).is_empty() {
        return None;
    }
    let after_where = marks(tokens, from, |token| clause(token) && !is(token, "WHERE"));
    let split = after_where.first().copied().unwrap_or(tokens.len());
    let mut result = vec![made("QUERY", tokens[0].span)];
    result.extend_from_slice(&tokens[from + 1..split]);
    if !(from == 2 && tokens[1].token == Token::Mul) {
        result.extend_from_slice(&tokens[..from]);
    }
    result.extend_from_slice(&tokens[split..]);
    Some(result)
}

/// One pipe operator in PQL's words.
fn operator(tokens: &[TokenWithSpan], result: &mut Vec<TokenWithSpan>) {
    let Some(first) = tokens.first() else { return };
    let name = word(first).unwrap_or_default().to_ascii_uppercase();
    let word_here = |text: &str| made(text, first.span);
    match name.as_str() {
        "AGGREGATE" => {
            let group = marks(tokens, 0, |token| is(token, "GROUP")).last().copied();
            let end = group.unwrap_or(tokens.len());
            result.extend([word_here("GROUP"), word_here("BY")]);
            match group {
                Some(group) => result.extend_from_slice(&tokens[(group + 2).min(tokens.len())..]),
                None => result.extend([Token::LParen, Token::RParen].map(|token| mark(token, first.span))),
            }
            if end > 1 {
                result.push(word_here("COMPUTE"));
                result.extend(named(&tokens[1..end]));
            }
        }
        "EXTEND" => {
            result.push(word_here("COMPUTE"));
            result.extend(named(&tokens[1..]));
        }
        "INTERSECT" | "EXCEPT" if tokens.get(1).is_some_and(|token| is(token, "DISTINCT")) => {
            result.push(first.clone());
            result.extend_from_slice(&tokens[2..]);
        }
        _ => result.extend_from_slice(tokens),
    }
}

/// `expr AS name` as `name = expr`.
fn named(items: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut result = vec![];
    for item in comma_separated(items) {
        if let Some(previous) = result.last().map(|last: &TokenWithSpan| last.span) {
            result.push(mark(Token::Comma, previous));
        }
        match item {
            [expression @ .., keyword, name] if is(keyword, "AS") && !expression.is_empty() => {
                result.extend([name.clone(), mark(Token::Eq, keyword.span)]);
                result.extend_from_slice(expression);
            }
            _ => result.extend_from_slice(item),
        }
    }
    result
}

/// Indexes, from one on, of the tokens outside brackets that are wanted.
fn marks(tokens: &[TokenWithSpan], from: usize, wanted: impl Fn(&TokenWithSpan) -> bool) -> Vec<usize> {
    let mut found = vec![];
    let mut at = from;
    while at < tokens.len() {
        if tokens[at].token == Token::LParen {
            at = closing(tokens, at);
        } else if wanted(&tokens[at]) {
            found.push(at);
        }
        at += 1;
    }
    found
}

/// The tokens as text: each as it was spelled, with a space where there was one.
fn spell(tokens: &[TokenWithSpan], spellings: &BTreeMap<Location, &str>) -> String {
    let mut result = String::new();
    let mut previous: Option<&TokenWithSpan> = None;
    let mut at = 0;
    while at < tokens.len() {
        if begins(&tokens[at..], &["FOR", "SYSTEM_TIME", "AS", "OF"]) {
            at += 2;
        }
        let token = &tokens[at];
        if previous.is_some_and(|previous| spaced(previous, token)) {
            result.push(' ');
        }
        match (&token.token, spellings.get(&token.span.start)) {
            (Token::Word(word), _) if word.quote_style.is_none() => result.push_str(&word.value),
            (Token::LParen | Token::RParen | Token::Comma | Token::Eq, _) | (_, None) => {
                result.push_str(&token.token.to_string());
            }
            (_, Some(spelling)) => result.push_str(spelling),
        }
        previous = Some(token);
        at += 1;
    }
    result
}

fn spaced(previous: &TokenWithSpan, token: &TokenWithSpan) -> bool {
    let touched = previous.span.end == token.span.start && previous.span != token.span;
    match (&previous.token, &token.token) {
        (_, Token::Comma | Token::RParen) | (Token::LParen, _) => false,
        _ => !touched,
    }
}

/// How each token is spelled, by where it begins. The tokens are in the order of the text.
fn spellings<'a>(tokens: &[TokenWithSpan], text: &'a str) -> BTreeMap<Location, &'a str> {
    let mut result = BTreeMap::new();
    let mut chars = text.char_indices();
    let (mut offset, mut position) = (0, (1, 1));
    let mut seek = |to: Location| {
        while position < (to.line, to.column) {
            let Some((at, ch)) = chars.next() else { break };
            offset = at + ch.len_utf8();
            position = advance(position, ch);
        }
        offset
    };
    for token in tokens {
        let start = seek(token.span.start);
        let end = seek(token.span.end);
        result.insert(token.span.start, &text[start..end]);
    }
    result
}
