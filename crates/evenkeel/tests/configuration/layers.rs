//! Where values come from, and what is refused.

use crate::ground::{Place, exists, of, shown};
use serde_json::{Value, json};
use std::net::TcpListener;

const FREE: &[&str] = &["--data", "db", "--listen", "127.0.0.1:0", "--auth", "trust"];

#[test]
fn a_flag_is_stronger_than_a_variable_and_a_variable_than_the_file() {
    let place = Place::new();
    let file = "data = \"ships\"\nlisten = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nlog_format = \"json\"\n[settings]\nsplit_fanout = 3\n";
    place.write("evenkeel.toml", file);
    let environment =
        [("EVENKEEL_LISTEN", "127.0.0.1:3"), ("EVENKEEL_HTTP", "127.0.0.1:4"), ("EVENKEEL_ADMIN_PASSWORD", "hunter2")];
    let show =
        ["config", "show", "--origin", "--format", "json", "--listen", "127.0.0.1:5", "--set", "gc_retention=1h"];
    let ended = place.run(&show, &environment);
    let shown = shown(&ended);
    let row = |key: &str| shown[key].clone();
    assert_eq!(row("listen"), (json!("127.0.0.1:5"), json!("flag --listen")));
    assert_eq!(row("http"), (json!("127.0.0.1:4"), json!("environment EVENKEEL_HTTP")));
    assert_eq!(row("log_format"), (json!("json"), json!("evenkeel.toml:4")));
    assert_eq!(row("auth"), (json!("scram"), json!("default")));
    assert_eq!(row("tls_cert"), (Value::Null, json!("default")));
    assert_eq!(row("settings.split_fanout"), (json!("3"), json!("evenkeel.toml:6")));
    assert_eq!(row("settings.gc_retention"), (json!("1h"), json!("flag --set")));
    assert_eq!(row("admin_password"), (json!("(hidden)"), json!("environment EVENKEEL_ADMIN_PASSWORD")));
    assert!(!ended.out.contains("hunter2") && !ended.err.contains("hunter2"));
    let table = place.run(&["config", "show"], &[]);
    assert!(table.out.lines().any(|line| line.split_whitespace().eq(["listen", "127.0.0.1:1"])), "{}", table.out);
    // Looking is not making.
    assert_eq!(place.files(), ["evenkeel.toml"]);
}

#[test]
fn the_file_is_the_one_that_is_named_or_that_is_here() {
    let place = Place::new();
    place.write("here.toml", "data = \"a\"").write("evenkeel.toml", "data = \"b\"");
    let data = |arguments: &[&str], environment: &[(&str, &str)]| {
        let all: Vec<&str> = ["config", "show", "--format", "json"].iter().chain(arguments).copied().collect();
        shown(&place.run(&all, environment))["data"].0.clone()
    };
    assert_eq!(data(&[], &[]), "b");
    assert_eq!(data(&[], &[("EVENKEEL_CONFIG", "here.toml")]), "a");
    assert_eq!(data(&["--config", "evenkeel.toml"], &[("EVENKEEL_CONFIG", "here.toml")]), "b");
    let gone = place.run(&["config", "check"], &[("EVENKEEL_CONFIG", "gone.toml")]);
    assert_eq!(gone.code, Some(2));
    assert!(gone.err.starts_with("ERROR: EVENKEEL_CONFIG: cannot read gone.toml"), "{}", gone.err);
}

#[test]
fn a_mistake_is_named_with_its_place() {
    let place = Place::new();
    place.write("evenkeel.toml", "data = \"db\"\nlisten = \"127.0.0.1:0\"\n\n[settings]\n cache_sise = \"1GiB\"\n");
    for command in [&["serve"][..], &["config", "check"], &["config", "show"]] {
        let ended = place.run(command, &[]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""));
        let expected = "ERROR: evenkeel.toml:5:2: unknown setting \"cache_sise\"\nHINT: did you mean cache_size?\n";
        assert_eq!(ended.err, expected, "{command:?}");
    }
    place.write("evenkeel.toml", "data = \"db\"\n");
    let right = place.run(&["config", "check"], &[]);
    assert_eq!((right.code, right.out.as_str()), (Some(0), "evenkeel.toml is right\n"));
    assert_eq!(place.files(), ["evenkeel.toml"]);
}

