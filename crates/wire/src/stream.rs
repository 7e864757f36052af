//! Messages in and bytes out of one connection.
//!
//! What is answered is gathered and sent when the client would otherwise wait: before a read that has nothing to read,
//! and when much has gathered. So a pipeline of statements costs few packets.
//!
//! Sending wakes the client, which is the dearest part of a short statement where the client sleeps on another processor.
//! So the other sessions that are ready on this thread are answered first, and all answers are sent one right after the
//! other: a client of many sessions is awake from the second on, and a processor that several of them share is woken once.

use crate::error::Fault;
use bytes::{Buf, Bytes, BytesMut};
use evenkeel_model::SqlState;
use pgwire::messages::{DecodeContext, PgWireFrontendMessage, ProtocolVersion};
use std::io;
use std::panic::AssertUnwindSafe;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Gathered answers are sent when there are more bytes than this.
const SEND_AT: usize = 64 << 10;
/// Bytes that a client may send ahead of what is being answered.
const AHEAD: usize = 256 << 10;

/// A socket, encrypted or not.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

pub(crate) struct Stream {
    socket: Box<dyn Socket>,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
    /// Whether the client has asked for what PostgreSQL's protocol does not have (`evenkeel_model::progress`).
    pub(crate) extended: bool,
    message_max: usize,
    /// Room that is made for every read.
    read_at_once: usize,
    context: DecodeContext,
}

/// Why nothing more comes.
#[derive(Debug)]
pub(crate) enum End {
    /// The client has gone, or its connection has.
    Gone,
    Fault(Box<Fault>),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        End::Gone
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        End::Fault(Box::new(fault))
    }
}

/// The longest message of somebody who has not logged in.
const LOGIN_MESSAGE_MAX: usize = 64 << 10;

/// Statements are short, and connections that do nothing are many.
const READ_AT_ONCE: usize = 512;
/// Rows of a COPY: few reads, and few messages that begin in one buffer and end in the next.
const READ_AT_ONCE_OF_MUCH: usize = 64 << 10;

impl Stream {
    /// A connection of somebody who has not logged in.
    pub(crate) fn new(socket: Box<dyn Socket>) -> Self {
        let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        (context.awaiting_frontend_ssl, context.awaiting_frontend_startup) = (false, false);
        let (input, output) = (BytesMut::new(), BytesMut::new());
        let read_at_once = READ_AT_ONCE;
        Self { socket, input, output, extended: false, message_max: LOGIN_MESSAGE_MAX, read_at_once, context }
    }

    /// From here on messages may be as long as they may be.
    pub(crate) fn logged_in(&mut self, message_max: usize) {
        self.message_max = message_max;
    }

    /// Whether much is to come: then more of it is read at once.
    pub(crate) fn expect_much(&mut self, is_much: bool) {
        self.read_at_once = if is_much { READ_AT_ONCE_OF_MUCH } else { READ_AT_ONCE };
    }

