//! Users, and what becomes of their rights. Who may do what at all is in tests/authorization.rs.
//!
//! WHAT MAY NEVER HAPPEN: a right that was taken back is used; a user comes by somebody else's rights or rows; there is no
//! admin any more; a password is shown.

use evenkeel_engine::{Database, OpenOptions, ScalarValue, Session, SessionOptions};
use evenkeel_model::{Error, SqlState};
use evenkeel_tests::{Temporary, lines, run, spelled};
use futures::StreamExt;
use std::sync::Arc;

const ID: [ScalarValue; 1] = [ScalarValue::Int32(Some(1))];

fn of_user(database: &Arc<Database>, user: &str) -> Result<Session, Error> {
    let options =
        SessionOptions { user: user.to_string(), application: "test".to_string(), client: Some("::1".to_string()) };
    Session::of_user(database, &options)
}

async fn refused(session: &Session, statement: &str, state: SqlState) -> Error {
    match run(session, statement).await {
        Ok(answered) => panic!("{statement}\nwas to fail with {state:?} and answers {}", answered.tag),
        Err(error) => {
            assert_eq!(error.state, state, "{statement}\n{}", spelled(&error));
            error
        }
    }
}

/// A database with the users ada (admin), olga, who owns `t`, and rita.
async fn world() -> (Temporary, Session) {
    let database = Temporary::new(2);
    let built_in = database.session();
    for statement in
        ["CREATE USER ada PASSWORD 'a' ROLE admin", "CREATE USER olga PASSWORD 'o'", "CREATE USER rita PASSWORD 'r'"]
    {
        lines(&built_in, statement).await;
    }
    let olga = of_user(database.database(), "olga").unwrap();
    lines(&olga, "CREATE TABLE t (id integer PRIMARY KEY, v integer CHECK (v < 100))").await;
    lines(&olga, "INSERT INTO t VALUES (1, 1), (2, 2)").await;
    (database, built_in)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_back_is_gone_with_the_next_statement() {
    let (database, built_in) = world().await;
    let rita = of_user(database.database(), "rita").unwrap();
    lines(&built_in, "GRANT SELECT, UPDATE ON t TO rita").await;
    let mut get = rita.prepare("SELECT v FROM t WHERE id = $1").unwrap();
    let update = rita.prepare_update("UPDATE t SET v = v + 1 WHERE id = $1").unwrap();
    assert!(get.get(&ID, |_, _| {}).unwrap());
    assert_eq!(update.execute(&ID).await.unwrap(), 1);
    lines(&rita, "BEGIN").await;
    assert_eq!(lines(&rita, "SELECT v FROM t WHERE id = 1").await, ["2"]);

    lines(&built_in, "REVOKE UPDATE ON t FROM rita").await;
    assert!(get.get(&ID, |_, _| {}).unwrap());
    assert_eq!(update.execute(&ID).await.unwrap_err().state, SqlState::InsufficientPrivilege);
    lines(&rita, "ROLLBACK").await;
    lines(&built_in, "REVOKE ALL ON t FROM rita").await;
    assert_eq!(get.get(&ID, |_, _| {}).unwrap_err().state, SqlState::InsufficientPrivilege);
    for statement in ["SELECT v FROM t WHERE id = 1", "SELECT count(*) FROM t"] {
        let error = refused(&rita, statement, SqlState::InsufficientPrivilege).await;
        assert!(error.hint.unwrap_or_default().contains("GRANT SELECT ON t TO rita"));
    }

    lines(&built_in, "GRANT SELECT ON t TO rita").await;
    assert!(get.get(&ID, |_, _| {}).unwrap());
    lines(&built_in, "ALTER USER rita SET ROLE admin").await;
    assert_eq!(update.execute(&ID).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_takes_its_rights_along_and_leaves_none_behind() {
    let (database, _built_in) = world().await;
    let (olga, rita) = (of_user(database.database(), "olga").unwrap(), of_user(database.database(), "rita").unwrap());
    lines(&olga, "GRANT SELECT ON t TO rita").await;
    lines(&olga, "ALTER TABLE t RENAME TO u").await;
    lines(&olga, "TRUNCATE u").await;
    lines(&olga, "ALTER TABLE u ADD COLUMN more text").await;
    assert!(lines(&rita, "QUERY u").await.is_empty());
    lines(&rita, "CREATE TABLE t (id integer PRIMARY KEY)").await;
    refused(&olga, "QUERY t", SqlState::InsufficientPrivilege).await;
    lines(&olga, "DROP TABLE u").await;
    lines(&olga, "CREATE TABLE u (id integer PRIMARY KEY)").await;
    refused(&rita, "QUERY u", SqlState::InsufficientPrivilege).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_query_follows_its_table() {
    let (database, built_in) = world().await;
    for session in [of_user(database.database(), "olga").unwrap(), built_in] {
        let mut get = session.prepare("SELECT v FROM t WHERE id = $1").unwrap();
        assert!(get.get(&ID, |_, _| {}).unwrap());
        lines(&session, "ALTER TABLE t ADD COLUMN more integer").await;
        lines(&session, "UPSERT INTO t (id, v, more) VALUES (1, 5, 6)").await;
        let mut value = String::new();
        assert!(get.get(&ID, |_, found| value = format!("{found:?}")).unwrap());
        assert!(value.contains('5'), "{value}");
        lines(&session, "TRUNCATE t").await;
        assert!(!get.get(&ID, |_, _| {}).unwrap());
        lines(&session, "ALTER TABLE t RENAME COLUMN v TO other").await;
        assert_eq!(get.get(&ID, |_, _| {}).unwrap_err().state, SqlState::FeatureNotSupported);
        lines(&session, "ALTER TABLE t RENAME COLUMN other TO v").await;
        lines(&session, "ALTER TABLE t DROP COLUMN more").await;
        lines(&session, "INSERT INTO t VALUES (1, 1)").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_read_with_their_owners_rights() {
    let (database, built_in) = world().await;
    let (olga, rita) = (of_user(database.database(), "olga").unwrap(), of_user(database.database(), "rita").unwrap());
    lines(&olga, "CREATE VIEW few AS SELECT id, current_user AS who FROM t WHERE id = 1").await;
    refused(&rita, "QUERY few", SqlState::InsufficientPrivilege).await;
    lines(&olga, "GRANT SELECT ON few TO rita").await;
    assert_eq!(lines(&rita, "QUERY few").await, ["1|rita"]);
    refused(&rita, "QUERY t", SqlState::InsufficientPrivilege).await;

    lines(&olga, "GRANT SELECT ON t TO rita").await;
    lines(&rita, "CREATE VIEW hers AS SELECT count(*) AS n FROM t").await;
    lines(&rita, "GRANT SELECT ON hers TO olga").await;
    assert_eq!(lines(&olga, "QUERY hers").await, ["2"]);
    lines(&olga, "REVOKE SELECT ON t FROM rita").await;
    let error = refused(&olga, "QUERY hers", SqlState::InsufficientPrivilege).await;
    assert!(error.message.contains("in view \"hers\""), "{}", spelled(&error));
    assert_eq!(lines(&built_in, "SELECT view_definition FROM information_schema.views").await.len(), 2);
    assert_eq!(lines(&rita, "SELECT table_name FROM information_schema.views ORDER BY 1").await, ["few", "hers"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_dropped_is_gone() {
    let (database, built_in) = world().await;
    let rita = of_user(database.database(), "rita").unwrap();
    lines(&built_in, "GRANT ALL ON t TO rita").await;
    let mut get = rita.prepare("SELECT v FROM t WHERE id = $1").unwrap();
    lines(&rita, "BEGIN").await;
    lines(&rita, "DELETE FROM t WHERE id = 1").await;
    let error = refused(&built_in, "DROP USER olga", SqlState::DependentObjectsStillExist).await;
    assert_eq!(error.detail.as_deref(), Some("t"));
    lines(&built_in, "DROP USER rita").await;
    refused(&rita, "COMMIT", SqlState::InvalidAuthorization).await;
    assert_eq!(get.get(&ID, |_, _| {}).unwrap_err().state, SqlState::InvalidAuthorization);
    assert_eq!(of_user(database.database(), "rita").unwrap_err().state, SqlState::InvalidAuthorization);
    // Nobody waits for the transaction that is no more.
    lines(&built_in, "DELETE FROM t WHERE id = 1").await;

    lines(&built_in, "CREATE USER rita PASSWORD 'another' ROLE admin").await;
    refused(&rita, "SELECT 1 AS one", SqlState::InvalidAuthorization).await;
    assert!(lines(&built_in, "QUERY SYSTEM.GRANTS").await.is_empty());
    lines(&built_in, "ALTER TABLE t OWNER TO rita").await;
    lines(&built_in, "DROP USER olga").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_always_an_admin() {
    let (database, built_in) = world().await;
    let ada = of_user(database.database(), "ada").unwrap();
    for session in [&built_in, &ada] {
        for statement in ["ALTER USER ada SET ROLE operator", "REVOKE admin FROM ada"] {
            refused(session, statement, SqlState::ObjectNotInPrerequisiteState).await;
        }
        refused(session, "DROP USER ada", SqlState::ObjectNotInPrerequisiteState).await;
    }
    lines(&ada, "GRANT admin TO olga").await;
    refused(&ada, "DROP USER ada, olga", SqlState::ObjectNotInPrerequisiteState).await;
    lines(&ada, "REVOKE admin FROM ada").await;
    refused(&ada, "REVOKE admin FROM olga", SqlState::InsufficientPrivilege).await;
    assert_eq!(
        lines(&built_in, "QUERY SYSTEM.USERS SELECT user_name, role ORDER BY user_name").await,
        ["ada|user", "olga|admin", "rita|user"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_rights_outlive_the_process() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let open = || {
        let options = OpenOptions { shards: Some(1), ..OpenOptions::default() };
        loop {
            // The process before may still be leaving.
            match Database::open(&folder.path().join("data"), &options) {
                Ok(database) => return database,
                Err(error) => assert_eq!(error.state, SqlState::CannotConnectNow, "{error}"),
            }
        }
    };
    let database = open();
    let password = database.ensure_admin(None).unwrap().expect("a password");
    assert_eq!(password.len(), 24);
    assert_eq!(database.ensure_admin(Some("other")).unwrap(), None);
    let admin = of_user(&database, "admin").unwrap();
    for statement in [
        "CREATE USER olga PASSWORD 'long secret'",
        "CREATE TABLE t (id integer)",
        "ALTER TABLE t OWNER TO olga",
        "CREATE USER rita PASSWORD 'r'",
        "GRANT SELECT ON t TO rita",
    ] {
        lines(&admin, statement).await;
    }
    let nobody = database.scram_verifier_of_nobody("nobody");
    drop((admin, database));

    let database = open();
    assert_eq!(database.ensure_admin(None).unwrap(), None);
    assert_eq!(database.scram_verifier_of_nobody("nobody"), nobody);
    database.authenticate_plain("admin", &password).unwrap();
    database.authenticate_plain("olga", "long secret").unwrap();
    for (user, password) in [("olga", "long secre"), ("olga", ""), ("nobody", "long secret"), ("evenkeel", "")] {
        assert_eq!(database.authenticate_plain(user, password).unwrap_err().state, SqlState::InvalidPassword);
    }
    let olga = of_user(&database, "olga").unwrap();
    lines(&olga, "INSERT INTO t VALUES (1)").await;
    assert_eq!(lines(&of_user(&database, "rita").unwrap(), "QUERY t").await, ["1"]);
    let owners = "SELECT table_name, owner FROM system.tables";
    assert_eq!(lines(&olga, owners).await, ["t|olga"]);
    lines(&olga, "ALTER USER olga PASSWORD 'new'").await;
    assert!(database.authenticate_plain("olga", "long secret").is_err());
    database.authenticate_plain("olga", "new").unwrap();
    assert!(database.scram_verifier("olga").is_some() && database.scram_verifier("nobody").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_nowhere_to_be_read() {
    let (database, built_in) = world().await;
    lines(&built_in, "ALTER SYSTEM SET slow_query_threshold = 0").await;
    for statement in ["CREATE USER x PASSWORD 'hush hush'", "ALTER USER x PASSWORD 'hush hush' -- comment"] {
        lines(&built_in, statement).await;
    }
    for wrong in [
        "CREATE USER x PASSWORD 'hush hush'",
        "CREATE USER y PASSWORD 'hush hush' ROLE king",
        "CREATE USER y 'hush hush'",
        "ALTER USER x PASSWORD hush",
        "SELECT 1; ALTER USER x PASSWORD 'hush hush'",
        "ALTER USER nobody PASSWORD 'hush hush'",
    ] {
        let error = run(&built_in, wrong).await.expect_err(wrong);
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
    for table in ["slow_queries", "active_queries", "sessions", "events", "users"] {
        let shown = lines(&built_in, &format!("SELECT * FROM system.{table}")).await;
        assert!(!shown.is_empty() && shown.iter().all(|line| !line.contains("hush")), "{table}: {shown:#?}");
    }
    let masked = "SELECT count(*) FROM system.slow_queries WHERE statement LIKE '%***%'";
    assert_eq!(lines(&built_in, masked).await, ["8"]);
    drop(built_in);
    let folder = database.folder().join("data").join("meta");
    for file in std::fs::read_dir(folder).expect("the database's facts").flatten() {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        assert!(!bytes.windows(9).any(|window| window == b"hush hush"), "{}", file.path().display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_user_is_shown_what_is_the_users_own() {
    let (database, built_in) = world().await;
    lines(&built_in, "CREATE TABLE secret (id integer PRIMARY KEY)").await;
    lines(&built_in, "ALTER SYSTEM SET slow_query_threshold = 0").await;
    let (olga, rita) = (of_user(database.database(), "olga").unwrap(), of_user(database.database(), "rita").unwrap());
    lines(&olga, "GRANT SELECT, INSERT ON t TO rita").await;
    lines(&olga, "GRANT SELECT ON t TO ada").await;
    for (query, plain, all) in [
        ("SELECT table_name FROM system.tables ORDER BY 1", vec!["t"], vec!["secret", "t"]),
        ("SELECT DISTINCT table_name FROM system.columns ORDER BY 1", vec!["t"], vec!["secret", "t"]),
        ("SELECT user_name FROM system.users ORDER BY 1", vec!["rita"], vec!["ada", "olga", "rita"]),
        (
            "SELECT user_name, privilege FROM system.grants ORDER BY 1, 2",
            vec!["rita|INSERT", "rita|SELECT"],
            vec!["ada|SELECT", "rita|INSERT", "rita|SELECT"],
        ),
        (
            "SELECT DISTINCT user_name, client_address FROM system.sessions ORDER BY 1",
            vec!["rita|::1"],
            vec!["evenkeel|NULL", "olga|::1", "rita|::1"],
        ),
        ("SELECT DISTINCT user_name FROM system.active_queries ORDER BY 1", vec!["rita"], vec!["evenkeel"]),
    ] {
        assert_eq!(lines(&rita, query).await, plain, "{query}");
        assert_eq!(lines(&built_in, query).await, all, "{query}");
    }
    let slow = "SELECT DISTINCT user_name FROM system.slow_queries";
    assert_eq!(lines(&rita, slow).await, ["rita"]);
    assert!(lines(&built_in, slow).await.len() > 2);
    assert_eq!(lines(&rita, "SELECT current_user, session_user, user").await, ["rita|rita|rita"]);
    assert_eq!(lines(&built_in, "SELECT current_user").await, ["evenkeel"]);
    lines(&rita, "CREATE TABLE mine (id integer PRIMARY KEY, who text DEFAULT current_user)").await;
    lines(&rita, "INSERT INTO mine (id) VALUES (1)").await;
    assert_eq!(lines(&rita, "SELECT who FROM mine").await, ["rita"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_others_are_stopped_by_operators_alone() {
    let (database, built_in) = world().await;
    let (olga, rita) = (of_user(database.database(), "olga").unwrap(), of_user(database.database(), "rita").unwrap());
    let other = of_user(database.database(), "olga").unwrap();
    for (killer, may) in [(&rita, false), (&built_in, true), (&other, true)] {
        let endless = "SELECT count(*) AS endless FROM generate_series(1, 1000000000000) AS g(n) WHERE n % 7 = 3";
        let mut answer = olga.execute(endless, &[]);
        let find = "SELECT query_id FROM system.active_queries WHERE statement LIKE '%endless FROM gen%' \
                    AND user_name = 'olga' AND statement NOT LIKE '%active_queries%'";
        let id = loop {
            if let Some(id) = lines(&built_in, find).await.pop() {
                break id;
            }
        };
        let kill = format!("KILL QUERY {id}");
        if may {
            lines(killer, &kill).await;
        } else {
            refused(killer, &kill, SqlState::InsufficientPrivilege).await;
            lines(&built_in, &kill).await;
        }
        let mut state = None;
        while let Some(event) = answer.next().await {
            state = event.err().map(|error| error.state).or(state);
        }
        assert_eq!(state, Some(SqlState::QueryCanceled));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_would_change_something_do_not() {
    let (database, built_in) = world().await;
    let rita = of_user(database.database(), "rita").unwrap();
    lines(&built_in, "GRANT SELECT ON t TO rita").await;
    for statement in [
        "WITH x AS (SELECT 7 AS n) UPDATE t SET v = n FROM x",
        "WITH x AS (SELECT 7 AS n) DELETE FROM t",
        "WITH x AS (SELECT 7 AS n) INSERT INTO t SELECT n, n FROM x",
        "WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x",
        "SELECT * INTO made FROM t",
        "LOCATE t KEY ((SELECT max(id) FROM secret))",
    ] {
        assert!(run(&rita, statement).await.is_err(), "{statement}");
    }
    assert_eq!(lines(&built_in, "SELECT count(*), sum(v) FROM t").await, ["2|3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_without_select_tells_nothing_of_rows() {
    let (database, built_in) = world().await;
    let rita = of_user(database.database(), "rita").unwrap();
    lines(&built_in, "GRANT UPDATE ON t TO rita").await;
    let error = refused(&rita, "UPDATE t SET v = 1000", SqlState::CheckViolation).await;
    assert_eq!(error.detail, None);
    lines(&built_in, "GRANT SELECT ON t TO rita").await;
    let error = refused(&rita, "UPDATE t SET v = 1000 WHERE id = 1", SqlState::CheckViolation).await;
    assert!(error.detail.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_waited_is_asked_again() {
    let (database, built_in) = world().await;
    let (olga, rita) = (of_user(database.database(), "olga").unwrap(), of_user(database.database(), "rita").unwrap());
    lines(&olga, "GRANT INSERT ON t TO rita").await;
    let writer = database.session();
    lines(&writer, "BEGIN").await;
    lines(&writer, "UPDATE t SET v = 5 WHERE id = 1").await;
    // olga waits for the writer to end, and rita for olga.
    let mut answers = Vec::new();
    for (session, statement) in [(&olga, "TRUNCATE t"), (&rita, "INSERT INTO t VALUES (7, 7)")] {
        lines(session, "SET shard_lock_timeout = '60s'").await;
        answers.push(session.execute(statement, &[]));
        let listed = format!("SELECT count(*) FROM system.active_queries WHERE statement = '{statement}'");
        while lines(&built_in, &listed).await != ["1"] {}
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    lines(&built_in, "REVOKE INSERT ON t FROM rita").await;
    lines(&writer, "COMMIT").await;
    let mut states = Vec::new();
    for mut answer in answers {
        while let Some(event) = answer.next().await {
            states.extend(event.err().map(|error| error.state));
        }
    }
    assert_eq!(states, [SqlState::InsufficientPrivilege]);
    assert_eq!(lines(&built_in, "SELECT count(*) FROM t").await, ["0"]);
}
