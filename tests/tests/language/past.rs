//! Reading the past: `AS OF` gives every table as it was, whatever has happened since.

use evenkeel_model::SqlState;
use evenkeel_tests::{Temporary, lines, moment, run, spelled};

#[tokio::test(flavor = "multi_thread")]
async fn every_time_has_its_rows() {
    for shards in [1, 4] {
        let database = Temporary::new(shards);
        let session = database.session();
        lines(&session, "CREATE TABLE t (id integer PRIMARY KEY, v integer)").await;
        lines(&session, "CREATE VIEW total AS QUERY t GROUP BY () COMPUTE n = COUNT(*), s = SUM(v)").await;
        let mut expected = Vec::new();
        for (change, total) in [
            ("INSERT INTO t SELECT value, 1 FROM generate_series(1, 40)", "40|40"),
            ("UPDATE t SET v = 2 WHERE id <= 10", "40|50"),
            ("DELETE FROM t WHERE id % 2 = 0", "20|25"),
            ("UPDATE t SET id = id + 1000", "20|25"),
            ("UPSERT INTO t SELECT value, 5 FROM generate_series(2, 6, 2)", "23|40"),
            ("INSERT INTO t SELECT value, 0 FROM generate_series(10000, 39999)", "30023|40"),
        ] {
            lines(&session, change).await;
            expected.push((change, moment(&session).await, total));
        }
        for (change, time, total) in &expected {
            for query in [
                format!("SELECT n, s FROM (QUERY t AS OF '{time}' GROUP BY () COMPUTE n = COUNT(*), s = SUM(v)) AS x"),
                format!("QUERY t AS OF TIMESTAMPTZ '{time}' SELECT COUNT(*) AS n, SUM(v) AS s"),
                format!("QUERY total AS OF '{time}'"),
            ] {
                assert_eq!(lines(&session, &query).await, [*total], "{shards} shards, after {change}: {query}");
            }
        }
        let (first, last) = (&expected[0].1, &expected[4].1);
        let old = format!("QUERY t AS OF '{first}' WHERE id = 2 SELECT v");
        assert_eq!(lines(&session, &old).await, ["1"]);
        let gone =
            format!("QUERY t AS OF '{first}' AS a ANTI JOIN t AS OF '{last}' AS b ON a.id = b.id SELECT COUNT(*) AS n");
        assert_eq!(lines(&session, &gone).await, ["37"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_ends_where_versions_are_collected() {
    let database = Temporary::new(2);
    let session = database.session();
    lines(&session, "CREATE TABLE t (id integer PRIMARY KEY)").await;
    for time in ["2000-01-01 00:00:00", "2999-01-01 00:00:00"] {
        let error = run(&session, &format!("QUERY t AS OF '{time}'")).await.expect_err("out of reach");
        let known = matches!(error.state, SqlState::InvalidParameterValue | SqlState::ObjectNotInPrerequisiteState);
        assert!(known, "{time}: {}", spelled(&error));
    }
}
