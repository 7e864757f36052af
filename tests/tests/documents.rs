//! The documentation says what is so: reference pages are made from the registries, links lead somewhere, examples run.
//!
//! ```text
//! model::SETTINGS ───────────▶ docs/settings.md
//! catalog::computed_tables() ▶ docs/system-tables.md      EVENKEEL_BLESS=1 writes the two, otherwise they are compared
//! ```
//!
//! Every block marked `pql` is an example: those of one page are run in order against a new database and none may fail.
//! A file that an example names lies in a temporary directory, and `@moment` is the time at which the page began.

use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use evenkeel_catalog::{PG_CATALOG, SystemTable, computed_tables};
use evenkeel_engine::{Database, Event, OpenOptions, Session};
use evenkeel_model::{SETTINGS, SqlState};
use futures::StreamExt;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Parameters that the examples use, beside `@moment`.
const VARIABLES: &[(&str, &str)] = &[("id", "3"), ("port", "Bergen")];

/// Extensions by which an example's file is known.
const FILES: &[&str] = &[".csv", ".csv.gz", ".tsv", ".json", ".ndjson", ".ndjson.zst", ".parquet", ".arrow"];

fn root() -> &'static Path {
    Path::new("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page: those of the book, and those that stand in the repository's root.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    let mut directories = vec![root().join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("docs can be listed") {
            let path = entry.expect("docs can be listed").path();
            match path.extension() {
                // Where mdBook puts its output.
                _ if path.ends_with("docs/book") => {}
                _ if path.is_dir() => directories.push(path),
                Some(extension) if extension == "md" => pages.push(path),
                _ => {}
            }
        }
    }
    pages.sort();
    pages
}

fn shown(page: &Path) -> String {
    page.strip_prefix(root()).unwrap_or(page).display().to_string()
}

/// A page's text without code blocks, and its code blocks with what stands behind their opening fence.
fn parts(text: &str) -> (String, Vec<(String, String)>) {
    let (mut prose, mut blocks) = (String::new(), Vec::new());
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.trim().to_string(), String::new())),
            (None, None) => prose.extend([line, "\n"]),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, code)), None) => code.extend([line, "\n"]),
        }
    }
    assert!(open.is_none(), "a code block is not closed");
    (prose, blocks)
}

/// Prose without what stands between backticks.
fn without_code(prose: &str) -> String {
    prose.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// What stands between backticks.
fn inline_code(prose: &str) -> impl Iterator<Item = &str> {
    prose.split('`').skip(1).step_by(2)
}

/// What `unknown` finds in the code within each page's prose, with the page.
fn named(unknown: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    let mut found = Vec::new();
    for page in pages() {
        let (prose, _) = parts(&read(&page));
        let names = inline_code(&prose).flat_map(&unknown);
        found.extend(names.map(|name| format!("{}: {name}", shown(&page))));
    }
    found
}

/// A cell of a generated table, which `|` would end.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// `docs/settings.md`.
fn settings_page() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         <!-- Made from the list of settings by tests/tests/documents.rs; EVENKEEL_BLESS=1 writes it anew. -->\n\n\
         `ALTER SYSTEM SET name = value, …` sets a setting for everybody, at once and for good: every value is checked \
         before any is set. `ALTER SYSTEM RESET name` gives it back the value of the \
         [configuration](configuration.md#settings), or its default. A setting whose scope is *session* can \
         also be set with `SET name = value` for one session, which then no longer follows the system's. A setting whose \
         scope is *creation* is fixed when the database is made: the number of shards with `--shards`. \
         `SHOW name` shows one, `SYSTEM.SETTINGS` all, with where each value comes from.\n\n\
         A duration is a number of seconds (`statement_timeout`: of milliseconds), or text with `ms`, `s`, `min`, `h` or `d`: `90`, `'90s'`, `'1.5min'`. A size is \
         a number of bytes, or text with `B`, `KiB`, `MiB`, `GiB`, `TiB` (or `kB`, `MB`, `GB`, `TB`): `'64MiB'`. A switch \
         is `on` or `off`, or `true` or `false`. A part of a whole, and a deviation from a fair share, is a part of 1: \
         `0.15`. A word needs no quotes: `adaptive`.\n\n\
         | setting | default | range | scope | what it does |\n|---|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let (name, default, scope) = (setting.name, setting.default, setting.scope.name());
        let (range, description) = (cell(&setting.range()), cell(setting.description));
        let _ = writeln!(page, "| `{name}` | {default} | {range} | {scope} | {description} |");
    }
    page
}

fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Int64 => "bigint",
        DataType::Float64 => "double precision",
        DataType::Boolean => "boolean",
        DataType::Utf8 => "text",
        DataType::Timestamp(..) => "timestamptz",
        other => panic!("{other} has no name here yet"),
    }
}

/// How a computed table is called in text.
fn full_name(table: &SystemTable) -> String {
    match table.schema_name {
        evenkeel_catalog::SYSTEM => format!("SYSTEM.{}", table.name.to_uppercase()),
        schema => format!("{schema}.{}", table.name),
    }
}

/// `docs/system-tables.md`.
fn system_tables_page() -> String {
    let mut page = String::from(
        "# SYSTEM tables\n\n\
         <!-- Made from the catalog's tables by tests/tests/documents.rs; EVENKEEL_BLESS=1 writes it anew. -->\n\n\
         What the database knows of itself is in tables like any others: they can be filtered, joined, aggregated, and \
         repeated with `\\watch`. They are computed when they are read, all of one statement from one snapshot, and can only \
         be read. Names are case-insensitive. `information_schema` holds the tables of the SQL standard, for programs that \
         look there; the system catalogs of PostgreSQL, in `pg_catalog`, stand [at the end](#pg_catalog).\n\n| table | rows |\n|---|---|\n",
    );
    let (catalogs, tables): (Vec<_>, Vec<_>) = computed_tables().partition(|table| table.schema_name == PG_CATALOG);
    for table in &tables {
        let name = full_name(table);
        let anchor = slug(&name);
        let _ = writeln!(page, "| [`{name}`](#{anchor}) | {} |", cell(table.doc));
    }
    for table in &tables {
        let _ = write!(page, "\n## {}\n\n{}\n\n", full_name(table), table.doc);
        page.push_str("| column | type | meaning |\n|---|---|---|\n");
        for column in (table.columns)() {
            let null = if column.nullable { ", may be NULL" } else { "" };
            let data_type = type_name(&column.data_type);
            let _ = writeln!(page, "| `{}` | {data_type}{null} | {} |", column.name, cell(column.doc));
        }
    }
    page.push_str(
        "\n## pg_catalog\n\nFor programs that know PostgreSQL: [what they find](serving.md#what-clients-find-in-pg_catalog). \
         Columns have the names and meanings of PostgreSQL 15.\n\n| table | rows |\n|---|---|\n",
    );
    for table in catalogs {
        let _ = writeln!(page, "| `{}` | {} |", table.name, cell(table.doc));
    }
    page
}

/// Compares a generated page with its file, or writes it.
fn compare(name: &str, generated: &str) {
    let path = root().join("docs").join(name);
    if std::env::var_os("EVENKEEL_BLESS").is_some_and(|bless| bless == "1") {
        fs::write(&path, generated).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    if written != generated {
        let different = generated.lines().zip(written.lines()).find(|(new, old)| new != old);
        panic!("docs/{name} is out of date (EVENKEEL_BLESS=1 writes it); the first difference: {different:#?}");
    }
}

/// The anchor of a heading, as mdBook and GitHub make it.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let (prose, _) = parts(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| slug(line.trim_start_matches('#').trim())).collect()
}

/// Where a page's links lead.
fn links(text: &str) -> Vec<String> {
    let prose = without_code(&parts(text).0);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_string()).collect()
}

/// Puts the files that an example names into a directory.
fn placed(example: &str, directory: &Path) -> String {
    let parts = example.split('\'').enumerate().map(|(at, part)| {
        let file = at % 2 == 1 && !part.contains('/') && FILES.iter().any(|extension| part.ends_with(extension));
        if file { directory.join(part).display().to_string() } else { part.to_string() }
    });
    parts.collect::<Vec<_>>().join("'")
}

/// Runs a statement; its last value of the first column as text.
async fn run(session: &Session, statement: &str, variables: &[(String, String)]) -> Result<Option<String>, String> {
    let mut answer = session.execute(statement, variables);
    let (mut value, mut complete) = (None, false);
    while let Some(event) = answer.next().await {
        match event.map_err(|error| evenkeel_pql::render(&error, statement, None))? {
            Event::Batch(batch) if batch.num_rows() > 0 => {
                value = array_value_to_string(batch.column(0), batch.num_rows() - 1).ok();
            }
            Event::Complete(_) => complete = true,
            _ => {}
        }
    }
    if complete { Ok(value) } else { Err(format!("{statement}\nended without an answer")) }
}

