//! An error as a person reads it: what, where, and what to do.
//!
//! ```text
//! ERROR 42601: expected a statement, found SELCT
//!   --> script.pql:3:1
//!    |
//!  3 | SELCT 1
//!    | ^^^^^
//! HINT: did you mean SELECT?
//! ```
//!
//! WHAT MAY NEVER HAPPEN: a panic because a span does not fit its source (spans are clamped to it, to whole characters);
//! a password on the screen.

use std::ops::Range;

use evenkeel_model::Error;

/// An error with its place in the source, as several lines without a newline at the end. `origin` is the name of the
/// file or wherever the source came from.
pub fn render(error: &Error, source: &str, origin: Option<&str>) -> String {
    let mut text = format!("ERROR {}: {}", error.state.code(), error.message);
    if let Some(span) = &error.span {
        place(&mut text, source, span.clone(), origin);
    }
    for (label, note) in [("DETAIL", &error.detail), ("HINT", &error.hint)] {
        if let Some(note) = note {
            append(&mut text, format_args!("\n{label}: {note}"));
        }
    }
    text
}

/// Line and column, both from 1 and the column in characters, of a byte offset.
pub fn line_column(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..boundary(source, offset)];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

fn place(text: &mut String, source: &str, span: Range<usize>, origin: Option<&str>) {
    let start = boundary(source, span.start);
    let end = boundary(source, span.end.max(start));
    let (line, column) = line_column(source, start);
    let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = source[start..].find('\n').map_or(source.len(), |newline| start + newline);
    let shown = crate::secrets::starred(source, line_start..line_end);
    let shown = shown.trim_end_matches('\r');
    let origin = origin.map_or(String::new(), |origin| format!("{origin}:"));
    let margin = " ".repeat(line.to_string().len());
    let before: String = source[line_start..start].chars().map(|ch| if ch == '\t' { '\t' } else { ' ' }).collect();
    let carets = "^".repeat(source[start..end.min(line_end)].trim_end().chars().count().max(1));
    append(
        text,
        format_args!(
            "\n{margin} --> {origin}{line}:{column}\n{margin}  |\n {line} | {shown}\n{margin}  | {before}{carets}"
        ),
    );
}

/// Writing to a string does not fail.
fn append(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.push_str(&arguments.to_string());
}

/// The nearest start of a character at or before an offset.
fn boundary(source: &str, offset: usize) -> usize {
    let mut at = offset.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}
