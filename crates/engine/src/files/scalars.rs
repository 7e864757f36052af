//! Values of simple types from their text.

use super::decimal::parse_integer;
use std::borrow::Cow;

/// Why a text is not a value of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Syntax,
    Range,
    /// A date or time that does not exist.
    Datetime,
    /// Invalid JSON, and why.
    Json(String),
}

/// A value, or why there is none.
pub(super) type Parsed<T> = Result<T, Fault>;

pub(super) fn utf8(text: &[u8]) -> Parsed<&str> {
    std::str::from_utf8(text).map_err(|_| Fault::Syntax)
}

#[inline]
pub(super) fn whole(text: &[u8]) -> Parsed<i64> {
    match parse_integer(text) {
        Err(Fault::Syntax) => parse_integer(text.trim_ascii()),
        parsed => parsed,
    }
}

#[inline]
pub(super) fn narrow<T: TryFrom<i64>>(value: i64) -> Parsed<T> {
    T::try_from(value).map_err(|_| Fault::Range)
}

pub(super) fn double(text: &[u8]) -> Parsed<f64> {
    let value: f64 = utf8(text)?.parse().map_err(|_| Fault::Syntax)?;
    if value.is_infinite() && text.iter().any(u8::is_ascii_digit) { Err(Fault::Range) } else { Ok(value) }
}

pub(super) fn real(text: &[u8]) -> Parsed<f32> {
    let value: f32 = utf8(text)?.parse().map_err(|_| Fault::Syntax)?;
    if value.is_infinite() && text.iter().any(u8::is_ascii_digit) { Err(Fault::Range) } else { Ok(value) }
}

pub(super) fn boolean(text: &[u8]) -> Parsed<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is(&["true", "t", "1", "yes", "y", "on"]) {
        Ok(true)
    } else if is(&["false", "f", "0", "no", "n", "off"]) {
        Ok(false)
    } else {
        Err(Fault::Syntax)
    }
}

/// `\xDEADBEEF`, or bytes as they are, where `\\` and `\ooo` (octal) stand for one byte.
pub(super) fn bytes(text: &[u8]) -> Parsed<Cow<'_, [u8]>> {
    if let Some(hex) = text.strip_prefix(b"\\x") {
        let nibble = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8).ok_or(Fault::Syntax);
        if hex.len() % 2 != 0 {
            return Err(Fault::Syntax);
        }
        let bytes = hex.chunks_exact(2).map(|pair| Ok(nibble(pair[0])? << 4 | nibble(pair[1])?));
        return bytes.collect::<Parsed<Vec<u8>>>().map(Cow::Owned);
    }
    if !text.contains(&b'\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                out.push(b'\\');
                after
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                after
            }
            (b'\\', _) => return Err(Fault::Syntax),
            (byte, after) => {
                out.push(*byte);
                after
            }
        };
    }
    Ok(Cow::Owned(out))
}
