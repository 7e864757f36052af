//! `pg_catalog`: PostgreSQL's system catalogs, as far as its clients look into them.
//!
//! psql, drivers and BI tools find out what a database has by queries over these tables. They are computed from the same
//! snapshot as the SYSTEM tables, so whoever may not know of a table does not find it here either. Columns have the names
//! and meanings that PostgreSQL 15 gives them; what is nowhere here (triggers, inheritance, policies …) is an empty table.
//!
//! Numbers (`oid`) join the tables with each other. Types and PostgreSQL's own schemas have PostgreSQL's numbers, a stored
//! table has one made from its own number, everything else one made from its name: see [`oid`].

mod am;
mod attrdef;
mod attribute;
mod class;
mod collation;
mod constraint;
mod database;
mod empty;
mod index;
mod indexes;
mod language;
mod namespace;
pub mod oid;
mod proc;
pub mod relation;
mod roles;
mod settings;
mod stat_activity;
mod stat_user_tables;
mod tables;
mod tablespace;
pub mod text;
mod types;
mod user;
mod views;

use crate::SystemTable;

/// Every table, by name; those that are always empty stand last.
pub const TABLES: &[SystemTable] = &[
    am::TABLE,
    attrdef::TABLE,
    attribute::TABLE,
    class::TABLE,
    collation::TABLE,
    constraint::TABLE,
    database::TABLE,
    index::TABLE,
    indexes::TABLE,
    language::TABLE,
    namespace::TABLE,
    proc::TABLE,
    roles::TABLE,
    settings::TABLE,
    stat_activity::TABLE,
    stat_user_tables::TABLE,
    tables::TABLE,
    tablespace::TABLE,
    types::TABLE,
    user::TABLE,
    views::TABLE,
    empty::pg_aggregate::TABLE,
    empty::pg_auth_members::TABLE,
    empty::pg_cast::TABLE,
    empty::pg_conversion::TABLE,
    empty::pg_db_role_setting::TABLE,
    empty::pg_default_acl::TABLE,
    empty::pg_depend::TABLE,
    empty::pg_description::TABLE,
    empty::pg_enum::TABLE,
    empty::pg_event_trigger::TABLE,
    empty::pg_extension::TABLE,
    empty::pg_foreign_data_wrapper::TABLE,
    empty::pg_foreign_server::TABLE,
    empty::pg_foreign_table::TABLE,
    empty::pg_get_keywords::TABLE,
    empty::pg_inherits::TABLE,
    empty::pg_init_privs::TABLE,
    empty::pg_largeobject_metadata::TABLE,
    empty::pg_locks::TABLE,
    empty::pg_matviews::TABLE,
    empty::pg_opclass::TABLE,
    empty::pg_operator::TABLE,
    empty::pg_opfamily::TABLE,
    empty::pg_partitioned_table::TABLE,
    empty::pg_policy::TABLE,
    empty::pg_prepared_statements::TABLE,
    empty::pg_prepared_xacts::TABLE,
    empty::pg_publication::TABLE,
    empty::pg_publication_namespace::TABLE,
    empty::pg_publication_rel::TABLE,
    empty::pg_range::TABLE,
    empty::pg_rewrite::TABLE,
    empty::pg_seclabel::TABLE,
    empty::pg_sequence::TABLE,
    empty::pg_sequences::TABLE,
    empty::pg_shdepend::TABLE,
    empty::pg_shdescription::TABLE,
    empty::pg_statistic_ext::TABLE,
    empty::pg_subscription::TABLE,
    empty::pg_timezone_names::TABLE,
    empty::pg_trigger::TABLE,
    empty::pg_ts_config::TABLE,
    empty::pg_ts_dict::TABLE,
    empty::pg_ts_parser::TABLE,
    empty::pg_ts_template::TABLE,
    empty::pg_user_mapping::TABLE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, Check, Column, Snapshot, Table, View};
    use evenkeel_model::{ColumnType, TableId};
    use std::collections::{BTreeMap, BTreeSet};

    fn column(id: u32, name: &str, column_type: ColumnType, default: Option<&str>) -> Column {
        let (nullable, default) = (id > 1, default.map(str::to_string));
        Column { id, name: name.to_string(), column_type, nullable, default, added: None, hidden: false }
    }

    fn snapshot() -> Snapshot {
        let table = Table {
            id: TableId(7),
            name: "flights".to_string(),
            columns: vec![
                column(1, "id", ColumnType::BigInt, None),
                column(2, "carrier", ColumnType::Text { max_chars: Some(2) }, Some("'XX'")),
                column(4, "price", ColumnType::Decimal { precision: 10, scale: 2 }, None),
            ],
            primary_key: vec![1],
            shard_key: vec![1],
            checks: vec![Check { name: "dear".to_string(), expression: "price > 0".to_string() }],
            row_versions: vec![],
            next_column: 5,
            created_at: 0,
            access: Access::of(Some("ada".to_string())),
        };
        let view = View {
            name: "late".to_string(),
            query: "SELECT 1".to_string(),
            columns: vec![],
            access: Access::default(),
        };
        Snapshot {
            tables: vec![crate::snapshot::TableState { table, rows: 3, bytes: 90 }],
            view_columns: BTreeMap::from([("late".to_string(), vec![("one".to_string(), ColumnType::BigInt)])]),
            views: vec![view],
            ..Snapshot::default()
        }
    }

    #[test]
    fn names_differ_and_all_tables_can_be_computed() {
        let names: BTreeSet<&str> = TABLES.iter().map(|table| table.name).collect();
        assert_eq!(names.len(), TABLES.len());
        for table in TABLES {
            assert_eq!((table.batch)(&snapshot()).schema(), table.schema(), "{}", table.name);
        }
    }

    #[test]
    fn no_two_relations_have_one_number() {
        let snapshot = snapshot();
        let relations = relation::relations(&snapshot);
        let oids: BTreeSet<i64> = relations.iter().map(|relation| relation.oid).collect();
        assert_eq!(oids.len(), relations.len());
        assert!(oids.iter().all(|oid| u32::try_from(*oid).is_ok()));
    }

    #[test]
    fn keys_and_checks_are_written_as_in_sql() {
        let snapshot = snapshot();
        let table = oid::table(TableId(7));
        assert_eq!(text::constraint(&snapshot, oid::primary_key(TableId(7))).as_deref(), Some("PRIMARY KEY (id)"));
        assert_eq!(text::constraint(&snapshot, oid::check("flights", "dear")).as_deref(), Some("CHECK (price > 0)"));
        let index = text::index(&snapshot, oid::key_index(TableId(7)), 0);
        assert_eq!(index.as_deref(), Some("CREATE UNIQUE INDEX flights_pkey ON public.flights USING btree (id)"));
        assert_eq!(text::relation_name(&snapshot, table).as_deref(), Some("flights"));
        assert_eq!(text::relation(&snapshot, "public.flights"), Some(table));
        assert_eq!(text::relation(&snapshot, "\"Flights\""), None);
        assert_eq!(text::type_name(1043, 6).as_deref(), Some("character varying(2)"));
        assert_eq!(text::type_name(1700, (10 << 16 | 2) + 4).as_deref(), Some("numeric(10,2)"));
        assert_eq!(text::type_name(1007, -1).as_deref(), Some("integer[]"));
        assert_eq!(text::type_name(99_999, -1).as_deref(), Some("???"));
    }
}
