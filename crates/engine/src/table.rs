//! A table as statements use it: its schema, with everything that is derived from it once.

use crate::error::undefined_column;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use evenkeel_catalog as catalog;
use evenkeel_model::{ColumnType, Result, ShardId, SlotMap, Token};
use evenkeel_storage::codec::{Cells, KeyBuilder, RowFormat, RowOfCells, RowVersion, Value, arrow_type, row, row_key};
use std::borrow::Cow;
use std::sync::Arc;

/// A table's schema and how its rows are read and written.
#[derive(Debug)]
pub(crate) struct TableHandle {
    pub(crate) schema: catalog::Table,
    pub(crate) format: RowFormat,
    /// All columns, the hidden row id last where there is one.
    pub(crate) arrow: SchemaRef,
    /// Where the columns of `arrow` are among the schema's.
    order: Vec<usize>,
    /// How many of them users see: the first ones.
    pub(crate) visible: usize,
    /// Positions of the primary key's columns in `arrow`.
    pub(crate) key: Vec<usize>,
    /// Positions of the shard key's columns in `arrow`.
    pub(crate) shard_key: Vec<usize>,
    /// Whether the shard key is the whole primary key, in its order: then one encoding serves both.
    shard_by_key: bool,
}

impl TableHandle {
    pub(crate) fn new(schema: catalog::Table) -> Self {
        let order: Vec<&catalog::Column> =
            schema.visible().chain(schema.columns.iter().filter(|column| column.hidden)).collect();
        let place = |column: &&catalog::Column| schema.columns.iter().position(|other| other.id == column.id);
        let places = order.iter().filter_map(place).collect();
        let field = |column: &&catalog::Column| {
            let field = Field::new(&column.name, arrow_type(&column.column_type), column.nullable);
            crate::parameters::marked(field, &column.column_type)
        };
        let arrow = Arc::new(Schema::new(order.iter().map(field).collect::<Vec<_>>()));
        let positions = |ids: &[u32]| -> Vec<usize> {
            ids.iter().filter_map(|id| order.iter().position(|column| column.id == *id)).collect()
        };
        let row_column = |c: &catalog::RowColumn| row::RowColumn { id: c.id, column_type: c.column_type.clone() };
        let version = |(at, columns): (usize, &Vec<catalog::RowColumn>)| {
            RowVersion::new(at as u16 + 1, columns.iter().map(row_column).collect())
        };
        let added = schema
            .columns
            .iter()
            .filter_map(|column| column.added.as_ref().map(|constant| (column.id, constant_value(constant))))
            .collect();
        let format = RowFormat::new(schema.row_versions.iter().enumerate().map(version).collect(), added);
        let (key, shard_key) = (positions(&schema.primary_key), positions(&schema.shard_key));
        Self {
            visible: schema.visible().count(),
            order: places,
            shard_by_key: key == shard_key,
            key,
            shard_key,
            arrow,
            format,
            schema,
        }
    }

    /// The column at a position of `arrow`.
    pub(crate) fn column(&self, position: usize) -> &catalog::Column {
        &self.schema.columns[self.order[position]]
    }

    /// Whether a column may be NULL; one that was dropped is nothing else.
    pub(crate) fn is_nullable(&self, id: u32) -> bool {
        self.schema.columns.iter().find(|column| column.id == id).is_none_or(|column| column.nullable)
    }

    /// The position of a visible column.
    pub(crate) fn position(&self, name: &str) -> Result<usize> {
        let visible = &self.arrow.fields()[..self.visible];
        visible.iter().position(|field| field.name() == name).ok_or_else(|| {
            undefined_column(name, Some(&self.schema.name), visible.iter().map(|field| field.name().as_str()))
        })
    }

