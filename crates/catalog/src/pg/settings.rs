use crate::{PG_CATALOG, Snapshot};

computed_table! { PG_CATALOG, "pg_settings",
    /// Settings of the system, and those of PostgreSQL's that clients ask for.
    struct Row {
        name: String,
        setting: String,
        unit: Option<String>,
        category: String,
        short_desc: String,
        extra_desc: Option<String>,
        context: String,
        vartype: String,
        source: String,
        min_val: Option<String>,
        max_val: Option<String>,
        enumvals: Option<Vec<String>>,
        boot_val: String,
        reset_val: String,
        sourcefile: Option<String>,
        sourceline: Option<i32>,
        pending_restart: bool,
    }
}

fn row(name: &str, setting: &str, default: &str, source: &str) -> Row {
    Row {
        name: name.to_string(),
        setting: setting.to_string(),
        unit: None,
        category: "Evenkeel".to_string(),
        short_desc: String::new(),
        extra_desc: None,
        context: "user".to_string(),
        vartype: "string".to_string(),
        source: source.to_string(),
        min_val: None,
        max_val: None,
        enumvals: None,
        boot_val: default.to_string(),
        reset_val: setting.to_string(),
        sourcefile: None,
        sourceline: None,
        pending_restart: false,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let own = snapshot.settings.iter().map(|state| Row {
        short_desc: state.setting.description.to_string(),
        ..row(state.setting.name, &state.value, state.setting.default, state.origin)
    });
    let foreign = snapshot
        .foreign_settings
        .iter()
        .map(|(name, value)| Row { category: "PostgreSQL".to_string(), ..row(name, value, value, "default") });
    own.chain(foreign).collect()
}
