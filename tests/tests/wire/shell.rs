//! The shell over the wire: what it prints, and what reaches it while a statement runs.

use crate::ground::{Ground, SOON, until_it_runs};
use crate::shell_ground::{Stage, dial, events, run, within};
use evenkeel_model::SqlState;
use evenkeel_shell::Outcome;
use evenkeel_shell::connection::{Connection, Event, TransactionState};
use std::collections::BTreeSet;
use std::io::{self, Cursor, Read};

const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, ok boolean, n double precision, d decimal(6,2), \
                     name text, at timestamptz, day date, many integer[], words text[], doc jsonb);\n\
                     INSERT INTO t VALUES (1, true, 0.5, 12.30, 'plain', '2013-01-01 10:00:00.25+00', '2013-01-01', \
                     ARRAY[1, NULL], ARRAY['a, b', 'c'], '{\"a\":1}');\n\
                     INSERT INTO t VALUES (2, false, 1e20, -0.05, 'two\nlines', NULL, NULL, ARRAY[]::integer[], NULL, NULL);\n\
                     INSERT INTO t (id, n) VALUES (3, 'NaN'::double precision);\n";

/// What each format makes of it.
const PRINTED: &str = r#"\format table
 id | ok    |     n |     d | name       | at                        | day        | many      | words     | doc
----+-------+-------+-------+------------+---------------------------+------------+-----------+-----------+---------
  1 | true  |   0.5 | 12.30 | plain      | 2013-01-01 10:00:00.25+00 | 2013-01-01 | [1, NULL] | [a, b, c] | {"a":1}
  2 | false | 1e+20 | -0.05 | two\nlines | NULL                      | NULL       | []        | NULL      | NULL
  3 | NULL  |   NaN |  NULL | NULL       | NULL                      | NULL       | NULL      | NULL      | NULL
(3 rows)
\format csv
id,ok,n,d,name,at,day,many,words,doc
1,true,0.5,12.30,plain,2013-01-01T10:00:00.25Z,2013-01-01,"[1, NULL]","[a, b, c]","{""a"":1}"
2,false,1e+20,-0.05,"two
lines",,,[],,
3,,NaN,,,,,,,
\format json
[
{"id":1,"ok":true,"n":0.5,"d":12.30,"name":"plain","at":"2013-01-01T10:00:00.25Z","day":"2013-01-01","many":[1,null],"words":["a, b","c"],"doc":"{\"a\":1}"},
{"id":2,"ok":false,"n":1e+20,"d":-0.05,"name":"two\nlines","at":null,"day":null,"many":[],"words":null,"doc":null},
{"id":3,"ok":null,"n":"NaN","d":null,"name":null,"at":null,"day":null,"many":null,"words":null,"doc":null}
]
\format ndjson
{"id":1,"ok":true,"n":0.5,"d":12.30,"name":"plain","at":"2013-01-01T10:00:00.25Z","day":"2013-01-01","many":[1,null],"words":["a, b","c"],"doc":"{\"a\":1}"}
{"id":2,"ok":false,"n":1e+20,"d":-0.05,"name":"two\nlines","at":null,"day":null,"many":[],"words":null,"doc":null}
{"id":3,"ok":null,"n":"NaN","d":null,"name":null,"at":null,"day":null,"many":null,"words":null,"doc":null}
\format markdown
| id | ok | n | d | name | at | day | many | words | doc |
| ---: | --- | ---: | ---: | --- | --- | --- | --- | --- | --- |
| 1 | true | 0.5 | 12.30 | plain | 2013-01-01 10:00:00.25+00 | 2013-01-01 | [1, NULL] | [a, b, c] | {"a":1} |
| 2 | false | 1e+20 | -0.05 | two<br>lines | NULL | NULL | [] | NULL | NULL |
| 3 | NULL | NaN | NULL | NULL | NULL | NULL | NULL | NULL | NULL |
\format vertical
-[ RECORD 1 ]---
id | 3
"#;

