//! Where statements end, and what colour each piece of text has.
//!
//! A prompt must know whether a line is finished and paint it while it is still wrong, so this scanner takes any text:
//! it never fails, never loses a byte (lexemes are adjacent and cover the text) and looks at each byte a bounded number of
//! times. It agrees with the tokenizer on where strings, comments and dollar quotes begin and end; what a token *means*
//! is not known here.

use std::iter::Peekable;
use std::str::CharIndices;

use evenkeel_model::Span;

use crate::dialect::{is_word_part, is_word_start};
use crate::keywords;

/// What a piece of text is, for highlighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenClass {
    /// A word of the language, unquoted.
    Keyword,
    /// `'text'`, `E'text'`, `$$text$$`, closed or not.
    String,
    /// `1`, `2.5e3`
    Number,
    /// `-- …` and `/* … */`, closed or not.
    Comment,
    /// A name, quoted or not.
    Identifier,
    /// Punctuation, one character each.
    Operator,
    /// `@name` or `$1`
    Parameter,
    /// Whitespace.
    Other,
}

/// How a script falls into statements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Every statement that a `;` ended: from its first token to its last, without comments around it or the `;`.
    pub statements: Vec<Span>,
    /// What follows the last `;`, when it is more than whitespace and comments.
    pub tail: Option<Span>,
    /// The string, quoted name or comment that is opened in the tail and never closed.
    pub unterminated: Option<Span>,
}

impl Split {
    /// Whether more text is needed: a string or comment is open, or the last statement has no `;` yet.
    pub fn is_incomplete(&self) -> bool {
        self.tail.is_some() || self.unterminated.is_some()
    }

    /// All statements, the one without `;` included.
    pub fn all(&self) -> impl Iterator<Item = &Span> {
        self.statements.iter().chain(&self.tail)
    }
}

/// Splits a script at the semicolons that stand outside strings, quoted names, comments and dollar quotes.
pub fn split(script: &str) -> Split {
    let mut split = Split::default();
    let mut current: Option<Span> = None;
    for lexeme in Scanner::new(script) {
        match lexeme.kind {
            Kind::Space | Kind::Comment => {}
            Kind::Semicolon => split.statements.extend(current.take()),
            _ => current = Some(current.map_or(lexeme.span.start, |span| span.start)..lexeme.span.end),
        }
        if !lexeme.closed {
            split.unterminated = Some(lexeme.span);
        }
    }
    split.tail = current;
    split
}

/// Every piece of the text with its class; the pieces are adjacent and cover the text.
pub fn tokens(text: &str) -> Vec<(Span, TokenClass)> {
    Scanner::new(text)
        .map(|lexeme| {
            let class = classify(&lexeme, &text[lexeme.span.clone()]);
            (lexeme.span, class)
        })
        .collect()
}

/// The word that a text begins with, behind blanks and comments.
pub fn first_word(text: &str) -> Option<&str> {
    let first = Scanner::new(text).find(|lexeme| !matches!(lexeme.kind, Kind::Space | Kind::Comment))?;
    (first.kind == Kind::Word).then(|| &text[first.span])
}

fn classify(lexeme: &Lexeme, text: &str) -> TokenClass {
    match lexeme.kind {
        Kind::Space => TokenClass::Other,
        Kind::Comment => TokenClass::Comment,
        Kind::String => TokenClass::String,
        Kind::Number => TokenClass::Number,
        Kind::Parameter => TokenClass::Parameter,
        Kind::Word if keywords::is_keyword(text) => TokenClass::Keyword,
        Kind::Word | Kind::Quoted => TokenClass::Identifier,
        Kind::Symbol | Kind::Semicolon => TokenClass::Operator,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Space,
    Comment,
    String,
    Quoted,
    Number,
    Word,
    Parameter,
    Symbol,
    Semicolon,
}

#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub kind: Kind,
    pub span: Span,
    /// False for a string, quoted name or comment that the text ends in.
    pub closed: bool,
}

