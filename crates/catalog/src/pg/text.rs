//! What PostgreSQL's functions about the catalogs answer: names of numbers, definitions as SQL.

use super::oid;
use super::relation::{self, Kind, Relation, key_name};
use crate::{BUILT_IN_USER, Snapshot, Table};
use evenkeel_model::PgType;

/// A name as SQL needs it: quoted unless it is plain.
pub fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The number of a relation's name.
pub fn relation(snapshot: &Snapshot, name: &str) -> Option<i64> {
    relation::find(snapshot, name).map(|relation| relation.oid)
}

/// A relation by its number.
pub fn relation_of(snapshot: &Snapshot, oid: i64) -> Option<Relation> {
    relation::relations(snapshot).into_iter().find(|relation| relation.oid == oid)
}

/// The name of a relation's number, with its schema where the name alone would not find it.
pub fn relation_name(snapshot: &Snapshot, oid: i64) -> Option<String> {
    relation_of(snapshot, oid).map(|relation| match relation::is_visible(&relation) {
        true => quoted(&relation.name),
        false => format!("{}.{}", quoted(relation.schema), quoted(&relation.name)),
    })
}

/// The name of a user's number: of those that are shown, and of the owners of what is shown.
pub fn user_name(snapshot: &Snapshot, oid: i64) -> Option<String> {
    let tables = snapshot.tables.iter().map(|state| &state.table.access);
    let owners =
        tables.chain(snapshot.views.iter().map(|view| &view.access)).filter_map(|access| access.owner.as_deref());
    let users = snapshot.users.iter().map(|user| user.name.as_str());
    users.chain(owners).chain([BUILT_IN_USER]).find(|name| oid::user(name) == oid).map(str::to_string)
}

/// The name of a type's number; `None` for 0.
pub fn type_name(oid: i64, modifier: i64) -> Option<String> {
    if oid == 0 {
        return None;
    }
    let Some((kind, is_array)) = u32::try_from(oid).ok().and_then(PgType::find) else {
        return Some("???".to_string());
    };
    let modified = match kind.oid {
        1042 | 1043 if modifier >= 4 => format!("{}({})", kind.sql_name, modifier - 4),
        1700 if modifier >= 4 => format!("numeric({},{})", (modifier - 4) >> 16, (modifier - 4) & 0xffff),
        _ => kind.sql_name.to_string(),
    };
    Some(if is_array { format!("{modified}[]") } else { modified })
}

fn key_columns(table: &Table) -> String {
    table.names(&table.primary_key).iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// A constraint as it stands in CREATE TABLE.
pub fn constraint(snapshot: &Snapshot, oid: i64) -> Option<String> {
    snapshot.tables.iter().map(|state| &state.table).find_map(|table| {
        if oid == oid::primary_key(table.id) && !table.has_hidden_key() {
            return Some(format!("PRIMARY KEY ({})", key_columns(table)));
        }
        let check = table.checks.iter().find(|check| oid == oid::check(&table.name, &check.name))?;
        Some(format!("CHECK ({})", check.expression))
    })
}

/// An index as the statement that would make it, or one of its columns, counted from 1.
pub fn index(snapshot: &Snapshot, oid: i64, column: i64) -> Option<String> {
    let tables = snapshot.tables.iter().map(|state| &state.table);
    let table = tables.filter(|table| !table.has_hidden_key()).find(|table| oid == oid::key_index(table.id))?;
    if column > 0 {
        return table.names(&table.primary_key).get(column as usize - 1).map(|name| quoted(name));
    }
    let (name, on) = (quoted(&key_name(table)), quoted(&table.name));
    Some(format!("CREATE UNIQUE INDEX {name} ON public.{on} USING btree ({})", key_columns(table)))
}

/// The query of a view.
pub fn view(snapshot: &Snapshot, oid: i64) -> Option<String> {
    snapshot.views.iter().find(|view| oid::view(&view.name) == oid).map(|view| format!(" {};", view.query.trim()))
}

/// Bytes of live rows of a relation; `None` where there is no such relation.
pub fn size(snapshot: &Snapshot, oid: i64) -> Option<i64> {
    relation_of(snapshot, oid).map(|relation| if relation.kind == Kind::Table { relation.bytes } else { 0 })
}
