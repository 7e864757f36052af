//! Dates, times, timestamps and intervals as text.
//!
//! The calendar is the proleptic Gregorian one, computed from the day number, so that every value a column can hold has
//! a text, also those far outside what a calendar library accepts. Two spellings exist: PostgreSQL's for people
//! (`2013-01-01 10:00:00+00`), and RFC 3339 for files (`2013-01-01T10:00:00Z`), where an instant is always in UTC.

use std::fmt::Write;

use arrow::datatypes::TimeUnit;

use crate::value::Dialect;

const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Splits a count of `unit`s since the epoch into whole seconds and nanoseconds, the latter never negative.
pub fn split_units(count: i64, unit: TimeUnit) -> (i64, u32) {
    let per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOS_PER_SECOND,
    };
    let nanos = count.rem_euclid(per_second) * (NANOS_PER_SECOND / per_second);
    (count.div_euclid(per_second), u32::try_from(nanos).unwrap_or(0))
}

/// Writes the date that lies `days` after 1970-01-01.
pub fn write_date(out: &mut String, days: i64) {
    let (year, month, day) = civil(days);
    let shown = if year > 0 { year } else { 1 - year };
    let _ = write!(out, "{shown:04}-{month:02}-{day:02}{}", if year > 0 { "" } else { " BC" });
}

/// Writes a time of day, with the fraction only where there is one.
pub fn write_time(out: &mut String, second_of_day: i64, nanos: u32) {
    let (hours, minutes, seconds) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let _ = write!(out, "{hours:02}:{minutes:02}:{seconds:02}");
    write_fraction(out, nanos);
}

/// Writes a timestamp; `zone` is the zone of a timestamp that has one, and values then count from the epoch in UTC.
pub fn write_timestamp(out: &mut String, seconds: i64, nanos: u32, zone: Option<&str>, dialect: Dialect) {
    let offset = match (zone, dialect) {
        (Some(zone), Dialect::Display) => offset_seconds(zone),
        _ => 0,
    };
    let local = seconds.saturating_add(offset);
    write_date(out, local.div_euclid(SECONDS_PER_DAY));
    out.push(if dialect == Dialect::Display { ' ' } else { 'T' });
    write_time(out, local.rem_euclid(SECONDS_PER_DAY), nanos);
    match (zone, dialect) {
        (None, _) => {}
        (Some(_), Dialect::Exchange) => out.push('Z'),
        (Some(_), Dialect::Display) => write_offset(out, offset),
    }
}

/// Writes an interval as PostgreSQL does: `1 year 2 mons 3 days 04:05:06.7`.
pub fn write_interval(out: &mut String, months: i64, days: i64, nanos: i64) {
    let mut fields = Vec::new();
    let mut negative = false;
    for (count, name, plural) in [(months / 12, "year", "s"), (months % 12, "mon", "s"), (days, "day", "s")] {
        if count != 0 {
            // After a negative field a positive one carries its sign, or it would read as negative too.
            let sign = if negative && count > 0 { "+" } else { "" };
            fields.push(format!("{sign}{count} {name}{}", if count == 1 { "" } else { plural }));
            negative = count < 0;
        }
    }
    if nanos != 0 || fields.is_empty() {
        let sign = if nanos < 0 {
            "-"
        } else if negative {
            "+"
        } else {
            ""
        };
        let size = nanos.unsigned_abs();
        let seconds = i64::try_from(size / NANOS_PER_SECOND.unsigned_abs()).unwrap_or(0);
        let mut time = sign.to_string();
        write_time(&mut time, seconds, u32::try_from(size % NANOS_PER_SECOND.unsigned_abs()).unwrap_or(0));
        fields.push(time);
    }
    out.push_str(&fields.join(" "));
}

fn write_fraction(out: &mut String, nanos: u32) {
    if nanos > 0 {
        let digits = format!("{nanos:09}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
}

fn write_offset(out: &mut String, offset: i64) {
    let size = offset.abs();
    let _ = write!(out, "{}{:02}", if offset < 0 { '-' } else { '+' }, size / 3600);
    if size % 3600 != 0 {
        let _ = write!(out, ":{:02}", size / 60 % 60);
    }
}

/// The offset of `+05:30`, `-0800` or `+02`. Names are taken for UTC, which is what the values are stored in.
fn offset_seconds(zone: &str) -> i64 {
    let (sign, digits) = match (zone.strip_prefix('+'), zone.strip_prefix('-')) {
        (Some(digits), _) => (1, digits),
        (_, Some(digits)) => (-1, digits),
        _ => return 0,
    };
    let digits = digits.replace(':', "");
    let part = |range| digits.get(range).and_then(|text: &str| text.parse::<i64>().ok()).unwrap_or(0);
    sign * (part(0..2) * 3600 + part(2..4) * 60)
}

/// Year, month and day of a day number, after Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn dates_follow_the_calendar_in_both_directions() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (15_706, "2013-01-01"),
            (19_782, "2024-02-29"),
            (19_783, "2024-03-01"),
            (-719_162, "0001-01-01"),
            (-719_163, "0001-12-31 BC"),
        ] {
            assert_eq!(text(|out| write_date(out, days)), expected);
        }
    }

    #[test]
    fn timestamps_have_two_spellings() {
        let (seconds, nanos) = split_units(1_357_034_400_500_000, TimeUnit::Microsecond);
        let spell = |zone, dialect| text(|out| write_timestamp(out, seconds, nanos, zone, dialect));
        assert_eq!(spell(None, Dialect::Display), "2013-01-01 10:00:00.5");
        assert_eq!(spell(Some("UTC"), Dialect::Display), "2013-01-01 10:00:00.5+00");
        assert_eq!(spell(Some("+05:30"), Dialect::Display), "2013-01-01 15:30:00.5+05:30");
        assert_eq!(spell(Some("-08:00"), Dialect::Display), "2013-01-01 02:00:00.5-08");
        assert_eq!(spell(None, Dialect::Exchange), "2013-01-01T10:00:00.5");
        assert_eq!(spell(Some("+05:30"), Dialect::Exchange), "2013-01-01T10:00:00.5Z");
        assert_eq!(split_units(-1, TimeUnit::Millisecond), (-1, 999_000_000));
    }

    #[test]
    fn intervals_are_spelled_as_postgresql_does() {
        for (months, days, nanos, expected) in [
            (0, 0, 0, "00:00:00"),
            (14, 3, 14_706_700_000_000, "1 year 2 mons 3 days 04:05:06.7"),
            (1, 1, 0, "1 mon 1 day"),
            (-1, 2, 1_000_000_000, "-1 mons +2 days 00:00:01"),
            (0, -1, 1_000_000_000, "-1 days +00:00:01"),
            (0, 0, -1_500_000_000, "-00:00:01.5"),
        ] {
            assert_eq!(text(|out| write_interval(out, months, days, nanos)), expected);
        }
    }
}
