//! The log.

use crate::ground::Place;
use serde_json::Value;

const PASSWORD: &str = "a long secret";

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_an_object() {
    let place = Place::new();
    let arguments = ["--data", "db", "--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug"];
    let mut server = place.serve(&arguments, &[("EVENKEEL_ADMIN_PASSWORD", PASSWORD)]);
    let started = server.until_event("server started");
    assert_eq!((&started["listen"], &started["auth"]), (&server.address.to_string().into(), &"scram".into()));
    assert!(server.client("admin", Some("another secret")).await.is_err());
    let failed = server.until_event("login failed");
    assert_eq!(
        (&failed["user"], &failed["sqlstate"], &failed["level"]),
        (&"admin".into(), &"28P01".into(), &"WARN".into())
    );
    assert!(failed["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{failed}");
    let client = server.client("admin", Some(PASSWORD)).await.expect("the right password");
    let connected = server.until_event("connected");
    assert_eq!(connected["user"], "admin");
    client.simple_query("CREATE TABLE t (id INT PRIMARY KEY)").await.expect("a table");
    let event = server.until_logs(&["\"message\":\"event\"", "\"kind\":\"table\""]);
    assert!(event.contains("\"subject\":\"t\"") && event.contains("\"change\":\"created\""), "{event}");
    drop(client);
    assert!(server.stop().success());
    for line in &server.logged {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "target", "message"] {
            assert!(object[field].is_string(), "{field}: {line}");
        }
        assert!(!line.contains("secret"), "{line}");
    }
    let messages = ["database opened", "server started", "server stopping", "server stopped"];
    let at = |message: &str| server.logged.iter().position(|line| line.contains(&format!("\"message\":\"{message}\"")));
    let places: Vec<_> = messages.iter().map(|message| at(message).unwrap_or_else(|| panic!("{message}"))).collect();
    assert!(places.is_sorted(), "{:#?}", server.logged);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_statements_are_logged_without_their_values() {
    let place = Place::new();
    let arguments = ["--data", "db", "--listen", "127.0.0.1:0", "--auth", "trust", "--set", "slow_query_threshold=0"];
    let mut server = place.serve(&arguments, &[]);
    let client = server.client("anybody", None).await.expect("a connection");
    client.simple_query("SELECT 'a value' AS v FROM generate_series(1, 3)").await.expect("an answer");
    assert!(client.simple_query("SELECT 'a value' FROM nowhere").await.is_err());
    let slow = server.until_logs(&["slow statement", "rows=3"]);
    for field in ["INFO", "query=", "session=", "user=", "duration_ms="] {
        assert!(slow.contains(field), "{field}: {slow}");
    }
    server.until_logs(&["slow statement", "sqlstate=\"42P01\""]);
    drop(client);
    assert!(server.stop().success());
    assert!(!server.logged.iter().any(|line| line.contains("a value")), "{:#?}", server.logged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_cannot_write_a_line_of_its_own() {
    let place = Place::new();
    let mut server =
        place.serve(&["--data", "db", "--listen", "127.0.0.1:0"], &[("EVENKEEL_ADMIN_PASSWORD", PASSWORD)]);
    let name = format!("x\n2000-01-01 INFO forged\x1b[0m{}", "y".repeat(1_000));
    assert!(server.client(&name, Some(PASSWORD)).await.is_err());
    let line = server.until_logs(&["login failed"]);
    assert!(line.contains("x\\n2000-01-01 INFO forged") && !line.contains('\x1b'), "{line}");
    assert!(!line.contains(&"y".repeat(100)), "{line}");
    assert!(server.stop().success());
    assert!(!server.logged.iter().any(|line| line.starts_with("2000-01-01")));
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_and_jobs_are_logged() {
    let place = Place::new();
    let arguments =
        ["--data", "db", "--listen", "127.0.0.1:0", "--auth", "trust", "--shards", "2", "--log-format", "json"];
    let mut server = place.serve(&arguments, &[]);
    let client = server.client("anybody", None).await.expect("a connection");
    client.simple_query("MOVE SLOTS 0 TO 9 FROM SHARD 1 TO SHARD 2").await.expect("a job");
    let phase = server.until_logs(&["\"message\":\"migration phase\"", "\"phase\":\"copying\""]);
    assert!(phase.contains("\"migration\":1"), "{phase}");
    let done = server.until_logs(&["\"message\":\"event\"", "\"kind\":\"job\"", "\"change\":\"done\""]);
    assert!(done.contains("\"subject\":\"job 1\""), "{done}");
    drop(client);
    assert!(server.stop().success());
}

#[test]
fn a_start_that_fails_is_an_object_too() {
    let place = Place::new();
    place.write("db", "a file in the way");
    let arguments = ["serve", "--data", "db", "--listen", "127.0.0.1:0", "--auth", "trust", "--log-format", "json"];
    let ended = place.run(&arguments, &[]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let line: Value = serde_json::from_str(ended.err.trim()).unwrap_or_else(|error| panic!("{error}: {}", ended.err));
    assert_eq!((&line["message"], &line["level"]), (&"server failed".into(), &"ERROR".into()));
}
