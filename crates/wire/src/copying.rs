//! COPY FROM STDIN and TO STDOUT: rows as the client's own bytes.

use crate::connection::Patience;
use crate::error::Fault;
use crate::stream::{End, Stream};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use evenkeel_engine::{Event, Session, copied_quote};
use evenkeel_model::{Error, SqlState};
use futures::StreamExt;
use pgwire::messages::PgWireFrontendMessage as Message;
use std::io::{self, Read};
use tokio::sync::mpsc;

/// Messages of rows that may wait to be read.
const WAITING: usize = 16;

/// Rows in short messages are handed on when there are so many bytes of them, or no more here.
const PIECE_BYTES: usize = 32 << 10;

/// What comes of rows.
enum Piece {
    Bytes(Bytes),
    /// There are no more.
    Done,
    /// The client has said that its COPY is to fail, and why.
    Failed(String),
}

/// The bytes that a client sends, for whoever reads rows from them.
struct Incoming {
    messages: mpsc::Receiver<Piece>,
    current: Bytes,
    done: bool,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.done {
            match self.messages.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::Done) => self.done = true,
                // Rows whose end was not said are not all there are.
                Some(Piece::Failed(why)) => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)),
                None => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client is gone")),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Carries out a COPY FROM STDIN; returns its tag. Between one message and the next the client has the time that it is
/// given.
pub(crate) async fn receive(
    stream: &mut Stream,
    session: &Session,
    statement: &str,
    patience: &Patience,
) -> Result<String, End> {
    stream.expect_much(true);
    let outcome = rows(stream, session, statement, patience).await;
    stream.expect_much(false);
    outcome
}

async fn rows(stream: &mut Stream, session: &Session, statement: &str, patience: &Patience) -> Result<String, End> {
    let (sender, messages) = mpsc::channel(WAITING);
    let mut answer = session.copy_in(statement, Box::new(Incoming { messages, current: Bytes::new(), done: false }));
    // What is wrong with the statement itself, a client hears instead of being asked for rows.
    let columns = loop {
        match answer.next().await {
            Some(Ok(Event::Copying(columns))) => break columns,
            Some(Ok(Event::Complete(tag))) => return Ok(tag),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Fault::from(error).into()),
            None => return Err(Fault::from(Error::internal("an answer has no end")).into()),
        }
    };
    begin(b'G', columns, &mut stream.output);
    stream.flush().await?;
    let mut sender = Some(sender);
    let mut pending = None;
    let mut stopped = None;
    loop {
        let full = sender.clone().filter(|_| pending.is_some());
        let room = async move {
            match full {
                Some(sender) => sender.reserve_owned().await,
                None => std::future::pending().await,
            }
        };
        let takes = sender.is_some() && pending.is_none();
        tokio::select! {
            biased;
            event = answer.next() => match event {
                Some(Ok(Event::Complete(tag))) => return Ok(tag),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(stopped.unwrap_or_else(|| Fault::from(error)).into()),
                None => return Err(Fault::from(Error::internal("an answer has no end")).into()),
            },
            permit = room => {
                let Some(piece) = pending.take() else { continue };
                let last = !matches!(piece, Piece::Bytes(_));
                let read = permit.map(|permit| permit.send(piece)).is_ok();
                // Where nobody reads on, the answer says why.
                if last || !read {
                    sender = None;
                }
            }
            message = stream.message(), if takes => match message {
                Ok(Message::CopyData(data)) => pending = Some(Piece::Bytes(stream.rows(data.data, PIECE_BYTES))),
                Ok(Message::CopyDone(_)) => pending = Some(Piece::Done),
                Ok(Message::CopyFail(fail)) => {
                    let why = format!("COPY was stopped by the client: {}", fail.message);
                    stopped = Some(Fault::new(SqlState::QueryCanceled, why.clone()));
                    pending = Some(Piece::Failed(why));
                }
                Ok(Message::Flush(_) | Message::Sync(_)) => {}
                Ok(_) => {
                    answer.cancel();
                    return Err(Fault::protocol("only rows may come while they are copied in").into());
                }
                Err(end) => {
                    answer.cancel();
                    return Err(end);
                }
            },
            fault = patience.ends(), if takes => {
                answer.cancel();
                return Err(fault.into());
            }
        }
    }
}

/// Appends a CopyInResponse or CopyOutResponse: all columns as text.
fn begin(kind: u8, columns: usize, out: &mut BytesMut) {
    out.put_u8(kind);
    out.put_i32(7 + 2 * columns as i32);
    out.put_u8(0);
    out.put_i16(columns as i16);
    out.put_bytes(0, 2 * columns);
}

/// Appends a CopyOutResponse.
pub(crate) fn begin_out(columns: usize, out: &mut BytesMut) {
    begin(b'H', columns, out);
}

/// Rows of a COPY TO STDOUT on their way to messages: one each, as clients expect it that read row by row.
pub(crate) struct Rows {
    quote: Option<u8>,
    quoted: bool,
}

impl Rows {
    /// The rows that a statement sends.
    pub(crate) fn of(statement: &str) -> Self {
        Self { quote: copied_quote(statement), quoted: false }
    }

    /// Appends a CopyData for each row of what begins and ends with a row.
    pub(crate) fn put(&mut self, bytes: &[u8], out: &mut BytesMut) {
        let ends = |byte: &u8| {
            self.quoted ^= Some(*byte) == self.quote;
            *byte == b'\n' && !self.quoted
        };
        for row in bytes.split_inclusive(ends) {
            out.put_u8(b'd');
            out.put_i32(row.len() as i32 + 4);
            out.extend_from_slice(row);
        }
    }
}

/// Appends a CopyDone.
pub(crate) fn end_out(out: &mut BytesMut) {
    out.put_u8(b'c');
    out.put_i32(4);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_message() {
        for (statement, bytes, rows) in [
            ("COPY t TO STDOUT", "1\t\"\n2\t\\n\n", vec!["1\t\"\n", "2\t\\n\n"]),
            ("COPY t TO STDOUT (FORMAT csv)", "1,\"a\nb\"\"\"\n2,\n", vec!["1,\"a\nb\"\"\"\n", "2,\n"]),
            ("COPY t TO STDOUT (FORMAT csv, QUOTE '|')", "1,|a\nb|\n2,\"\n", vec!["1,|a\nb|\n", "2,\"\n"]),
            ("COPY t TO STDOUT", "", vec![]),
        ] {
            let (mut put, mut wanted) = (BytesMut::new(), BytesMut::new());
            Rows::of(statement).put(bytes.as_bytes(), &mut put);
            for row in rows {
                wanted.put_u8(b'd');
                wanted.put_i32(row.len() as i32 + 4);
                wanted.put_slice(row.as_bytes());
            }
            assert_eq!(put, wanted, "{statement}");
        }
    }
}
