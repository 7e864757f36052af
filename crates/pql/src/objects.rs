//! `INSERT INTO t {a: 1, b: 2}` as `INSERT INTO t (a, b) VALUES (1, 2)`.
//!
//! The columns are those of all the objects, in the order in which they first appear; an object that lacks one gets the
//! column's DEFAULT there.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::{Error, SqlState};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

use crate::desugar::after_target;
use crate::lex::Place;
use crate::sql::{expected_found, syntax};
use crate::tokens::{closing, comma_separated, made, mark};

/// How many columns the objects of one INSERT may name, as many as PostgreSQL's tables have.
const COLUMNS_MAX: usize = 1_600;

/// One `key: value`.
struct Field<'a> {
    key: Word,
    /// The key as columns are compared: folded to lower case unless quoted.
    name: String,
    value: &'a [TokenWithSpan],
}

/// Rewrites the object or list of objects that an INSERT may have for rows.
pub(crate) fn rewrite(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<Vec<TokenWithSpan>, Error> {
    let start = after_target(&tokens);
    let Some(first) = tokens.get(start) else { return Ok(tokens) };
    if !matches!(first.token, Token::LBrace | Token::LBracket) {
        return Ok(tokens);
    }
    let end = closing(&tokens, start);
    if end == tokens.len() {
        return Err(syntax(format!("{} is never closed", first.token)).at(place.of(first)));
    }
    let objects = match first.token {
        Token::LBrace => vec![&tokens[start..=end]],
        _ => comma_separated(&tokens[start + 1..end]),
    };
    let rows = objects.into_iter().map(|object| fields(object, first, place)).collect::<Result<Vec<_>, _>>()?;
    let mut result = tokens[..start].to_vec();
    let columns = columns(&rows);
    if columns.len() > COLUMNS_MAX {
        let message = format!("the objects name {} columns, and {COLUMNS_MAX} is the most", columns.len());
        return Err(Error::new(SqlState::ProgramLimitExceeded, message).at(place.of(first)));
    }
    result.extend(values(&columns, &rows, first.span));
    result.extend_from_slice(&tokens[end + 1..]);
    Ok(result)
}

fn fields<'a>(object: &'a [TokenWithSpan], list: &TokenWithSpan, place: &Place<'_>) -> Result<Vec<Field<'a>>, Error> {
    let [open, inner @ .., close] = object else {
        return Err(syntax("expected an object {column: value, …}").at(place.of(object.first().unwrap_or(list))));
    };
    if open.token != Token::LBrace || close.token != Token::RBrace || inner.is_empty() {
        return Err(syntax("expected an object {column: value, …}").at(place.of(open)));
    }
    let mut fields: Vec<Field<'a>> = vec![];
    let mut names = BTreeSet::new();
    for part in comma_separated(inner) {
        let field = field(part, close, place)?;
        if !names.insert(field.name.clone()) {
            let message = format!("column {} is given twice", field.key);
            return Err(Error::new(SqlState::DuplicateColumn, message).at(place.of(&part[0])));
        }
        fields.push(field);
    }
    Ok(fields)
}

fn field<'a>(part: &'a [TokenWithSpan], close: &TokenWithSpan, place: &Place<'_>) -> Result<Field<'a>, Error> {
    let expected = |what: &str, at: &TokenWithSpan| {
        let span = place.of(at);
        Err(syntax(expected_found(what, &place.script[span.clone()])).with_hint("{column: value, …}").at(span))
    };
    let key = match part.first().map(|token| &token.token) {
        Some(Token::Word(word)) => word.clone(),
        Some(Token::SingleQuotedString(name)) => {
            Word { value: name.clone(), quote_style: Some('"'), keyword: sqlparser::keywords::Keyword::NoKeyword }
        }
        _ => return expected("a column's name", part.first().unwrap_or(close)),
    };
    match &part[1..] {
        [colon, value @ ..] if colon.token == Token::Colon && !value.is_empty() => match value[0].token {
            Token::LBrace => expected("a value (objects do not nest; write JSON as a string)", &value[0]),
            _ => Ok(Field { name: folded(&key), key, value }),
        },
        [colon] if colon.token == Token::Colon => expected("a value", close),
        rest => expected(":", rest.first().unwrap_or(close)),
    }
}

fn folded(word: &Word) -> String {
    if word.quote_style.is_none() { word.value.to_lowercase() } else { word.value.clone() }
}

/// The columns of all the rows, in the order in which they first appear.
fn columns<'f, 'a>(rows: &'f [Vec<Field<'a>>]) -> Vec<&'f Field<'a>> {
    let mut seen = BTreeSet::new();
    rows.iter().flatten().filter(|field| seen.insert(field.name.as_str())).collect()
}

fn values(columns: &[&Field<'_>], rows: &[Vec<Field<'_>>], span: Span) -> Vec<TokenWithSpan> {
    let mut result = vec![mark(Token::LParen, span)];
    for (at, column) in columns.iter().enumerate() {
        separate(&mut result, at, span);
        result.push(mark(Token::Word(column.key.clone()), span));
    }
    result.extend([mark(Token::RParen, span), made("VALUES", span)]);
    for (at, row) in rows.iter().enumerate() {
        separate(&mut result, at, span);
        result.push(mark(Token::LParen, span));
        let given: BTreeMap<&str, &[TokenWithSpan]> =
            row.iter().map(|field| (field.name.as_str(), field.value)).collect();
        for (at, column) in columns.iter().enumerate() {
            separate(&mut result, at, span);
            match given.get(column.name.as_str()) {
                Some(value) => result.extend_from_slice(value),
                None => result.push(made("DEFAULT", span)),
            }
        }
        result.push(mark(Token::RParen, span));
    }
    result
}

fn separate(result: &mut Vec<TokenWithSpan>, at: usize, span: Span) {
    if at > 0 {
        result.push(mark(Token::Comma, span));
    }
}
