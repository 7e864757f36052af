//! The types a column can have, by their names in PQL.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The type of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ColumnType {
    /// `BOOLEAN`
    Boolean,
    /// `SMALLINT`: 16 bits.
    SmallInt,
    /// `INTEGER`: 32 bits.
    Integer,
    /// `BIGINT`: 64 bits.
    BigInt,
    /// `REAL`: IEEE 754, 32 bits.
    Real,
    /// `DOUBLE PRECISION`: IEEE 754, 64 bits.
    Double,
    /// `DECIMAL(precision, scale)`: 1 to 38 digits, of which `scale` stand behind the point.
    Decimal { precision: u8, scale: i8 },
    /// `TEXT`, or `VARCHAR(max_chars)`.
    Text { max_chars: Option<u32> },
    /// `BYTEA`
    Bytea,
    /// `DATE`: days.
    Date,
    /// `TIME`: microseconds since midnight.
    Time,
    /// `TIMESTAMP`: microseconds since 1970, in no particular time zone.
    Timestamp,
    /// `TIMESTAMPTZ`: microseconds since 1970 UTC.
    TimestampTz,
    /// `INTERVAL`: months, days and nanoseconds, which don't convert into one another.
    Interval,
    /// `UUID`: 16 bytes, shown in lower-case text.
    Uuid,
    /// `JSON`: checked text, kept as it was written.
    Json,
    /// `JSONB`: checked text, without insignificant space.
    Jsonb,
    /// `T[]`: a list of one of the other types.
    Array(Box<ColumnType>),
}

impl ColumnType {
    /// The bytes of a value's fixed part in a row; `None` for types of variable length.
    pub fn fixed_width(&self) -> Option<usize> {
        match self {
            Self::Boolean => Some(1),
            Self::SmallInt => Some(2),
            Self::Integer | Self::Real | Self::Date => Some(4),
            Self::BigInt | Self::Double | Self::Time | Self::Timestamp | Self::TimestampTz => Some(8),
            Self::Decimal { .. } | Self::Interval | Self::Uuid => Some(16),
            Self::Text { .. } | Self::Bytea | Self::Json | Self::Jsonb | Self::Array(_) => None,
        }
    }

    /// Whether values have a total order that bytes can keep: what a primary key needs.
    pub fn is_key(&self) -> bool {
        !matches!(self, Self::Interval | Self::Json | Self::Jsonb | Self::Array(_))
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => write!(f, "boolean"),
            Self::SmallInt => write!(f, "smallint"),
            Self::Integer => write!(f, "integer"),
            Self::BigInt => write!(f, "bigint"),
            Self::Real => write!(f, "real"),
            Self::Double => write!(f, "double precision"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Text { max_chars: None } => write!(f, "text"),
            Self::Text { max_chars: Some(n) } => write!(f, "varchar({n})"),
            Self::Bytea => write!(f, "bytea"),
            Self::Date => write!(f, "date"),
            Self::Time => write!(f, "time"),
            Self::Timestamp => write!(f, "timestamp"),
            Self::TimestampTz => write!(f, "timestamptz"),
            Self::Interval => write!(f, "interval"),
            Self::Uuid => write!(f, "uuid"),
            Self::Json => write!(f, "json"),
            Self::Jsonb => write!(f, "jsonb"),
            Self::Array(element) => write!(f, "{element}[]"),
        }
    }
}
