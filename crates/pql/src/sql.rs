//! sqlparser, called on tokens, and its complaints put into the user's words.
//!
//! Everything that is SQL is read here: statements, queries, expressions. A complaint names the text that stands at the
//! place, not the token that desugaring may have put there, and a word near the place that is nearly a keyword is pointed at.

use std::ops::ControlFlow;

use evenkeel_model::{Error, Span, SqlState, did_you_mean};
use sqlparser::ast as sql;
use sqlparser::ast::{VisitMut, VisitorMut};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::dialect::PqlDialect;
use crate::keywords;
use crate::lex::{DEPTH_MAX, Place, too_deep};
use crate::scan::Kind;
use crate::tokens::{closing, is};

/// How deep sqlparser may recurse: several steps for each bracket that the lexer lets through.
const RECURSION_MAX: usize = 400;

/// A syntax error without a place.
pub(crate) fn syntax(message: impl Into<String>) -> Error {
    Error::new(SqlState::SyntaxError, message)
}

/// One SQL statement.
pub(crate) fn statement(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<sql::Statement, Error> {
    whole(tokens, place, |parser| parser.parse_statement())
}

/// One query.
pub(crate) fn query(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<Box<sql::Query>, Error> {
    whole(tokens, place, |parser| parser.parse_query())
}

/// One expression.
pub(crate) fn expression(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<sql::Expr, Error> {
    whole(tokens, place, |parser| parser.parse_expr())
}

/// Expressions between commas.
pub(crate) fn expressions(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<Vec<sql::Expr>, Error> {
    whole(tokens, place, |parser| parser.parse_comma_separated(|parser| parser.parse_expr()))
}

fn whole<'d, T: VisitMut>(
    tokens: Vec<TokenWithSpan>,
    place: &Place<'_>,
    read: impl FnOnce(&mut Parser<'d>) -> Result<T, ParserError>,
) -> Result<T, Error> {
    check_inner(&tokens, place)?;
    // What touches its name is a parameter by now. sqlparser would join the others to theirs over a space.
    if let Some(at) = tokens.iter().find(|token| token.token == Token::AtSign) {
        return Err(syntax("@ stands right before the name of a parameter").at(place.of(at)));
    }
    let signs = tokens.windows(2).any(|pair| pair.iter().all(|token| token.token == Token::Minus));
    let parser = Parser::new(&PqlDialect).with_recursion_limit(RECURSION_MAX);
    let mut parser = parser.with_tokens_with_locations(tokens);
    let mut result = read(&mut parser).map_err(|error| inner_complaint(error, &parser, place))?;
    if signs {
        let ControlFlow::Continue(()) = result.visit(&mut Signs);
    }
    match parser.peek_token_ref() {
        TokenWithSpan { token: Token::EOF, .. } => Ok(result),
        next => Err(unexpected("end of statement", next.span.start, place)),
    }
}

/// How many queries may stand inside each other before they are checked one by one.
const UNCHECKED_DEPTH: usize = 4;

/// sqlparser reads a bracket in FROM again when it was no query, and what is in it again at each level: a mistake in the
/// innermost of thirty queries would be found a billion times. So deep ones are read from the inside out; once all the
/// inner ones are right, nothing is read twice.
fn check_inner(tokens: &[TokenWithSpan], place: &Place<'_>) -> Result<(), Error> {
    // For each open bracket: where it is when it holds a query, and how deep queries stand in it.
    let mut open: Vec<(Option<usize>, usize)> = vec![];
    let mut queries = vec![];
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => {
                let holds =
                    tokens.get(at + 1).is_some_and(|next| ["SELECT", "WITH"].iter().any(|first| is(next, first)));
                open.push((holds.then_some(at), 0));
            }
            Token::RParen => {
                let Some((start, inside)) = open.pop() else { break };
                let depth = inside + usize::from(start.is_some());
                queries.extend(start.map(|start| (start, at, depth)));
                if let Some((_, outer)) = open.last_mut() {
                    *outer = depth.max(*outer);
                }
            }
            _ => {}
        }
    }
    let unclosed: Vec<usize> = open.iter().filter_map(|(start, _)| *start).collect();
    if let Some(last) = unclosed.last().filter(|_| unclosed.len() >= UNCHECKED_DEPTH) {
        return Err(syntax("( is never closed").at(place.of(&tokens[*last])));
    }
    if queries.iter().all(|(_, _, depth)| *depth < UNCHECKED_DEPTH) {
        return Ok(());
    }
    for (start, end, _) in queries {
        let parser = Parser::new(&PqlDialect).with_recursion_limit(RECURSION_MAX);
        let mut parser = parser.with_tokens_with_locations(tokens[start + 1..=end].to_vec());
        parser.parse_query().map_err(|error| complaint(error, &parser, place))?;
    }
    Ok(())
}

/// `- -1` as `-(-1)`, because it would be printed as the comment `--1`.
struct Signs;

impl VisitorMut for Signs {
    type Break = std::convert::Infallible;

    fn post_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<Self::Break> {
        if let sql::Expr::UnaryOp { op: sql::UnaryOperator::Minus, expr: inner } = expr
            && matches!(**inner, sql::Expr::UnaryOp { op: sql::UnaryOperator::Minus, .. })
        {
            let negative = std::mem::replace(&mut **inner, sql::Expr::Value(sql::Value::Null.into()));
            **inner = sql::Expr::Nested(Box::new(negative));
        }
        ControlFlow::Continue(())
    }
}

/// sqlparser tries a bracket in FROM as a query and then as a join, and complains about the join. When the bracket
/// around the place holds a query, that query's own complaint is the one that helps.
fn inner_complaint(error: ParserError, parser: &Parser<'_>, place: &Place<'_>) -> Error {
    let located = match &error {
        ParserError::ParserError(message) => cut_location(message).1,
        _ => None,
    };
    let tokens: Vec<_> = (0..).map(|at| parser.token_at(at)).take_while(|token| token.token != Token::EOF).collect();
    let at = tokens.iter().position(|token| Some(token.span.start) == located).unwrap_or(0);
    let mut depth = 0_usize;
    for open in (0..at).rev() {
        match tokens[open].token {
            Token::RParen => depth += 1,
            Token::LParen if depth > 0 => depth -= 1,
            Token::LParen if ["SELECT", "WITH"].iter().any(|first| is(tokens[open + 1], first)) => {
                // With its closing bracket, so that the complaint can say that it found that.
                let tokens: Vec<_> = tokens.into_iter().cloned().collect();
                let end = (closing(&tokens, open) + 1).min(tokens.len());
                let inner = Parser::new(&PqlDialect).with_recursion_limit(RECURSION_MAX);
                let mut inner = inner.with_tokens_with_locations(tokens[open + 1..end].to_vec());
                return match inner.parse_query() {
                    Ok(_) => complaint(error, parser, place),
                    Err(error) => inner_complaint(error, &inner, place),
                };
            }
            Token::LParen => break,
            _ => {}
        }
    }
    complaint(error, parser, place)
}

fn complaint(error: ParserError, parser: &Parser<'_>, place: &Place<'_>) -> Error {
    let message = match error {
        ParserError::RecursionLimitExceeded => return too_deep(DEPTH_MAX).at(place.statement.clone()),
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
    };
    let (message, location) = cut_location(&message);
    let expected = message.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: "));
    let location = location.unwrap_or_else(|| match expected {
        Some((_, "EOF")) => Location::empty(),
        _ => parser.peek_token_ref().span.start,
    });
    match expected {
        Some((expected, _)) => unexpected(expected, location, place),
        None => hinted(syntax(sentence(message)), place.at(location), place),
    }
}

/// Splits "… at Line: 3, Column: 7" into the message and the place.
fn cut_location(message: &str) -> (&str, Option<Location>) {
    let parsed = message.rsplit_once(" at Line: ").and_then(|(head, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((head, Location::new(line.parse().ok()?, column.parse().ok()?)))
    });
    parsed.map_or((message, None), |(head, location)| (head, Some(location)))
}

/// "expected X, found Y", where Y is what the user wrote there.
fn unexpected(expected: &str, location: Location, place: &Place<'_>) -> Error {
    let span = place.at(location);
    let expected = if expected == "identifier" { "a name" } else { expected };
    let error = syntax(expected_found(expected, &place.script[span.clone()]));
    hinted(error, span, place)
}

/// The message for something else than what was expected.
pub(crate) fn expected_found(expected: &str, found: &str) -> String {
    if found.is_empty() {
        return format!("expected {expected}, but the statement ends here");
    }
    let short: String = found.chars().take(40).collect();
    format!("expected {expected}, found {short}{}", if short.len() < found.len() { "…" } else { "" })
}

/// Points at a word at the place, or just before it, that is nearly a keyword.
pub(crate) fn hinted(error: Error, span: Span, place: &Place<'_>) -> Error {
    let near: Vec<_> = place.lexemes().take_while(|lexeme| lexeme.span.start <= span.start).collect();
    let words = near.iter().rev().take(2).filter(|lexeme| lexeme.kind == Kind::Word);
    for lexeme in words {
        let word = &place.script[lexeme.span.clone()];
        if word.len() < 3 || keywords::is_keyword(word) {
            continue;
        }
        if let Some(meant) = did_you_mean(word, keywords::clause_words()) {
            let message = format!("{word} is not a keyword or operator here");
            return Error { message, ..error }.with_hint(format!("did you mean {meant}?")).at(lexeme.span.clone());
        }
    }
    error.at(span)
}

/// A message of sqlparser as ours are: it begins in lower case and has no full stop.
pub(crate) fn sentence(message: &str) -> String {
    let mut chars = message.trim_end_matches('.').chars();
    let first = chars.next().unwrap_or('?');
    let rest = chars.as_str();
    if rest.starts_with(char::is_uppercase) {
        format!("{first}{rest}")
    } else {
        format!("{}{rest}", first.to_lowercase())
    }
}
