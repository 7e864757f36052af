//! Cuts delimited text (RFC 4180) into records and fields, where they lie.
//!
//! A field is quoted when it begins with the quote; within, two quotes stand for one. Unlike most splitters this one
//! tells quoted fields from others, because only unquoted ones can be NULL. Lines end with LF or CRLF.

use super::window::Window;
use evenkeel_model::{Error, Result, SqlState};

/// The records of a delimited text.
pub(super) struct Splitter {
    window: Window,
    file: String,
    delimiter: u8,
    quote: u8,
    /// Whether a line without anything is no record. With a single column it is one, of an empty field.
    skip_blank: bool,
    fields: Vec<Field>,
    /// Bytes of the current record, which are used up when the next one is asked for.
    length: usize,
    /// Line of the current record and of the next, from 1.
    line: u64,
    next_line: u64,
    begun: bool,
}

/// Where a field lies in its record, without its quotes.
#[derive(Clone, Copy, Debug)]
struct Field {
    start: usize,
    end: usize,
    quoted: bool,
    /// Has quotes within that stand there twice.
    doubled: bool,
}

/// What was found in the window.
enum Scan {
    Record {
        length: usize,
        lines: u64,
    },
    /// The record is longer than the window.
    Incomplete,
    /// A quoted field that goes on after its closing quote.
    AfterQuote,
}

impl Splitter {
    pub(super) fn new(window: Window, file: &str, delimiter: u8, quote: u8) -> Self {
        Self {
            window,
            file: file.to_string(),
            delimiter,
            quote,
            skip_blank: true,
            fields: Vec::new(),
            length: 0,
            line: 0,
            next_line: 1,
            begun: false,
        }
    }

    /// Takes lines without anything for records of one empty field.
    pub(super) fn keep_blank(&mut self) {
        self.skip_blank = false;
    }

    /// Goes to the next record; false at the end.
    ///
    /// # Errors
    /// 22P04 for quotes that do not match.
    pub(super) fn next(&mut self) -> Result<bool> {
        self.begin()?;
        loop {
            self.window.advance(std::mem::take(&mut self.length));
            self.line = self.next_line;
            if self.window.rest().is_empty() {
                if self.window.ended() {
                    return Ok(false);
                }
                self.window.fill()?;
                continue;
            }
            match scan(self.window.rest(), self.window.ended(), self.delimiter, self.quote, &mut self.fields) {
                Scan::Record { length, lines } => {
                    self.length = length;
                    self.next_line += lines;
                    let blank = matches!(self.fields[..], [field] if field.start == field.end && !field.quoted);
                    if !(blank && self.skip_blank) {
                        return Ok(true);
                    }
                }
                Scan::Incomplete if self.window.ended() => {
                    return Err(self.bad_line("a quoted field is not closed"));
                }
                Scan::Incomplete => self.window.fill()?,
                Scan::AfterQuote => return Err(self.bad_line("text follows a closing quote")),
            }
        }
    }

    /// Passes over a byte order mark.
    fn begin(&mut self) -> Result<()> {
        if !self.begun {
            self.begun = true;
            self.window.fill()?;
            if self.window.rest().starts_with(b"\xef\xbb\xbf") {
                self.window.advance(3);
            }
        }
        Ok(())
    }

    /// How many fields the record has.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The line in which the record begins.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// A field's bytes, and whether it was quoted. `scratch` holds them where they are not there as such.
    #[inline]
    pub(super) fn field<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> (&'a [u8], bool) {
        let field = self.fields[index];
        let bytes = &self.window.rest()[field.start..field.end];
        if !field.doubled {
            return (bytes, field.quoted);
        }
        scratch.clear();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == self.quote) {
            scratch.extend_from_slice(&rest[..=at]);
            rest = &rest[(at + 2).min(rest.len())..];
        }
        scratch.extend_from_slice(rest);
        (scratch, true)
    }

    fn bad_line(&self, message: &str) -> Error {
        Error::new(SqlState::BadCopyFileFormat, message)
            .with_detail(format!("{}, line {}", self.file, self.line))
            .with_hint("within a quoted field, a quote is written twice")
    }
}

