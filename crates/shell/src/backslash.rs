//! Backslash commands: what the shell itself understands, one line each.
//!
//! [`COMMANDS`] is the one list; help, completion and "did you mean" are made from it. Parsing is a function of the text:
//! places in its errors count from the backslash.

use std::path::PathBuf;
use std::time::Duration;

use evenkeel_model::{Error, Result, SqlState, did_you_mean};

use crate::format::{Expanded, Format};
use crate::language::{self, TokenClass};

/// How often `\watch` repeats when it is not told.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// A backslash command, for help and completion.
#[derive(Debug)]
pub struct Entry {
    /// The name, with its backslash.
    pub name: &'static str,
    /// What may follow it.
    pub arguments: &'static str,
    /// One line of help.
    pub help: &'static str,
}

/// Every backslash command.
pub const COMMANDS: &[Entry] = &[
    Entry { name: "\\?", arguments: "[topic]", help: "show this help, or the syntax of a statement" },
    Entry { name: "\\assert", arguments: "query", help: "fail unless every value that comes out is true" },
    Entry { name: "\\copy", arguments: "table FROM|TO 'file'", help: "COPY from or to a file on this machine" },
    Entry { name: "\\d", arguments: "[table]", help: "list tables, or describe one" },
    Entry { name: "\\dt", arguments: "", help: "list tables with their sizes" },
    Entry { name: "\\echo", arguments: "text", help: "print the text, with variables filled in" },
    Entry { name: "\\format", arguments: "[name]", help: "show or set the output format" },
    Entry { name: "\\i", arguments: "file", help: "run a script" },
    Entry { name: "\\o", arguments: "[file]", help: "send results to a file, or back to the screen" },
    Entry { name: "\\q", arguments: "", help: "quit, or end the script" },
    Entry { name: "\\set", arguments: "[name [value]]", help: "list variables, show one, or set one" },
    Entry { name: "\\timing", arguments: "[on|off]", help: "show how long statements take" },
    Entry { name: "\\unset", arguments: "name", help: "forget a variable" },
    Entry { name: "\\watch", arguments: "[seconds] [c=times]", help: "repeat the last statement until Ctrl-C" },
    Entry { name: "\\x", arguments: "[on|off|auto]", help: "show rows as blocks" },
];

/// A backslash command, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `\assert query`
    Assert(Assertion),
    /// `\copy`
    Copy(Copying),
    /// `\d table`
    Describe(String),
    /// `\echo text`
    Echo(String),
    /// `\x`; without a choice it toggles.
    Expanded(Option<Expanded>),
    /// `\format`; without a choice it shows.
    Format(Option<Format>),
    /// `\?`
    Help(Option<String>),
    /// `\i file`
    Include(PathBuf),
    /// `\d` and `\dt`
    ListTables { sizes: bool },
    /// `\o`; without a file results go back to where they went at first.
    Output(Option<PathBuf>),
    /// `\q`
    Quit,
    /// `\set name value`
    Set { name: String, value: String },
    /// `\set` and `\set name`
    ShowVariables(Option<String>),
    /// `\timing`; without a choice it toggles.
    Timing(Option<bool>),
    /// `\unset name`
    Unset(String),
    /// `\watch`
    Watch(Watch),
}

/// `\assert query`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The query, without a semicolon.
    pub query: String,
    /// Where the query starts, in bytes from the backslash.
    pub offset: usize,
}

/// `\copy table FROM 'file'`, `\copy (query) TO 'file'`, with what COPY takes behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copying {
    /// The COPY, from standard input or to standard output.
    pub statement: String,
    /// The file in the place of these.
    pub file: PathBuf,
    /// Whether rows come from the file.
    pub is_input: bool,
}

/// `\watch [seconds] [c=times]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The pause between two runs.
    pub interval: Duration,
    /// How often to run the statement; `None` is until Ctrl-C.
    pub times: Option<u64>,
}

