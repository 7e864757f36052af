//! Loads and queries of more than fits the memory they are given: sorted runs and spills on disk, same answers.

use evenkeel_model::SqlState;
use evenkeel_tests::{Temporary, lines, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_load_above_its_memory_is_merged_from_runs() {
    for shards in [1, 4] {
        let database = Temporary::new(shards);
        let session = database.session();
        // A quarter of it is what a load may buffer: these rows take several runs in every shard.
        lines(&session, "ALTER SYSTEM SET memory_limit = '32MiB'").await;
        lines(&session, "CREATE TABLE t (id bigint PRIMARY KEY, v text)").await;
        let rows = "SELECT value * 7919 % 200003 AS id, repeat('x', 100) AS v FROM generate_series(1, 200002)";
        lines(&session, &format!("INSERT INTO t {rows}")).await;
        let all = "SELECT COUNT(*), COUNT(DISTINCT id), MIN(id), MAX(id), SUM(id) FROM t";
        assert_eq!(lines(&session, all).await, ["200002|200002|1|200002|20000500003"], "{shards} shards");
        assert_eq!(lines(&session, "SELECT id FROM t WHERE id = 77777").await, ["77777"]);

        // The same key in the first run and in the last.
        lines(&session, "CREATE TABLE u (id bigint PRIMARY KEY, v text)").await;
        let twice = format!("INSERT INTO u QUERY ({rows} UNION ALL SELECT 5, 'again') AS x");
        let error = run(&session, &twice).await.expect_err("a key is there twice");
        assert_eq!(error.state, SqlState::UniqueViolation, "{error}");
        assert!(error.detail.as_deref().is_some_and(|detail| detail.contains("(id) = (5)")), "{error:?}");
        assert_eq!(lines(&session, "SELECT COUNT(*) FROM (QUERY u) AS x WHERE id > 0").await, ["0"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sort_above_its_memory_spills() {
    let database = Temporary::new(4);
    let session = database.session();
    lines(&session, "CREATE TABLE t (id bigint PRIMARY KEY, v text)").await;
    let rows = "SELECT value, md5(CAST(value AS text)) || repeat('y', 200) FROM generate_series(1, 150000)";
    lines(&session, &format!("INSERT INTO t {rows}")).await;
    lines(&session, "ALTER SYSTEM SET memory_limit = '32MiB'").await;
    let file = database.folder().join("sorted.csv");
    lines(&session, &format!("COPY (SELECT v FROM t ORDER BY v) TO '{}'", file.display())).await;
    let text = std::fs::read_to_string(&file).expect("the file was written");
    let sorted: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(sorted.len(), 150_000);
    assert!(sorted.is_sorted());
}