fn script() -> String {
    let formats = ["table", "csv", "json", "ndjson", "markdown"];
    let each = formats.map(|name| format!("\\echo \\format {name}\n\\format {name}\nQUERY t ORDER BY id;\n"));
    format!("{}\\echo \\format vertical\n\\format vertical\nSELECT id FROM t WHERE id = 3;\n", each.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_look_the_same_in_every_format_wherever_the_server_is() {
    let ground = Ground::new().await;
    let mut far = ground.stage().await;
    assert_eq!(far.print(TABLE).await, "CREATE TABLE\nINSERT 0 1\nINSERT 0 1\nINSERT 0 1\n");
    let (connection, server) = within(&ground.database).await;
    let mut near = Stage::new(connection);
    let tls = dial(&format!("postgres://tester@{}?sslmode=require", ground.address)).await.expect("a connection");
    assert!(tls.is_encrypted() && !far.connection.is_encrypted());
    for stage in [&mut far, &mut near, &mut Stage::new(tls)] {
        assert_eq!(stage.print(&script()).await, format!("{PRINTED}(1 row)\n"));
    }
    drop(near);
    server.end().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_come_as_they_were_sent() {
    let ground = Ground::new().await;
    let mut stage = ground.stage().await;
    let printed =
        stage.print("\\format csv\nSELECT n, repeat('x', 100) AS x FROM generate_series(1, 50000) AS g(n);").await;
    let expected: String = (1..=50_000).map(|n| format!("{n},{}\n", "x".repeat(100))).collect();
    assert!(printed == format!("n,x\n{expected}"), "{} bytes", printed.len());
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_values_and_errors_point_at_what_was_typed() {
    let ground = Ground::new().await;
    let mut stage = ground.stage().await;
    let values = "\\format csv\n\\set who 'O''Neil; DROP TABLE t --'\n\\set n -5\n\\set yes true\n\\set none null\n";
    assert_eq!(
        stage.print(&format!("{values}SELECT @who AS who, 1-@n AS n, @yes AS yes, @none IS NULL AS none;")).await,
        "who,n,yes,none\nO''Neil; DROP TABLE t --,6,true,true\n"
    );
    assert_eq!(stage.run("SELECT @who, @n,\n  'ü', colour FROM system.shards;").await, Outcome::Failed);
    let err = stage.err.take();
    assert!(err.starts_with("ERROR 42703: "), "{err}");
    assert!(
        err.contains(" --> test.pql:2:8\n   |\n 2 |   'ü', colour FROM system.shards;\n   |        ^^^^^^\n"),
        "{err}"
    );
    assert_eq!(stage.run("SELECT @n + @nobody;").await, Outcome::Failed);
    let err = stage.err.take();
    assert!(err.starts_with("ERROR 42P02: parameter @nobody has no value"), "{err}");
    assert!(err.contains("\n   |             ^^^^^^^\n") && err.contains("HINT: give it one with --set"), "{err}");
    assert_eq!(stage.run("\\assert SELECT @n > 0").await, Outcome::Failed);
    assert!(stage.err.take().contains("DETAIL: "));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn details_hints_and_notices_arrive() {
    let ground = Ground::new().await;
    let mut stage = ground.stage().await;
    stage.print("CREATE TABLE t (id bigint PRIMARY KEY); INSERT INTO t VALUES (1);").await;
    assert_eq!(stage.run("INSERT INTO t VALUES (1);").await, Outcome::Failed);
    let err = stage.err.take();
    assert!(err.starts_with("ERROR 23505: ") && err.contains("\nDETAIL: "), "{err}");
    assert_eq!(stage.run("DROP TABLE IF EXISTS nothing;").await, Outcome::Succeeded);
    let err = stage.err.take();
    assert!(err.starts_with("NOTICE: "), "{err}");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transaction_is_that_of_the_server() {
    let ground = Ground::new().await;
    let mut stage = ground.stage().await;
    let states = [
        ("BEGIN;", TransactionState::Open),
        ("SELECT 1;", TransactionState::Open),
        ("SELECT nothing;", TransactionState::Failed),
        ("ROLLBACK;", TransactionState::Idle),
        ("SELECT nothing;", TransactionState::Idle),
    ];
    for (statement, state) in states {
        stage.run(statement).await;
        assert_eq!(stage.connection.transaction(), state, "{statement}");
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_the_statement_and_nothing_else() {
    let ground = Ground::new().await;
    let other = ground.client().await;
    let (near, server) = within(&ground.database).await;
    let url = |mode: &str| format!("postgres://tester@{}?sslmode={mode}", ground.address);
    let connections =
        [dial(&url("disable")).await.expect("a connection"), dial(&url("require")).await.expect("one"), near];
    for connection in connections {
        let mut stage = Stage::new(connection);
        let interrupt = stage.interrupt.clone();
        let press = async {
            until_it_runs(&other, "100000").await;
            interrupt.send_modify(|presses| *presses += 1);
        };
        let long = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b;";
        let (outcome, ()) = tokio::join!(stage.run(long), press);
        assert_eq!(outcome, Outcome::Interrupted);
        // A request that came late would stop one of these.
        for _ in 0..20 {
            assert_eq!(stage.print("\\format csv\nSELECT 1 AS one;").await, "one\n1\n");
        }
    }
    server.end().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_waits_for_is_passed_over() {
    use futures::StreamExt;
    let ground = Ground::new().await;
    let mut stage = ground.stage().await;
    for _ in 0..5 {
        let statement = "SELECT n FROM generate_series(1, 10000000) AS g(n)";
        let first = stage.connection.execute(statement, &[], None).next().await;
        assert!(matches!(first, Some(Ok(Event::Columns(_)))));
        assert_eq!(stage.print("\\format csv\nSELECT 2 AS two;").await, "two\n2\n");
    }
    ground.end().await;
}

/// Rows that end in a fault.
struct Faulty(Cursor<&'static [u8]>);

impl Read for Faulty {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the tape is torn")),
            length => Ok(length),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_copied_both_ways() {
    let ground = Ground::new().await;
    let mut stage = ground.stage().await;
    stage.print("CREATE TABLE t (id bigint PRIMARY KEY, name text);").await;
    let csv: String = (1..=20_000).map(|id| format!("{id},name {id}\n")).collect();
    let input = Box::new(Cursor::new(csv.clone().into_bytes()));
    let statement = "COPY t FROM STDIN WITH (format csv)";
    let answer = events(&stage.connection, statement, Some(input)).await.expect("copied");
    assert!(matches!(answer.last(), Some(Event::Complete(tag)) if tag == "COPY 20000"), "{answer:?}");
    let printed = stage.print("COPY (SELECT * FROM t ORDER BY id) TO STDOUT WITH (format csv);").await;
    assert!(printed == csv, "{} bytes", printed.len());
    // Half of them is none of them.
    stage.print("DELETE FROM t WHERE id > 1;").await;
    let torn = Box::new(Faulty(Cursor::new(b"7,seven\n8,eight\n")));
    let error = events(&stage.connection, statement, Some(torn)).await.expect_err("the rows are torn");
    assert_eq!(error.state, SqlState::IoError);
    assert!(error.message.ends_with("the tape is torn"), "{}", error.message);
    let wrong = Box::new(Cursor::new([&b"9,nine\nten,ten\n"[..], &b"11,eleven\n".repeat(500_000)].concat()));
    let error = events(&stage.connection, statement, Some(wrong)).await.expect_err("no number");
    assert_eq!(error.state, SqlState::InvalidTextRepresentation, "{error:?}");
    let error = events(&stage.connection, statement, None).await.expect_err("no rows");
    assert!(error.hint.is_some_and(|hint| hint.starts_with("\\copy")));
    assert_eq!(stage.print("\\format csv\nSELECT count(*) AS n FROM t;").await, "n\n1\n");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_client_are_copied_both_ways() {
    let ground = Ground::new().await;
    let mut stage = ground.stage().await;
    let file = |name: &str| ground.database.folder().join(name).display().to_string();
    let (first, second) = (file("it's.csv").replace('\'', "''"), file("out.ndjson"));
    std::fs::write(file("it's.csv"), "id,name\n1,one\n2,\n").expect("written");
    stage.print("CREATE TABLE t (id bigint PRIMARY KEY, name text);").await;
    assert_eq!(stage.print(&format!("\\copy t FROM '{first}'")).await, "COPY 2\n");
    assert_eq!(stage.print(&format!("\\copy (QUERY t ORDER BY id) TO '{second}'")).await, "COPY 2\n");
    let copied = std::fs::read_to_string(&second).expect("written");
    assert_eq!(copied, "{\"id\":1,\"name\":\"one\"}\n{\"id\":2,\"name\":null}\n");
    for (command, words) in [("\\copy t FROM '/no/such'", "cannot be read"), ("\\copy nowhere FROM '{first}'", "42P01")]
    {
        assert_eq!(stage.run(&command.replace("{first}", &first)).await, Outcome::Failed);
        let err = stage.err.take();
        assert!(err.contains(words), "{err}");
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_migration_reports_how_far_it_is() {
    let ground = Ground::new().await;
    let stage = ground.stage().await;
    let connection = &stage.connection;
    for statement in [
        "CREATE TABLE t (id bigint PRIMARY KEY, v bigint)",
        "INSERT INTO t SELECT n, 0 FROM generate_series(1, 8000) AS g(n)",
        "ALTER SYSTEM SET migration_rate = 500, migration_batch_rows = 50, max_concurrent_migrations = 2",
        "MOVE SLOTS 0 TO 2047 FROM SHARD 1 TO SHARD 2",
        "MOVE SLOTS 4096 TO 6143 FROM SHARD 3 TO SHARD 4",
    ] {
        run(connection, statement).await;
    }
    let bars = async {
        use futures::StreamExt;
        let mut bars = BTreeSet::new();
        let mut answer = connection.execute("WAIT FOR JOB ALL", &[], None);
        while let Some(event) = answer.next().await {
            if let Event::Progress(progress) = event.expect("it waits") {
                assert!(progress.done <= progress.total.expect("it is known"), "{progress:?}");
                bars.extend(progress.label.split_once(", ").map(|(bar, _)| bar.to_string()));
            }
            if bars.len() == 2 {
                break;
            }
        }
        bars
    };
    let bars = tokio::time::timeout(SOON, bars).await.expect("both are under way");
    assert_eq!(bars.into_iter().collect::<Vec<_>>(), ["shard 1 → 2", "shard 3 → 4"]);
    run(connection, "ALTER SYSTEM SET migration_rate = 0, migration_batch_rows = 4096").await;
    run(connection, "WAIT FOR JOB ALL").await;
    ground.end().await;
}
