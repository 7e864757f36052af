//! How the server ends: who looks is told, what is being answered is answered.

use crate::ground::{Ground, SOON, get, post};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_what_is_there() {
    let ground = Ground::new().await;
    let ready = ground.ask(get("/readyz")).await;
    assert_eq!(ready.status, 200);
    let expected = json!({
        "status": "ready", "storage": "open", "recovery": "done", "shards": { "claimed": 4, "target": 4 },
    });
    assert_eq!(ready.json(), expected);
    ground.stop.drain();
    let stopping = ground.ask(get("/readyz")).await;
    assert_eq!((stopping.status, &stopping.json()["status"]), (503, &json!("stopping")));
    assert_eq!(ground.ask(get("/livez")).await.status, 200);
    assert_eq!(ground.ask(get("/metrics")).await.status, 200);
    let refused = ground.ask(post("/api/v1/pql").json(&json!({ "statement": "SELECT 1" }))).await;
    assert_eq!((refused.status, refused.sqlstate().as_str()), (503, "57P01"));
    ground.end().await;
}

/// Takes a second or two.
const SLOW: &str =
    "SELECT count(*) FROM generate_series(1, 3000) a CROSS JOIN generate_series(1, 3000) b WHERE a + b = 7";

/// Waits until statements run, or none.
async fn until(ground: &Ground, run: bool) {
    let runs = || ground.database.database().measures().sessions["active"] > 0;
    let waited = async {
        while runs() != run {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, waited).await.expect("it comes to that");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_stops_its_statement() {
    let ground = Ground::new().await;
    let endless = SLOW.replace("3000", "3000000");
    let address = ground.address;
    let asking = tokio::spawn(async move {
        post("/api/v1/pql").json(&json!({ "statement": endless })).lines(address).await;
    });
    until(&ground, true).await;
    asking.abort();
    until(&ground, false).await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_answered_is_answered() {
    let ground = Ground::new().await;
    let (address, stop) = (ground.address, ground.stop.clone());
    let slow = post("/api/v1/pql").json(&json!({ "statement": SLOW }));
    let (mut status, body) = (0, slow.lines(address));
    let asked = async { status = body.await.0 };
    let stopped = async {
        until(&ground, true).await;
        stop.drain();
        stop.end();
    };
    tokio::time::timeout(SOON, async { tokio::join!(asked, stopped) }).await.expect("both end");
    assert_eq!(status, 200);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_stop_at_once() {
    let ground = Ground::new().await;
    ground.pql("CREATE TABLE t (id INT PRIMARY KEY)").await;
    ground.pql("INSERT INTO t SELECT value FROM generate_series(1, 200000)").await;
    // A client that reads nothing keeps its answer for ever.
    let query = json!({ "statement": "SELECT a.id, b.id FROM t a CROSS JOIN t b" });
    let (status, idle) =
        post("/api/v1/pql").json(&query).header("accept", "application/x-ndjson").lines(ground.address).await;
    assert_eq!(status, 200);
    ground.stop.now();
    tokio::time::timeout(SOON, ground.serving).await.expect("the server ends").expect("the server does not panic");
    drop(idle);
}
