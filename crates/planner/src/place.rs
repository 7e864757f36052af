//! Where in a statement's text the things stand that an error may be about.
//!
//! The syntax tree has numbers without places. A statement about shards has few tokens, so a place is looked up in the text
//! when there is an error, and costs nothing where there is none.

use evenkeel_model::{Error, Span};
use evenkeel_pql::{TokenClass, tokens};

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The nth number behind SHARD or SHARDS, from 0.
    Shard(usize),
    /// The number behind JOB.
    Job,
    /// The nth range behind SLOTS, from 0.
    Slots(usize),
    /// What follows this word.
    Behind(&'static str),
    /// The name of the nth option behind WITH, from 0.
    OptionName(usize),
    /// Its value.
    OptionValue(usize),
}

/// A statement's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a>(pub &'a str);

impl Text<'_> {
    /// The error with the place of its subject, if that stands in the text.
    pub fn at(self, error: Error, subject: Subject) -> Error {
        match self.place(subject) {
            Some(span) => error.at(span),
            None => error,
        }
    }

    fn place(self, subject: Subject) -> Option<Span> {
        let tokens = self.tokens();
        let is = |span: &Span, word: &str| self.0[span.clone()].eq_ignore_ascii_case(word);
        let behind = |word: &str| {
            let at = tokens.iter().position(|span| is(span, word))?;
            Some(&tokens[at + 1..])
        };
        match subject {
            Subject::Shard(nth) => self.numbers(&tokens, &["SHARD", "SHARDS"]).nth(nth),
            Subject::Job => self.numbers(&tokens, &["JOB"]).next(),
            Subject::Behind(word) => behind(word)?.first().cloned(),
            Subject::Slots(nth) => {
                let listed = behind("SLOTS")?.split(|span| is(span, "FROM")).next()?;
                over(listed.split(|span| is(span, ",")).nth(nth)?)
            }
            Subject::OptionName(nth) | Subject::OptionValue(nth) => {
                let option = behind("WITH")?.split(|span| is(span, ",") || is(span, "AND")).nth(nth)?;
                let (name, value) = option.split_first()?;
                if matches!(subject, Subject::OptionName(_)) { Some(name.clone()) } else { over(value.get(1..)?) }
            }
        }
    }

    /// Tokens that say something, up to the end of the statement.
    fn tokens(self) -> Vec<Span> {
        let says = |(span, class): &(Span, TokenClass)| {
            *class != TokenClass::Comment && !self.0[span.clone()].trim().is_empty() && &self.0[span.clone()] != ";"
        };
        tokens(self.0).into_iter().filter(says).map(|(span, _)| span).collect()
    }

    /// The numbers in the lists that follow one of these words.
    fn numbers(self, tokens: &[Span], words: &[&str]) -> impl Iterator<Item = Span> {
        let mut is_listed = false;
        tokens.iter().filter_map(move |span| {
            let text = &self.0[span.clone()];
            let is_number = text.starts_with(|c: char| c.is_ascii_digit());
            let is_wanted = is_listed && is_number;
            is_listed =
                words.iter().any(|word| word.eq_ignore_ascii_case(text)) || (is_listed && (is_number || text == ","));
            is_wanted.then(|| span.clone())
        })
    }
}

/// From the first to the last.
fn over(tokens: &[Span]) -> Option<Span> {
    Some(tokens.first()?.start..tokens.last()?.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, subject: Subject) -> Option<&str> {
        Text(text).place(subject).map(|span| &text[span])
    }

    #[test]
    fn subjects_are_found_where_they_stand() {
        let merge = "explain /* 7 */ merge shards 3, 4 -- 5\n, 6;";
        assert_eq!([0, 2, 3].map(|nth| found(merge, Subject::Shard(nth))), [Some("3"), Some("6"), None]);
        let slots = "MOVE SLOTS 1, 5 TO 9 FROM SHARD 2 TO SHARD 31";
        assert_eq!([0, 1].map(|nth| found(slots, Subject::Slots(nth))), [Some("1"), Some("5 TO 9")]);
        assert_eq!([0, 1].map(|nth| found(slots, Subject::Shard(nth))), [Some("2"), Some("31")]);
        assert_eq!(found("SPLIT SHARD 3 INTO 1", Subject::Behind("INTO")), Some("1"));
        assert_eq!(found("WAIT FOR JOB 3 TIMEOUT '5 s'", Subject::Behind("TIMEOUT")), Some("'5 s'"));
        assert_eq!(found("UNDO JOB 12", Subject::Job), Some("12"));
        let with = "REBALANCE SHARDS WITH strategy = 'rows' AND target_imbalance TO -0.5";
        assert_eq!(found(with, Subject::OptionName(1)), Some("target_imbalance"));
        assert_eq!([0, 1].map(|nth| found(with, Subject::OptionValue(nth))), [Some("'rows'"), Some("-0.5")]);
        assert_eq!(found("SHOW BALANCER", Subject::Job), None);
    }
}
