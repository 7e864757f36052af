//! Where layers come from: the file that is named, or found, and the process's environment.

use super::arguments::Given;
use super::keys::CONFIG_VARIABLE;
use super::layers::{File, Layers, Resolved, resolve};
use super::problem::{Origin, Problem, Problems};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Read where nobody names another, if it is there.
const DEFAULT_FILE: &str = "evenkeel.toml";

/// A configuration, and the file it is from.
pub struct Loaded {
    pub resolved: Resolved,
    pub file: Option<PathBuf>,
}

/// Reads the file and the environment, and puts the command line above them.
///
/// # Errors
/// A named file that can't be read, and everything that is wrong in any layer.
pub fn load(given: &Given) -> Result<Loaded, Problems> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let environment: Vec<(String, String)> =
        std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    let file = file(given, &environment)?;
    let path = file.as_ref().map(|file| file.path.clone());
    let layers = Layers { file, environment, flags: given.flags.clone(), sets: given.sets.clone() };
    Ok(Loaded { resolved: resolve(&layers)?, file: path })
}

fn file(given: &Given, environment: &[(String, String)]) -> Result<Option<File>, Problem> {
    let variable = environment.iter().find(|(name, value)| name == CONFIG_VARIABLE && !value.is_empty());
    let (path, named) = match (&given.config, variable) {
        (Some(path), _) => (path.clone(), Some(Origin::Flag("--config".to_string()))),
        (None, Some((name, path))) => (PathBuf::from(path), Some(Origin::Variable(name.clone()))),
        (None, None) => (PathBuf::from(DEFAULT_FILE), None),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(File { path, text })),
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(error) => Err(unreadable(&path, named, &error)),
    }
}

fn unreadable(path: &Path, named: Option<Origin>, error: &std::io::Error) -> Problem {
    let problem = Problem::new(named, format!("cannot read {}: {error}", path.display()));
    match error.kind() {
        ErrorKind::NotFound => problem.with_hint("evenkeel generate config prints one to begin with"),
        _ => problem,
    }
}
