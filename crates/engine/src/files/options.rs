//! What a COPY was asked for: the format and its variations.

use evenkeel_model::{Error, Result, SqlState, did_you_mean};
use evenkeel_pql::ast::Assignment;
use sqlparser::ast as sql;
use std::path::Path;

/// Options of a COPY, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyOptions {
    pub(crate) format: FileFormat,
    pub(crate) compression: Compression,
    /// Whether the first line of csv and tsv names the columns.
    pub(crate) header: bool,
    pub(crate) delimiter: u8,
    /// What stands for NULL in csv and tsv, where it is not quoted.
    pub(crate) null: String,
    pub(crate) quote: u8,
}

impl CopyOptions {
    /// The character that quotes fields, where fields are quoted.
    pub(crate) fn quoting(&self) -> Option<u8> {
        matches!(self.format, FileFormat::Csv | FileFormat::Tsv).then_some(self.quote)
    }
}

/// How rows are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFormat {
    /// Fields between commas, quoted as in RFC 4180.
    Csv,
    /// Fields between tabs, quoted as in csv.
    Tsv,
    /// Fields between tabs, as PostgreSQL's COPY has them: for streams of clients.
    Text,
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
    Parquet,
    /// Arrow IPC: files are written, files and streams are read.
    Arrow,
}

/// How the bytes of a text file are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

const FORMATS: &str = "formats are csv, tsv, text, json, ndjson, parquet and arrow";
const OPTIONS: [&str; 6] = ["format", "compression", "header", "delimiter", "null", "quote"];

impl FileFormat {
    fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "csv" => Self::Csv,
            "tsv" | "tab" => Self::Tsv,
            "text" => Self::Text,
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Ndjson,
            "parquet" => Self::Parquet,
            "arrow" | "arrows" | "ipc" | "feather" => Self::Arrow,
            _ => return None,
        })
    }

    /// Whether fields are cut at a delimiter.
    pub(super) fn is_delimited(self) -> bool {
        matches!(self, Self::Csv | Self::Tsv | Self::Text)
    }

    fn is_text(self) -> bool {
        !matches!(self, Self::Parquet | Self::Arrow)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Text => "text",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }
}

impl Compression {
    fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "none" => Self::None,
            "gzip" | "gz" => Self::Gzip,
            "zstd" | "zst" => Self::Zstd,
            _ => return None,
        })
    }
}

/// Whether a table name in FROM is meant as a file: has one of the known extensions.
pub(crate) fn is_file_name(name: &str) -> bool {
    by_name(Path::new(name)).0.is_some()
}

/// What a file's name says about its format and compression.
fn by_name(path: &Path) -> (Option<FileFormat>, Option<Compression>) {
    let extension = |path: &Path| path.extension().map(|text| text.to_string_lossy().to_ascii_lowercase());
    let compression = extension(path).filter(|word| word != "none").and_then(|word| Compression::of_word(&word));
    let inner = if compression.is_some() { path.with_extension("") } else { path.to_path_buf() };
    let format = extension(&inner).and_then(|word| FileFormat::of_word(&word));
    (format.filter(|format| *format != FileFormat::Text), compression)
}

impl CopyOptions {
    /// Takes format and compression from the file's name, and everything from the statement's options, which win.
    ///
    /// # Errors
    /// 22023 for options that are not known or do not fit the format.
    pub(crate) fn new(path: Option<&Path>, options: &[Assignment]) -> Result<Self> {
        let (mut format, mut compression) = path.map_or((None, None), by_name);
        for option in options.iter().filter(|option| matches!(name(option).as_str(), "format" | "compression")) {
            let word = text(option)?.to_ascii_lowercase();
            if name(option) == "format" {
                format = Some(FileFormat::of_word(&word).ok_or_else(|| unknown_format(&word))?);
            } else {
                compression = Some(Compression::of_word(&word).ok_or_else(|| {
                    invalid(format!("compression \"{word}\" is not known")).with_hint("none, gzip and zstd are")
                })?);
            }
        }
        let format = format.ok_or_else(|| undetected(path))?;
        let compression = compression.unwrap_or(Compression::None);
        if !format.is_text() && compression != Compression::None {
            return Err(invalid(format!("a {} file is not compressed as a whole", format.name()))
                .with_hint("its columns are compressed inside: name it without .gz or .zst"));
        }
        let mut checked = Self::of_format(format, compression);
        options.iter().try_for_each(|option| checked.set(option))?;
        checked.check()?;
        Ok(checked)
    }

