//! Rows: every column is found from its position alone, so a scan that asks for two columns touches two.
//!
//! ```text
//! row = version (2) · null bitmap (1 bit a column, 1 = NULL) · fixed part · variable part
//! ```
//!
//! A fixed-width column has its bytes in the fixed part, also when it is NULL. A variable one has there the end of its
//! bytes in the variable part (4); its start is the end of the variable column before it. All numbers are little-endian.
//! A row holds all columns, those of the primary key too, so that keys never need to be decoded.
//!
//! ADD, DROP and RENAME COLUMN make a new version and rewrite nothing: a row says by which version it was written, and
//! a column that the version lacks has the value that rows had when it was added.

use super::{ColumnBuilder, Value};
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use std::borrow::Cow;

const HEADER_LEN: usize = 2;
/// A row's bytes at the most; the offsets of the variable part are 32 bits.
pub const ROW_LEN_MAX: usize = 64 << 20;

/// A column of one version of a table's rows.
#[derive(Clone, Debug, PartialEq)]
pub struct RowColumn {
    /// The column's number in its table, never reused.
    pub id: u32,
    pub column_type: ColumnType,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Offset and width in the row.
    Fixed { offset: usize, width: usize },
    /// Offset of its own end, and of the end of the variable column before it.
    Variable { end: usize, previous: Option<usize> },
}

/// Where the values of a row come from, by their position among its version's columns.
pub trait RowSource {
    /// Writes a value of fixed width to exactly its bytes, which are zeros; `false` for NULL, which leaves them.
    ///
    /// # Errors
    /// What is wrong with the value.
    fn write_fixed(&self, position: usize, out: &mut [u8]) -> Result<bool>;

    /// Appends the bytes of a value without fixed width; `false` for NULL.
    ///
    /// # Errors
    /// What is wrong with the value.
    fn append(&self, position: usize, out: &mut Vec<u8>) -> Result<bool>;
}

/// A row of one value for each column of its version.
#[derive(Debug)]
pub struct RowOfValues<'r, 'v> {
    pub version: &'r RowVersion,
    /// Of the columns' types, and not wider than they are.
    pub values: &'r [Value<'v>],
}

impl RowSource for RowOfValues<'_, '_> {
    fn write_fixed(&self, position: usize, out: &mut [u8]) -> Result<bool> {
        write_fixed(out, &self.version.columns[position].column_type, &self.values[position]);
        Ok(!self.values[position].is_null())
    }

    fn append(&self, position: usize, out: &mut Vec<u8>) -> Result<bool> {
        if let Value::Bytes(bytes) = &self.values[position] {
            out.extend_from_slice(bytes);
        }
        Ok(!self.values[position].is_null())
    }
}

/// One version of a table's rows: which columns, where.
#[derive(Clone, Debug, PartialEq)]
pub struct RowVersion {
    version: u16,
    columns: Vec<RowColumn>,
    places: Vec<Place>,
    variable: usize,
    /// Where the end of the last variable column stands.
    last_end: Option<usize>,
}

impl RowVersion {
    /// Lays the columns out in their order.
    pub fn new(version: u16, columns: Vec<RowColumn>) -> Self {
        let mut offset = HEADER_LEN + columns.len().div_ceil(8);
        let mut previous = None;
        let places = columns
            .iter()
            .map(|column| match column.column_type.fixed_width() {
                Some(width) => {
                    let place = Place::Fixed { offset, width };
                    offset += width;
                    place
                }
                None => {
                    let place = Place::Variable { end: offset, previous };
                    previous = Some(offset);
                    offset += 4;
                    place
                }
            })
            .collect();
        Self { version, columns, places, variable: offset, last_end: previous }
    }

    /// The number that rows carry.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The columns, in the order of [`Self::encode`]'s values.
    pub fn columns(&self) -> &[RowColumn] {
        &self.columns
    }

