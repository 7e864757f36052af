//! How rows are written out.
//!
//! Every format is a [`Rows`]: it is given batches as they come, and told once that no more follow. All but `table` write
//! each batch at once, so that a result larger than memory passes through; `table` holds back one page to know how wide
//! its columns are.
//!
//! Formats for people (`table`, `vertical`, `markdown`) escape control characters: a value must not move the cursor.

mod delimited;
mod fit;
mod json;
mod markdown;
mod table;
mod vertical;

use std::borrow::Cow;
use std::io::{self, Write};
use std::str::FromStr;

use evenkeel_model::{Error, SqlState, did_you_mean};

use crate::rows::{Batch, Columns};

/// An output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns side by side: lines on a terminal, plain `a | b` elsewhere.
    #[default]
    Table,
    /// One line a value, a block a row.
    Vertical,
    /// RFC 4180, with a header.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// A table as GitHub draws it.
    Markdown,
}

impl Format {
    /// Every format, in the order that help shows them.
    pub const ALL: [Format; 6] =
        [Format::Table, Format::Csv, Format::Json, Format::Ndjson, Format::Markdown, Format::Vertical];

    /// The name that `--format` and `\format` take.
    pub fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Vertical => "vertical",
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Markdown => "markdown",
        }
    }

    /// Whether the output is read by people, and may hold row counts, command tags and times between results.
    pub fn is_for_people(self) -> bool {
        matches!(self, Format::Table | Format::Vertical)
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let names = Format::ALL.map(Format::name);
        let found = Format::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let error = Error::new(SqlState::InvalidParameterValue, format!("there is no format \"{text}\""))
                .with_detail(format!("Formats are {}.", names.join(", ")));
            match did_you_mean(text, names) {
                Some(name) => error.with_hint(format!("Did you mean {name}?")),
                None => error,
            }
        })
    }
}

/// Whether rows stand as blocks instead of columns side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expanded {
    /// Never.
    Off,
    /// Always.
    On,
    /// Where columns side by side would not fit the terminal.
    #[default]
    Auto,
}

/// What the writer of a result has to know.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The format of the output.
    pub format: Format,
    /// Whether a table's rows stand as blocks.
    pub expanded: Expanded,
    /// Columns of the terminal; `None` where the output is no terminal, and nothing is cut or coloured.
    pub terminal_width: Option<usize>,
}

/// The writer of one result.
pub trait Rows: Send {
    /// Takes the next rows.
    fn batch(&mut self, out: &mut dyn Write, batch: &Batch) -> io::Result<()>;

    /// Writes what was held back, and what stands below the last row.
    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// The writer for a result with these columns.
pub fn rows(layout: Layout, columns: &Columns) -> Box<dyn Rows> {
    match (layout.format, layout.expanded) {
        (Format::Table, Expanded::On) | (Format::Vertical, _) => Box::new(vertical::Vertical::new(columns)),
        (Format::Table, _) => Box::new(table::Table::new(layout, columns)),
        (Format::Csv, _) => Box::new(delimited::Delimited::new(columns)),
        (Format::Json, _) => Box::new(json::Objects::array(columns)),
        (Format::Ndjson, _) => Box::new(json::Objects::lines(columns)),
        (Format::Markdown, _) => Box::new(markdown::Markdown::new(columns)),
    }
}

/// `(1 row)`, `(5 rows)`
fn row_count(rows: usize) -> String {
    format!("({rows} row{})", if rows == 1 { "" } else { "s" })
}

/// The text with control characters as escapes.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |letter: char| match letter {
        '\n' | '\t' | '\r' => letter.escape_default().to_string(),
        letter if letter.is_control() => format!("\\x{:02x}", u32::from(letter)),
        letter => letter.to_string(),
    };
    Cow::Owned(text.chars().map(escape).collect())
}

#[cfg(test)]
mod tests;
