//! Pipelines against the SQL that they mean, and places against the text that they point to.

use evenkeel_pql::ast::{CopyEndpoint, ShardStatement, StatementKind};
use evenkeel_pql::{StatementKind as Kind, TokenClass, parse, parse_expr, parse_statement, split, tokens};

/// What sqlparser prints for a pipeline: its tree, spelled with pipes.
fn tree(text: &str) -> String {
    match parse_statement(text) {
        Ok(statement) => statement.kind.to_string(),
        Err(error) => panic!("{text}: {}", error.message),
    }
}

#[track_caller]
fn assert_means(pipeline: &str, sql: &str) {
    assert_eq!(tree(pipeline), sql);
}

#[test]
fn operators_become_pipes_in_order() {
    assert_means("QUERY t", "SELECT * FROM t");
    assert_means("QUERY t WHERE a = 1 LIMIT 5 OFFSET 2", "SELECT * FROM t |> WHERE a = 1 |> LIMIT 5 OFFSET 2");
    assert_means(
        "QUERY t GROUP BY k, l = m + 1 COMPUTE n = COUNT(*), AVG(d) AS late HAVING n > 1 SELECT k, x = n",
        "SELECT * FROM t |> AGGREGATE COUNT(*) AS n, AVG(d) AS late GROUP BY k, m + 1 AS l |> WHERE n > 1 |> SELECT k, n AS x",
    );
    assert_means("QUERY t GROUP BY () COMPUTE n = COUNT(*)", "SELECT * FROM t |> AGGREGATE COUNT(*) AS n");
    assert_means("QUERY t COMPUTE a = b + 1", "SELECT * FROM t |> EXTEND b + 1 AS a");
    assert_means("QUERY t EXCEPT (QUERY u)", "SELECT * FROM t |> EXCEPT DISTINCT (SELECT * FROM u)");
}

#[test]
fn locking_clauses_stand_before_the_pipes() {
    assert_means("SELECT a FROM t FOR NO KEY UPDATE", "SELECT a FROM t FOR UPDATE");
    assert_means("SELECT a FROM t FOR KEY SHARE SKIP LOCKED", "SELECT a FROM t FOR SHARE SKIP LOCKED");
    assert_means("SELECT a FROM t FOR UPDATE NOWAIT LIMIT 1", "SELECT a FROM t LIMIT 1 FOR UPDATE NOWAIT");
    assert_means(
        "SELECT a FROM t, u FOR UPDATE OF t, public.u SKIP LOCKED FOR SHARE",
        "SELECT a FROM t, u FOR UPDATE OF t SKIP LOCKED FOR UPDATE OF public.u SKIP LOCKED FOR SHARE",
    );
    assert_means(
        "QUERY t WHERE a = 1 ORDER BY b LIMIT 1 FOR UPDATE SKIP LOCKED",
        "SELECT * FROM t FOR UPDATE SKIP LOCKED |> WHERE a = 1 |> ORDER BY b |> LIMIT 1",
    );
    assert_means("QUERY t FOR UPDATE", "SELECT * FROM t FOR UPDATE");
    assert_means("WITH x AS (QUERY u) QUERY t FOR SHARE", "WITH x AS (SELECT * FROM u) SELECT * FROM t FOR SHARE");
    // Printed, it is a pipeline again.
    let text = "QUERY t WHERE a = 1 ORDER BY b LIMIT 1 FOR UPDATE OF t SKIP LOCKED";
    assert_eq!(parse_statement(text).expect(text).to_string(), text);
    for wrong in [
        "SELECT a FROM t FOR",
        "SELECT a FROM t FOR NO UPDATE",
        "SELECT a FROM t FOR UPDATE OF",
        "QUERY t FOR UPDATE SKIP",
    ] {
        let error = parse_statement(wrong).expect_err(wrong);
        assert!(error.span.is_some(), "{wrong}: {error}");
    }
}

#[test]
fn joins_behind_the_source_stand_in_from() {
    assert_means("QUERY a SEMI JOIN b USING (id)", "SELECT * FROM a LEFT SEMI JOIN b USING(id)");
    assert_means(
        "QUERY a JOIN (QUERY b LIMIT 1) AS x ON a.id = x.id WHERE c JOIN d USING (e)",
        "SELECT * FROM a JOIN (SELECT * FROM b |> LIMIT 1) AS x ON a.id = x.id |> WHERE c |> JOIN d USING(e)",
    );
}

