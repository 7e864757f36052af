//! The one list of settings, from which `SYSTEM.SETTINGS`, `ALTER SYSTEM`, `SET`, completion and the documentation are
//! made.
//!
//! A setting stands here when something reads it. Values are checked as text against their type and range before any
//! of a statement is set, and are kept in their canonical text.

use crate::error::{Error, Result, SqlState, did_you_mean};
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

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

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const MIB: u64 = 1 << 20;

/// From which deviation on a shard is too far from its fair share: 1 is as much again as is fair.
const DEVIATION: SettingKind = SettingKind::Float { min: 0.01, max: 10.0 };
/// How often something is looked at.
const INTERVAL: SettingKind = SettingKind::Duration { min_ms: 100, max_ms: 7 * DAY_MS };
/// Limits whose 0 means that there is none.
const COUNT_MAX: SettingKind = SettingKind::Integer { min: 0, max: 1_000_000_000 };
const PART_MAX: SettingKind = SettingKind::Float { min: 0.0, max: 1.0 };

/// What a plan may make even, in the words of REBALANCE SHARDS.
const STRATEGIES: &[&str] = &["adaptive", "rows", "size", "load", "uniform", "minimize_movement"];

/// Every setting, by name.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "authentication_timeout",
        kind: SettingKind::Duration { min_ms: 1_000, max_ms: DAY_MS },
        default: "1min",
        scope: SettingScope::System,
        description: "A client that has not said who it is after this long is disconnected.",
    },
    Setting {
        name: "auto_merge",
        kind: SettingKind::Boolean,
        default: "off",
        scope: SettingScope::System,
        description: "Whether two shards that carry so little that one would do are merged.",
    },
    Setting {
        name: "auto_rebalance",
        kind: SettingKind::Boolean,
        default: "off",
        scope: SettingScope::System,
        description: "Whether an imbalance beyond the trigger thresholds starts a job by itself; off, it is only noted in SYSTEM.BALANCER_DECISIONS.",
    },
    Setting {
        name: "auto_split",
        kind: SettingKind::Boolean,
        default: "off",
        scope: SettingScope::System,
        description: "Whether a hot shard is relieved by itself: its hottest slots move away, or it is split.",
    },
    Setting {
        name: "cache_size",
        kind: SettingKind::Size { min: 16 * MIB, max: 1 << 50 },
        default: "256MiB",
        scope: SettingScope::System,
        description: "Memory for the blocks and write buffers of all shards together.",
    },
    Setting {
        name: "cutover_budget",
        kind: SettingKind::Duration { min_ms: 1, max_ms: 10_000 },
        default: "50ms",
        scope: SettingScope::System,
        description: "How long writes to moving slots may be held back while they change hands; a cutover that would take longer is put off.",
    },
    Setting {
        name: "gc_retention",
        kind: SettingKind::Duration { min_ms: 1_000, max_ms: 30 * DAY_MS },
        default: "10min",
        scope: SettingScope::System,
        description: "How long old row versions stay readable with AS OF before they are collected.",
    },
    Setting {
        name: "hot_check_interval",
        kind: INTERVAL,
        default: "1min",
        scope: SettingScope::System,
        description: "How often hot and cold shards are looked for.",
    },
    Setting {
        name: "hot_max_connections",
        kind: COUNT_MAX,
        default: "1000",
        scope: SettingScope::System,
        description: "A shard that more sessions than this use at the same time is hot; 0 means never.",
    },
    Setting {
        name: "hot_max_cpu",
        kind: PART_MAX,
        default: "0.8",
        scope: SettingScope::System,
        description: "A shard that uses more than this part of the processor time that it may use is hot; 0 means never.",
    },
    Setting {
        name: "hot_max_latency",
        kind: SettingKind::Duration { min_ms: 0, max_ms: HOUR_MS },
        default: "100ms",
        scope: SettingScope::System,
        description: "A shard of whose reads by key and commits one in a hundred takes longer than this is hot; 0 means never.",
    },
    Setting {
        name: "hot_max_memory",
        kind: PART_MAX,
        default: "0.8",
        scope: SettingScope::System,
        description: "A shard whose write buffers take more than this part of cache_size is hot; 0 means never.",
    },
    Setting {
        name: "hot_max_qps",
        kind: COUNT_MAX,
        default: "10000",
        scope: SettingScope::System,
        description: "A shard with more reads and writes a second than this is hot; 0 means never.",
    },
    Setting {
        name: "hot_max_storage",
        kind: PART_MAX,
        default: "0.8",
        scope: SettingScope::System,
        description: "A shard that fills more than this part of its disk is hot; 0 means never.",
    },
    Setting {
        name: "http_idle_timeout",
        kind: SettingKind::Duration { min_ms: 10, max_ms: DAY_MS },
        default: "1min",
        scope: SettingScope::System,
        description: "An HTTP connection that has not sent the whole head of its first or next request after this long, or pauses so long in a request's body, is ended.",
    },
    Setting {
        name: "idle_in_statement_timeout",
        kind: SettingKind::Duration { min_ms: 0, max_ms: DAY_MS },
        default: "10min",
        scope: SettingScope::System,
        description: "A connection that keeps a statement waiting for longer, for rows of a COPY FROM STDIN or to be fetched on, is ended; 0 means never.",
    },
    Setting {
        name: "idle_in_transaction_timeout",
        kind: SettingKind::Duration { min_ms: 0, max_ms: DAY_MS },
        default: "0",
        scope: SettingScope::System,
        description: "A connection that leaves a transaction block idle for longer is ended; 0 means never.",
    },
    Setting {
        name: "load_collection_interval",
        kind: INTERVAL,
        default: "10s",
        scope: SettingScope::System,
        description: "How often the load of slots and shards is measured.",
    },
    Setting {
        name: "load_history",
        kind: SettingKind::Integer { min: 1, max: 100 },
        default: "10",
        scope: SettingScope::System,
        description: "How many measurements a load is judged by.",
    },
    Setting {
        name: "max_concurrent_migrations",
        kind: SettingKind::Integer { min: 1, max: 64 },
        default: "2",
        scope: SettingScope::System,
        description: "How many migrations run at the same time.",
    },
    Setting {
        name: "max_connections",
        kind: SettingKind::Integer { min: 0, max: 100_000 },
        default: "2000",
        scope: SettingScope::System,
        description: "Network connections at the same time; 0 means any number.",
    },
    Setting {
        name: "max_connections_per_user",
        kind: SettingKind::Integer { min: 0, max: 100_000 },
        default: "0",
        scope: SettingScope::System,
        description: "Network connections of one user at the same time, admins excepted; 0 means any number.",
    },
    Setting {
        name: "max_message_size",
        kind: SettingKind::Size { min: MIB, max: 1 << 30 },
        default: "256MiB",
        scope: SettingScope::System,
        description: "The longest message that a client may send.",
    },
    Setting {
        name: "max_migrations_per_hour",
        kind: SettingKind::Integer { min: 0, max: 1_000_000 },
        default: "1000",
        scope: SettingScope::System,
        description: "How many migrations start in any hour; 0 means no limit.",
    },
    Setting {
        name: "max_transaction_size",
        kind: SettingKind::Size { min: MIB, max: 64 << 30 },
        default: "256MiB",
        scope: SettingScope::System,
        description: "The most that one transaction may buffer before COMMIT.",
    },
    Setting {
        name: "memory_limit",
        kind: SettingKind::Size { min: 32 * MIB, max: 1 << 50 },
        default: "512MiB",
        scope: SettingScope::System,
        description: "Memory for sorts, joins and aggregates of all queries together; beyond it they spill to disk.",
    },
    Setting {
        name: "migration_bandwidth",
        kind: SettingKind::Size { min: 0, max: 1 << 40 },
        default: "0",
        scope: SettingScope::System,
        description: "Bytes a second that a migration copies at most; 0 means as many as the throttle allows.",
    },
    Setting {
        name: "migration_batch_rows",
        kind: SettingKind::Integer { min: 1, max: 1_000_000 },
        default: "4096",
        scope: SettingScope::System,
        description: "Rows that a migration copies at a time.",
    },
    Setting {
        name: "migration_rate",
        kind: COUNT_MAX,
        default: "0",
        scope: SettingScope::System,
        description: "Rows a second that a migration copies at most; 0 means as many as the throttle allows.",
    },
    Setting {
        name: "migration_throttle",
        kind: SettingKind::Boolean,
        default: "on",
        scope: SettingScope::System,
        description: "Whether a migration backs off while statements take longer than they did before it, and large ones are made in parts.",
    },
    Setting {
        name: "query_memory_limit",
        kind: SettingKind::Size { min: 16 * MIB, max: 1 << 50 },
        default: "256MiB",
        scope: SettingScope::System,
        description: "Memory for the sorts, joins and aggregates of one query, as a part of memory_limit; beyond it they spill to disk, and what cannot is refused.",
    },
    Setting {
        name: "rebalance_check_interval",
        kind: INTERVAL,
        default: "1h",
        scope: SettingScope::System,
        description: "How often the balance is checked against the trigger thresholds.",
    },
    Setting {
        name: "rebalance_qps_threshold",
        kind: DEVIATION,
        default: "0.2",
        scope: SettingScope::System,
        description: "The deviation of queries or processor time from the fair share that triggers a rebalance.",
    },
    Setting {
        name: "rebalance_strategy",
        kind: SettingKind::Choice(STRATEGIES),
        default: "adaptive",
        scope: SettingScope::System,
        description: "What is made even: all at once (adaptive), rows, bytes (size), traffic (load) or slots (uniform); minimize_movement is adaptive with few moves.",
    },
    Setting {
        name: "rebalance_trigger_threshold",
        kind: DEVIATION,
        default: "0.15",
        scope: SettingScope::System,
        description: "The deviation of rows or bytes from the fair share that triggers a rebalance.",
    },
    Setting {
        name: "shard_lock_timeout",
        kind: SettingKind::Duration { min_ms: 1, max_ms: DAY_MS },
        default: "10s",
        scope: SettingScope::Session,
        description: "How long a statement waits for a row or table that another transaction holds.",
    },
    Setting {
        name: "shards",
        kind: SettingKind::Integer { min: 1, max: 1_024 },
        default: "4",
        scope: SettingScope::Creation,
        description: "Shards that a new database starts with.",
    },
    Setting {
        name: "slot_bits",
        kind: SettingKind::Integer { min: 10, max: 20 },
        default: "13",
        scope: SettingScope::Creation,
        description: "The database has 2 to the power of slot_bits slots.",
    },
    Setting {
        name: "slow_query_threshold",
        kind: SettingKind::Duration { min_ms: 0, max_ms: DAY_MS },
        default: "1s",
        scope: SettingScope::System,
        description: "Statements that take at least this long are kept in SYSTEM.SLOW_QUERIES.",
    },
    Setting {
        name: "split_cooldown",
        kind: SettingKind::Duration { min_ms: 0, max_ms: 7 * DAY_MS },
        default: "30min",
        scope: SettingScope::System,
        description: "How long a shard is left alone after it was split or relieved.",
    },
    Setting {
        name: "split_fanout",
        kind: SettingKind::Integer { min: 2, max: 16 },
        default: "2",
        scope: SettingScope::System,
        description: "How many shards a hot one is split into.",
    },
    Setting {
        name: "statement_timeout",
        kind: SettingKind::Duration { min_ms: 0, max_ms: DAY_MS },
        default: "0",
        scope: SettingScope::Session,
        description: "A statement that runs longer is cancelled; 0 means never. A bare number is milliseconds, as in PostgreSQL.",
    },
    Setting {
        name: "stuck_migration_timeout",
        kind: SettingKind::Duration { min_ms: 1_000, max_ms: 7 * DAY_MS },
        default: "10min",
        scope: SettingScope::System,
        description: "A migration that gets nowhere for this long is turned back, or, past its cutover, says so and goes on trying.",
    },
    Setting {
        name: "synchronous_commit",
        kind: SettingKind::Boolean,
        default: "on",
        scope: SettingScope::Session,
        description: "Whether a commit is acknowledged only after it is on disk; off risks the last 200 ms in a crash of the machine, of commits to a single shard.",
    },
    Setting {
        name: "target_imbalance",
        kind: SettingKind::Float { min: 0.001, max: 1.0 },
        default: "0.05",
        scope: SettingScope::System,
        description: "The largest deviation from the fair share that a rebalance leaves, where slots are small enough.",
    },
];

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