/// Understands one command, which starts with its backslash.
pub fn parse(text: &str) -> Result<Command> {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim();
    match name {
        "\\?" | "\\h" | "\\help" => Ok(Command::Help(optional(rest))),
        "\\assert" => assertion(text, rest),
        "\\copy" => copying(rest).map(Command::Copy),
        "\\d" if rest.is_empty() => Ok(Command::ListTables { sizes: false }),
        "\\d" => Ok(Command::Describe(rest.trim_end_matches(';').to_string())),
        "\\dt" => Ok(Command::ListTables { sizes: true }),
        "\\echo" => Ok(Command::Echo(unquoted(rest).to_string())),
        "\\format" => optional(rest).map(|name| name.parse()).transpose().map(Command::Format),
        "\\i" => required(name, rest).map(|file| Command::Include(PathBuf::from(file))),
        "\\o" => Ok(Command::Output(optional(unquoted(rest)).map(PathBuf::from))),
        "\\q" | "\\quit" => Ok(Command::Quit),
        "\\set" => Ok(set(rest)),
        "\\timing" => choice(name, rest, &[("on", true), ("off", false)]).map(Command::Timing),
        "\\unset" => required(name, rest).map(|name| Command::Unset(name.trim_start_matches('@').to_string())),
        "\\watch" => watch(rest).map(Command::Watch),
        "\\x" => {
            let choices = [("on", Expanded::On), ("off", Expanded::Off), ("auto", Expanded::Auto)];
            choice(name, rest, &choices).map(Command::Expanded)
        }
        unknown => Err(unknown_command(unknown)),
    }
}

fn unknown_command(name: &str) -> Error {
    let names = COMMANDS.iter().map(|entry| entry.name);
    let hint = match did_you_mean(name, names) {
        Some(near) => format!("Did you mean {near}?"),
        None => "\\? lists the commands.".to_string(),
    };
    Error::new(SqlState::SyntaxError, format!("there is no command {name}")).with_hint(hint).at(0..name.len())
}

fn assertion(text: &str, query: &str) -> Result<Command> {
    let query = query.trim_end_matches(';').trim_end();
    if query.is_empty() {
        return Err(Error::new(SqlState::SyntaxError, "\\assert needs a query").at(0..text.trim_end().len()));
    }
    let offset = text.find(query).unwrap_or(0);
    Ok(Command::Assert(Assertion { query: query.to_string(), offset }))
}

fn copying(rest: &str) -> Result<Copying> {
    let rest = rest.trim_end_matches(';').trim_end();
    let blank = |class| matches!(class, TokenClass::Other | TokenClass::Comment);
    let tokens: Vec<_> = language::tokens(rest).into_iter().filter(|(_, class)| !blank(*class)).collect();
    let mut depth = 0_usize;
    for pair in tokens.windows(2) {
        let [(word, _), (file, class)] = pair else { break };
        let stream = match rest[word.clone()].to_ascii_uppercase().as_str() {
            "(" => {
                depth += 1;
                continue;
            }
            ")" => {
                depth = depth.saturating_sub(1);
                continue;
            }
            "FROM" => "STDIN",
            "TO" => "STDOUT",
            _ => continue,
        };
        if depth == 0 && *class == TokenClass::String {
            let (name, options) = (unquoted(&rest[file.clone()]).replace("''", "'"), &rest[file.end..]);
            let options = if options.is_empty() { format_of(&name) } else { options };
            let statement = format!("COPY {} {stream}{options}", &rest[..word.end]);
            return Ok(Copying { statement, file: PathBuf::from(name), is_input: stream == "STDIN" });
        }
    }
    Err(Error::new(SqlState::SyntaxError, "\\copy does not say which file")
        .with_hint("\\copy ships FROM 'ships.csv', \\copy (QUERY ships WHERE tons > 9) TO 'large.csv'"))
}

/// What COPY would take a file's format for, where nothing is said.
fn format_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("csv") => " WITH (format csv, header true)",
        Some("tsv") => " WITH (format tsv, header true)",
        Some("json") => " WITH (format json)",
        Some("ndjson") => " WITH (format ndjson)",
        _ => "",
    }
}

fn set(rest: &str) -> Command {
    match rest.split_once(char::is_whitespace) {
        _ if rest.is_empty() => Command::ShowVariables(None),
        None => Command::ShowVariables(Some(rest.trim_start_matches('@').to_string())),
        Some((name, value)) => {
            Command::Set { name: name.trim_start_matches('@').to_string(), value: unquoted(value.trim()).to_string() }
        }
    }
}

fn watch(rest: &str) -> Result<Watch> {
    let mut watch = Watch { interval: WATCH_INTERVAL, times: None };
    for word in rest.trim_end_matches(';').split_whitespace() {
        let wrong = || {
            Error::new(SqlState::InvalidParameterValue, format!("\\watch does not understand \"{word}\""))
                .with_hint("\\watch 5 repeats every five seconds, \\watch 5 c=3 three times.")
        };
        match word.strip_prefix("c=") {
            Some(times) => watch.times = Some(times.parse().map_err(|_| wrong())?),
            None => {
                let seconds: f64 = word.strip_prefix("i=").unwrap_or(word).parse().map_err(|_| wrong())?;
                watch.interval = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
            }
        }
    }
    Ok(watch)
}

