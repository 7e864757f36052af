//! The rows of an answer as the protocol brings them: columns with a type, and values as text.

use std::ops::Range;
use std::sync::Arc;

use evenkeel_model::PgType;

/// The columns of an answer.
pub type Columns = Arc<[Column]>;

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// As much of a column's type as decides how its values look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// That of the values, or of an array's elements.
    pub scalar: Scalar,
    pub is_array: bool,
}

/// A type that is no array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Boolean,
    Number,
    /// With a time zone or without.
    Timestamp,
    Text,
}

impl Kind {
    /// The kind of PostgreSQL's type of this number.
    pub fn of_oid(oid: u32) -> Self {
        let (oid, is_array) = PgType::find(oid).map_or((oid, false), |(found, is_array)| (found.oid, is_array));
        let scalar = match oid {
            16 => Scalar::Boolean,
            20 | 21 | 23 | 26 | 700 | 701 | 1700 => Scalar::Number,
            1114 | 1184 => Scalar::Timestamp,
            _ => Scalar::Text,
        };
        Self { scalar, is_array }
    }

    /// Whether values are numbers, and so stand at the right of their column.
    pub fn is_numeric(self) -> bool {
        self.scalar == Scalar::Number && !self.is_array
    }

    /// Of an array's elements.
    pub fn element(self) -> Self {
        Self { is_array: false, ..self }
    }
}

/// Some rows of an answer: their values one after another in one text.
#[derive(Clone, Debug)]
pub struct Batch {
    columns: Columns,
    text: String,
    /// Where each value stands, row by row; `None` is NULL.
    cells: Vec<Option<Range<usize>>>,
    rows: usize,
}

impl Batch {
    /// No rows yet.
    pub fn new(columns: Columns) -> Self {
        Self { columns, text: String::new(), cells: Vec::new(), rows: 0 }
    }

    /// Appends a row: a value for each column, as the server wrote it; `None` is NULL.
    pub fn push<T: AsRef<str>>(&mut self, values: impl IntoIterator<Item = Option<T>>) {
        let mut values = values.into_iter();
        for _ in 0..self.columns.len() {
            let start = self.text.len();
            let value = values.next().flatten();
            self.text.push_str(value.as_ref().map_or("", T::as_ref));
            self.cells.push(value.map(|_| start..self.text.len()));
        }
        self.rows += 1;
    }

    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    pub fn row_count(&self) -> usize {
        self.rows
    }

    /// The bytes of all values.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// A row: each column with its value.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (&Column, Option<&str>)> {
        let start = row * self.columns.len();
        let cells = &self.cells[start..start + self.columns.len()];
        let text = self.text.as_str();
        self.columns.iter().zip(cells.iter().map(move |cell| cell.clone().map(|range| &text[range])))
    }

    /// Every row.
    pub fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = (&Column, Option<&str>)>> {
        (0..self.rows).map(move |row| self.row(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_a_value_for_each_column() {
        let column = |name: &str| Column { name: name.to_string(), kind: Kind::of_oid(25) };
        let mut batch = Batch::new(vec![column("a"), column("b")].into());
        batch.push([Some("x"), None]);
        batch.push([Some("")]);
        batch.push([Some("1"), Some("2"), Some("3")]);
        let rows: Vec<Vec<_>> = batch.rows().map(|row| row.map(|(_, value)| value).collect()).collect();
        assert_eq!(rows, [[Some("x"), None], [Some(""), None], [Some("1"), Some("2")]]);
        let mut none = Batch::new(Vec::new().into());
        none.push([None::<&str>]);
        assert_eq!(none.row_count(), 1);
    }

    #[test]
    fn kinds_follow_from_the_numbers_of_types() {
        assert!([20, 23, 701, 1700].into_iter().all(|oid| Kind::of_oid(oid).is_numeric()));
        assert_eq!(Kind::of_oid(1007), Kind { scalar: Scalar::Number, is_array: true });
        assert_eq!(Kind::of_oid(1185), Kind { scalar: Scalar::Timestamp, is_array: true });
        assert_eq!(Kind::of_oid(16), Kind { scalar: Scalar::Boolean, is_array: false });
        assert_eq!(Kind::of_oid(999_999), Kind { scalar: Scalar::Text, is_array: false });
        assert!(!Kind::of_oid(1007).is_numeric() && Kind::of_oid(1007).element().is_numeric());
    }
}
