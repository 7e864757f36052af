//! Durations and sizes as text: a number, and a unit.

pub(super) const HOUR_MS: u64 = 3_600_000;
pub(super) const DAY_MS: u64 = 24 * HOUR_MS;
pub(super) const MIB: u64 = 1 << 20;

pub(super) const DURATION_UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", HOUR_MS), ("d", DAY_MS)];
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", MIB),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Milliseconds of a duration: a number of seconds, or a number with `ms`, `s`, `min`, `h` or `d`.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    scaled(text, DURATION_UNITS, 1_000)
}

/// Bytes of a size: a number of bytes, or a number with `B`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB` or `TB`.
pub fn parse_size(text: &str) -> Option<u64> {
    scaled(text, SIZE_UNITS, 1)
}

pub(super) fn scaled(text: &str, units: &[(&str, u64)], bare: u64) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let factor = match unit {
        "" => bare,
        unit => units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)?,
    };
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        Err(_) => {
            let value = number.parse::<f64>().ok()? * factor as f64;
            (value.is_finite() && value >= 0.0 && value < u64::MAX as f64).then_some(value.round() as u64)
        }
    }
}

/// A duration in its largest whole unit.
pub fn format_duration_ms(ms: u64) -> String {
    largest_unit(ms, &[("d", DAY_MS), ("h", HOUR_MS), ("min", 60_000), ("s", 1_000), ("ms", 1)])
}

/// A size in its largest whole binary unit.
pub fn format_size(bytes: u64) -> String {
    largest_unit(bytes, &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", MIB), ("KiB", 1 << 10), ("B", 1)])
}

fn largest_unit(value: u64, units: &[(&str, u64)]) -> String {
    if value == 0 {
        return "0".to_string();
    }
    units
        .iter()
        .find(|(_, factor)| value.is_multiple_of(*factor))
        .map_or_else(String::new, |(name, factor)| format!("{}{name}", value / factor))
}
