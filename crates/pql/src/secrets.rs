//! Passwords in the text of statements, and the text without them.
//!
//! A statement's text is kept where others read it: among the running and the slow statements, in a history, in an error
//! with its line. So this looks at any text, right or wrong: strings in a CREATE or ALTER of a user, and whatever follows
//! PASSWORD, whether or not it is a string that ends.
//!
//! WHAT MAY NEVER HAPPEN: a password that the grammar would take is in the masked text. Rather too much is masked: what
//! is compared with a column `password`, too.

use std::borrow::Cow;

use evenkeel_model::Span;

use crate::scan::{Kind, Scanner};

/// What stands in the place of a password.
const MASK: &str = "'***'";

/// The text, with every password in it masked.
pub fn masked(text: &str) -> Cow<'_, str> {
    let secrets = secrets(text);
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        shown.push_str(&text[at..secret.start]);
        shown.push_str(MASK);
        at = secret.end;
    }
    shown.push_str(&text[at..]);
    Cow::Owned(shown)
}

/// A line of a text with a star for every character of a password, so that a caret below stays in its place.
pub(crate) fn starred(text: &str, line: Span) -> String {
    let secrets = secrets(text);
    let hidden = |at: usize| secrets.iter().any(|secret| secret.contains(&at));
    let chars = text[line.clone()].char_indices();
    chars.map(|(at, ch)| if hidden(line.start + at) { '*' } else { ch }).collect()
}

/// Whether a piece of a text is a password or a part of one.
pub(crate) fn hides(text: &str, span: &Span) -> bool {
    secrets(text).iter().any(|secret| secret.start < span.end && span.start < secret.end)
}

/// Where passwords stand, with their quotes.
fn secrets(text: &str) -> Vec<Span> {
    if may_have_one(text.as_bytes()) { found(text) } else { Vec::new() }
}

/// Whether it is worth a closer look: a word that begins so stands in every statement that has a password.
fn may_have_one(text: &[u8]) -> bool {
    const SIGNS: [&[u8]; 3] = [b"password", b"user", b"role"];
    (0..text.len()).any(|at| {
        matches!(text[at] | 0x20, b'p' | b'u' | b'r')
            && SIGNS.iter().any(|sign| text[at..].get(..sign.len()).is_some_and(|word| word.eq_ignore_ascii_case(sign)))
    })
}

/// What has been seen of a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Other,
    /// CREATE or ALTER: a user may follow.
    Verb,
    /// A user is made or changed: its strings are secret.
    User,
    /// PASSWORD: what follows is secret.
    Password,
}

fn found(text: &str) -> Vec<Span> {
    let (mut secrets, mut seen, mut about_user) = (Vec::new(), Seen::Other, false);
    let mut lexemes = Scanner::new(text).filter(|lexeme| !matches!(lexeme.kind, Kind::Space | Kind::Comment));
    while let Some(lexeme) = lexemes.next() {
        let word = |words: &[&str]| {
            lexeme.kind == Kind::Word && words.iter().any(|word| text[lexeme.span.clone()].eq_ignore_ascii_case(word))
        };
        let sign = lexeme.kind == Kind::Symbol && matches!(&text[lexeme.span.clone()], "=" | ":");
        seen = match (seen, lexeme.kind) {
            (_, Kind::Semicolon) => {
                about_user = false;
                Seen::Other
            }
            (Seen::Password, Kind::String) => {
                secrets.push(lexeme.span.clone());
                Seen::Other
            }
            (Seen::Password, _) if sign || word(&["TO"]) => Seen::Password,
            // Somebody forgot the quotes: nobody knows where it ends.
            (Seen::Password, _) if about_user => {
                let rest = lexemes.by_ref().take_while(|lexeme| lexeme.kind != Kind::Semicolon).last();
                secrets.push(lexeme.span.start..rest.map_or(lexeme.span.end, |last| last.span.end));
                about_user = false;
                Seen::Other
            }
            (_, Kind::String) if about_user => {
                secrets.push(lexeme.span.clone());
                Seen::User
            }
            _ if word(&["PASSWORD"]) => Seen::Password,
            _ if word(&["CREATE", "ALTER"]) => Seen::Verb,
            (Seen::Verb, _) if word(&["USER", "ROLE"]) => {
                about_user = true;
                Seen::User
            }
            (Seen::Verb | Seen::Password, _) => Seen::Other,
            (kept, _) => kept,
        };
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_in_right_and_wrong_statements() {
        for (text, shown) in [
            ("CREATE USER ada PASSWORD 'se''cret' ROLE admin", "CREATE USER ada PASSWORD '***' ROLE admin"),
            (
                "create role ada with login password 'x'; SELECT 'x'",
                "create role ada with login password '***'; SELECT 'x'",
            ),
            ("ALTER USER ada PASSWORD $$secret$$", "ALTER USER ada PASSWORD '***'"),
            ("ALTER USER ada PASSWORD 'sec", "ALTER USER ada PASSWORD '***'"),
            ("ALTER USER ada PASSWORD = E'sec\\'ret'", "ALTER USER ada PASSWORD = '***'"),
            ("ALTER USER ada PASSWORD my secret; SELECT 1", "ALTER USER ada PASSWORD '***'; SELECT 1"),
            ("CREATE USER ada PASWORD 'secret'", "CREATE USER ada PASWORD '***'"),
            ("CREAT USER ada PASSWORD /* now */ 'secret'", "CREAT USER ada PASSWORD /* now */ '***'"),
            ("SET password = 'secret'", "SET password = '***'"),
        ] {
            assert_eq!(masked(text), shown);
            assert_eq!(starred(text, 0..text.len()).chars().count(), text.chars().count());
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in [
            "SELECT 'user', password FROM t WHERE role = 'x'",
            "INSERT INTO users VALUES ('ada', 'password')",
            "GRANT SELECT ON t TO ada; SELECT 'x'",
            "CREATE TABLE users (name text DEFAULT 'x', role text)",
        ] {
            assert!(matches!(masked(text), Cow::Borrowed(_)), "{text}");
        }
    }
}