/// Finds the fields of the record at the start of `bytes`, of which there is at least one.
#[inline]
fn scan(bytes: &[u8], ended: bool, delimiter: u8, quote: u8, fields: &mut Vec<Field>) -> Scan {
    fields.clear();
    let (mut at, mut lines) = (0, 1);
    loop {
        let (mut field, after) = if bytes.get(at) == Some(&quote) {
            match scan_quoted(bytes, at + 1, quote, &mut lines) {
                Some(found) => found,
                None => return Scan::Incomplete,
            }
        } else {
            let length = bytes[at..].iter().position(|byte| *byte == delimiter || *byte == b'\n');
            let end = at + length.unwrap_or(bytes.len() - at);
            (Field { start: at, end, quoted: false, doubled: false }, end)
        };
        let end = match bytes[after..] {
            [byte, ..] if byte == delimiter => {
                fields.push(field);
                at = after + 1;
                continue;
            }
            [b'\n', ..] => after + 1,
            [b'\r', b'\n', ..] => after + 2,
            [] | [b'\r'] if !ended => return Scan::Incomplete,
            [] => after,
            [b'\r'] => after + 1,
            _ => return Scan::AfterQuote,
        };
        if !field.quoted && field.end > field.start && bytes[field.end - 1] == b'\r' {
            field.end -= 1;
        }
        fields.push(field);
        return Scan::Record { length: end, lines };
    }
}

/// A field whose opening quote stands before `start`, and where what follows it begins; `None` when it is not closed or
/// may go on behind the window.
fn scan_quoted(bytes: &[u8], start: usize, quote: u8, lines: &mut u64) -> Option<(Field, usize)> {
    let (mut at, mut doubled) = (start, false);
    loop {
        let stop = at + bytes[at..].iter().position(|byte| *byte == quote || *byte == b'\n')?;
        if bytes[stop] == b'\n' {
            *lines += 1;
        } else if bytes.get(stop + 1) == Some(&quote) {
            doubled = true;
            at = stop + 2;
            continue;
        } else {
            return Some((Field { start, end: stop, quoted: true, doubled }, stop + 1));
        }
        at = stop + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Records = Vec<(u64, Vec<(String, bool)>)>;

    /// Hands out one byte at a time, to be sure that nothing depends on where the window ends.
    struct Slow(std::io::Cursor<Vec<u8>>);

    impl std::io::Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(&mut buffer[..1])
        }
    }

    fn records(text: &str) -> Result<Records> {
        let input = Slow(std::io::Cursor::new(text.as_bytes().to_vec()));
        let mut splitter = Splitter::new(Window::new(Box::new(input), "t.csv"), "t.csv", b',', b'"');
        let mut found = Vec::new();
        let mut scratch = Vec::new();
        while splitter.next()? {
            let fields = (0..splitter.len()).map(|index| {
                let (bytes, quoted) = splitter.field(index, &mut scratch);
                (String::from_utf8_lossy(bytes).into_owned(), quoted)
            });
            let fields = fields.collect();
            found.push((splitter.line(), fields));
        }
        Ok(found)
    }

    fn plain(line: u64, fields: &[(&str, bool)]) -> (u64, Vec<(String, bool)>) {
        (line, fields.iter().map(|(text, quoted)| (text.to_string(), *quoted)).collect())
    }

    #[test]
    fn fields_are_told_apart() {
        let text = "\u{feff}a,b\r\n1,\"x,\ny\"\"\"\n\n,\"\"\r\n\"\"\"\",z";
        assert_eq!(
            records(text).unwrap(),
            vec![
                plain(1, &[("a", false), ("b", false)]),
                plain(2, &[("1", false), ("x,\ny\"", true)]),
                plain(5, &[("", false), ("", true)]),
                plain(6, &[("\"", true), ("z", false)]),
            ]
        );
        assert_eq!(records("a,").unwrap(), vec![plain(1, &[("a", false), ("", false)])]);
        assert!(records("").unwrap().is_empty());
    }

    #[test]
    fn quotes_must_match() {
        for (text, line) in [("a\n\"b\n\n", 2), ("a\nb\n\"c\"d,", 3), ("\"a\"\r", 0)] {
            match records(text) {
                Err(error) => assert_eq!(error.detail.unwrap(), format!("t.csv, line {line}")),
                Ok(_) => assert_eq!(line, 0),
            }
        }
    }

    #[test]
    fn records_may_be_longer_than_the_window() {
        let long = "ab\"\"\n".repeat(200_000);
        let found = records(&format!("1,\"{long}\"\n2,x\n")).unwrap();
        assert_eq!(found[0].1[1].0.len(), 800_000);
        assert_eq!(found[1], plain(200_002, &[("2", false), ("x", false)]));
    }
}
