//! The numbers of what has none in Evenkeel.
//!
//! ```text
//! below 16384          PostgreSQL's own numbers: types, schemas, the first user
//! 16384 + 4 · table    a stored table, then its primary key's index and constraint; as stable as the table's number
//! above 0x1000_0000    a hash of the name, with what it is in the highest four bits
//! ```
//!
//! Two names may have one hash: of 1,000 views, once in 500 databases. Then a client sees one of them twice.

use crate::{BUILT_IN_USER, INFORMATION_SCHEMA, PG_CATALOG, PUBLIC};
use evenkeel_model::TableId;

/// The first number that PostgreSQL gives to what users make.
const FIRST: i64 = 16384;
/// Who made what nobody in particular made: PostgreSQL's first superuser.
const BUILT_IN: i64 = 10;

/// What a hash is of: its highest four bits.
#[derive(Clone, Copy)]
enum Space {
    Computed = 1,
    User,
    View,
    Check,
    Default,
    Function,
    TableType,
}

fn hashed(space: Space, name: &str) -> i64 {
    // FNV-1a: short names, and nobody gains from two with one number.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (space as i64) << 28 | ((hash >> 32 ^ hash) & 0x0fff_ffff) as i64
}

/// A schema.
pub fn schema(name: &str) -> i64 {
    match name {
        PG_CATALOG => 11,
        PUBLIC => 2200,
        INFORMATION_SCHEMA => 13_000,
        _ => 13_001,
    }
}

/// A stored table.
pub fn table(id: TableId) -> i64 {
    FIRST + 4 * i64::from(id.0)
}

/// The index of a stored table's primary key.
pub fn key_index(id: TableId) -> i64 {
    table(id) + 1
}

/// The constraint of a stored table's primary key.
pub fn primary_key(id: TableId) -> i64 {
    table(id) + 2
}

/// A computed table. Those that clients name in casts have PostgreSQL's numbers.
pub fn computed(schema: &str, name: &str) -> i64 {
    match (schema, name) {
        (PG_CATALOG, "pg_type") => 1247,
        (PG_CATALOG, "pg_attribute") => 1249,
        (PG_CATALOG, "pg_proc") => 1255,
        (PG_CATALOG, "pg_class") => 1259,
        (PG_CATALOG, "pg_database") => 1262,
        (PG_CATALOG, "pg_attrdef") => 2604,
        (PG_CATALOG, "pg_constraint") => 2606,
        (PG_CATALOG, "pg_description") => 2609,
        (PG_CATALOG, "pg_index") => 2610,
        (PG_CATALOG, "pg_namespace") => 2615,
        _ => hashed(Space::Computed, &format!("{schema}.{name}")),
    }
}

/// A view.
pub fn view(name: &str) -> i64 {
    hashed(Space::View, name)
}

/// A user.
pub fn user(name: &str) -> i64 {
    if name == BUILT_IN_USER { BUILT_IN } else { hashed(Space::User, name) }
}

/// A CHECK of a table.
pub fn check(table: &str, name: &str) -> i64 {
    hashed(Space::Check, &format!("{table}.{name}"))
}

/// The DEFAULT of a column.
pub fn default(table: &str, column: &str) -> i64 {
    hashed(Space::Default, &format!("{table}.{column}"))
}

/// A function.
pub fn function(name: &str) -> i64 {
    hashed(Space::Function, name)
}

/// The type of a relation's rows.
pub fn row_type(relation: i64) -> i64 {
    hashed(Space::TableType, &relation.to_string())
}
