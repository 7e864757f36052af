//! PostgreSQL's text format: fields between tabs, `\N` for NULL, and what would be misread behind backslashes.
//!
//! It is read by turning it, line by line, into fields with quotes, which the reader of tsv takes. Most lines are both.

use super::options::CopyOptions;
use std::io::{BufRead, BufReader, Read};

/// The end of the rows, where the protocol does not say it.
const END: &[u8] = b"\\.";

/// Reads the text format as tsv.
pub(super) struct PlainText<R> {
    input: BufReader<R>,
    delimiter: u8,
    quote: u8,
    null: Vec<u8>,
    line: Vec<u8>,
    /// The line as tsv, and how much of it has been taken.
    ready: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl<R: Read> PlainText<R> {
    pub(super) fn new(input: R, options: &CopyOptions) -> Self {
        Self {
            input: BufReader::with_capacity(128 << 10, input),
            delimiter: options.delimiter,
            quote: options.quote,
            null: options.null.clone().into_bytes(),
            line: Vec::new(),
            ready: Vec::new(),
            taken: 0,
            ended: false,
        }
    }

    fn convert(&mut self) {
        self.ready.clear();
        self.taken = 0;
        let body = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        if body == END {
            self.ended = true;
            return;
        }
        if !body.iter().any(|byte| matches!(*byte, b'\\' | b'\r') || *byte == self.quote) {
            self.ready.extend_from_slice(&self.line);
            return;
        }
        let mut start = 0;
        let mut at = 0;
        while at <= body.len() {
            if at == body.len() || body[at] == self.delimiter {
                field(&body[start..at], &self.null, self.quote, &mut self.ready);
                if at < body.len() {
                    self.ready.push(self.delimiter);
                }
                start = at + 1;
            } else if body[at] == b'\\' {
                at += 1;
            }
            at += 1;
        }
        // A backslash at the very end stands for itself.
        if start <= body.len() && at > body.len() + 1 {
            field(&body[start..], &self.null, self.quote, &mut self.ready);
        }
        self.ready.push(b'\n');
    }
}

/// Appends a field in quotes, or NULL.
fn field(raw: &[u8], null: &[u8], quote: u8, out: &mut Vec<u8>) {
    if raw == null {
        out.extend_from_slice(null);
        return;
    }
    out.push(quote);
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = if byte == b'\\' { escaped(after) } else { (byte, after) };
        if byte == quote {
            out.push(quote);
        }
        out.push(byte);
        rest = after;
    }
    out.push(quote);
}

/// What stands behind a backslash, and the rest.
fn escaped(after: &[u8]) -> (u8, &[u8]) {
    let digits = |bytes: &[u8], base: u32, most: usize| {
        let found: Vec<u32> = bytes.iter().take(most).map_while(|byte| char::from(*byte).to_digit(base)).collect();
        let value = found.iter().fold(0, |value, digit| value * base + digit);
        (value as u8, found.len())
    };
    match after.split_first() {
        None => (b'\\', after),
        Some((b'b', rest)) => (8, rest),
        Some((b'f', rest)) => (12, rest),
        Some((b'n', rest)) => (b'\n', rest),
        Some((b'r', rest)) => (b'\r', rest),
        Some((b't', rest)) => (b'\t', rest),
        Some((b'v', rest)) => (11, rest),
        Some((b'x', rest)) => match digits(rest, 16, 2) {
            (_, 0) => (b'x', rest),
            (value, length) => (value, &rest[length..]),
        },
        Some((b'0'..=b'7', _)) => {
            let (value, length) = digits(after, 8, 3);
            (value, &after[length..])
        }
        Some((other, rest)) => (*other, rest),
    }
}

impl<R: Read> Read for PlainText<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.taken == self.ready.len() {
            if self.ended {
                return Ok(0);
            }
            self.line.clear();
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                self.ended = true;
                return Ok(0);
            }
            self.convert();
        }
        let length = buffer.len().min(self.ready.len() - self.taken);
        buffer[..length].copy_from_slice(&self.ready[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

/// Appends a field of the text format.
pub(super) fn write_field(field: &[u8], delimiter: u8, out: &mut Vec<u8>) {
    for byte in field {
        let behind = match byte {
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            b'\\' => b'\\',
            other if *other == delimiter => *other,
            other => {
                out.push(*other);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', behind]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let options = CopyOptions::of_stream(&[]).expect("no options");
        let mut tsv = String::new();
        PlainText::new(text.as_bytes(), &options).read_to_string(&mut tsv).expect("UTF-8");
        tsv
    }

    #[test]
    fn plain_lines_stay_as_they_are() {
        assert_eq!(read("1\ttwo\t\n3\tfour\t5\n"), "1\ttwo\t\n3\tfour\t5\n");
    }

    #[test]
    fn what_stands_behind_backslashes() {
        assert_eq!(read("\\N\ta\\tb\\\\c\t\\x41\\102\n"), "\\N\t\"a\tb\\c\"\t\"AB\"\n");
        assert_eq!(read("say \"hi\"\tx\n"), "\"say \"\"hi\"\"\"\t\"x\"\n");
        assert_eq!(read("a\\\tb\tc\n"), "\"a\tb\"\t\"c\"\n");
        assert_eq!(read("end\\\n"), "\"end\\\"\n");
    }

    #[test]
    fn the_end_may_be_said() {
        assert_eq!(read("1\n\\.\n2\n"), "1\n");
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        write_field(b"a\tb\nc\\d\"", b'\t', &mut out);
        out.push(b'\n');
        assert_eq!(read(&String::from_utf8(out).expect("UTF-8")), "\"a\tb\nc\\d\"\"\"\n");
    }
}
