use super::oid;
use crate::snapshot::Function;
use crate::{BUILT_IN_USER, PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_proc",
    /// Functions, one row a name: which arguments they take is not said.
    struct Row {
        oid: i64,
        proname: String,
        pronamespace: i64,
        proowner: i64,
        prolang: i64,
        procost: f64,
        prorows: f64,
        provariadic: i64,
        prosupport: String,
        prokind: String,
        prosecdef: bool,
        proleakproof: bool,
        proisstrict: bool,
        proretset: bool,
        provolatile: String,
        proparallel: String,
        pronargs: i16,
        pronargdefaults: i16,
        prorettype: i64,
        proargtypes: Vec<i64>,
        proallargtypes: Option<Vec<i64>>,
        proargmodes: Option<Vec<String>>,
        proargnames: Option<Vec<String>>,
        proargdefaults: Option<String>,
        protrftypes: Option<Vec<i64>>,
        prosrc: String,
        probin: Option<String>,
        prosqlbody: Option<String>,
        proconfig: Option<Vec<String>>,
        proacl: Option<Vec<String>>,
    }
}

/// The type `any`.
const ANY: i64 = 2276;

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |function: &Function| Row {
        oid: oid::function(&function.name),
        proname: function.name.clone(),
        pronamespace: oid::schema(PG_CATALOG),
        proowner: oid::user(BUILT_IN_USER),
        prolang: super::language::INTERNAL,
        procost: 1.0,
        prorows: 0.0,
        provariadic: 0,
        prosupport: "-".to_string(),
        prokind: function.kind.to_string(),
        prosecdef: false,
        proleakproof: false,
        proisstrict: false,
        proretset: false,
        provolatile: "s".to_string(),
        proparallel: "s".to_string(),
        pronargs: 0,
        pronargdefaults: 0,
        prorettype: ANY,
        proargtypes: vec![],
        proallargtypes: None,
        proargmodes: None,
        proargnames: None,
        proargdefaults: None,
        protrftypes: None,
        prosrc: function.name.clone(),
        probin: None,
        prosqlbody: None,
        proconfig: None,
        proacl: None,
    };
    snapshot.functions.iter().map(row).collect()
}
