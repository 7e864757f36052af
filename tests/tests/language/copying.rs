//! Files in and out: nothing changes on the way, and what does not fit leaves nothing.

use evenkeel_engine::Session;
use evenkeel_model::{Error, SqlState};
use evenkeel_tests::{Temporary, lines, run, spelled};

const FORMATS: &[&str] = &[
    "csv",
    "csv.gz",
    "csv.zst",
    "tsv",
    "tsv.gz",
    "tsv.zst",
    "json",
    "json.gz",
    "json.zst",
    "ndjson",
    "ndjson.gz",
    "ndjson.zst",
    "parquet",
    "arrow",
];

const COLUMNS: &str = "id integer PRIMARY KEY, yes boolean, small smallint, big bigint, ratio real, \
    double double precision, price decimal(20,4), words text, short varchar(8), raw bytea, day date, clock time, \
    local timestamp, instant timestamptz, span interval, key uuid, doc json, bin jsonb, numbers integer[], names text[]";

/// Rows of values that are easily changed on the way.
const ROWS: &[&str] = &[
    "(1, true, -32768, 9223372036854775807, 0.1, CAST('1e300' AS double precision), -1234567890123456.7891, 'plain', \
      'ä', '\\xdeadbeef', '2020-02-29', '23:59:59.999999', '1969-12-31 23:59:59.5', '2013-01-01 10:00:00+00', \
      INTERVAL '1 year 2 months', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"b\": 1,  \"a\": [2]}', \
      '{\"b\": 1, \"a\": [2]}', ARRAY[1, NULL, -3], ARRAY['a', 'b,c', '\"q\"'])",
    "(2, false, 32767, -9223372036854775808, -1.5, -0.25, 0.0001, '', '', '\\x', '0001-01-01', '00:00:00', \
      '9999-12-31 00:00:00', '1969-07-20 20:17:40+00', INTERVAL '-3 days', '00000000-0000-0000-0000-000000000000', \
      'null', 'null', ARRAY[]::integer[], ARRAY['', 'NULL'])",
    "(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
      NULL)",
    "(4, true, 0, 0, 0, 0, 0, 'line\nbreak, \"quoted\"\tand tab', '\\N', '\\x00ff', '1970-01-01', '10:30', \
      '1970-01-01 00:00:00', '1970-01-01 00:00:00+00', INTERVAL '90 minutes', NULL, '\"text\"', '[1.50, true]', NULL, \
      NULL)",
];

async fn filled(database: &Temporary) -> Session {
    let session = database.session();
    lines(&session, &format!("CREATE TABLE t ({COLUMNS})")).await;
    for row in ROWS {
        lines(&session, &format!("INSERT INTO t VALUES {row}")).await;
    }
    session
}

