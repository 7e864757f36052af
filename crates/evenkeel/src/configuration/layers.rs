//! Layers in, one configuration or every problem out: a function of values, that reads no file and no environment.

use super::file::{self, Entry, SETTINGS_TABLE, Scalar};
use super::keys::{self, CONFIG_VARIABLE, KEYS, Key, Kind, PASSWORD_VARIABLE, PREFIX, TEST_VARIABLES, variable};
use super::problem::{Origin, Problem, Problems};
use evenkeel_engine::ConfiguredSettings;
use evenkeel_model::{SETTINGS, Setting, SettingKind, SettingScope, did_you_mean};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it is, as it was named.
    pub path: PathBuf,
    pub text: String,
}

/// Everything that is said about the configuration, weakest first.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    pub file: Option<File>,
    /// Names and values, at least those that begin with `EVENKEEL_`.
    pub environment: Vec<(String, String)>,
    /// Keys that were given as flags.
    pub flags: Vec<(&'static str, String)>,
    /// Settings that were given as `--set NAME=VALUE`.
    pub sets: Vec<(String, String)>,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub text: String,
    pub origin: Origin,
}

/// What is left of the layers: of each key and setting the strongest value. What nobody gave is not here.
#[derive(Clone, Default)]
pub struct Resolved {
    keys: BTreeMap<&'static str, Value>,
    settings: BTreeMap<&'static str, Value>,
    /// Never shown.
    pub admin_password: Option<String>,
}

impl Resolved {
    /// The value of a key, its default included.
    pub fn key(&self, key: &Key) -> Option<Value> {
        let default = || Some(Value { text: key.default?.to_string(), origin: Origin::Default });
        self.keys.get(key.name).cloned().or_else(default)
    }

    /// The value of a setting, its default included.
    pub fn setting(&self, setting: &Setting) -> Value {
        let default = || Value { text: setting.default.to_string(), origin: Origin::Default };
        self.settings.get(setting.name).cloned().unwrap_or_else(default)
    }

    /// The text of a key by its name, its default included.
    pub fn text(&self, name: &str) -> Option<String> {
        self.key(keys::find(name)?).map(|value| value.text)
    }

    /// Where a key's value stands, if somebody gave it one.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.keys.get(name).map(|value| value.origin.clone())
    }

    /// What the engine is to know of settings.
    pub fn configured(&self) -> ConfiguredSettings {
        let mut configured = ConfiguredSettings::default();
        for (name, value) in &self.settings {
            if let Ok(setting) = Setting::find(name) {
                configured.set(setting, value.text.clone(), value.origin.word());
            }
        }
        configured
    }

    /// Takes a key's value from another configuration.
    pub fn adopt(&mut self, key: &Key, other: &Self) {
        match other.keys.get(key.name) {
            Some(value) => self.keys.insert(key.name, value.clone()),
            None => self.keys.remove(key.name),
        };
    }

    /// Takes all settings from another configuration; the names of those whose value differs.
    pub fn adopt_settings(&mut self, other: &Self) -> Vec<&'static str> {
        let differs = |setting: &&Setting| self.setting(setting).text != other.setting(setting).text;
        let changed = SETTINGS.iter().filter(differs).map(|setting| setting.name).collect();
        self.settings = other.settings.clone();
        changed
    }

    fn set_key(&mut self, key: &'static Key, text: &str, origin: Origin, problems: &mut Vec<Problem>) {
        match key.check(text) {
            Ok(text) => drop(self.keys.insert(key.name, Value { text, origin })),
            Err((message, hint)) => problems.push(Problem::new(Some(origin), message).with_hint(hint)),
        }
    }

    fn set_setting(&mut self, setting: &'static Setting, text: &str, origin: Origin, problems: &mut Vec<Problem>) {
        if setting.scope == SettingScope::Creation {
            problems.push(fixed(setting, origin));
            return;
        }
        match setting.check(text) {
            Ok(text) => drop(self.settings.insert(setting.name, Value { text, origin })),
            Err(error) => {
                problems.push(Problem { at: Some(origin), message: error.message, hint: error.hint });
            }
        }
    }
}