    /// Of rows that a client sends or takes: PostgreSQL's text format where nothing else is said, and no header.
    ///
    /// # Errors
    /// As [`CopyOptions::new`]; 0A000 for formats that are files.
    pub(crate) fn of_stream(options: &[Assignment]) -> Result<Self> {
        let said = options.iter().any(|option| name(option) == "format");
        let mut checked =
            if said { Self::new(None, options)? } else { Self::of_format(FileFormat::Text, Compression::None) };
        if !checked.format.is_text() || checked.compression != Compression::None {
            return Err(Error::unsupported("rows are streamed as text, csv, tsv, json or ndjson")
                .with_hint("COPY … TO 'file' writes the others"));
        }
        checked.header = false;
        options.iter().try_for_each(|option| checked.set(option))?;
        checked.check()?;
        Ok(checked)
    }

    pub(super) fn of_format(format: FileFormat, compression: Compression) -> Self {
        let tabs = matches!(format, FileFormat::Tsv | FileFormat::Text);
        Self {
            format,
            compression,
            header: format.is_delimited(),
            delimiter: if tabs { b'\t' } else { b',' },
            null: if tabs { "\\N".to_string() } else { String::new() },
            quote: b'"',
        }
    }

    fn set(&mut self, option: &Assignment) -> Result<()> {
        let name = name(option);
        match name.as_str() {
            "format" | "compression" => return Ok(()),
            // What PostgreSQL's clients say of its storage and of the text: rows need no freezing here, and text is UTF-8.
            "freeze" => return boolean(option).map(|_| ()),
            "encoding" if text(option)?.to_ascii_lowercase().replace('-', "") == "utf8" => return Ok(()),
            "encoding" => return Err(invalid("files are in UTF-8").with_hint("convert it first, with iconv say")),
            known if !OPTIONS.contains(&known) => return Err(unknown_option(&name)),
            _ if !self.format.is_delimited() => {
                let message = format!("option \"{name}\" means nothing in format {}", self.format.name());
                return Err(invalid(message).with_hint("it belongs to csv and tsv"));
            }
            "header" => self.header = boolean(option)?,
            "delimiter" => self.delimiter = byte(option)?,
            "quote" => self.quote = byte(option)?,
            _ => self.null = text(option)?,
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.format.is_delimited() && self.delimiter == self.quote {
            return Err(invalid("delimiter and quote are the same character"));
        }
        if self.null.bytes().any(|byte| byte == self.delimiter || byte == self.quote || matches!(byte, b'\n' | b'\r')) {
            return Err(invalid("null must not contain the delimiter, the quote or a line break"));
        }
        Ok(())
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::InvalidParameterValue, message)
}

fn unknown_option(name: &str) -> Error {
    let error = invalid(format!("option \"{name}\" is not known to COPY"));
    match did_you_mean(name, OPTIONS) {
        Some(near) => error.with_hint(format!("did you mean {near}? there are: {}", OPTIONS.join(", "))),
        None => error.with_hint(format!("there are: {}", OPTIONS.join(", "))),
    }
}

fn unknown_format(word: &str) -> Error {
    let error = invalid(format!("format \"{word}\" is not known"));
    match did_you_mean(word, ["csv", "tsv", "text", "json", "ndjson", "parquet", "arrow"]) {
        Some(near) => error.with_hint(format!("did you mean {near}? {FORMATS}")),
        None => error.with_hint(FORMATS),
    }
}

fn undetected(path: Option<&Path>) -> Error {
    let message = match path {
        Some(path) => format!("the name \"{}\" does not say which format the file has", path.display()),
        None => "COPY without a file needs a format".to_string(),
    };
    invalid(message).with_hint(format!("say it: WITH (format csv); {FORMATS}"))
}

fn name(option: &Assignment) -> String {
    option.name.value.to_ascii_lowercase()
}

/// The text of an option's value: a literal, or a bare word.
fn text(option: &Assignment) -> Result<String> {
    let not_a_value = || invalid(format!("option \"{}\" needs a literal or a word", name(option)));
    match &option.value {
        sql::Expr::Identifier(word) => Ok(word.value.clone()),
        sql::Expr::Value(value) => match &value.value {
            sql::Value::Number(digits, _) => Ok(digits.clone()),
            sql::Value::Boolean(truth) => Ok(truth.to_string()),
            sql::Value::SingleQuotedString(text)
            | sql::Value::DoubleQuotedString(text)
            | sql::Value::EscapedStringLiteral(text) => Ok(text.clone()),
            _ => Err(not_a_value()),
        },
        _ => Err(not_a_value()),
    }
}

fn boolean(option: &Assignment) -> Result<bool> {
    let text = text(option)?.to_ascii_lowercase();
    match text.as_str() {
        "true" | "t" | "on" | "yes" | "1" => Ok(true),
        "false" | "f" | "off" | "no" | "0" => Ok(false),
        _ => Err(invalid(format!("option \"{}\" is true or false, not \"{text}\"", name(option)))),
    }
}

/// A single ASCII character; `\t` and `tab` are the tab.
fn byte(option: &Assignment) -> Result<u8> {
    let text = text(option)?;
    match text.as_bytes() {
        b"\\t" | b"tab" => Ok(b'\t'),
        [b'\n' | b'\r' | 0] => Err(invalid(format!("option \"{}\" cannot be a line break", name(option)))),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(invalid(format!("option \"{}\" is one ASCII character, not \"{text}\"", name(option)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(name: &str, value: &str) -> Assignment {
        let value = sql::Value::SingleQuotedString(value.to_string()).into();
        Assignment { name: sql::Ident::new(name), value: sql::Expr::Value(value) }
    }

    #[test]
    fn names_say_format_and_compression() {
        let of = |name: &str| CopyOptions::new(Some(Path::new(name)), &[]).map(|o| (o.format, o.compression));
        assert_eq!(of("a.csv").unwrap(), (FileFormat::Csv, Compression::None));
        assert_eq!(of("a.b/C.TSV.GZ").unwrap(), (FileFormat::Tsv, Compression::Gzip));
        assert_eq!(of("a.jsonl.zst").unwrap(), (FileFormat::Ndjson, Compression::Zstd));
        assert_eq!(of("a.parquet.gz").unwrap_err().state, SqlState::InvalidParameterValue);
        assert!(of("a.txt").unwrap_err().hint.unwrap().contains("parquet"));
        assert!(
            is_file_name("a.feather") && is_file_name("x.csv.gz") && !is_file_name("flights") && !is_file_name("csv")
        );
        assert!(!is_file_name("flights.gz"));
    }

    #[test]
    fn options_are_checked() {
        let of = |options: &[Assignment]| CopyOptions::new(Some(Path::new("x.csv")), options);
        let options = of(&[option("delimiter", "\\t"), option("header", "off"), option("null", "NA")]).unwrap();
        assert_eq!((options.delimiter, options.header, options.null.as_str()), (b'\t', false, "NA"));
        assert!(of(&[option("delimeter", ";")]).unwrap_err().hint.unwrap().starts_with("did you mean delimiter?"));
        assert_eq!(of(&[option("format", "ndjson")]).unwrap().format, FileFormat::Ndjson);
        for bad in [option("delimiter", "ab"), option("quote", ","), option("format", "xml"), option("header", "maybe")]
        {
            assert_eq!(of(&[bad]).unwrap_err().state, SqlState::InvalidParameterValue);
        }
        assert!(of(&[option("format", "json"), option("header", "on")]).is_err());
    }
}
