//! Messages over a connection, as bytes.
//!
//! Everything here may be dropped while it waits: what was read stays in `input`, what was not sent stays in `output`.

use std::io;

use bytes::{Buf, BytesMut};
use futures::FutureExt;
use postgres_protocol::message::backend::{DATA_ROW_TAG, ERROR_RESPONSE_TAG, Header, Message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that are read at once, if they are there.
const READ_BYTES: usize = 128 << 10;
/// The longest message before the server has let the user in: whoever sends more speaks another protocol.
const LOGIN_MESSAGE_MAX: usize = 64 << 10;
/// The longest message after that.
const MESSAGE_MAX: usize = 1 << 30;
/// NegotiateProtocolVersion: what the server does not know, which nothing here depends on.
const NEGOTIATE_TAG: u8 = b'v';
/// A message is a kind, a length that counts itself, and the rest.
const HEADER_BYTES: usize = 5;

/// Whatever bytes go through: a socket, encrypted or not, or a pipe within the process.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to a server.
pub struct Line {
    stream: Box<dyn Stream>,
    input: BytesMut,
    /// What is to be sent next.
    pub output: BytesMut,
    message_max: usize,
}

impl Line {
    /// A connection on which nobody has logged in yet.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { stream, input, output, message_max: LOGIN_MESSAGE_MAX }
    }

    /// The server has let the user in.
    pub fn logged_in(&mut self) {
        self.message_max = MESSAGE_MAX;
    }

    /// Sends what is to be sent.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            if self.stream.write_buf(&mut self.output).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.stream.flush().await
    }

    /// The next byte, when it is not the beginning of a message: the answer to a request for encryption.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn byte(&mut self) -> io::Result<u8> {
        while self.input.is_empty() {
            self.read().await?;
        }
        Ok(self.input.get_u8())
    }

    /// The next message.
    ///
    /// # Errors
    /// Those of the connection; `InvalidData` for bytes that are no message.
    pub async fn message(&mut self) -> io::Result<Message> {
        loop {
            match self.length()? {
                Some(length) if self.input[0] == NEGOTIATE_TAG => self.input.advance(length),
                Some(_) => {
                    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                    if let Some(message) = Message::parse(&mut self.input).map_err(invalid)? {
                        return Ok(message);
                    }
                }
                None => self.read().await?,
            }
        }
    }

    /// Whether the next message has come whole, and holds a row.
    pub fn has_row(&self) -> bool {
        self.input.first() == Some(&DATA_ROW_TAG) && self.length().is_ok_and(|length| length.is_some())
    }

    /// Whether the server has gone, or said why it goes, while nothing was asked of it.
    pub fn is_over(&mut self) -> bool {
        let over = match self.read().now_or_never() {
            None => false,
            Some(read) => read.is_err(),
        };
        over || self.input.first() == Some(&ERROR_RESPONSE_TAG)
    }

    /// The bytes of the next message, if all of it has come.
    fn length(&self) -> io::Result<Option<usize>> {
        let Some(header) = Header::parse(&self.input)? else { return Ok(None) };
        let length = usize::try_from(header.len()).unwrap_or(usize::MAX).saturating_add(1);
        if length > self.message_max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
        }
        Ok((self.input.len() >= length.max(HEADER_BYTES)).then_some(length))
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.input.capacity() - self.input.len() < READ_BYTES / 2 {
            self.input.reserve(READ_BYTES);
        }
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// What bytes go through, to be encrypted.
    ///
    /// # Errors
    /// `InvalidData` when more has come: somebody in between could have put it there.
    pub fn into_stream(self) -> io::Result<Box<dyn Stream>> {
        if self.input.is_empty() {
            return Ok(self.stream);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "unencrypted bytes follow the answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    async fn read(bytes: &[u8]) -> (Line, Vec<io::Result<Message>>) {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(bytes).await.expect("room");
        drop(far);
        let mut line = Line::new(Box::new(near));
        let mut messages = Vec::new();
        loop {
            messages.push(line.message().await);
            if messages.last().is_some_and(Result::is_err) {
                return (line, messages);
            }
        }
    }

    #[tokio::test]
    async fn messages_come_one_after_another_and_what_is_not_known_is_passed_over() {
        let (_, messages) = read(b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0Z\0\0\0\x05IC\0\0\0\x07OK\0").await;
        assert!(matches!(&messages[0], Ok(Message::ReadyForQuery(body)) if body.status() == b'I'));
        assert!(matches!(&messages[1], Ok(Message::CommandComplete(body)) if body.tag().is_ok_and(|tag| tag == "OK")));
        assert_eq!(messages[2].as_ref().err().map(io::Error::kind), Some(io::ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error_and_takes_no_memory() {
        for bytes in
            [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"Z\0\0\0\0", b"Z\xff\xff\xff\xff", b"D\0\0\0\x05\0", b"~\0\0\0\x04"]
        {
            let (line, messages) = read(bytes).await;
            assert_eq!(messages.len(), 1, "{bytes:?}");
            let kind = messages[0].as_ref().err().map(io::Error::kind);
            assert_eq!(kind, Some(io::ErrorKind::InvalidData), "{bytes:?}");
            assert!(line.input.capacity() <= 2 * READ_BYTES);
        }
    }

    #[tokio::test]
    async fn a_server_that_goes_is_noticed_without_being_asked() {
        let (near, mut far) = duplex(1 << 10);
        let mut line = Line::new(Box::new(near));
        assert!(!line.is_over());
        far.write_all(b"E\0\0\0\x05\0").await.expect("room");
        assert!(line.is_over());
        let (near, far) = duplex(1 << 10);
        drop(far);
        assert!(Line::new(Box::new(near)).is_over());
    }
}
