//! Which columns a text file has, and of which types, by its first rows.

use super::datetime::iso_timestamp;
use super::decimal::parse_integer;
use super::delimited::header;
use super::input::{open_text, short_name};
use super::json::{bad_json, collect_keys};
use super::objects::{Objects, entries, unescape};
use super::options::CopyOptions;
use super::reader::Target;
use super::splitter::Splitter;
use super::window::Window;
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use std::path::Path;

/// Rows that are looked at.
pub(super) const SAMPLE_ROWS: usize = 10_000;

/// The columns of a text file.
///
/// # Errors
/// What reading the file says, 42701 for two columns of one name.
pub(super) fn infer(path: &Path, options: &CopyOptions) -> Result<Vec<Target>> {
    let file = short_name(path);
    let (input, _) = open_text(path, options.compression)?;
    let window = Window::new(input, &file);
    let columns = if options.format.is_delimited() {
        delimited(Splitter::new(window, &file, options.delimiter, options.quote), &file, &options.null)?
    } else {
        json(Objects::new(window, &file), &file)?
    };
    if columns.is_empty() {
        return Err(Error::new(SqlState::BadCopyFileFormat, format!("\"{file}\" is empty: it has no columns")));
    }
    for (index, (name, _)) in columns.iter().enumerate() {
        if columns[..index].iter().any(|(other, _)| other == name) {
            return Err(Error::new(SqlState::DuplicateColumn, format!("\"{file}\" has two columns named \"{name}\""))
                .with_hint("COPY it into a table WITH (header false)"));
        }
    }
    Ok(columns.into_iter().map(|(name, guess)| Target { name, column_type: guess.column_type() }).collect())
}

fn delimited(mut splitter: Splitter, file: &str, null: &str) -> Result<Vec<(String, Guess)>> {
    let names = header(&mut splitter, file)?.unwrap_or_default();
    let mut guesses = vec![Guess::default(); names.len()];
    let (mut rows, mut scratch) = (0, Vec::new());
    while rows < SAMPLE_ROWS && splitter.next()? {
        rows += 1;
        for (index, guess) in guesses.iter_mut().enumerate().take(splitter.len()) {
            let (text, quoted) = splitter.field(index, &mut scratch);
            if quoted || text != null.as_bytes() {
                guess.text(text);
            }
        }
    }
    Ok(names.into_iter().zip(guesses).collect())
}

fn json(mut objects: Objects, file: &str) -> Result<Vec<(String, Guess)>> {
    let (mut keys, mut guesses) = (Vec::<String>::new(), Vec::<Guess>::new());
    let mut rows = 0;
    while rows < SAMPLE_ROWS && objects.next()? {
        rows += 1;
        let place = || format!("{file}, line {}", objects.line());
        collect_keys(objects.text(), &mut keys).map_err(|why| bad_json(&why, &place()))?;
        guesses.resize(keys.len(), Guess::default());
        let mut found = entries(objects.text());
        while let Some(entry) = found.next_entry().map_err(|why| bad_json(&why, &place()))? {
            if let Some(at) = keys.iter().position(|key| *key == entry.key) {
                guesses[at].json(entry.value).map_err(|why| bad_json(&why, &place()))?;
            }
        }
    }
    Ok(keys.into_iter().zip(guesses).collect())
}

/// Which types all values of a column have had so far.
#[derive(Clone, Debug)]
struct Guess {
    seen: bool,
    boolean: bool,
    bigint: bool,
    double: bool,
    date: bool,
    timestamp: bool,
    timestamptz: bool,
    /// JSON objects and arrays.
    nested: bool,
}

impl Default for Guess {
    fn default() -> Self {
        Self {
            seen: false,
            boolean: true,
            bigint: true,
            double: true,
            date: true,
            timestamp: true,
            timestamptz: true,
            nested: true,
        }
    }
}

