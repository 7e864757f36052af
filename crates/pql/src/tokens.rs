//! nom over tokens: the primitives that the grammars of PQL's own statements are put together from.
//!
//! A grammar function takes [`Tokens`] and answers what it read and the tokens left. A failure remembers the farthest token
//! that was reached and everything that could have stood there, which becomes "expected SHARD or JOB, found SHARDS".

use evenkeel_model::Error;
use nom::combinator::cut;
use nom::error::{ErrorKind, ParseError};
use nom::{IResult, Input, Needed, Parser};
use sqlparser::ast as sql;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// Tokens that are still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens<'a>(pub &'a [TokenWithSpan]);

pub(crate) type Parsed<'a, T> = IResult<Tokens<'a>, T, Failure<'a>>;

/// Why a grammar did not match.
#[derive(Debug)]
pub(crate) struct Failure<'a> {
    /// The tokens left where it stopped.
    pub at: Tokens<'a>,
    /// What could have stood there.
    pub expected: Vec<&'static str>,
    /// An error that says more than "expected …", for the token it stopped at.
    pub error: Option<Box<Error>>,
}

impl<'a> ParseError<Tokens<'a>> for Failure<'a> {
    fn from_error_kind(at: Tokens<'a>, _: ErrorKind) -> Self {
        Self { at, expected: vec![], error: None }
    }

    fn append(_: Tokens<'a>, _: ErrorKind, other: Self) -> Self {
        other
    }

    fn or(mut self, other: Self) -> Self {
        match self.at.0.len().cmp(&other.at.0.len()) {
            std::cmp::Ordering::Less => self,
            std::cmp::Ordering::Greater => other,
            std::cmp::Ordering::Equal => {
                self.expected.extend(other.expected);
                self
            }
        }
    }
}

impl<'a> Input for Tokens<'a> {
    type Item = &'a TokenWithSpan;
    type Iter = std::slice::Iter<'a, TokenWithSpan>;
    type IterIndices = std::iter::Enumerate<std::slice::Iter<'a, TokenWithSpan>>;

    fn input_len(&self) -> usize {
        self.0.len()
    }

    fn take(&self, index: usize) -> Self {
        Self(&self.0[..index])
    }

    fn take_from(&self, index: usize) -> Self {
        Self(&self.0[index..])
    }

    fn take_split(&self, index: usize) -> (Self, Self) {
        let (taken, rest) = self.0.split_at(index);
        (Self(rest), Self(taken))
    }

    fn position<P: Fn(Self::Item) -> bool>(&self, predicate: P) -> Option<usize> {
        self.0.iter().position(predicate)
    }

    fn iter_elements(&self) -> Self::Iter {
        self.0.iter()
    }

    fn iter_indices(&self) -> Self::IterIndices {
        self.0.iter().enumerate()
    }

    fn slice_index(&self, count: usize) -> Result<usize, Needed> {
        if count <= self.0.len() { Ok(count) } else { Err(Needed::new(count - self.0.len())) }
    }
}

/// The unquoted word that a token is.
pub(crate) fn word(token: &TokenWithSpan) -> Option<&str> {
    match &token.token {
        Token::Word(Word { value, quote_style: None, .. }) => Some(value),
        _ => None,
    }
}

/// Whether a token is this keyword (given in upper case), unquoted.
pub(crate) fn is(token: &TokenWithSpan, keyword: &str) -> bool {
    word(token).is_some_and(|word| word.eq_ignore_ascii_case(keyword))
}

/// Whether the tokens begin with these keywords.
pub(crate) fn begins(tokens: &[TokenWithSpan], keywords: &[&str]) -> bool {
    tokens.len() >= keywords.len() && keywords.iter().zip(tokens).all(|(keyword, token)| is(token, keyword))
}

/// A failure at the first of the tokens.
pub(crate) fn fail<'a, T>(at: Tokens<'a>, expected: &'static str) -> Parsed<'a, T> {
    Err(nom::Err::Error(Failure { at, expected: vec![expected], error: None }))
}

/// A failure that no alternative can mend.
pub(crate) fn refuse<'a, T>(at: Tokens<'a>, error: Error) -> Parsed<'a, T> {
    Err(nom::Err::Failure(Failure { at, expected: vec![], error: Some(Box::new(error)) }))
}

/// One keyword.
pub(crate) fn keyword<'a>(wanted: &'static str) -> impl Fn(Tokens<'a>) -> Parsed<'a, &'a TokenWithSpan> + Copy {
    move |input: Tokens<'a>| match input.0.split_first() {
        Some((first, rest)) if is(first, wanted) => Ok((Tokens(rest), first)),
        _ => fail(input, wanted),
    }
}

