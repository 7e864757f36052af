use super::CATALOG;
use crate::pg::relation::{Attribute, Kind, Relation, relations};
use crate::{INFORMATION_SCHEMA, PG_CATALOG, Snapshot};
use evenkeel_model::{ColumnType, PgType};

computed_table! { INFORMATION_SCHEMA, "columns",
    /// One row a column of a table or view.
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
        /// The most characters that a `varchar(n)` may have.
        character_maximum_length: Option<i64>,
        /// The digits of a decimal.
        numeric_precision: Option<i64>,
        /// Those of them that stand behind the point.
        numeric_scale: Option<i64>,
        /// The schema of its type.
        udt_schema: String,
        /// Its type, as PostgreSQL calls it: `int8`.
        udt_name: String,
        /// `NO`: there are no identity columns.
        is_identity: String,
        /// `NEVER`: there are no generated columns.
        is_generated: String,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let tables = relations(snapshot).into_iter().filter(|relation| relation.kind != Kind::Index);
    let columns = |table: Relation| {
        let row = |(at, column): (usize, &Attribute)| row(&table, at, column);
        table.columns.iter().enumerate().map(row).collect::<Vec<_>>()
    };
    tables.flat_map(columns).collect()
}

fn row(table: &Relation, at: usize, column: &Attribute) -> Row {
    let (precision, scale) = match column.column_type {
        ColumnType::Decimal { precision, scale } => (Some(i64::from(precision)), Some(i64::from(scale))),
        _ => (None, None),
    };
    let udt_name = match PgType::find(column.column_type.oid().oid) {
        Some((kind, true)) => format!("_{}", kind.name),
        Some((kind, false)) => kind.name.to_string(),
        None => String::new(),
    };
    Row {
        table_catalog: CATALOG.to_string(),
        table_schema: table.schema.to_string(),
        table_name: table.name.clone(),
        column_name: column.name.clone(),
        ordinal_position: at as i64 + 1,
        column_default: column.default.clone(),
        is_nullable: if column.not_null { "NO" } else { "YES" }.to_string(),
        data_type: column.column_type.to_string(),
        character_maximum_length: match column.column_type {
            ColumnType::Text { max_chars } => max_chars.map(i64::from),
            _ => None,
        },
        numeric_precision: precision,
        numeric_scale: scale,
        udt_schema: PG_CATALOG.to_string(),
        udt_name,
        is_identity: "NO".to_string(),
        is_generated: "NEVER".to_string(),
    }
}