#[test]
fn what_pipes_cannot_compute_is_plain_sql() {
    assert_means("QUERY t WHERE a WHERE b SELECT COUNT(*)", "SELECT COUNT(*) FROM t WHERE (a) AND (b)");
    assert_means("QUERY t LIMIT 3 SELECT COUNT(*)", "SELECT COUNT(*) FROM (SELECT * FROM t |> LIMIT 3) AS pql_1");
    assert_means("QUERY t SELECT DISTINCT a LIMIT 3", "SELECT DISTINCT a FROM t |> LIMIT 3");
    assert_means("QUERY t SELECT a, b AS c ORDER BY c", "SELECT * FROM t |> SELECT a, b AS c |> ORDER BY c");
    assert_means("QUERY t SELECT a ORDER BY b LIMIT 1", "SELECT a FROM t ORDER BY b |> LIMIT 1");
    assert_means("QUERY t UNNEST tags AS tag", "SELECT *, unnest(tags) AS tag FROM t");
    assert_means("QUERY t OFFSET 3", "SELECT * FROM t OFFSET 3");
    assert_means("QUERY t GROUP BY k SELECT k, COUNT(*)", "SELECT k, COUNT(*) FROM t GROUP BY k");
    assert_means(
        "QUERY t GROUP BY k COMPUTE n = COUNT(*) HAVING MAX(a) > 1",
        "SELECT k, COUNT(*) AS n FROM t GROUP BY k HAVING MAX(a) > 1",
    );
    assert_means(
        "QUERY t COMPUTE n = ROW_NUMBER() OVER (ORDER BY a)",
        "SELECT *, ROW_NUMBER() OVER (ORDER BY a) AS n FROM t",
    );
    assert_means(
        "QUERY t INTERSECT ALL (QUERY u)",
        "SELECT * FROM ((SELECT * FROM t) INTERSECT ALL (SELECT * FROM u)) AS pql_1",
    );
    // An aggregate over a window, or in a sub-query, aggregates nothing here.
    assert_means(
        "QUERY t SELECT a, (QUERY u SELECT MAX(b)) AS m",
        "SELECT * FROM t |> SELECT a, (SELECT MAX(b) FROM u) AS m",
    );
}

#[test]
fn keywords_count_only_where_operators_stand() {
    assert_means(
        "QUERY t WHERE CASE WHEN a THEN b ELSE c END COMPUTE \"select\" = t.limit",
        "SELECT * FROM t |> WHERE CASE WHEN a THEN b ELSE c END |> EXTEND t.limit AS \"select\"",
    );
    assert_means("QUERY t WHERE left(a, 2) = 'x'", "SELECT * FROM t |> WHERE left(a, 2) = 'x'");
    assert_means("SELECT query FROM log WHERE (query IS NULL)", "SELECT query FROM log WHERE (query IS NULL)");
    assert_means("QUERY t SELECT * EXCEPT (a)", "SELECT * FROM t |> SELECT * EXCEPT (a)");
}

#[test]
fn sources_are_files_and_past_states_too() {
    assert_means("QUERY 'a.csv' JOIN 'b.csv' AS b USING (id)", "SELECT * FROM \"a.csv\" JOIN \"b.csv\" AS b USING(id)");
    assert_means("SELECT * FROM t, 'a.csv' AS a", "SELECT * FROM t, \"a.csv\" AS a");
    assert_means("SELECT a IS DISTINCT FROM 'x' FROM t", "SELECT a IS DISTINCT FROM 'x' FROM t");
    let past = tree("SELECT * FROM t FOR SYSTEM_TIME AS OF '2026-01-01' x WHERE a");
    assert_eq!(tree("SELECT * FROM t AS OF '2026-01-01' x WHERE a"), past);
    assert_eq!(tree("SELECT * FROM t x AS OF '2026-01-01' WHERE a"), past);
    assert_means("SELECT of.a FROM t AS of WHERE of.a", "SELECT of.a FROM t AS of WHERE of.a");
}

#[test]
fn pipelines_stand_wherever_sql_takes_a_query() {
    assert_means("INSERT INTO t QUERY u LIMIT 1", "INSERT INTO t SELECT * FROM u |> LIMIT 1");
    assert_means("CREATE VIEW v AS QUERY t LIMIT 1", "CREATE VIEW v AS SELECT * FROM t |> LIMIT 1");
    assert_means("EXPLAIN QUERY t LIMIT 1", "EXPLAIN SELECT * FROM t |> LIMIT 1");
    assert_means("COPY (QUERY t LIMIT 1) TO 'x'", "COPY (SELECT * FROM t |> LIMIT 1) TO 'x'");
    assert_means(
        "WITH a AS (QUERY t LIMIT 1) QUERY a LIMIT 2",
        "WITH a AS (SELECT * FROM t |> LIMIT 1) SELECT * FROM a |> LIMIT 2",
    );
}

