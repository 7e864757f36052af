use std::borrow::Cow;

/// One value on its way between a column and bytes. The column's type says how to read it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// BOOLEAN.
    Boolean(bool),
    /// SMALLINT, INTEGER, BIGINT; DATE in days, TIME, TIMESTAMP and TIMESTAMPTZ in microseconds.
    Integer(i64),
    /// REAL and DOUBLE PRECISION.
    Float(f64),
    /// DECIMAL unscaled; UUID as the big-endian number of its bytes.
    Wide(i128),
    /// INTERVAL.
    Interval { months: i32, days: i32, nanoseconds: i64 },
    /// TEXT, BYTEA, JSON, JSONB; an array as [`super::cells`] encodes it.
    Bytes(Cow<'a, [u8]>),
}

impl Value<'_> {
    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
}
