//! Events as they happen.

use crate::ground::{Ground, SOON, get};
use evenkeel_tests::run;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

/// The next event: its fields.
async fn next(reader: &mut BufReader<TcpStream>) -> Option<(String, String, Value)> {
    let (mut id, mut kind, mut line) = (String::new(), String::new(), String::new());
    loop {
        line.clear();
        let read = tokio::time::timeout(SOON, reader.read_line(&mut line)).await.expect("an event");
        if read.ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("id", value)) => id = value.to_string(),
            Some(("event", value)) => kind = value.to_string(),
            Some(("data", value)) => return Some((id, kind, serde_json::from_str(value).expect("JSON"))),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_as_they_happen() {
    let ground = Ground::new().await;
    ground.pql("CREATE TABLE before (id INT PRIMARY KEY)").await;
    let stream = || get("/api/v1/events").header("accept", "text/event-stream");
    let (status, mut reader) = stream().lines(ground.address).await;
    assert_eq!(status, 200);
    ground.pql("CREATE TABLE t (id INT PRIMARY KEY)").await;
    ground.pql("ALTER SYSTEM SET gc_retention = '1h'").await;
    let (first, kind, event) = next(&mut reader).await.expect("an event");
    assert_eq!((kind.as_str(), &event["subject"]), ("table", &Value::from("t")));
    assert_eq!(event["event_id"].to_string(), first);
    let (_, kind, event) = next(&mut reader).await.expect("an event");
    assert_eq!((kind.as_str(), &event["subject"]), ("setting", &Value::from("gc_retention")));
    // Who comes back goes on where it was.
    drop(reader);
    let (_, mut reader) = stream().header("last-event-id", &first).lines(ground.address).await;
    assert_eq!(next(&mut reader).await.expect("an event").1, "setting");
    // The same as a list.
    let page = ground.ask(get(&format!("/api/v1/events?after={first}"))).await.json();
    assert_eq!(page["items"][0]["kind"], "setting");
    let (_, mut reader) =
        get("/api/v1/events?after=0").header("accept", "text/event-stream").lines(ground.address).await;
    assert_eq!(next(&mut reader).await.expect("an event").1, "database");
    let reply = ground.ask(stream().header("last-event-id", "x")).await;
    assert_eq!(reply.sqlstate(), "22023");
    // A server that stops ends its streams.
    ground.stop.drain();
    while next(&mut reader).await.is_some() {}
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_ends_the_stream() {
    let ground = Ground::with_users().await;
    let (session, token) = (ground.database.session(), ground.token("operators").await);
    let stream = get("/api/v1/events").header("accept", "text/event-stream").token(&token);
    let (status, mut reader) = stream.lines(ground.address).await;
    assert_eq!(status, 200);
    run(&session, "CREATE TABLE seen (id INT PRIMARY KEY)").await.expect("a table");
    assert_eq!(next(&mut reader).await.expect("an event").1, "table");
    run(&session, "REVOKE operator FROM operators").await.expect("revoked");
    let (_, kind, problem) = next(&mut reader).await.expect("why it ends");
    assert_eq!((kind.as_str(), &problem["sqlstate"]), ("problem", &Value::from("42501")));
    assert!(next(&mut reader).await.is_none());
    ground.end().await;
}
