use super::oid;
use crate::{BUILT_IN_USER, PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_language",
    /// The languages that functions are written in: none by users.
    struct Row {
        oid: i64,
        lanname: String,
        lanowner: i64,
        lanispl: bool,
        lanpltrusted: bool,
        lanplcallfoid: i64,
        laninline: i64,
        lanvalidator: i64,
        lanacl: Option<Vec<String>>,
    }
}

/// The number of the language of what is built in.
pub(super) const INTERNAL: i64 = 12;

fn rows(_: &Snapshot) -> Vec<Row> {
    vec![Row {
        oid: INTERNAL,
        lanname: "internal".to_string(),
        lanowner: oid::user(BUILT_IN_USER),
        lanispl: false,
        lanpltrusted: false,
        lanplcallfoid: 0,
        laninline: 0,
        lanvalidator: 0,
        lanacl: None,
    }]
}
