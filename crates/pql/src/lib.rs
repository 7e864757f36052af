//! PQL text to a syntax tree with spans, and back.
//!
//! ```text
//!            split            lex               desugar             sqlparser
//!  script ──────────▶ text ──────────▶ tokens ──────────▶ tokens ──────────▶ Statement ──────────▶ text
//!         (at every `;`)    (with places)  │  (pipelines as pipes)                     (Display)
//!                                          └──▶ nom: statements that are PQL's own ──▶ Statement
//! ```
//!
//! One grammar of SQL is enough: whatever SQL has, expressions and sub-queries and whole statements, sqlparser reads. PQL's
//! pipelines are rewritten into its pipe operators while they are still tokens, so that a pipeline may stand wherever SQL
//! takes a query and every error points to what the user wrote. `grammar/pql.ebnf` is the norm.
//!
//! WHAT MAY NEVER HAPPEN: a panic or an overflow of the stack, whatever the text; an error without a place; a printed
//! statement that reads back as another one; a password in an error.

pub mod ast;
pub mod diagnostic;
pub mod keywords;

mod administration;
mod copy;
mod cursors;
mod desugar;
mod dialect;
mod emit;
mod lex;
mod locking;
mod objects;
mod pipeline;
mod print;
mod resugar;
mod scan;
mod scope;
mod secrets;
mod sources;
mod sql;
mod statement;
mod tokens;
mod users;

pub use ast::{Statement, StatementKind};
pub use diagnostic::{line_column, render};
pub use scan::{Split, TokenClass, first_word, split, tokens};
pub use secrets::masked;

use evenkeel_model::{Error, Span, SqlState};
use sqlparser::tokenizer::Location;

use lex::{Place, advance};

/// Every statement of a script, or every error of it: one for each statement that is wrong.
pub fn parse(script: &str) -> Result<Vec<Statement>, Vec<Error>> {
    let mut statements = vec![];
    let mut errors = vec![];
    for place in places(script) {
        match statement::statement(&place) {
            Ok(statement) => statements.push(statement),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(statements) } else { Err(errors) }
}

/// The one statement of a text, with or without a `;`.
pub fn parse_statement(text: &str) -> Result<Statement, Error> {
    let mut places = places(text);
    let Some(first) = places.next() else {
        let error = Error::new(SqlState::SyntaxError, "expected a statement, but there is none");
        return Err(error.at(text.len()..text.len()));
    };
    let parsed = statement::statement(&first)?;
    match places.next() {
        Some(second) => {
            let error = Error::new(SqlState::SyntaxError, "expected one statement, and here is a second");
            Err(error.at(second.statement))
        }
        None => Ok(parsed),
    }
}

/// An expression that stands by itself, such as a stored DEFAULT or CHECK.
pub fn parse_expr(text: &str) -> Result<sqlparser::ast::Expr, Error> {
    let place = Place { script: text, statement: 0..text.len(), start: Location::new(1, 1) };
    let tokens = lex::lex(&place)?;
    sql::expression(desugar::desugar(tokens, &place)?, &place)
}

/// The place of each statement, in one pass over the script.
fn places(script: &str) -> impl Iterator<Item = Place<'_>> {
    let split = scan::split(script);
    let open = split.unterminated.clone().filter(|_| split.tail.is_none());
    let spans: Vec<Span> = split.all().cloned().chain(open).map(|span| widened(span, &split)).collect();
    let (mut at, mut position) = (0, (1, 1));
    spans.into_iter().map(move |statement| {
        position = script[at..statement.start].chars().fold(position, advance);
        at = statement.start;
        Place { script, statement, start: Location::new(position.0, position.1) }
    })
}

/// A tail that ends in an open comment has it as a part, so that it is complained about.
fn widened(span: Span, split: &Split) -> Span {
    match &split.unterminated {
        Some(open) if split.tail.as_ref() == Some(&span) => span.start..span.end.max(open.end),
        _ => span,
    }
}
