//! The annotated `evenkeel.toml`, made from the lists of keys and settings.

use super::keys::KEYS;
use evenkeel_model::{SETTINGS, Setting, SettingKind, SettingScope};
use std::fmt::Write;

/// What `evenkeel generate config` prints: every key, at its default and commented out, but for the directory.
pub fn example() -> String {
    let mut text = String::from(
        "# evenkeel.toml: what `evenkeel serve` goes by.\n\
         #\n\
         # Every key can also be given as a variable, EVENKEEL_ and the key in capitals, or as a flag, which is stronger still.\n\
         # Relative paths are beside this file. `evenkeel config check` says whether it is right, `evenkeel config show --origin`\n\
         # what holds and why. A running server reads it again at SIGHUP (systemctl reload evenkeel).\n",
    );
    for key in KEYS {
        let hash = if key.name == "data" { "" } else { "#" };
        let restart = if key.reloads { "" } else { " A change needs a restart." };
        let _ = write!(text, "\n# {}.{restart}\n{hash}{} = {}\n", key.description, key.name, key.example);
    }
    text.push_str(
        "\n# Settings: what SYSTEM.SETTINGS shows. ALTER SYSTEM SET, in the database, is stronger than what stands here; ALTER\n\
         # SYSTEM RESET gives a setting the value from here again.\n[settings]\n",
    );
    for setting in SETTINGS.iter().filter(|setting| setting.scope != SettingScope::Creation) {
        let (description, range, value) = (setting.description, setting.range(), spelled(setting));
        let _ = write!(text, "\n# {description}\n# {range}\n#{} = {value}\n", setting.name);
    }
    text
}

/// A setting's default as the file spells it.
fn spelled(setting: &Setting) -> String {
    match setting.kind {
        SettingKind::Boolean => (setting.default == "on").to_string(),
        SettingKind::Integer { .. } | SettingKind::Float { .. } => setting.default.to_string(),
        SettingKind::Duration { .. } | SettingKind::Size { .. } if setting.default == "0" => "0".to_string(),
        SettingKind::Duration { .. } | SettingKind::Size { .. } | SettingKind::Choice(_) => {
            format!("\"{}\"", setting.default)
        }
    }
}

/// The table of keys in the documentation.
#[cfg(test)]
fn documented() -> String {
    let mut table = String::from("| key | flag | variable | default | at SIGHUP | |\n|---|---|---|---|---|---|\n");
    for key in KEYS {
        let (name, description) = (key.name, key.description);
        let default = key.default.map_or_else(|| "none".to_string(), |default| format!("`{default}`"));
        let reloads = if key.reloads { "yes" } else { "no" };
        let (flag, variable) = (key.flag(), key.variable());
        let _ = writeln!(table, "| `{name}` | `{flag}` | `{variable}` | {default} | {reloads} | {description}. |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::resolve_file;
    use super::*;
    use std::path::{Path, PathBuf};

    fn resolved(text: &str) -> super::super::Resolved {
        resolve_file("/etc/evenkeel/evenkeel.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn the_example_is_a_configuration_that_changes_nothing() {
        let resolved = resolved(&example());
        assert_eq!(resolved.configuration().unwrap().data, Path::new("/var/lib/evenkeel/data"));
        for key in KEYS.iter().filter(|key| key.name != "data") {
            assert_eq!(resolved.origin(key.name), None, "{}", key.name);
        }
    }

    #[test]
    fn what_the_example_comments_out_is_right_too() {
        let example = example();
        let live = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && rest.contains(" = ") => format!("{rest}\n"),
            _ => format!("{line}\n"),
        };
        let resolved = resolved(&example.lines().map(live).collect::<String>());
        for key in KEYS {
            assert!(resolved.origin(key.name).is_some(), "{} is not in the example", key.name);
            if let Some(default) = key.default {
                assert_eq!(resolved.text(key.name).as_deref(), Some(default), "{}", key.name);
            }
        }
        for setting in SETTINGS.iter().filter(|setting| setting.scope != SettingScope::Creation) {
            let value = resolved.setting(setting);
            assert_eq!((value.origin.word(), value.text.as_str()), ("file", setting.default), "{}", setting.name);
        }
    }

    fn docs(name: &str) -> PathBuf {
        Path::new("../../docs").join(name)
    }

    fn blesses() -> bool {
        std::env::var_os("EVENKEEL_BLESS").is_some_and(|bless| bless == "1")
    }

    #[test]
    fn the_example_is_kept() {
        if blesses() {
            std::fs::write(docs("evenkeel.toml"), example()).unwrap();
        }
        let kept = std::fs::read_to_string(docs("evenkeel.toml")).unwrap_or_default();
        assert!(kept == example(), "docs/evenkeel.toml is not what the lists say; EVENKEEL_BLESS=1 writes it");
    }

    #[test]
    fn the_table_of_keys_is_kept() {
        const BEGIN: &str = "<!-- keys: made from the list of keys by EVENKEEL_BLESS=1 -->\n\n";
        const END: &str = "\n<!-- /keys -->";
        let page = std::fs::read_to_string(docs("configuration.md")).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("the mark before the table");
        let (table, after) = rest.split_once(END).expect("the mark behind the table");
        if blesses() {
            std::fs::write(docs("configuration.md"), format!("{before}{BEGIN}{}{END}{after}", documented())).unwrap();
        } else {
            assert!(table == documented(), "docs/configuration.md has another table; EVENKEEL_BLESS=1 writes it");
        }
    }
}
