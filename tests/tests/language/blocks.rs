//! COPY of much inside a transaction block: it commits with the block or leaves nothing, and nobody sees it before.

use evenkeel_model::{Error, SqlState};
use evenkeel_tests::{Temporary, lines, run, spelled};

/// Rows of a file, which together are more than a block keeps as writes.
const ROWS: u32 = 60;
const CHARS: usize = 100_000;

struct Place {
    database: Temporary,
    session: evenkeel_engine::Session,
    other: evenkeel_engine::Session,
}

impl Place {
    async fn new() -> Self {
        let database = Temporary::new(4);
        let (session, other) = (database.session(), database.session());
        for name in ["t", "u"] {
            lines(&session, &format!("CREATE TABLE {name} (id integer PRIMARY KEY, v text NOT NULL)")).await;
        }
        lines(&session, "CREATE TABLE notes (id integer PRIMARY KEY, v integer)").await;
        Self { database, session, other }
    }

    /// COPY of the rows with these keys into a table.
    fn copy(&self, table: &str, keys: impl Iterator<Item = u32>) -> String {
        let text = "x".repeat(CHARS);
        let rows: String = keys.map(|key| format!("{key},{key} {text}\n")).collect();
        let path = self.database.folder().join("rows.csv");
        std::fs::write(&path, format!("id,v\n{rows}")).expect("a file");
        format!("COPY {table} FROM '{}'", path.display())
    }

    async fn refused(&self, statement: &str) -> Error {
        match run(&self.session, statement).await {
            Ok(answered) => panic!("{statement} was to fail and answers {}", answered.tag),
            Err(error) => error,
        }
    }

    /// What everybody sees of the tables: rows, and whether the shards' counters say the same.
    async fn seen(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for table in ["t", "u", "notes"] {
            seen.extend(lines(&self.other, &format!("SELECT count(v) FROM {table}")).await);
        }
        let counted = lines(&self.other, "SELECT sum(row_count) FROM system.shards").await;
        let rows: u32 = seen.iter().map(|count| count.parse::<u32>().expect("a number")).sum();
        assert_eq!(counted, [rows.to_string()], "the counters");
        seen
    }

