//! One value as the shell shows it: the only place that knows how values look.
//!
//! The server sends them as PostgreSQL spells them, and most are shown so. Booleans are words and arrays have square
//! brackets. There are two dialects: [`Dialect::Display`] for people, and [`Dialect::Exchange`] for files (CSV, JSON), which
//! differs in timestamps only. JSON has its own writer, because there numbers and arrays stay what they are; NaN and the
//! infinities are strings, as JSON has no numbers for them.

use std::borrow::Cow;

use crate::rows::{Kind, Scalar};

/// Arrays within arrays, as many as PostgreSQL has.
const DIMENSIONS_MAX: usize = 6;

/// Who reads the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// People: PostgreSQL's spelling.
    Display,
    /// Programs: RFC 3339 for timestamps.
    Exchange,
}

/// A value as it is shown.
pub fn text(kind: Kind, sent: &str, dialect: Dialect) -> Cow<'_, str> {
    text_within(kind, sent, dialect, DIMENSIONS_MAX)
}

/// A value in arrays that may have so many dimensions more.
fn text_within(kind: Kind, sent: &str, dialect: Dialect, dimensions: usize) -> Cow<'_, str> {
    if kind.is_array {
        let shown = |element: Option<Cow<'_, str>>| match element {
            Some(element) => {
                let kind = kind_of(kind, &element, dimensions);
                text_within(kind, &element, dialect, dimensions - 1).into_owned()
            }
            None => "NULL".to_string(),
        };
        return Cow::Owned(format!("[{}]", elements(sent).into_iter().map(shown).collect::<Vec<_>>().join(", ")));
    }
    match (kind.scalar, dialect, sent) {
        (Scalar::Boolean, _, "t") => Cow::Borrowed("true"),
        (Scalar::Boolean, _, "f") => Cow::Borrowed("false"),
        (Scalar::Timestamp, Dialect::Exchange, _) => Cow::Owned(rfc3339(sent)),
        _ => Cow::Borrowed(sent),
    }
}

/// Writes a value as JSON.
pub fn write_json(out: &mut String, kind: Kind, sent: Option<&str>) {
    write_json_within(out, kind, sent, DIMENSIONS_MAX);
}

fn write_json_within(out: &mut String, kind: Kind, sent: Option<&str>, dimensions: usize) {
    let Some(sent) = sent else {
        out.push_str("null");
        return;
    };
    if kind.is_array {
        out.push('[');
        for (position, element) in elements(sent).iter().enumerate() {
            out.push_str(if position == 0 { "" } else { "," });
            let element = element.as_deref();
            let kind = kind_of(kind, element.unwrap_or_default(), dimensions);
            write_json_within(out, kind, element, dimensions - 1);
        }
        out.push(']');
        return;
    }
    let text = text(kind, sent, Dialect::Exchange);
    match (kind.scalar, text.as_ref()) {
        (Scalar::Number, "NaN" | "Infinity" | "-Infinity") => write_json_string(out, &text),
        (Scalar::Boolean | Scalar::Number, bare) => out.push_str(bare),
        (Scalar::Timestamp | Scalar::Text, text) => write_json_string(out, text),
    }
}

/// Writes a JSON string, quotes and escapes included.
pub fn write_json_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// `2013-01-01 10:00:00.5+00` as `2013-01-01T10:00:00.5Z`
fn rfc3339(sent: &str) -> String {
    let joined = sent.replacen(' ', "T", 1);
    match joined.strip_suffix("+00") {
        Some(instant) => format!("{instant}Z"),
        None => joined,
    }
}

/// The kind of an array's element: arrays within arrays are of the same type as the whole. Text that looks like an array
/// is text.
fn kind_of(array: Kind, element: &str, dimensions: usize) -> Kind {
    let is_array = array.scalar != Scalar::Text && dimensions > 1 && element.starts_with('{');
    if is_array { array } else { array.element() }
}

