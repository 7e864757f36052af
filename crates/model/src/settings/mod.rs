//! The one list of settings, from which `SYSTEM.SETTINGS`, `ALTER SYSTEM`, `SET`, completion and the documentation are
//! made.
//!
//! A setting stands here when something reads it. Values are checked as text against their type and range before any
//! of a statement is set, and are kept in their canonical text.

mod list;
mod units;

pub use list::SETTINGS;
pub use units::{format_duration_ms, format_size, parse_duration_ms, parse_size};

use crate::error::{Error, Result, SqlState, did_you_mean};
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;
use units::{DURATION_UNITS, scaled};

/// What kind of value a setting has, with its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SettingKind {
    /// `on` or `off`.
    Boolean,
    /// A whole number, ends included.
    Integer { min: i64, max: i64 },
    /// A number that need not be whole, ends included; parts of a whole are parts of 1.
    Float { min: f64, max: f64 },
    /// A duration in milliseconds, ends included: a number of seconds, or text such as `'1h'`, `'30s'`, `'250ms'`.
    Duration { min_ms: u64, max_ms: u64 },
    /// A size in bytes, ends included: a number of bytes, or text such as `'64MiB'`.
    Size { min: u64, max: u64 },
    /// One of these words, which are in lower case.
    Choice(&'static [&'static str]),
}

/// Who may change a setting, and when it takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingScope {
    /// Fixed when the database directory is made.
    Creation,
    /// `ALTER SYSTEM SET`, for everybody, at once.
    System,
    /// As `System`, and `SET` for one session.
    Session,
}

impl SettingScope {
    /// The word in `SYSTEM.SETTINGS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creation => "creation",
            Self::System => "system",
            Self::Session => "session",
        }
    }
}

/// One setting of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub kind: SettingKind,
    /// In canonical text.
    pub default: &'static str,
    pub scope: SettingScope,
    pub description: &'static str,
}

impl Setting {
    /// The setting of this name, without regard to case.
    ///
    /// # Errors
    /// 42704 with a "did you mean" where there is none.
    pub fn find(name: &str) -> Result<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let error = Error::new(SqlState::UndefinedObject, format!("unknown setting \"{name}\""));
            match did_you_mean(name, SETTINGS.iter().map(|setting| setting.name)) {
                Some(near) => error.with_hint(format!("did you mean {near}?")),
                None => error.with_hint("QUERY SYSTEM.SETTINGS lists them all"),
            }
        })
    }

    /// The canonical text of a value, checked against type and range.
    ///
    /// # Errors
    /// 22023 that says what would be right.
    pub fn check(&self, text: &str) -> Result<String> {
        let text = text.trim();
        match self.kind {
            SettingKind::Boolean => parse_bool(text).map(|on| if on { "on" } else { "off" }.to_string()),
            SettingKind::Integer { min, max } => {
                text.parse::<i64>().ok().filter(|n| (min..=max).contains(n)).map(|n| n.to_string())
            }
            // Adding 0 takes the sign off a zero.
            SettingKind::Float { min, max } => {
                text.parse::<f64>().ok().filter(|n| (min..=max).contains(n)).map(|n| (n + 0.0).to_string())
            }
            SettingKind::Duration { min_ms, max_ms } => scaled(text, DURATION_UNITS, self.bare_ms())
                .filter(|ms| (min_ms..=max_ms).contains(ms))
                .map(format_duration_ms),
            SettingKind::Size { min, max } => {
                parse_size(text).filter(|bytes| (min..=max).contains(bytes)).map(format_size)
            }
            SettingKind::Choice(words) => parse_choice(text, words).map(str::to_string),
        }
        .ok_or_else(|| {
            Error::new(SqlState::InvalidParameterValue, format!("\"{text}\" is not a value for {}", self.name))
                .with_hint(self.hint(text))
        })
    }

    /// Milliseconds of a bare number of a duration. What PostgreSQL has under the same name, drivers set as it takes it.
    fn bare_ms(&self) -> u64 {
        if self.name == "statement_timeout" { 1 } else { 1_000 }
    }

    /// The unit of a bare number.
    pub fn unit(&self) -> Option<&'static str> {
        match self.kind {
            SettingKind::Duration { .. } => Some(if self.bare_ms() == 1 { "ms" } else { "s" }),
            SettingKind::Size { .. } => Some("B"),
            SettingKind::Boolean | SettingKind::Integer { .. } | SettingKind::Float { .. } | SettingKind::Choice(_) => {
                None
            }
        }
    }

    /// The range in words.
    pub fn range(&self) -> String {
        match self.kind {
            SettingKind::Boolean => "on, off".to_string(),
            SettingKind::Integer { min, max } => format!("{min} … {max}"),
            SettingKind::Float { min, max } => format!("{min} … {max}"),
            SettingKind::Duration { min_ms, max_ms } => {
                format!("{} … {}", format_duration_ms(min_ms), format_duration_ms(max_ms))
            }
            SettingKind::Size { min, max } => format!("{} … {}", format_size(min), format_size(max)),
            SettingKind::Choice(words) => words.join(", "),
        }
    }

    /// What would be right in the place of `text`.
    fn hint(&self, text: &str) -> String {
        let near = match self.kind {
            SettingKind::Choice(words) => did_you_mean(text, words.iter().copied()),
            _ => None,
        };
        let near = near.map_or_else(String::new, |word| format!("did you mean {word}? "));
        format!("{near}{} takes {}", self.name, self.accepts())
    }

    fn accepts(&self) -> String {
        match self.kind {
            SettingKind::Boolean => "on or off".to_string(),
            SettingKind::Integer { .. } => format!("a whole number, {}", self.range()),
            SettingKind::Float { .. } => format!("a number, {}", self.range()),
            SettingKind::Duration { .. } => {
                let bare = if self.bare_ms() == 1 { "milliseconds" } else { "seconds" };
                format!("{bare} or text such as '250ms', '30s', '10min', '1h'; {}", self.range())
            }
            SettingKind::Size { .. } => format!("bytes or text such as '64MiB'; {}", self.range()),
            SettingKind::Choice(_) => format!("one of {}", self.range()),
        }
    }
}

