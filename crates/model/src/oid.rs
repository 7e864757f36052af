//! The numbers, names and sizes that PostgreSQL's clients know types by.

use crate::ColumnType;

/// What PostgreSQL calls a column type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeOid {
    pub oid: u32,
    /// Bytes of a value; negative where they vary.
    pub size: i16,
    /// Precision and scale, or the length; −1 for none.
    pub modifier: i32,
}

/// One of PostgreSQL's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PgType {
    pub oid: u32,
    /// The array of it; 0 for none.
    pub array: u32,
    /// As `pg_type` has it.
    pub name: &'static str,
    /// As SQL has it.
    pub sql_name: &'static str,
    pub size: i16,
    /// `pg_type.typcategory`
    pub category: char,
}

const fn base(oid: u32, array: u32, name: &'static str, sql_name: &'static str, size: i16, category: char) -> PgType {
    PgType { oid, array, name, sql_name, size, category }
}

/// The types that columns have here, and those that the system catalogs and functions are described with.
pub const PG_TYPES: &[PgType] = &[
    base(16, 1000, "bool", "boolean", 1, 'B'),
    base(17, 1001, "bytea", "bytea", -1, 'U'),
    base(18, 1002, "char", "\"char\"", 1, 'Z'),
    base(19, 1003, "name", "name", 64, 'S'),
    base(20, 1016, "int8", "bigint", 8, 'N'),
    base(21, 1005, "int2", "smallint", 2, 'N'),
    base(22, 1006, "int2vector", "int2vector", -1, 'A'),
    base(23, 1007, "int4", "integer", 4, 'N'),
    base(24, 1008, "regproc", "regproc", 4, 'N'),
    base(25, 1009, "text", "text", -1, 'S'),
    base(26, 1028, "oid", "oid", 4, 'N'),
    base(30, 1013, "oidvector", "oidvector", -1, 'A'),
    base(114, 199, "json", "json", -1, 'U'),
    base(700, 1021, "float4", "real", 4, 'N'),
    base(701, 1022, "float8", "double precision", 8, 'N'),
    base(705, 0, "unknown", "unknown", -2, 'X'),
    base(1042, 1014, "bpchar", "character", -1, 'S'),
    base(1043, 1015, "varchar", "character varying", -1, 'S'),
    base(1082, 1182, "date", "date", 4, 'D'),
    base(1083, 1183, "time", "time without time zone", 8, 'D'),
    base(1114, 1115, "timestamp", "timestamp without time zone", 8, 'D'),
    base(1184, 1185, "timestamptz", "timestamp with time zone", 8, 'D'),
    base(1186, 1187, "interval", "interval", 16, 'T'),
    base(1700, 1231, "numeric", "numeric", -1, 'N'),
    base(2205, 2210, "regclass", "regclass", 4, 'N'),
    base(2206, 2211, "regtype", "regtype", 4, 'N'),
    base(2249, 2287, "record", "record", -1, 'P'),
    base(2275, 1263, "cstring", "cstring", -2, 'P'),
    base(2276, 0, "any", "\"any\"", 4, 'P'),
    base(2277, 0, "anyarray", "anyarray", -1, 'P'),
    base(2278, 0, "void", "void", 4, 'P'),
    base(2279, 0, "trigger", "trigger", 4, 'P'),
    base(2281, 0, "internal", "internal", 8, 'P'),
    base(2950, 2951, "uuid", "uuid", 16, 'U'),
    base(3802, 3807, "jsonb", "jsonb", -1, 'U'),
    base(3838, 0, "event_trigger", "event_trigger", 4, 'P'),
    base(4089, 4090, "regnamespace", "regnamespace", 4, 'N'),
    base(4096, 4097, "regrole", "regrole", 4, 'N'),
];

impl PgType {
    /// The type of this number, and whether the number is that of its array.
    pub fn find(oid: u32) -> Option<(&'static PgType, bool)> {
        let found = PG_TYPES.iter().find(|kind| kind.oid == oid || (kind.array == oid && oid != 0))?;
        Some((found, found.oid != oid))
    }

    /// The number of the type of this name, in PostgreSQL's or in SQL's words; arrays end in `[]` or begin with `_`.
    pub fn named(name: &str) -> Option<u32> {
        let find = |name: &str| {
            PG_TYPES.iter().find(|kind| kind.name == name || kind.sql_name == name || alias(name) == Some(kind.name))
        };
        match name.strip_suffix("[]").or_else(|| name.strip_prefix('_')) {
            Some(element) => find(element).map(|kind| kind.array),
            None => find(name).map(|kind| kind.oid),
        }
    }
}

/// Other words for a type.
fn alias(name: &str) -> Option<&'static str> {
    Some(match name {
        "int" => "int4",
        "decimal" => "numeric",
        _ => return None,
    })
}

impl ColumnType {
    /// What PostgreSQL calls this type.
    pub fn oid(&self) -> TypeOid {
        let plain = |oid, size| TypeOid { oid, size, modifier: -1 };
        match self {
            Self::Boolean => plain(16, 1),
            Self::SmallInt => plain(21, 2),
            Self::Integer => plain(23, 4),
            Self::BigInt => plain(20, 8),
            Self::Real => plain(700, 4),
            Self::Double => plain(701, 8),
            Self::Decimal { precision, scale } => {
                let modifier = (i32::from(*precision) << 16 | i32::from(*scale)) + 4;
                TypeOid { modifier, ..plain(1700, -1) }
            }
            Self::Text { max_chars: None } => plain(25, -1),
            Self::Text { max_chars: Some(chars) } => TypeOid { modifier: *chars as i32 + 4, ..plain(1043, -1) },
            Self::Bytea => plain(17, -1),
            Self::Date => plain(1082, 4),
            Self::Time => plain(1083, 8),
            Self::Timestamp => plain(1114, 8),
            Self::TimestampTz => plain(1184, 8),
            Self::Interval => plain(1186, 16),
            Self::Uuid => plain(2950, 16),
            Self::Json => plain(114, -1),
            Self::Jsonb => plain(3802, -1),
            Self::Array(element) => {
                let element = element.oid();
                let array =
                    PgType::find(element.oid).map_or(1009, |(kind, is_array)| if is_array { 1009 } else { kind.array });
                TypeOid { oid: array, size: -1, modifier: element.modifier }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_number_and_by_name() {
        for kind in PG_TYPES {
            assert_eq!(PgType::find(kind.oid), Some((kind, false)));
            assert_eq!(PgType::named(kind.name), Some(kind.oid));
            assert_eq!(PgType::named(kind.sql_name), Some(kind.oid));
            if kind.array != 0 {
                assert_eq!(PgType::find(kind.array), Some((kind, true)));
            }
        }
        assert_eq!(
            (PgType::named("int"), PgType::named("int4[]"), PgType::named("_int4")),
            (Some(23), Some(1007), Some(1007))
        );
        assert_eq!((PgType::named("hstore"), PgType::find(0)), (None, None));
    }
}