/// The elements of `{1,NULL,"a \"b\"",{2}}`; NULL is `None`.
fn elements(sent: &str) -> Vec<Option<Cow<'_, str>>> {
    let inner = sent.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(sent);
    let mut elements = Vec::new();
    let mut rest = inner;
    while !rest.is_empty() {
        let (element, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (text, after) = unquoted(quoted);
                (Some(Cow::Owned(text)), after)
            }
            None => {
                let (text, after) = rest.split_at(end_of_plain(rest));
                (Some(text).filter(|text| !text.eq_ignore_ascii_case("null")).map(Cow::Borrowed), after)
            }
        };
        elements.push(element);
        rest = after.strip_prefix(',').unwrap_or("");
    }
    elements
}

/// The text up to the closing quote, and what follows that.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => text.extend(letters.next().map(|(_, letter)| letter)),
            letter => text.push(letter),
        }
    }
    (text, "")
}

/// Where an element without quotes ends: at a comma that stands in no array of its own.
fn end_of_plain(rest: &str) -> usize {
    let (mut depth, mut in_quotes, mut escaped) = (0_usize, false, false);
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return at,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(oid: u32) -> Kind {
        Kind::of_oid(oid)
    }

    fn shown(oid: u32, sent: &str) -> String {
        text(kind(oid), sent, Dialect::Display).into_owned()
    }

    fn json(oid: u32, sent: Option<&str>) -> String {
        let mut out = String::new();
        write_json(&mut out, kind(oid), sent);
        out
    }

    #[test]
    fn scalars_are_shown_as_they_are_sent_but_for_booleans() {
        for (oid, sent) in [(23, "-5"), (701, "1e+20"), (1700, "-0.05"), (17, "\\x00ff"), (1186, "1 mon"), (25, "t")] {
            assert_eq!(shown(oid, sent), sent);
        }
        assert_eq!([shown(16, "t"), shown(16, "f")], ["true", "false"]);
    }

    #[test]
    fn timestamps_have_two_spellings() {
        let (zoned, plain) = ("2013-01-01 10:00:00.5+00", "2013-01-01 10:00:00");
        assert_eq!([shown(1184, zoned), shown(1114, plain)], [zoned, plain]);
        assert_eq!(text(kind(1184), zoned, Dialect::Exchange), "2013-01-01T10:00:00.5Z");
        assert_eq!(json(1114, Some(plain)), r#""2013-01-01T10:00:00""#);
        assert_eq!(json(1185, Some(&format!("{{\"{zoned}\"}}"))), r#"["2013-01-01T10:00:00.5Z"]"#);
    }

    #[test]
    fn json_keeps_numbers_and_booleans() {
        assert_eq!(json(1700, Some("12345678901234567890.10")), "12345678901234567890.10");
        assert_eq!([json(701, Some("1e+20")), json(701, Some("NaN"))], ["1e+20", "\"NaN\""]);
        assert_eq!([json(16, Some("t")), json(16, None)], ["true", "null"]);
        assert_eq!([json(25, Some("a\"b")), json(25, Some("5"))], [r#""a\"b""#, "\"5\""]);
        assert_eq!(json(3802, Some("{\"a\":1}")), r#""{\"a\":1}""#);
    }

    #[test]
    fn arrays_have_square_brackets() {
        assert_eq!([shown(1007, "{1,NULL}"), shown(1007, "{}")], ["[1, NULL]", "[]"]);
        assert_eq!([json(1007, Some("{1,NULL}")), json(1007, Some("{}"))], ["[1,null]", "[]"]);
        assert_eq!(shown(1000, "{t,f}"), "[true, false]");
        let texts = r#"{plain,"a, b","say \"hi\" \\o/","NULL",NULL,"","{"}"#;
        assert_eq!(shown(1009, texts), r#"[plain, a, b, say "hi" \o/, NULL, NULL, , {]"#);
        assert_eq!(json(1009, Some(texts)), r#"["plain","a, b","say \"hi\" \\o/","NULL",null,"","{"]"#);
        assert_eq!(json(1016, Some("{{1,2},{3}}")), "[[1,2],[3]]");
        assert_eq!(shown(1016, "{{1,2},{3}}"), "[[1, 2], [3]]");
    }

    #[test]
    fn arrays_that_are_none_do_no_harm() {
        let deep = "{".repeat(100_000);
        for sent in ["", "{", "}", "{\"", "{\"\\", "{,", "{a,,b}", "{{}", &deep] {
            for oid in [1007, 1009] {
                shown(oid, sent);
                json(oid, Some(sent));
            }
        }
    }
}
