//! Intervals from text and to text, exactly.

use super::scalars::{Fault, Parsed};
use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::datatypes::IntervalMonthDayNano;
use std::io::Write;

const SECOND: i128 = 1_000_000_000;

/// `1 year 2 mons 3 days 04:05:06.789`, or a form that a cast takes.
pub(super) fn parse_interval(bytes: &[u8]) -> Parsed<IntervalMonthDayNano> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Syntax)?;
    match own_form(text) {
        Some(interval) => interval,
        None => parse_interval_month_day_nano(text).map_err(|_| Fault::Syntax),
    }
}

/// `None` for text of another form.
fn own_form(text: &str) -> Option<Parsed<IntervalMonthDayNano>> {
    let (mut months, mut days, mut nanos) = (0_i128, 0_i128, 0_i128);
    let mut words = text.split_ascii_whitespace().peekable();
    words.peek()?;
    while let Some(word) = words.next() {
        if word.contains(':') {
            nanos += clock(word)?;
            continue;
        }
        let number = i128::from(word.parse::<i64>().ok()?);
        match words.next()?.to_ascii_lowercase().trim_end_matches('s') {
            "year" => months += number * 12,
            "mon" | "month" => months += number,
            "week" => days += number * 7,
            "day" => days += number,
            "hour" => nanos += number * 3600 * SECOND,
            "min" | "minute" => nanos += number * 60 * SECOND,
            "sec" | "second" => nanos += number * SECOND,
            _ => return None,
        }
    }
    let parts = (i32::try_from(months), i32::try_from(days), i64::try_from(nanos));
    Some(match parts {
        (Ok(months), Ok(days), Ok(nanos)) => Ok(IntervalMonthDayNano::new(months, days, nanos)),
        _ => Err(Fault::Range),
    })
}

/// Nanoseconds of `-04:05:06.789`.
fn clock(word: &str) -> Option<i128> {
    let negative = word.starts_with('-');
    let mut parts = word.trim_start_matches(['-', '+']).splitn(3, ':');
    let hours = i128::from(parts.next()?.parse::<u32>().ok()?);
    let minutes = i128::from(parts.next()?.parse::<u8>().ok().filter(|minutes| *minutes < 60)?);
    let last = parts.next().unwrap_or("0");
    let (seconds, fraction) = last.split_once('.').unwrap_or((last, ""));
    let seconds = i128::from(seconds.parse::<u8>().ok().filter(|seconds| *seconds < 60)?);
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = format!("{fraction:0<9}").parse::<i128>().ok()?;
    let nanos = ((hours * 60 + minutes) * 60 + seconds) * SECOND + fraction;
    Some(if negative { -nanos } else { nanos })
}

/// The form that is read above, which is PostgreSQL's; parts that are zero are left out. After a negative part a positive
/// one carries its sign, or it would look negative too.
pub(super) fn write_interval(interval: IntervalMonthDayNano, out: &mut Vec<u8>) {
    let start = out.len();
    let mut written = Ok(());
    let mut negative = false;
    for (number, unit) in [(interval.months / 12, "years"), (interval.months % 12, "mons"), (interval.days, "days")] {
        if number != 0 {
            let space = if out.len() > start { " " } else { "" };
            let unit = if number == 1 { &unit[..unit.len() - 1] } else { unit };
            let plus = if negative && number > 0 { "+" } else { "" };
            written = written.and(write!(out, "{space}{plus}{number} {unit}"));
            negative = number < 0;
        }
    }
    if interval.nanoseconds != 0 || out.len() == start {
        let space = if out.len() > start { " " } else { "" };
        let sign = match interval.nanoseconds {
            ..0 => "-",
            _ if negative => "+",
            _ => "",
        };
        let nanos = interval.nanoseconds.unsigned_abs();
        let seconds = nanos / 1_000_000_000;
        let clock = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        written = written.and(write!(out, "{space}{sign}{:02}:{:02}:{:02}", clock.0, clock.1, clock.2));
        if !nanos.is_multiple_of(1_000_000_000) {
            written = written.and(write!(out, ".{:09}", nanos % 1_000_000_000));
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
    }
    debug_assert!(written.is_ok(), "writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (months, days, nanos) in [
            (0, 0, 0),
            (14, 3, 14_706_789_000_000),
            (i32::MIN, i32::MIN, i64::MIN),
            (i32::MAX, i32::MAX, i64::MAX),
            (-1, 1, -1),
            (0, -5, 0),
        ] {
            let interval = IntervalMonthDayNano::new(months, days, nanos);
            let mut text = Vec::new();
            write_interval(interval, &mut text);
            assert_eq!(parse_interval(&text), Ok(interval), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn intervals_are_spelled_as_postgresql_does() {
        for (months, days, nanoseconds, expected) in [
            (0, 0, 0, "00:00:00"),
            (14, 3, 14_706_700_000_000, "1 year 2 mons 3 days 04:05:06.7"),
            (1, 1, 0, "1 mon 1 day"),
            (-1, 2, 1_000_000_000, "-1 mons +2 days 00:00:01"),
            (0, -1, 1_000_000_000, "-1 days +00:00:01"),
            (0, 0, -1_500_000_000, "-00:00:01.5"),
        ] {
            let mut text = Vec::new();
            write_interval(IntervalMonthDayNano { months, days, nanoseconds }, &mut text);
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }

    #[test]
    fn other_forms_are_read_too() {
        let days = |days| Ok(IntervalMonthDayNano::new(0, days, 0));
        assert_eq!(parse_interval(b"2 weeks"), days(14));
        assert_eq!(parse_interval(b"1 day"), days(1));
        assert_eq!(parse_interval(b"1.5 days"), Ok(IntervalMonthDayNano::new(0, 1, 43_200_000_000_000)));
        assert_eq!(parse_interval(b"01:30"), Ok(IntervalMonthDayNano::new(0, 0, 5_400_000_000_000)));
        assert_eq!(parse_interval(b"soon"), Err(Fault::Syntax));
        assert_eq!(parse_interval(b""), Err(Fault::Syntax));
        assert_eq!(parse_interval(b"99999999999 years"), Err(Fault::Range));
    }
}
