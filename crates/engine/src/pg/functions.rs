//! Functions about what the catalogs name by numbers.
//!
//! Most look things up in the snapshot that the statement is shown: they are there only for statements that call one. The
//! others answer what is so for every database, and are there always.

use super::rows::{Cell, row_function};
use super::{Shown, arrays, privileges};
use arrow::datatypes::DataType;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::ScalarUDF;
use evenkeel_catalog::pg::{oid, relation, text};
use evenkeel_catalog::{DATABASE, PUBLIC, SCHEMAS, Snapshot};
use evenkeel_model::{Error, PgType, Result, SqlState};
use std::sync::Arc;

const BOOLEAN: DataType = DataType::Boolean;
const BIGINT: DataType = DataType::Int64;
const TEXT: DataType = DataType::Utf8;

/// A function of the snapshot.
struct OfSnapshot {
    name: &'static str,
    answers: DataType,
    body: fn(&Snapshot, &[Cell]) -> Result<Cell>,
}

const fn of_snapshot(
    name: &'static str,
    answers: DataType,
    body: fn(&Snapshot, &[Cell]) -> Result<Cell>,
) -> OfSnapshot {
    OfSnapshot { name, answers, body }
}

const OF_SNAPSHOT: &[OfSnapshot] = &[
    of_snapshot("current_setting", TEXT, current_setting),
    of_snapshot("pg_get_constraintdef", TEXT, |snapshot, args| {
        Ok(by_number(args, |oid| text::constraint(snapshot, oid)))
    }),
    of_snapshot("pg_get_indexdef", TEXT, |snapshot, args| {
        let column = args.get(1).and_then(Cell::number).unwrap_or(0);
        Ok(by_number(args, |oid| text::index(snapshot, oid, column)))
    }),
    of_snapshot("pg_get_userbyid", TEXT, |snapshot, args| {
        let name = |oid| Some(text::user_name(snapshot, oid).unwrap_or_else(|| format!("unknown (OID={oid})")));
        Ok(by_number(args, name))
    }),
    of_snapshot("pg_get_viewdef", TEXT, |snapshot, args| {
        Ok(relation_number(snapshot, args)?.and_then(|oid| text::view(snapshot, oid)).into())
    }),
    of_snapshot("pg_database_size", BIGINT, |snapshot, _| {
        Ok(Cell::Number(snapshot.tables.iter().map(|state| state.bytes).sum()))
    }),
    of_snapshot("pg_relation_size", BIGINT, size),
    of_snapshot("pg_table_size", BIGINT, size),
    of_snapshot("pg_total_relation_size", BIGINT, size),
    of_snapshot("pg_table_is_visible", BOOLEAN, |snapshot, args| {
        let found = args.first().and_then(Cell::number).and_then(|oid| text::relation_of(snapshot, oid));
        Ok(found.map_or(Cell::Null, |relation| Cell::Truth(relation::is_visible(&relation))))
    }),
    of_snapshot("regclassin", BIGINT, |snapshot, args| relation_number(snapshot, args).map(Cell::from)),
    of_snapshot("regclassout", TEXT, |snapshot, args| {
        let name = |oid: i64| {
            if oid == 0 { "-".to_string() } else { text::relation_name(snapshot, oid).unwrap_or(oid.to_string()) }
        };
        Ok(relation_number(snapshot, args)?.map(name).into())
    }),
    of_snapshot("regrolein", BIGINT, |_, args| Ok(named(args, |name| Some(oid::user(name))))),
    of_snapshot("regroleout", TEXT, |snapshot, args| {
        Ok(by_number(&[named(args, |name| Some(oid::user(name)))], |oid| text::user_name(snapshot, oid)))
    }),
    of_snapshot("to_regclass", BIGINT, |snapshot, args| Ok(named(args, |name| text::relation(snapshot, name)))),
];

/// Functions that say what is so of every database.
type Always = fn(&[Cell]) -> Result<Cell>;

