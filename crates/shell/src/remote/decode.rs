//! What the server's messages say: columns, rows, errors, notices, progress.

use std::io;

use evenkeel_model::progress::{END_FIELD, PROGRESS_FIELD};
use evenkeel_model::{Error, Progress, Span, SqlState};
use evenkeel_pql::tokens;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, ErrorFields, RowDescriptionBody};

use super::variables::Bound;
use crate::connection::{Event, Notice};
use crate::rows::{Batch, Column, Columns, Kind};

/// The columns of a RowDescription.
///
/// # Errors
/// `InvalidData` for one that does not hold what it says.
pub fn columns(body: &RowDescriptionBody) -> io::Result<Columns> {
    let column = |field: postgres_protocol::message::backend::Field<'_>| {
        Ok(Column { name: field.name().to_string(), kind: Kind::of_oid(field.type_oid()) })
    };
    let columns: Vec<_> = body.fields().map(column).collect()?;
    Ok(columns.into())
}

/// Appends a row.
///
/// # Errors
/// `InvalidData` for one that does not hold what it says.
pub fn row(body: &DataRowBody, batch: &mut Batch) -> io::Result<()> {
    let ranges: Vec<_> = body.ranges().collect()?;
    batch.push(ranges.into_iter().map(|range| Some(String::from_utf8_lossy(&body.buffer()[range?]))));
    Ok(())
}

/// The fields of an error or a notice.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    severity: String,
    code: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    /// Where in the text that was sent, in characters from 1.
    begin: Option<usize>,
    end: Option<usize>,
    progress: Option<Progress>,
}

impl Report {
    /// Reads fields; what is not known, or is cut off, is left out.
    pub fn read(mut fields: ErrorFields<'_>) -> Self {
        let mut report = Self::default();
        while let Ok(Some(field)) = fields.next() {
            let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                // That of `S` may be translated.
                b'V' => report.severity = text,
                b'C' => report.code = text,
                b'M' => report.message = text,
                b'D' => report.detail = Some(text),
                b'H' => report.hint = Some(text),
                b'P' => report.begin = text.parse().ok(),
                END_FIELD => report.end = text.parse().ok(),
                PROGRESS_FIELD => report.progress = Progress::of_field(&text),
                _ => {}
            }
        }
        report
    }

    /// Whether the connection ends with it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// As a notice, or as the progress that it is.
    pub fn into_event(self) -> Event {
        match self.progress {
            Some(progress) => Event::Progress(progress),
            None => Event::Notice(Notice { message: self.message, hint: self.hint }),
        }
    }

    /// As an error without a place.
    pub fn into_error(self) -> Error {
        let known = SqlState::ALL.iter().find(|state| state.code() == self.code);
        // A state that only other servers have.
        let foreign = known.is_none().then(|| format!("The SQLSTATE is {}.", self.code));
        let state = known.copied().unwrap_or(SqlState::InternalError);
        Error { state, message: self.message, detail: self.detail.or(foreign), hint: self.hint, span: None }
    }

    /// As an error with its place in the statement that was typed.
    pub fn into_error_in(self, sent: &Bound) -> Error {
        let span = self.begin.map(|begin| sent.place(place(&sent.text, begin, self.end)));
        Error { span, ..self.into_error() }
    }
}

