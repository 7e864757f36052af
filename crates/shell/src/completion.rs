//! What Tab offers.
//!
//! Words are completed by what stands before them on the line: a backslash starts a command, a table follows FROM and its
//! like, a setting follows SET; everywhere else any word may stand. Keywords follow the case that was begun with.

use std::collections::BTreeSet;

use crate::backslash::COMMANDS;
use crate::format::Format;
use crate::language;
use crate::rows::Batch;
use crate::shell::Shell;

const COLUMNS_QUERY: &str = "SELECT table_schema, table_name, column_name FROM information_schema.columns";
const SETTINGS_QUERY: &str = "SELECT name FROM system.settings";
/// The schema whose tables are written without it.
const SCHEMA_DEFAULT: &str = "public";
/// Words after which a table is expected.
const BEFORE_TABLES: &[&str] =
    &["FROM", "JOIN", "INTO", "UPDATE", "TABLE", "QUERY", "DESCRIBE", "DESC", "COPY", "TRUNCATE", "LOCATE", "\\d"];
/// Words after which a setting is expected.
const BEFORE_SETTINGS: &[&str] = &["SET", "RESET", "SHOW"];

/// The names that a database has, for completion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Tables, with their schema where it has to be written.
    pub tables: BTreeSet<String>,
    /// Columns of any table.
    pub columns: BTreeSet<String>,
    /// System settings.
    pub settings: BTreeSet<String>,
}

/// Where the word before the cursor starts, and what it may become.
pub fn complete(names: &Names, line: &str, cursor: usize) -> (usize, Vec<String>) {
    let before = line.get(..cursor).unwrap_or(line);
    let start = before.rfind(|letter: char| !is_word(letter)).map_or(0, |at| at + 1);
    let start = if before[..start].ends_with('\\') { start - 1 } else { start };
    let word = &before[start..];
    if word.is_empty() {
        return (start, Vec::new());
    }
    let previous = before[..start].split_whitespace().next_back().unwrap_or("");
    let follows = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(previous));
    let mut candidates: Vec<String> = Vec::new();
    if word.starts_with('\\') {
        candidates.extend(COMMANDS.iter().map(|entry| entry.name.to_string()));
    } else if previous == "\\format" {
        candidates.extend(Format::ALL.map(|format| format.name().to_string()));
    } else if follows(BEFORE_TABLES) {
        candidates.extend(names.tables.iter().cloned());
    } else if follows(BEFORE_SETTINGS) {
        candidates.extend(names.settings.iter().cloned());
        candidates.extend(keywords_in_case_of(word));
    } else {
        candidates.extend(names.columns.iter().chain(&names.tables).cloned());
        candidates.extend(keywords_in_case_of(word));
    }
    candidates.retain(|candidate| starts_with(candidate, word));
    (start, candidates)
}

fn keywords_in_case_of(word: &str) -> impl Iterator<Item = String> {
    let lower = word.chars().next().is_some_and(char::is_lowercase);
    language::keywords().iter().map(move |keyword| if lower { keyword.to_lowercase() } else { keyword.to_string() })
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '.' | '?')
}

fn starts_with(candidate: &str, word: &str) -> bool {
    candidate.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

impl Shell {
    /// Asks the database for its names. What it does not tell is left out: completion never fails a session.
    pub(crate) async fn names(&mut self) -> Names {
        self.names_changed = false;
        let mut names = Names::default();
        for row in self.texts(COLUMNS_QUERY).await {
            if let [schema, table, column] = row.as_slice() {
                let table = if schema == SCHEMA_DEFAULT { table.clone() } else { format!("{schema}.{table}") };
                names.tables.insert(table);
                names.columns.insert(column.clone());
            }
        }
        names.settings = self.texts(SETTINGS_QUERY).await.into_iter().flatten().collect();
        names
    }

    async fn texts(&mut self, query: &str) -> Vec<Vec<String>> {
        let batches = self.collect(query).await.unwrap_or_default();
        let rows = batches.iter().flat_map(Batch::rows);
        rows.map(|row| row.map(|(_, value)| value.unwrap_or_default().to_string()).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let set = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
        Names {
            tables: set(&["flights", "system.shards"]),
            columns: set(&["flight", "carrier"]),
            settings: set(&["auto_rebalance"]),
        }
    }

    fn offered(line: &str) -> Vec<String> {
        complete(&names(), line, line.len()).1
    }

    #[test]
    fn what_stands_before_decides_what_is_offered() {
        assert_eq!(offered("QUERY fl"), ["flights"]);
        assert_eq!(offered("SELECT fl"), ["flight", "flights"]);
        assert_eq!(offered("from SYSTEM.s"), ["system.shards"]);
        assert_eq!(offered("ALTER SYSTEM SET auto"), ["auto_rebalance"]);
        assert_eq!(offered("\\wa"), ["\\watch"]);
        assert_eq!(offered("\\format nd"), ["ndjson"]);
        assert_eq!(offered("\\d fl"), ["flights"]);
        assert!(offered("SELECT ").is_empty());
    }

    #[test]
    fn keywords_follow_the_case_begun() {
        assert!(offered("REBA").contains(&"REBALANCE".to_string()));
        assert!(offered("reba").contains(&"rebalance".to_string()));
    }

    #[test]
    fn completion_works_within_a_line() {
        assert_eq!(complete(&names(), "SELECT car FROM flights", 10), (7, vec!["carrier".to_string()]));
        assert_eq!(complete(&names(), "é", 1).0, 0);
    }
}