/// Lexemes of a text, one after the other.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, chars: text.char_indices().peekable() }
    }

    fn offset(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(offset, _)| *offset)
    }

    fn rest(&mut self) -> &'a str {
        let offset = self.offset();
        &self.text[offset..]
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.chars.next_if(|(_, ch)| *ch == wanted).is_some()
    }

    fn skip_while(&mut self, accepts: impl Fn(char) -> bool) {
        while self.chars.next_if(|(_, ch)| accepts(*ch)).is_some() {}
    }

    fn lexeme(&mut self, first: char) -> (Kind, bool) {
        match first {
            ch if ch.is_whitespace() => {
                self.skip_while(char::is_whitespace);
                (Kind::Space, true)
            }
            '-' if self.eat('-') => {
                self.skip_while(|ch| ch != '\n' && ch != '\r');
                (Kind::Comment, true)
            }
            '/' if self.eat('*') => (Kind::Comment, self.block_comment()),
            '\'' => (Kind::String, self.quoted('\'', false)),
            '"' => (Kind::Quoted, self.quoted('"', false)),
            'e' | 'E' if self.eat('\'') => (Kind::String, self.quoted('\'', true)),
            '$' => self.dollar(),
            '@' if self.chars.peek().is_some_and(|(_, ch)| is_word_start(*ch)) => {
                self.skip_while(is_word_part);
                (Kind::Parameter, true)
            }
            ';' => (Kind::Semicolon, true),
            ch if ch.is_ascii_digit() => self.number(),
            ch if is_word_start(ch) => {
                self.skip_while(is_word_part);
                (Kind::Word, true)
            }
            _ => (Kind::Symbol, true),
        }
    }

    /// After `/*`: comments nest.
    fn block_comment(&mut self) -> bool {
        let mut depth = 1;
        while let Some((_, ch)) = self.chars.next() {
            match ch {
                '/' if self.eat('*') => depth += 1,
                '*' if self.eat('/') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return true;
            }
        }
        false
    }

    /// After the opening quote: a doubled quote, and after E a backslash, does not close.
    fn quoted(&mut self, quote: char, backslashes: bool) -> bool {
        while let Some((_, ch)) = self.chars.next() {
            if ch == '\\' && backslashes {
                self.chars.next();
            } else if ch == quote && !self.eat(quote) {
                return true;
            }
        }
        false
    }

    /// After `$`: a dollar quote, or a parameter.
    fn dollar(&mut self) -> (Kind, bool) {
        let rest = self.rest();
        let tag = rest.find(|ch: char| !ch.is_alphanumeric() && ch != '_').unwrap_or(rest.len());
        if !rest[tag..].starts_with('$') {
            self.skip_while(|ch| ch.is_alphanumeric() || ch == '_');
            return (Kind::Parameter, true);
        }
        let delimiter = format!("${}$", &rest[..tag]);
        let body = &rest[tag + 1..];
        let found = body.find(&delimiter);
        let end = self.offset() + tag + 1 + found.map_or(body.len(), |at| at + delimiter.len());
        while self.chars.next_if(|(offset, _)| *offset < end).is_some() {}
        (Kind::String, found.is_some())
    }

    fn number(&mut self) -> (Kind, bool) {
        self.skip_while(|ch| ch.is_ascii_digit() || ch == '_');
        let mut rest = self.rest().chars();
        if rest.next() == Some('.') && rest.next() != Some('.') {
            self.eat('.');
            self.skip_while(|ch| ch.is_ascii_digit() || ch == '_');
        }
        let exponent = self.rest().trim_start_matches(['e', 'E']);
        let signed = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if exponent.len() + 1 == self.rest().len() && signed.starts_with(|ch: char| ch.is_ascii_digit()) {
            self.chars.next();
            self.chars.next_if(|(_, ch)| matches!(ch, '+' | '-'));
            self.skip_while(|ch| ch.is_ascii_digit());
        }
        (Kind::Number, true)
    }
}

impl Iterator for Scanner<'_> {
    type Item = Lexeme;

    fn next(&mut self) -> Option<Lexeme> {
        let (start, first) = self.chars.next()?;
        let (kind, closed) = self.lexeme(first);
        Some(Lexeme { kind, span: start..self.offset(), closed })
    }
}
