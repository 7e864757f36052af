//! How far a long statement has come, and how that goes over the wire.
//!
//! PostgreSQL's protocol has no message for it. A client that names [`EXTENSION`] when it starts gets each report as a notice
//! with the field [`PROGRESS_FIELD`], and with every error that has a place the field [`END_FIELD`]. Other clients see
//! neither.

use std::fmt;

/// The option of the start-up message that asks for what PostgreSQL's protocol does not have. Its value is not looked at.
pub const EXTENSION: &str = "_pq_.evenkeel";
/// The field of a notice that is a [`Progress`].
pub const PROGRESS_FIELD: u8 = b'b';
/// The field of an error that says where its place ends: in characters from 1, as `P` says where it begins; exclusive.
pub const END_FIELD: u8 = b'e';

/// How far a long statement has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done: `COPY flights`, `shard 1 → 2, copying`.
    pub label: String,
    /// Bytes, or rows where `in_bytes` is false, so far.
    pub done: u64,
    /// In all, where that is known.
    pub total: Option<u64>,
    pub in_bytes: bool,
    /// Rows so far.
    pub rows: u64,
}

impl Progress {
    /// As a field: `done total unit rows label`, with `-` for a total that is not known.
    pub fn to_field(&self) -> String {
        let total = self.total.map_or("-".to_string(), |total| total.to_string());
        format!("{} {total} {} {} {}", self.done, self.unit(), self.rows, self.label)
    }

    /// From a field; `None` for text that is none.
    pub fn of_field(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        let done = parts.next()?.parse().ok()?;
        let total = match parts.next()? {
            "-" => None,
            total => Some(total.parse().ok()?),
        };
        let in_bytes = match parts.next()? {
            "bytes" => true,
            "rows" => false,
            _ => return None,
        };
        let rows = parts.next()?.parse().ok()?;
        Some(Self { label: parts.next()?.to_string(), done, total, in_bytes, rows })
    }

    fn unit(&self) -> &'static str {
        if self.in_bytes { "bytes" } else { "rows" }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.unit();
        match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let percent = self.done as f64 * 100.0 / total as f64;
                write!(f, "{}: {} of {total} {unit} ({percent:.0} %)", self.label, self.done)
            }
            None => write!(f, "{}: {} {unit}", self.label, self.done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read() {
        let label = "shard 1 → 2, copying".to_string();
        for (total, in_bytes) in [(None, false), (Some(0), true), (Some(u64::MAX), false)] {
            let progress = Progress { label: label.clone(), done: 7, total, in_bytes, rows: 3 };
            assert_eq!(Progress::of_field(&progress.to_field()), Some(progress));
        }
    }

    #[test]
    fn what_is_no_report_is_none() {
        for text in ["", "1", "1 2 rows 3", "1 2 pages 3 x", "-1 2 rows 3 x", "1 ? rows 3 x"] {
            assert_eq!(Progress::of_field(text), None, "{text:?}");
        }
    }
}