    /// The columns that users see.
    pub(crate) fn visible_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.arrow.fields()[..self.visible].to_vec()))
    }

    /// Types of the primary key's columns.
    pub(crate) fn key_types(&self) -> Vec<ColumnType> {
        self.key.iter().map(|position| self.column(*position).column_type.clone()).collect()
    }

    /// The row key of a primary key's values, in key order.
    pub(crate) fn key_of(&self, scratch: &mut KeyBuilder, values: &[Value<'_>]) -> Vec<u8> {
        scratch.clear();
        for (position, value) in self
            .shard_key
            .iter()
            .filter_map(|at| self.key.iter().position(|key| key == at).map(|index| (at, &values[index])))
        {
            scratch.push(&self.column(*position).column_type, value);
        }
        let token = Token::of(scratch.bytes());
        if !self.shard_by_key {
            scratch.clear();
            for (position, value) in self.key.iter().zip(values) {
                scratch.push(&self.column(*position).column_type, value);
            }
        }
        row_key(self.schema.id, token, scratch.bytes())
    }

    /// Prepares to encode rows of a batch that has all columns in the order of `arrow`.
    pub(crate) fn encoder<'a>(&'a self, batch: &'a RecordBatch) -> Result<RowEncoder<'a>> {
        let cells: Vec<Cells<'a>> = batch
            .columns()
            .iter()
            .enumerate()
            .map(|(position, array)| Cells::new(&self.column(position).column_type, array))
            .collect::<Result<_>>()?;
        let order = self.format.current().columns().iter();
        let positions = order
            .map(|column| (0..cells.len()).find(|at| self.column(*at).id == column.id).unwrap_or(usize::MAX))
            .collect();
        let types = |positions: &[usize]| positions.iter().map(|at| self.column(*at).column_type.clone()).collect();
        Ok(RowEncoder {
            key_types: types(&self.key),
            shard_types: types(&self.shard_key),
            table: self,
            cells,
            positions,
            scratch: KeyBuilder::new(),
        })
    }

    /// The columns of `arrow` at these positions, by number.
    pub(crate) fn ids(&self, positions: &[usize]) -> Vec<u32> {
        positions.iter().map(|position| self.column(*position).id).collect()
    }
}

/// Encodes rows and their keys.
pub(crate) struct RowEncoder<'a> {
    table: &'a TableHandle,
    cells: Vec<Cells<'a>>,
    positions: Vec<usize>,
    key_types: Vec<ColumnType>,
    shard_types: Vec<ColumnType>,
    scratch: KeyBuilder,
}

impl RowEncoder<'_> {
    /// Appends the row key of a row to `out`; returns its token.
    pub(crate) fn key(&mut self, row: usize, out: &mut Vec<u8>) -> Result<Token> {
        self.scratch.clear();
        for (position, column_type) in self.table.shard_key.iter().zip(&self.shard_types) {
            self.scratch.push(column_type, &self.cells[*position].value(row)?);
        }
        let token = Token::of(self.scratch.bytes());
        if !self.table.shard_by_key {
            self.scratch.clear();
            for (position, column_type) in self.table.key.iter().zip(&self.key_types) {
                self.scratch.push(column_type, &self.cells[*position].value(row)?);
            }
        }
        out.extend_from_slice(&self.table.schema.id.0.to_be_bytes());
        out.extend_from_slice(&token.0.to_be_bytes());
        out.extend_from_slice(self.scratch.bytes());
        Ok(token)
    }

    /// Appends the bytes of a row to `out`.
    pub(crate) fn row(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let row = RowOfCells { cells: &self.cells, positions: &self.positions, row };
        self.table.format.current().encode(out, &row)
    }
}

/// `(a, b) = (1, x)`: the primary key of a row of a batch that has all columns.
pub(crate) fn describe_key(table: &TableHandle, batch: &RecordBatch, row: usize) -> String {
    let text = |position: &usize| {
        arrow::util::display::array_value_to_string(batch.column(*position), row).unwrap_or_default()
    };
    let values: Vec<String> = table.key.iter().map(text).collect();
    format!("({}) = ({})", table.schema.names(&table.schema.primary_key).join(", "), values.join(", "))
}

/// The shard of a row key.
pub(crate) fn shard_of(key: &[u8], slots: &SlotMap) -> ShardId {
    slots.route(evenkeel_storage::codec::key::token_of(key).unwrap_or(Token(0)))
}

pub(crate) fn constant_value(constant: &catalog::Constant) -> Value<'static> {
    match constant {
        catalog::Constant::Boolean(b) => Value::Boolean(*b),
        catalog::Constant::Integer(n) => Value::Integer(*n),
        catalog::Constant::Float(bits) => Value::Float(f64::from_bits(*bits)),
        catalog::Constant::Wide(text) => text.parse().map_or(Value::Null, Value::Wide),
        catalog::Constant::Interval { months, days, nanoseconds } => {
            Value::Interval { months: *months, days: *days, nanoseconds: *nanoseconds }
        }
        catalog::Constant::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.clone())),
    }
}

/// The other way round; `None` for NULL.
pub(crate) fn value_constant(value: &Value<'_>) -> Option<catalog::Constant> {
    Some(match value {
        Value::Null => return None,
        Value::Boolean(b) => catalog::Constant::Boolean(*b),
        Value::Integer(n) => catalog::Constant::Integer(*n),
        Value::Float(f) => catalog::Constant::Float(f.to_bits()),
        Value::Wide(n) => catalog::Constant::Wide(n.to_string()),
        Value::Interval { months, days, nanoseconds } => {
            catalog::Constant::Interval { months: *months, days: *days, nanoseconds: *nanoseconds }
        }
        Value::Bytes(bytes) => catalog::Constant::Bytes(bytes.to_vec()),
    })
}
