//! Numbers from text, exactly.

use super::scalars::{Fault, Parsed};

/// A whole number: digits, perhaps with a sign.
#[inline]
pub(super) fn parse_integer(bytes: &[u8]) -> Parsed<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(Fault::Syntax);
    }
    let mut value: i64 = 0;
    let mut overflow = false;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Fault::Syntax);
        }
        // Below zero there is room for one more: the least number has no positive counterpart.
        let next = value.checked_mul(10).and_then(|value| value.checked_sub(i64::from(digit)));
        overflow |= next.is_none();
        value = next.unwrap_or(0);
    }
    let value = if negative { Some(value) } else { value.checked_neg() };
    value.filter(|_| !overflow).ok_or(Fault::Range)
}

/// A decimal number without its point: rounded half away from zero to `scale` digits, at most `precision` in all.
pub(super) fn parse_decimal(bytes: &[u8], precision: u8, scale: i8) -> Parsed<i128> {
    let number = Number::parse(bytes).ok_or(Fault::Syntax)?;
    let digits = || number.whole.iter().chain(number.fraction);
    // How many of the digits stand before the last place that is kept.
    let kept = number.whole.len() as i64 + i64::from(scale) + number.exponent;
    let mut value: u128 = 0;
    let mut rest = digits();
    for _ in 0..kept.max(0) {
        let digit = match rest.next() {
            Some(digit) => u128::from(digit - b'0'),
            None if value == 0 => break,
            None => 0,
        };
        value = value.checked_mul(10).and_then(|value| value.checked_add(digit)).ok_or(Fault::Range)?;
    }
    if kept >= 0 && rest.next().is_some_and(|digit| *digit >= b'5') {
        value = value.checked_add(1).ok_or(Fault::Range)?;
    }
    if value >= 10_u128.pow(u32::from(precision.min(38))) {
        return Err(Fault::Range);
    }
    let value = i128::try_from(value).map_err(|_| Fault::Range)?;
    Ok(if number.negative { -value } else { value })
}

/// The parts of a number's text.
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (negative, unsigned) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (mantissa, exponent) = match unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&unsigned[..at], parse_integer(&unsigned[at + 1..]).ok()?.clamp(-100_000, 100_000)),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
        (digits && whole.len() + fraction.len() > 0).then_some(Self { negative, whole, fraction, exponent })
    }
}

/// The digits of a decimal with its point.
pub(super) fn write_decimal(value: i128, scale: i8, out: &mut Vec<u8>) {
    use std::io::Write;
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs();
    let written = match u32::try_from(scale) {
        Ok(0) => write!(out, "{sign}{digits}"),
        Ok(places) => {
            let (unit, width) = (10_u128.pow(places.min(38)), places as usize);
            write!(out, "{sign}{}.{:0width$}", digits / unit, digits % unit)
        }
        Err(_) if digits == 0 => write!(out, "0"),
        Err(_) => write!(out, "{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs()))),
    };
    debug_assert!(written.is_ok(), "writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_to_the_ends() {
        for n in [0, 1, -1, i64::MAX, i64::MIN, 1_234_567_890_123] {
            assert_eq!(parse_integer(n.to_string().as_bytes()), Ok(n));
        }
        assert_eq!(parse_integer(b"+007"), Ok(7));
        assert_eq!(parse_integer(b"9223372036854775808"), Err(Fault::Range));
        assert_eq!(parse_integer(b"99999999999999999999999"), Err(Fault::Range));
        for bad in ["", "-", "1.0", "a", "1 ", "99999999999999999999999x"] {
            assert_eq!(parse_integer(bad.as_bytes()), Err(Fault::Syntax), "{bad}");
        }
    }

    #[test]
    fn decimals_are_exact_and_round_half_away_from_zero() {
        let parse = |text: &str| parse_decimal(text.as_bytes(), 10, 2);
        for (text, value) in [
            ("1", 100),
            ("1.005", 101),
            ("-1.005", -101),
            ("1.004999", 100),
            (".5", 50),
            ("5.", 500),
            ("1e3", 100_000),
            ("12345e-4", 123),
            ("0.005", 1),
            ("0.004", 0),
            ("5e-3", 1),
            ("4e-9", 0),
            ("9e-9", 0),
            ("0e99999", 0),
            ("99999999.99", 9_999_999_999),
            ("000000000000000000000000000000000000000000000001.2", 120),
        ] {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
        assert_eq!(parse("99999999.995"), Err(Fault::Range));
        assert_eq!(parse("1e9999999999999"), Err(Fault::Range));
        for bad in ["", ".", "-", "1,0", "NaN", "1e", "1.2.3", "e5"] {
            assert_eq!(parse(bad), Err(Fault::Syntax), "{bad}");
        }
        assert_eq!(parse_decimal(b"1250", 5, -2), Ok(13));
    }

    #[test]
    fn decimals_are_written_as_they_are_read() {
        for (value, scale) in
            [(0, 0), (-5, 2), (10_i128.pow(38) - 1, 38), (1 - 10_i128.pow(38), 10), (13, -2), (-120, 1)]
        {
            let mut text = Vec::new();
            write_decimal(value, scale, &mut text);
            assert_eq!(parse_decimal(&text, 38, scale), Ok(value));
        }
    }
}