#[test]
fn a_refused_start_leaves_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let here: &[&str] = &["--data", "db", "--listen", "127.0.0.1:0"];
    let and = |first: &[&'static str], more: &[&str]| -> Vec<String> {
        first.iter().copied().chain(more.iter().copied()).map(str::to_string).collect()
    };
    let cases: Vec<(Vec<String>, &str)> = vec![
        (and(FREE, &["--shards", "0"]), "--shards: \"0\" is not a value for shards"),
        (and(FREE, &["--shards", "1025"]), "--shards: \"1025\" is not a value for shards"),
        (and(FREE, &["--tls-only"]), "--tls-only: tls_only needs a certificate"),
        (and(FREE, &["--tls-cert", "none", "--tls-key", "none"]), "cannot read \"none\""),
        (and(FREE, &["--http", &address]), "cannot listen on"),
        (and(FREE, &["--set", "cache_size=1"]), "\"1\" is not a value for cache_size"),
        (and(FREE, &["--otlp-endpoint", "https://127.0.0.1:4318"]), "is not a value for otlp_endpoint"),
        (and(here, &["--auth", "trust", "--http", "0.0.0.0:0"]), "nobody would be asked who they are"),
        (and(here, &["--http", "0.0.0.0:0"]), "passwords would be sent in the clear"),
        (and(&["--data", "db", "--auth", "trust", "--listen", "0.0.0.0:0"], &[]), "nobody would be asked who they are"),
        (and(&["--data", "db", "--listen"], &[&address]), "cannot listen on"),
        (and(&["--listen", "127.0.0.1:0"], &[]), "no directory is given for the database"),
    ];
    for (arguments, expected) in cases {
        let place = Place::new();
        let arguments: Vec<&str> = ["serve"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let ended = place.run(&arguments, &[]);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(expected), "{arguments:?}: {}", ended.err);
        assert_eq!(place.files(), Vec::<String>::new(), "{arguments:?}");
    }
}

#[test]
fn a_variable_that_nobody_knows_leaves_nothing() {
    let place = Place::new();
    let arguments: Vec<&str> = ["serve"].into_iter().chain(FREE.iter().copied()).collect();
    let ended = place.run(&arguments, &[("EVENKEEL_LISTENN", "x")]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.err.contains("did you mean EVENKEEL_LISTEN?"), "{}", ended.err);
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn a_password_that_cannot_be_leaves_nothing() {
    let place = Place::new();
    let long = "x".repeat(100_000);
    let ended = place.run(&["serve", "--data", "db", "--listen", "127.0.0.1:0"], &[("EVENKEEL_ADMIN_PASSWORD", &long)]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(!ended.err.contains(&long[..32]));
    assert!(!exists(&place.path("db")));
}

#[test]
fn the_shell_refuses_before_it_makes_anything() {
    let place = Place::new();
    let ended = place.run(&["shell", "--data", "db", "--shards", "0", "-c", "SELECT 1"], &[]);
    assert_eq!(ended.code, Some(2));
    assert!(!exists(&place.path("db")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_alter_system_has_set_is_above_all() {
    let place = Place::new();
    place.write("evenkeel.toml", "[settings]\nsplit_fanout = 3\nhot_max_qps = 5\n");
    let mut server = place.serve(&[FREE, &["--set", "hot_max_qps=6"]].concat(), &[("EVENKEEL_LOAD_HISTORY", "7")]);
    assert_eq!(server.setting("split_fanout").await, of("3", "file"));
    assert_eq!(server.setting("load_history").await, of("7", "environment"));
    assert_eq!(server.setting("hot_max_qps").await, of("6", "flag"));
    assert_eq!(server.setting("gc_retention").await, of("10min", "default"));
    let client = server.client("anybody", None).await.expect("a connection");
    client.simple_query("ALTER SYSTEM SET split_fanout = 4, hot_max_qps = 8").await.expect("it is set");
    assert_eq!(server.setting("split_fanout").await, of("4", "ALTER SYSTEM"));
    client.simple_query("ALTER SYSTEM RESET hot_max_qps").await.expect("it is reset");
    assert_eq!(server.setting("hot_max_qps").await, of("6", "flag"));

    let show = ["config", "show", "--origin", "--format", "json", "--data", "db"];
    let busy = place.run(&show, &[]);
    assert!(
        busy.err.contains("what ALTER SYSTEM has set is not shown: the database db is open in another process"),
        "{}",
        busy.err
    );
    assert_eq!(shown(&busy)["settings.split_fanout"], (json!("3"), json!("evenkeel.toml:2")));
    drop(client);
    assert!(server.stop().success());
    let idle = place.run(&show, &[]);
    assert_eq!(shown(&idle)["settings.split_fanout"], (json!("4"), json!("ALTER SYSTEM")));
    assert_eq!(shown(&idle)["settings.hot_max_qps"], (json!("5"), json!("evenkeel.toml:3")));
}

#[test]
fn a_server_that_answers_is_well() {
    let place = Place::new();
    let mut server = place.serve(FREE, &[]);
    let address = server.address.to_string();
    let everywhere = format!("0.0.0.0:{}", server.address.port());
    for listen in [&address, &everywhere] {
        let well = place.run(&["health", "--listen", listen], &[]);
        assert_eq!((well.code, well.err.as_str()), (Some(0), ""), "{listen}");
    }
    assert!(server.stop().success());
    let gone = place.run(&["health"], &[("EVENKEEL_LISTEN", &address)]);
    assert_eq!(gone.code, Some(2));
    assert!(gone.err.contains("is not well"), "{}", gone.err);
}
