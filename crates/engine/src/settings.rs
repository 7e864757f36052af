//! What the system's settings are: what ALTER SYSTEM has set, over what the configuration gives, over the defaults.
//!
//! Only the first is kept in the database; the second comes with every start, and anew while the server runs.

use crate::database::{Database, LOCK, query_memory};
use crate::meta::{Meta, MetaChange, MetaStore};
use crate::oracle::now_ms;
use evenkeel_model::{Error, Result, Setting, SettingScope, Settings, SqlState};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;

/// The word in SYSTEM.SETTINGS for what ALTER SYSTEM has set.
const ALTERED: &str = "ALTER SYSTEM";
const DEFAULT: &str = "default";

/// The values that a configuration gives settings, each with the word for where it has it from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfiguredSettings {
    values: BTreeMap<&'static str, (String, &'static str)>,
}

impl ConfiguredSettings {
    /// Gives a setting a value that [`Setting::check`] returned. What is fixed when the database is made is left alone.
    pub fn set(&mut self, setting: &'static Setting, canonical: String, origin: &'static str) {
        if setting.scope != SettingScope::Creation {
            self.values.insert(setting.name, (canonical, origin));
        }
    }
}

/// A system setting's value and when it was set.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct StoredSetting {
    value: String,
    changed_at: i64,
}

/// The system's settings, by where they come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct SystemSettings {
    altered: BTreeMap<&'static str, StoredSetting>,
    configured: ConfiguredSettings,
}

impl SystemSettings {
    /// What ALTER SYSTEM has set so far, over a configuration.
    pub(crate) fn load(meta: &Meta, configured: ConfiguredSettings) -> Result<Self> {
        let stored = meta.list::<StoredSetting>("setting/")?;
        // A setting that this version does not know any more is left alone.
        let known = |(name, value): (String, StoredSetting)| Setting::find(&name).ok().map(|s| (s.name, value));
        Ok(Self { altered: stored.into_iter().filter_map(known).collect(), configured })
    }

    /// The names of what ALTER SYSTEM has set.
    pub(crate) fn altered(&self) -> impl Iterator<Item = &'static str> {
        self.altered.keys().copied()
    }

    /// A setting's value, the word for where it comes from, and when it was set.
    pub(crate) fn value(&self, setting: &Setting) -> (String, &'static str, Option<i64>) {
        if let Some(stored) = self.altered.get(setting.name) {
            return (stored.value.clone(), ALTERED, Some(stored.changed_at));
        }
        match self.configured.values.get(setting.name) {
            Some((value, origin)) => (value.clone(), origin, None),
            None => (setting.default.to_string(), DEFAULT, None),
        }
    }

    /// All of them as one.
    pub(crate) fn effective(&self) -> Settings {
        let mut settings = Settings::default();
        let configured = self.configured.values.iter().map(|(name, (value, _))| (*name, value));
        let altered = self.altered.iter().map(|(name, stored)| (*name, &stored.value));
        for (name, value) in configured.chain(altered) {
            if let Ok(setting) = Setting::find(name) {
                settings.set(setting, value.clone());
            }
        }
        settings
    }
}

impl Database {
    /// Sets or resets system settings that were checked, all or none.
    pub(crate) fn store_settings(&self, changes: &[(&'static Setting, Option<String>)]) -> Result<()> {
        let mut settings = self.settings.write();
        let mut next = settings.clone();
        let mut change = MetaChange::default();
        for (setting, value) in changes {
            let key = format!("setting/{}", setting.name);
            match value {
                Some(value) => {
                    let stored = StoredSetting { value: value.clone(), changed_at: now_ms() };
                    change.put(&key, &stored)?;
                    next.altered.insert(setting.name, stored);
                }
                None => {
                    change.delete(&key);
                    next.altered.remove(setting.name);
                }
            }
        }
        self.meta.commit(change)?;
        *settings = next;
        self.take_effect(&settings);
        drop(settings);
        for (setting, value) in changes {
            let message = value.as_ref().map_or_else(|| "reset".to_string(), |value| format!("set to {value}"));
            self.event("setting", setting.name, &message);
        }
        Ok(())
    }

    /// Takes another configuration in place of the present one. What ALTER SYSTEM has set stays as it is.
    pub fn configure(&self, configured: ConfiguredSettings) {
        let mut settings = self.settings.write();
        settings.configured = configured;
        self.take_effect(&settings);
    }

    fn take_effect(&self, settings: &SystemSettings) {
        let effective = settings.effective();
        self.store.set_cache_bytes(effective.size("cache_size") as usize);
        self.planner.set_memory(query_memory(&effective));
        *self.effective.write() = std::sync::Arc::new(effective);
    }

    /// What ALTER SYSTEM has set in a database that nobody has open: name and value. `None` where there is no database.
    /// Nothing in the directory is changed.
    ///
    /// # Errors
    /// 57P03 when a process has it open; 58030 when it can't be read.
    pub fn altered_settings(directory: &Path) -> Result<Option<Vec<(&'static str, String)>>> {
        let path = directory.join("meta");
        if !path.join("CURRENT").exists() {
            return Ok(None);
        }
        let unreadable = |error: std::io::Error| {
            Error::new(SqlState::IoError, format!("cannot lock the database {}: {error}", directory.display()))
        };
        let lock = File::options().write(true).open(directory.join(LOCK)).map_err(unreadable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("the database {} is open in another process", directory.display());
                return Err(Error::new(SqlState::CannotConnectNow, message)
                    .with_hint("ask there: SHOW SETTINGS has every value, and where it comes from"));
            }
            Err(TryLockError::Error(error)) => return Err(unreadable(error)),
        }
        let settings = SystemSettings::load(&Meta::read_only(&path)?, ConfiguredSettings::default())?;
        Ok(Some(settings.altered.into_iter().map(|(name, stored)| (name, stored.value)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_altered_hides_what_is_configured() {
        let setting = |name| Setting::find(name).unwrap();
        let mut settings = SystemSettings::default();
        settings.configured.set(setting("cache_size"), "64MiB".to_string(), "file");
        settings.configured.set(setting("gc_retention"), "1h".to_string(), "flag");
        settings.configured.set(setting("slot_bits"), "20".to_string(), "file");
        let stored = StoredSetting { value: "32MiB".to_string(), changed_at: 7 };
        settings.altered.insert("cache_size", stored);
        assert_eq!(settings.value(setting("cache_size")), ("32MiB".to_string(), ALTERED, Some(7)));
        assert_eq!(settings.value(setting("gc_retention")), ("1h".to_string(), "flag", None));
        assert_eq!(settings.value(setting("slot_bits")), ("13".to_string(), DEFAULT, None));
        let effective = settings.effective();
        assert_eq!((effective.size("cache_size"), effective.duration_ms("gc_retention")), (32 << 20, 3_600_000));
        settings.altered.clear();
        assert_eq!(settings.effective().size("cache_size"), 64 << 20);
    }
}
