//! Scripts against a database that answers what it was told: what is run, what is printed, how it ends.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::connection::{Connection, Event, Notice};
use crate::fake::{ENDLESS, FATAL, Fake, Stage, batch, complete};
use crate::rows::{Batch, Columns};
use crate::{Format, Interrupt, Options, Streams};

fn numbers(name: &str, values: &[i64]) -> Batch {
    let texts: Vec<_> = values.iter().map(i64::to_string).collect();
    batch([(name, 20)], &texts.iter().map(|text| [Some(text.as_str())]).collect::<Vec<_>>())
}

fn texts<const N: usize>(columns: [(&str, &str); N]) -> Batch {
    batch(columns.map(|(name, _)| (name, 25)), &[columns.map(|(_, value)| Some(value))])
}

fn booleans(values: &[Option<bool>]) -> Batch {
    let text = |value: &Option<bool>| [value.map(|value| if value { "t" } else { "f" })];
    batch([("ok", 16)], &values.iter().map(text).collect::<Vec<_>>())
}

/// Runs a script and returns how it ended, what it printed, and what it complained about.
async fn staged(fake: Fake, options: &Options, source: &str) -> (Outcome, Stage) {
    let mut stage = Stage::new(fake, options);
    let outcome = stage.shell.run_script(source, "test.pql").await;
    (outcome, stage)
}

fn keep_going() -> Options {
    Options { keep_going: true, ..Options::default() }
}

fn csv() -> Options {
    Options { format: Some(Format::Csv), ..Options::default() }
}

#[tokio::test]
async fn results_and_command_tags_are_printed_in_order() {
    let fake = Fake::default().rows("SELECT n", numbers("n", &[1, 20]));
    let fake = fake.answer("INSERT INTO t VALUES (1)", vec![Ok(complete("INSERT 0 3"))]);
    let (outcome, stage) = staged(fake, &Options::default(), "INSERT INTO t VALUES (1); SELECT n;\n\\echo done").await;
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(stage.out(), "INSERT 0 3\n  n\n----\n  1\n 20\n(2 rows)\ndone\n");
    assert_eq!(stage.err(), "");
}

#[tokio::test]
async fn returning_shows_rows_and_tag_and_data_formats_no_tags() {
    let batch = numbers("id", &[7]);
    let events = || {
        vec![
            Ok(Event::Columns(Columns::clone(batch.columns()))),
            Ok(Event::Batch(batch.clone())),
            Ok(complete("INSERT 0 1")),
        ]
    };
    let (_, stage) = staged(
        Fake::default().answer("INSERT INTO t VALUES (1)", events()),
        &Options::default(),
        "INSERT INTO t VALUES (1)",
    )
    .await;
    assert_eq!(stage.out(), " id\n----\n  7\n(1 row)\nINSERT 0 1\n");
    let (_, stage) = staged(
        Fake::default().answer("INSERT INTO t VALUES (1)", events()),
        &csv(),
        "INSERT INTO t VALUES (1); COMMIT;",
    )
    .await;
    assert_eq!(stage.out(), "id\n7\n");
}

#[tokio::test]
async fn the_first_error_stops_the_script_and_names_its_place() {
    let error = Error::new(SqlState::UndefinedTable, "there is no table \"flihgts\"").at(6..13);
    let fake = Fake::default().error("QUERY flihgts", error);
    let (outcome, stage) = staged(fake, &Options::default(), "SELECT 1;\n\n  QUERY flihgts;\nSELECT 2;").await;
    assert_eq!(outcome, Outcome::Failed);
    assert!(stage.err().contains("test.pql:3:9"), "{}", stage.err());
    assert_eq!(stage.log(), ["SELECT 1", "QUERY flihgts"]);
}

#[tokio::test]
async fn an_error_without_a_place_gets_its_statement_s() {
    let fake = Fake::default().error("DELETE FROM t", Error::new(SqlState::DiskFull, "the disk is full"));
    let (_, stage) = staged(fake, &Options::default(), "SELECT 1;\nDELETE FROM t;").await;
    assert!(stage.err().contains("test.pql:2:1"), "{}", stage.err());
}