/// Bytes of a place given in characters from 1. Where its end is not said, it is the word's that begins there.
fn place(text: &str, begin: usize, end: Option<usize>) -> Span {
    let byte = |character: usize| {
        text.char_indices().nth(character.saturating_sub(1)).map_or(text.len(), |(offset, _)| offset)
    };
    let start = byte(begin);
    let end = match end {
        Some(end) => byte(end),
        None => tokens(text).into_iter().find(|(span, _)| span.contains(&start)).map_or(start, |(span, _)| span.end),
    };
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, BytesMut};
    use postgres_protocol::message::backend::Message;

    fn message(kind: u8, body: &[u8]) -> Message {
        let mut bytes = BytesMut::new();
        bytes.put_u8(kind);
        bytes.put_i32(body.len() as i32 + 4);
        bytes.put_slice(body);
        Message::parse(&mut bytes).expect("a message").expect("all of it")
    }

    fn report(fields: &[u8]) -> Report {
        match message(b'E', fields) {
            Message::ErrorResponse(body) => Report::read(body.fields()),
            _ => panic!("another message"),
        }
    }

    fn sent(statement: &str) -> Bound {
        Bound::new(statement, &[("who".to_string(), "somebody".to_string())])
    }

    #[test]
    fn an_error_has_all_its_fields_and_its_place() {
        let report =
            report(b"SERROR\0VERROR\0C42703\0Mno column x\0Dthere is y\0Hdid you mean y?\0P19\0e20\0Fparse.c\0\0");
        assert!(!report.is_fatal());
        let error = report.into_error_in(&sent("SELECT 'ü', @who, x"));
        assert_eq!(error.state, SqlState::UndefinedColumn);
        assert_eq!((error.message.as_str(), error.detail.as_deref()), ("no column x", Some("there is y")));
        // In what was sent, `'somebody'` stands in the place of `@who`.
        assert_eq!((error.hint.as_deref(), error.span), (Some("did you mean y?"), Some(13..17)));
    }

    #[test]
    fn a_place_without_an_end_is_a_word() {
        let error = report(b"VFATAL\0C57P01\0Mgone\0P13\0\0");
        assert!(error.is_fatal());
        assert_eq!(error.into_error_in(&sent("SELECT 'ü', flights")).span, Some(13..20));
        let error = report(b"VERROR\0C42601\0Mat the end\0P99\0\0").into_error_in(&sent("SELECT"));
        assert_eq!(error.span, Some(6..6));
    }

    #[test]
    fn a_state_that_is_not_ours_is_told() {
        let error = report(b"VERROR\0C72000\0Msnapshot too old\0\0").into_error();
        assert_eq!((error.state, error.detail.as_deref()), (SqlState::InternalError, Some("The SQLSTATE is 72000.")));
        assert_eq!(report(b"\0"), Report::default());
    }

    #[test]
    fn progress_is_told_from_notices() {
        let progress = Progress { label: "COPY t".to_string(), done: 5, total: None, in_bytes: true, rows: 2 };
        let mut fields = b"VNOTICE\0C00000\0MCOPY t: 5 bytes\0b".to_vec();
        fields.extend(progress.to_field().as_bytes());
        fields.extend([0, 0]);
        assert!(matches!(report(&fields).into_event(), Event::Progress(found) if found == progress));
        let notice = report(b"VNOTICE\0C00000\0Mslow\0Hwait\0\0").into_event();
        let expected = Notice { message: "slow".to_string(), hint: Some("wait".to_string()) };
        assert!(matches!(notice, Event::Notice(found) if found == expected));
    }

    #[test]
    fn rows_are_text_and_null() {
        let described = message(
            b'T',
            b"\0\x02id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0who\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
        );
        let Message::RowDescription(body) = described else { panic!("another message") };
        let columns = columns(&body).expect("two columns");
        assert_eq!(columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "who"]);
        assert!(columns[0].kind.is_numeric() && !columns[1].kind.is_numeric());
        let mut batch = Batch::new(columns);
        for body in [&b"\0\x02\0\0\0\x01\x35\xff\xff\xff\xff"[..], b"\0\x02\0\0\0\x02\x2d\x31\0\0\0\x02\xc3\xbc"] {
            let Message::DataRow(body) = message(b'D', body) else { panic!("another message") };
            row(&body, &mut batch).expect("a row");
        }
        let rows: Vec<Vec<_>> = batch.rows().map(|row| row.map(|(_, value)| value).collect()).collect();
        assert_eq!(rows, [[Some("5"), None], [Some("-1"), Some("ü")]]);
        let Message::DataRow(body) = message(b'D', b"\0\x02\0\0\0\x09\x35") else { panic!("another message") };
        assert!(row(&body, &mut batch).is_err());
    }
}
