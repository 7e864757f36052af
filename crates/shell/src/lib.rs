//! The interactive prompt and the script runner.
//!
//! ```text
//!   keyboard ─▶ prompt ─┐                                ┌─▶ format  ─▶ standard output, or the file of \o
//!                       ├─▶ script ─▶ shell ─▶ Connection┤
//!   file, -c, stdin ────┘       (items)         (events) └─▶ notices, errors, progress ─▶ standard error
//! ```
//!
//! The shell knows a database only as a [`connection::Connection`], which speaks PostgreSQL's protocol ([`remote`]) with a
//! server elsewhere or in this process, and the language only through [`evenkeel_pql`]. It
//! takes a script apart into statements and backslash commands ([`backslash`]), runs them one by one, and writes what
//! comes back in one of the formats of [`mod@format`]. Prompt and scripts are the same [`Shell`]; they differ in where text
//! comes from and in what happens after an error.

pub mod backslash;
mod command;
mod completion;
pub mod connection;
#[cfg(test)]
mod fake;
pub mod format;
mod interrupt;
mod language;
mod progress;
mod prompt;
pub mod remote;
pub mod rows;
mod run;
mod script;
mod shell;
mod streams;
mod value;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connection::Connection;
pub use format::{Expanded, Format};
pub use interrupt::Interrupt;
pub use run::Outcome;
pub use shell::Shell;
pub use streams::Streams;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The output format; a table when it is not said.
    pub format: Option<Format>,
    /// Whether rows stand as blocks.
    pub expanded: Expanded,
    /// Whether to show how long statements take.
    pub timing: bool,
    /// Values of `@name`, without the `@`.
    pub variables: Vec<(String, String)>,
    /// Whether to go on after an error; the exit code is 1 all the same.
    pub keep_going: bool,
    /// Scripts of `-c`, run in order.
    pub commands: Vec<String>,
    /// Where the prompt keeps its history.
    pub history: Option<PathBuf>,
    /// What the prompt says first.
    pub banner: Option<String>,
}

/// `evenkeel shell`: runs the scripts of `-c`, or standard input where it is no terminal, or the prompt. Returns the exit
/// code of the process.
pub async fn interactive(connection: Arc<dyn Connection>, options: Options) -> i32 {
    let mut shell = Shell::new(connection, &options, Streams::standard(), Interrupt::from_signals());
    shell.rows_on_input = !options.commands.is_empty() && !io::stdin().is_terminal();
    let outcome = if !options.commands.is_empty() {
        shell.run_all(&options.commands, &[]).await
    } else if !io::stdin().is_terminal() {
        shell.run_standard_input().await
    } else {
        shell.greet(options.banner.as_deref());
        shell.prompt(options.history).await
    };
    outcome.exit_code()
}

/// `evenkeel run`: runs the scripts of `-c`, then the files; `-` is standard input, as is saying neither. Returns the exit
/// code of the process.
pub async fn run(connection: Arc<dyn Connection>, options: Options, files: &[PathBuf]) -> i32 {
    let mut shell = Shell::new(connection, &options, Streams::standard(), Interrupt::from_signals());
    let scripted = files.iter().any(|file| file == Path::new("-")) || (options.commands.is_empty() && files.is_empty());
    shell.rows_on_input = !scripted && !io::stdin().is_terminal();
    let outcome = if options.commands.is_empty() && files.is_empty() {
        shell.run_standard_input().await
    } else {
        shell.run_all(&options.commands, files).await
    };
    outcome.exit_code()
}

impl Shell {
    /// Runs scripts, then files, up to the first that does not succeed; with `keep_going` up to Ctrl-C.
    pub async fn run_all(&mut self, scripts: &[String], files: &[PathBuf]) -> Outcome {
        let mut worst = Outcome::Succeeded;
        let sources = scripts.iter().map(Source::Text).chain(files.iter().map(Source::File));
        for source in sources {
            let outcome = match source {
                Source::Text(text) => self.run_script(text, "-c").await,
                Source::File(path) if path == Path::new("-") => self.run_standard_input().await,
                Source::File(path) => self.run_file(path).await,
            };
            if outcome == Outcome::Interrupted || (outcome != Outcome::Succeeded && !self.settings.keep_going) {
                return outcome;
            }
            if worst == Outcome::Succeeded {
                worst = outcome;
            }
        }
        worst
    }

    async fn run_standard_input(&mut self) -> Outcome {
        match io::read_to_string(io::stdin()) {
            Ok(source) => self.run_script(&source, "stdin").await,
            Err(error) => {
                // Where this cannot be told either, the exit code still does.
                let _ = writeln!(self.streams.err(), "standard input cannot be read: {error}");
                Outcome::Unreadable
            }
        }
    }

    fn greet(&mut self, banner: Option<&str>) {
        if let Some(banner) = banner {
            // A greeting that cannot be written is not missed.
            let _ = writeln!(self.streams.out(), "{banner}");
            let _ = self.streams.flush();
        }
    }
}

enum Source<'a> {
    Text(&'a String),
    File(&'a PathBuf),
}
