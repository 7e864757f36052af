//! One statement's tokens, each with its place in the whole script.
//!
//! sqlparser's tokenizer counts lines and columns from the start of what it is given. A script is tokenized statement by
//! statement, so that one open string does not hide the mistakes elsewhere; the places are shifted so that every span,
//! in our errors, in sqlparser's and in DataFusion's, is a line and column of the script.
//!
//! WHAT MAY NEVER HAPPEN: an offset outside the script, or between the bytes of a character.

use evenkeel_model::{Error, Span, SqlState};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::dialect::PqlDialect;
use crate::scan::{Kind, Lexeme, Scanner};

/// How many brackets may be open at once. Below sqlparser's and DataFusion's own limits, whatever stands in them.
pub(crate) const DEPTH_MAX: usize = 64;

/// How many calls like `substring(substring(…))` may stand inside each other, see [`is_read_twice`].
const TWICE_MAX: usize = 8;

/// How many tokens may follow each other in one bracket without a comma. `a + b + c …` becomes a tree as deep as it is
/// long, and trees are walked, compared and freed by recursion.
const CHAIN_MAX: usize = 2_000;

/// The script, and the statement of it that is being read.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub script: &'a str,
    /// The statement's bytes in the script.
    pub statement: Span,
    /// Line and column, from 1, of the statement's first character.
    pub start: Location,
}

impl Place<'_> {
    /// The byte of the script at a line and column; the statement's end for the place of no token.
    pub fn offset(&self, location: Location) -> usize {
        if location.line < self.start.line {
            return self.statement.end;
        }
        let text = &self.script[self.statement.clone()];
        let (mut line, mut column) = (self.start.line, self.start.column);
        for (offset, ch) in text.char_indices() {
            if (line, column) >= (location.line, location.column) {
                return self.statement.start + offset;
            }
            (line, column) = advance((line, column), ch);
        }
        self.statement.end
    }

    /// The bytes between two tokens, both included.
    pub fn between(&self, first: &TokenWithSpan, last: &TokenWithSpan) -> Span {
        let start = self.offset(first.span.start);
        start..self.offset(last.span.end).max(start)
    }

    /// The bytes of one token.
    pub fn of(&self, token: &TokenWithSpan) -> Span {
        self.between(token, token)
    }

    /// The bytes of the token at a place, or the statement's end.
    pub fn at(&self, location: Location) -> Span {
        let start = self.offset(location);
        let rest = &self.script[start..self.statement.end];
        let length = Scanner::new(rest).next().map_or(0, |lexeme| lexeme.span.end);
        start..start + length
    }

    /// The statement's words and symbols, without space and comments, in bytes of the script.
    pub fn lexemes(&self) -> impl Iterator<Item = Lexeme> {
        let start = self.statement.start;
        Scanner::new(&self.script[self.statement.clone()])
            .filter(|lexeme| !matches!(lexeme.kind, Kind::Space | Kind::Comment))
            .map(move |lexeme| Lexeme { span: lexeme.span.start + start..lexeme.span.end + start, ..lexeme })
    }
}

/// Line and column after a character.
pub(crate) fn advance((line, column): (u64, u64), ch: char) -> (u64, u64) {
    if ch == '\n' { (line + 1, 1) } else { (line, column + 1) }
}

/// The statement's tokens without space and comments; `@name` is one placeholder.
pub(crate) fn lex(place: &Place<'_>) -> Result<Vec<TokenWithSpan>, Error> {
    let text = &place.script[place.statement.clone()];
    let mut tokens = Vec::with_capacity(text.len() / 5);
    Tokenizer::new(&PqlDialect, text)
        .tokenize_with_location_into_buf_with_mapper(&mut tokens, |token| shift(token, place.start))
        .map_err(|error| unreadable(error.message, shifted(error.location, place.start), place))?;
    let tokens = parameters(tokens);
    // sqlparser would print two quotes in a row as one.
    let doubled = |token: &&TokenWithSpan| matches!(&token.token, Token::Word(word) if word.value.contains("\"\""));
    if let Some(token) = tokens.iter().find(doubled) {
        let error = Error::new(SqlState::SyntaxError, "a name can't have two quotes in a row");
        return Err(error.at(place.of(token)));
    }
    check_limits(&tokens, place)?;
    check_read_twice(&tokens, place)?;
    Ok(tokens)
}

fn shift(token: TokenWithSpan, start: Location) -> TokenWithSpan {
    TokenWithSpan::at(token.token, shifted(token.span.start, start), shifted(token.span.end, start))
}

fn shifted(at: Location, start: Location) -> Location {
    let column = if at.line == 1 { at.column + start.column - 1 } else { at.column };
    Location::new(at.line + start.line - 1, column)
}

fn unreadable(message: String, location: Location, place: &Place<'_>) -> Error {
    let open = place.lexemes().find(|lexeme| !lexeme.closed);
    match open {
        Some(Lexeme { kind, span, .. }) => {
            let (what, hint) = match kind {
                Kind::Comment => ("comment", "close it with */"),
                Kind::Quoted => ("quoted name", "close it with \", and write \"\" for a quote inside it"),
                _ => ("string", "close it with ', and write '' for a quote inside it"),
            };
            let first = place.script[span.clone()].chars().next().map_or(0, char::len_utf8);
            Error::new(SqlState::SyntaxError, format!("this {what} is never closed"))
                .with_hint(hint)
                .at(span.start..span.start + first)
        }
        None => Error::new(SqlState::SyntaxError, crate::sql::sentence(&message)).at(place.at(location)),
    }
}

