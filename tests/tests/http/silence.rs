//! Clients that hold connections and say nothing.

use crate::ground::{Ground, SOON, get};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// All that comes until the server ends the connection.
async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(SOON, socket.read_to_end(&mut bytes)).await.expect("an end").expect("bytes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A connection on which this was said, and no more.
async fn said(ground: &Ground, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(ground.address).await.expect("a connection");
    socket.write_all(text.as_bytes()).await.expect("sent");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_ended() {
    let ground = Ground::new().await;
    // Longer than a busy machine takes for a request.
    ground.pql("ALTER SYSTEM SET http_idle_timeout = '1s'").await;
    let head = |request: &str| format!("{request} HTTP/1.1\r\nhost: {}\r\n", ground.address);
    let live = head("GET /livez");
    let body = "content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"statement\":";
    let mut nothing = said(&ground, "").await;
    let mut half = said(&ground, &live).await;
    let mut answered = said(&ground, &format!("{live}\r\n")).await;
    let mut bodiless = said(&ground, &format!("{}{body}", head("POST /api/v1/pql"))).await;
    assert!(!rest(&mut nothing).await.contains("200 OK"));
    assert!(!rest(&mut half).await.contains("200 OK"));
    // One that asks no more.
    let answer = rest(&mut answered).await;
    assert!(answer.contains("200 OK") && answer.ends_with("ok\n"), "{answer}");
    let answer = rest(&mut bodiless).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    ground.end().await;
}

/// Whoever waits for the server is not silent.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_answer_is_left_alone() {
    let ground = Ground::new().await;
    ground.pql("ALTER SYSTEM SET http_idle_timeout = '1s'").await;
    let (status, mut events) = get("/api/v1/events").header("accept", "text/event-stream").lines(ground.address).await;
    assert_eq!(status, 200);
    // Longer than the limit: a connection that is silent from now on is ended before.
    assert!(!rest(&mut said(&ground, "").await).await.contains("200 OK"));
    ground.pql("CREATE USER rita PASSWORD 'r'").await;
    let mut told = String::new();
    while !told.contains("rita") {
        told.clear();
        tokio::time::timeout(SOON, events.read_line(&mut told)).await.expect("an event").expect("a line");
        assert!(!told.is_empty(), "the stream was ended");
    }
    assert_eq!(ground.pql("SELECT 1 AS one").await, json!([[1]]));
    drop(events);
    ground.end().await;
}