/// Puts the layers together.
///
/// # Errors
/// Everything that is wrong in any layer, also what a stronger one would have hidden.
pub fn resolve(layers: &Layers) -> Result<Resolved, Problems> {
    let (mut resolved, mut problems) = (Resolved::default(), Vec::new());
    if let Some(file) = &layers.file {
        match file::entries(&file.path.display().to_string(), &file.text) {
            Ok(entries) => entries.into_iter().for_each(|entry| take_entry(&mut resolved, file, entry, &mut problems)),
            Err(problem) => problems.push(problem),
        }
    }
    for (name, value) in layers.environment.iter().filter(|(_, value)| !value.is_empty()) {
        if let Some(rest) = name.strip_prefix(PREFIX) {
            take_variable(&mut resolved, name, rest, value, &mut problems);
        }
    }
    for (name, value) in &layers.flags {
        if let Some(key) = keys::find(name) {
            resolved.set_key(key, value, Origin::Flag(key.flag()), &mut problems);
        }
    }
    for (name, value) in &layers.sets {
        let origin = Origin::Flag("--set".to_string());
        match Setting::find(name) {
            Ok(setting) => resolved.set_setting(setting, value, origin, &mut problems),
            Err(error) => problems.push(Problem { at: Some(origin), message: error.message, hint: error.hint }),
        }
    }
    if problems.is_empty() { Ok(resolved) } else { Err(Problems(problems)) }
}

fn take_entry(resolved: &mut Resolved, file: &File, entry: Entry, problems: &mut Vec<Problem>) {
    let Entry { name, value, at, in_settings } = entry;
    if in_settings {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            problems.push(unknown_setting(&name, at));
            return;
        };
        match setting_text(setting, &value) {
            Some(text) => resolved.set_setting(setting, &text, at, problems),
            None => problems.push(wrong_type(&name, &value, setting_takes(setting), at)),
        }
        return;
    }
    if name == SETTINGS_TABLE {
        problems.push(wrong_type(&name, &value, "a table", at));
        return;
    }
    let Some(key) = keys::find(&name) else {
        problems.push(unknown_key(&name, at));
        return;
    };
    match (key.kind, &value) {
        (Kind::Path, Scalar::Text(text)) if !text.is_empty() => {
            let beside = file.path.parent().map(|directory| directory.join(text));
            let path = beside.unwrap_or_else(|| PathBuf::from(text));
            resolved.set_key(key, &path.display().to_string(), at, problems);
        }
        (Kind::Path, Scalar::Text(_)) => problems.push(Problem::new(Some(at), format!("{name} is empty"))),
        (Kind::Shards, Scalar::Integer(text)) => resolved.set_key(key, text, at, problems),
        (Kind::Switch, Scalar::Boolean(on)) => resolved.set_key(key, &on.to_string(), at, problems),
        (Kind::Shards, _) => problems.push(wrong_type(&name, &value, "a whole number", at)),
        (Kind::Switch, _) => problems.push(wrong_type(&name, &value, "true or false", at)),
        (_, Scalar::Text(text)) => resolved.set_key(key, text, at, problems),
        _ => problems.push(wrong_type(&name, &value, "text in double quotes", at)),
    }
}

fn take_variable(resolved: &mut Resolved, name: &str, rest: &str, value: &str, problems: &mut Vec<Problem>) {
    let origin = Origin::Variable(name.to_string());
    if name == PASSWORD_VARIABLE {
        resolved.admin_password = Some(value.to_string());
    } else if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
        resolved.set_key(key, value, origin, problems);
    } else if let Some(setting) = SETTINGS.iter().find(|setting| variable(setting.name) == name) {
        resolved.set_setting(setting, value, origin, problems);
    } else if name != CONFIG_VARIABLE && !TEST_VARIABLES.contains(&name) && !is_service_link(rest) {
        problems.push(unknown_variable(name));
    }
}

