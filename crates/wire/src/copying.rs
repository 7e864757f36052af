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

/// The bytes that a client sends, for whoever reads rows from them.
struct Incoming {
    messages: mpsc::Receiver<Result<Bytes, String>>,
    current: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.messages.blocking_recv() {
                None => return Ok(0),
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(why)) => return Err(io::Error::new(io::ErrorKind::Interrupted, Stopped(why))),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// The client has said that its COPY is to fail.
#[derive(Debug)]
struct Stopped(String);

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Stopped {}

/// Carries out a COPY FROM STDIN; returns its tag.
pub(crate) async fn receive(stream: &mut Stream, session: &Session, statement: &str) -> Result<String, End> {
    let (sender, messages) = mpsc::channel(WAITING);
    let mut answer = session.copy_in(statement, Box::new(Incoming { messages, current: Bytes::new() }));
    // Text, and as many columns as the statement says: clients don't count them.
    stream.output.extend_from_slice(&[b'G', 0, 0, 0, 7, 0, 0, 0]);
    stream.flush().await?;
    let mut sender = Some(sender);
    let mut pending: Option<Result<Bytes, String>> = None;
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
                match (permit, pending.take()) {
                    (Ok(permit), Some(message)) => drop(permit.send(message)),
                    // Nobody reads on: the answer says why.
                    _ => sender = None,
                }
                if stopped.is_some() {
                    sender = None;
                }
            }
            message = stream.message(), if takes => match message {
                Ok(Message::CopyData(data)) => pending = Some(Ok(data.data)),
                Ok(Message::CopyDone(_)) => sender = None,
                Ok(Message::CopyFail(fail)) => {
                    let why = format!("COPY was stopped by the client: {}", fail.message);
                    stopped = Some(Fault::new(SqlState::QueryCanceled, why.clone()));
                    pending = Some(Err(why));
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

/// Appends a CopyOutResponse: text.
pub(crate) fn begin_out(out: &mut BytesMut) {
    out.extend_from_slice(&[b'H', 0, 0, 0, 7, 0, 0, 0]);
}

/// Appends a CopyDone.
pub(crate) fn end_out(out: &mut BytesMut) {
    out.put_u8(b'c');
    out.put_i32(4);
}