    /// Nothing is left of loads that are over.
    fn is_tidy(&self) -> bool {
        let mut left = std::fs::read_dir(self.database.folder().join("data/tmp")).expect("the folder");
        !left.any(|entry| entry.expect("an entry").file_name().to_string_lossy().starts_with("load-"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_commits_with_the_block_or_leaves_nothing() {
    let place = Place::new().await;
    let session = &place.session;
    for (end, expected) in [("ROLLBACK", ["0", "0", "0"]), ("COMMIT", ["60", "70", "5"])] {
        lines(session, "BEGIN").await;
        lines(session, "INSERT INTO notes SELECT n, n FROM generate_series(1, 5) AS g(n)").await;
        assert_eq!(run(session, &place.copy("t", 0..ROWS)).await.expect("rows").tag, "COPY 60");
        assert_eq!(run(session, &place.copy("u", 0..ROWS)).await.expect("rows").tag, "COPY 60");
        assert_eq!(run(session, &place.copy("u", 100..110)).await.expect("more").tag, "COPY 10");
        let open = "SELECT written_rows FROM system.transactions";
        assert_eq!(lines(&place.other, open).await, ["135"]);
        assert_eq!(place.seen().await, ["0", "0", "0"], "before {end}");
        assert_eq!(run(session, end).await.expect("the end").tag, end);
        assert_eq!(place.seen().await, expected, "after {end}");
        assert!(place.is_tidy());
    }
    assert_eq!(lines(&place.other, "SELECT sum(id) FROM u").await, [(59 * 30 + 1_045).to_string()]);
    assert_eq!(lines(&place.other, "SELECT left(v, 4) FROM u WHERE id = 109").await, ["109 "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_more_than_a_transaction_keeps_in_memory() {
    let place = Place::new().await;
    let session = &place.session;
    lines(session, "ALTER SYSTEM SET max_transaction_size = '1MiB'").await;
    lines(session, "BEGIN").await;
    lines(session, &place.copy("t", 0..ROWS)).await;
    lines(session, "SET application_name = 'loader'").await;
    lines(session, "COMMIT").await;
    assert_eq!(place.seen().await, ["60", "0", "0"]);
    // What looks at rows has to see these, which are too many for that.
    lines(session, "BEGIN").await;
    lines(session, &place.copy("u", 0..ROWS)).await;
    let error = place.refused("SELECT count(*) FROM u").await;
    assert_eq!(error.state, SqlState::ProgramLimitExceeded, "{}", spelled(&error));
    assert!(error.hint.clone().unwrap_or_default().contains("COMMIT takes in"), "{}", spelled(&error));
    assert_eq!(run(session, "COMMIT").await.expect("the end").tag, "ROLLBACK");
    assert_eq!(place.seen().await, ["60", "0", "0"]);
    assert!(place.is_tidy());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_block_itself_sees_it_and_goes_back_to_savepoints() {
    let place = Place::new().await;
    let session = &place.session;
    lines(session, "BEGIN").await;
    lines(session, &place.copy("t", 0..ROWS)).await;
    assert_eq!(lines(session, "SELECT count(v), sum(id) FROM t").await, ["60|1770"]);
    lines(session, "UPDATE t SET v = 'short' WHERE id < 10").await;
    lines(session, "SAVEPOINT here").await;
    lines(session, &place.copy("u", 0..ROWS)).await;
    assert_eq!(lines(session, "SELECT count(v) FROM u").await, ["60"]);
    lines(session, "ROLLBACK TO here").await;
    assert_eq!(lines(session, "SELECT count(v) FROM u").await, ["0"]);
    lines(session, "COMMIT").await;
    assert_eq!(place.seen().await, ["60", "0", "0"]);
    assert_eq!(lines(&place.other, "SELECT count(*) FROM t WHERE v = 'short'").await, ["10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_there_is_told_and_nothing_remains() {
    let place = Place::new().await;
    let session = &place.session;
    lines(session, "INSERT INTO t VALUES (7, 'old')").await;
    // There when the block began: COPY says so.
    lines(session, "BEGIN").await;
    let error = place.refused(&place.copy("t", 0..ROWS)).await;
    assert_eq!(error.state, SqlState::UniqueViolation);
    assert!(spelled(&error).contains("rows.csv, line 9"), "{}", spelled(&error));
    assert_eq!(run(session, "COMMIT").await.expect("the end").tag, "ROLLBACK");
    // Twice in what is copied.
    lines(session, "BEGIN").await;
    let error = place.refused(&place.copy("u", (0..ROWS).chain(3..4))).await;
    assert!(spelled(&error).contains("rows.csv, line 62: the key (id) = (3) is there twice, first in"), "{error:?}");
    lines(session, "ROLLBACK").await;
    // Come since, or in a later COPY: COMMIT says so, and nothing of the block is there.
    lines(session, "BEGIN").await;
    lines(session, "INSERT INTO notes VALUES (1, 1)").await;
    lines(session, &place.copy("u", 0..ROWS)).await;
    lines(&place.other, "INSERT INTO u VALUES (59, 'first')").await;
    let error = place.refused("COMMIT").await;
    assert_eq!(error.state, SqlState::UniqueViolation);
    assert!(spelled(&error).contains("rows.csv, line 61: the key (id) = (59) exists already"), "{}", spelled(&error));
    lines(session, "BEGIN").await;
    lines(session, &place.copy("u", 100..100 + ROWS)).await;
    lines(session, &place.copy("u", 100..101)).await;
    assert_eq!(place.refused("COMMIT").await.state, SqlState::UniqueViolation);
    // Or what makes writes of the rows, before: a look at them, or a COMMIT that has to.
    for keys in [100..101, 59..60] {
        lines(session, "BEGIN").await;
        lines(session, &place.copy("u", 100..100 + ROWS)).await;
        lines(session, &place.copy("u", keys)).await;
        assert_eq!(place.refused("SELECT count(*) FROM t").await.state, SqlState::UniqueViolation);
        lines(session, "ROLLBACK").await;
    }
    lines(session, "SET shard_lock_timeout = '50ms'").await;
    lines(&place.other, "BEGIN").await;
    lines(&place.other, "INSERT INTO u VALUES (1000, 'other')").await;
    lines(session, "BEGIN").await;
    lines(session, &place.copy("u", 100..100 + ROWS)).await;
    lines(session, &place.copy("u", 59..60)).await;
    assert_eq!(place.refused("COMMIT").await.state, SqlState::UniqueViolation);
    lines(&place.other, "ROLLBACK").await;
    assert_eq!(place.seen().await, ["1", "1", "0"]);
    assert_eq!(lines(session, "SELECT v FROM u").await, ["first"]);
    assert!(place.is_tidy());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_little_beside_much_leaves_the_much_as_it_is() {
    let place = Place::new().await;
    let session = &place.session;
    lines(session, "ALTER SYSTEM SET max_transaction_size = '1MiB'").await;
    lines(session, "BEGIN").await;
    lines(session, &place.copy("t", 0..ROWS)).await;
    lines(session, &place.copy("u", 0..2)).await;
    lines(session, &place.copy("u", 0..0)).await;
    lines(session, "COMMIT").await;
    assert_eq!(place.seen().await, ["60", "2", "0"]);
}

/// Its client has given up: what it had done may be half done.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_dropped_on_the_way_leaves_the_block_failed() {
    let place = Place::new().await;
    let session = &place.session;
    lines(session, "INSERT INTO notes VALUES (1, 1)").await;
    let update = session.prepare_update("UPDATE notes SET v = v + 1 WHERE id = 1").expect("an update");
    lines(session, "BEGIN").await;
    lines(session, &place.copy("t", 0..ROWS)).await;
    let mut carried_out = Box::pin(update.execute(&[]));
    assert!(futures::poll!(&mut carried_out).is_pending(), "the rows are made writes elsewhere");
    drop(carried_out);
    assert_eq!(run(session, "COMMIT").await.expect("the end").tag, "ROLLBACK");
    assert_eq!(place.seen().await, ["0", "0", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_of_its_other_writes_takes_it_back() {
    let place = Place::new().await;
    let session = &place.session;
    lines(session, "INSERT INTO notes VALUES (1, 1)").await;
    lines(session, "BEGIN").await;
    lines(session, "UPDATE notes SET v = v + 1 WHERE v > 0").await;
    lines(session, &place.copy("t", 0..ROWS)).await;
    lines(&place.other, "UPDATE notes SET v = 10 WHERE id = 1").await;
    assert_eq!(place.refused("COMMIT").await.state, SqlState::SerializationFailure);
    assert_eq!(place.seen().await, ["0", "0", "1"]);
    assert_eq!(lines(session, "SELECT v FROM notes").await, ["10"]);
    assert!(place.is_tidy());
    // And one that began before it and writes its keys loses.
    lines(&place.other, "BEGIN").await;
    lines(&place.other, "SELECT count(*) FROM notes").await;
    lines(session, "BEGIN").await;
    lines(session, &place.copy("t", 0..ROWS)).await;
    lines(session, "COMMIT").await;
    lines(&place.other, "INSERT INTO t VALUES (5, 'late')").await;
    let late = run(&place.other, "COMMIT").await.expect_err("a row that it has not seen");
    assert_eq!(late.state, SqlState::SerializationFailure, "{}", spelled(&late));
    assert_eq!(place.seen().await, ["60", "0", "1"]);
}

/// An open block that has written the table keeps a load from having it alone: what is not too much goes in row by row.
#[tokio::test(flavor = "multi_thread")]
async fn others_that_write_the_table_do_not_keep_it_out() {
    let place = Place::new().await;
    let session = &place.session;
    lines(session, "SET shard_lock_timeout = '50ms'").await;
    lines(&place.other, "BEGIN").await;
    lines(&place.other, "INSERT INTO t VALUES (1000, 'other')").await;
    lines(session, "BEGIN").await;
    lines(session, "INSERT INTO notes VALUES (1, 1)").await;
    lines(session, &place.copy("t", 0..ROWS)).await;
    lines(session, "COMMIT").await;
    lines(&place.other, "COMMIT").await;
    assert_eq!(place.seen().await, ["61", "0", "1"]);
    // And what is too much says who is in the way.
    lines(session, "ALTER SYSTEM SET max_transaction_size = '1MiB'").await;
    lines(&place.other, "BEGIN").await;
    lines(&place.other, "INSERT INTO u VALUES (1000, 'other')").await;
    lines(session, "BEGIN").await;
    lines(session, &place.copy("u", 0..ROWS)).await;
    let error = place.refused("COMMIT").await;
    assert_eq!(error.state, SqlState::LockNotAvailable, "{}", spelled(&error));
    lines(&place.other, "COMMIT").await;
    assert_eq!(place.seen().await, ["61", "1", "1"]);
    assert!(place.is_tidy());
}

/// A load that committed with a block is there after a restart, and so is what it replaced for readers of the past.
#[tokio::test(flavor = "multi_thread")]
async fn readers_see_the_block_whole_or_not_at_all() {
    let place = Place::new().await;
    let session = &place.session;
    let watched = place.database.session();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let watcher = tokio::spawn(async move {
        let mut looked = 0;
        while stopped.try_recv().is_err() {
            // Every block brings 60 rows and 60 more, and three notes.
            let counts = "SELECT (SELECT count(v) FROM t), (SELECT count(v) FROM u), 20 * (SELECT count(v) FROM notes)";
            let seen = lines(&watched, counts).await.remove(0);
            let counts: Vec<_> = seen.split('|').collect();
            assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "seen {seen}");
            looked += 1;
        }
        looked
    });
    for block in 0..4 {
        lines(session, "BEGIN").await;
        let notes: Vec<_> = (0..3).map(|note| format!("({}, 0)", block * 3 + note)).collect();
        lines(session, &format!("INSERT INTO notes VALUES {}", notes.join(", "))).await;
        for table in ["t", "u"] {
            lines(session, &place.copy(table, block * ROWS..(block + 1) * ROWS)).await;
        }
        lines(session, "COMMIT").await;
    }
    stop.send(()).expect("it watches");
    assert!(watcher.await.expect("it watched") > 0);
    assert_eq!(place.seen().await, ["240", "240", "12"]);
}