    /// Appends a row to `out`.
    ///
    /// # Errors
    /// 54000 for a row above [`ROW_LEN_MAX`], or what `source` says.
    pub fn encode(&self, out: &mut Vec<u8>, source: &impl RowSource) -> Result<()> {
        let start = out.len();
        out.resize(start + self.variable, 0);
        out[start..start + HEADER_LEN].copy_from_slice(&self.version.to_le_bytes());
        for (position, place) in self.places.iter().enumerate() {
            let is_there = match *place {
                Place::Fixed { offset, width } => {
                    let offset = start + offset;
                    source.write_fixed(position, &mut out[offset..offset + width])?
                }
                Place::Variable { end, .. } => {
                    let is_there = source.append(position, out)?;
                    let length = out.len() - start - self.variable;
                    if length > ROW_LEN_MAX {
                        return Err(Error::new(SqlState::ProgramLimitExceeded, "a row is larger than 64 MiB"));
                    }
                    out[start + end..start + end + 4].copy_from_slice(&(length as u32).to_le_bytes());
                    is_there
                }
            };
            if !is_there {
                out[start + HEADER_LEN + position / 8] |= 1 << (position % 8);
            }
        }
        Ok(())
    }

    /// Whether the row is as long as its fixed part and the last end of its variable part say. The ends before are
    /// checked where they are used.
    #[inline]
    fn check(&self, row: &[u8]) -> Result<()> {
        let variable = match self.last_end {
            Some(end) if row.len() >= self.variable => read_u32(row, end) as usize,
            _ => 0,
        };
        if row.len() == self.variable + variable { Ok(()) } else { Err(damaged()) }
    }

    /// The bytes at a position of a row that was checked; `None` for NULL.
    #[inline]
    fn bytes<'r>(&self, row: &'r [u8], position: usize) -> Result<Option<&'r [u8]>> {
        if row[HEADER_LEN + position / 8] >> (position % 8) & 1 == 1 {
            return Ok(None);
        }
        match self.places[position] {
            Place::Fixed { offset, width } => Ok(Some(&row[offset..offset + width])),
            Place::Variable { end, previous } => {
                let start = previous.map_or(0, |at| read_u32(row, at) as usize);
                let end = read_u32(row, end) as usize;
                row.get(self.variable + start..self.variable + end).map(Some).ok_or_else(damaged)
            }
        }
    }

    /// The value at a position of a row that was checked.
    #[inline]
    fn value<'r>(&self, row: &'r [u8], position: usize) -> Result<Value<'r>> {
        Ok(match (self.bytes(row, position)?, self.places[position]) {
            (None, _) => Value::Null,
            (Some(bytes), Place::Fixed { .. }) => read_fixed(bytes, &self.columns[position].column_type),
            (Some(bytes), Place::Variable { .. }) => Value::Bytes(Cow::Borrowed(bytes)),
        })
    }
}

fn damaged() -> Error {
    Error::new(SqlState::DataCorrupted, "a stored row is damaged")
}

#[inline]
fn read_u32(row: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]])
}

/// Writes a value of fixed width; NULL leaves zeros.
pub(super) fn write_fixed(out: &mut [u8], column: &ColumnType, value: &Value<'_>) {
    match (column, value) {
        (ColumnType::SmallInt, Value::Integer(n)) => out[..2].copy_from_slice(&(*n as i16).to_le_bytes()),
        (ColumnType::Integer | ColumnType::Date, Value::Integer(n)) => {
            out[..4].copy_from_slice(&(*n as i32).to_le_bytes());
        }
        (_, Value::Integer(n)) => out[..8].copy_from_slice(&n.to_le_bytes()),
        (_, Value::Boolean(b)) => out[0] = u8::from(*b),
        (ColumnType::Real, Value::Float(f)) => out[..4].copy_from_slice(&(*f as f32).to_le_bytes()),
        (_, Value::Float(f)) => out[..8].copy_from_slice(&f.to_le_bytes()),
        (_, Value::Wide(n)) => out[..16].copy_from_slice(&n.to_le_bytes()),
        (_, Value::Interval { months, days, nanoseconds }) => {
            out[..4].copy_from_slice(&months.to_le_bytes());
            out[4..8].copy_from_slice(&days.to_le_bytes());
            out[8..16].copy_from_slice(&nanoseconds.to_le_bytes());
        }
        (_, Value::Bytes(_) | Value::Null) => {}
    }
}

