//! The grammar of cursors: DECLARE up to its query, FETCH and CLOSE.

use evenkeel_model::{Error, SqlState};
use nom::Parser;
use nom::branch::alt;
use nom::combinator::{cut, map, opt, value};
use nom::multi::many0;
use nom::sequence::preceded;
use sqlparser::ast as sql;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::ast::CursorStatement;
use crate::tokens::*;

const NAME: &str = "the name of a cursor";

/// `DECLARE name [options] CURSOR [WITH HOLD] FOR`: the name, whether it is held, and the tokens of the query.
pub(crate) fn declare(input: Tokens<'_>) -> Parsed<'_, (sql::Ident, bool, &[TokenWithSpan])> {
    let (input, name) = preceded(keyword("DECLARE"), identifier(NAME)).parse(input)?;
    let (input, _) = many0(option).parse(input)?;
    let (input, _) = keyword("CURSOR")(input)?;
    let (input, hold) = alt((
        value(true, keywords(&["WITH", "HOLD", "FOR"])),
        value(false, keywords(&["WITHOUT", "HOLD", "FOR"])),
        value(false, keyword("FOR")),
    ))
    .parse(input)?;
    if input.0.is_empty() {
        return fail(input, "a query");
    }
    Ok((Tokens(&[]), (name, hold, input.0)))
}

/// What a cursor is anyway.
fn option(input: Tokens<'_>) -> Parsed<'_, ()> {
    if input.0.first().is_some_and(|token| is(token, "SCROLL")) {
        let hint = "rows that are needed again are read by another cursor";
        return refuse(input, Error::new(SqlState::FeatureNotSupported, FORWARD_ONLY).with_hint(hint));
    }
    if input.0.first().is_some_and(|token| is(token, "BINARY")) {
        let error = Error::new(SqlState::FeatureNotSupported, "a cursor is not BINARY by itself");
        return refuse(input, error.with_hint("whoever fetches says in which format, as for any other statement"));
    }
    let insensitive = alt((keyword("INSENSITIVE"), keyword("ASENSITIVE")));
    alt((value((), insensitive), preceded(keyword("NO"), cut(value((), keyword("SCROLL")))))).parse(input)
}

const FORWARD_ONLY: &str = "a cursor only goes forward";

/// `FETCH …` and `CLOSE …`.
pub(crate) fn fetch_or_close(input: Tokens<'_>) -> Parsed<'_, CursorStatement> {
    let all = value(None, keyword("ALL"));
    let close = preceded(keyword("CLOSE"), alt((all, map(identifier(NAME), Some))));
    alt((fetch, map(close, CursorStatement::Close))).parse(input)
}

fn fetch(input: Tokens<'_>) -> Parsed<'_, CursorStatement> {
    const OTHER_WAYS: &[&str] = &["PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "BACKWARD"];
    let (input, _) = keyword("FETCH")(input)?;
    let turns = |token: &TokenWithSpan| token.token == Token::Minus || OTHER_WAYS.iter().any(|way| is(token, way));
    // A cursor may have such a name.
    if input.0.len() > 1 && turns(&input.0[0]) {
        let error = Error::new(SqlState::ObjectNotInPrerequisiteState, FORWARD_ONLY);
        return refuse(input, error.with_hint("FETCH n, FETCH NEXT or FETCH ALL"));
    }
    let count = alt((value(None, keyword("ALL")), map(rows, Some)));
    let forward = preceded(keyword("FORWARD"), map(opt(count), |rows| rows.unwrap_or(Some(1))));
    let count = alt((value(None, keyword("ALL")), map(rows, Some)));
    let ways = alt((forward, value(Some(1), keyword("NEXT")), count));
    // A cursor may have the name of a way: it then is the last word.
    let (input, rows) = if input.0.len() > 1 { opt(ways).parse(input)? } else { (input, None) };
    let (input, _) = opt(alt((keyword("FROM"), keyword("IN")))).parse(input)?;
    let (input, name) = identifier(NAME)(input)?;
    Ok((input, CursorStatement::Fetch { name, rows: rows.unwrap_or(Some(1)) }))
}

fn rows(input: Tokens<'_>) -> Parsed<'_, u32> {
    let (rest, rows) = number("a number of rows")(input)?;
    if rows == 0 {
        return refuse(input, crate::sql::syntax("FETCH fetches at least one row"));
    }
    Ok((rest, rows))
}
