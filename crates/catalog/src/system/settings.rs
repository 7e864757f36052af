use crate::{Instant, SYSTEM, Snapshot};

computed_table! { SYSTEM, "settings",
    /// One row a setting: its value, where the value comes from, and what it may be.
    struct Row {
        /// The setting's name.
        name: String,
        /// Its value for the database.
        value: String,
        /// Its value when nobody has set it.
        default: String,
        /// The unit of a bare number: `s`, `ms` or `B`.
        unit: Option<String>,
        /// The values it may have.
        range: String,
        /// `session` (SET and ALTER SYSTEM), `system` (ALTER SYSTEM) or `creation` (fixed when the database is made).
        scope: String,
        /// Where the value comes from: `default`, `file`, `environment`, `flag`, `ALTER SYSTEM`, or `creation`.
        origin: String,
        /// What it does.
        description: String,
        /// When ALTER SYSTEM last set it.
        changed_at: Option<Instant>,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let row = |state: &crate::snapshot::SettingState| Row {
        name: state.setting.name.to_string(),
        value: state.value.clone(),
        default: state.setting.default.to_string(),
        unit: state.setting.unit().map(str::to_string),
        range: state.setting.range(),
        scope: state.setting.scope.name().to_string(),
        origin: state.origin.to_string(),
        description: state.setting.description.to_string(),
        changed_at: state.changed_at_ms.map(Instant::from_millis),
    };
    snapshot.settings.iter().map(row).collect()
}
