//! The one list of keys, from which flags, variables, the file's keys, their documentation and the example are made.

use crate::logs;
use evenkeel_model::Setting;
use std::net::SocketAddr;

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file or directory; in a file, a relative one is beside that file.
    Path,
    /// How many shards a new database gets.
    Shards,
    /// An IP address and a port.
    Address,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// What is logged.
    Filter,
    /// Where an OpenTelemetry collector takes OTLP over HTTP.
    Collector,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it stands in the file. The variable is the same in capitals.
    pub name: &'static str,
    /// The same with `-` for `_`, as the flag has it.
    pub long: &'static str,
    pub kind: Kind,
    /// What a flag calls its value.
    pub value_name: &'static str,
    /// As text; without one the key has no value unless it is given one.
    pub default: Option<&'static str>,
    /// Whether SIGHUP is enough for a change to take effect.
    pub reloads: bool,
    /// One line, as a flag's help has it.
    pub description: &'static str,
    /// A value for the annotated example, in the file's spelling.
    pub example: &'static str,
}

/// Begins every variable.
pub const PREFIX: &str = "EVENKEEL_";

/// Names the file.
pub const CONFIG_VARIABLE: &str = "EVENKEEL_CONFIG";

/// The first admin's password, which stands in no file and on no command line.
pub const PASSWORD_VARIABLE: &str = "EVENKEEL_ADMIN_PASSWORD";

/// Variables that only Evenkeel's tests read.
pub const TEST_VARIABLES: &[&str] =
    &["EVENKEEL_BLESS", "EVENKEEL_CRASHES", "EVENKEEL_MISTAKE", "EVENKEEL_SEED", "EVENKEEL_SEEDS"];

/// Every key, in the order of help and documentation.
pub const KEYS: &[Key] = &[
    Key {
        name: "data",
        long: "data",
        kind: Kind::Path,
        value_name: "DIR",
        default: None,
        reloads: false,
        description: "The database's directory, made where there is none",
        example: "\"/var/lib/evenkeel/data\"",
    },
    Key {
        name: "shards",
        long: "shards",
        kind: Kind::Shards,
        value_name: "N",
        default: Some("4"),
        reloads: false,
        description: "Shards of a new database: 1 to 1024",
        example: "4",
    },
    Key {
        name: "listen",
        long: "listen",
        kind: Kind::Address,
        value_name: "ADDRESS",
        default: Some("127.0.0.1:5433"),
        reloads: false,
        description: "Where clients of PostgreSQL's protocol connect; port 0 takes any that is free",
        example: "\"127.0.0.1:5433\"",
    },
    Key {
        name: "http",
        long: "http",
        kind: Kind::Address,
        value_name: "ADDRESS",
        default: None,
        reloads: false,
        description: "Where REST, metrics and readiness are served; nowhere unless said",
        example: "\"127.0.0.1:8080\"",
    },
    Key {
        name: "auth",
        long: "auth",
        kind: Kind::Word(&["scram", "trust"]),
        value_name: "HOW",
        default: Some("scram"),
        reloads: false,
        description: "Who may connect: users with passwords (scram), or everybody on this machine (trust)",
        example: "\"scram\"",
    },
    Key {
        name: "tls_cert",
        long: "tls-cert",
        kind: Kind::Path,
        value_name: "FILE",
        default: None,
        reloads: true,
        description: "A certificate in PEM, for encrypted connections",
        example: "\"/etc/evenkeel/server.crt\"",
    },
    Key {
        name: "tls_key",
        long: "tls-key",
        kind: Kind::Path,
        value_name: "FILE",
        default: None,
        reloads: true,
        description: "Its private key in PEM",
        example: "\"/etc/evenkeel/server.key\"",
    },
    Key {
        name: "tls_self_signed",
        long: "tls-self-signed",
        kind: Kind::Switch,
        value_name: "BOOL",
        default: Some("false"),
        reloads: false,
        description: "Encrypt with a certificate made at the start, that nobody vouches for: for trying things out",
        example: "false",
    },
    Key {
        name: "tls_only",
        long: "tls-only",
        kind: Kind::Switch,
        value_name: "BOOL",
        default: Some("false"),
        reloads: false,
        description: "Refuse connections that are not encrypted",
        example: "false",
    },
    Key {
        name: "log_level",
        long: "log-level",
        kind: Kind::Filter,
        value_name: "FILTER",
        default: Some("info"),
        reloads: true,
        description: "What is logged: off, error, warn, info, debug or trace, also by target: info,evenkeel_wire=debug",
        example: "\"info\"",
    },
    Key {
        name: "log_format",
        long: "log-format",
        kind: Kind::Word(&["text", "json"]),
        value_name: "FORMAT",
        default: Some("text"),
        reloads: false,
        description: "How the log on standard error is written: lines for people (text), or an object a line (json)",
        example: "\"text\"",
    },
    Key {
        name: "otlp_endpoint",
        long: "otlp-endpoint",
        kind: Kind::Collector,
        value_name: "URL",
        default: None,
        reloads: false,
        description: "Where traces go, as OTLP over HTTP; nowhere unless said",
        example: "\"http://127.0.0.1:4318\"",
    },
];

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Key {
    /// With its dashes.
    pub fn flag(&self) -> String {
        format!("--{}", self.long)
    }

    pub fn variable(&self) -> String {
        variable(self.name)
    }

    /// The canonical text of a value.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn check(&self, text: &str) -> Result<String, (String, String)> {
        let wrong = |hint: String| (format!("\"{text}\" is not a value for {}", self.name), hint);
        match self.kind {
            Kind::Path => Ok(text.to_string()),
            Kind::Shards => {
                let checked = Setting::find("shards").and_then(|setting| setting.check(text));
                checked.map_err(|error| wrong(error.hint.unwrap_or_default()))
            }
            Kind::Address => text
                .parse::<SocketAddr>()
                .map(|address| address.to_string())
                .map_err(|_| wrong(format!("it takes an IP address and a port, such as {}", self.example))),
            Kind::Word(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                Some(word) => Ok((*word).to_string()),
                None => Err(wrong(format!("it takes {}", words.join(" or ")))),
            },
            Kind::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "on" => Ok("true".to_string()),
                "false" | "off" => Ok("false".to_string()),
                _ => Err(wrong("it takes true or false".to_string())),
            },
            Kind::Filter => match logs::filter(text) {
                Ok(_) => Ok(text.to_string()),
                Err(hint) => Err(wrong(hint)),
            },
            Kind::Collector => check_collector(text).map_err(wrong),
        }
    }
}

