use super::CATALOG;
use crate::rows::ColumnDoc;
use crate::{INFORMATION_SCHEMA, PUBLIC, Snapshot};
use arrow::datatypes::DataType;

computed_table! { INFORMATION_SCHEMA, "columns",
    /// One row a column of a stored or computed table.
    struct Row {
        /// The database.
        table_catalog: String,
        /// The schema.
        table_schema: String,
        /// The table.
        table_name: String,
        /// The column.
        column_name: String,
        /// Its position, from 1.
        ordinal_position: i64,
        /// Its DEFAULT expression.
        column_default: Option<String>,
        /// `YES` or `NO`.
        is_nullable: String,
        /// Its type.
        data_type: String,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let yes_no = |nullable: bool| if nullable { "YES" } else { "NO" }.to_string();
    let mut rows = Vec::new();
    for table in snapshot.tables.iter().map(|state| &state.table) {
        rows.extend(table.visible().enumerate().map(|(position, column)| Row {
            table_catalog: CATALOG.to_string(),
            table_schema: PUBLIC.to_string(),
            table_name: table.name.clone(),
            column_name: column.name.clone(),
            ordinal_position: position as i64 + 1,
            column_default: column.default.clone(),
            is_nullable: yes_no(column.nullable),
            data_type: column.column_type.to_string(),
        }));
    }
    for table in crate::computed_tables() {
        rows.extend((table.columns)().iter().enumerate().map(|(position, column)| Row {
            table_catalog: CATALOG.to_string(),
            table_schema: table.schema_name.to_string(),
            table_name: table.name.to_string(),
            column_name: column.name.to_string(),
            ordinal_position: position as i64 + 1,
            column_default: None,
            is_nullable: yes_no(column.nullable),
            data_type: type_name(column),
        }));
    }
    rows
}

fn type_name(column: &ColumnDoc) -> String {
    match column.data_type {
        DataType::Int64 => "bigint",
        DataType::Float64 => "double precision",
        DataType::Boolean => "boolean",
        DataType::Timestamp(..) => "timestamptz",
        _ => "text",
    }
    .to_string()
}