/// Whether Kubernetes sets such a variable in every container beside a service called evenkeel, or evenkeel-something:
/// `EVENKEEL_SERVICE_HOST`, `EVENKEEL_PORT`, `EVENKEEL_HTTP_PORT_8080_TCP_ADDR`.
fn is_service_link(rest: &str) -> bool {
    let with_number = rest.split("PORT_").nth(1).is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    rest.ends_with("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest == "PORT"
        || rest.ends_with("_PORT")
        || with_number
}

fn unknown_key(name: &str, at: Origin) -> Problem {
    let problem = Problem::new(Some(at), format!("unknown key \"{name}\""));
    if name.eq_ignore_ascii_case("admin_password") {
        return problem.with_hint(format!("the first password is taken from {PASSWORD_VARIABLE} alone"));
    }
    if SETTINGS.iter().any(|setting| setting.name == name) {
        return problem.with_hint(format!("{name} is a setting: it stands under [{SETTINGS_TABLE}]"));
    }
    match did_you_mean(name, KEYS.iter().map(|key| key.name).chain([SETTINGS_TABLE])) {
        Some(near) => problem.with_hint(format!("did you mean {near}?")),
        None => problem.with_hint("evenkeel generate config shows every key"),
    }
}

fn unknown_setting(name: &str, at: Origin) -> Problem {
    let problem = Problem::new(Some(at), format!("unknown setting \"{name}\""));
    if keys::find(name).is_some() {
        return problem.with_hint(format!("{name} stands at the top of the file, above [{SETTINGS_TABLE}]"));
    }
    let known = SETTINGS.iter().filter(|setting| setting.scope != SettingScope::Creation).map(|setting| setting.name);
    match did_you_mean(name, known) {
        Some(near) => problem.with_hint(format!("did you mean {near}?")),
        None => problem.with_hint("evenkeel generate config shows every setting"),
    }
}

fn unknown_variable(name: &str) -> Problem {
    let problem = Problem::new(Some(Origin::Variable(name.to_string())), "there is no such key or setting");
    let settings = SETTINGS.iter().filter(|setting| setting.scope != SettingScope::Creation);
    let mut known: Vec<String> = KEYS.iter().map(Key::variable).collect();
    known.extend(settings.map(|setting| variable(setting.name)));
    known.extend([CONFIG_VARIABLE, PASSWORD_VARIABLE].map(str::to_string));
    match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(near) => problem.with_hint(format!("did you mean {near}?")),
        None => {
            problem.with_hint("evenkeel config show lists every key; a variable is EVENKEEL_ and a key in capitals")
        }
    }
}

fn fixed(setting: &Setting, at: Origin) -> Problem {
    let problem = Problem::new(Some(at), format!("{} is fixed when the database is made", setting.name));
    match keys::find(setting.name) {
        Some(_) => {
            problem.with_hint(format!("{} stands at the top of the file, and holds for a new database", setting.name))
        }
        None => problem.with_hint("it cannot be chosen"),
    }
}

fn wrong_type(name: &str, value: &Scalar, takes: &str, at: Origin) -> Problem {
    Problem::new(Some(at), format!("{name} takes {takes}, not {}", value.kind()))
}

fn setting_takes(setting: &Setting) -> &'static str {
    match setting.kind {
        SettingKind::Boolean => "true or false",
        SettingKind::Integer { .. } => "a whole number",
        SettingKind::Float { .. } => "a number",
        SettingKind::Duration { .. } => "seconds, or text such as \"30s\"",
        SettingKind::Size { .. } => "bytes, or text such as \"64MiB\"",
        SettingKind::Choice(_) => "a word in double quotes",
    }
}

/// The text that ALTER SYSTEM would take, if the value is of the setting's type.
fn setting_text(setting: &Setting, value: &Scalar) -> Option<String> {
    use SettingKind::{Boolean, Choice, Duration, Float, Integer, Size};
    match (setting.kind, value) {
        (Boolean, Scalar::Boolean(on)) => Some(on.to_string()),
        (Boolean, Scalar::Text(text)) if matches!(text.as_str(), "on" | "off") => Some(text.clone()),
        (Integer { .. } | Float { .. } | Duration { .. } | Size { .. }, Scalar::Integer(text))
        | (Float { .. } | Duration { .. }, Scalar::Float(text))
        | (Duration { .. } | Size { .. } | Choice(_), Scalar::Text(text)) => Some(text.clone()),
        _ => None,
    }
}
