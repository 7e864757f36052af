//! A script as the shell sees it: statements and backslash commands, in the order they are run.
//!
//! A backslash outside quotes and comments starts a command that ends with its line. Commands are taken out first and
//! replaced by as many spaces, so that the rest is plain PQL in which every byte stands where it stood: whatever the
//! language says about places holds for the script. A command runs before the statement it stands within, because that
//! statement has not ended yet; only `\watch` ends it, and takes it over.

use evenkeel_model::Span;

use crate::language::{self, Piece};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A statement, without its semicolon.
    Statement(Span),
    /// A backslash command, from its backslash to the end of the line.
    Command(Span),
    /// A statement that `\watch` repeats.
    Watch { statement: Span, command: Span },
}

/// A script, taken apart.
#[derive(Debug)]
pub struct Script {
    /// What to do, in order.
    pub items: Vec<Item>,
    /// The script's PQL: as long as its text, with spaces where commands stood.
    pub pql: String,
    /// Text after the last complete statement that is not one yet.
    pub tail: Option<Span>,
    /// The string or comment that is not closed.
    pub open: Option<Span>,
}

impl Script {
    /// Takes a text apart. A last statement without semicolon is left in `tail`.
    pub fn read(source: &str) -> Self {
        let commands = commands(source);
        let pql = blank(source, &commands);
        let split = language::split(&pql);
        let mut items: Vec<Item> = Vec::new();
        let mut statements = split.statements.into_iter().peekable();
        for command in &commands {
            let ends_before = |statement: &Span| statement.end <= command.span.start;
            while let Some(statement) = statements.next_if(ends_before) {
                items.push(Item::Statement(statement));
            }
            let taken = if command.ends_statement { items.pop() } else { None };
            match taken {
                Some(Item::Statement(statement)) => {
                    items.push(Item::Watch { statement, command: command.span.clone() });
                }
                taken => {
                    items.extend(taken);
                    items.push(Item::Command(command.span.clone()));
                }
            }
        }
        items.extend(statements.map(Item::Statement));
        Self { items, pql, tail: split.tail, open: split.unterminated }
    }

    /// Takes a whole file apart: a last statement needs no semicolon.
    pub fn read_whole(source: &str) -> Self {
        let mut script = Self::read(source);
        script.items.extend(script.tail.take().map(Item::Statement));
        script
    }
}

/// A command found in a script.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    span: Span,
    /// Whether it is a `\watch` that stands in the place of a semicolon.
    ends_statement: bool,
}

fn blank(source: &str, commands: &[Found]) -> String {
    let mut bytes = source.as_bytes().to_vec();
    for command in commands {
        bytes[command.span.clone()].fill(b' ');
        if command.ends_statement {
            bytes[command.span.start] = b';';
        }
    }
    // Commands are replaced whole, so no character is cut in two.
    String::from_utf8(bytes).unwrap_or_else(|_| source.to_string())
}

fn commands(source: &str) -> Vec<Found> {
    let mut found = Vec::new();
    // Whether a statement has begun and not ended.
    let mut pending = false;
    let mut start = 0;
    let mut pieces = language::pieces(source).into_iter().peekable();
    while let Some((span, piece)) = pieces.next() {
        let span = start + span.start..start + span.end;
        match piece {
            Piece::Blank => {}
            Piece::Semicolon => pending = false,
            Piece::Other => pending = true,
            Piece::Backslash => {
                let end = line_end(source, span.start);
                let ends_statement = pending && source[span.start..end].starts_with("\\watch");
                pending &= !ends_statement;
                found.push(Found { span: span.start..end, ends_statement });
                // What follows is not PQL up to the end of the line: an apostrophe there opens no string.
                while pieces.next_if(|(next, _)| start + next.end <= end).is_some() {}
                if pieces.next_if(|(next, _)| start + next.start < end).is_some() {
                    start = end;
                    pieces = language::pieces(&source[end..]).into_iter().peekable();
                }
            }
        }
    }
    found
}

/// The end of the line's text, white space at its end left out.
fn line_end(source: &str, from: usize) -> usize {
    let line = source[from..].split('\n').next().unwrap_or("");
    from + line.trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(source: &str) -> Vec<String> {
        let script = Script::read_whole(source);
        assert_eq!(script.pql.len(), source.len());
        let shown = |item: &Item| match item {
            Item::Statement(span) => format!("run {}", &source[span.clone()]),
            Item::Command(span) => format!("do {}", &source[span.clone()]),
            Item::Watch { statement, command } => {
                format!("{} {}", &source[statement.clone()], &source[command.clone()])
            }
        };
        script.items.iter().map(shown).collect()
    }

    #[test]
    fn statements_and_commands_keep_their_order() {
        let source = "\\timing on\nSELECT 1;\n\\echo don't; stop\nSELECT\n 2;SELECT 3";
        let expected = ["do \\timing on", "run SELECT 1", "do \\echo don't; stop", "run SELECT\n 2", "run SELECT 3"];
        assert_eq!(items(source), expected);
    }

    #[test]
    fn backslashes_in_quotes_and_comments_are_text() {
        let source =
            "SELECT '\n\\d', \"\\q\" -- \\x\n/* \\i /* \\o */ \\q */, $$\n\\d$$, $a$\\d$$\\d$a$, E'\\'\\d';\n\\q";
        let all = items(source);
        assert_eq!(all.len(), 2);
        assert_eq!(all[1], "do \\q");
    }

    #[test]
    fn watch_takes_over_the_statement_it_ends() {
        assert_eq!(items("SELECT 1 \\watch 2\nSELECT 2;"), ["SELECT 1 \\watch 2", "run SELECT 2"]);
        assert_eq!(items("SELECT 1;\n\\watch 2"), ["run SELECT 1", "do \\watch 2"]);
        assert_eq!(items("-- note\n\\watch 2"), ["do \\watch 2"]);
    }

    #[test]
    fn a_command_within_a_statement_runs_first() {
        assert_eq!(items("SELECT\n\\x on\n1;"), ["do \\x on", "run SELECT\n\\x on\n1"]);
        assert_eq!(Script::read("SELECT\n\\x on\n1;").pql, "SELECT\n     \n1;");
    }

    #[test]
    fn the_tail_is_what_has_no_semicolon_yet() {
        let script = Script::read("SELECT 1; SELECT 'a;");
        assert_eq!((script.items.len(), script.tail), (1, Some(10..20)));
        assert_eq!(Script::read("SELECT 1; \n").tail, None);
        assert_eq!(Script::read(" -- nothing\n").tail, None);
        assert_eq!(Script::read("SELECT 1; /* nothing yet").open, Some(10..24));
    }
}