/// One of several words, or none at all.
fn choice<T: Copy>(name: &str, rest: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
    if rest.is_empty() {
        return Ok(None);
    }
    let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(rest));
    found.map(|(_, value)| Some(*value)).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        Error::new(SqlState::InvalidParameterValue, format!("{name} takes {}, not \"{rest}\"", words.join(", ")))
    })
}

fn optional(rest: &str) -> Option<String> {
    Some(rest).filter(|rest| !rest.is_empty()).map(str::to_string)
}

fn required(name: &str, rest: &str) -> Result<String> {
    let needs = COMMANDS.iter().find(|entry| entry.name == name).map_or("", |entry| entry.arguments);
    optional(unquoted(rest)).ok_or_else(|| Error::new(SqlState::SyntaxError, format!("{name} needs a {needs}")))
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Command {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn commands_and_their_arguments() {
        assert_eq!(parsed("\\d"), Command::ListTables { sizes: false });
        assert_eq!(parsed("\\d  flights;"), Command::Describe("flights".to_string()));
        assert_eq!(parsed("\\dt"), Command::ListTables { sizes: true });
        assert_eq!(parsed("\\x AUTO"), Command::Expanded(Some(Expanded::Auto)));
        assert_eq!(parsed("\\timing"), Command::Timing(None));
        assert_eq!(parsed("\\format json"), Command::Format(Some(Format::Json)));
        assert_eq!(parsed("\\i 'my file.pql'"), Command::Include(PathBuf::from("my file.pql")));
        assert_eq!(parsed("\\o"), Command::Output(None));
        assert_eq!(parsed("\\set @n 5"), Command::Set { name: "n".to_string(), value: "5".to_string() });
        assert_eq!(parsed("\\set n 'a b'"), Command::Set { name: "n".to_string(), value: "a b".to_string() });
        assert_eq!(parsed("\\set n"), Command::ShowVariables(Some("n".to_string())));
    }

    #[test]
    fn copying_puts_a_stream_in_the_place_of_the_file() {
        let copy = |text: &str| match parsed(text) {
            Command::Copy(Copying { statement, file, is_input }) => (statement, file.display().to_string(), is_input),
            other => panic!("{other:?}"),
        };
        let expected = ("COPY t (a, b) FROM STDIN WITH (null 'x')".to_string(), "a b's.csv".to_string(), true);
        assert_eq!(copy("\\copy t (a, b) FROM 'a b''s.csv' WITH (null 'x');"), expected);
        let query = "(SELECT a FROM t WHERE b > 'to')";
        let expected = (format!("COPY {query} TO STDOUT WITH (format csv, header true)"), "x.csv".to_string(), false);
        assert_eq!(copy(&format!("\\copy {query} TO 'x.csv'")), expected);
        assert_eq!(copy("\\copy t to 'x'").0, "COPY t to STDOUT");
        for text in ["\\copy", "\\copy t", "\\copy t FROM", "\\copy t FROM x.csv", "\\copy (SELECT 1 FROM 'x')"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn watch_takes_seconds_and_a_count() {
        let watch = |millis, times| Command::Watch(Watch { interval: Duration::from_millis(millis), times });
        assert_eq!(parsed("\\watch"), watch(2_000, None));
        assert_eq!(parsed("\\watch 0.5;"), watch(500, None));
        assert_eq!(parsed("\\watch i=1 c=3"), watch(1_000, Some(3)));
        assert!(parse("\\watch soon").is_err() && parse("\\watch -1").is_err() && parse("\\watch c=x").is_err());
    }

    #[test]
    fn assertions_know_where_their_query_starts() {
        let expected = Assertion { query: "SELECT true".to_string(), offset: 9 };
        assert_eq!(parsed("\\assert  SELECT true ;"), Command::Assert(expected));
        assert!(parse("\\assert ;").is_err());
    }

    #[test]
    fn unknown_commands_suggest_the_nearest() {
        let error = parse("\\wacth 3").expect_err("no such command");
        assert_eq!(error.hint.as_deref(), Some("Did you mean \\watch?"));
        assert_eq!(error.span, Some(0..6));
        assert_eq!(parse("\\zzzzzz").expect_err("none").hint.as_deref(), Some("\\? lists the commands."));
        assert!(parse("\\timing maybe").expect_err("on or off").message.contains("on, off"));
    }

    #[test]
    fn every_listed_command_is_understood() {
        for entry in COMMANDS {
            let argument = match entry.name {
                "\\copy" => "t FROM 'file'",
                "\\format" => "csv",
                "\\timing" | "\\x" => "on",
                "\\watch" => "1",
                "\\q" | "\\dt" => "",
                _ => "something",
            };
            parsed(&format!("{} {argument}", entry.name));
        }
    }
}