impl Guess {
    fn text(&mut self, text: &[u8]) {
        self.seen = true;
        self.nested = false;
        self.boolean = self.boolean && (text.eq_ignore_ascii_case(b"true") || text.eq_ignore_ascii_case(b"false"));
        self.bigint = self.bigint && is_bigint(text);
        self.double = self.double && is_double(text);
        if self.date || self.timestamp || self.timestamptz {
            let moment = iso_timestamp(text).and_then(std::result::Result::ok);
            let timed = text.contains(&b':');
            self.date = self.date && moment.is_some_and(|moment| !timed && !moment.zoned);
            self.timestamp = self.timestamp && moment.is_some_and(|moment| timed && !moment.zoned);
            self.timestamptz = self.timestamptz && moment.is_some_and(|moment| timed && moment.zoned);
        }
    }

    fn json(&mut self, value: &[u8]) -> std::result::Result<(), String> {
        match value.first() {
            Some(b'n') => {}
            Some(b'{' | b'[') => {
                let nested = self.nested;
                self.text(b"{");
                self.nested = nested;
            }
            Some(b'"') => {
                let text = unescape(value)?;
                self.text(text.as_bytes());
                // A string is no number, but for those that JSON has no number for.
                self.boolean = false;
                self.bigint = false;
                self.double = self.double && is_special(text.as_bytes());
            }
            _ => self.text(value),
        }
        Ok(())
    }

    fn column_type(&self) -> ColumnType {
        match self {
            Self { seen: false, .. } => ColumnType::Text { max_chars: None },
            Self { boolean: true, .. } => ColumnType::Boolean,
            Self { bigint: true, .. } => ColumnType::BigInt,
            Self { double: true, .. } => ColumnType::Double,
            Self { date: true, .. } => ColumnType::Date,
            Self { timestamp: true, .. } => ColumnType::Timestamp,
            Self { timestamptz: true, .. } => ColumnType::TimestampTz,
            Self { nested: true, .. } => ColumnType::Json,
            _ => ColumnType::Text { max_chars: None },
        }
    }
}

/// Digits that begin with a zero are codes, not numbers: as a number they would lose it.
fn is_code(text: &[u8]) -> bool {
    matches!(text, [b'0', b'0'..=b'9', ..] | [b'-' | b'+', b'0', b'0'..=b'9', ..])
}

fn is_bigint(text: &[u8]) -> bool {
    !is_code(text) && parse_integer(text).is_ok()
}

fn is_double(text: &[u8]) -> bool {
    let digits = text.iter().any(u8::is_ascii_digit) && !is_code(text);
    is_special(text)
        || digits && std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
}

fn is_special(text: &[u8]) -> bool {
    matches!(text, b"NaN" | b"Infinity" | b"-Infinity")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(name: &str, text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let targets = infer(&path, &CopyOptions::new(Some(&path), &[]).unwrap()).unwrap();
        targets.iter().map(|target| format!("{} {}", target.name, target.column_type)).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn types_are_those_of_all_values() {
        let header = "i,f,b,d,ts,tz,code,na,none,\n";
        let first = "1,1,true,2013-01-01,2013-01-01 10:00:00,2013-01-01T10:00:00Z,007,1,,x\n";
        let second = ",-2.5e3,FALSE,,2013-01-01T10:00:00.5,2013-01-01 10:00+02,12,NA,,\n";
        assert_eq!(
            types("x.csv", &format!("{header}{first}{second}")),
            "i bigint, f double precision, b boolean, d date, ts timestamp, tz timestamptz, code text, na text, \
             none text, column10 text"
        );
        assert_eq!(
            types(
                "x.ndjson",
                "{\"a\":1,\"b\":\"2\",\"c\":[1]}\n{\"d\":1.5,\"a\":null,\"e\":\"2013-01-01\"}{\"d\":\"NaN\"}"
            ),
            "a bigint, b text, c json, d double precision, e date"
        );
        assert_eq!(types("x.json", "[{\"a\":1},{\"a\":{}}]"), "a text");
    }
}
