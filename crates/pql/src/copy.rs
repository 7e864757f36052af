//! `COPY t FROM 'file'`, `COPY (QUERY …) TO 'file'`, with options in any of the three ways that people write them.
//!
//! ```text
//! WITH (format csv, header true)      (FORMAT csv, HEADER)      CSV HEADER DELIMITER ';'
//! ```

use evenkeel_model::Error;
use nom::Parser;
use nom::branch::alt;
use nom::combinator::{cut, map, opt, value};
use nom::multi::many0;
use nom::sequence::{delimited, preceded};
use sqlparser::ast as sql;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::administration::{bracketed, literal, names};
use crate::ast::{Assignment, Copy, CopyDirection, CopyEndpoint, CopySource};
use crate::desugar::desugar;
use crate::lex::Place;
use crate::statement::read;
use crate::tokens::*;

/// What stands between COPY and its direction.
enum Source<'a> {
    Table(sql::ObjectName, Vec<sql::Ident>),
    Query(&'a [TokenWithSpan]),
}

/// A COPY statement.
pub(crate) fn copy(tokens: &[TokenWithSpan], place: &Place<'_>) -> Result<Copy, Error> {
    let (source, direction, endpoint, options) = read(tokens, place, statement)?;
    let source = match source {
        Source::Table(name, columns) => CopySource::Table { name, columns },
        Source::Query(query) => {
            let wrapped =
                [&[mark(Token::LParen, Span::empty())], query, &[mark(Token::RParen, Span::empty())]].concat();
            let mut tokens = desugar(wrapped, place)?;
            tokens.remove(0);
            tokens.pop();
            CopySource::Query(crate::sql::query(tokens, place)?)
        }
    };
    if direction == CopyDirection::From && matches!(source, CopySource::Query(_)) {
        let error = crate::sql::syntax("a query can't be copied into")
            .with_hint("COPY (QUERY …) TO 'file', or COPY t FROM 'file'");
        return Err(error.at(place.of(&tokens[0])));
    }
    Ok(Copy { source, direction, endpoint, options })
}

type Statement<'a> = (Source<'a>, CopyDirection, CopyEndpoint, Vec<Assignment>);

fn statement(input: Tokens<'_>) -> Parsed<'_, Statement<'_>> {
    let table =
        (object_name("a table"), opt(names)).map(|(name, columns)| Source::Table(name, columns.unwrap_or_default()));
    let (input, source) = preceded(keyword("COPY"), alt((map(bracketed, Source::Query), table))).parse(input)?;
    let file = || map(string("a file in quotes"), CopyEndpoint::File);
    let from = preceded(keyword("FROM"), alt((file(), value(CopyEndpoint::Stdin, keyword("STDIN")))));
    let to = preceded(keyword("TO"), alt((file(), value(CopyEndpoint::Stdout, keyword("STDOUT")))));
    let (input, (direction, endpoint)) =
        alt((map(from, |end| (CopyDirection::From, end)), map(to, |end| (CopyDirection::To, end)))).parse(input)?;
    let (input, _) = opt(keyword("WITH")).parse(input)?;
    let (input, options) = alt((listed_options, legacy_options)).parse(input)?;
    Ok((input, (source, direction, endpoint, options)))
}

/// `(format csv, header, null 'NA')`
fn listed_options(input: Tokens<'_>) -> Parsed<'_, Vec<Assignment>> {
    delimited(symbol(Token::LParen, "("), cut(list(option)), cut(symbol(Token::RParen, ")"))).parse(input)
}

fn option(input: Tokens<'_>) -> Parsed<'_, Assignment> {
    let (input, mut name) = identifier("an option")(input)?;
    name.value = name.value.to_lowercase();
    name.quote_style = None;
    let (input, _) = opt(symbol(Token::Eq, "=")).parse(input)?;
    let (input, value) = opt(literal).parse(input)?;
    let span = name.span;
    Ok((input, Assignment { name, value: value.unwrap_or_else(|| yes(span)) }))
}

/// PostgreSQL's spelling before version 9: `CSV HEADER DELIMITER AS ';'`
fn legacy_options(input: Tokens<'_>) -> Parsed<'_, Vec<Assignment>> {
    let named = |name: &'static str| {
        let text = preceded(opt(keyword("AS")), string("a string"));
        map((keyword(name), text), move |(word, text)| {
            set(name, sql::Expr::Value(sql::Value::SingleQuotedString(text).with_span(word.span)), word.span)
        })
    };
    let format = |name: &'static str| {
        map(keyword(name), move |word: &TokenWithSpan| {
            let ident = sql::Ident::with_span(word.span, name.to_lowercase());
            set("format", sql::Expr::Identifier(ident), word.span)
        })
    };
    let header = map(keyword("HEADER"), |word| set("header", yes(word.span), word.span));
    let values = alt((named("DELIMITER"), named("NULL"), named("QUOTE"), named("ESCAPE"), named("ENCODING")));
    many0(alt((format("CSV"), format("TEXT"), format("BINARY"), header, values))).parse(input)
}

fn set(name: &str, value: sql::Expr, span: Span) -> Assignment {
    Assignment { name: sql::Ident::with_span(span, name.to_lowercase()), value }
}

fn yes(span: Span) -> sql::Expr {
    sql::Expr::Value(sql::Value::Boolean(true).with_span(span))
}
