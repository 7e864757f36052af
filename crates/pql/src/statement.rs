//! One statement: which kind it is, by its first words, and how that kind is read.
//!
//! WHAT MAY NEVER HAPPEN: a panic, or an error without a place.

use evenkeel_model::{Error, did_you_mean};
use nom::Parser;
use sqlparser::ast as sql;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::administration;
use crate::ast::{CursorStatement, Statement, StatementKind};
use crate::copy::copy;
use crate::cursors;
use crate::desugar::desugar;
use crate::keywords::statement_words;
use crate::lex::{Place, lex};
use crate::objects;
use crate::secrets;
use crate::sql::{expected_found, hinted, syntax};
use crate::tokens::{Failure, Parsed, Tokens, begins, closing, is, word};
use crate::users;

/// The statement at a place of a script.
pub(crate) fn statement(place: &Place<'_>) -> Result<Statement, Error> {
    let tokens = lex(place)?;
    if tokens.is_empty() {
        return Err(syntax("expected a statement, but there is none").at(place.statement.clone()));
    }
    let kind = kind(tokens, place)?;
    Ok(Statement { kind, span: place.statement.clone() })
}

/// What SQL begins its statements with, beyond the statements that have a help line.
const OTHER_SQL: &[&str] =
    &["PREPARE", "EXECUTE", "DEALLOCATE", "LISTEN", "UNLISTEN", "NOTIFY", "DISCARD", "CALL", "USE", "LOCK", "COMMENT"];

