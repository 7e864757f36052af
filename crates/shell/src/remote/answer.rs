//! One statement and its answer: from the message that asks to the one that says the next may come.

use std::io::{self, Read};

use bytes::Bytes;
use evenkeel_model::{Error, Result, SqlState};
use postgres_protocol::message::backend::{Message, ReadyForQueryBody};
use postgres_protocol::message::frontend::{self, CopyData};
use tokio::sync::{MutexGuard, mpsc};

use super::decode::{self, Report};
use super::line::Line;
use super::variables::Bound;
use super::{Link, Remote};
use crate::connection::{Connection, Event, Input, TransactionState};
use crate::rows::{Batch, Columns};

/// Rows that are handed on at once, if they are there, and their bytes.
const BATCH_ROWS_MAX: usize = 4_096;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// What a COPY reads at once, and how many such pieces it may be ahead.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_AHEAD: usize = 4;

/// A statement under way. One that is dropped before its end is cancelled.
pub struct Answer<'a> {
    remote: &'a Remote,
    link: MutexGuard<'a, Link>,
    sent: Bound,
    columns: Columns,
    input: Input,
    /// The rows of a COPY FROM STDIN, as long as they are sent.
    pieces: Option<mpsc::Receiver<io::Result<Bytes>>>,
    /// What went wrong; it is told when the server is ready again, or has gone.
    failed: Option<Error>,
    is_over: bool,
}

impl<'a> Answer<'a> {
    /// Sends a statement, when those before it are over.
    ///
    /// # Errors
    /// 08006 without a connection, 42601 for text that cannot be sent.
    pub async fn begin(
        remote: &'a Remote,
        statement: &str,
        variables: &[(String, String)],
        input: Input,
    ) -> Result<Self> {
        let mut link = remote.line.lock().await;
        if link.unread {
            pass_over(remote, &mut link).await;
        }
        remote.settle().await;
        let sent = Bound::new(statement, variables);
        let line = link
            .line
            .as_mut()
            .ok_or_else(|| Error::new(SqlState::ConnectionFailure, "there is no connection to the server any more"))?;
        let before = line.output.len();
        if frontend::query(&sent.text, &mut line.output).is_err() {
            line.output.truncate(before);
            return Err(Error::new(SqlState::SyntaxError, "a statement holds no zero byte, and is shorter than 2 GiB"));
        }
        let columns = Vec::new().into();
        Ok(Self { remote, link, sent, columns, input, pieces: None, failed: None, is_over: false })
    }

    /// The next event, and the answer if there may be more.
    pub async fn next(mut self) -> Option<(Result<Event>, Self)> {
        if self.is_over {
            return None;
        }
        match self.event().await {
            Ok(Some(event)) => Some((Ok(event), self)),
            Ok(None) => self.failed.take().map(|error| (Err(error), self)),
            Err(error) => {
                self.is_over = true;
                let told = self.failed.take();
                let error = told.unwrap_or_else(|| lost(&error));
                self.remote.lose(&mut self.link);
                Some((Err(error), self))
            }
        }
    }

    /// The next event; `None` when the server is ready for another statement.
    async fn event(&mut self) -> io::Result<Option<Event>> {
        loop {
            let message = self.message().await?;
            match message {
                Message::RowDescription(body) => {
                    self.columns = decode::columns(&body)?;
                    return Ok(Some(Event::Columns(Columns::clone(&self.columns))));
                }
                Message::DataRow(body) => {
                    let mut batch = Batch::new(Columns::clone(&self.columns));
                    decode::row(&body, &mut batch)?;
                    self.more_rows(&mut batch).await?;
                    return Ok(Some(Event::Batch(batch)));
                }
                Message::CopyData(body) => return Ok(Some(Event::Copy(body.into_bytes()))),
                Message::CopyInResponse(_) => self.begin_copy()?,
                Message::NoticeResponse(body) => return Ok(Some(Report::read(body.fields()).into_event())),
                Message::CommandComplete(body) => return Ok(Some(Event::Complete(body.tag()?.to_string()))),
                Message::ErrorResponse(body) => self.fail(Report::read(body.fields()))?,
                Message::ReadyForQuery(body) => {
                    self.end(&body);
                    return Ok(None);
                }
                // Rows begin, even if there are none.
                Message::CopyOutResponse(_) => return Ok(Some(Event::Copy(Bytes::new()))),
                Message::CopyDone
                | Message::EmptyQueryResponse
                | Message::ParameterStatus(_)
                | Message::NotificationResponse(_) => {}
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that has no place here")),
            }
        }
    }