#[tokio::test]
async fn keep_going_runs_the_rest_and_still_fails() {
    let fake = Fake::default().error("DELETE FROM t", Error::new(SqlState::DiskFull, "the disk is full"));
    let (outcome, stage) = staged(fake, &keep_going(), "DELETE FROM t;\n\\wrong\nSELEC 1;\nSELECT 2;").await;
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(stage.log(), ["DELETE FROM t", "SELECT 2"]);
    assert!(stage.err().contains("\\wrong"));
}

#[tokio::test]
async fn syntax_errors_are_all_reported_before_anything_runs() {
    let source = "SELECT 1;\nSELEC 2;\n\\wacth\nSELECT 3;\n SELEC 4;";
    let (outcome, stage) = staged(Fake::default(), &Options::default(), source).await;
    assert_eq!(outcome, Outcome::Failed);
    assert!(stage.log().is_empty());
    let places = ["test.pql:2:1", "test.pql:3:1", "test.pql:5:2"].map(|place| stage.err().find(place));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}", stage.err());
    assert!(stage.err().contains("Did you mean \\watch?"));
}

#[tokio::test]
async fn variables_reach_statements_and_echo() {
    let options = Options { variables: vec![("n".to_string(), "5".to_string())], ..Options::default() };
    let source = "SELECT 1;\n\\set who 'two words'\nSELECT 2;\n\\unset n\n\\echo @who @n\n\\set";
    let (outcome, stage) = staged(Fake::default(), &options, source).await;
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(stage.log(), ["SELECT 1 @n=5", "SELECT 2 @n=5 @who=two words"]);
    assert_eq!(stage.out(), "OK\nOK\ntwo words @n\nwho = 'two words'\n");
    let options = Options { variables: vec![("size".to_string(), "5".to_string())], ..Options::default() };
    let (outcome, stage) = staged(Fake::default(), &options, "\\set sizes").await;
    assert_eq!(outcome, Outcome::Failed);
    assert!(stage.err().contains("there is no variable \"sizes\"") && stage.err().contains("Did you mean size?"));
}

#[tokio::test]
async fn assertions_hold_or_say_what_came_out() {
    let complaint = async |batch: Batch| {
        let fake = Fake::default().rows("SELECT ok", batch);
        let (outcome, stage) = staged(fake, &Options::default(), "\\assert SELECT ok").await;
        assert_eq!(stage.out(), "");
        (outcome, stage.err())
    };
    assert_eq!(complaint(booleans(&[Some(true)])).await, (Outcome::Succeeded, String::new()));
    assert_eq!(complaint(booleans(&[Some(true), Some(true)])).await.0, Outcome::Succeeded);
    for (batch, detail) in [
        (booleans(&[Some(false)]), "ok is false."),
        (booleans(&[Some(true), None, Some(false)]), "ok is NULL in row 2, ok is false in row 3."),
        (booleans(&[]), "The query came out with no rows."),
        (numbers("count", &[1]), "count is 1."),
        (booleans(&[None; 8]), "and 3 more."),
    ] {
        let (outcome, err) = complaint(batch).await;
        assert_eq!(outcome, Outcome::Failed);
        assert!(err.contains(detail) && err.contains("test.pql:1:9"), "{err}");
    }
}

#[tokio::test]
async fn an_error_within_an_assertion_keeps_its_place() {
    let fake = Fake::default().error("SELECT x", Error::new(SqlState::UndefinedColumn, "no column").at(7..8));
    let (_, stage) = staged(fake, &Options::default(), "\n\\assert SELECT x;").await;
    assert!(stage.err().contains("test.pql:2:16"), "{}", stage.err());
}

#[tokio::test]
async fn included_files_are_looked_for_beside_the_includer() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a file");
    std::fs::create_dir(directory.path().join("sub")).expect("a directory");
    write("main.pql", "\\i sub/a.pql\nSELECT 'main';");
    write("sub/a.pql", "\\i b.pql\nSELECT 'a';");
    write("sub/b.pql", "SELECT 'b';\n\\q\nSELECT 'never';");
    let mut stage = Stage::new(Fake::default(), &Options::default());
    assert_eq!(stage.shell.run_file(&directory.path().join("main.pql")).await, Outcome::Succeeded);
    assert_eq!(stage.log(), ["SELECT 'b'", "SELECT 'a'", "SELECT 'main'"]);
}

