//! The container's files are held against the program, since nothing builds the image here.

use crate::arguments::Arguments;
use crate::configuration::{Configuration, Given, resolve_file};
use clap::{CommandFactory, FromArgMatches};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Tests run in their package's directory.
fn root() -> PathBuf {
    PathBuf::from("../..")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The Dockerfile's instructions with what follows them, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').expect("an instruction and what it takes"))
        .map(|(name, rest)| (name.to_string(), rest.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

/// What instructions of this name take.
fn of(name: &str) -> Vec<String> {
    instructions().into_iter().filter(|(found, _)| found == name).map(|(_, rest)| rest).collect()
}

/// The one instruction of this name.
fn the(name: &str) -> String {
    let [one] = of(name).try_into().unwrap_or_else(|found| panic!("{name}: {found:?}"));
    one
}

/// `["a", "b"]`
fn words(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The configuration that a command line of the image has, which starts the program in this way.
fn started(line: &[String]) -> (String, Given) {
    let matches = Arguments::command().try_get_matches_from(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let (name, inner) = matches.subcommand().expect("a command");
    (name.to_string(), Given::from_arg_matches(inner).expect("its arguments"))
}

/// What the image serves when nobody says otherwise.
fn configuration() -> Configuration {
    let copied = of("COPY").into_iter().find(|copy| copy.starts_with("deploy/")).expect("a file is copied");
    let (from, to) = copied.split_once(' ').expect("from and to");
    let named = the("ENV");
    assert_eq!(named.split_once('='), Some(("EVENKEEL_CONFIG", to)));
    let resolved = resolve_file(to, &read(from)).unwrap_or_else(|problems| panic!("{problems}"));
    resolved.configuration().unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn everything_that_is_copied_is_there() {
    let ignored = read(".dockerignore");
    let kept: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let copies = of("COPY");
    let mut copied = BTreeSet::new();
    for copy in copies.iter().filter(|copy| !copy.starts_with("--from=")) {
        let paths: Vec<&str> = copy.split(' ').collect();
        let (_, sources) = paths.split_last().expect("a target");
        for source in sources {
            assert!(root().join(source).exists(), "{source} is not there");
            copied.insert(source.split('/').next().expect("a name"));
        }
    }
    assert_eq!(kept, copied, "left: what .dockerignore lets in, right: what is copied");
    // What the workspace is made of is among it.
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).expect("the members");
    for member in words(members) {
        let folder = member.split('/').next().expect("a folder");
        assert!(copied.contains(folder), "{folder} is not copied");
    }
    let built = of("RUN").iter().any(|run| run.contains("/out/evenkeel"));
    assert!(built && copies.iter().any(|copy| copy == "--from=build /out/evenkeel /usr/local/bin/evenkeel"));
}

#[test]
fn what_it_starts_is_a_command() {
    let line: Vec<String> = [words(&the("ENTRYPOINT")), words(&the("CMD"))].concat();
    assert_eq!(started(&line).0, "serve");
    let check = the("HEALTHCHECK");
    let (_, command) = check.split_once("CMD ").expect("a command");
    assert_eq!(started(&words(command)).0, "health");
    assert_eq!(the("STOPSIGNAL"), "SIGTERM");
}

#[test]
fn it_serves_where_it_says() {
    let configuration = configuration();
    assert!(configuration.listen.ip().is_unspecified());
    let exposed = the("EXPOSE");
    assert_eq!(exposed, configuration.listen.port().to_string());
    assert_eq!(configuration.http, None);
    assert!(configuration.data.starts_with(the("VOLUME")), "{}", configuration.data.display());
    let page = read("docs/serving.md");
    assert!(page.contains(&format!("| port | `{exposed}`")), "docs/serving.md says another port than {exposed}");
    assert!(page.contains(&format!("| volume | `{}`", the("VOLUME"))));
    assert!(page.contains(&format!("-p 127.0.0.1:{exposed}:{exposed} -v evenkeel:{}", the("VOLUME"))));
}

#[test]
fn it_does_not_run_as_root() {
    let user = the("USER");
    assert_ne!(user, "root");
    assert!(of("RUN").iter().any(|run| run.contains("useradd") && run.contains(&user)), "{user} is nobody");
}

/// The image is built with the version of Rust that the workspace asks for.
#[test]
fn it_is_built_with_the_right_compiler() {
    let manifest = read("Cargo.toml");
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version").trim_matches('"');
    assert!(of("FROM").iter().any(|from| from.starts_with(&format!("rust:{version}-"))), "{version}");
}