const ALWAYS: &[(&str, DataType, Always)] = &[
    ("col_description", TEXT, |_| Ok(Cell::Null)),
    ("current_database", TEXT, |_| Ok(Cell::Text(DATABASE.to_string()))),
    ("format_type", TEXT, |args| {
        let modifier = args.get(1).and_then(Cell::number).unwrap_or(-1);
        Ok(by_number(args, |oid| text::type_name(oid, modifier)))
    }),
    ("format", TEXT, format_text),
    ("getdatabaseencoding", TEXT, |_| Ok(Cell::Text("UTF8".to_string()))),
    ("json_build_object", TEXT, json_build_object),
    ("like_pattern", TEXT, like_pattern),
    ("obj_description", TEXT, |_| Ok(Cell::Null)),
    ("pg_char_to_encoding", BIGINT, |_| Ok(Cell::Number(6))),
    ("pg_collation_is_visible", BOOLEAN, |_| Ok(Cell::Truth(true))),
    ("pg_conversion_is_visible", BOOLEAN, |_| Ok(Cell::Truth(true))),
    ("pg_encoding_to_char", TEXT, |_| Ok(Cell::Text("UTF8".to_string()))),
    ("pg_function_is_visible", BOOLEAN, |_| Ok(Cell::Truth(true))),
    ("pg_get_expr", TEXT, |args| Ok(args.first().cloned().unwrap_or(Cell::Null))),
    ("pg_get_function_arguments", TEXT, |_| Ok(Cell::Text(String::new()))),
    ("pg_get_function_identity_arguments", TEXT, |_| Ok(Cell::Text(String::new()))),
    ("pg_get_function_result", TEXT, |_| Ok(Cell::Text("\"any\"".to_string()))),
    ("pg_get_function_sqlbody", TEXT, |_| Ok(Cell::Null)),
    ("pg_get_functiondef", TEXT, |_| Ok(Cell::Null)),
    ("pg_get_partition_constraintdef", TEXT, |_| Ok(Cell::Null)),
    ("pg_get_partkeydef", TEXT, |_| Ok(Cell::Null)),
    ("pg_get_ruledef", TEXT, |_| Ok(Cell::Null)),
    ("pg_get_serial_sequence", TEXT, |_| Ok(Cell::Null)),
    ("pg_get_statisticsobjdef_columns", TEXT, |_| Ok(Cell::Null)),
    ("pg_get_triggerdef", TEXT, |_| Ok(Cell::Null)),
    ("pg_indexes_size", BIGINT, |_| Ok(Cell::Number(0))),
    ("pg_is_in_recovery", BOOLEAN, |_| Ok(Cell::Truth(false))),
    ("pg_is_other_temp_schema", BOOLEAN, |_| Ok(Cell::Truth(false))),
    ("pg_my_temp_schema", BIGINT, |_| Ok(Cell::Number(0))),
    ("pg_opclass_is_visible", BOOLEAN, |_| Ok(Cell::Truth(true))),
    ("pg_operator_is_visible", BOOLEAN, |_| Ok(Cell::Truth(true))),
    ("pg_relation_is_publishable", BOOLEAN, |_| Ok(Cell::Truth(false))),
    ("pg_size_pretty", TEXT, |args| Ok(by_number(args, |bytes| Some(pretty(bytes))))),
    ("pg_stat_get_numscans", BIGINT, |_| Ok(Cell::Number(0))),
    ("pg_tablespace_location", TEXT, |_| Ok(Cell::Text(String::new()))),
    ("pg_ts_config_is_visible", BOOLEAN, |_| Ok(Cell::Truth(true))),
    ("pg_ts_dict_is_visible", BOOLEAN, |_| Ok(Cell::Truth(true))),
    ("pg_ts_parser_is_visible", BOOLEAN, |_| Ok(Cell::Truth(true))),
    ("pg_ts_template_is_visible", BOOLEAN, |_| Ok(Cell::Truth(true))),
    ("pg_type_is_visible", BOOLEAN, |_| Ok(Cell::Truth(true))),
    ("regnamespacein", BIGINT, |args| Ok(named(args, schema_number))),
    ("regnamespaceout", TEXT, |args| Ok(by_number(&[named(args, schema_number)], schema_name))),
    ("regtypein", BIGINT, regtype),
    ("regtypeout", TEXT, |args| Ok(by_number(&[regtype(args)?], |oid| text::type_name(oid, -1)))),
    ("shobj_description", TEXT, |_| Ok(Cell::Null)),
    ("to_regnamespace", BIGINT, |args| Ok(named(args, schema_number))),
    ("to_regtype", BIGINT, |args| Ok(named(args, type_number))),
];

/// Whether a function looks into the snapshot.
pub(super) fn needs_snapshot(name: &str) -> bool {
    OF_SNAPSHOT.iter().any(|function| function.name == name)
        || privileges::FUNCTIONS.iter().any(|(function, _)| *function == name)
        || matches!(name, "current_schema" | "current_schemas" | "pg_backend_pid")
}

