//! The shell itself: a connection, settings, and the two ways out.
//!
//! Prompt and scripts share it. One statement runs at a time; while it does, results are written as they come, and Ctrl-C
//! asks the database to stop (a second one stops listening to it).

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_model::{Error, SqlState};
use futures::StreamExt;

use crate::Options;
use crate::connection::{Connection, Event, Input, Notice};
use crate::format::{self, Expanded, Format, Layout, Rows};
use crate::interrupt::Interrupt;
use crate::language::{self, Awaited};
use crate::progress::Bars;
use crate::rows::Batch;
use crate::streams::Streams;

const OPEN_JOBS: &str = "SELECT job_id FROM SYSTEM.JOBS WHERE finished_at IS NULL ORDER BY job_id";

/// What the backslash commands change.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub format: Format,
    pub expanded: Expanded,
    pub timing: bool,
    pub keep_going: bool,
    /// The values of `@name`, in the order they were set.
    pub variables: Vec<(String, String)>,
}

/// Why something that was to be done is not.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The statement or command failed, and nobody has been told yet.
    Failed(Error),
    /// It failed, and the user knows.
    Reported,
    /// Ctrl-C.
    Interrupted,
    /// `\q`
    Quit,
    /// Whoever reads the results has gone.
    Closed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Failed(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Failed(Error::new(SqlState::IoError, format!("the output cannot be written: {error}"))),
        }
    }
}

