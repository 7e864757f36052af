//! How values become bytes and come back: keys whose bytes sort as the values do, rows whose columns are found without
//! reading the ones before, and both from and to Arrow.

pub mod cells;
pub mod columns;
pub mod key;
pub mod row;
mod value;

pub use cells::{Cells, RowOfCells, arrow_type};
pub use columns::ColumnBuilder;
pub use key::{KeyBuilder, row_key, table_range};
pub use row::{RowFormat, RowOfValues, RowSource, RowVersion};
pub use value::Value;