/// The variable of a key or a setting.
pub fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase())
}

/// # Errors
/// What would be right.
fn check_collector(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix("http://") else {
        return Err("it takes http://HOST:PORT; a collector on this machine can pass traces on encrypted".to_string());
    };
    let host = rest.trim_end_matches('/');
    if host.contains('@') {
        return Err("credentials stand in OTEL_EXPORTER_OTLP_HEADERS, not in the address".to_string());
    }
    if host.is_empty() || host.contains(|c: char| c == '/' || c == '?' || c == '#' || c.is_whitespace()) {
        return Err("it takes http://HOST:PORT; the path, /v1/traces, is added".to_string());
    }
    Ok(format!("http://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_model::{SETTINGS, SettingScope};

    #[test]
    fn keys_and_settings_have_names_of_their_own() {
        for setting in SETTINGS.iter().filter(|setting| setting.scope != SettingScope::Creation) {
            assert!(find(setting.name).is_none(), "{} is both, and has one variable", setting.name);
        }
    }

    #[test]
    fn defaults_and_examples_are_values() {
        for key in KEYS {
            if let Some(default) = key.default {
                assert_eq!(key.check(default).as_deref(), Ok(default), "{}", key.name);
            }
            assert!(key.check(key.example.trim_matches('"')).is_ok(), "{}", key.name);
        }
    }

    #[test]
    fn a_collector_is_an_address_without_credentials() {
        let check = |text| check_collector(text);
        assert_eq!(check("http://127.0.0.1:4318/"), Ok("http://127.0.0.1:4318".to_string()));
        for wrong in
            ["https://a:1", "127.0.0.1:4318", "http://", "http://u:p@a:1", "http://a:1/v1/traces", "http://a b"]
        {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
