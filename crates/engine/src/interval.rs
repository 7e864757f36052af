//! Intervals as PostgreSQL reads and multiplies them.

use arrow::datatypes::IntervalMonthDayNano;
use evenkeel_model::{Error, Result, SqlState};

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;
/// A quantity is counted in billionths, so that `0.1 seconds` is exact.
const ONE: i128 = 1_000_000_000;

/// Months, days and nanoseconds, before it is known whether they fit.
#[derive(Default)]
struct Span {
    months: i128,
    days: i128,
    nanos: i128,
}

/// Reads `1 year 2 months 3 days 04:05:06`, `1-2`, `P1Y2M3DT4H5M6S` and their like; a number without a unit counts
/// `unit`s.
///
/// # Errors
/// 22007, or 22003 for more than an interval can hold.
pub(crate) fn parse(text: &str, unit: &str) -> Result<IntervalMonthDayNano> {
    let invalid =
        || Error::new(SqlState::InvalidDatetimeFormat, format!("invalid input for type interval: \"{text}\""));
    let lower = text.trim().to_ascii_lowercase();
    let span = match lower.strip_prefix('p') {
        Some(iso) => iso_8601(iso),
        None => words(&lower, unit),
    };
    let span = span.ok_or_else(invalid)?;
    // PostgreSQL keeps microseconds.
    let micros = (span.nanos + 500 * span.nanos.signum()) / 1_000;
    let fits = || {
        let nanos = i64::try_from(micros * 1_000).ok()?;
        Some(IntervalMonthDayNano::new(i32::try_from(span.months).ok()?, i32::try_from(span.days).ok()?, nanos))
    };
    fits().ok_or_else(|| Error::new(SqlState::NumericValueOutOfRange, format!("interval out of range: \"{text}\"")))
}

fn words(text: &str, unit: &str) -> Option<Span> {
    let mut span = Span::default();
    let mut tokens = tokens(text)?.into_iter().peekable();
    tokens.peek()?;
    while let Some(token) = tokens.next() {
        if token == "ago" && tokens.peek().is_none() {
            span = Span { months: -span.months, days: -span.days, nanos: -span.nanos };
        } else if token.contains(':') {
            span.nanos += clock(token)?;
        } else if let Some((years, months)) = token.get(1..).and_then(|rest| rest.split_once('-')) {
            let years = format!("{}{years}", &token[..1]);
            let sign = if years.starts_with('-') { -1 } else { 1 };
            span.months += quantity(&years)? / ONE * 12 + sign * quantity(months)? / ONE;
        } else {
            let count = quantity(token)?;
            match tokens.next_if(|next| next.starts_with(|c: char| c.is_ascii_alphabetic()) && *next != "ago") {
                Some(unit) => span.add(count, unit)?,
                None => span.add(count, unit)?,
            }
        }
    }
    Some(span)
}

/// Splits at blanks and between a number and its unit: `1d 2h` is four words.
fn tokens(text: &str) -> Option<Vec<&str>> {
    let mut found = Vec::new();
    for word in text.trim_start_matches('@').split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let letter = |c: char| c.is_ascii_alphabetic();
            let first = rest.starts_with(letter);
            let end = rest.find(|c: char| letter(c) != first).unwrap_or(rest.len());
            found.push(&rest[..end]);
            rest = &rest[end..];
        }
    }
    text.is_ascii().then_some(found)
}

/// `3Y2M1W4DT5H6M7.5S`, or `3Y` without the P.
fn iso_8601(text: &str) -> Option<Span> {
    let mut span = Span::default();
    let (date, time) = text.split_once('t').unwrap_or((text, ""));
    let mut any = false;
    for (mut part, timed) in [(date, false), (time, true)] {
        while !part.is_empty() {
            let at = part.find(|c: char| c.is_ascii_alphabetic())?;
            let unit = match (&part[at..=at], timed) {
                ("y", false) => "year",
                ("m", false) => "month",
                ("w", false) => "week",
                ("d", false) => "day",
                ("h", true) => "hour",
                ("m", true) => "minute",
                ("s", true) => "second",
                _ => return None,
            };
            span.add(quantity(&part[..at])?, unit)?;
            part = &part[at + 1..];
            any = true;
        }
    }
    any.then_some(span)
}

