//! Settings of PostgreSQL's that its clients set and ask for, and that have no effect here.
//!
//! Values that would have to change what is answered are refused: a client that asks for another encoding or another
//! style of dates must not get UTF-8 and ISO in silence.

use evenkeel_model::{Error, Result, SqlState};

/// A setting: its name, its value where nobody set another, and the values that it may have; none means any.
struct Foreign {
    name: &'static str,
    default: &'static str,
    only: &'static [&'static str],
}

const fn any(name: &'static str, default: &'static str) -> Foreign {
    Foreign { name, default, only: &[] }
}

const fn only(name: &'static str, default: &'static str, only: &'static [&'static str]) -> Foreign {
    Foreign { name, default, only }
}

const SWITCHED_ON: &[&str] = &["on", "true", "1", "yes"];

const FOREIGN: &[Foreign] = &[
    any("application_name", ""),
    any("backslash_quote", "safe_encoding"),
    only("bytea_output", "hex", &["hex"]),
    any("check_function_bodies", "on"),
    only("client_encoding", "UTF8", &["utf8", "utf-8", "unicode"]),
    any("client_min_messages", "notice"),
    only("datestyle", "ISO, MDY", &["iso", "iso, mdy", "iso,mdy", "iso, ymd", "iso, dmy"]),
    any("default_table_access_method", "heap"),
    any("default_tablespace", ""),
    any("default_transaction_isolation", "repeatable read"),
    any("default_transaction_read_only", "off"),
    any("enable_seqscan", "on"),
    any("escape_string_warning", "on"),
    any("extra_float_digits", "1"),
    only("integer_datetimes", "on", SWITCHED_ON),
    only("intervalstyle", "postgres", &["postgres"]),
    any("jit", "off"),
    any("lc_collate", "C"),
    any("lc_ctype", "C"),
    any("lc_messages", "C"),
    any("lc_monetary", "C"),
    any("lc_numeric", "C"),
    any("lc_time", "C"),
    any("lock_timeout", "0"),
    any("max_identifier_length", "63"),
    any("max_index_keys", "32"),
    any("max_parallel_workers_per_gather", "2"),
    any("quote_all_identifiers", "off"),
    any("row_security", "off"),
    only(
        "search_path",
        "public",
        &["public", "\"$user\", public", "\"$user\",public", "pg_catalog", "public, pg_catalog", ""],
    ),
    only("server_encoding", "UTF8", &["utf8"]),
    any("server_version_num", "150000"),
    any("session_replication_role", "origin"),
    only("standard_conforming_strings", "on", SWITCHED_ON),
    any("synchronize_seqscans", "on"),
    any("tcp_keepalives_idle", "0"),
    only("timezone", "UTC", &["utc", "gmt", "etc/utc", "z", "0", "+00", "+00:00", "default", "local"]),
    any("transaction_isolation", "repeatable read"),
    any("transaction_read_only", "off"),
    any("xmloption", "content"),
];

fn find(name: &str) -> Option<&'static Foreign> {
    FOREIGN.iter().find(|foreign| foreign.name == name)
}

/// Every such setting, with the value that it has where nobody set another.
pub(crate) fn settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    FOREIGN.iter().map(|foreign| (foreign.name, foreign.default))
}

/// Whether a setting is one of PostgreSQL's that clients may set here.
pub(crate) fn is_known(name: &str) -> bool {
    find(name).is_some()
}

/// The value of a setting that nobody has set.
pub(crate) fn default_value(name: &str) -> Option<&'static str> {
    find(name).map(|foreign| foreign.default)
}

/// # Errors
/// 0A000 for a value that would have to change what is answered.
pub(crate) fn check(name: &str, value: &str) -> Result<()> {
    let Some(foreign) = find(name) else { return Ok(()) };
    let plain = value.trim().to_ascii_lowercase();
    if foreign.only.is_empty() || foreign.only.contains(&plain.as_str()) {
        return Ok(());
    }
    Err(Error::new(SqlState::FeatureNotSupported, format!("{name} cannot be \"{value}\""))
        .with_hint(format!("it is {} here, for every session", foreign.default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_defaults_allowed() {
        assert!(FOREIGN.is_sorted_by_key(|foreign| foreign.name));
        for foreign in FOREIGN {
            assert!(check(foreign.name, foreign.default).is_ok(), "{}", foreign.name);
        }
        assert!(check("client_encoding", "LATIN1").is_err());
        assert!(check("timezone", "Europe/Berlin").is_err());
    }
}
