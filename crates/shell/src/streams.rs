//! Where results and messages go.
//!
//! Results go to standard output, or to the file that `\o` named; errors, notices and progress go to standard error.
//! Both are plain writers, so that tests read what a user would have seen.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

/// The width taken where a terminal does not tell its own.
const TERMINAL_WIDTH_DEFAULT: usize = 80;

/// The two ways out of the shell.
pub struct Streams {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// The file that results go to instead.
    file: Option<BufWriter<File>>,
    out_is_terminal: bool,
    err_is_terminal: bool,
}

impl Streams {
    /// The process's own.
    pub fn standard() -> Self {
        Self {
            out: Box::new(BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            file: None,
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Any two writers; neither is taken for a terminal.
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self { out, err, file: None, out_is_terminal: false, err_is_terminal: false }
    }

    /// Where results go now.
    pub fn out(&mut self) -> &mut dyn Write {
        match &mut self.file {
            Some(file) => file,
            None => &mut self.out,
        }
    }

    /// Where errors and notices go.
    pub fn err(&mut self) -> &mut dyn Write {
        &mut self.err
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out().flush()?;
        self.err.flush()
    }

    /// Sends results to a new file, or back to where they went at first.
    pub fn redirect(&mut self, file: Option<&Path>) -> io::Result<()> {
        self.flush()?;
        self.file = file.map(File::create).transpose()?.map(BufWriter::new);
        Ok(())
    }

    /// The columns of the terminal that results go to, if they go to one.
    pub fn terminal_width(&self) -> Option<usize> {
        if self.file.is_some() || !self.out_is_terminal {
            return None;
        }
        Some(terminal_size::terminal_size().map_or(TERMINAL_WIDTH_DEFAULT, |(width, _)| usize::from(width.0)))
    }

    /// Whether messages go to a terminal.
    pub fn err_is_terminal(&self) -> bool {
        self.err_is_terminal
    }
}