#[tokio::test]
async fn files_that_are_missing_or_include_themselves_are_errors() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("loop.pql");
    std::fs::write(&path, "SELECT 1;\n\\i loop.pql").expect("a file");
    let mut stage = Stage::new(Fake::default(), &Options::default());
    assert_eq!(stage.shell.run_file(&path).await, Outcome::Failed);
    assert_eq!(stage.log().len(), 16);
    assert!(stage.err().contains("more than 16 deep"));
    assert_eq!(stage.shell.run_file(&directory.path().join("none.pql")).await, Outcome::Unreadable);
    assert_eq!(stage.shell.run_script("\\i none.pql", "test.pql").await, Outcome::Failed);
    assert!(stage.err().contains("none.pql cannot be read"));
}

#[tokio::test]
async fn scripts_and_files_run_one_after_the_other() {
    let fake = || Fake::default().error("DROP TABLE t", Error::new(SqlState::UndefinedTable, "no t"));
    let scripts = ["DROP TABLE t".to_string(), "SELECT 1".to_string()];
    let mut stage = Stage::new(fake(), &Options::default());
    assert_eq!(stage.shell.run_all(&scripts, &[]).await, Outcome::Failed);
    assert_eq!(stage.log(), ["DROP TABLE t"]);
    let mut stage = Stage::new(fake(), &keep_going());
    assert_eq!(stage.shell.run_all(&scripts, &["/no/such/file".into()]).await, Outcome::Failed);
    assert_eq!(stage.log(), ["DROP TABLE t", "SELECT 1"]);
}

#[tokio::test]
async fn results_go_to_a_file_and_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("out.csv");
    let fake = Fake::default().rows("SELECT n", numbers("n", &[1]));
    let source = format!("\\format csv\n\\o {}\nSELECT n;\n\\o\n\\format json\nSELECT n;", path.display());
    let (outcome, stage) = staged(fake, &Options::default(), &source).await;
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(std::fs::read_to_string(path).expect("written"), "n\n1\n");
    assert_eq!(stage.out(), "[\n{\"n\":1}\n]\n");
}

#[tokio::test]
async fn expanded_display_and_notices_and_timing() {
    let notice = Event::Notice(Notice { message: "slow".to_string(), hint: Some("wait".to_string()) });
    let fake = Fake::default()
        .rows("SELECT n", numbers("n", &[1]))
        .answer("TRUNCATE t", vec![Ok(notice), Ok(complete("TRUNCATE TABLE"))]);
    let (_, stage) = staged(fake, &Options::default(), "\\x on\nSELECT n;\n\\timing\nTRUNCATE t;").await;
    assert!(stage.out().starts_with("-[ RECORD 1 ]---\nn | 1\n(1 row)\nTRUNCATE TABLE\nTime: "), "{}", stage.out());
    assert!(stage.out().ends_with(" ms\n"));
    assert_eq!(stage.err(), "NOTICE: slow\nHINT: wait\n");
}

#[tokio::test]
async fn describe_adds_what_the_catalog_knows_of_shards() {
    let facts = texts([("table_name", "flights"), ("shard_key", "carrier"), ("rows", "5")]);
    let fake = Fake::default().rows("DESCRIBE Flights", texts([("column", "carrier"), ("type", "TEXT")]));
    let fake = fake.rows("SELECT * FROM system.tables WHERE table_name = 'flights'", facts);
    let (_, stage) = staged(fake, &Options::default(), "\\d Flights").await;
    let table = " column  | type\n---------+------\n carrier | TEXT\n(1 row)\n";
    assert_eq!(stage.out(), format!("{table}Shard key: carrier\nRows: 5\n"));
}

#[tokio::test]
async fn watch_repeats_a_statement_some_times() {
    let (outcome, stage) =
        staged(Fake::default(), &Options::default(), "SELECT 1 \\watch 0 c=3\nSELECT 2;\n\\watch 0 c=1").await;
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(stage.log(), ["SELECT 1", "SELECT 1", "SELECT 1", "SELECT 2", "SELECT 2"]);
    let (outcome, stage) = staged(Fake::default(), &Options::default(), "\\watch 1").await;
    assert_eq!(outcome, Outcome::Failed);
    assert!(stage.err().contains("no statement to watch"));
}