fn kind(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<StatementKind, Error> {
    let first = word(&tokens[0]).unwrap_or_default().to_ascii_uppercase();
    match first.as_str() {
        "EXPLAIN" => explain(tokens, place),
        "UPSERT" => upsert(tokens, place),
        "INSERT" => sql(objects::rewrite(tokens, place)?, place),
        "CREATE" if creates_table(&tokens) => create_table(tokens, place),
        "CREATE" | "ALTER" | "DROP" if users::is_about_users(&tokens) => read(&tokens, place, users::users),
        "GRANT" | "REVOKE" => read(&tokens, place, users::users),
        "COPY" => copy(&tokens, place).map(StatementKind::Copy),
        "ALTER" if begins(&tokens, &["ALTER", "SYSTEM"]) => read(&tokens, place, administration::alter_system),
        "KILL" => read(&tokens, place, administration::kill),
        "SHOW" => read(&tokens, place, administration::show),
        "DESCRIBE" | "DESC" => read(&tokens, place, administration::describe),
        "LOCATE" => locate(&tokens, place),
        "DECLARE" => declare(tokens, place),
        "FETCH" | "CLOSE" => read(&tokens, place, cursors::fetch_or_close).map(StatementKind::Cursor),
        "VACUUM" | "ANALYZE" => sql(without_maintenance_options(tokens), place),
        "MERGE" if !begins(&tokens, &["MERGE", "INTO"]) => read(&tokens, place, administration::shards),
        "REBALANCE" | "SPLIT" | "MOVE" | "PIN" | "UNPIN" | "ADD" | "REMOVE" | "PAUSE" | "RESUME" | "CANCEL"
        | "WAIT" | "UNDO" | "VERIFY" => read(&tokens, place, administration::shards),
        _ if is_sql(&tokens[0], &first) => sql(tokens, place),
        _ => Err(unknown(&tokens[0], place)),
    }
}

/// VACUUM and ANALYZE without PostgreSQL's options: rows are always rewritten in full, and counts are always exact.
fn without_maintenance_options(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if tokens.get(1).is_some_and(|token| token.token == Token::LParen)
        && let Some(end) = tokens.iter().position(|token| token.token == Token::RParen)
    {
        tokens.drain(1..=end);
    }
    while tokens.len() > 1 && ["FULL", "FREEZE", "VERBOSE", "ANALYZE"].iter().any(|option| is(&tokens[1], option)) {
        tokens.remove(1);
    }
    tokens
}

fn is_sql(first: &TokenWithSpan, word: &str) -> bool {
    first.token == Token::LParen || statement_words().chain(OTHER_SQL.iter().copied()).any(|known| known == word)
}

fn unknown(first: &TokenWithSpan, place: &Place<'_>) -> Error {
    let span = place.of(first);
    let text = &place.script[span.clone()];
    let error = syntax(expected_found("a statement", text));
    let error = match word(first).and_then(|word| did_you_mean(word, statement_words())) {
        Some(meant) => error.with_hint(format!("did you mean {meant}?")),
        None => error.with_hint("a statement begins with a word such as QUERY, SELECT, INSERT, CREATE or SHOW"),
    };
    error.at(span)
}

/// Reads all tokens with a grammar, or says what was expected where it stopped.
pub(crate) fn read<'a, T>(
    tokens: &'a [TokenWithSpan],
    place: &Place<'_>,
    grammar: impl FnOnce(Tokens<'a>) -> Parsed<'a, T>,
) -> Result<T, Error> {
    match grammar(Tokens(tokens)) {
        Ok((Tokens([]), read)) => Ok(read),
        Ok((rest, _)) => Err(stopped(Failure { at: rest, expected: vec!["end of statement"], error: None }, place)),
        Err(nom::Err::Error(failure) | nom::Err::Failure(failure)) => Err(stopped(failure, place)),
        Err(nom::Err::Incomplete(_)) => Err(syntax("the statement is not complete").at(place.statement.clone())),
    }
}

fn stopped(failure: Failure<'_>, place: &Place<'_>) -> Error {
    let end = place.statement.end;
    let span = failure.at.0.first().map_or(end..end, |token| place.of(token));
    if let Some(error) = failure.error {
        return error.at(span);
    }
    let found = match &place.script[span.clone()] {
        _ if secrets::hides(place.script, &span) => "'***'",
        found => found,
    };
    let mut expected = failure.expected;
    expected.dedup();
    let list = match expected.as_slice() {
        [] => "something else".to_string(),
        [only] => (*only).to_string(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    };
    let error = syntax(expected_found(&list, found));
    match did_you_mean(found, expected.iter().copied().filter(|known| known.starts_with(char::is_uppercase))) {
        Some(meant) => error.with_hint(format!("did you mean {meant}?")).at(span),
        None => hinted(error, span, place),
    }
}

/// Anything that sqlparser reads. CREATE TABLE is a kind of its own whichever way it is spelled.
fn sql(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<StatementKind, Error> {
    Ok(match crate::sql::statement(desugar(tokens, place)?, place)? {
        sql::Statement::CreateTable(create) => StatementKind::CreateTable { create: Box::new(create), shard_by: None },
        statement => StatementKind::Sql(Box::new(statement)),
    })
}

fn upsert(mut tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<StatementKind, Error> {
    tokens[0].token = Token::make_word("INSERT", None);
    match sql(objects::rewrite(tokens, place)?, place)? {
        StatementKind::Sql(statement) => match *statement {
            sql::Statement::Insert(sql::Insert { on: Some(_), .. }) => {
                let error = syntax("UPSERT takes no ON CONFLICT")
                    .with_hint("UPSERT replaces the row with the same key by itself");
                Err(error.at(place.statement.clone()))
            }
            sql::Statement::Insert(insert) => Ok(StatementKind::Upsert(Box::new(insert))),
            _ => Err(syntax("UPSERT needs INTO and a table").at(place.statement.clone())),
        },
        _ => Err(syntax("UPSERT needs INTO and a table").at(place.statement.clone())),
    }
}

fn creates_table(tokens: &[TokenWithSpan]) -> bool {
    const BEFORE_TABLE: &[&str] = &["OR", "REPLACE", "TEMP", "TEMPORARY", "UNLOGGED", "GLOBAL", "LOCAL"];
    let words = tokens[1..].iter().take_while(|token| BEFORE_TABLE.iter().any(|known| is(token, known))).count();
    tokens.get(1 + words).is_some_and(|token| is(token, "TABLE"))
}

fn create_table(mut tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<StatementKind, Error> {
    let shard_by = match shard_by(&tokens) {
        Some(at) => {
            let end = (closing(&tokens, at + 2) + 1).min(tokens.len());
            let columns = read(&tokens[at + 2..end], place, administration::names)?;
            if columns.is_empty() {
                return Err(syntax("SHARD BY needs at least one column").at(place.of(&tokens[at])));
            }
            tokens.drain(at..end);
            Some(columns)
        }
        None => None,
    };
    match sql(tokens, place)? {
        StatementKind::CreateTable { create, .. } => Ok(StatementKind::CreateTable { create, shard_by }),
        _ => Err(syntax("CREATE TABLE needs columns or AS").at(place.statement.clone())),
    }
}

/// Where `SHARD BY` stands, outside all brackets.
fn shard_by(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].token == Token::LParen {
            at = closing(tokens, at);
        } else if begins(&tokens[at..], &["SHARD", "BY"]) {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn locate(tokens: &[TokenWithSpan], place: &Place<'_>) -> Result<StatementKind, Error> {
    let (table, key) = read(tokens, place, administration::locate)?;
    let key = crate::sql::expressions(desugar(key.to_vec(), place)?, place)?;
    Ok(StatementKind::Locate { table, key })
}

fn declare(mut tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<StatementKind, Error> {
    let (name, hold, query) = read(&tokens, place, cursors::declare)?;
    let query = tokens.split_off(tokens.len() - query.len());
    let (Some(first), Some(last)) = (query.first(), query.last()) else {
        return Err(syntax(expected_found("a query", "")).at(place.statement.end..place.statement.end));
    };
    let inner = Place { start: first.span.start, statement: place.between(first, last), ..place.clone() };
    let no_query = || syntax("a cursor is for a query").at(inner.statement.clone());
    // Nested as deeply as somebody likes.
    if is(first, "DECLARE") || is(first, "EXPLAIN") {
        return Err(no_query());
    }
    let kind = kind(query, &inner)?;
    if !matches!(&kind, StatementKind::Sql(statement) if matches!(statement.as_ref(), sql::Statement::Query(_))) {
        return Err(no_query());
    }
    let query = Box::new(Statement { kind, span: inner.statement });
    Ok(StatementKind::Cursor(CursorStatement::Declare { name, hold, query }))
}

fn explain(mut tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<StatementKind, Error> {
    if begins(&tokens, &["EXPLAIN", "SHARD"]) {
        return read(&tokens[1..], place, administration::explain_shard);
    }
    let (taken, analyze, verbose) = explain_options(&tokens, place)?;
    let rest = tokens.split_off(taken);
    let (Some(first), Some(last)) = (rest.first(), rest.last()) else {
        let error =
            syntax(expected_found("a statement to explain", "")).with_hint("EXPLAIN QUERY …, or EXPLAIN SHARD n");
        return Err(error.at(place.statement.end..place.statement.end));
    };
    if is(first, "EXPLAIN") {
        return Err(syntax("EXPLAIN can't explain an EXPLAIN").at(place.of(first)));
    }
    let inner = Place { start: first.span.start, statement: place.between(first, last), ..place.clone() };
    let kind = kind(rest, &inner)?;
    let statement = Box::new(Statement { kind, span: inner.statement });
    Ok(StatementKind::Explain { analyze, verbose, statement })
}

/// `ANALYZE VERBOSE` or `(ANALYZE, VERBOSE)`: how many tokens that takes with EXPLAIN, and what it says.
fn explain_options(tokens: &[TokenWithSpan], place: &Place<'_>) -> Result<(usize, bool, bool), Error> {
    let listed = tokens.get(1).is_some_and(|token| token.token == Token::LParen)
        && tokens.get(2).is_some_and(|token| is(token, "ANALYZE") || is(token, "VERBOSE"));
    if !listed {
        let analyze = usize::from(begins(&tokens[1..], &["ANALYZE"]));
        let verbose = usize::from(begins(&tokens[1 + analyze..], &["VERBOSE"]));
        return Ok((1 + analyze + verbose, analyze > 0, verbose > 0));
    }
    let one =
        |input| nom::branch::alt((crate::tokens::keyword("ANALYZE"), crate::tokens::keyword("VERBOSE"))).parse(input);
    let list = |input| nom::multi::separated_list1(crate::tokens::comma, one).parse(input);
    let end = closing(tokens, 1);
    let words = read(&tokens[2..end], place, list)?;
    let says = |known: &str| words.iter().any(|token| is(token, known));
    Ok(((end + 1).min(tokens.len()), says("ANALYZE"), says("VERBOSE")))
}
