//! What one user, one query and one connection may have.

use crate::ground::{Ground, SOON, rows, state};
use evenkeel_tests::lines;
use tokio_postgres::NoTls;

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_user() {
    let ground = Ground::new().await;
    let session = ground.database.session();
    for statement in [
        "CREATE USER rita PASSWORD 'r'",
        "CREATE USER stan PASSWORD 's'",
        "CREATE USER ada PASSWORD 'a' ROLE admin",
        "ALTER SYSTEM SET max_connections_per_user = 2",
    ] {
        lines(&session, statement).await;
    }
    let connect = async |user: &str| {
        let (client, connection) = ground.config().user(user).connect(NoTls).await?;
        Ok::<_, tokio_postgres::Error>((client, tokio::spawn(connection)))
    };
    let first = connect("rita").await.expect("the first");
    let _second = connect("rita").await.expect("the second");
    let refused = connect("rita").await.map(drop).expect_err("the third");
    let error = refused.as_db_error().expect("an answer");
    assert_eq!((error.severity(), error.code().code()), ("FATAL", "53300"));
    assert!(error.message().contains("\"rita\""), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("max_connections_per_user")), "{error:?}");
    // Others have their own, and admins come in to raise the limit.
    let _other = connect("stan").await.expect("another user's");
    let _admins =
        [connect("ada").await, connect("ada").await, connect("ada").await].map(|one| one.expect("an admin's"));
    // One that ends makes room.
    let (client, connection) = first;
    drop(client);
    connection.await.expect("no panic").expect("an end");
    let again = tokio::time::timeout(SOON, async {
        loop {
            if let Ok(connected) = connect("rita").await {
                return connected;
            }
        }
    });
    let _third = again.await.expect("room");
    assert_eq!(connect("rita").await.map(drop).expect_err("full").code().map(|code| code.code()), Some("53300"));
    // A limit of the user's own goes before everybody's.
    lines(&session, "ALTER USER rita CONNECTION LIMIT 3").await;
    let _more = connect("rita").await.expect("one more");
    assert_eq!(connect("rita").await.map(drop).expect_err("full").code().map(|code| code.code()), Some("53300"));
    assert_eq!(lines(&session, "SELECT connection_limit FROM SYSTEM.USERS WHERE user_name = 'rita'").await, ["3"]);
    lines(&session, "ALTER USER rita CONNECTION LIMIT -1").await;
    assert_eq!(connect("rita").await.map(drop).expect_err("full").code().map(|code| code.code()), Some("53300"));
    lines(&session, "ALTER SYSTEM RESET max_connections_per_user").await;
    connect("rita").await.expect("any number");
    drop(session);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_query() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    for statement in [
        "CREATE TABLE t (id bigint PRIMARY KEY, v text)",
        "INSERT INTO t SELECT value, md5(CAST(value AS text)) || repeat('y', 200) FROM generate_series(1, 100000)",
        "ALTER SYSTEM SET query_memory_limit = '16MiB'",
    ] {
        client.batch_execute(statement).await.expect(statement);
    }
    // A join that keeps one side in memory can't do with less.
    let join = "SELECT count(*) FROM t AS a JOIN t AS b ON a.v = b.v || ''";
    let error = client.simple_query(join).await.map(drop).expect_err("too large");
    let error = error.as_db_error().expect("an answer");
    assert_eq!(error.code().code(), "53200", "{error:?}");
    assert!(error.message().contains("query_memory_limit"), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("raise query_memory_limit")), "{error:?}");
    // A sort spills.
    let sorted = "SELECT count(*), min(n) FROM (SELECT v, row_number() OVER (ORDER BY v) AS n FROM t) AS x";
    assert_eq!(rows(&client, sorted).await, ["100000|1"]);
    // Others are as before: the memory of all is not used up.
    client.batch_execute("ALTER SYSTEM RESET query_memory_limit").await.expect("reset");
    assert_eq!(rows(&client, join).await, ["100000"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_the_portals_of_a_connection() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    // 10 MB each, or less than twice as much in memory: some are kept, and not one of them alone is too large.
    let large = "SELECT repeat('x', 100000) AS x FROM generate_series(1, 100)";
    let block = client.transaction().await.expect("a block");
    let statement = block.prepare(large).await.expect("prepared");
    let mut portals = Vec::new();
    let error = loop {
        let portal = block.bind(&statement, &[]).await.expect("bound");
        match block.query_portal(&portal, 1).await {
            Ok(rows) => assert_eq!(rows.len(), 1),
            Err(error) => break error,
        }
        portals.push(portal);
        assert_eq!(block.query_portal(&portals[0], 2).await.expect("kept").len(), 2);
    };
    assert!((2..=7).contains(&portals.len()), "{} were kept", portals.len());
    let error = error.as_db_error().expect("an answer");
    assert_eq!(error.code().code(), "53200", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("close")), "{error:?}");
    // As every error, it fails the block, and nothing is kept any more.
    let error = block.query_one("SELECT 1", &[]).await.expect_err("the block has failed");
    assert_eq!(error.code().map(|code| code.code()), Some("25P02"));
    block.rollback().await.expect("rolled back");
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    ground.end().await;
}

/// An error that no statement had leaves a block failed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn every_error_fails_the_block() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1)").await.expect("made");
    for wrong in ["SELECT * FROM nowhere", "SELEKT", "SELECT missing FROM t"] {
        client.batch_execute("BEGIN").await.expect("begun");
        client.prepare(wrong).await.expect_err(wrong);
        let error = client.query("SELECT id FROM t", &[]).await.expect_err("the block has failed");
        assert_eq!(error.code().map(|code| code.code()), Some("25P02"), "{wrong}");
        assert_eq!(state(&client, "SELECT id FROM t").await, "25P02", "{wrong}");
        client.execute("ROLLBACK", &[]).await.expect("rolled back");
        assert_eq!(rows(&client, "SELECT id FROM t").await, ["1"], "{wrong}");
    }
    ground.end().await;
}
