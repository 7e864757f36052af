//! JSON objects of a stream, one by one, and what is in them, where it lies.
//!
//! Only the structure is looked at here (brackets, strings, commas); what a value's text means is for whoever takes
//! it. So numbers keep all their digits, and nothing is copied but strings with escapes.

use super::window::Window;
use evenkeel_model::{Error, Result, SqlState};
use std::borrow::Cow;

/// The objects of a JSON text: of one array, or one after the other.
pub(super) struct Objects {
    window: Window,
    file: String,
    place: Place,
    /// Bytes of the current object, which are used up when the next one is asked for.
    length: usize,
    line: u64,
    next_line: u64,
}

/// Where in the text we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    /// Behind the `[`.
    ArrayStart,
    /// Behind an object of the array.
    Array,
    /// Between objects that follow one another.
    Sequence,
    /// Behind the `]`.
    End,
}

impl Objects {
    pub(super) fn new(window: Window, file: &str) -> Self {
        Self { window, file: file.to_string(), place: Place::Start, length: 0, line: 1, next_line: 1 }
    }

    /// Goes to the next object; false at the end.
    ///
    /// # Errors
    /// 22P04 for anything but objects.
    pub(super) fn next(&mut self) -> Result<bool> {
        self.window.advance(std::mem::take(&mut self.length));
        loop {
            let byte = self.skip_space()?;
            self.line = self.next_line;
            self.place = match (self.place, byte) {
                (Place::Start | Place::Sequence | Place::End, None) => return Ok(false),
                (Place::Start, Some(b'[')) => Place::ArrayStart,
                (Place::ArrayStart | Place::Array, Some(b']')) => Place::End,
                (Place::Array, Some(b',')) => {
                    self.window.advance(1);
                    self.skip_space()?;
                    self.line = self.next_line;
                    return self.object(Place::Array);
                }
                (Place::Start | Place::Sequence, Some(b'{')) => return self.object(Place::Sequence),
                (Place::ArrayStart, Some(b'{')) => return self.object(Place::Array),
                (_, None) => return Err(self.bad("the array is not closed")),
                (Place::End, Some(_)) => return Err(self.bad("something follows the array")),
                (Place::Array, Some(_)) => return Err(self.bad("objects of an array are not apart by commas")),
                (_, Some(_)) => return Err(self.bad("not an object")),
            };
            self.window.advance(1);
        }
    }

    /// The text of the object.
    pub(super) fn text(&self) -> &[u8] {
        &self.window.rest()[..self.length]
    }

    /// The line in which the object begins.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    fn object(&mut self, place: Place) -> Result<bool> {
        self.place = place;
        if self.window.rest().first() != Some(&b'{') {
            return Err(self.bad("not an object"));
        }
        loop {
            if let Some(length) = value_end(self.window.rest()) {
                self.length = length;
                self.next_line += lines(self.text());
                return Ok(true);
            }
            if self.window.ended() {
                return Err(self.bad("an object is not closed"));
            }
            self.window.fill()?;
        }
    }

    /// The next byte that is no white space.
    fn skip_space(&mut self) -> Result<Option<u8>> {
        loop {
            let rest = self.window.rest();
            // A byte order mark counts as space, where it stands.
            let mark = self.place == Place::Start && rest.starts_with(b"\xef\xbb\xbf");
            let space = if mark { 3 } else { rest.len() - rest.trim_ascii_start().len() };
            let (byte, skipped) = (rest.get(space).copied(), lines(&rest[..space]));
            self.next_line += skipped;
            self.window.advance(space);
            match byte {
                Some(_) if mark => {}
                Some(byte) => return Ok(Some(byte)),
                None if self.window.ended() => return Ok(None),
                None => self.window.fill()?,
            }
        }
    }

    fn bad(&self, message: &str) -> Error {
        Error::new(SqlState::BadCopyFileFormat, format!("invalid JSON: {message}"))
            .with_detail(format!("{}, line {}", self.file, self.line))
            .with_hint("json is one array of objects, ndjson one object a line")
    }
}

fn lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Where the value ends that `text` begins with; `None` when it goes on behind `text`.
fn value_end(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string_end(text),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0_usize, 0);
            loop {
                match text.get(at)? {
                    b'"' => at += string_end(&text[at..])? - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => text.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')),
    }
}

/// Where the string ends that `text` begins with.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What an object or array holds, one by one.
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    keyed: bool,
    first: bool,
}

/// A value and, in an object, its key.
pub(super) struct Entry<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) value: &'a [u8],
}

