//! `evenkeel config`: what holds, where it comes from, and whether it is right.

#![expect(clippy::print_stdout, reason = "what it shows is what it prints")]

use super::keys::{KEYS, PASSWORD_VARIABLE};
use super::{Given, Loaded, Origin, Resolved, load};
use evenkeel_engine::Database;
use evenkeel_model::{SETTINGS, SettingScope};
use std::path::Path;

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// A line: a key, its value if it has one, where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Row {
    key: String,
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

/// Prints every key and setting with its value.
///
/// # Errors
/// What is wrong with the configuration's layers.
pub fn show(given: &Given, origin: bool, format: Format) -> anyhow::Result<i32> {
    let Loaded { resolved, file } = load(given)?;
    let (altered, note) = altered(&resolved);
    let mut rows = rows(&resolved, &altered);
    if !origin {
        rows.iter_mut().for_each(|row| row.origin = None);
    }
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
        Format::Table => print!("{}", table(&rows)),
    }
    if let Some(note) = note {
        eprintln!("NOTICE: {note}");
    }
    if origin && file.is_none() {
        eprintln!("NOTICE: there is no configuration file");
    }
    Ok(0)
}

/// Says whether a server could be started with it.
///
/// # Errors
/// Everything that is wrong.
pub fn check(given: &Given) -> anyhow::Result<i32> {
    let Loaded { resolved, file } = load(given)?;
    let configuration = resolved.configuration()?;
    crate::serve::certificate(&configuration)?;
    match file {
        Some(file) => println!("{} is right", file.display()),
        None => println!("the configuration is right; there is no file"),
    }
    Ok(0)
}

/// What ALTER SYSTEM has set in the database of a configuration, and what is to be said if that isn't known.
fn altered(resolved: &Resolved) -> (Vec<(&'static str, String)>, Option<String>) {
    let Some(data) = resolved.text("data") else { return (Vec::new(), None) };
    match Database::altered_settings(Path::new(&data)) {
        Ok(settings) => (settings.unwrap_or_default(), None),
        Err(error) => {
            let hint = error.hint.map_or_else(String::new, |hint| format!("; {hint}"));
            (Vec::new(), Some(format!("what ALTER SYSTEM has set is not shown: {}{hint}", error.message)))
        }
    }
}

fn rows(resolved: &Resolved, altered: &[(&'static str, String)]) -> Vec<Row> {
    let keys = KEYS.iter().map(|key| {
        let value = resolved.key(key);
        let origin = value.as_ref().map_or(Origin::Default, |value| value.origin.clone());
        Row { key: key.name.to_string(), value: value.map(|value| value.text), origin: Some(origin.to_string()) }
    });
    let password = resolved.admin_password.as_ref().map(|_| Row {
        key: "admin_password".to_string(),
        value: Some("(hidden)".to_string()),
        origin: Some(Origin::Variable(PASSWORD_VARIABLE.to_string()).to_string()),
    });
    let settings = SETTINGS.iter().filter(|setting| setting.scope != SettingScope::Creation).map(|setting| {
        let (text, origin) = match altered.iter().find(|(name, _)| *name == setting.name) {
            Some((_, text)) => (text.clone(), Origin::AlterSystem),
            None => {
                let value = resolved.setting(setting);
                (value.text, value.origin)
            }
        };
        Row { key: format!("settings.{}", setting.name), value: Some(text), origin: Some(origin.to_string()) }
    });
    keys.chain(password).chain(settings).collect()
}

/// Columns as wide as they have to be.
fn table(rows: &[Row]) -> String {
    let value = |row: &Row| row.value.clone().unwrap_or_else(|| "(none)".to_string());
    let width = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (keys, values) = (width(&|row| row.key.chars().count()), width(&|row| value(row).chars().count()));
    let line = |row: &Row| {
        let origin = row.origin.as_deref().unwrap_or_default();
        let line = format!("{:keys$}  {:values$}  {origin}", row.key, value(row));
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::layers::{Layers, resolve};
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let environment = vec![(PASSWORD_VARIABLE.to_string(), "hunter2".to_string())];
        let resolved = resolve(&Layers { environment, ..Layers::default() }).unwrap();
        let shown = table(&rows(&resolved, &[]));
        assert!(shown.contains("admin_password") && shown.contains("(hidden)"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn what_was_altered_is_shown_above_all() {
        let sets = vec![("gc_retention".to_string(), "1h".to_string())];
        let resolved = resolve(&Layers { sets, ..Layers::default() }).unwrap();
        let row = |altered: &[_]| {
            let rows = rows(&resolved, altered);
            let row = rows.into_iter().find(|row| row.key == "settings.gc_retention").unwrap();
            (row.value.unwrap(), row.origin.unwrap())
        };
        assert_eq!(row(&[]), ("1h".to_string(), "flag --set".to_string()));
        assert_eq!(row(&[("gc_retention", "2h".to_string())]), ("2h".to_string(), "ALTER SYSTEM".to_string()));
    }
}