/// Drops space and comments, and joins `@` with the name that touches it.
fn parameters(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut result: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) | Token::EOF => continue,
            Token::Word(word) if word.quote_style.is_none() => {
                let name = format!("@{}", word.value);
                if let Some(at) = result.pop_if(|last| touches(last, &token)) {
                    if at.token == Token::ArrowAt {
                        result.push(TokenWithSpan::new(Token::Lt, at.span));
                    }
                    let span = sqlparser::tokenizer::Span::new(at.span.start, token.span.end);
                    result.push(TokenWithSpan::new(Token::Placeholder(name), span));
                    continue;
                }
            }
            _ => {}
        }
        result.push(token);
    }
    result
}

fn touches(at: &TokenWithSpan, word: &TokenWithSpan) -> bool {
    matches!(at.token, Token::AtSign | Token::ArrowAt) && at.span.end == word.span.start
}

/// Set operations and array types nest by themselves, commas or not.
fn nests_by_itself(tokens: &[TokenWithSpan], at: usize) -> bool {
    let next = tokens.get(at + 1).map(|token| &token.token);
    match &tokens[at].token {
        Token::Word(word) if word.quote_style.is_none() => match word.keyword {
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => true,
            // `INTERVAL '1 day'` is fine; `INTERVAL INTERVAL …` recurses without sqlparser's counting it.
            Keyword::INTERVAL => !matches!(next, Some(Token::SingleQuotedString(_) | Token::Comma | Token::RParen)),
            Keyword::ARRAY => next == Some(&Token::Lt),
            _ => false,
        },
        _ => false,
    }
}

/// Whether sqlparser, after a mistake in the bracket behind this word, reads the bracket a second time.
fn is_read_twice(token: &Token) -> bool {
    matches!(token, Token::Word(word) if matches!(
        word.keyword,
        Keyword::ARRAY
            | Keyword::CEIL
            | Keyword::CONVERT
            | Keyword::EXTRACT
            | Keyword::FLOOR
            | Keyword::INTERVAL
            | Keyword::OVERLAY
            | Keyword::POSITION
            | Keyword::SUBSTR
            | Keyword::SUBSTRING
            | Keyword::SAFE_CAST
    ))
}

/// Refuses statements that hold too many brackets inside brackets that are read twice.
fn check_read_twice(tokens: &[TokenWithSpan], place: &Place<'_>) -> Result<(), Error> {
    let mut open = vec![];
    let mut twice = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen | Token::LBracket => {
                let again = at > 0 && is_read_twice(&tokens[at - 1].token);
                open.push(again);
                twice += usize::from(again);
            }
            Token::RParen | Token::RBracket => twice -= usize::from(open.pop().unwrap_or(false)),
            _ => {}
        }
        if twice > TWICE_MAX {
            return Err(too_deep(TWICE_MAX).at(place.of(token)));
        }
    }
    Ok(())
}

fn check_limits(tokens: &[TokenWithSpan], place: &Place<'_>) -> Result<(), Error> {
    // For every open bracket (and CASE), the tokens since its last comma.
    let mut chains = vec![0_usize];
    let mut nested = 0;
    for (at, token) in tokens.iter().enumerate() {
        let word = match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.as_str(),
            _ => "",
        };
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => open(&mut chains),
            _ if word.eq_ignore_ascii_case("case") => open(&mut chains),
            Token::RParen | Token::RBracket | Token::RBrace if chains.len() > 1 => drop(chains.pop()),
            _ if word.eq_ignore_ascii_case("end") && chains.len() > 1 => drop(chains.pop()),
            Token::Comma => reset(&mut chains),
            _ if word.eq_ignore_ascii_case("when") => reset(&mut chains),
            _ => count(&mut chains),
        }
        nested += usize::from(nests_by_itself(tokens, at));
        if chains.len() > DEPTH_MAX || nested > 4 * DEPTH_MAX {
            return Err(too_deep(DEPTH_MAX).at(place.of(token)));
        }
        if chains.last().is_some_and(|chain| *chain > CHAIN_MAX) {
            return Err(too_long().at(place.of(token)));
        }
    }
    Ok(())
}

fn open(chains: &mut Vec<usize>) {
    count(chains);
    chains.push(0);
}

fn reset(chains: &mut [usize]) {
    if let Some(chain) = chains.last_mut() {
        *chain = 0;
    }
}

fn count(chains: &mut [usize]) {
    if let Some(chain) = chains.last_mut() {
        *chain += 1;
    }
}

/// The error for brackets in brackets in brackets.
pub(crate) fn too_deep(levels: usize) -> Error {
    Error::new(SqlState::ProgramLimitExceeded, format!("statement is nested deeper than {levels}"))
        .with_hint("name the inner queries in a WITH clause, or compute them in steps")
}

fn too_long() -> Error {
    Error::new(SqlState::ProgramLimitExceeded, format!("expression is longer than {CHAIN_MAX} words and symbols"))
        .with_hint("write a long chain of OR as IN (…), or join with a table that holds the values")
}