/// Reads a value of fixed width from exactly its bytes.
#[inline]
pub(super) fn read_fixed<'r>(bytes: &[u8], column: &ColumnType) -> Value<'r> {
    fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&bytes[at..at + N]);
        out
    }
    match column {
        ColumnType::Boolean => Value::Boolean(bytes[0] != 0),
        ColumnType::SmallInt => Value::Integer(i64::from(i16::from_le_bytes(take(bytes, 0)))),
        ColumnType::Integer | ColumnType::Date => Value::Integer(i64::from(i32::from_le_bytes(take(bytes, 0)))),
        ColumnType::Real => Value::Float(f64::from(f32::from_le_bytes(take(bytes, 0)))),
        ColumnType::Double => Value::Float(f64::from_le_bytes(take(bytes, 0))),
        ColumnType::Decimal { .. } | ColumnType::Uuid => Value::Wide(i128::from_le_bytes(take(bytes, 0))),
        ColumnType::Interval => Value::Interval {
            months: i32::from_le_bytes(take(bytes, 0)),
            days: i32::from_le_bytes(take(bytes, 4)),
            nanoseconds: i64::from_le_bytes(take(bytes, 8)),
        },
        _ => Value::Integer(i64::from_le_bytes(take(bytes, 0))),
    }
}

/// Every version of a table's rows, and the values of columns that older versions lack.
#[derive(Clone, Debug, PartialEq)]
pub struct RowFormat {
    /// In ascending order of version; the last is the one to write.
    versions: Vec<RowVersion>,
    /// By column id: what a row has in a column that was added after the row was written.
    added: Vec<(u32, Value<'static>)>,
}

impl RowFormat {
    /// `versions` in ascending order, at least one; `added` holds the columns that have another value than NULL in rows
    /// written before them.
    ///
    /// # Panics
    /// If there is no version.
    pub fn new(versions: Vec<RowVersion>, added: Vec<(u32, Value<'static>)>) -> Self {
        assert!(!versions.is_empty(), "a table has at least one row version");
        Self { versions, added }
    }

    /// The version that new rows have.
    pub fn current(&self) -> &RowVersion {
        &self.versions[self.versions.len() - 1]
    }

    /// All values of a row of the current version; `None` for a row of an older one.
    ///
    /// # Errors
    /// XX001 when the bytes are not a row of this table.
    pub fn current_values<'r>(&self, row: &'r [u8]) -> Option<Result<Vec<Value<'r>>>> {
        let current = self.current();
        if !row.starts_with(&current.version.to_le_bytes()) {
            return None;
        }
        let values = || (0..current.columns.len()).map(|position| current.value(row, position)).collect();
        Some(current.check(row).and_then(|()| values()))
    }

    /// Prepares to read these columns (by id) from rows of any version.
    pub fn projection(&self, columns: &[u32]) -> Projection<'_> {
        let missing = |id: u32| {
            let value = self.added.iter().find(|(added, _)| *added == id);
            value.map_or(Value::Null, |(_, value)| value.clone())
        };
        let positions = |version: &RowVersion| {
            columns.iter().map(|id| version.columns.iter().position(|column| column.id == *id)).collect()
        };
        Projection {
            versions: self.versions.iter().map(|version| (version, positions(version))).collect(),
            missing: columns.iter().map(|id| missing(*id)).collect(),
        }
    }
}

/// Reads some columns from rows of any version of one table.
#[derive(Clone, Debug)]
pub struct Projection<'f> {
    versions: Vec<(&'f RowVersion, Vec<Option<usize>>)>,
    missing: Vec<Value<'static>>,
}