/// Adds the functions that are the same for every statement.
pub(crate) fn register_always(state: &mut SessionState) -> datafusion::common::Result<()> {
    for (name, answers, body) in ALWAYS {
        state.register_udf(Arc::new(row_function(name, answers.clone(), body)))?;
    }
    for function in arrays::functions() {
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}

/// Adds the functions of what a statement is shown.
pub(crate) fn register(state: &mut SessionState, shown: &Arc<Shown>) -> datafusion::common::Result<()> {
    for function in OF_SNAPSHOT {
        let (shown, body) = (Arc::clone(shown), function.body);
        let function = row_function(function.name, function.answers.clone(), move |args| body(shown.snapshot(), args));
        state.register_udf(Arc::new(function))?;
    }
    for (name, about_relation) in privileges::FUNCTIONS {
        let shown = Arc::clone(shown);
        let answer = move |args: &[Cell]| Ok(privileges::answer(&shown, name, *about_relation, args));
        state.register_udf(Arc::new(row_function(name, BOOLEAN, answer)))?;
    }
    state.register_udf(Arc::new(row_function("current_schema", TEXT, |_| Ok(Cell::Text(PUBLIC.to_string())))))?;
    state.register_udf(Arc::new(current_schemas()))?;
    let session = shown.session as i64;
    state.register_udf(Arc::new(row_function("pg_backend_pid", BIGINT, move |_| Ok(Cell::Number(session)))))?;
    Ok(())
}

/// `current_schemas(with the implicit ones)`
fn current_schemas() -> ScalarUDF {
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
    let answer = Arc::new(|args: &[ColumnarValue]| {
        let all = matches!(args.first(), Some(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))));
        let names: &[&str] = if all { &[evenkeel_catalog::PG_CATALOG, PUBLIC] } else { &[PUBLIC] };
        let names: Vec<ScalarValue> = names.iter().map(|name| ScalarValue::from(*name)).collect();
        let list = ScalarValue::new_list_nullable(&names, &TEXT);
        Ok(ColumnarValue::Scalar(ScalarValue::List(list)))
    });
    create_udf("current_schemas", vec![BOOLEAN], DataType::new_list(TEXT, true), Volatility::Stable, answer)
}

fn by_number(args: &[Cell], answer: impl Fn(i64) -> Option<String>) -> Cell {
    args.first().and_then(Cell::number).and_then(answer).into()
}

/// The number of a name; a number stays one.
fn named(args: &[Cell], number: impl Fn(&str) -> Option<i64>) -> Cell {
    match args.first() {
        Some(Cell::Text(name)) => name.trim().parse().ok().or_else(|| number(name)).into(),
        Some(number) => number.clone(),
        None => Cell::Null,
    }
}

/// The relation that a number or a name says.
fn relation_number(snapshot: &Snapshot, args: &[Cell]) -> Result<Option<i64>> {
    let Some(name) = args.first().and_then(Cell::text) else { return Ok(args.first().and_then(Cell::number)) };
    if let Ok(number) = name.trim().parse() {
        return Ok(Some(number));
    }
    match text::relation(snapshot, name) {
        Some(oid) => Ok(Some(oid)),
        None if name == "-" => Ok(Some(0)),
        None => Err(Error::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist"))),
    }
}

fn size(snapshot: &Snapshot, args: &[Cell]) -> Result<Cell> {
    Ok(relation_number(snapshot, args)?.and_then(|oid| text::size(snapshot, oid)).into())
}

fn schema_number(name: &str) -> Option<i64> {
    SCHEMAS.iter().find(|schema| **schema == name).map(|schema| oid::schema(schema))
}

fn schema_name(number: i64) -> Option<String> {
    SCHEMAS.iter().find(|schema| oid::schema(schema) == number).map(|schema| (*schema).to_string())
}

fn type_number(name: &str) -> Option<i64> {
    let name = name.trim().to_lowercase();
    PgType::named(name.strip_prefix("pg_catalog.").unwrap_or(&name)).map(i64::from)
}

/// The type that a number or a name says.
fn regtype(args: &[Cell]) -> Result<Cell> {
    match named(args, type_number) {
        Cell::Null if args.first().is_some_and(|name| *name != Cell::Null) => {
            let name = args.first().and_then(Cell::text).unwrap_or_default();
            Err(Error::new(SqlState::UndefinedObject, format!("type \"{name}\" does not exist")))
        }
        number => Ok(number),
    }
}

fn current_setting(snapshot: &Snapshot, args: &[Cell]) -> Result<Cell> {
    let Some(name) = args.first().and_then(Cell::text) else { return Ok(Cell::Null) };
    let name = name.to_lowercase();
    let own = snapshot.settings.iter().find(|state| state.setting.name == name).map(|state| state.value.clone());
    let foreign = || snapshot.foreign_settings.iter().find(|(known, _)| *known == name);
    match own.or_else(|| foreign().map(|(_, value)| (*value).to_string())) {
        Some(value) => Ok(Cell::Text(value)),
        None if args.get(1) == Some(&Cell::Truth(true)) => Ok(Cell::Null),
        None => Err(Error::new(SqlState::UndefinedObject, format!("unrecognized configuration parameter \"{name}\""))),
    }
}

/// `json_build_object(name, value, …)`
fn json_build_object(args: &[Cell]) -> Result<Cell> {
    let value = |cell: &Cell| match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Truth(truth) => (*truth).into(),
        Cell::Number(number) => (*number).into(),
        Cell::Text(text) => text.as_str().into(),
    };
    let pairs = args.chunks(2).map(|pair| {
        let name = match &pair[0] {
            Cell::Text(name) => name.clone(),
            other => value(other).to_string(),
        };
        format!("{} : {}", serde_json::Value::from(name), pair.get(1).map_or(serde_json::Value::Null, value))
    });
    Ok(Cell::Text(format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))))
}

