//! PostgreSQL's binary form of `numeric`: groups of four decimal digits.
//!
//! ```text
//! groups (2) · weight of the first (2) · sign (2): 0000 plus, 4000 minus, c000 NaN · digits after the point (2) · group (2) …
//! ```

use crate::error::Fault;
use bytes::{Buf, BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;

/// Appends `value / 10^scale`.
pub(crate) fn write(value: i128, scale: i8, out: &mut BytesMut) {
    let scale = usize::try_from(scale).unwrap_or(0);
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let mut groups: Vec<i16> = Vec::with_capacity(digits.len() / 4 + 2);
    let padded = format!("{:0>width$}", whole, width = whole.len().div_ceil(4) * 4);
    groups.extend(padded.as_bytes().chunks(4).map(group));
    let mut weight = groups.len() as i16 - 1;
    let padded = format!("{:0<width$}", fraction, width = fraction.len().div_ceil(4) * 4);
    groups.extend(padded.as_bytes().chunks(4).map(group));
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i16;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i16(groups.len() as i16);
    out.put_i16(weight);
    out.put_u16(if value < 0 { NEGATIVE } else { 0 });
    out.put_i16(scale as i16);
    groups.into_iter().for_each(|group| out.put_i16(group));
}

fn group(digits: &[u8]) -> i16 {
    digits.iter().fold(0, |number, digit| number * 10 + i16::from(digit - b'0'))
}

/// The text of a binary `numeric`.
///
/// # Errors
/// 22P03 for bytes that are none; 22003 for NaN and infinity, which a decimal here cannot be.
pub(crate) fn read(mut bytes: &[u8]) -> Result<String, Fault> {
    if bytes.len() < 8 {
        return Err(Fault::binary("a numeric has at least 8 bytes"));
    }
    let (count, weight) = (bytes.get_i16(), i32::from(bytes.get_i16()));
    let (sign, scale) = (bytes.get_u16(), usize::from(bytes.get_u16()));
    if !matches!(sign, 0 | NEGATIVE) {
        return Err(Fault::out_of_range("a decimal is neither NaN nor infinite"));
    }
    let count = usize::try_from(count).map_err(|_| Fault::binary("a numeric has no negative number of digits"))?;
    if bytes.len() != count * 2 || scale > 1_000 || weight.abs() > 1_000 {
        return Err(Fault::binary("a numeric of another length than it says"));
    }
    let mut groups = Vec::with_capacity(count);
    for _ in 0..count {
        let group = bytes.get_i16();
        if !(0..10_000).contains(&group) {
            return Err(Fault::binary("a numeric's digits are groups of four"));
        }
        groups.push(group);
    }
    let at = |position: i32| {
        usize::try_from(weight - position).ok().and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::from(if sign == NEGATIVE { "-" } else { "" });
    for position in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", at(position)));
    }
    if scale > 0 {
        let fraction: String = (1..=scale.div_ceil(4) as i32).map(|position| format!("{:04}", at(-position))).collect();
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(value: i128, scale: i8) -> String {
        let mut out = BytesMut::new();
        write(value, scale, &mut out);
        read(&out).expect("what was written")
    }

    #[test]
    fn values_come_back() {
        let trimmed = |text: String| {
            let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
            let digits = digits.trim_start_matches('0');
            let zero = if digits.starts_with('.') || digits.is_empty() { "0" } else { "" };
            format!("{sign}{zero}{digits}")
        };
        for (value, scale, text) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (1, 0, "1"),
            (-12_345, 2, "-123.45"),
            (10_000, 0, "10000"),
            (1, 8, "0.00000001"),
            (123_456_789, 4, "12345.6789"),
            (99_999_999_999_999_999_999_999_999_999_999_999_999, 0, "99999999999999999999999999999999999999"),
            (-99_999_999_999_999_999_999_999_999_999_999_999_999, 38, "-0.99999999999999999999999999999999999999"),
        ] {
            assert_eq!(trimmed(round_trip(value, scale)), text);
        }
    }

    #[test]
    fn the_form_is_postgresqls() {
        let mut out = BytesMut::new();
        write(-12_345_678, 4, &mut out);
        assert_eq!(&out[..], [0, 2, 0, 0, 0x40, 0, 0, 4, 0x04, 0xd2, 0x16, 0x2e]);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [&[][..], &[0; 7], &[0, 1, 0, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 0xc0, 0, 0, 0], &[0xff; 10]] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }
}
