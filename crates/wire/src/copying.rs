//! COPY FROM STDIN and TO STDOUT: rows as the client's own bytes.

use crate::error::Fault;
use crate::stream::{End, Stream};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use evenkeel_engine::{Event, Session};
use evenkeel_model::{Error, SqlState};
use futures::StreamExt;
use pgwire::messages::PgWireFrontendMessage as Message;
use std::io::{self, Read};
use tokio::sync::mpsc;

/// Messages of rows that may wait to be read.
const WAITING: usize = 16;

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

/// Carries out a COPY FROM STDIN; returns its tag.
pub(crate) async fn receive(stream: &mut Stream, session: &Session, statement: &str) -> Result<String, End> {
    let (sender, messages) = mpsc::channel(WAITING);
    let mut answer = session.copy_in(statement, Box::new(Incoming { messages, current: Bytes::new(), done: false }));
    // What is wrong with the statement itself, a client hears instead of being asked for rows.
    let columns = loop {
        match answer.next().await {
            Some(Ok(Event::CopyIn(columns))) => break columns,
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
                Ok(Message::CopyData(data)) => pending = Some(Piece::Bytes(data.data)),
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

/// Appends a CopyOutResponse. Clients don't count its columns.
pub(crate) fn begin_out(out: &mut BytesMut) {
    begin(b'H', 0, out);
}

/// Appends a CopyDone.
pub(crate) fn end_out(out: &mut BytesMut) {
    out.put_u8(b'c');
    out.put_i32(4);
}