    /// Sends what has gathered.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        // What was written is gone from the buffer even if the rest is never asked for.
        while !self.output.is_empty() {
            match self.socket.write(&self.output).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                // The buffer is kept for the next answer.
                written if written == self.output.len() => self.output.clear(),
                written => self.output.advance(written),
            }
        }
        self.socket.flush().await
    }

    /// Sends what has gathered, if it is much.
    pub(crate) async fn relieve(&mut self) -> io::Result<()> {
        if self.output.len() >= SEND_AT { self.flush().await } else { Ok(()) }
    }

    /// Reads until so many bytes are there.
    pub(crate) async fn fill(&mut self, bytes: usize) -> Result<(), End> {
        while self.input.len() < bytes {
            if !self.output.is_empty() {
                // Until nobody else is ready.
                tokio::task::yield_now().await;
            }
            // Also where nothing has gathered: a flush that was given up may have left something in the encryption's buffer.
            self.flush().await?;
            // What a client says is to come takes no room before it comes.
            self.input.reserve((bytes - self.input.len()).clamp(self.read_at_once, READ_AT_ONCE_OF_MUCH));
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(End::Gone);
            }
        }
        Ok(())
    }

    /// Takes in what the client sends while a statement runs; resolves when the client has gone.
    pub(crate) async fn watch(&mut self) {
        loop {
            if self.input.len() >= AHEAD {
                std::future::pending::<()>().await;
            }
            if !matches!(self.socket.read_buf(&mut self.input).await, Ok(1..)) {
                return;
            }
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// 08P01 for bytes that are no message, or one that is too long.
    pub(crate) async fn message(&mut self) -> Result<PgWireFrontendMessage, End> {
        self.fill(5).await?;
        let length = usize::try_from((&self.input[1..5]).get_i32()).unwrap_or(0);
        if length < 4 {
            return Err(Fault::protocol("a message is shorter than its length").into());
        }
        if length > self.message_max {
            let message = format!("a message of {length} bytes is longer than {}", self.message_max);
            return Err(Fault::fatal(SqlState::ProgramLimitExceeded, message)
                .with_hint("max_message_size sets how long messages may be; COPY sends rows in many")
                .into());
        }
        self.fill(length + 1).await?;
        let mut bytes = self.input.split_to(length + 1);
        // The codec may find less in a message than it needs.
        let decode = AssertUnwindSafe(|| PgWireFrontendMessage::decode(&mut bytes, &self.context));
        match std::panic::catch_unwind(decode) {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) | Err(_) => Err(Fault::protocol("a message does not hold what it should").into()),
            Ok(Err(error)) => Err(Fault::protocol(error.to_string()).into()),
        }
    }

    /// Rows with those of the messages behind them that are here already, up to about so many bytes: clients that send each
    /// row in a message of its own are many.
    pub(crate) fn rows(&mut self, first: Bytes, bytes: usize) -> Bytes {
        if self.whole_rows().is_none() || first.len() >= bytes {
            return first;
        }
        let mut rows = BytesMut::with_capacity(bytes + first.len());
        rows.extend_from_slice(&first);
        while rows.len() < bytes
            && let Some(length) = self.whole_rows()
        {
            self.input.advance(5);
            rows.extend_from_slice(&self.input[..length]);
            self.input.advance(length);
        }
        rows.freeze()
    }

    /// How long the rows of the next message are, if it is one of rows and wholly here.
    fn whole_rows(&self) -> Option<usize> {
        let [b'd', length @ ..] = self.input.first_chunk::<5>()? else { return None };
        let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
        let is_whole = length >= 4 && length <= self.message_max && self.input.len() > length;
        is_whole.then(|| length - 4)
    }

    /// The socket, to be encrypted. Nothing may be waiting in it.
    ///
    /// # Errors
    /// 08P01 when the client has sent more: it could have been put there by somebody in between.
    pub(crate) fn into_socket(self) -> Result<Box<dyn Socket>, End> {
        if self.input.is_empty() {
            return Ok(self.socket);
        }
        Err(Fault::protocol("unencrypted bytes follow the request for encryption").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_here_come_together() {
        futures::executor::block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let mut stream = Stream::new(Box::new(server));
            stream.expect_much(true);
            let message = |kind: u8, body: &[u8]| [&[kind][..], &(body.len() as i32 + 4).to_be_bytes(), body].concat();
            let mut sent = Vec::new();
            for row in [&b"1\ta\n"[..], b"2\tb", b"b\n", b"", b"3\tc\n", b"4\td\n"] {
                sent.extend(message(b'd', row));
            }
            sent.extend(message(b'c', b""));
            sent.extend(&message(b'd', b"cut off")[..9]);
            client.write_all(&sent).await.unwrap();
            let mut next = async |bytes| match stream.message().await.unwrap() {
                PgWireFrontendMessage::CopyData(data) => stream.rows(data.data, bytes),
                PgWireFrontendMessage::CopyDone(_) => Bytes::from_static(b"done"),
                _ => panic!("another message"),
            };
            assert_eq!(next(4).await, "1\ta\n", "enough by itself");
            assert_eq!(next(9).await, "2\tbb\n3\tc\n", "as much as was asked for");
            assert_eq!(next(1_000).await, "4\td\n", "what follows is no row");
            assert_eq!(next(1_000).await, "done");
            drop(client);
            assert!(matches!(stream.message().await, Err(End::Gone)));
        });
    }

    #[test]
    fn what_is_only_announced_takes_no_room() {
        futures::executor::block_on(async {
            let (mut client, server) = tokio::io::duplex(64);
            let mut stream = Stream::new(Box::new(server));
            stream.logged_in(1 << 30);
            client.write_all(&[b'Q', 0x3f, 0xff, 0xff, 0xff, b'S']).await.unwrap();
            drop(client);
            assert!(matches!(stream.message().await, Err(End::Gone)));
            assert!(stream.input.capacity() <= 4 * READ_AT_ONCE_OF_MUCH, "{} bytes", stream.input.capacity());
        });
    }
}
