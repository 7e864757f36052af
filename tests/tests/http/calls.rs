//! Every call beside statements: what it answers, and who may make it.

use crate::ground::{Ground, Reply, Request, get, post, request};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Calls that plain users may make, and calls that they may not.
const READS: [&str; 12] = [
    "/api/v1/shards",
    "/api/v1/shards/1",
    "/api/v1/shards/measurements",
    "/api/v1/slots",
    "/api/v1/slots?shard=2&limit=5",
    "/api/v1/jobs",
    "/api/v1/migrations",
    "/api/v1/settings",
    "/api/v1/settings/gc_retention",
    "/api/v1/balancer/decisions",
    "/metrics",
    "/readyz",
];

fn work() -> Vec<Request<'static>> {
    let job = |body: Value| post("/api/v1/jobs").json(&body);
    vec![
        job(json!({ "kind": "rebalance", "options": { "strategy": "adaptive" } })),
        job(json!({ "kind": "split", "shard": 1 })),
        job(json!({ "kind": "merge", "shards": [3, 4] })),
        job(json!({ "kind": "move", "slots": [{ "first": 0, "last": 9 }], "from": 1, "to": 2 })),
        job(json!({ "kind": "remove", "shard": 4 })),
        post("/api/v1/jobs/1/pause"),
        post("/api/v1/jobs/1/resume"),
        post("/api/v1/jobs/1/cancel"),
        post("/api/v1/jobs/1/undo"),
        request("PATCH", "/api/v1/settings").json(&json!({ "gc_retention": "1h" })),
        request("PATCH", "/api/v1/settings").json(&json!({ "gc_retention": null })),
        get("/api/v1/events"),
        get("/api/v1/events").header("accept", "text/event-stream"),
        get("/api/v1/tables/t/locate?key=1"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_make_a_statement_may_make_its_call() {
    let ground = Ground::with_users().await;
    let (plain, operator) = (ground.token("plains").await, ground.token("operators").await);
    for path in READS {
        let reply = ground.ask(get(path).token(&plain)).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    for call in work() {
        let reply = ground.ask(call.clone()).await;
        assert_eq!((reply.status, reply.sqlstate().as_str()), (401, "28000"), "{call:?}");
        let reply = ground.ask(call.clone().token(&plain)).await;
        assert_eq!((reply.status, reply.sqlstate().as_str()), (403, "42501"), "{call:?}");
        assert!(reply.json()["hint"].is_string(), "{call:?}: {}", reply.text());
    }
    // An operator looks after shards and reads no rows.
    for call in work().into_iter().filter(|call| !format!("{call:?}").contains("locate")).take(10) {
        let reply = ground.ask(call.clone().token(&operator)).await;
        assert_ne!(reply.status, 403, "{call:?}: {}", reply.text());
    }
    let query = json!({ "statement": "QUERY t" });
    let reply = ground.ask(post("/api/v1/pql").json(&query).token(&operator)).await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (403, "42501"));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_page_by_page() {
    let ground = Ground::new().await;
    let (mut slots, mut pages, mut after) = (BTreeSet::new(), 0, String::new());
    loop {
        let page = ground.ask(get(&format!("/api/v1/slots?shard=2&limit=1000{after}"))).await.json();
        let items = page["items"].as_array().expect("items");
        assert!(items.iter().all(|item| item["shard_id"] == 2));
        let new = items.iter().filter_map(|item| item["slot"].as_i64()).filter(|slot| slots.insert(*slot)).count();
        assert_eq!(new, items.len(), "no slot comes twice");
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!((slots.len(), pages), (2_048, 3));
    // A list by name, one at a time.
    let all = ground.ask(get("/api/v1/settings?limit=1000")).await.json()["items"].as_array().expect("items").len();
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page = ground.ask(get(&format!("/api/v1/settings?limit=1{after}"))).await.json();
        names.push(page["items"][0]["name"].as_str().expect("a name").to_string());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(names.len(), all);
    assert!(names.is_sorted());
    for path in ["/api/v1/slots?limit=0", "/api/v1/slots?limit=1001", "/api/v1/slots?after=x"] {
        let reply = ground.ask(get(path)).await;
        assert_eq!((reply.status, reply.sqlstate().as_str()), (400, "22023"), "{path}");
    }
    assert_eq!(ground.ask(get("/api/v1/slots?limit=x")).await.status, 400);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_list() {
    let ground = Ground::new().await;
    let shard = ground.ask(get("/api/v1/shards/2")).await.json();
    assert_eq!((&shard["shard_id"], &shard["slots"]), (&json!(2), &json!(2_048)));
    let made = shard["created_at"].as_str().expect("a time");
    assert!(made.contains('T') && made.ends_with('Z'), "{made}");
    for (path, status, state) in [
        ("/api/v1/shards/9", 404, "42704"),
        ("/api/v1/shards/x", 400, "22P02"),
        ("/api/v1/jobs/7", 404, "42704"),
        ("/api/v1/settings/nothing", 404, "42704"),
    ] {
        let reply = ground.ask(get(path)).await;
        assert_eq!((reply.status, reply.sqlstate().as_str()), (status, state), "{path}");
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_located_by_their_keys() {
    let ground = Ground::new().await;
    ground
        .pql("CREATE TABLE calls (port TEXT, at TIMESTAMPTZ, ship INT, PRIMARY KEY (port, at, ship)) SHARD BY (port)")
        .await;
    let whole =
        ground.ask(get("/api/v1/tables/calls/locate?key=%5B%22Oslo%22%2C%222013-01-01T10:00:00Z%22%2C3%5D")).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    let part = ground.ask(get("/api/v1/tables/calls/locate?key=Oslo")).await;
    assert_eq!(whole.json(), part.json());
    let expected = ground.pql("LOCATE calls KEY ('Oslo')").await;
    let place = part.json();
    assert_eq!(json!([place["token"], place["slot"], place["shard_id"], place["node_id"]]), expected[0]);
    assert_eq!(ground.ask(get("/api/v1/tables/nothing/locate?key=1")).await.sqlstate(), "42P01");
    assert_eq!(ground.ask(get("/api/v1/tables/calls/locate?key=%7B%7D")).await.sqlstate(), "22023");
    assert_eq!(ground.ask(get("/api/v1/tables/calls/locate")).await.status, 400);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_set_all_or_none() {
    let ground = Ground::new().await;
    let patch = async |body: Value| ground.ask(request("PATCH", "/api/v1/settings").json(&body)).await;
    let value = async |name: &str| ground.ask(get(&format!("/api/v1/settings/{name}"))).await.json()["value"].clone();
    let reply = patch(json!({ "gc_retention": "1h", "max_concurrent_migrations": 3, "auto_rebalance": true })).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    assert_eq!(value("max_concurrent_migrations").await, "3");
    assert_eq!(value("auto_rebalance").await, "on");
    let reply = patch(json!({ "gc_retention": "2h", "auto_rebalance": "maybe" })).await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (400, "22023"));
    assert_eq!(value("gc_retention").await, "1h");
    let reply = patch(json!({ "gc_retentoin": "2h" })).await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (404, "42704"));
    assert_eq!(patch(json!({ "gc_retention": null })).await.status, 204);
    assert_eq!(ground.ask(get("/api/v1/settings/gc_retention")).await.json()["origin"], "default");
    assert_eq!(patch(json!({})).await.sqlstate(), "22023");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_started_and_undone() {
    let ground = Ground::new().await;
    ground.pql("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)").await;
    ground.pql("INSERT INTO t SELECT value, 'row' FROM generate_series(1, 5000)").await;
    let change = async |change: &str| -> Reply { ground.ask(post(&format!("/api/v1/jobs/{change}"))).await };
    let nothing = ground.ask(post("/api/v1/jobs").json(&json!({ "kind": "rebalance" }))).await;
    assert_eq!(nothing.status, 200, "{}", nothing.text());
    assert_eq!(nothing.json()["tag"], "NOTHING TO DO");
    assert!(nothing.json()["notices"][0]["message"].is_string());
    let slots = json!({ "kind": "move", "slots": [{ "first": 0, "last": 99 }], "from": 1, "to": 2 });
    let started = ground.ask(post("/api/v1/jobs").json(&slots)).await;
    assert_eq!(started.status, 201, "{}", started.text());
    let job = started.json()["job"]["job_id"].as_i64().expect("a job");
    assert_eq!(started.headers["location"], format!("/api/v1/jobs/{job}"));
    ground.pql("WAIT FOR JOB ALL TIMEOUT '60s'").await;
    let shown = ground.ask(get(&format!("/api/v1/jobs/{job}"))).await.json();
    assert_eq!((&shown["state"], &shown["kind"]), (&json!("done"), &json!("move")));
    let migrations = ground.ask(get("/api/v1/migrations")).await.json();
    assert_eq!(migrations["items"][0]["phase"], "done");
    for over in ["pause", "resume", "cancel"] {
        let reply = change(&format!("{job}/{over}")).await;
        assert_eq!((reply.status, reply.sqlstate().as_str()), (409, "55000"), "{over}");
    }
    let undone = change(&format!("{job}/undo")).await;
    assert_eq!(undone.status, 201, "{}", undone.text());
    ground.pql("WAIT FOR JOB ALL TIMEOUT '60s'").await;
    assert_eq!(ground.ask(get("/api/v1/shards/1")).await.json()["slots"], 2_048);
    assert_eq!(change("77/cancel").await.sqlstate(), "42704");
    assert_eq!(change("77/stop").await.status, 400);
    assert_eq!(ground.ask(post("/api/v1/jobs").json(&json!({ "kind": "dance" }))).await.status, 422);
    let odd = json!({ "kind": "rebalance", "options": { "strategie": "adaptive" } });
    assert_eq!(ground.ask(post("/api/v1/jobs").json(&odd)).await.sqlstate(), "42601");
    for _ in 0..3 {
        ground.ask(post("/api/v1/jobs").json(&json!({ "kind": "rebalance" }))).await;
    }
    let decisions = ground.ask(get("/api/v1/balancer/decisions")).await.json()["items"].clone();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = ground.ask(get(&format!("/api/v1/balancer/decisions?limit=1{after}"))).await.json();
        seen.extend(page["items"].as_array().expect("items").clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert!(seen.len() >= 3, "{seen:?}");
    assert_eq!(Value::from(seen), decisions);
    ground.end().await;
}
