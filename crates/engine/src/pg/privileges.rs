//! `has_table_privilege` and its kin: what a user may do, asked in PostgreSQL's words.

use super::Shown;
use super::rows::Cell;
use evenkeel_catalog::pg::{relation, text};
use evenkeel_catalog::{Access, PUBLIC, Snapshot};
use evenkeel_model::Privilege;

/// Every function, and whether it is about a relation.
pub(super) const FUNCTIONS: &[(&str, bool)] = &[
    ("has_any_column_privilege", true),
    ("has_column_privilege", true),
    ("has_database_privilege", false),
    ("has_foreign_data_wrapper_privilege", false),
    ("has_function_privilege", false),
    ("has_language_privilege", false),
    ("has_schema_privilege", false),
    ("has_sequence_privilege", false),
    ("has_server_privilege", false),
    ("has_table_privilege", true),
    ("has_tablespace_privilege", false),
    ("has_type_privilege", false),
    ("pg_has_role", false),
    ("row_security_active", false),
];

/// Schemas, functions and types may be used by everybody; there are no roles to be a member of.
pub(super) fn answer(shown: &Shown, name: &str, about_relation: bool, args: &[Cell]) -> Cell {
    if args.contains(&Cell::Null) {
        return Cell::Null;
    }
    match (name, args) {
        ("row_security_active", _) => Cell::Truth(false),
        ("pg_has_role", [.., role, _]) => {
            let snapshot = shown.snapshot();
            let named = role.number().and_then(|oid| text::user_name(snapshot, oid));
            let named = named.or_else(|| role.text().map(str::to_string));
            Cell::Truth(shown.identity.is_unrestricted() || named.as_deref() == Some(&*shown.identity.name))
        }
        (_, [.., privileges]) if about_relation => {
            // (user,) relation, (column,) privileges
            let has_column = usize::from(name == "has_column_privilege");
            let user = (args.len() > 2 + has_column).then(|| args[0].text()).flatten();
            let relation = &args[args.len() - 2 - has_column];
            on_relation(shown, user, relation, privileges.text().unwrap_or_default())
        }
        _ => Cell::Truth(true),
    }
}

fn on_relation(shown: &Shown, user: Option<&str>, relation: &Cell, privileges: &str) -> Cell {
    let snapshot = shown.snapshot();
    let found = match relation.number() {
        Some(oid) => text::relation_of(snapshot, oid),
        None => relation.text().and_then(|name| relation::find(snapshot, name)),
    };
    let Some(found) = found else { return Cell::Null };
    let own = user.is_none_or(|user| user == &*shown.identity.name);
    let allows = |word: &str| {
        let word = word.trim().to_ascii_lowercase();
        let word = word.trim_end_matches(" with grant option");
        if found.schema != PUBLIC {
            return word == "select";
        }
        let Some(access) = access(snapshot, &found.name) else { return false };
        let privilege = match word {
            "select" => Privilege::Select,
            "insert" => Privilege::Insert,
            "update" => Privilege::Update,
            "delete" => Privilege::Delete,
            "truncate" | "references" | "trigger" => {
                return own && shown.identity.is_unrestricted()
                    || access.is_owner(user.unwrap_or(&shown.identity.name));
            }
            _ => return false,
        };
        own && shown.identity.is_unrestricted() || access.allows(user.unwrap_or(&shown.identity.name), privilege)
    };
    Cell::Truth(privileges.split(',').any(allows))
}

fn access<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s Access> {
    let tables = snapshot.tables.iter().map(|state| (&state.table.name, &state.table.access));
    let views = snapshot.views.iter().map(|view| (&view.name, &view.access));
    tables.chain(views).find(|(other, _)| *other == name).map(|(_, access)| access)
}
