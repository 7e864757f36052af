//! `evenkeel.toml`: text to values with their places.

use super::problem::{Origin, Problem};
use toml::de::{DeTable, DeValue};

/// The table of the file that holds the settings of SYSTEM.SETTINGS.
pub const SETTINGS_TABLE: &str = "settings";

/// A value as the file spells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Text(String),
    /// Decimal digits.
    Integer(String),
    Float(String),
    Boolean(bool),
    /// A kind of value that no key takes, by its name.
    Other(&'static str),
}

impl Scalar {
    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Other(kind) => kind,
        }
    }
}

/// A key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub value: Scalar,
    /// The key's place.
    pub at: Origin,
    /// Whether it stands in the table of settings.
    pub in_settings: bool,
}

/// Every key of a file, in the order in which they stand there. `name` is what the file is called.
///
/// # Errors
/// What is no TOML, with its place.
pub fn entries(name: &str, text: &str) -> Result<Vec<Entry>, Problem> {
    let origin = |offset: usize| place(name, text, offset);
    let table = DeTable::parse(text).map_err(|error| {
        let at = origin(error.span().map_or(0, |span| span.start));
        Problem::new(Some(at), error.message().trim_end().replace('\n', ", "))
            .with_hint("a line is key = value, text in double quotes")
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        match value.get_ref() {
            DeValue::Table(settings) if key.get_ref() == SETTINGS_TABLE => {
                let inner = settings.iter().map(|(key, value)| (key, value, true));
                entries.extend(inner);
            }
            _ => entries.push((key, value, false)),
        }
    }
    entries.sort_by_key(|(key, _, _)| key.span().start);
    let entries = entries.into_iter().map(|(key, value, in_settings)| Entry {
        name: key.get_ref().to_string(),
        value: scalar(value.get_ref()),
        at: origin(key.span().start),
        in_settings,
    });
    Ok(entries.collect())
}

fn scalar(value: &DeValue<'_>) -> Scalar {
    match value {
        DeValue::String(text) => Scalar::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Scalar::Integer(number.to_string()),
            Err(_) => Scalar::Other("a number of more than 64 bits"),
        },
        DeValue::Float(number) => Scalar::Float(number.as_str().to_string()),
        DeValue::Boolean(on) => Scalar::Boolean(*on),
        DeValue::Datetime(_) => Scalar::Other("a time"),
        DeValue::Array(_) => Scalar::Other("a list"),
        DeValue::Table(_) => Scalar::Other("a table"),
    }
}

/// Line and column of a byte of the text.
fn place(name: &str, text: &str, offset: usize) -> Origin {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Origin::File {
        name: name.to_string(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}