/// A pattern whose escape is another character, as one that is escaped by a backslash.
fn like_pattern(args: &[Cell]) -> Result<Cell> {
    let [Cell::Text(pattern), Cell::Text(escape)] = args else { return Ok(Cell::Null) };
    let escape = escape.chars().next();
    let (mut plain, mut chars) = (String::new(), pattern.chars());
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => plain.extend(['\\'].into_iter().chain(chars.next())),
            '\\' => plain.push_str("\\\\"),
            c => plain.push(c),
        }
    }
    Ok(Cell::Text(plain))
}

/// `format('%I.%s', …)`
fn format_text(args: &[Cell]) -> Result<Cell> {
    let Some(pattern) = args.first().and_then(Cell::text) else { return Ok(Cell::Null) };
    let mut given = args[1..].iter();
    let (mut formatted, mut chars) = (String::new(), pattern.chars());
    while let Some(c) = chars.next() {
        if c != '%' {
            formatted.push(c);
            continue;
        }
        let kind = chars.next();
        if kind == Some('%') {
            formatted.push('%');
            continue;
        }
        let text = match given.next() {
            Some(Cell::Text(text)) => Some(text.clone()),
            Some(Cell::Number(number)) => Some(number.to_string()),
            Some(Cell::Truth(truth)) => Some(if *truth { "t" } else { "f" }.to_string()),
            Some(Cell::Null) => None,
            None => return Err(Error::new(SqlState::InvalidParameterValue, "too few arguments for format()")),
        };
        match kind {
            Some('s') => formatted.push_str(&text.unwrap_or_default()),
            Some('I') => formatted.push_str(&text::quoted(&text.unwrap_or_default())),
            Some('L') => match text {
                Some(text) => formatted.extend(["'", &text.replace('\'', "''"), "'"]),
                None => formatted.push_str("NULL"),
            },
            _ => {
                return Err(Error::new(SqlState::InvalidParameterValue, "format() takes %s, %I, %L and %%"));
            }
        }
    }
    Ok(Cell::Text(formatted))
}

/// Bytes in the largest unit that gives a number of at least 10.
fn pretty(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes, 0);
    while value.abs() >= 10 * 1024 && unit + 1 < UNITS.len() {
        value = (value + 512 * value.signum()) / 1024;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(pretty(10_239), "10239 bytes");
        assert_eq!(pretty(10_240), "10 kB");
        assert_eq!(pretty(20 << 20), "20 MB");
    }

    #[test]
    fn texts_are_formatted_and_patterns_escaped() {
        let text = |text: &str| Cell::Text(text.to_string());
        let formatted = format_text(&[text("%I.%s=%L %%"), text("A b"), Cell::Number(1), Cell::Null]).expect("a text");
        assert_eq!(formatted, text("\"A b\".1=NULL %"));
        assert_eq!(like_pattern(&[text("pg/_\\%"), text("/")]), Ok(text("pg\\_\\\\%")));
    }

    #[test]
    fn objects_are_json() {
        let text = |text: &str| Cell::Text(text.to_string());
        let object = json_build_object(&[text("a"), Cell::Number(1), text("b"), text("x\"y")]).expect("JSON");
        assert_eq!(object, text(r#"{"a" : 1, "b" : "x\"y"}"#));
    }
}
