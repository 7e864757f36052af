//! Dates and times from text and to text, over the whole range of their types.
//!
//! Written as ISO 8601 has it, with a sign before years that are not 0 to 9999. Read in that form and near ones here;
//! what is left (`20130101`, `10:30 PM`) is tried with Arrow's parsers, so that COPY takes what a cast takes.

use super::scalars::{Fault, Parsed};
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::datatypes::{Date32Type, Time64MicrosecondType};
use chrono::Utc;
use std::io::Write;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// What is left to read of a text.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        self.0 = &self.0[usize::from(found)..];
        found
    }

    /// A number of `min` to `max` digits.
    #[inline]
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let (mut value, mut length) = (0, 0);
        while let Some(byte) = self.0.get(length).filter(|byte| length < max && byte.is_ascii_digit()) {
            value = value * 10 + i64::from(byte - b'0');
            length += 1;
        }
        self.0 = &self.0[length..];
        (length >= min).then_some(value)
    }

    fn sign(&mut self) -> Option<i64> {
        if self.eat(b'-') { Some(-1) } else { self.eat(b'+').then_some(1) }
    }

    /// Days since 1970 of `2013-01-31`.
    fn date(&mut self) -> Option<i64> {
        let sign = self.sign();
        let year = self.number(4, if sign.is_some() { 9 } else { 4 })? * sign.unwrap_or(1);
        let month = self.eat(b'-').then(|| self.number(1, 2)).flatten()?;
        let day = self.eat(b'-').then(|| self.number(1, 2)).flatten()?;
        let exists = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        exists.then(|| days_of(year, month, day))
    }

    /// Microseconds since midnight of `10:30`, `10:30:15` or `10:30:15.25`; what is smaller is cut off.
    fn time(&mut self) -> Option<i64> {
        let hour = self.number(1, 2)?;
        let minute = self.eat(b':').then(|| self.number(2, 2)).flatten()?;
        let second = if self.eat(b':') { self.number(2, 2)? } else { 0 };
        let micros = if self.eat(b'.') { self.fraction()? } else { 0 };
        (hour < 24 && minute < 60 && second < 60).then(|| ((hour * 60 + minute) * 60 + second) * SECOND + micros)
    }

    fn fraction(&mut self) -> Option<i64> {
        let before = self.0.len();
        let micros = self.number(1, 6)?;
        let digits = before - self.0.len();
        while self.number(1, 1).is_some() {}
        Some(micros * 10_i64.pow(6 - digits as u32))
    }

    /// Microseconds east of Greenwich of `Z`, `+02`, `+0230`, `-02:30`; `Some(None)` where nothing is said.
    fn offset(&mut self) -> Option<Option<i64>> {
        while self.eat(b' ') {}
        if self.0.is_empty() {
            return Some(None);
        }
        if self.eat(b'Z') || self.eat(b'z') {
            return Some(Some(0));
        }
        let sign = self.sign()?;
        let hours = self.number(2, 2)?;
        let minutes = if self.eat(b':') || !self.0.is_empty() { self.number(2, 2)? } else { 0 };
        let seconds = if self.eat(b':') { self.number(2, 2)? } else { 0 };
        (hours < 24 && minutes < 60 && seconds < 60)
            .then(|| Some(sign * ((hours * 60 + minutes) * 60 + seconds) * SECOND))
    }
}

/// Days since 1970.
#[inline]
pub(super) fn parse_date(text: &[u8]) -> Parsed<i32> {
    let mut cursor = Cursor(text);
    match cursor.date().filter(|_| cursor.0.is_empty()) {
        Some(days) => i32::try_from(days).map_err(|_| Fault::Range),
        None => utf8(text).and_then(Date32Type::parse).ok_or(Fault::Datetime),
    }
}

/// Microseconds since midnight.
pub(super) fn parse_time(text: &[u8]) -> Parsed<i64> {
    let mut cursor = Cursor(text);
    match cursor.time().filter(|_| cursor.0.is_empty()) {
        Some(micros) => Ok(micros),
        None => {
            let parsed = utf8(text).and_then(Time64MicrosecondType::parse);
            parsed.filter(|micros| (0..DAY).contains(micros)).ok_or(Fault::Datetime)
        }
    }
}

/// A point in time, and whether the text says its offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) micros: i64,
    pub(super) zoned: bool,
}

/// Microseconds since 1970 of an ISO 8601 text; one that says its offset is brought to UTC, as a cast does.
#[inline]
pub(super) fn parse_timestamp(text: &[u8]) -> Parsed<i64> {
    match iso_timestamp(text) {
        Some(moment) => moment.map(|moment| moment.micros),
        None => {
            let parsed = utf8(text).and_then(|text| string_to_datetime(&Utc, text).ok());
            parsed.map(|time| time.timestamp_micros()).ok_or(Fault::Datetime)
        }
    }
}