/// A default, read once: every statement asks for some.
struct Known {
    text: &'static str,
    /// 0 for another kind.
    duration_ms: u64,
    /// 0 for another kind.
    size: u64,
}

static DEFAULTS: LazyLock<HashMap<&'static str, Known>> = LazyLock::new(|| {
    let read = |setting: &Setting| {
        let text = setting.default;
        let (duration_ms, size) = (parse_duration_ms(text).unwrap_or(0), parse_size(text).unwrap_or(0));
        (setting.name, Known { text, duration_ms, size })
    };
    SETTINGS.iter().map(read).collect()
});

/// Values that differ from the defaults, over a fallback: a session's over the system's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Sets a value that [`Setting::check`] returned.
    pub fn set(&mut self, setting: &'static Setting, canonical: String) {
        self.values.insert(setting.name, canonical);
    }

    /// Goes back to the fallback.
    pub fn reset(&mut self, setting: &'static Setting) {
        self.values.remove(setting.name);
    }

    /// The value, where one is set here.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// What is set here.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }

    fn text(&self, name: &str) -> &str {
        self.get(name).or_else(|| DEFAULTS.get(name).map(|default| default.text)).unwrap_or("")
    }

    /// A boolean setting; false for another kind.
    pub fn boolean(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or(false)
    }

    /// A duration setting in milliseconds; 0 for another kind.
    pub fn duration_ms(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(text) => parse_duration_ms(text).unwrap_or(0),
            None => DEFAULTS.get(name).map_or(0, |default| default.duration_ms),
        }
    }

    /// A size setting in bytes; 0 for another kind.
    pub fn size(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(text) => parse_size(text).unwrap_or(0),
            None => DEFAULTS.get(name).map_or(0, |default| default.size),
        }
    }

    /// An integer setting; 0 for another kind.
    pub fn integer(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// A float setting, or a whole number as one; 0 for another kind.
    pub fn float(&self, name: &str) -> f64 {
        self.text(name).parse().unwrap_or(0.0)
    }

    /// The word of a choice setting; empty for another kind.
    pub fn choice(&self, name: &str) -> &'static str {
        let kind = SETTINGS.iter().find(|setting| setting.name == name).map(|setting| setting.kind);
        match kind {
            Some(SettingKind::Choice(words)) => parse_choice(self.text(name), words).unwrap_or_default(),
            _ => "",
        }
    }

    /// The effective value's text: what is set here, or the default.
    pub fn effective(&self, setting: &Setting) -> &str {
        self.text(setting.name)
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn parse_choice(text: &str, words: &[&'static str]) -> Option<&'static str> {
    words.iter().copied().find(|word| word.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::list::STRATEGIES;
    use super::*;

    #[test]
    fn defaults_are_canonical_and_names_are_sorted() {
        for setting in SETTINGS {
            assert_eq!(setting.check(setting.default).as_deref(), Ok(setting.default), "{}", setting.name);
        }
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
    }

    #[test]
    fn values_are_checked_against_their_range() {
        let retention = Setting::find("GC_RETENTION").unwrap();
        assert_eq!(retention.check("3600").unwrap(), "1h");
        assert_eq!(retention.check("1.5 min").unwrap(), "90s");
        let error = retention.check("0").unwrap_err();
        assert_eq!(error.state, SqlState::InvalidParameterValue);
        assert!(error.hint.unwrap().contains("1s … 30d"));
        assert_eq!(Setting::find("memory_limit").unwrap().check("1GiB").unwrap(), "1GiB");
        assert!(Setting::find("memory_limit").unwrap().check("-5").is_err());
        assert!(Setting::find("synchronous_commit").unwrap().check("maybe").is_err());
    }

    #[test]
    fn numbers_that_need_not_be_whole_have_one_text_each() {
        let threshold = Setting::find("rebalance_trigger_threshold").unwrap();
        let same = ["0.15", ".15", "0.150", "+0.15", " 15e-2 "].map(|text| threshold.check(text).unwrap());
        assert!(same.iter().all(|text| text == "0.15"), "{same:?}");
        assert_eq!(threshold.check("10").unwrap(), "10");
        for wrong in ["0", "0.009", "10.1", "-0.15", "15%", "0,15", "", "NaN", "inf", "much"] {
            let error = threshold.check(wrong).unwrap_err();
            assert_eq!(error.state, SqlState::InvalidParameterValue, "{wrong}");
            assert_eq!(error.hint.unwrap(), "rebalance_trigger_threshold takes a number, 0.01 … 10");
        }
        assert_eq!(Setting::find("hot_max_cpu").unwrap().check("-0.0").unwrap(), "0");
        assert_eq!((threshold.unit(), threshold.range().as_str()), (None, "0.01 … 10"));
    }

    #[test]
    fn a_bare_number_has_the_unit_that_drivers_expect() {
        let timeout = Setting::find("statement_timeout").unwrap();
        let checked = ["500", "1500", "1.5s", "2min", "0"].map(|text| timeout.check(text).unwrap());
        assert_eq!(checked, ["500ms", "1500ms", "1500ms", "2min", "0"]);
        assert_eq!(timeout.unit(), Some("ms"));
        assert!(
            timeout.check("soon").unwrap_err().hint.unwrap().starts_with("statement_timeout takes milliseconds or")
        );
        let retention = Setting::find("gc_retention").unwrap();
        assert_eq!((retention.check("500").unwrap().as_str(), retention.unit()), ("500s", Some("s")));
    }

    #[test]
    fn choices_are_words_in_any_case() {
        let strategy = Setting::find("rebalance_strategy").unwrap();
        assert_eq!(strategy.check("Minimize_Movement").unwrap(), "minimize_movement");
        assert_eq!((strategy.unit(), strategy.range()), (None, STRATEGIES.join(", ")));
        let hint = |text: &str| strategy.check(text).unwrap_err().hint.unwrap();
        let words = "one of adaptive, rows, size, load, uniform, minimize_movement";
        assert_eq!(hint("adaptve"), format!("did you mean adaptive? rebalance_strategy takes {words}"));
        assert_eq!(hint("0.05"), format!("rebalance_strategy takes {words}"));
        assert_eq!(hint(""), format!("rebalance_strategy takes {words}"));
        assert!(STRATEGIES.iter().all(|word| *word == word.to_ascii_lowercase()));
    }

    #[test]
    fn values_are_read_as_what_they_are() {
        let mut settings = Settings::default();
        assert_eq!((settings.float("target_imbalance"), settings.choice("rebalance_strategy")), (0.05, "adaptive"));
        assert_eq!((settings.duration_ms("cutover_budget"), settings.integer("hot_max_qps")), (50, 10_000));
        assert_eq!((settings.boolean("auto_rebalance"), settings.size("migration_bandwidth")), (false, 0));
        for (name, value) in [("target_imbalance", "1e-2"), ("rebalance_strategy", "LOAD")] {
            let setting = Setting::find(name).unwrap();
            settings.set(setting, setting.check(value).unwrap());
        }
        assert_eq!((settings.float("target_imbalance"), settings.choice("rebalance_strategy")), (0.01, "load"));
        assert_eq!((settings.float("rebalance_strategy"), settings.choice("target_imbalance")), (0.0, ""));
    }

    #[test]
    fn unknown_names_get_a_suggestion() {
        let error = Setting::find("gc_retension").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean gc_retention?"));
    }
}
