//! JSON: one array of objects, or one object a line. Members stand in the order of the columns.

use std::io::{self, Write};

use super::Rows;
use crate::rows::{Batch, Columns};
use crate::value;

/// Writes rows as objects.
pub struct Objects {
    /// The names of the columns as JSON strings, each with its colon.
    members: Vec<String>,
    /// Whether the objects are the elements of one array.
    array: bool,
    rows: usize,
}

impl Objects {
    /// One array of objects, an object a line.
    pub fn array(columns: &Columns) -> Self {
        Self { array: true, ..Self::lines(columns) }
    }

    /// One object a line.
    pub fn lines(columns: &Columns) -> Self {
        let member = |name: &str| {
            let mut member = String::new();
            value::write_json_string(&mut member, name);
            member.push(':');
            member
        };
        Self { members: columns.iter().map(|column| member(&column.name)).collect(), array: false, rows: 0 }
    }

    fn object(&self, batch: &Batch, row: usize) -> String {
        let mut object = "{".to_string();
        for (position, (member, (column, value))) in self.members.iter().zip(batch.row(row)).enumerate() {
            object.push_str(if position == 0 { "" } else { "," });
            object.push_str(member);
            value::write_json(&mut object, column.kind, value);
        }
        object.push('}');
        object
    }
}

impl Rows for Objects {
    fn batch(&mut self, out: &mut dyn Write, batch: &Batch) -> io::Result<()> {
        for row in 0..batch.row_count() {
            let object = self.object(batch, row);
            match (self.array, self.rows) {
                (false, _) => writeln!(out, "{object}")?,
                (true, 0) => write!(out, "[\n{object}")?,
                (true, _) => write!(out, ",\n{object}")?,
            }
            self.rows += 1;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match (self.array, self.rows) {
            (false, _) => Ok(()),
            (true, 0) => writeln!(out, "[]"),
            (true, _) => writeln!(out, "\n]"),
        }
    }
}