/// `None` for text of another form.
pub(super) fn iso_timestamp(text: &[u8]) -> Option<Parsed<Moment>> {
    let mut cursor = Cursor(text);
    let days = cursor.date()?;
    let separated = cursor.eat(b'T') || cursor.eat(b' ') || cursor.eat(b't');
    let time = if separated { cursor.time()? } else { 0 };
    let offset = cursor.offset()?;
    if !cursor.0.is_empty() {
        return None;
    }
    let micros = i128::from(days) * i128::from(DAY) + i128::from(time) - i128::from(offset.unwrap_or(0));
    let micros = i64::try_from(micros).map_err(|_| Fault::Range);
    Some(micros.map(|micros| Moment { micros, zoned: offset.is_some() }))
}

fn utf8(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok()
}

/// `2013-01-31`
pub(super) fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = date_of(days);
    let written = if (0..=9999).contains(&year) {
        write!(out, "{year:04}-{month:02}-{day:02}")
    } else {
        write!(out, "{year:+05}-{month:02}-{day:02}")
    };
    debug_assert!(written.is_ok(), "writing to memory does not fail");
}

/// `10:30:15`, with as many digits of the second as are not zero.
pub(super) fn write_time(micros: i64, out: &mut Vec<u8>) {
    let (seconds, fraction) = (micros / SECOND, micros % SECOND);
    let mut written = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        written = written.and(write!(out, ".{fraction:06}"));
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    debug_assert!(written.is_ok(), "writing to memory does not fail");
}

/// `2013-01-31T10:30:15`
pub(super) fn write_timestamp(micros: i64, between: u8, out: &mut Vec<u8>) {
    write_date(micros.div_euclid(DAY), out);
    out.push(between);
    write_time(micros.rem_euclid(DAY), out);
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970 of a date of the Gregorian calendar, by counting eras of 400 years that begin in March.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The other way round.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_agrees_with_chrono() {
        let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for days in (-1_000_000..1_000_000).step_by(37) {
            let date = epoch + chrono::Duration::days(days);
            use chrono::Datelike;
            assert_eq!(date_of(days), (i64::from(date.year()), i64::from(date.month()), i64::from(date.day())));
            assert_eq!(days_of(i64::from(date.year()), i64::from(date.month()), i64::from(date.day())), days);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for days in [0, -1, i32::MIN, i32::MAX, 15_706, -719_529, 2_932_897] {
            let mut text = Vec::new();
            write_date(i64::from(days), &mut text);
            assert_eq!(parse_date(&text), Ok(days), "{}", String::from_utf8_lossy(&text));
        }
        for micros in [0, -1, i64::MIN, i64::MAX, 1_357_034_400_000_000, 1_357_034_400_250_000] {
            let mut text = Vec::new();
            write_timestamp(micros, b'T', &mut text);
            assert_eq!(parse_timestamp(&text), Ok(micros), "{}", String::from_utf8_lossy(&text));
            text.push(b'Z');
            assert_eq!(parse_timestamp(&text), Ok(micros));
        }
        for micros in [0, DAY - 1, 45_296_000_000] {
            let mut text = Vec::new();
            write_time(micros, &mut text);
            assert_eq!(parse_time(&text), Ok(micros));
        }
    }

    #[test]
    fn other_forms_are_read_too() {
        let ten = 1_357_034_400_000_000;
        for text in [
            "2013-01-01T10:00:00Z",
            "2013-01-01 10:00:00+00",
            "2013-01-01 12:00:00.000+02:00",
            "2013-01-01 05:30:00-0430",
            "2013-1-1 10:00",
            "2013-01-01T10:00:00.0000009",
            "2013-01-01 10:00:00 +00:00",
        ] {
            assert_eq!(parse_timestamp(text.as_bytes()), Ok(ten), "{text}");
        }
        assert_eq!(parse_timestamp(b"2013-01-01"), Ok(ten - 36_000 * SECOND));
        assert_eq!(parse_date(b"20130101"), Ok(15_706));
        for bad in ["2013-02-29", "2013-13-01", "", "x", "2013-01", "2013-01-01x"] {
            assert_eq!(parse_date(bad.as_bytes()), Err(Fault::Datetime), "{bad}");
        }
        for bad in ["2013-02-29T00:00:00", "2013-01-01T25:00:00", "2013-01-01T10:00:00Q", "1", "2013-01-01T"] {
            assert_eq!(parse_timestamp(bad.as_bytes()), Err(Fault::Datetime), "{bad}");
        }
        assert_eq!(parse_time(b"24:00"), Err(Fault::Datetime));
    }
}