impl Projection<'_> {
    /// The version by which a row was written, and where it has the projected columns.
    #[inline]
    fn version(&self, row: &[u8]) -> Result<&(&RowVersion, Vec<Option<usize>>)> {
        let version = match row {
            [low, high, ..] => u16::from_le_bytes([*low, *high]),
            _ => return Err(damaged()),
        };
        // The newest version is by far the most frequent.
        let found = self.versions.iter().rev().find(|(format, _)| format.version == version).ok_or_else(damaged)?;
        found.0.check(row)?;
        Ok(found)
    }

    /// Appends the projected columns of a row to one builder each, straight from its bytes.
    ///
    /// # Errors
    /// XX001 when the bytes are not a row of this table.
    #[inline]
    pub fn append(&self, row: &[u8], builders: &mut [ColumnBuilder]) -> Result<()> {
        let (format, positions) = self.version(row)?;
        for ((position, missing), builder) in positions.iter().zip(&self.missing).zip(builders) {
            match position {
                Some(position) => builder.append_bytes(format.bytes(row, *position)?),
                None => builder.append(missing),
            }
        }
        Ok(())
    }

    /// Calls `each` with the index of every projected column and its value.
    ///
    /// # Errors
    /// XX001 when the bytes are not a row of this table.
    #[inline]
    pub fn read<'r>(&self, row: &'r [u8], mut each: impl FnMut(usize, &Value<'r>)) -> Result<()> {
        let (format, positions) = self.version(row)?;
        for (index, position) in positions.iter().enumerate() {
            match position {
                Some(position) => each(index, &format.value(row, *position)?),
                None => each(index, &self.missing[index]),
            }
        }
        Ok(())
    }

    /// The projected values of one row.
    ///
    /// # Errors
    /// XX001 when the bytes are not a row of this table.
    pub fn values<'r>(&self, row: &'r [u8]) -> Result<Vec<Value<'r>>> {
        let mut values = Vec::with_capacity(self.missing.len());
        self.read(row, |_, value| values.push(value.clone()))?;
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<RowColumn> {
        let column = |id, column_type| RowColumn { id, column_type };
        vec![
            column(1, ColumnType::Integer),
            column(2, ColumnType::Text { max_chars: None }),
            column(3, ColumnType::Boolean),
            column(4, ColumnType::Bytea),
            column(5, ColumnType::Interval),
        ]
    }

    fn text(s: &str) -> Value<'_> {
        Value::Bytes(Cow::Borrowed(s.as_bytes()))
    }

    fn encoded(version: &RowVersion, values: Vec<Value<'_>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        version.encode(&mut bytes, &RowOfValues { version, values: &values }).unwrap();
        bytes
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let format = RowFormat::new(vec![RowVersion::new(1, columns())], vec![]);
        let interval = Value::Interval { months: -1, days: 2, nanoseconds: 3 };
        for row in [
            vec![Value::Integer(-5), text("abc"), Value::Boolean(true), text(""), interval],
            vec![Value::Null, Value::Null, Value::Null, text("x"), Value::Null],
        ] {
            let bytes = encoded(format.current(), row.clone());
            assert_eq!(format.projection(&[1, 2, 3, 4, 5]).values(&bytes).unwrap(), row);
            assert_eq!(format.projection(&[4, 1]).values(&bytes).unwrap(), vec![row[3].clone(), row[0].clone()]);
        }
    }

    #[test]
    fn older_rows_have_the_added_value_and_lose_the_dropped_column() {
        let old = RowVersion::new(1, columns()[..2].to_vec());
        let bytes = encoded(&old, vec![Value::Integer(7), text("gone")]);
        let new = RowVersion::new(2, vec![columns()[0].clone(), RowColumn { id: 9, column_type: ColumnType::BigInt }]);
        let format = RowFormat::new(vec![old, new], vec![(9, Value::Integer(42))]);
        assert_eq!(format.projection(&[1, 9]).values(&bytes).unwrap(), vec![Value::Integer(7), Value::Integer(42)]);
    }

    #[test]
    fn damaged_rows_are_refused_not_misread() {
        let format = RowFormat::new(vec![RowVersion::new(1, columns())], vec![]);
        let nulls = || Value::Null;
        let mut bytes = encoded(format.current(), vec![nulls(), text("abcdef"), nulls(), nulls(), nulls()]);
        let projection = format.projection(&[2]);
        for length in 0..bytes.len() {
            assert_eq!(projection.values(&bytes[..length]).unwrap_err().state, SqlState::DataCorrupted);
        }
        bytes[0] = 9;
        assert!(projection.values(&bytes).is_err());
    }
}