/// Keywords in a row.
pub(crate) fn keywords<'a>(wanted: &'static [&'static str]) -> impl Fn(Tokens<'a>) -> Parsed<'a, ()> {
    move |mut input: Tokens<'a>| {
        for word in wanted {
            (input, _) = keyword(word)(input)?;
        }
        Ok((input, ()))
    }
}

/// One piece of punctuation.
pub(crate) fn symbol<'a>(wanted: Token, name: &'static str) -> impl Fn(Tokens<'a>) -> Parsed<'a, ()> {
    move |input: Tokens<'a>| match input.0.split_first() {
        Some((first, rest)) if first.token == wanted => Ok((Tokens(rest), ())),
        _ => fail(input, name),
    }
}

/// `,`
pub(crate) fn comma(input: Tokens<'_>) -> Parsed<'_, ()> {
    symbol(Token::Comma, ",").parse(input)
}

/// Items with commas between them; behind a comma an item has to follow.
pub(crate) fn list<'a, T>(
    item: impl Fn(Tokens<'a>) -> Parsed<'a, T> + Copy,
) -> impl Fn(Tokens<'a>) -> Parsed<'a, Vec<T>> + Copy {
    move |input| {
        let (mut input, first) = item(input)?;
        let mut items = vec![first];
        while let Ok((behind, ())) = comma(input) {
            let (rest, next) = cut(item).parse(behind)?;
            items.push(next);
            input = rest;
        }
        Ok((input, items))
    }
}

/// Something that may be left out, but once its keyword is there, it has to be whole.
pub(crate) fn clause<'a, T>(
    word: &'static str,
    body: impl Parser<Tokens<'a>, Output = T, Error = Failure<'a>>,
) -> impl Parser<Tokens<'a>, Output = Option<T>, Error = Failure<'a>> {
    nom::combinator::opt(nom::sequence::preceded(keyword(word), cut(body)))
}

/// A whole number without sign, of any width that holds it.
pub(crate) fn number<'a, N: std::str::FromStr>(what: &'static str) -> impl Fn(Tokens<'a>) -> Parsed<'a, N> + Copy {
    move |input: Tokens<'a>| {
        let Some((TokenWithSpan { token: Token::Number(digits, _), .. }, rest)) = input.0.split_first() else {
            return fail(input, what);
        };
        match digits.parse() {
            Ok(number) => Ok((Tokens(rest), number)),
            Err(_) => refuse(input, crate::sql::syntax(format!("{digits} is not {what}"))),
        }
    }
}

/// `'text'`
pub(crate) fn string<'a>(what: &'static str) -> impl Fn(Tokens<'a>) -> Parsed<'a, String> {
    move |input: Tokens<'a>| match input.0.split_first() {
        Some((TokenWithSpan { token: Token::SingleQuotedString(text), .. }, rest)) => Ok((Tokens(rest), text.clone())),
        _ => fail(input, what),
    }
}

/// A name, quoted or not.
pub(crate) fn identifier<'a>(what: &'static str) -> impl Fn(Tokens<'a>) -> Parsed<'a, sql::Ident> + Copy {
    move |input: Tokens<'a>| match input.0.split_first() {
        Some((TokenWithSpan { token: Token::Word(word), span }, rest)) => {
            let name = word.value.clone();
            Ok((Tokens(rest), sql::Ident { value: name, quote_style: word.quote_style, span: *span }))
        }
        _ => fail(input, what),
    }
}

/// `name`, `schema.name`
pub(crate) fn object_name<'a>(what: &'static str) -> impl Fn(Tokens<'a>) -> Parsed<'a, sql::ObjectName> {
    move |input: Tokens<'a>| {
        let part = identifier(what);
        let (input, parts) = nom::multi::separated_list1(symbol(Token::Period, "."), part).parse(input)?;
        Ok((input, sql::ObjectName(parts.into_iter().map(sql::ObjectNamePart::Identifier).collect())))
    }
}

/// The index of the bracket that closes the one at `open`, or the number of tokens.
pub(crate) fn closing(tokens: &[TokenWithSpan], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace if depth > 1 => depth -= 1,
            Token::RParen | Token::RBracket | Token::RBrace => return at,
            _ => {}
        }
    }
    tokens.len()
}

/// The tokens between commas outside brackets.
pub(crate) fn comma_separated(tokens: &[TokenWithSpan]) -> Vec<&[TokenWithSpan]> {
    let (mut parts, mut start, mut depth) = (vec![], 0, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts
}

/// A made-up word that stands for the text at `span`.
pub(crate) fn made(text: &str, span: sqlparser::tokenizer::Span) -> TokenWithSpan {
    TokenWithSpan::new(Token::make_word(text, None), span)
}

/// A made-up symbol that stands for the text at `span`.
pub(crate) fn mark(token: Token, span: sqlparser::tokenizer::Span) -> TokenWithSpan {
    TokenWithSpan::new(token, span)
}