#[test]
fn objects_become_rows() {
    assert_means("INSERT INTO t [{a: 1}, {b: 2, A: 3}]", "INSERT INTO t (a, b) VALUES (1, DEFAULT), (3, 2)");
    assert_means("UPSERT INTO s.t {a: @x}", "UPSERT INTO s.t (a) VALUES (@x)");
}

#[test]
fn printing_prefers_pipelines() {
    let printed = |text: &str| parse_statement(text).expect("valid").to_string();
    for text in [
        "QUERY t JOIN u USING(id) WHERE a = 1 GROUP BY k COMPUTE n = COUNT(*) HAVING n > 1 SELECT k, n AS m ORDER BY m DESC LIMIT 3",
        "QUERY t AS x AS OF '2026-01-01' WHERE a IN (QUERY u SELECT b)",
        "INSERT INTO t QUERY u WHERE a = 1 ON CONFLICT DO NOTHING RETURNING a",
        "QUERY t SELECT DISTINCT a LIMIT 3",
    ] {
        assert_eq!(printed(text), text);
    }
}

#[test]
fn statements_have_places_in_the_script() {
    let script = "-- first\nSELECT 'é;' ;\n\n  QUERY é WHERE a = 1 -- behind\n; BEGIN";
    let statements = parse(script).expect("valid");
    let texts: Vec<_> = statements.iter().map(|statement| &script[statement.span.clone()]).collect();
    assert_eq!(texts, ["SELECT 'é;'", "QUERY é WHERE a = 1", "BEGIN"]);
}

#[test]
fn every_error_of_a_script_is_told() {
    let script = "SELCT 1; SELECT 1; QUERY t WEHRE a = 1; SELECT 'open";
    let errors = parse(script).expect_err("three of four are wrong");
    let places: Vec<_> = errors.iter().map(|error| &script[error.span.clone().expect("a place")]).collect();
    assert_eq!(places, ["SELCT", "WEHRE", "'"]);
}

#[test]
fn scripts_are_split_outside_strings_and_comments() {
    let script = "SELECT ';', \";\", $$;$$, $a$;$$;$a$, E'\\';' /* ; /* ; */ ; */ -- ;\n; ; SELECT 2";
    let whole = split(script);
    assert_eq!(whole.statements.len(), 1);
    assert_eq!(&script[whole.tail.clone().expect("a tail")], "SELECT 2");
    assert!(whole.is_incomplete() && whole.unterminated.is_none());
    for open in ["SELECT 'a", "SELECT \"a", "SELECT $$ a", "SELECT 1; /* a"] {
        assert!(split(open).unterminated.is_some(), "{open}");
    }
    for complete in ["", "  -- only this", "SELECT 1;", "SELECT 1; -- done\n"] {
        assert!(!split(complete).is_incomplete(), "{complete}");
    }
}

#[test]
fn text_is_classified_for_highlighting() {
    let text = "QUERY t WHERE a >= @x -- c";
    let classes: Vec<_> = tokens(text)
        .into_iter()
        .filter(|(_, class)| *class != TokenClass::Other)
        .map(|(span, class)| (&text[span], class))
        .collect();
    let expected = [
        ("QUERY", TokenClass::Keyword),
        ("t", TokenClass::Identifier),
        ("WHERE", TokenClass::Keyword),
        ("a", TokenClass::Identifier),
        (">", TokenClass::Operator),
        ("=", TokenClass::Operator),
        ("@x", TokenClass::Parameter),
        ("-- c", TokenClass::Comment),
    ];
    assert_eq!(classes, expected);
}

#[test]
fn own_statements_have_their_own_trees() {
    let kind = |text: &str| parse_statement(text).expect("valid").kind;
    assert!(matches!(kind("KILL QUERY 7"), Kind::KillQuery(7)));
    assert!(matches!(kind("EXPLAIN SHARD 3"), StatementKind::Shard(ShardStatement::ExplainShard(3))));
    match kind("CREATE TABLE t (a INT, b INT, PRIMARY KEY (a, b)) SHARD BY (a)") {
        StatementKind::CreateTable { shard_by: Some(columns), .. } => assert_eq!(columns[0].value, "a"),
        other => panic!("{other}"),
    }
    match kind("COPY t FROM 'it''s.csv' CSV HEADER") {
        StatementKind::Copy(copy) => {
            assert_eq!(copy.endpoint, CopyEndpoint::File("it's.csv".to_string()));
            assert_eq!(copy.options.len(), 2);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn expressions_stand_alone() {
    assert_eq!(parse_expr("a > 0 AND b IS NOT NULL").expect("valid").to_string(), "a > 0 AND b IS NOT NULL");
    assert!(parse_expr("a >").is_err());
    assert!(parse_expr("a, b").is_err());
}
