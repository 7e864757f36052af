//! The interactive prompt.
//!
//! rustyline blocks while it waits for keys, so it lives on a thread of its own: the shell sends it a prompt and gets back
//! a line. Lines pile up until a semicolon ends a statement; backslash commands end with their line. History keeps whole
//! statements, whatever lines they were typed on.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::completion::{Names, complete};
use crate::connection::TransactionState;
use crate::language::{self, TokenClass};
use crate::run::Outcome;
use crate::script::Script;
use crate::shell::{Failure, Shell};

/// What came from the keyboard.
#[derive(Debug)]
enum Input {
    Line(String),
    /// Ctrl-C
    Cleared,
    /// Ctrl-D, or a terminal that went away.
    End,
}

/// What the thread that owns the terminal is asked.
enum Request {
    Read { prompt: String },
    Remember(String),
}

impl Shell {
    /// Reads statements from the terminal until the user leaves.
    pub async fn prompt(&mut self, history: Option<PathBuf>) -> Outcome {
        self.is_interactive = true;
        let names = Arc::new(Mutex::new(Names::default()));
        let (requests, mut inputs) = match open_terminal(Arc::clone(&names), history) {
            Ok(channels) => channels,
            Err(error) => {
                let _ = writeln!(self.streams.err(), "the terminal cannot be used: {error}");
                return Outcome::Unreadable;
            }
        };
        let mut buffer = String::new();
        let mut entry = String::new();
        loop {
            if self.names_changed && self.connection.transaction() != TransactionState::Failed {
                let known = self.names().await;
                *names.lock().unwrap_or_else(PoisonError::into_inner) = known;
            }
            let prompt = prompt_text(self.connection.transaction(), !buffer.is_empty()).to_string();
            if requests.send(Request::Read { prompt }).await.is_err() {
                return Outcome::Succeeded;
            }
            match inputs.recv().await {
                Some(Input::Line(line)) => {
                    buffer.push_str(&line);
                    entry.push_str(&line);
                    let failure = self.take_items(&mut buffer).await;
                    if !buffer.is_empty() {
                        entry.push('\n');
                    } else if !entry.trim().is_empty() {
                        // A history that is not kept is no reason to stop.
                        let _ = requests.send(Request::Remember(std::mem::take(&mut entry))).await;
                    }
                    if let Err(Failure::Quit | Failure::Closed) = failure {
                        return Outcome::Succeeded;
                    }
                }
                Some(Input::Cleared) => {
                    buffer.clear();
                    entry.clear();
                }
                Some(Input::End) | None => return Outcome::Succeeded,
            }
        }
    }

    /// Runs what is complete in the buffer and leaves the rest.
    async fn take_items(&mut self, buffer: &mut String) -> Result<(), Failure> {
        let source = std::mem::take(buffer);
        let script = Script::read(&source);
        if let Some(rest) = script.tail.as_ref().or(script.open.as_ref()) {
            *buffer = script.pql[rest.start..].to_string() + "\n";
        }
        self.interrupt.forget();
        for item in &script.items {
            match self.item(item, &script, &source, None).await {
                // What else stood on the line was meant for the connection that broke.
                Err(Failure::Reported) if self.connection.is_lost() => break,
                Ok(()) | Err(Failure::Reported | Failure::Failed(_)) => {}
                Err(Failure::Interrupted) => {
                    // What else stood on the line was meant to follow the statement that was stopped.
                    writeln!(self.streams.err(), "\nCancelled.")?;
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(self.streams.flush()?)
    }
}

/// `evenkeel=> `; a star while a transaction is open, an exclamation mark when it has failed, `-` within a statement.
fn prompt_text(transaction: TransactionState, continued: bool) -> &'static str {
    match (transaction, continued) {
        (TransactionState::Idle, false) => "evenkeel=> ",
        (TransactionState::Idle, true) => "evenkeel-> ",
        (TransactionState::Open, false) => "evenkeel=*> ",
        (TransactionState::Open, true) => "evenkeel-*> ",
        (TransactionState::Failed, false) => "evenkeel=!> ",
        (TransactionState::Failed, true) => "evenkeel-!> ",
    }
}

type Terminal = (Sender<Request>, Receiver<Input>);

fn open_terminal(names: Arc<Mutex<Names>>, history: Option<PathBuf>) -> rustyline::Result<Terminal> {
    let config = Config::builder()
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor: Editor<Assistant, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant { names }));
    let (requests, received) = channel(1);
    let (answers, inputs) = channel(1);
    thread::Builder::new().name("prompt".to_string()).spawn(move || serve(editor, history, received, answers))?;
    Ok((requests, inputs))
}

