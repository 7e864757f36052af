//! The values of `@name` parameters, put into a statement's text.
//!
//! The simple query protocol has no parameters, and the one that has them counts and types them: `@name` is neither. So
//! the shell writes each value where its name stands, as the literal that it is: never more than one value, whatever its
//! text. Places that the server finds in the text it got are brought back to the text that was typed.

use std::ops::Range;

use evenkeel_model::Span;
use evenkeel_pql::{TokenClass, tokens};

/// A statement with values in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Bound {
    /// What is sent.
    pub text: String,
    /// Where each value stands in it, and where its name stood.
    values: Vec<(Range<usize>, Span)>,
}

impl Bound {
    /// Puts values in the places of their names. A name without value stays, for the server to say so.
    pub fn new(statement: &str, variables: &[(String, String)]) -> Self {
        let (mut text, mut values, mut taken) = (String::with_capacity(statement.len()), Vec::new(), 0);
        if !variables.is_empty() {
            for (span, class) in tokens(statement) {
                let name = statement[span.clone()].strip_prefix('@').filter(|_| class == TokenClass::Parameter);
                let Some((_, value)) = name.and_then(|name| variables.iter().find(|(known, _)| known == name)) else {
                    continue;
                };
                text.push_str(&statement[taken..span.start]);
                let start = text.len();
                text.push_str(&literal(value));
                values.push((start..text.len(), span.clone()));
                taken = span.end;
            }
        }
        text.push_str(&statement[taken..]);
        Self { text, values }
    }

    /// Where a place of the text that is sent stood in the statement; all of a name for a place within its value. Bytes.
    pub fn place(&self, sent: Span) -> Span {
        let start = self.back(sent.start, |name| name.start);
        start..self.back(sent.end, |name| name.end).max(start)
    }

    fn back(&self, at: usize, within: impl Fn(&Span) -> usize) -> usize {
        match self.values.iter().rev().find(|(value, _)| value.start <= at) {
            None => at,
            // The end of a value is the end of its name.
            Some((value, name)) if at < value.end => within(name),
            Some((value, name)) => name.end + (at - value.end),
        }
    }
}

/// A variable's text as a value: a number, true, false, null, or a string.
fn literal(text: &str) -> String {
    let begins = text.starts_with(|letter: char| letter.is_ascii_digit() || matches!(letter, '-' | '+' | '.'));
    let is_number = begins && text.parse::<f64>().is_ok_and(f64::is_finite);
    match text.to_ascii_lowercase().as_str() {
        word @ ("null" | "true" | "false") => word.to_string(),
        // A minus could make a comment with the one before it.
        _ if is_number && text.starts_with('-') => format!("({text})"),
        _ if is_number => text.trim_start_matches('+').to_string(),
        _ => format!("'{}'", text.replace('\'', "''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Vec<(String, String)> {
        let pairs =
            [("n", "-5"), ("who", "O'Neil; DROP TABLE t --"), ("yes", "TRUE"), ("up", "+1.5e3"), ("none", "NULL")];
        pairs.map(|(name, value)| (name.to_string(), value.to_string())).to_vec()
    }

    fn bound(statement: &str) -> String {
        Bound::new(statement, &variables()).text
    }

    #[test]
    fn names_become_the_literals_that_they_stand_for() {
        assert_eq!(bound("SELECT 1-@n, @yes, @up, @none"), "SELECT 1-(-5), true, 1.5e3, null");
        assert_eq!(bound("QUERY t WHERE name = @who"), "QUERY t WHERE name = 'O''Neil; DROP TABLE t --'");
        assert_eq!(bound("SELECT @number, '@n', \"@n\" -- @n"), "SELECT @number, '@n', \"@n\" -- @n");
        for text in ["1.2.3", "1 OR 1", "inf", "nan", "0x10", "-", "2013-01-01"] {
            assert_eq!(literal(text), format!("'{text}'"));
        }
    }

    #[test]
    fn places_are_those_of_the_statement_that_was_typed() {
        let statement = "SELECT @n, ü, @who FROM nowhere";
        let bound = Bound::new(statement, &variables());
        for word in ["SELECT", "ü", "FROM", "nowhere"] {
            let sent = bound.text.find(word).map(|at| at..at + word.len()).expect("it is sent");
            assert_eq!(&statement[bound.place(sent)], word);
        }
        let value = bound.text.find("'O''Neil").expect("it is sent");
        assert_eq!(&statement[bound.place(value..value + 5)], "@who");
        assert_eq!(&statement[bound.place(7..11)], "@n");
        assert_eq!(bound.place(bound.text.len()..bound.text.len()), statement.len()..statement.len());
    }
}
