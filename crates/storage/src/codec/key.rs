//! Keys: bytes that sort as the values do.
//!
//! ```text
//! row key = table id (4, big-endian) · token (8, big-endian) · primary key columns, each memcomparable
//! ```
//!
//! A slot is a range of tokens, so a slot's rows of one table are one contiguous span, and so are a table's rows in a
//! shard. Text and bytes are escaped so that no key is a prefix of another and the order holds across columns: 0x00
//! becomes 0x00 0xFF and the end is 0x00 0x00 (the encoding of FoundationDB's tuples). Numbers are big-endian with the
//! sign turned over; floats as IEEE 754's total order, with -0 equal to 0 and one NaN above all.

use super::Value;
use evenkeel_model::{ColumnType, Slot, SlotBits, TableId, Token};
use std::ops::Range;

/// Bytes before the primary key in a row key.
pub const PREFIX_LEN: usize = 12;

/// Builds memcomparable keys into one reused buffer.
#[derive(Clone, Debug, Default)]
pub struct KeyBuilder {
    bytes: Vec<u8>,
}

impl KeyBuilder {
    /// An empty key.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was pushed since the last [`Self::clear`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Starts the next key.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends one column. A NULL sorts before everything and is only met in malformed input: keys are NOT NULL.
    pub fn push(&mut self, column: &ColumnType, value: &Value<'_>) {
        match (column, value) {
            (ColumnType::SmallInt, Value::Integer(n)) => self.extend(&((*n as i16) as u16 ^ 0x8000).to_be_bytes()),
            (ColumnType::Integer | ColumnType::Date, Value::Integer(n)) => {
                self.extend(&((*n as i32) as u32 ^ 0x8000_0000).to_be_bytes());
            }
            (_, Value::Integer(n)) => self.extend(&(*n as u64 ^ (1 << 63)).to_be_bytes()),
            (_, Value::Boolean(b)) => self.bytes.push(u8::from(*b)),
            (_, Value::Float(f)) => self.extend(&ordered_bits(*f).to_be_bytes()),
            (ColumnType::Uuid, Value::Wide(n)) => self.extend(&n.to_be_bytes()),
            (_, Value::Wide(n)) => self.extend(&(*n as u128 ^ (1 << 127)).to_be_bytes()),
            (_, Value::Interval { months, days, nanoseconds }) => {
                self.extend(&(*months as u32 ^ 0x8000_0000).to_be_bytes());
                self.extend(&(*days as u32 ^ 0x8000_0000).to_be_bytes());
                self.extend(&(*nanoseconds as u64 ^ (1 << 63)).to_be_bytes());
            }
            (_, Value::Bytes(bytes)) => self.push_escaped(bytes),
            (_, Value::Null) => {}
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn push_escaped(&mut self, bytes: &[u8]) {
        if bytes.contains(&0) {
            for byte in bytes {
                self.bytes.push(*byte);
                if *byte == 0 {
                    self.bytes.push(0xFF);
                }
            }
        } else {
            self.extend(bytes);
        }
        self.extend(&[0, 0]);
    }
}

fn ordered_bits(f: f64) -> u64 {
    let f = if f.is_nan() {
        f64::NAN
    } else if f == 0.0 {
        0.0
    } else {
        f
    };
    let bits = f.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The row key of a primary key in a table.
pub fn row_key(table: TableId, token: Token, primary_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(PREFIX_LEN + primary_key.len());
    key.extend_from_slice(&table.0.to_be_bytes());
    key.extend_from_slice(&token.0.to_be_bytes());
    key.extend_from_slice(primary_key);
    key
}

/// The keys of a table, end exclusive.
pub fn table_range(table: TableId) -> Range<Vec<u8>> {
    table.0.to_be_bytes().to_vec()..(table.0 + 1).to_be_bytes().to_vec()
}

/// The least byte string above every one that starts with `prefix`; empty where there is none (all 0xFF).
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < 0xFF {
            *last += 1;
            return end;
        }
        end.pop();
    }
    end
}

/// The table of a row key; `None` for bytes that are not a row key.
pub fn table_of(key: &[u8]) -> Option<TableId> {
    Some(TableId(u32::from_be_bytes(key.get(..4)?.try_into().ok()?)))
}

/// The token of a row key; `None` for bytes that are not a row key.
#[inline]
pub fn token_of(key: &[u8]) -> Option<Token> {
    Some(Token(u64::from_be_bytes(key.get(4..PREFIX_LEN)?.try_into().ok()?)))
}

/// The slot of a row key; slot 0 for bytes that are not a row key.
#[inline]
pub fn slot_of(key: &[u8], bits: SlotBits) -> Slot {
    token_of(key).map_or(Slot(0), |token| token.slot(bits))
}

/// A row key's primary key for people: `(1, 'x')`. Says so where the bytes are not of these types.
pub fn describe(columns: &[ColumnType], key: &[u8]) -> String {
    let mut rest = key.get(PREFIX_LEN..).unwrap_or_default();
    let mut parts = Vec::with_capacity(columns.len());
    for column in columns {
        let Some((part, tail)) = describe_column(column, rest) else { return "with an unreadable key".to_string() };
        parts.push(part);
        rest = tail;
    }
    format!("({})", parts.join(", "))
}

fn describe_column<'k>(column: &ColumnType, bytes: &'k [u8]) -> Option<(String, &'k [u8])> {
    Some(match column {
        ColumnType::Boolean => (bytes.first()?.eq(&1).to_string(), &bytes[1..]),
        ColumnType::SmallInt => {
            let (head, tail) = bytes.split_first_chunk::<2>()?;
            (((u16::from_be_bytes(*head) ^ 0x8000) as i16).to_string(), tail)
        }
        ColumnType::Integer | ColumnType::Date => {
            let (head, tail) = bytes.split_first_chunk::<4>()?;
            (((u32::from_be_bytes(*head) ^ 0x8000_0000) as i32).to_string(), tail)
        }
        ColumnType::Real | ColumnType::Double => {
            let (head, tail) = bytes.split_first_chunk::<8>()?;
            let bits = u64::from_be_bytes(*head);
            let bits = if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits };
            (f64::from_bits(bits).to_string(), tail)
        }
        ColumnType::Uuid => {
            let (head, tail) = bytes.split_first_chunk::<16>()?;
            (super::cells::format_uuid(i128::from_be_bytes(*head)), tail)
        }
        ColumnType::Decimal { .. } | ColumnType::Interval => {
            let (head, tail) = bytes.split_first_chunk::<16>()?;
            (((u128::from_be_bytes(*head) ^ (1 << 127)) as i128).to_string(), tail)
        }
        ColumnType::Text { .. } | ColumnType::Bytea | ColumnType::Json | ColumnType::Jsonb | ColumnType::Array(_) => {
            let (text, tail) = unescape(bytes)?;
            (format!("'{}'", String::from_utf8_lossy(&text)), tail)
        }
        ColumnType::BigInt | ColumnType::Time | ColumnType::Timestamp | ColumnType::TimestampTz => {
            let (head, tail) = bytes.split_first_chunk::<8>()?;
            (((u64::from_be_bytes(*head) ^ (1 << 63)) as i64).to_string(), tail)
        }
    })
}

