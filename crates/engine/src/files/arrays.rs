//! PostgreSQL's text of an array: `{1,2,NULL,"x y"}`.

use super::scalars::{Fault, Parsed};
use std::borrow::Cow;

/// An element of PostgreSQL's text of an array, `None` for NULL.
pub(super) type ArrayElement<'a> = Option<Cow<'a, [u8]>>;

/// The next element and what follows it; `None` behind the last one. Nested arrays are elements as a whole.
pub(super) fn next_element(text: &[u8], first: bool) -> Parsed<Option<(ArrayElement<'_>, &[u8])>> {
    let text = match (text.trim_ascii_start(), first) {
        ([b'}', rest @ ..], _) => {
            return if rest.trim_ascii().is_empty() { Ok(None) } else { Err(Fault::Syntax) };
        }
        (text, true) => text,
        ([b',', rest @ ..], false) => rest.trim_ascii_start(),
        _ => return Err(Fault::Syntax),
    };
    let (element, rest) = match text.first() {
        Some(b'"') => {
            let (element, rest) = quoted_element(&text[1..])?;
            (Some(Cow::Owned(element)), rest)
        }
        Some(b'{') => {
            let end = nested_end(text).ok_or(Fault::Syntax)?;
            (Some(Cow::Borrowed(&text[..end])), &text[end..])
        }
        _ => {
            let end = text.iter().position(|byte| matches!(byte, b',' | b'}')).ok_or(Fault::Syntax)?;
            let word = text[..end].trim_ascii();
            if word.is_empty() {
                return Err(Fault::Syntax);
            }
            let element = (!word.eq_ignore_ascii_case(b"null")).then_some(Cow::Borrowed(word));
            (element, &text[end..])
        }
    };
    Ok(Some((element, rest)))
}

/// The text up to the closing quote, and what follows it.
fn quoted_element(text: &[u8]) -> Parsed<(Vec<u8>, &[u8])> {
    let mut element = Vec::new();
    let mut at = 0;
    loop {
        match text.get(at).ok_or(Fault::Syntax)? {
            b'"' => return Ok((element, &text[at + 1..])),
            b'\\' => {
                element.push(*text.get(at + 1).ok_or(Fault::Syntax)?);
                at += 2;
            }
            byte => {
                element.push(*byte);
                at += 1;
            }
        }
    }
}

/// Where the array ends that `text` begins with.
fn nested_end(text: &[u8]) -> Option<usize> {
    let (mut depth, mut quoted, mut at) = (0, false, 0);
    loop {
        match text.get(at)? {
            b'\\' => at += 1,
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}
