//! `POST /api/v1/pql`: what a statement answers, in every format, and what is said when it fails.

use crate::ground::{Ground, Reply, post};
use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};

async fn pql(ground: &Ground, body: Value, accept: &str) -> Reply {
    ground.ask(post("/api/v1/pql").json(&body).header("accept", accept)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_has_columns_and_rows() {
    let ground = Ground::new().await;
    ground.pql("CREATE TABLE t (id INT PRIMARY KEY, v TEXT, d DECIMAL(9,2), at TIMESTAMPTZ, j JSONB, l INT[])").await;
    let insert = "INSERT INTO t VALUES (1, 'a\"b', 1.50, '2013-01-01 05:00:00Z', '{\"a\": 1}', ARRAY[1, 2]), \
                  (2, NULL, NULL, NULL, NULL, NULL)";
    let reply = pql(&ground, json!({ "statement": insert }), "application/json").await;
    assert_eq!(reply.json(), json!({ "tag": "INSERT 0 2", "columns": [], "rows": [], "notices": [] }));
    let reply = pql(&ground, json!({ "statement": "SELECT id, v, d, at, j, l FROM t ORDER BY id" }), "*/*").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], "application/json");
    let answer = reply.json();
    assert_eq!(answer["tag"], "SELECT 2");
    let types: Vec<_> = answer["columns"].as_array().expect("columns").iter().map(|c| c["type"].clone()).collect();
    assert_eq!(types, ["integer", "text", "decimal(9,2)", "timestamptz", "jsonb", "integer[]"]);
    assert_eq!(answer["rows"][0][0], 1);
    assert_eq!(answer["rows"][0][1], "a\"b");
    assert_eq!(answer["rows"][0][3], "2013-01-01T05:00:00Z");
    assert_eq!(answer["rows"][0][4], "{\"a\":1}", "documents are text, as COPY writes them");
    assert_eq!(answer["rows"][0][5], json!([1, 2]));
    assert_eq!(answer["rows"][1], json!([2, null, null, null, null, null]));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_stream_as_lines_and_as_arrow() {
    let ground = Ground::new().await;
    ground.pql("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)").await;
    ground.pql("INSERT INTO t SELECT value, 'row ' || value FROM generate_series(1, 30000)").await;
    let query = json!({ "statement": "SELECT id, v FROM t ORDER BY id" });
    let lines = pql(&ground, query.clone(), "application/x-ndjson").await;
    assert!(lines.is_whole);
    assert_eq!(lines.headers["content-type"], "application/x-ndjson");
    let rows: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(rows.len(), 30_000);
    assert_eq!(rows[29_999], json!({ "id": 30_000, "v": "row 30000" }));
    let arrow = pql(&ground, query, "application/vnd.apache.arrow.stream").await;
    assert!(arrow.is_whole);
    let reader = StreamReader::try_new(arrow.body.as_slice(), None).expect("a stream");
    assert_eq!(reader.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["id", "v"]);
    let counts: Vec<usize> = reader.map(|batch| batch.expect("a batch").num_rows()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 30_000);
    // A statement without rows is a stream without columns.
    let none = pql(&ground, json!({ "statement": "DELETE FROM t" }), "application/vnd.apache.arrow.stream").await;
    assert_eq!(StreamReader::try_new(none.body.as_slice(), None).expect("a stream").count(), 0);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_has_no_end() {
    let ground = Ground::new().await;
    ground.pql("CREATE TABLE t (id INT PRIMARY KEY)").await;
    ground.pql("INSERT INTO t SELECT value FROM generate_series(1, 60000)").await;
    // The first rows are there long before the one that fails.
    let late = json!({ "statement": "SELECT 1 / (id - 59999) FROM t ORDER BY id" });
    let early = json!({ "statement": "SELECT 1 / (id - 1) FROM t ORDER BY id" });
    for accept in ["application/x-ndjson", "application/vnd.apache.arrow.stream"] {
        let reply = pql(&ground, late.clone(), accept).await;
        assert!(reply.status == 400 || !reply.is_whole, "{accept}: {} {}", reply.status, reply.is_whole);
        let reply = pql(&ground, early.clone(), accept).await;
        assert_eq!((reply.status, reply.sqlstate().as_str()), (400, "22012"), "{accept}");
    }
    let reply = pql(&ground, late, "application/json").await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (400, "22012"));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_have_their_types() {
    let ground = Ground::new().await;
    ground.pql("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT, d DECIMAL(9,2), b BOOLEAN, j JSON, at DATE)").await;
    let insert = json!({
        "statement": "INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6)",
        "parameters": [9_007_199_254_740_993_i64, "1; DROP TABLE t", "1.50", true, { "a": [1] }, "2013-01-01"],
    });
    assert_eq!(pql(&ground, insert, "*/*").await.json()["tag"], "INSERT 0 1");
    let found = json!({ "statement": "SELECT * FROM t WHERE id = $1", "parameters": ["9007199254740993"] });
    let row = &pql(&ground, found, "*/*").await.json()["rows"][0];
    assert_eq!(row[0], 9_007_199_254_740_993_i64);
    assert_eq!(row[1], "1; DROP TABLE t");
    assert_eq!(row[4], "{\"a\":[1]}");
    let few = json!({ "statement": "SELECT $1::int + $2::int", "parameters": [1] });
    assert_eq!(pql(&ground, few, "*/*").await.sqlstate(), "42P02");
    let none = json!({ "statement": "SELECT $1::int" });
    assert_eq!(pql(&ground, none, "*/*").await.sqlstate(), "42P02");
    let wrong = json!({ "statement": "SELECT * FROM t WHERE id = $1", "parameters": ["x"] });
    assert_eq!(pql(&ground, wrong, "*/*").await.sqlstate(), "22P02");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_problems() {
    let ground = Ground::new().await;
    ground.pql("CREATE TABLE ships (id INT PRIMARY KEY, tons INT)").await;
    let reply = pql(&ground, json!({ "statement": "QUERY ships WHERE tonns > 3" }), "*/*").await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (400, "42703"));
    let problem = reply.json();
    assert_eq!(problem["type"], "about:blank");
    assert_eq!(problem["title"], "Bad Request");
    assert_eq!(problem["hint"], "did you mean tons?");
    assert_eq!(problem["position"], 19);
    // Characters, not bytes.
    let reply = pql(&ground, json!({ "statement": "QUERY ships WHERE 'äöü' = tonns" }), "*/*").await;
    assert_eq!(reply.json()["position"], 27);
    ground.pql("INSERT INTO ships VALUES (1, 2)").await;
    let reply = pql(&ground, json!({ "statement": "INSERT INTO ships VALUES (1, 2)" }), "*/*").await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (409, "23505"));
    assert!(reply.json()["cause"].is_string(), "{}", reply.text());
    for (statement, status, state) in [
        ("QUERY nothing", 404, "42P01"),
        ("QUERY", 400, "42601"),
        ("", 400, "42601"),
        ("BEGIN", 501, "0A000"),
        ("COPY ships FROM STDIN", 501, "0A000"),
        ("COPY ships TO STDOUT", 501, "0A000"),
        ("SELECT 1; SELECT 2", 400, "42601"),
    ] {
        let reply = pql(&ground, json!({ "statement": statement }), "*/*").await;
        assert_eq!((reply.status, reply.sqlstate().as_str()), (status, state), "{statement}: {}", reply.text());
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_none_are_problems_too() {
    let ground = Ground::new().await;
    let asked = |request| ground.ask(request);
    let reply = asked(post("/api/v1/pql").body("{}")).await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (415, ""));
    for (body, status) in [("{", 400), ("{}", 422), (r#"{"statement": "SELECT 1", "x": 1}"#, 422)] {
        let reply = asked(post("/api/v1/pql").body(body).header("content-type", "application/json")).await;
        assert_eq!((reply.status, reply.sqlstate().as_str()), (status, ""), "{body}");
    }
    assert_eq!(asked(crate::ground::get("/api/v1/nothing")).await.status, 404);
    let reply = asked(crate::ground::get("/api/v1/pql")).await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (405, ""));
    let reply = pql(&ground, json!({ "statement": "SELECT 1" }), "text/html").await;
    assert_eq!((reply.status, reply.sqlstate().as_str()), (406, ""));
    let long = "x".repeat(17 << 20);
    let reply = pql(&ground, json!({ "statement": long }), "*/*").await;
    assert_eq!(reply.status, 413);
    // Requests have a number, the client's own if it has given one.
    let reply = asked(crate::ground::get("/livez").header("x-request-id", "mine")).await;
    assert_eq!(reply.headers["x-request-id"], "mine");
    assert_eq!(asked(crate::ground::get("/livez")).await.headers["x-request-id"].len(), 36);
    ground.end().await;
}
