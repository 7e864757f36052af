//! Errors, notices and progress as the protocol sends them.

use crate::stream::Stream;
use bytes::{BufMut, BytesMut};
use evenkeel_model::progress::{END_FIELD, PROGRESS_FIELD};
use evenkeel_model::{Error, Progress, SqlState};

/// What goes wrong between the client's bytes and a session. `fatal` ends the connection.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) error: Error,
    pub(crate) fatal: bool,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { error, fatal: false }
    }
}

impl Fault {
    pub(crate) fn new(state: SqlState, message: impl Into<String>) -> Self {
        Error::new(state, message).into()
    }

    /// Ends the connection.
    pub(crate) fn fatal(state: SqlState, message: impl Into<String>) -> Self {
        Self { error: Error::new(state, message), fatal: true }
    }

    /// A message that the protocol does not have, or not here.
    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::fatal(SqlState::ProtocolViolation, message)
    }

    /// Bytes that are no value of a parameter's type.
    pub(crate) fn binary(message: impl Into<String>) -> Self {
        Self::new(SqlState::InvalidBinaryRepresentation, message)
    }

    pub(crate) fn out_of_range(message: impl Into<String>) -> Self {
        Self::new(SqlState::NumericValueOutOfRange, message)
    }

    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { error: self.error.with_detail(detail), ..self }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { error: self.error.with_hint(hint), ..self }
    }
}

/// How bad it is, in the words that clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Fatal,
    Notice,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Notice => "NOTICE",
        }
    }
}

/// Appends an ErrorResponse. `before` is the text in front of the statement in what the client sent: places are counted
/// from its beginning, in characters.
pub(crate) fn write(fault: &Fault, statement: &str, before: &str, stream: &mut Stream) {
    let severity = if fault.fatal { Severity::Fatal } else { Severity::Error };
    let error = &fault.error;
    let place = |at: usize| {
        let characters = |text: &str| text.chars().count();
        Some((characters(before) + characters(statement.get(..at)?) + 1).to_string())
    };
    let begin = error.span.as_ref().and_then(|span| place(span.start));
    let end = error.span.as_ref().filter(|_| stream.extended).and_then(|span| place(span.end));
    let mut fields = vec![(b'M', error.message.as_str())];
    let optional = [
        (b'D', error.detail.as_deref()),
        (b'H', error.hint.as_deref()),
        (b'P', begin.as_deref()),
        (END_FIELD, end.as_deref()),
    ];
    fields.extend(optional.into_iter().filter_map(|(code, value)| Some((code, value?))));
    report(b'E', severity, error.state.code(), &fields, &mut stream.output);
}

/// Appends a NoticeResponse.
pub(crate) fn notice(message: &str, hint: Option<&str>, out: &mut BytesMut) {
    let mut fields = vec![(b'M', message)];
    fields.extend(hint.map(|hint| (b'H', hint)));
    report(b'N', Severity::Notice, "00000", &fields, out);
}

/// Appends progress as a notice: for people, and for clients that draw it, in figures.
pub(crate) fn progress(progress: &Progress, stream: &mut Stream) {
    let (message, figures) = (progress.to_string(), progress.to_field());
    let mut fields = vec![(b'M', message.as_str())];
    fields.extend(stream.extended.then_some((PROGRESS_FIELD, figures.as_str())));
    report(b'N', Severity::Notice, "00000", &fields, &mut stream.output);
}

fn report(kind: u8, severity: Severity, code: &str, fields: &[(u8, &str)], out: &mut BytesMut) {
    out.put_u8(kind);
    let start = out.len();
    out.put_i32(0);
    let mut field = |code: u8, value: &str| {
        out.put_u8(code);
        // A zero would end the field.
        out.extend(value.bytes().filter(|byte| *byte != 0));
        out.put_u8(0);
    };
    field(b'S', severity.name());
    field(b'V', severity.name());
    field(b'C', code);
    fields.iter().for_each(|(code, value)| field(*code, value));
    out.put_u8(0);
    let length = (out.len() - start) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