/// A session at the prompt or of scripts.
pub struct Shell {
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) settings: Settings,
    pub(crate) streams: Streams,
    pub(crate) interrupt: Interrupt,
    /// What `\watch` repeats.
    pub(crate) last_statement: Option<String>,
    /// The scripts that are being run, outermost first: where `\i` looks, and how deep it is.
    pub(crate) including: Vec<PathBuf>,
    /// Whether tables or columns may have changed since completion last asked.
    pub(crate) names_changed: bool,
    /// Whether somebody sits at a prompt and likes to be told what a command changed.
    pub(crate) is_interactive: bool,
    /// Whether standard input holds rows for COPY FROM STDIN: no terminal, and not the script itself.
    pub(crate) rows_on_input: bool,
    bars: Bars,
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shell").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Shell {
    /// A shell over a connection that writes to these streams and stops at this interrupt.
    pub fn new(connection: Arc<dyn Connection>, options: &Options, streams: Streams, interrupt: Interrupt) -> Self {
        let bars = Bars::new(streams.err_is_terminal());
        Self {
            connection,
            settings: Settings {
                format: options.format.unwrap_or_default(),
                expanded: options.expanded,
                timing: options.timing,
                keep_going: options.keep_going,
                variables: options.variables.clone(),
            },
            streams,
            interrupt,
            last_statement: None,
            including: Vec::new(),
            names_changed: true,
            is_interactive: false,
            rows_on_input: false,
            bars,
        }
    }

    /// Runs one statement and writes what it answers.
    pub(crate) async fn statement(&mut self, statement: &str) -> Result<(), Failure> {
        self.last_statement = Some(statement.to_string());
        let input: Input = self.rows_on_input.then(|| Box::new(io::stdin()) as Box<_>);
        self.statement_with(statement, input).await
    }

    /// Runs one statement that may ask for rows.
    pub(crate) async fn statement_with(&mut self, statement: &str, input: Input) -> Result<(), Failure> {
        self.revive().await?;
        self.names_changed |= language::changes_names(statement);
        let layout = self.layout();
        let started = Instant::now();
        let mut result = Written::Nothing;
        let outcome = self.drive(statement, input, |shell, event| shell.show(event, layout, &mut result)).await;
        if self.settings.timing {
            self.write_time(started.elapsed())?;
        }
        if let (Err(Failure::Interrupted), Some(awaited)) = (&outcome, language::awaited(statement)) {
            self.tell_what_goes_on(awaited).await?;
        }
        self.streams.flush()?;
        outcome
    }

    /// At the prompt, connects again where the connection has broken.
    pub(crate) async fn revive(&mut self) -> Result<(), Failure> {
        if !self.is_interactive {
            return Ok(());
        }
        let connection = Arc::clone(&self.connection);
        let mut interrupt = self.interrupt.clone();
        let revived = tokio::select! {
            revived = connection.revive() => revived?,
            () = interrupt.pressed() => return Err(Failure::Interrupted),
        };
        Ok(revived.iter().try_for_each(|notice| self.notice(notice))?)
    }

    /// Tells which of the jobs that were waited for go on: only the waiting was stopped.
    async fn tell_what_goes_on(&mut self, awaited: Awaited) -> io::Result<()> {
        // Who can't be asked has nothing to tell.
        let batches = self.collect(OPEN_JOBS).await.unwrap_or_default();
        let numbers = batches.iter().flat_map(Batch::rows).flatten().filter_map(|(_, job)| job?.parse().ok());
        let jobs: Vec<u64> = numbers.collect();
        let last = jobs.last().copied();
        for job in jobs {
            if awaited == Awaited::All
                || awaited == Awaited::One(job)
                || (awaited == Awaited::Last && last == Some(job))
            {
                let (message, hint) = (format!("job {job} goes on"), format!("CANCEL JOB {job} stops it"));
                self.notice(&Notice { message, hint: Some(hint) })?;
            }
        }
        Ok(())
    }

    /// Runs a query for the shell's own use, such as an assertion.
    pub(crate) async fn collect(&mut self, query: &str) -> Result<Vec<Batch>, Failure> {
        let mut batches = Vec::new();
        let take = |shell: &mut Self, event| match event {
            Event::Batch(batch) => {
                batches.push(batch);
                Ok(())
            }
            Event::Notice(notice) => shell.notice(&notice),
            _ => Ok(()),
        };
        self.drive(query, None, take).await?;
        Ok(batches)
    }

    /// Runs a statement, giving every event to `take`.
    pub(crate) async fn drive<F>(&mut self, statement: &str, input: Input, mut take: F) -> Result<(), Failure>
    where
        F: FnMut(&mut Self, Event) -> io::Result<()>,
    {
        let connection = Arc::clone(&self.connection);
        let variables = self.settings.variables.clone();
        let mut interrupt = self.interrupt.clone();
        let mut stream = connection.execute(statement, &variables, input);
        let mut cancelled = false;
        let outcome = loop {
            let event = tokio::select! {
                event = stream.next() => event,
                () = interrupt.pressed() => {
                    if cancelled {
                        break Err(Failure::Interrupted);
                    }
                    connection.cancel();
                    cancelled = true;
                    continue;
                }
            };
            match event {
                None => break Ok(()),
                Some(Err(error)) => break Err(Failure::Failed(error)),
                Some(Ok(event)) => {
                    if let Err(error) = take(self, event) {
                        break Err(error.into());
                    }
                }
            }
        };
        self.bars.clear();
        self.interrupt.forget();
        match outcome {
            Err(Failure::Closed) => Err(Failure::Closed),
            _ if cancelled => Err(Failure::Interrupted),
            outcome => outcome,
        }
    }

    fn show(&mut self, event: Event, layout: Layout, result: &mut Written) -> io::Result<()> {
        match event {
            Event::Columns(columns) => *result = Written::Rows(format::rows(layout, &columns)),
            Event::Batch(batch) => {
                self.bars.clear();
                if let Written::Rows(rows) = result {
                    rows.batch(self.streams.out(), &batch)?;
                }
                self.streams.flush()?;
            }
            Event::Notice(notice) => self.notice(&notice)?,
            Event::Progress(progress) => self.bars.show(&progress),
            Event::Copy(rows) => {
                self.bars.clear();
                self.streams.out().write_all(&rows)?;
                *result = Written::Copy;
            }
            Event::Complete(tag) => {
                self.bars.clear();
                let says_it_all = match result {
                    Written::Nothing => true,
                    // The rows of a query are its result; those of RETURNING are not the whole of it.
                    Written::Rows(rows) => {
                        rows.finish(self.streams.out())?;
                        is_change(&tag)
                    }
                    // A file that they go to holds nothing else.
                    Written::Copy => false,
                };
                if says_it_all && layout.format.is_for_people() {
                    writeln!(self.streams.out(), "{tag}")?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout {
            format: self.settings.format,
            expanded: self.settings.expanded,
            terminal_width: self.streams.terminal_width(),
        }
    }

    /// Writes a line to where results go.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.streams.out(), "{line}")
    }

    /// Tells an error, with its place in `source`.
    pub(crate) fn report(&mut self, error: &Error, source: &str, origin: Option<&str>) -> io::Result<()> {
        // What was printed before the error stands before it, also where both end in one terminal.
        self.streams.out().flush()?;
        let text = language::render(error, source, origin);
        self.streams.err().write_all(text.as_bytes())?;
        self.streams.err().flush()
    }

    pub(crate) fn notice(&mut self, notice: &Notice) -> io::Result<()> {
        self.bars.clear();
        self.streams.out().flush()?;
        writeln!(self.streams.err(), "NOTICE: {}", notice.message)?;
        match &notice.hint {
            Some(hint) => writeln!(self.streams.err(), "HINT: {hint}"),
            None => Ok(()),
        }
    }

    fn write_time(&mut self, elapsed: Duration) -> io::Result<()> {
        let line = format!("Time: {:.3} ms", elapsed.as_secs_f64() * 1_000.0);
        if self.settings.format.is_for_people() { self.say(&line) } else { writeln!(self.streams.err(), "{line}") }
    }
}

/// What a statement has written so far.
enum Written {
    Nothing,
    Rows(Box<dyn Rows>),
    /// Rows of a COPY.
    Copy,
}

/// Whether a command tag is that of a statement that changes rows.
fn is_change(tag: &str) -> bool {
    ["INSERT", "UPSERT", "UPDATE", "DELETE", "MERGE"].iter().any(|verb| tag.starts_with(verb))
}
