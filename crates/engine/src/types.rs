//! Names and types in a statement's tree, as Evenkeel's.

use evenkeel_catalog::PUBLIC;
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use sqlparser::ast::{self, DataType as Sql};

/// An identifier's meaning: unquoted ones fold to lower case.
pub(crate) fn fold(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The name of a table of the public schema.
pub(crate) fn table_name(name: &ast::ObjectName) -> Result<String> {
    let mut parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(fold).collect();
    let last = parts.pop().unwrap_or_default();
    match parts.last().map(String::as_str) {
        None | Some(PUBLIC) => Ok(last),
        Some(schema) if schema != PUBLIC && evenkeel_catalog::SCHEMAS.contains(&schema) => {
            Err(Error::new(SqlState::ReadOnly, format!("{schema}.{last} is computed and can only be read"))
                .with_hint("settings are changed with ALTER SYSTEM SET"))
        }
        Some(schema) => Err(Error::new(SqlState::UndefinedTable, format!("schema \"{schema}\" does not exist"))
            .with_hint("tables are in the schema public")),
    }
}

/// The last word of a name.
pub(crate) fn last_name(name: &ast::ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map(fold).unwrap_or_default()
}

/// A column's type by its name in a statement.
pub(crate) fn column_type(sql: &Sql) -> Result<ColumnType> {
    let unsupported = || {
        Error::unsupported(format!("type {sql} is not supported"))
            .with_hint("there are boolean, smallint, integer, bigint, real, double precision, decimal(p,s), text, \
                        varchar(n), bytea, date, time, timestamp, timestamptz, interval, uuid, json, jsonb, and arrays of these")
    };
    Ok(match sql {
        Sql::Boolean | Sql::Bool => ColumnType::Boolean,
        Sql::SmallInt(_) | Sql::Int2(_) | Sql::TinyInt(_) => ColumnType::SmallInt,
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) => ColumnType::Integer,
        Sql::BigInt(_) | Sql::Int8(_) => ColumnType::BigInt,
        Sql::Real | Sql::Float4 => ColumnType::Real,
        Sql::Double(_) | Sql::DoublePrecision | Sql::Float8 | Sql::Float(_) => ColumnType::Double,
        Sql::Decimal(info) | Sql::Numeric(info) | Sql::Dec(info) => decimal(info)?,
        Sql::Text | Sql::String(_) => ColumnType::Text { max_chars: None },
        Sql::Varchar(length) | Sql::CharVarying(length) | Sql::CharacterVarying(length) => {
            ColumnType::Text { max_chars: characters(length.as_ref())? }
        }
        Sql::Char(length) | Sql::Character(length) => {
            ColumnType::Text { max_chars: Some(characters(length.as_ref())?.unwrap_or(1)) }
        }
        Sql::Bytea | Sql::Blob(_) | Sql::Varbinary(_) | Sql::Binary(_) => ColumnType::Bytea,
        Sql::Date => ColumnType::Date,
        Sql::Time(_, ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone) => ColumnType::Time,
        Sql::Timestamp(_, zone) => match zone {
            ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone => ColumnType::Timestamp,
            ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz => ColumnType::TimestampTz,
        },
        Sql::TimestampNtz(_) | Sql::Datetime(_) => ColumnType::Timestamp,
        Sql::Interval { .. } => ColumnType::Interval,
        Sql::Uuid => ColumnType::Uuid,
        Sql::JSON => ColumnType::Json,
        Sql::JSONB => ColumnType::Jsonb,
        Sql::Array(ast::ArrayElemTypeDef::SquareBracket(element, _) | ast::ArrayElemTypeDef::AngleBracket(element)) => {
            match column_type(element)? {
                ColumnType::Array(_) => return Err(unsupported()),
                element => ColumnType::Array(Box::new(element)),
            }
        }
        Sql::Custom(name, _) if last_name(name) == "timestamptz" => ColumnType::TimestampTz,
        Sql::Custom(name, _) if matches!(last_name(name).as_str(), "serial" | "bigserial" | "smallserial") => {
            return Err(Error::unsupported(format!("type {} is not supported", last_name(name)))
                .with_hint("leave out the primary key for a hidden row id, or use uuid DEFAULT uuid()"));
        }
        _ => return Err(unsupported()),
    })
}

fn characters(length: Option<&ast::CharacterLength>) -> Result<Option<u32>> {
    match length {
        None | Some(ast::CharacterLength::Max) => Ok(None),
        Some(ast::CharacterLength::IntegerLength { length, .. }) => match u32::try_from(*length) {
            Ok(length @ 1..=10_485_760) => Ok(Some(length)),
            _ => Err(Error::new(SqlState::InvalidParameterValue, "a length must be from 1 to 10485760")),
        },
    }
}

fn decimal(info: &ast::ExactNumberInfo) -> Result<ColumnType> {
    let (precision, scale) = match info {
        ast::ExactNumberInfo::None => (38, 10),
        ast::ExactNumberInfo::Precision(precision) => (*precision, 0),
        ast::ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale >= 0 && scale as u8 <= precision => {
            Ok(ColumnType::Decimal { precision, scale })
        }
        _ => Err(Error::new(SqlState::InvalidParameterValue, format!("decimal({precision},{scale}) is not possible"))
            .with_hint("precision is 1 to 38 digits, scale 0 to precision")),
    }
}