    fn line(&mut self) -> io::Result<&mut Line> {
        self.link.line.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The next message; until it comes, what is to be sent is sent.
    async fn message(&mut self) -> io::Result<Message> {
        let line = self.link.line.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        loop {
            if let Err(error) = line.flush().await {
                // A server that goes may have said why.
                return line.message().await.map_err(|_| error);
            }
            let Some(pieces) = &mut self.pieces else { return line.message().await };
            let piece = tokio::select! {
                biased;
                message = line.message() => return message,
                piece = pieces.recv() => piece,
            };
            match piece {
                Some(Ok(bytes)) => CopyData::new(bytes)?.write(&mut line.output),
                Some(Err(error)) => {
                    frontend::copy_fail(&error.to_string(), &mut line.output)?;
                    let unread = format!("the rows to be copied cannot be read: {error}");
                    self.failed = Some(Error::new(SqlState::IoError, unread));
                    self.pieces = None;
                }
                None => {
                    frontend::copy_done(&mut line.output);
                    self.pieces = None;
                }
            }
        }
    }

    /// Adds rows that have come already.
    async fn more_rows(&mut self, batch: &mut Batch) -> io::Result<()> {
        while batch.row_count() < BATCH_ROWS_MAX && batch.size() < BATCH_BYTES_MAX && self.line()?.has_row() {
            if let Message::DataRow(body) = self.line()?.message().await? {
                decode::row(&body, batch)?;
            }
        }
        Ok(())
    }

    /// Begins to send rows, or says that there are none.
    fn begin_copy(&mut self) -> io::Result<()> {
        match self.input.take() {
            Some(input) => self.pieces = Some(pieces(input)),
            None => {
                let missing = Error::new(SqlState::ObjectNotInPrerequisiteState, "there are no rows on standard input");
                self.failed = Some(missing.with_hint(
                    "\\copy … FROM 'file' sends a file of this machine; COPY … FROM 'file' reads one beside the server",
                ));
                frontend::copy_fail("there are none", &mut self.line()?.output)?;
            }
        }
        Ok(())
    }

    /// Keeps the first error; one that ends the connection is told at once.
    fn fail(&mut self, report: Report) -> io::Result<()> {
        self.pieces = None;
        let is_fatal = report.is_fatal();
        let error = report.into_error_in(&self.sent);
        self.failed.get_or_insert(error);
        if is_fatal { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// The server is ready for another statement.
    fn end(&mut self, ready: &ReadyForQueryBody) {
        self.is_over = true;
        self.remote.state().transaction = transaction(ready);
    }
}

/// Reads the rest of an answer that nobody waits for any more.
async fn pass_over(remote: &Remote, link: &mut Link) {
    let Some(line) = link.line.as_mut() else { return };
    let rest = async {
        line.flush().await?;
        loop {
            if let Message::ReadyForQuery(ready) = line.message().await? {
                return Ok::<_, io::Error>(transaction(&ready));
            }
        }
    };
    match rest.await {
        Ok(transaction) => (remote.state().transaction, link.unread) = (transaction, false),
        Err(_) => remote.lose(link),
    }
}

/// Whether a transaction is open after a statement.
fn transaction(ready: &ReadyForQueryBody) -> TransactionState {
    match ready.status() {
        b'I' => TransactionState::Idle,
        b'T' => TransactionState::Open,
        _ => TransactionState::Failed,
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.link.line.is_some() {
            self.link.unread = true;
            self.remote.cancel();
        }
    }
}

/// Reads on a thread of its own: a terminal or a pipe may keep it waiting for ever.
fn pieces(mut input: Box<dyn Read + Send>) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let read = move || {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let piece = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = piece.is_err();
            if sender.blocking_send(piece).is_err() || last {
                return;
            }
        }
    };
    std::thread::spawn(read);
    pieces
}

/// What a broken connection is to whoever waits for an answer.
fn lost(error: &io::Error) -> Error {
    let message = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection to the server was lost".to_string(),
        _ => format!("the connection to the server was lost: {error}"),
    };
    Error::new(SqlState::ConnectionFailure, message)
        .with_hint("whether the statement was carried out is not known; SYSTEM tables and rows tell")
}