/// The life of the thread that owns the terminal.
fn serve(
    mut editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
    mut requests: Receiver<Request>,
    answers: Sender<Input>,
) {
    if let Some(file) = &history {
        // The first session has no history yet.
        let _ = editor.load_history(file);
        let _ = file.parent().map(fs::create_dir_all);
    }
    while let Some(request) = requests.blocking_recv() {
        match request {
            Request::Read { prompt } => {
                let input = match editor.readline(&prompt) {
                    Ok(line) => Input::Line(line),
                    Err(ReadlineError::Interrupted) => Input::Cleared,
                    Err(_) => Input::End,
                };
                if answers.blocking_send(input).is_err() {
                    break;
                }
            }
            Request::Remember(entry) => {
                let _ = editor.add_history_entry(evenkeel_pql::masked(&entry));
                // Appended at once: a session that ends badly loses nothing.
                let _ = history.as_ref().map(|file| editor.append_history(file));
            }
        }
    }
}

/// What rustyline asks while a line is edited.
struct Assistant {
    names: Arc<Mutex<Names>>,
}

impl rustyline::Helper for Assistant {}

impl Validator for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(complete(&names, line, cursor))
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        Cow::Owned(highlighted(line))
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Owned(format!("\u{1b}[1m{prompt}\u{1b}[0m"))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

/// The line with colours; its letters stay the same.
fn highlighted(line: &str) -> String {
    if line.trim_start().starts_with('\\') {
        return format!("\u{1b}[35m{line}\u{1b}[0m");
    }
    let mut out = String::new();
    for (span, class) in language::tokens(line) {
        let text = &line[span];
        match colour(class) {
            Some(code) => out.push_str(&format!("\u{1b}[{code}m{text}\u{1b}[0m")),
            None => out.push_str(text),
        }
    }
    out
}

fn colour(class: TokenClass) -> Option<&'static str> {
    match class {
        TokenClass::Keyword => Some("1;34"),
        TokenClass::String => Some("32"),
        TokenClass::Number => Some("36"),
        TokenClass::Comment => Some("90"),
        TokenClass::Parameter => Some("35"),
        TokenClass::Identifier | TokenClass::Operator | TokenClass::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::fake::{FATAL, Fake, Stage};

    #[tokio::test]
    async fn lines_pile_up_until_a_statement_ends() {
        let mut stage = Stage::new(Fake::default(), &Options::default());
        let mut buffer = String::new();
        for (line, rest) in [
            ("SELECT", "SELECT\n"),
            ("\\echo between", "SELECT\n             \n"),
            ("1; SELECT '", "SELECT '\n"),
            ("\\d';", ""),
            ("\\nonsense", ""),
            ("SELECT 3; /* still", "/* still\n"),
            ("*/ SELECT 2; -- done", ""),
        ] {
            buffer.push_str(line);
            assert!(stage.shell.take_items(&mut buffer).await.is_ok());
            assert_eq!(buffer, rest);
        }
        assert_eq!(stage.log(), ["SELECT\n             \n1", "SELECT '\n\\d'", "SELECT 3", "SELECT 2"]);
        assert_eq!(stage.out(), "between\nOK\nOK\nOK\nOK\n");
        assert!(stage.err().contains("there is no command \\nonsense"));
        buffer.push_str("\\q");
        assert!(matches!(stage.shell.take_items(&mut buffer).await, Err(Failure::Quit)));
    }

    #[tokio::test]
    async fn the_prompt_connects_again_and_says_so() {
        let mut stage = Stage::new(Fake::default(), &Options::default());
        stage.shell.is_interactive = true;
        for line in [&format!("{FATAL}; SELECT 1;"), "\\echo still", "SELECT 2;"] {
            assert!(stage.shell.take_items(&mut line.to_string()).await.is_ok());
        }
        assert_eq!(stage.log(), [FATAL, "SELECT 2"]);
        assert!(stage.err().ends_with("NOTICE: connected again\n"), "{}", stage.err());
    }

    #[test]
    fn the_prompt_shows_the_transaction() {
        assert_eq!(prompt_text(TransactionState::Idle, false), "evenkeel=> ");
        assert_eq!(prompt_text(TransactionState::Idle, true), "evenkeel-> ");
        assert_eq!(prompt_text(TransactionState::Open, false), "evenkeel=*> ");
        assert_eq!(prompt_text(TransactionState::Failed, false), "evenkeel=!> ");
    }

    #[test]
    fn highlighting_adds_colour_and_nothing_else() {
        let line = "QUERY flights WHERE name = 'ü' -- x";
        let painted = highlighted(line);
        assert!(painted.starts_with("\u{1b}[1;34mQUERY\u{1b}[0m flights "));
        assert!(painted.contains("\u{1b}[32m'ü'\u{1b}[0m") && painted.ends_with("\u{1b}[90m-- x\u{1b}[0m"));
        let plain: String =
            painted.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |(_, text)| text)).collect();
        assert_eq!(plain.len(), line.len());
    }
}