/// Runs the examples of a page; returns how many there were.
async fn run_examples(page: &Path) -> Result<usize, String> {
    let (_, blocks) = parts(&read(page));
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let options = OpenOptions { shards: Some(2), ..OpenOptions::default() };
    let database = Database::open(&directory.path().join("database"), &options).map_err(|error| error.message)?;
    let session = Session::new(&database, "documents");
    let moment = run(&session, "SELECT now()", &[]).await?.unwrap_or_default();
    let mut variables: Vec<_> = VARIABLES.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    variables.push(("moment".to_string(), moment));
    let mut examples = 0;
    for (_, code) in blocks.iter().filter(|(language, _)| language == "pql") {
        for span in evenkeel_pql::split(code).all() {
            run(&session, &placed(&code[span.clone()], directory.path()), &variables).await?;
            examples += 1;
        }
    }
    drop(session);
    database.close();
    Ok(examples)
}

#[test]
fn settings_are_documented_as_they_are() {
    compare("settings.md", &settings_page());
}

#[test]
fn system_tables_are_documented_as_they_are() {
    compare("system-tables.md", &system_tables_page());
}

#[test]
fn links_resolve() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        for target in links(&text) {
            if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            let found = path.exists() && (anchor.is_empty() || anchors(&read(&path)).contains(anchor));
            if !found {
                broken.push(format!("{}: {target}", shown(&page)));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

#[test]
fn the_book_has_every_page_once() {
    let summary = root().join("docs/SUMMARY.md");
    let mut listed: Vec<_> = links(&read(&summary)).iter().map(|link| root().join("docs").join(link)).collect();
    listed.sort();
    let book = pages().into_iter().filter(|page| page.starts_with(root().join("docs")) && *page != summary);
    assert_eq!(listed, book.collect::<Vec<_>>());
}

#[test]
fn tables_that_are_named_exist() {
    let tables: BTreeSet<String> = computed_tables().map(full_name).collect();
    let unknown = named(|code| {
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.');
        words.filter(|word| word.starts_with("SYSTEM.") && !tables.contains(*word)).map(str::to_string).collect()
    });
    assert!(unknown.is_empty(), "tables that there are not: {unknown:#?}");
}

#[test]
fn files_that_are_named_exist() {
    let folders = ["crates/", "tests/", "benches/", "docs/", "grammar/", ".cargo/"];
    let unknown = named(|code| {
        let here = folders.iter().any(|folder| code.starts_with(folder)) && !code.contains(' ');
        let file = code.split("::").next().unwrap_or(code);
        if here && !root().join(file).exists() { vec![file.to_string()] } else { vec![] }
    });
    assert!(unknown.is_empty(), "files that there are not: {unknown:#?}");
}

#[test]
fn every_sqlstate_is_documented() {
    let (prose, _) = parts(&read(&root().join("docs/pql.md")));
    let documented: BTreeSet<&str> = inline_code(&prose).collect();
    let missing: Vec<_> = SqlState::ALL.iter().filter(|state| !documented.contains(state.code())).collect();
    assert!(missing.is_empty(), "docs/pql.md does not say what these are: {missing:?}");
}

#[test]
fn every_backslash_command_is_documented() {
    let page = read(&root().join("docs/shell.md"));
    let commands = read(&root().join("crates/shell/src/backslash.rs"));
    let entries = commands.split("Entry { name: \"\\\\").skip(1);
    let names: Vec<_> = entries.filter_map(|entry| entry.split('"').next()).collect();
    assert!(names.len() > 10, "the list of commands was not found: {names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !page.contains(&format!("`\\{name}"))).collect();
    assert!(missing.is_empty(), "docs/shell.md lacks {missing:?}");
}

#[test]
fn every_example_parses() {
    for page in pages() {
        for (_, code) in parts(&read(&page)).1.iter().filter(|(language, _)| language == "pql") {
            if let Err(errors) = evenkeel_pql::parse(code) {
                panic!("{}: {}", shown(&page), evenkeel_pql::render(&errors[0], code, None));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_runs() {
    let mut examples = 0;
    for page in pages().iter().filter(|page| read(page).contains("```pql")) {
        examples += run_examples(page).await.unwrap_or_else(|error| panic!("{}: {error}", shown(page)));
    }
    assert!(examples > 50, "only {examples} examples were found");
}
