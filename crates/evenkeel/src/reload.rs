//! SIGHUP: the configuration is read again, and what may change while the server runs does.
//!
//! WHAT MAY NEVER HAPPEN: a file with a mistake changes anything. Whatever can fail is done before the first change.

use crate::configuration::{Encryption, Given, KEYS, Key, Loaded, Problem, Problems, Resolved, load};
use crate::logs::{self, Logs};
use evenkeel_engine::Database;
use evenkeel_wire::{Certificate, Tls};
use std::path::PathBuf;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// A server's configuration, and what of the server goes by it.
pub struct Running<'s> {
    given: Given,
    file: Option<PathBuf>,
    /// What holds now.
    resolved: Resolved,
    logs: &'s Logs,
    tls: Option<Tls>,
    database: Arc<Database>,
}

/// What is to change, with everything that could fail done.
struct Prepared {
    resolved: Resolved,
    filter: EnvFilter,
    certificate: Option<Certificate>,
}

impl<'s> Running<'s> {
    pub fn new(given: Given, loaded: Loaded, logs: &'s Logs, tls: Option<Tls>, database: &Arc<Database>) -> Self {
        // The file that was found stays the file, also when it goes away.
        let given = Given { config: loaded.file.clone().or_else(|| given.config.clone()), ..given };
        Self { given, file: loaded.file, resolved: loaded.resolved, logs, tls, database: Arc::clone(database) }
    }

    /// Reads the configuration again, and says in the log what came of it.
    pub fn reload(&mut self) {
        let file = self.file.as_ref().map(|file| file.display().to_string());
        match self.prepare() {
            Ok(prepared) => {
                let changes = self.apply(prepared);
                tracing::info!(file, changes, "configuration reloaded");
            }
            Err(Problems(problems)) => {
                for problem in &problems {
                    tracing::error!(error = problem.line(), hint = problem.hint, "configuration refused");
                }
                tracing::error!(file, problems = problems.len(), "configuration left as it was");
            }
        }
    }

    fn prepare(&self) -> Result<Prepared, Problems> {
        let resolved = load(&self.given)?.resolved;
        let configuration = resolved.configuration()?;
        let filter = logs::filter(&configuration.log_level).map_err(|hint| Problem::new(None, hint))?;
        let certificate = match (&configuration.encryption, &self.encryption()) {
            (Encryption::Files { certificate, key }, Encryption::Files { .. }) => {
                let read = Certificate::files(certificate, key);
                Some(read.map_err(|error| Problem { hint: error.hint, ..Problem::new(None, error.message) })?)
            }
            _ => None,
        };
        Ok(Prepared { resolved, filter, certificate })
    }

    fn encryption(&self) -> Encryption {
        self.resolved.configuration().map_or(Encryption::None, |configuration| configuration.encryption)
    }

    /// Returns how many keys and settings have changed.
    fn apply(&mut self, prepared: Prepared) -> usize {
        let Prepared { resolved, filter, certificate } = prepared;
        let has_certificate = certificate.is_some();
        let mut changes = 0;
        for key in KEYS {
            let (now, wanted) = (self.resolved.text(key.name), resolved.text(key.name));
            if now == wanted {
                continue;
            }
            let is_certificate = matches!(key.name, "tls_cert" | "tls_key");
            if key.reloads && (has_certificate || !is_certificate) {
                self.take(key, &resolved);
                changes += 1;
            } else {
                tracing::warn!(key = key.name, now, wanted, "needs a restart");
            }
        }
        self.logs.change(filter);
        if let (Some(tls), Some(certificate)) = (&self.tls, certificate) {
            tls.replace(certificate);
            tracing::info!("certificate read again");
        }
        let settings = self.resolved.adopt_settings(&resolved);
        self.database.configure(resolved.configured());
        for name in &settings {
            let value = evenkeel_model::Setting::find(name).map(|setting| resolved.setting(setting).text).ok();
            tracing::info!(key = format!("settings.{name}"), value, "configuration changed");
        }
        changes + settings.len()
    }

    fn take(&mut self, key: &Key, resolved: &Resolved) {
        tracing::info!(key = key.name, value = resolved.text(key.name), "configuration changed");
        self.resolved.adopt(key, resolved);
    }
}
