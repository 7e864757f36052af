//! A part of a stream of bytes that moves on as it is used up.

use evenkeel_model::{Error, Result, SqlState};
use std::io::{ErrorKind, Read};

const SIZE: usize = 256 << 10;
/// A record has to lie in the window as a whole.
const SIZE_MAX: usize = 256 << 20;

/// What of a stream is in memory: `rest` begins at the first byte that is not used up.
pub(super) struct Window {
    input: Box<dyn Read + Send>,
    file: String,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl Window {
    pub(super) fn new(input: Box<dyn Read + Send>, file: &str) -> Self {
        Self { input, file: file.to_string(), bytes: vec![0; SIZE], start: 0, end: 0, ended: false }
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Whether nothing comes after `rest`.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Uses up bytes of `rest`.
    pub(super) fn advance(&mut self, length: usize) {
        self.start = (self.start + length).min(self.end);
    }

    /// Makes `rest` longer, or finds that the stream has ended. The window is filled as a whole, so that a record is
    /// looked at from its start only once for every doubling of its length.
    ///
    /// # Errors
    /// 54000 for a record that is too long, or what reading says.
    pub(super) fn fill(&mut self) -> Result<()> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.bytes.len() {
            if self.end >= SIZE_MAX {
                let message = format!("a record of \"{}\" is longer than {} MiB", self.file, SIZE_MAX >> 20);
                return Err(Error::new(SqlState::ProgramLimitExceeded, message)
                    .with_hint("a quote that is not closed makes one record of all that follows"));
            }
            self.bytes.resize(self.end * 2, 0);
        }
        while self.end < self.bytes.len() {
            match self.input.read(&mut self.bytes[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(length) => self.end += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(super::input::read_error(&self.file, &error)),
            }
        }
        Ok(())
    }
}
