//! Traces, received by a collector that only listens.

use crate::ground::{Place, SOON};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

/// A request: its head in lower case, and its body.
type Request = (String, Vec<u8>);

/// Answers 200 to whatever is posted, until the test ends.
fn collector() -> (SocketAddr, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(socket);
            while let Some(request) = request(&mut reader) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                if reader.get_mut().write_all(answer).is_err() || sender.send(request).is_err() {
                    break;
                }
            }
        }
    });
    (address, received)
}

fn request(reader: &mut impl BufRead) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn has(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_and_phases_are_spans() {
    let (address, received) = collector();
    let place = Place::new();
    let endpoint = format!("http://{address}");
    let common = ["--data", "db", "--listen", "127.0.0.1:0", "--auth", "trust", "--shards", "2"];
    let arguments: Vec<&str> =
        common.into_iter().chain(["--log-level", "trace", "--otlp-endpoint", &endpoint]).collect();
    let mut server = place.serve(&arguments, &[]);
    let client = server.client("anybody", None).await.expect("a connection");
    client.simple_query("SELECT 'a value' AS v FROM generate_series(1, 3)").await.expect("an answer");
    assert!(client.simple_query("DELETE FROM nowhere WHERE v = 'a value'").await.is_err());
    client.simple_query("MOVE SLOTS 0 TO 9 FROM SHARD 1 TO SHARD 2").await.expect("a job");
    server.until_logs(&["event", "kind=\"job\"", "change=\"done\""]);
    drop(client);
    // What was not sent yet is sent at the end.
    assert!(server.stop().success());
    let mut all = Vec::new();
    while let Ok((head, body)) = received.recv_timeout(if all.is_empty() { SOON } else { std::time::Duration::ZERO }) {
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        all.extend(body);
    }
    for text in [
        "service.name",
        "db.system.name",
        "db.operation.name",
        "SELECT",
        "DELETE",
        "db.response.returned_rows",
        "42P01",
        "evenkeel.class",
        "migration copying",
        "evenkeel.phase",
        "user.name",
    ] {
        assert!(has(&all, text), "{text} is in no span: {}", String::from_utf8_lossy(&all));
    }
    for text in ["a value", "nowhere"] {
        assert!(!has(&all, text), "{text} is in a span");
    }
    // Spans are not lines of the log, however much is logged.
    assert!(!server.logged.iter().any(|line| line.contains("db.system.name") || line.contains("evenkeel::span")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_keeps_nobody() {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
    let place = Place::new();
    let endpoint = format!("http://{address}");
    let arguments = ["--data", "db", "--listen", "127.0.0.1:0", "--auth", "trust", "--otlp-endpoint", &endpoint];
    let mut server = place.serve(&arguments, &[]);
    let client = server.client("anybody", None).await.expect("a connection");
    client.simple_query("SELECT 1").await.expect("an answer");
    drop(client);
    assert!(server.stop().success());
    assert!(server.logged.iter().any(|line| line.contains("WARN") && line.contains("traces")), "{:#?}", server.logged);
}
