use super::relation::{Kind, relations};
use super::{attribute, oid};
use crate::{BUILT_IN_USER, PG_CATALOG, Snapshot};
use evenkeel_model::{PG_TYPES, PgType};

computed_table! { PG_CATALOG, "pg_type",
    /// Types, their arrays, and the types of the rows of relations.
    struct Row {
        oid: i64,
        typname: String,
        typnamespace: i64,
        typowner: i64,
        typlen: i16,
        typbyval: bool,
        typtype: String,
        typcategory: String,
        typispreferred: bool,
        typisdefined: bool,
        typdelim: String,
        typrelid: i64,
        typsubscript: String,
        typelem: i64,
        typarray: i64,
        typinput: String,
        typoutput: String,
        typreceive: String,
        typsend: String,
        typmodin: String,
        typmodout: String,
        typanalyze: String,
        typalign: String,
        typstorage: String,
        typnotnull: bool,
        typbasetype: i64,
        typtypmod: i32,
        typndims: i32,
        typcollation: i64,
        typdefaultbin: Option<String>,
        typdefault: Option<String>,
        typacl: Option<Vec<String>>,
    }
}

/// The types that are preferred among those of their category.
const PREFERRED: &[&str] = &["bool", "float8", "interval", "oid", "text", "timestamptz"];

/// The functions that read and write a type, as PostgreSQL calls them.
fn function(name: &str, what: &str) -> String {
    match name {
        "date" | "time" | "timestamp" | "timestamptz" | "interval" | "numeric" | "uuid" | "json" | "jsonb"
        | "array" | "record" | "anyarray" => format!("{name}_{what}"),
        _ => format!("{name}{what}"),
    }
}

fn scalar(kind: &PgType) -> Row {
    let pseudo = kind.category == 'P' || kind.category == 'X';
    Row {
        oid: i64::from(kind.oid),
        typname: kind.name.to_string(),
        typnamespace: oid::schema(PG_CATALOG),
        typowner: oid::user(BUILT_IN_USER),
        typlen: kind.size,
        typbyval: matches!(kind.size, 1..=8),
        typtype: if pseudo { "p" } else { "b" }.to_string(),
        typcategory: kind.category.to_string(),
        typispreferred: PREFERRED.contains(&kind.name),
        typisdefined: true,
        typdelim: ",".to_string(),
        typrelid: 0,
        typsubscript: "-".to_string(),
        typelem: 0,
        typarray: i64::from(kind.array),
        typinput: function(kind.name, "in"),
        typoutput: function(kind.name, "out"),
        typreceive: function(kind.name, "recv"),
        typsend: function(kind.name, "send"),
        typmodin: "-".to_string(),
        typmodout: "-".to_string(),
        typanalyze: "-".to_string(),
        typalign: "i".to_string(),
        typstorage: if kind.size < 0 { "x" } else { "p" }.to_string(),
        typnotnull: false,
        typbasetype: 0,
        typtypmod: -1,
        typndims: 0,
        typcollation: attribute::collation(kind.category),
        typdefaultbin: None,
        typdefault: None,
        typacl: None,
    }
}

fn array(kind: &PgType) -> Row {
    Row {
        oid: i64::from(kind.array),
        typname: format!("_{}", kind.name),
        typlen: -1,
        typbyval: false,
        typtype: "b".to_string(),
        typcategory: "A".to_string(),
        typispreferred: false,
        typsubscript: "array_subscript_handler".to_string(),
        typelem: i64::from(kind.oid),
        typarray: 0,
        typinput: function("array", "in"),
        typoutput: function("array", "out"),
        typreceive: function("array", "recv"),
        typsend: function("array", "send"),
        typstorage: "x".to_string(),
        ..scalar(kind)
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let arrays = PG_TYPES.iter().filter(|kind| kind.array != 0).map(array);
    let record = PgType { oid: 0, array: 0, name: "record", sql_name: "record", size: -1, category: 'C' };
    let relations = relations(snapshot).into_iter().filter(|relation| relation.kind != Kind::Index);
    let of_rows = relations.map(|relation| Row {
        oid: oid::row_type(relation.oid),
        typname: relation.name,
        typnamespace: oid::schema(relation.schema),
        typowner: oid::user(&relation.owner),
        typtype: "c".to_string(),
        typrelid: relation.oid,
        ..scalar(&record)
    });
    PG_TYPES.iter().map(scalar).chain(arrays).chain(of_rows).collect()
}
