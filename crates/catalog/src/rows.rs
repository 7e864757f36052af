//! From row structs to Arrow: what a system table needs to be one.

use crate::Snapshot;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int16Array, Int16Builder, Int32Array, Int64Array, Int64Builder, ListBuilder,
    StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use evenkeel_model::ColumnType;
use std::sync::Arc;

/// A computed table.
#[derive(Debug)]
pub struct SystemTable {
    /// The schema it is in.
    pub schema_name: &'static str,
    /// Its name, in lower case.
    pub name: &'static str,
    /// What its rows are, in a line or two.
    pub doc: &'static str,
    /// Name, type and documentation of each column.
    pub columns: fn() -> Vec<ColumnDoc>,
    /// Its rows.
    pub batch: fn(&Snapshot) -> RecordBatch,
}

impl SystemTable {
    /// The columns as Arrow knows them.
    pub fn schema(&self) -> SchemaRef {
        schema(&(self.columns)())
    }
}

/// A column of a computed table.
#[derive(Clone, Debug)]
pub struct ColumnDoc {
    pub name: &'static str,
    pub data_type: DataType,
    pub nullable: bool,
    pub doc: &'static str,
}

impl ColumnDoc {
    /// Its type as that of a stored column would be called.
    pub fn column_type(&self) -> ColumnType {
        column_type(&self.data_type)
    }
}

fn column_type(data_type: &DataType) -> ColumnType {
    match data_type {
        DataType::Boolean => ColumnType::Boolean,
        DataType::Int16 => ColumnType::SmallInt,
        DataType::Int32 => ColumnType::Integer,
        DataType::Int64 => ColumnType::BigInt,
        DataType::Float64 => ColumnType::Double,
        DataType::Timestamp(..) => ColumnType::TimestampTz,
        DataType::List(field) => ColumnType::Array(Box::new(column_type(field.data_type()))),
        _ => ColumnType::Text { max_chars: None },
    }
}

/// A point in time: microseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub i64);

impl Instant {
    /// From milliseconds since 1970.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }
}

/// A type that a column of a computed table can have.
pub trait Cell: Sized {
    /// Its Arrow type.
    fn data_type() -> DataType;
    /// Whether it may be absent.
    const NULLABLE: bool = false;
    /// The column of these values.
    fn array(values: impl Iterator<Item = Self>) -> ArrayRef;
}

macro_rules! cell {
    ($type:ty, $data_type:expr, $array:ty, $value:ident => $native:expr) => {
        impl Cell for $type {
            fn data_type() -> DataType {
                $data_type
            }
            fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
                <Option<$type>>::array(values.map(Some))
            }
        }
        impl Cell for Option<$type> {
            fn data_type() -> DataType {
                $data_type
            }
            const NULLABLE: bool = true;
            fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
                Arc::new(values.map(|value| value.map(|$value| $native)).collect::<$array>())
            }
        }
    };
}

cell!(i16, DataType::Int16, Int16Array, value => value);
cell!(i32, DataType::Int32, Int32Array, value => value);
cell!(i64, DataType::Int64, Int64Array, value => value);
cell!(f64, DataType::Float64, Float64Array, value => value);
cell!(bool, DataType::Boolean, BooleanArray, value => value);
cell!(String, DataType::Utf8, StringArray, value => value);

/// A column of lists.
macro_rules! list {
    ($type:ty, $data_type:expr, $builder:ty) => {
        impl Cell for Vec<$type> {
            fn data_type() -> DataType {
                DataType::new_list($data_type, true)
            }
            fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
                <Option<Vec<$type>>>::array(values.map(Some))
            }
        }
        impl Cell for Option<Vec<$type>> {
            fn data_type() -> DataType {
                DataType::new_list($data_type, true)
            }
            const NULLABLE: bool = true;
            fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
                let mut builder = ListBuilder::new(<$builder>::new());
                values.for_each(|value| builder.append_option(value.map(|list| list.into_iter().map(Some))));
                Arc::new(builder.finish())
            }
        }
    };
}

list!(i16, DataType::Int16, Int16Builder);
list!(i64, DataType::Int64, Int64Builder);
list!(String, DataType::Utf8, StringBuilder);

fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("+00:00")))
}

impl Cell for Instant {
    fn data_type() -> DataType {
        instant_type()
    }
    fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
        <Option<Instant>>::array(values.map(Some))
    }
}

impl Cell for Option<Instant> {
    fn data_type() -> DataType {
        instant_type()
    }
    const NULLABLE: bool = true;
    fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
        let micros = values.map(|value| value.map(|instant| instant.0));
        Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("+00:00"))
    }
}

pub(crate) fn schema(columns: &[ColumnDoc]) -> SchemaRef {
    let field = |column: &ColumnDoc| Field::new(column.name, column.data_type.clone(), column.nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

pub(crate) fn batch(columns: &[ColumnDoc], arrays: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema(columns), arrays, &options)
        .expect("arrays are made from the same list as the schema")
}

/// Declares a computed table: the documented row struct, and its [`SystemTable`] in a constant `TABLE`. The module
/// has a function `rows(&Snapshot) -> Vec<Row>`.
macro_rules! computed_table {
    ($schema:expr, $name:literal, #[doc = $doc:literal] struct Row {
        $($(#[doc = $column_doc:literal])* $column:ident: $type:ty,)*
    }) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq)]
        pub struct Row { $($(#[doc = $column_doc])* pub $column: $type,)* }

        fn columns() -> Vec<crate::rows::ColumnDoc> {
            vec![$(crate::rows::ColumnDoc {
                name: stringify!($column).trim_start_matches("r#"),
                data_type: <$type as crate::rows::Cell>::data_type(),
                nullable: <$type as crate::rows::Cell>::NULLABLE,
                doc: concat!($($column_doc),*).trim_ascii(),
            },)*]
        }

        fn batch(snapshot: &crate::Snapshot) -> arrow::record_batch::RecordBatch {
            let rows = rows(snapshot);
            let arrays = vec![$(<$type as crate::rows::Cell>::array(rows.iter().map(|row| row.$column.clone())),)*];
            crate::rows::batch(&columns(), arrays, rows.len())
        }

        /// The table as the engine sees it.
        pub const TABLE: crate::SystemTable = crate::SystemTable {
            schema_name: $schema,
            name: $name,
            doc: $doc.trim_ascii(),
            columns,
            batch,
        };
    };
}