/// The entries of an object.
pub(super) fn entries(object: &[u8]) -> Entries<'_> {
    Entries { rest: object.get(1..).unwrap_or_default(), keyed: true, first: true }
}

/// The elements of an array, which have empty keys.
pub(super) fn elements(array: &[u8]) -> Entries<'_> {
    Entries { rest: array.get(1..).unwrap_or_default(), keyed: false, first: true }
}

impl<'a> Entries<'a> {
    /// # Errors
    /// What is wrong with the JSON.
    pub(super) fn next_entry(&mut self) -> std::result::Result<Option<Entry<'a>>, String> {
        self.space();
        let close = if self.keyed { b'}' } else { b']' };
        if self.eat(close) {
            return if self.rest.is_empty() { Ok(None) } else { Err("something follows the value".to_string()) };
        }
        if !std::mem::take(&mut self.first) {
            if !self.eat(b',') {
                return Err("expected a comma".to_string());
            }
            self.space();
        }
        let key = if self.keyed { self.key()? } else { Cow::Borrowed("") };
        let value = self.value()?;
        Ok(Some(Entry { key, value }))
    }

    fn key(&mut self) -> std::result::Result<Cow<'a, str>, String> {
        if self.rest.first() != Some(&b'"') {
            return Err("expected a key in quotes".to_string());
        }
        let key = unescape(self.value()?)?;
        self.space();
        if !self.eat(b':') {
            return Err(format!("expected a colon after the key \"{key}\""));
        }
        self.space();
        Ok(key)
    }

    fn value(&mut self) -> std::result::Result<&'a [u8], String> {
        let end = value_end(self.rest).filter(|end| *end > 0).ok_or("expected a value")?;
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(value)
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        self.rest = &self.rest[usize::from(found)..];
        found
    }
}

/// The text of a JSON string.
///
/// # Errors
/// What is wrong with it.
pub(super) fn unescape(string: &[u8]) -> std::result::Result<Cow<'_, str>, String> {
    let inner = string.get(1..string.len().saturating_sub(1)).unwrap_or_default();
    if inner.iter().all(|byte| *byte >= b' ' && *byte != b'\\') {
        return std::str::from_utf8(inner).map(Cow::Borrowed).map_err(|_| "text is not UTF-8".to_string());
    }
    serde_json::from_slice(string).map(Cow::Owned).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(text: &str) -> Result<Vec<(u64, String)>> {
        let input = std::io::Cursor::new(text.as_bytes().to_vec());
        let mut objects = Objects::new(Window::new(Box::new(input), "t.json"), "t.json");
        let mut found = Vec::new();
        while objects.next()? {
            found.push((objects.line(), String::from_utf8_lossy(objects.text()).into_owned()));
        }
        Ok(found)
    }

    #[test]
    fn objects_are_found_in_arrays_and_sequences() {
        let of = |text: &str| objects(text).unwrap();
        let (a, b) = ("{\"a\":\"}\\\"\"}".to_string(), "{\n\"b\": [{}]}".to_string());
        assert_eq!(of(&format!("\u{feff} [\n{a},\n {b} ]\n")), vec![(2, a.clone()), (3, b.clone())]);
        assert_eq!(of(&format!("{a}\n{b}{a}")), vec![(1, a.clone()), (2, b), (3, a)]);
        assert!(of("").is_empty() && of("[]").is_empty() && of(" \n").is_empty());
        for bad in ["[", "[{}", "[{},]", "[{}{}]", "[{}] x", "{", "1", "[1]", "{} 1"] {
            assert_eq!(objects(bad).unwrap_err().state, SqlState::BadCopyFileFormat, "{bad}");
        }
    }

    #[test]
    fn entries_are_found_where_they_lie() {
        let text = b"{ \"a\" : 1.50 ,\"\\u00e4\":[1, \"]\"],\"c\":{\"d\":null} }";
        let mut entries = entries(text);
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().unwrap() {
            found.push((entry.key.into_owned(), String::from_utf8_lossy(entry.value).into_owned()));
        }
        let expected = [("a", "1.50"), ("ä", "[1, \"]\"]"), ("c", "{\"d\":null}")];
        assert_eq!(found, expected.map(|(key, value)| (key.to_string(), value.to_string())));
        for bad in ["{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1 \"b\":2}", "{\"a\":1,}"] {
            let mut entries = super::entries(bad.as_bytes());
            let outcome = std::iter::from_fn(|| entries.next_entry().transpose()).find(|entry| entry.is_err());
            assert!(outcome.is_some(), "{bad}");
        }
    }
}