#[tokio::test]
async fn an_interrupt_ends_a_watch_but_not_its_script() {
    let mut stage = Stage::new(Fake::default(), &Options::default());
    let interrupt = stage.interrupt.clone();
    let press = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        interrupt.send_modify(|presses| *presses += 1);
    };
    let (outcome, ()) = tokio::join!(stage.shell.run_script("SELECT 1 \\watch 60\nSELECT 2", "test.pql"), press);
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(stage.log(), ["SELECT 1", "SELECT 2"]);
}

#[tokio::test]
async fn an_interrupt_cancels_the_statement_and_ends_the_script() {
    let mut stage = Stage::new(Fake::default(), &keep_going());
    let interrupt = stage.interrupt.clone();
    let press = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        interrupt.send_modify(|presses| *presses += 1);
    };
    let source = format!("{ENDLESS}; SELECT 2;");
    let (outcome, ()) = tokio::join!(stage.shell.run_script(&source, "test.pql"), press);
    assert_eq!((outcome, outcome.exit_code()), (Outcome::Interrupted, 130));
    assert_eq!(stage.log(), [ENDLESS]);
}

#[tokio::test]
async fn an_interrupt_while_waiting_for_a_job_says_what_goes_on() {
    let open = "SELECT job_id FROM SYSTEM.JOBS WHERE finished_at IS NULL ORDER BY job_id";
    let notice = |job: u64| format!("NOTICE: job {job} goes on\nHINT: CANCEL JOB {job} stops it\n");
    let both = notice(3) + &notice(7);
    for (statement, told) in [
        ("WAIT FOR JOB LAST", notice(7).as_str()),
        ("WAIT FOR JOB 3 TIMEOUT '60s'", notice(3).as_str()),
        ("WAIT FOR JOB 5", ""),
        ("WAIT FOR JOB ALL", both.as_str()),
    ] {
        let mut stage = Stage::new(Fake::default().rows(open, numbers("job_id", &[3, 7])), &keep_going());
        let interrupt = stage.interrupt.clone();
        let press = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            interrupt.send_modify(|presses| *presses += 1);
        };
        let (outcome, ()) = tokio::join!(stage.shell.run_script(statement, "test.pql"), press);
        assert_eq!((outcome, stage.err().as_str()), (Outcome::Interrupted, told), "{statement}");
    }
}

#[tokio::test]
async fn nothing_follows_a_connection_that_breaks() {
    let (outcome, stage) = staged(Fake::default(), &keep_going(), &format!("SELECT 1; {FATAL}; SELECT 2;")).await;
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(stage.log(), ["SELECT 1", FATAL]);
    assert!(stage.err().contains("the connection to the server was lost"), "{}", stage.err());
}

struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_script_quietly() {
    let connection: Arc<dyn Connection> = Arc::new(Fake::default());
    let streams = Streams::new(Box::new(ClosedPipe), Box::new(io::sink()));
    let mut shell = Shell::new(connection, &keep_going(), streams, Interrupt::by_hand().1);
    assert_eq!(shell.run_script("SELECT 1; SELECT 2;", "test.pql").await, Outcome::Succeeded);
}

#[tokio::test]
async fn names_for_completion_come_through_the_connection() {
    let query = "SELECT table_schema, table_name, column_name FROM information_schema.columns";
    let row = texts([("table_schema", "public"), ("table_name", "flights"), ("column_name", "carrier")]);
    let fake =
        Fake::default().rows(query, row).rows("SELECT name FROM system.settings", texts([("name", "auto_rebalance")]));
    let mut stage = Stage::new(fake, &Options::default());
    let names = stage.shell.names().await;
    assert!(names.tables.contains("flights") && names.columns.contains("carrier"));
    assert!(names.settings.contains("auto_rebalance") && !stage.shell.names_changed);
    stage.shell.run_script("create table t (n INTEGER PRIMARY KEY)", "test.pql").await;
    assert!(stage.shell.names_changed);
}
