//! PostgreSQL's object ids of types, and Evenkeel's column types.

use arrow::datatypes::Field;
use evenkeel_engine::field_type;
use evenkeel_model::ColumnType;

/// PostgreSQL's `unknown`: a parameter whose type the server is to find out.
const UNKNOWN: u32 = 705;

/// What a row description says of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeInfo {
    pub(crate) oid: u32,
    /// Bytes of a value; negative where they vary.
    pub(crate) size: i16,
    /// Precision and scale, or the length; −1 for none.
    pub(crate) modifier: i32,
}

/// What PostgreSQL calls a column type.
pub(crate) fn info(column: &ColumnType) -> TypeInfo {
    let plain = |oid, size| TypeInfo { oid, size, modifier: -1 };
    match column {
        ColumnType::Boolean => plain(16, 1),
        ColumnType::SmallInt => plain(21, 2),
        ColumnType::Integer => plain(23, 4),
        ColumnType::BigInt => plain(20, 8),
        ColumnType::Real => plain(700, 4),
        ColumnType::Double => plain(701, 8),
        ColumnType::Decimal { precision, scale } => {
            let modifier = (i32::from(*precision) << 16 | i32::from(*scale)) + 4;
            TypeInfo { modifier, ..plain(1700, -1) }
        }
        ColumnType::Text { max_chars: None } => plain(25, -1),
        ColumnType::Text { max_chars: Some(chars) } => TypeInfo { modifier: *chars as i32 + 4, ..plain(1043, -1) },
        ColumnType::Bytea => plain(17, -1),
        ColumnType::Date => plain(1082, 4),
        ColumnType::Time => plain(1083, 8),
        ColumnType::Timestamp => plain(1114, 8),
        ColumnType::TimestampTz => plain(1184, 8),
        ColumnType::Interval => plain(1186, 16),
        ColumnType::Uuid => plain(2950, 16),
        ColumnType::Json => plain(114, -1),
        ColumnType::Jsonb => plain(3802, -1),
        ColumnType::Array(element) => plain(array_of(element), -1),
    }
}

fn array_of(element: &ColumnType) -> u32 {
    match element {
        ColumnType::Boolean => 1000,
        ColumnType::SmallInt => 1005,
        ColumnType::Integer => 1007,
        ColumnType::BigInt => 1016,
        ColumnType::Real => 1021,
        ColumnType::Double => 1022,
        ColumnType::Decimal { .. } => 1231,
        ColumnType::Text { max_chars: None } | ColumnType::Array(_) => 1009,
        ColumnType::Text { max_chars: Some(_) } => 1015,
        ColumnType::Bytea => 1001,
        ColumnType::Date => 1182,
        ColumnType::Time => 1183,
        ColumnType::Timestamp => 1115,
        ColumnType::TimestampTz => 1185,
        ColumnType::Interval => 1187,
        ColumnType::Uuid => 2951,
        ColumnType::Json => 199,
        ColumnType::Jsonb => 3807,
    }
}

/// The column type of an object id that a client declares a parameter with; `None` leaves it to the server.
pub(crate) fn declared(oid: u32) -> Option<ColumnType> {
    let text = ColumnType::Text { max_chars: None };
    // As wide as a decimal gets, with room on both sides of the point.
    let decimal = ColumnType::Decimal { precision: 38, scale: 10 };
    let plain = |oid| {
        Some(match oid {
            16 => ColumnType::Boolean,
            21 => ColumnType::SmallInt,
            23 => ColumnType::Integer,
            20 | 26 => ColumnType::BigInt,
            700 => ColumnType::Real,
            701 => ColumnType::Double,
            1700 => decimal.clone(),
            18 | 19 | 25 | 1042 | 1043 => text.clone(),
            17 => ColumnType::Bytea,
            1082 => ColumnType::Date,
            1083 => ColumnType::Time,
            1114 => ColumnType::Timestamp,
            1184 => ColumnType::TimestampTz,
            1186 => ColumnType::Interval,
            2950 => ColumnType::Uuid,
            114 => ColumnType::Json,
            3802 => ColumnType::Jsonb,
            _ => return None,
        })
    };
    let element = match oid {
        0 | UNKNOWN => return None,
        1000 => 16,
        1005 => 21,
        1007 => 23,
        1016 => 20,
        1021 => 700,
        1022 => 701,
        1231 => 1700,
        1009 | 1015 | 1014 => 25,
        1001 => 17,
        1182 => 1082,
        1183 => 1083,
        1115 => 1114,
        1185 => 1184,
        1187 => 1186,
        2951 => 2950,
        199 => 114,
        3807 => 3802,
        oid => return plain(oid),
    };
    plain(element).map(|element| ColumnType::Array(Box::new(element)))
}

/// The column type of a column of an answer. What only queries have is shown as text.
pub(crate) fn of_field(field: &Field) -> ColumnType {
    field_type(field).unwrap_or(ColumnType::Text { max_chars: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_are_those_that_are_described() {
        let scalars = [16, 21, 23, 20, 700, 701, 1700, 25, 17, 1082, 1083, 1114, 1184, 1186, 2950, 114, 3802];
        for oid in scalars {
            let column = declared(oid).expect("a type");
            assert_eq!(info(&column).oid, oid);
            let array = info(&ColumnType::Array(Box::new(column.clone()))).oid;
            assert_eq!(declared(array), Some(ColumnType::Array(Box::new(column))));
        }
        assert_eq!(declared(0), None);
        assert_eq!(declared(UNKNOWN), None);
    }
}