/// `[-]hours:minutes[:seconds]` in nanoseconds.
fn clock(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = text.split(':');
    let hours: i128 = parts.next()?.parse().ok()?;
    let minutes: i128 = parts.next()?.parse().ok().filter(|minutes| (0..60).contains(minutes))?;
    let seconds = parts.next().map_or(Some(0), quantity).filter(|seconds| (0..60 * ONE).contains(seconds))?;
    let nanos = (hours.checked_mul(60)? + minutes).checked_mul(60 * SECOND)? + seconds;
    parts.next().is_none().then_some(sign * nanos)
}

/// A number in billionths.
fn quantity(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || whole.len() > 18 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction = format!("{:0<9}", fraction.get(..9).unwrap_or(fraction));
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    Some(sign * (whole * ONE + fraction.parse::<i128>().ok()?))
}

impl Span {
    /// Adds billionths of a unit; parts of months become days, parts of days time.
    fn add(&mut self, count: i128, unit: &str) -> Option<()> {
        let unit = if unit.len() > 2 { unit.strip_suffix('s').unwrap_or(unit) } else { unit };
        match unit {
            "microsecond" | "usec" | "us" => self.nanos += count * 1_000 / ONE,
            "millisecond" | "msec" | "ms" => self.nanos += count * 1_000_000 / ONE,
            "second" | "sec" | "s" => self.nanos += count,
            "minute" | "min" | "m" => self.nanos += count * 60,
            "hour" | "hr" | "h" => self.nanos += count * 3_600,
            "day" | "d" => self.add_days(count),
            "week" | "w" => self.add_days(count * 7),
            "month" | "mon" => {
                self.months += count / ONE;
                self.add_days(count % ONE * 30);
            }
            "year" | "yr" | "y" => self.add_years(count),
            "decade" | "dec" => self.add_years(count * 10),
            "century" | "centurie" | "cent" | "c" => self.add_years(count * 100),
            "millennium" | "millennia" | "mil" => self.add_years(count * 1_000),
            _ => return None,
        }
        Some(())
    }

    fn add_days(&mut self, count: i128) {
        self.days += count / ONE;
        self.nanos += count % ONE * (DAY / ONE);
    }

    fn add_years(&mut self, count: i128) {
        let months = count * 12;
        self.months += (months + ONE / 2 * months.signum()) / ONE;
    }
}

/// An interval times a number, or divided by it: what is left of months becomes days, of days time.
///
/// # Errors
/// 22003, and 22012 for a division by zero.
pub(crate) fn scale(interval: IntervalMonthDayNano, number: f64, divide: bool) -> Result<IntervalMonthDayNano> {
    if divide && number == 0.0 {
        return Err(Error::new(SqlState::DivisionByZero, "division by zero"));
    }
    let times = |count: f64| if divide { count / number } else { count * number };
    // PostgreSQL rounds to microseconds at each step.
    let round = |value: f64| (value * 1e6).round_ties_even() / 1e6;
    let (months, days) = (times(f64::from(interval.months)), times(f64::from(interval.days)));
    let month_days = round((months - months.trunc()) * 30.0);
    let mut seconds = round((days - days.trunc() + month_days - month_days.trunc()) * 86_400.0);
    let mut days = days.trunc() + month_days.trunc();
    if seconds.abs() >= 86_400.0 {
        days += (seconds / 86_400.0).trunc();
        seconds %= 86_400.0;
    }
    let micros = (times(interval.nanoseconds as f64 / 1e3) + seconds * 1e6).round_ties_even();
    let whole = |value: f64| (value.abs() < f64::from(i32::MAX)).then_some(value as i32);
    match (whole(months.trunc()), whole(days)) {
        (Some(months), Some(days)) if micros.abs() < 9e15 => {
            Ok(IntervalMonthDayNano::new(months, days, micros as i64 * 1_000))
        }
        _ => Err(Error::new(SqlState::NumericValueOutOfRange, "interval out of range")),
    }
}