fn unescape(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    let mut at = 0;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (0, Some(0)) => return Some((text, &bytes[at + 2..])),
            (0, Some(_)) => {
                text.push(0);
                at += 2;
            }
            (0, None) => return None,
            (byte, _) => {
                text.push(*byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn encode(column: &ColumnType, value: Value<'_>) -> Vec<u8> {
        let mut key = KeyBuilder::new();
        key.push(column, &value);
        key.bytes().to_vec()
    }

    #[test]
    fn bytes_sort_as_values_do() {
        let text = |s: &'static str| Value::Bytes(Cow::Borrowed(s.as_bytes()));
        let cases: Vec<(ColumnType, Vec<Value<'_>>)> = vec![
            (ColumnType::SmallInt, [-32_768, -1, 0, 7, 32_767].map(Value::Integer).to_vec()),
            (ColumnType::Integer, [i64::from(i32::MIN), -1, 0, 1, i64::from(i32::MAX)].map(Value::Integer).to_vec()),
            (ColumnType::BigInt, [i64::MIN, -1, 0, 1, i64::MAX].map(Value::Integer).to_vec()),
            (
                ColumnType::Double,
                [f64::NEG_INFINITY, -1.5, 0.0, f64::MIN_POSITIVE, 2.0, f64::INFINITY, f64::NAN]
                    .map(Value::Float)
                    .to_vec(),
            ),
            (
                ColumnType::Decimal { precision: 38, scale: 2 },
                [i128::MIN, -1, 0, 1, i128::MAX].map(Value::Wide).to_vec(),
            ),
            (ColumnType::Text { max_chars: None }, ["", "\0", "\0a", "a", "a\0", "a\0b", "aa", "b"].map(text).to_vec()),
            (ColumnType::Boolean, [false, true].map(Value::Boolean).to_vec()),
        ];
        for (column, values) in cases {
            let keys: Vec<_> = values.into_iter().map(|value| encode(&column, value)).collect();
            assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{column}");
        }
        assert_eq!(encode(&ColumnType::Double, Value::Float(-0.0)), encode(&ColumnType::Double, Value::Float(0.0)));
    }

    #[test]
    fn columns_do_not_run_into_each_other() {
        let text = ColumnType::Text { max_chars: None };
        let pair = |a: &'static str, b: &'static str| {
            let mut key = KeyBuilder::new();
            for part in [a, b] {
                key.push(&text, &Value::Bytes(Cow::Borrowed(part.as_bytes())));
            }
            key.bytes().to_vec()
        };
        assert_ne!(pair("a", "bc"), pair("ab", "c"));
        assert!(pair("a", "z") < pair("aa", "a"));
    }

    #[test]
    fn prefix_ends_are_tight() {
        assert_eq!(prefix_end(&[1, 2]), vec![1, 3]);
        assert_eq!(prefix_end(&[1, 0xFF]), vec![2]);
        assert_eq!(prefix_end(&[0xFF]), Vec::<u8>::new());
    }
}