async fn round_trips(shards: u32) {
    let database = Temporary::new(shards);
    let session = filled(&database).await;
    let before = lines(&session, "SELECT * FROM t ORDER BY id").await;
    assert_eq!(before.len(), ROWS.len());
    for format in FORMATS {
        let file = database.folder().join(format!("t.{format}")).display().to_string();
        assert_eq!(run(&session, &format!("COPY t TO '{file}'")).await.expect(format).tag, "COPY 4", "{format}");
        lines(&session, &format!("CREATE TABLE back ({COLUMNS})")).await;
        match run(&session, &format!("COPY back FROM '{file}'")).await {
            Ok(answered) => assert_eq!(answered.tag, "COPY 4", "{format}"),
            Err(error) => panic!("{format}: {}", spelled(&error)),
        }
        assert_eq!(lines(&session, "SELECT * FROM back ORDER BY id").await, before, "{format}");
        assert_eq!(lines(&session, &format!("SELECT count(*) FROM '{file}'")).await, ["4"], "{format}");
        lines(&session, "DROP TABLE back").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_brings_back_every_type_over_one_shard() {
    round_trips(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_brings_back_every_type_over_four_shards() {
    round_trips(4).await;
}

/// A table `t (id, v, w)` and a file beside it.
struct Place {
    database: Temporary,
    session: Session,
}

impl Place {
    async fn new() -> Self {
        let database = Temporary::new(4);
        let session = database.session();
        let table = "CREATE TABLE t (id integer PRIMARY KEY, v varchar(5) NOT NULL, w integer DEFAULT 7 CHECK (w > 0))";
        lines(&session, table).await;
        Self { database, session }
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.database.folder().join(name);
        std::fs::write(&path, content).expect("a file");
        path.display().to_string()
    }

    /// The error of loading a file, after which the table has these rows.
    async fn refused(&self, name: &str, content: &str, rows: u64) -> Error {
        let copy = format!("COPY t FROM '{}'", self.file(name, content));
        let error = match run(&self.session, &copy).await {
            Ok(answered) => panic!("{content:?} was to fail and answers {}", answered.tag),
            Err(error) => error,
        };
        for count in ["SELECT count(*) FROM t", "SELECT sum(row_count) FROM system.shards"] {
            assert_eq!(lines(&self.session, count).await, [rows.to_string()], "after {content:?}");
        }
        error
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_told_and_nothing_remains() {
    use SqlState::*;
    let place = Place::new().await;
    for (name, content, state, told) in [
        ("a.csv", "id,v,w\n1,x,1\n2,y,abc\n", InvalidTextRepresentation, &["a.csv, line 3", "w", "abc"][..]),
        ("a.csv", "id,v\n1,x\n99999999999,y\n", NumericValueOutOfRange, &["a.csv, line 3", "id"]),
        ("a.csv", "id,v\n1,x\n2,\n", NotNullViolation, &["a.csv, line 3", "v"]),
        ("a.csv", "id,v\n1,x\n,y\n", NotNullViolation, &["a.csv, line 3", "id"]),
        ("a.csv", "id,v,w\n1,x,1\n2,y,0\n", CheckViolation, &["a.csv, line 3", "t_w_check"]),
        ("a.csv", "id,v\n1,x\n2,abcdef\n", StringDataRightTruncation, &["a.csv, line 3", "v"]),
        ("a.csv", "id,v\n1,x\n2,\"y\nz\"\n1,y\n", UniqueViolation, &["a.csv, line 5", "line 2", "(id)", "1"]),
        ("a.csv", "id,v\n1,x\n2\n", BadCopyFileFormat, &["a.csv, line 3"]),
        ("a.csv", "id,v\n1,x\n2,y,z\n", BadCopyFileFormat, &["a.csv, line 3"]),
        ("a.csv", "id,v\n1,\"x\n", BadCopyFileFormat, &["a.csv, line 2"]),
        ("a.csv", "id,vv\n1,x\n", UndefinedColumn, &["vv", "a.csv, line 1"]),
        ("a.tsv", "id\tv\n1\tx\n2\t\\N\n", NotNullViolation, &["a.tsv, line 3", "v"]),
        (
            "a.ndjson",
            "{\"id\":1,\"v\":\"x\"}\n{\"id\":\"y\",\"v\":\"x\"}\n",
            InvalidTextRepresentation,
            &["a.ndjson, line 2", "id"],
        ),
        ("a.json", "[{\"id\":1,\"v\":\"x\"},\n{\"id\" 2}]", BadCopyFileFormat, &["a.json, line 2"]),
        ("a.json", "[{\"id\":1,\"v\":\"x\",\"z\":1}]", UndefinedColumn, &["z", "a.json"]),
        ("a.parquet", "not parquet", BadCopyFileFormat, &["a.parquet"]),
        ("a.csv.gz", "id,v\n1,x\n", IoError, &["a.csv.gz"]),
    ] {
        let error = place.refused(name, content, 0).await;
        assert_eq!(error.state, state, "{content:?}: {}", spelled(&error));
        for part in told {
            assert!(spelled(&error).contains(part), "{content:?}: no {part:?} in {}", spelled(&error));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_exists_is_told_with_its_line() {
    let place = Place::new().await;
    lines(&place.session, "INSERT INTO t VALUES (5, 'old')").await;
    let error = place.refused("a.csv", "id,v\n4,x\n5,y\n", 1).await;
    assert_eq!(error.state, SqlState::UniqueViolation);
    for part in ["a.csv, line 3", "(id)", "5", "exists already"] {
        assert!(spelled(&error).contains(part), "no {part:?} in {}", spelled(&error));
    }
    let file = place.file("a.csv", "id,v\n4,x\n6,y\n");
    assert_eq!(run(&place.session, &format!("COPY t FROM '{file}'")).await.expect("new keys").tag, "COPY 2");
    assert_eq!(lines(&place.session, "SELECT * FROM t ORDER BY id").await, ["4|x|7", "5|old|7", "6|y|7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_there_are_told() {
    let place = Place::new().await;
    place.file("flights.csv", "id,v\n");
    let near = place.database.folder().join("flihgts.csv").display().to_string();
    let error = run(&place.session, &format!("COPY t FROM '{near}'")).await.expect_err("no such file");
    assert_eq!(error.state, SqlState::UndefinedFile);
    assert!(error.hint.clone().unwrap_or_default().contains("flights.csv"), "{}", spelled(&error));
    let missing = place.database.folder().join("no/t.csv").display().to_string();
    let error = run(&place.session, &format!("COPY t TO '{missing}'")).await.expect_err("no such folder");
    assert!(matches!(error.state, SqlState::IoError | SqlState::UndefinedFile), "{}", spelled(&error));
    let error = run(&place.session, &format!("SELECT * FROM '{near}'")).await.expect_err("no such file");
    assert_eq!(error.state, SqlState::UndefinedFile);
    let unnamed = place.file("t.txt", "id,v\n1,x\n");
    let error = run(&place.session, &format!("COPY t FROM '{unnamed}'")).await.expect_err("no known format");
    assert_eq!(error.state, SqlState::InvalidParameterValue);
    lines(&place.session, &format!("COPY t FROM '{unnamed}' WITH (format csv)")).await;
    assert_eq!(lines(&place.session, "SELECT * FROM t").await, ["1|x|7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_say_how_a_file_is_written() {
    let place = Place::new().await;
    let file = place.file("a.csv", "3;'a;b';NA\n");
    let options = "WITH (header false, delimiter ';', quote '''', null 'NA')";
    lines(&place.session, &format!("COPY t (id, v, w) FROM '{file}' {options}")).await;
    assert_eq!(lines(&place.session, "SELECT * FROM t").await, ["3|a;b|NULL"]);
    let out = place.database.folder().join("out.csv").display().to_string();
    lines(&place.session, &format!("COPY t TO '{out}' {options}")).await;
    assert_eq!(std::fs::read_to_string(&out).expect("the file"), "3;'a;b';NA\n");
    lines(&place.session, &format!("COPY (QUERY t SELECT twice = id * 2, v ORDER BY id) TO '{out}'")).await;
    assert_eq!(std::fs::read_to_string(&out).expect("the file"), "twice,v\n6,a;b\n");
    lines(&place.session, &format!("COPY t (w, id) TO '{out}' WITH (format ndjson)")).await;
    assert_eq!(std::fs::read_to_string(&out).expect("the file"), "{\"w\":null,\"id\":3}\n");
    for (options, told) in [
        ("delimeter ';'", "did you mean delimiter"),
        ("format xml", "ndjson"),
        ("delimiter 'ab'", "one ASCII character"),
    ] {
        let error = run(&place.session, &format!("COPY t FROM '{file}' WITH ({options})")).await.expect_err(options);
        assert_eq!(error.state, SqlState::InvalidParameterValue, "{}", spelled(&error));
        assert!(spelled(&error).contains(told), "{}", spelled(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_leaves_no_file() {
    let place = Place::new().await;
    lines(&place.session, "INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    let out = place.database.folder().join("out.csv");
    std::fs::write(&out, "as it was").expect("a file");
    let copy = format!("COPY (SELECT 1 / (id - 2) AS x FROM t) TO '{}'", out.display());
    let error = run(&place.session, &copy).await.expect_err("a division by zero");
    assert_eq!(error.state, SqlState::DivisionByZero);
    assert_eq!(std::fs::read_to_string(&out).expect("the file"), "as it was");
    let names = std::fs::read_dir(place.database.folder()).expect("the folder").count();
    assert_eq!(names, 2, "the database and the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_a_block_a_copy_is_part_of_it() {
    let place = Place::new().await;
    let other = place.database.session();
    let good = place.file("good.csv", "id,v\n1,x\n2,y\n");
    let bad = place.file("bad.csv", "id,v\n3,x\n1,y\n");
    let (session, count) = (&place.session, "SELECT count(*) FROM t");
    for (end, rows) in [("ROLLBACK", "0"), ("COMMIT", "2")] {
        lines(session, "BEGIN").await;
        assert_eq!(run(session, &format!("COPY t FROM '{good}'")).await.expect("new keys").tag, "COPY 2");
        assert_eq!(lines(session, count).await, ["2"]);
        assert_eq!(lines(&other, count).await, ["0"]);
        lines(session, end).await;
        assert_eq!(lines(&other, count).await, [rows], "after {end}");
    }
    lines(session, "BEGIN").await;
    lines(session, "INSERT INTO t VALUES (9, 'z')").await;
    lines(session, "SAVEPOINT before").await;
    let error = run(session, &format!("COPY t FROM '{bad}'")).await.expect_err("a key that exists");
    assert_eq!(error.state, SqlState::UniqueViolation);
    assert!(spelled(&error).contains("bad.csv, line 3"), "{}", spelled(&error));
    let error = run(session, count).await.expect_err("the block has failed");
    assert_eq!(error.state, SqlState::InFailedTransaction);
    lines(session, "ROLLBACK TO before").await;
    assert_eq!(lines(session, count).await, ["3"]);
    lines(session, "COMMIT").await;
    assert_eq!(lines(&other, count).await, ["3"]);
}
