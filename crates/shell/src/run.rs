//! Running scripts: files, `-c` and standard input.
//!
//! A script is checked whole before anything of it runs: a typing error in its last line must not leave half its work
//! done. Then its items run in order, up to the first that fails. `keep_going` gives up both: it runs what it can, and
//! still says at the end that something failed.

use std::fs;
use std::path::Path;

use evenkeel_model::{Error, Span, SqlState};

use crate::backslash;
use crate::language;
use crate::script::{Item, Script};
use crate::shell::{Failure, Shell};

/// How a script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every statement and assertion succeeded, or `\q` ended it, or nobody reads the output any more.
    Succeeded,
    /// A statement or an assertion failed.
    Failed,
    /// The script cannot be read.
    Unreadable,
    /// Ctrl-C.
    Interrupted,
}

impl Outcome {
    /// The exit code of a process that did nothing else.
    pub fn exit_code(self) -> i32 {
        match self {
            Outcome::Succeeded => 0,
            Outcome::Failed => 1,
            Outcome::Unreadable => 2,
            Outcome::Interrupted => 130,
        }
    }
}

impl Shell {
    /// Runs a script. `origin` is what errors call it: a file's name, `stdin`.
    pub async fn run_script(&mut self, source: &str, origin: &str) -> Outcome {
        let outcome = self.run_source(source, origin).await;
        let flushed = self.streams.flush().map_err(Failure::from);
        match outcome.and(flushed) {
            Ok(()) | Err(Failure::Quit | Failure::Closed) => Outcome::Succeeded,
            Err(Failure::Interrupted) => Outcome::Interrupted,
            Err(Failure::Reported | Failure::Failed(_)) => Outcome::Failed,
        }
    }

    /// Runs a file's script.
    pub async fn run_file(&mut self, path: &Path) -> Outcome {
        match read(path) {
            Ok(source) => {
                self.including.push(path.to_path_buf());
                let outcome = self.run_script(&source, &path.display().to_string()).await;
                self.including.pop();
                outcome
            }
            Err(error) => {
                // An error that cannot be told either changes nothing about it.
                let _ = self.report(&error, "", None);
                Outcome::Unreadable
            }
        }
    }

    /// Runs a script that another may have included; errors are reported here.
    pub(crate) async fn run_source(&mut self, source: &str, origin: &str) -> Result<(), Failure> {
        let script = Script::read_whole(source);
        let errors = self.preliminary_errors(source, &script);
        for error in &errors {
            self.report(error, source, Some(origin))?;
        }
        if !errors.is_empty() && !self.settings.keep_going {
            return Err(Failure::Reported);
        }
        let mut failed = !errors.is_empty();
        for item in &script.items {
            if errors.iter().any(|error| error.span.as_ref().is_some_and(|span| is_within(span, item))) {
                continue;
            }
            match self.item(item, &script, source, Some(origin)).await {
                Ok(()) => {}
                // Without a connection there is nothing to go on with.
                Err(Failure::Reported) if self.settings.keep_going && !self.connection.is_lost() => failed = true,
                Err(failure) => return Err(failure),
            }
        }
        if failed { Err(Failure::Reported) } else { Ok(()) }
    }

    /// Everything that is wrong with a script before it runs.
    fn preliminary_errors(&self, source: &str, script: &Script) -> Vec<Error> {
        let mut errors = language::syntax_errors(&script.pql);
        for item in &script.items {
            if let Item::Command(span) | Item::Watch { command: span, .. } = item {
                errors.extend(backslash::parse(&source[span.clone()]).err().map(|error| place(error, span)));
            }
        }
        errors.sort_by_key(|error| error.span.as_ref().map_or(0, |span| span.start));
        errors
    }

    /// Runs one item and reports its error, with the place in `source`.
    pub(crate) async fn item(
        &mut self,
        item: &Item,
        script: &Script,
        source: &str,
        origin: Option<&str>,
    ) -> Result<(), Failure> {
        if self.interrupt.is_raised() {
            return Err(Failure::Interrupted);
        }
        let (span, outcome) = match item {
            Item::Statement(span) => (span, self.statement(&script.pql[span.clone()]).await),
            Item::Command(span) => (span, self.command(&source[span.clone()]).await),
            Item::Watch { statement, command } => {
                self.last_statement = Some(script.pql[statement.clone()].to_string());
                (statement, self.command(&source[command.clone()]).await)
            }
        };
        match outcome {
            Err(Failure::Failed(error)) => {
                let (error, text) = match origin {
                    Some(_) => (place(error, span), source),
                    None => (error, &source[span.clone()]),
                };
                self.report(&error, text, origin)?;
                Err(Failure::Reported)
            }
            outcome => outcome,
        }
    }
}

/// An error of an item, with its place in the script. Without a place of its own it gets the item's first word.
fn place(mut error: Error, item: &Span) -> Error {
    let within = error.span.take().unwrap_or(0..0);
    error.span = Some((item.start + within.start).min(item.end)..(item.start + within.end).min(item.end));
    error
}

fn is_within(place: &Span, item: &Item) -> bool {
    let (Item::Statement(span) | Item::Command(span) | Item::Watch { statement: span, .. }) = item;
    span.start <= place.start && place.start <= span.end
}

/// Reads a script.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| {
        Error::new(SqlState::UndefinedFile, format!("{} cannot be read", path.display())).with_detail(error.to_string())
    })
}

#[cfg(test)]
mod tests;
