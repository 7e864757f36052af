//! The architecture as a test: what `docs/architecture.md` says of the crates is what cargo and the sources say.
//!
//! WHAT MAY NEVER HAPPEN: a crate depends on one that the table does not list, or on one of the same or a higher floor; a
//! pure crate reaches, by itself or through others, for a runtime, a store, a file, a clock or dice.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates that decide without doing.
const PURE: [&str; 6] = ["model", "pql", "rebalancer", "planner", "catalog", "conductor"];

/// A folder of sources that only tests are built from.
const SIMULATION: &str = "simulation";

/// What pure crates may not depend on, however indirectly.
const IMPURE_CRATES: [&str; 7] = ["tokio", "rocksdb", "librocksdb-sys", "datafusion", "mio", "socket2", "async-std"];

/// What the sources of pure crates may not name.
const IMPURE_WORDS: [&str; 12] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "rand::",
    "RandomState",
    "thread_local!",
];

#[derive(Debug, PartialEq)]
struct Row {
    floor: u32,
    edges: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new("..").canonicalize().expect("tests run in their package's directory")
}

fn metadata() -> Metadata {
    // Of other platforms' packages nothing need be there.
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc");
    let said = String::from_utf8(rustc.stdout).expect("text");
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let options = ["--offline", "--locked", "--filter-platform", host].map(str::to_string);
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options)
        .exec()
        .expect("cargo metadata")
}

fn short(name: &str) -> String {
    name.strip_prefix("evenkeel-").unwrap_or(name).to_string()
}

/// The table of crates: name → floor and edges.
fn documented() -> BTreeMap<String, Row> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let section = text.split("## Crates").nth(1).expect("a section \"## Crates\"");
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter_map(|line| line.trim().strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [name, floor, sentence, edges, ..] = cells.as_slice() else { panic!("four cells: {row}") };
        assert!(!sentence.is_empty(), "{name} has no sentence");
        let edges = edges.split('`').skip(1).step_by(2).map(str::to_string).collect();
        (name.trim_end_matches('`').to_string(), Row { floor: floor.parse().expect("a floor"), edges })
    })
    .collect()
}

/// What cargo says: name → names of the workspace's crates it depends on, in whatever way.
fn actual(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata.workspace_packages();
    let members: BTreeSet<String> = packages.iter().map(|package| package.name.to_string()).collect();
    let edges = |package: &cargo_metadata::Package| {
        let names = package.dependencies.iter().map(|dependency| dependency.name.clone());
        names.filter(|name| members.contains(name)).map(|name| short(&name)).collect()
    };
    packages.iter().map(|package| (short(&package.name), edges(package))).collect()
}

#[test]
fn crates_depend_on_what_the_table_says() {
    let documented: BTreeMap<_, _> = documented().into_iter().map(|(name, row)| (name, row.edges)).collect();
    assert_eq!(actual(&metadata()), documented, "left: cargo, right: docs/architecture.md");
}

#[test]
fn arrows_point_to_lower_floors() {
    // With a floor for every crate and every arrow pointing down there can be no cycle either.
    let rows = documented();
    for (name, row) in &rows {
        for edge in &row.edges {
            let below = rows.get(edge).unwrap_or_else(|| panic!("{name} depends on {edge}, which has no row"));
            assert!(below.floor < row.floor, "{name} (floor {}) depends on {edge} (floor {})", row.floor, below.floor);
        }
    }
}

/// A package and all that it is built with, tests and build scripts left out.
fn built_with(metadata: &Metadata, from: &PackageId) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("resolved dependencies");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(id) = next.pop() {
        if !seen.insert(id) {
            continue;
        }
        for dependency in &nodes[id].deps {
            if dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) {
                next.push(&dependency.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

#[test]
fn pure_crates_are_built_without_io() {
    let metadata = metadata();
    for name in PURE {
        let packages = metadata.workspace_packages();
        let package = packages.iter().find(|package| short(&package.name) == name).expect("a pure crate");
        let with = built_with(&metadata, &package.id);
        let impure: Vec<_> = IMPURE_CRATES.iter().filter(|impure| with.contains(**impure)).collect();
        assert!(impure.is_empty(), "{name} is built with {impure:?}");
    }
}

fn sources(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a source directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with(SIMULATION) {
                sources(&path, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The lines of a source that are neither comments nor in a `#[cfg(test)]` module, numbered from 1.
fn code(source: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut in_tests: Option<bool> = None;
    for (number, line) in source.lines().enumerate() {
        match in_tests {
            // rustfmt closes a module at the column where it began: the first `}` in column 0 ends it.
            Some(true) if line.starts_with('}') => in_tests = None,
            Some(true) => {}
            Some(false) if line.starts_with("mod ") || line.starts_with("use ") => {
                in_tests = line.trim_end().ends_with('{').then_some(true);
            }
            Some(false) => {}
            None if line.starts_with("#[cfg(test)]") => in_tests = Some(false),
            None => lines.push((number + 1, line.split("//").next().unwrap_or(line))),
        }
    }
    lines
}

#[test]
fn pure_sources_name_no_file_clock_thread_or_dice() {
    for name in PURE {
        let mut files = Vec::new();
        sources(&root().join("crates").join(name).join("src"), &mut files);
        assert!(!files.is_empty(), "{name} has sources");
        for file in files {
            let source = fs::read_to_string(&file).expect("a source");
            for (number, line) in code(&source) {
                let impure = IMPURE_WORDS.iter().find(|word| line.contains(**word));
                assert_eq!(impure, None, "{}:{number}: {line}", file.display());
            }
        }
    }
}

#[test]
fn tests_and_comments_do_not_count_as_code() {
    let source = "//! std::fs\nuse std::fmt; // std::net\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nfn f() {}\n";
    let left: Vec<_> = code(source).into_iter().map(|(number, line)| (number, line.trim())).collect();
    assert_eq!(left, [(1, ""), (2, "use std::fmt;"), (7, "fn f() {}")]);
}
