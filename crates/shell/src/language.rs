//! What the shell needs to know of the language: the one place that calls `evenkeel-pql`.

use evenkeel_model::{Error, Span};
use evenkeel_pql::StatementKind;
use evenkeel_pql::ast::{JobReference, ShardStatement};
use evenkeel_pql::keywords::{self, Help};
pub use evenkeel_pql::{TokenClass, split, tokens};

/// A piece of a script, as far as the shell cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// White space or a comment.
    Blank,
    Semicolon,
    /// A backslash that stands in no string or comment.
    Backslash,
    Other,
}

/// The pieces of a text; they are adjacent and cover it.
pub fn pieces(text: &str) -> Vec<(Span, Piece)> {
    let piece = |span: &Span, class| match (class, &text[span.clone()]) {
        (TokenClass::Comment | TokenClass::Other, _) => Piece::Blank,
        (TokenClass::Operator, ";") => Piece::Semicolon,
        (TokenClass::Operator, "\\") => Piece::Backslash,
        _ => Piece::Other,
    };
    tokens(text).into_iter().map(|(span, class)| (span.clone(), piece(&span, class))).collect()
}

/// Every syntax error of a script.
pub fn syntax_errors(script: &str) -> Vec<Error> {
    evenkeel_pql::parse(script).err().unwrap_or_default()
}

/// The error as text, with the place it points at. Ends with a line feed.
pub fn render(error: &Error, source: &str, origin: Option<&str>) -> String {
    let text = evenkeel_pql::render(error, source, origin);
    format!("{}\n", text.trim_end())
}

/// Every keyword.
pub fn keywords() -> &'static [&'static str] {
    keywords::KEYWORDS
}

/// Statements first, then the operators of a pipeline.
pub fn help() -> impl Iterator<Item = &'static Help> {
    keywords::STATEMENTS.iter().chain(keywords::OPERATORS)
}

/// Whether a statement may change which tables and columns there are.
pub fn changes_names(statement: &str) -> bool {
    const VERBS: &[&str] = &["CREATE", "ALTER", "DROP", "ROLLBACK"];
    let first = statement.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or("");
    VERBS.iter().any(|verb| verb.eq_ignore_ascii_case(first))
}

/// The jobs that a statement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    One(u64),
    Last,
    All,
}

/// Which jobs a statement waits for, if that is what it does.
pub fn awaited(statement: &str) -> Option<Awaited> {
    let kind = evenkeel_pql::parse_statement(statement).ok()?.kind;
    let StatementKind::Shard(ShardStatement::WaitForJob { job, .. }) = kind else { return None };
    Some(match job {
        JobReference::Id(job) => Awaited::One(job),
        JobReference::Last => Awaited::Last,
        JobReference::All => Awaited::All,
    })
}