const DURATION_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", HOUR_MS), ("d", DAY_MS)];
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", MIB),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Milliseconds of a duration: a number of seconds, or a number with `ms`, `s`, `min`, `h` or `d`.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    scaled(text, DURATION_UNITS, 1_000)
}

/// Bytes of a size: a number of bytes, or a number with `B`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB` or `TB`.
pub fn parse_size(text: &str) -> Option<u64> {
    scaled(text, SIZE_UNITS, 1)
}

fn scaled(text: &str, units: &[(&str, u64)], bare: u64) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let factor = match unit {
        "" => bare,
        unit => units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)?,
    };
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        Err(_) => {
            let value = number.parse::<f64>().ok()? * factor as f64;
            (value.is_finite() && value >= 0.0 && value < u64::MAX as f64).then_some(value.round() as u64)
        }
    }
}

/// A duration in its largest whole unit.
pub fn format_duration_ms(ms: u64) -> String {
    largest_unit(ms, &[("d", DAY_MS), ("h", HOUR_MS), ("min", 60_000), ("s", 1_000), ("ms", 1)])
}

/// A size in its largest whole binary unit.
pub fn format_size(bytes: u64) -> String {
    largest_unit(bytes, &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", MIB), ("KiB", 1 << 10), ("B", 1)])
}

fn largest_unit(value: u64, units: &[(&str, u64)]) -> String {
    if value == 0 {
        return "0".to_string();
    }
    units
        .iter()
        .find(|(_, factor)| value.is_multiple_of(*factor))
        .map_or_else(String::new, |(name, factor)| format!("{}{name}", value / factor))
}

#[cfg(test)]
mod tests {
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
