//! What goes wrong, how often, and under which settings: all of it from the seed.

use super::dice::Dice;
use evenkeel_model::{Setting, Settings};

/// How often things go wrong, each so often in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Nothing goes wrong at all: then nobody may notice anything either.
    pub is_fair: bool,
    /// A command to a shard fails, though perhaps it was carried out.
    pub lost_commands: u64,
    /// A commit of the meta store fails, though perhaps it has happened.
    pub lost_commits: u64,
    /// The process ends at a commit of the meta store, before it or after.
    pub crashes_at_commit: u64,
    /// The process ends at a call to a shard, before it or after.
    pub crashes_at_call: u64,
    /// The process ends between any two steps, so often in a million.
    pub crashes: u64,
    /// An old command arrives again, so often in a thousand milliseconds.
    pub late_commands: u64,
    /// The meta store goes away for a while, so often in a thousand milliseconds.
    pub outages: u64,
    /// A target's disk is full.
    pub full_disk: u64,
    /// A call takes a hundred times as long.
    pub slow_calls: u64,
}

impl Weather {
    pub fn of(dice: &Dice) -> Self {
        if dice.chance(200) {
            return Self { is_fair: true, ..Self::default() };
        }
        if dice.chance(250) {
            // A storm: no migration gets to its end without a crash somewhere between two of its steps.
            return Self { crashes_at_call: 50, crashes_at_commit: 20, late_commands: 10, ..Self::default() };
        }
        let sometimes = |most: u64| if dice.chance(500) { dice.between(1, most) } else { 0 };
        Self {
            is_fair: false,
            lost_commands: sometimes(25),
            lost_commits: sometimes(60),
            crashes_at_commit: sometimes(40),
            crashes_at_call: sometimes(10),
            crashes: sometimes(600),
            late_commands: sometimes(30),
            outages: sometimes(4),
            full_disk: sometimes(12),
            slow_calls: sometimes(30),
        }
    }

    pub const CLEAR: Weather = Weather {
        is_fair: false,
        lost_commands: 0,
        lost_commits: 0,
        crashes_at_commit: 0,
        crashes_at_call: 0,
        crashes: 0,
        late_commands: 0,
        outages: 0,
        full_disk: 0,
        slow_calls: 0,
    };
}

fn set(settings: &mut Settings, name: &str, value: &str) {
    let setting = Setting::find(name).expect("a setting of this name");
    settings.set(setting, value.to_string());
}

/// The settings that a run begins with.
pub fn settings(dice: &Dice, is_fair: bool) -> Settings {
    let mut settings = Settings::default();
    let mut put = |name, value| set(&mut settings, name, value);
    let on = |often| if dice.chance(often) { "on" } else { "off" };
    put("auto_rebalance", on(500));
    put("auto_split", on(400));
    put("auto_merge", on(250));
    put("rebalance_check_interval", "500ms");
    put("load_collection_interval", "100ms");
    put("hot_check_interval", "50ms");
    put("hot_max_qps", *dice.pick(&["30", "80", "200"]));
    put("split_cooldown", "1s");
    put("stuck_migration_timeout", if is_fair { "10min" } else { "1s" });
    put("max_concurrent_migrations", *dice.pick(&["1", "2", "3", "8"]));
    put("max_migrations_per_hour", *dice.pick(&["0", "0", "1000", "12"]));
    put("migration_batch_rows", *dice.pick(&["2", "8", "64"]));
    put("migration_rate", *dice.pick(&["0", "0", "60", "400"]));
    put("migration_throttle", on(300));
    // In fair weather no cutover is too slow.
    put("cutover_budget", if is_fair { "5s" } else { *dice.pick(&["2ms", "5ms", "20ms", "200ms"]) });
    settings
}

/// Somebody changes one of them.
pub fn change(settings: &mut Settings, dice: &Dice) -> String {
    let (name, values): (&str, &[&str]) = *dice.pick(&[
        ("auto_rebalance", &["on", "off"][..]),
        ("auto_split", &["on", "off"]),
        ("auto_merge", &["on", "off"]),
        ("max_concurrent_migrations", &["1", "2", "4"]),
        ("max_migrations_per_hour", &["0", "3", "1000"]),
        ("migration_batch_rows", &["1", "4", "32"]),
        ("migration_rate", &["0", "20", "500"]),
        ("migration_bandwidth", &["0", "100000"]),
    ]);
    let value = *dice.pick(values);
    set(settings, name, value);
    format!("{name} = {value}")
}

/// What lets everything come to its end.
pub fn settle(settings: &mut Settings) {
    let values = [
        ("auto_rebalance", "off"),
        ("auto_split", "off"),
        ("auto_merge", "off"),
        ("max_concurrent_migrations", "4"),
        ("max_migrations_per_hour", "0"),
        ("migration_batch_rows", "64"),
        ("migration_rate", "0"),
        ("migration_bandwidth", "0"),
        ("cutover_budget", "5s"),
    ];
    values.into_iter().for_each(|(name, value)| set(settings, name, value));
}
