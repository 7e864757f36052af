//! Every kind of statement for every kind of user: one table says who may.
//!
//! A cell that says no is 42501 and nothing else; one that says yes is anything else. What a statement changed is put right
//! before the next.

use evenkeel_catalog::computed_tables;
use evenkeel_engine::{ScalarValue, Session, SessionOptions};
use evenkeel_model::{Error, SqlState};
use evenkeel_pql::keywords;
use evenkeel_tests::{Temporary, lines, run, spelled};
use std::path::Path;

/// Who there is: a letter, a name, what made them so. `t` and the view `w` are olga's.
const USERS: &[(char, &str, &[&str])] = &[
    ('A', "ada", &["GRANT admin TO ada"]),
    ('O', "otto", &["GRANT operator TO otto"]),
    ('P', "petra", &["ALTER USER petra SET ROLE operator", "GRANT SELECT, INSERT ON t TO petra"]),
    ('W', "olga", &[]),
    ('R', "rita", &["GRANT SELECT ON t TO rita"]),
    ('C', "carl", &["GRANT INSERT, UPDATE, DELETE ON t TO carl"]),
    ('S', "stan", &[]),
];

/// The letter of sessions that need not say whose they are.
const BUILT_IN: char = 'E';
const ALL: &str = "EAOPWRCS";

/// A statement and who may carry it out.
type Case = (&'static str, &'static str);

const READING: &[Case] = &[
    ("SELECT * FROM t", "EAWRP"),
    ("SELECT v FROM public.t WHERE id = 1", "EAWRP"),
    ("QUERY t WHERE id = 1 SELECT v", "EAWRP"),
    ("QUERY t SELECT n = COUNT(*)", "EAWRP"),
    ("SELECT a.id FROM system.tables AS s CROSS JOIN t AS a", "EAWRP"),
    ("SELECT (SELECT max(v) FROM t) AS m", "EAWRP"),
    ("SELECT 1 AS one WHERE 1 IN (SELECT id FROM t)", "EAWRP"),
    ("SELECT 1 AS one WHERE EXISTS (SELECT 1 FROM t)", "EAWRP"),
    ("WITH x AS (SELECT * FROM t) SELECT * FROM x", "EAWRP"),
    ("WITH t AS (SELECT 1 AS id) SELECT * FROM t", ALL),
    ("SELECT 1 AS id UNION ALL (QUERY t SELECT id)", "EAWRP"),
    ("QUERY (QUERY t) AS x SELECT id", "EAWRP"),
    ("QUERY t AS OF now()", "EAWRP"),
    ("SELECT v FROM t AS OF now() WHERE id = 1", "EAWRP"),
    ("VALUES (1, (SELECT max(v) FROM t))", "EAWRP"),
    ("QUERY w", "EAWS"),
    ("SELECT * FROM w AS OF now()", "EAWS"),
    ("EXPLAIN SELECT * FROM t WHERE id = 1", "EAWRP"),
    ("EXPLAIN ANALYZE QUERY t", "EAWRP"),
    ("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM t", "EAWRP"),
    ("EXPLAIN UPDATE t SET v = 1", "EAW"),
    ("EXPLAIN DELETE FROM t WHERE id = 1", "EAW"),
    ("EXPLAIN INSERT INTO t QUERY t", "EAWP"),
    ("EXPLAIN REBALANCE SHARDS", "EAOP"),
    ("DESCRIBE t", "EAOPWRC"),
    ("DESC w", "EAOPWS"),
    ("SHOW COLUMNS FROM t", "EAOPWRC"),
    ("DESCRIBE \"here.csv\"", "EAOP"),
    ("LOCATE t KEY (1)", "EAOPWRC"),
    ("QUERY 'here.csv'", "EAOP"),
    ("SELECT (SELECT count(*) FROM 'here.csv') AS n", "EAOP"),
    ("SELECT current_user, session_user, user", ALL),
    ("WITH x AS (SELECT 1 AS n) UPDATE t SET v = n FROM x", "EAWRP"),
    ("SELECT * INTO made FROM t", "EAWRP"),
];

const CHANGING: &[Case] = &[
    ("INSERT INTO t VALUES (100, 1)", "EAWCP"),
    ("INSERT INTO t {id: 101, v: 1}", "EAWCP"),
    ("INSERT INTO t SELECT id + 1000, v FROM t", "EAWP"),
    ("INSERT INTO t VALUES (102, (SELECT max(v) FROM t))", "EAWP"),
    ("INSERT INTO t VALUES (103, 1) RETURNING v", "EAWP"),
    ("INSERT INTO t VALUES (104, 1) RETURNING (SELECT 1)", "EAWP"),
    ("INSERT INTO t VALUES (1, 1) ON CONFLICT DO NOTHING", "EAWCP"),
    ("INSERT INTO t VALUES (1, 1) ON CONFLICT (id) DO NOTHING", "EAWP"),
    ("INSERT INTO t VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET v = 5", "EAW"),
    ("UPSERT INTO t VALUES (1, 1)", "EAWC"),
    ("UPDATE t SET v = 7", "EAWC"),
    ("UPDATE t SET v = v + 1", "EAW"),
    ("UPDATE t SET v = 7 WHERE id = 1", "EAW"),
    ("UPDATE t SET v = 7 WHERE v = 1", "EAW"),
    ("UPDATE t SET v = (SELECT max(id) FROM t)", "EAW"),
    ("UPDATE t SET v = 7 RETURNING v", "EAW"),
    ("UPDATE t SET v = 7 FROM generate_series(1, 2) AS g(n) WHERE id = n", "EAW"),
    ("DELETE FROM t", "EAWC"),
    ("DELETE FROM t WHERE id = 1", "EAW"),
    ("DELETE FROM t USING generate_series(1, 2) AS g(n) WHERE id = n", "EAW"),
    ("TRUNCATE t", "EAW"),
    ("COPY t FROM 'here.csv'", "EAP"),
    ("COPY t TO 'there.csv'", "EAP"),
    ("COPY (QUERY t) TO 'there.csv'", "EAP"),
    ("COPY (SELECT 1 AS one) TO 'there.csv'", "EAOP"),
    ("COPY t FROM STDIN", "EAWCP"),
    ("COPY t TO STDOUT", "EAWRP"),
];

const DEFINING: &[Case] = &[
    ("CREATE TABLE made (id integer PRIMARY KEY)", ALL),
    ("CREATE TABLE made AS QUERY t", "EAWRP"),
    ("CREATE VIEW seen AS SELECT 1 AS one", ALL),
    ("CREATE VIEW seen AS QUERY t", "EAWRP"),
    ("CREATE OR REPLACE VIEW w AS SELECT 1 AS id", "EAW"),
    ("CREATE INDEX i ON t (v)", ALL),
    ("ALTER TABLE t ADD COLUMN more integer", "EAW"),
    ("ALTER TABLE t ALTER COLUMN v SET DEFAULT 3", "EAW"),
    ("ALTER TABLE t RENAME TO other", "EAW"),
    ("ALTER TABLE t OWNER TO stan", "EA"),
    ("DROP TABLE t", "EAW"),
    ("DROP TABLE IF EXISTS nothing", ALL),
    ("DROP VIEW w", "EAW"),
    ("GRANT SELECT ON t TO stan", "EAW"),
    ("GRANT ALL ON t, w TO stan", "EAW"),
    ("REVOKE SELECT ON t FROM rita", "EAW"),
];

const KEEPING: &[Case] = &[
    ("BEGIN", ALL),
    ("START TRANSACTION", ALL),
    ("COMMIT", ALL),
    ("END", ALL),
    ("ROLLBACK", ALL),
    ("SAVEPOINT s", ALL),
    ("RELEASE SAVEPOINT s", ALL),
    ("SET statement_timeout = '1h'", ALL),
    ("RESET statement_timeout", ALL),
    ("SET ROLE admin", ALL),
    ("SHOW TABLES", ALL),
    ("SHOW SHARDS", ALL),
    ("SHOW JOBS", ALL),
    ("SHOW NODES", ALL),
    ("SHOW SETTINGS", ALL),
    ("SHOW BALANCER", ALL),
    ("SHOW gc_retention", ALL),
    ("ANALYZE t", ALL),
    ("KILL QUERY 999999", ALL),
    ("ALTER SYSTEM SET slow_query_threshold = '1h'", "EAOP"),
    ("ALTER SYSTEM RESET ALL", "EAOP"),
    ("VACUUM t", "EAOP"),
    ("REBALANCE SHARDS", "EAOP"),
    ("EXPLAIN SHARD 1", "EAOP"),
    ("SPLIT SHARD 99", "EAOP"),
    ("MERGE SHARDS 98, 99", "EAOP"),
    ("MOVE SLOTS 1 TO 2 FROM SHARD 98 TO SHARD 99", "EAOP"),
    ("PIN SHARD 1", "EAOP"),
    ("UNPIN SHARD 1", "EAOP"),
    ("ADD SHARD", "EAOP"),
    ("REMOVE SHARD 99", "EAOP"),
    ("VERIFY SHARD 1", "EAOP"),
    ("PAUSE JOB 99", "EAOP"),
    ("RESUME JOB 99", "EAOP"),
    ("CANCEL JOB 99", "EAOP"),
    ("UNDO JOB 99", "EAOP"),
    ("WAIT FOR JOB 99", "EAOP"),
    ("CREATE USER fresh PASSWORD 'x'", "EA"),
    ("ALTER USER rita PASSWORD 'x'", "EAR"),
    ("ALTER USER rita SET ROLE operator", "EA"),
    ("DROP USER rita", "EA"),
    ("GRANT operator TO rita", "EA"),
    ("GRANT admin TO rita", "EA"),
    ("REVOKE operator FROM otto", "EA"),
];

/// Sessions of everybody, over one database.
struct World {
    database: Temporary,
    built_in: Session,
}

impl World {
    async fn new() -> Self {
        let database = Temporary::new(2);
        let world = Self { built_in: database.session(), database };
        world.restore().await;
        world
    }

    fn session(&self, who: char) -> Session {
        if who == BUILT_IN {
            return self.database.session();
        }
        let (_, user, _) = USERS.iter().find(|(letter, ..)| *letter == who).expect("a letter of the list");
        of_user(&self.database, user)
    }

    /// Makes everything as it is meant to be.
    async fn restore(&self) {
        for statement in [
            "DROP VIEW IF EXISTS w, seen",
            "DROP TABLE IF EXISTS t, made, other",
            "DROP USER IF EXISTS fresh",
            "CREATE TABLE t (id integer PRIMARY KEY, v integer)",
            "INSERT INTO t VALUES (1, 1), (2, 2)",
        ] {
            lines(&self.built_in, statement).await;
        }
        for (_, user, _) in USERS {
            let verifier = "SCRAM-SHA-256$4096:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                            AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
            lines(&self.built_in, &format!("CREATE USER IF NOT EXISTS {user} PASSWORD '{verifier}'")).await;
        }
        for (_, user, rights) in USERS {
            if !rights.iter().any(|right| right.contains("admin") || right.contains("operator")) {
                lines(&self.built_in, &format!("ALTER USER {user} SET ROLE user")).await;
            }
            for right in *rights {
                lines(&self.built_in, right).await;
            }
        }
        lines(&self.built_in, "ALTER TABLE t OWNER TO olga").await;
        let olga = of_user(&self.database, "olga");
        lines(&olga, "CREATE VIEW w AS SELECT id FROM t").await;
        lines(&olga, "GRANT SELECT ON w TO stan").await;
    }

    /// A statement with its files in the database's folder.
    fn placed(&self, statement: &str) -> String {
        let folder = self.database.folder();
        let place = |file: &str| format!("'{}'", folder.join(file).display());
        ["here.csv", "there.csv"]
            .iter()
            .fold(statement.to_string(), |text, file| text.replace(&format!("'{file}'"), &place(file)))
    }
}

fn of_user(database: &Temporary, user: &str) -> Session {
    let options = SessionOptions { user: user.to_string(), application: "matrix".to_string(), client: None };
    Session::of_user(database.database(), &options).expect("a user")
}

fn files(folder: &Path) {
    std::fs::write(folder.join("here.csv"), "id,v\n500,1\n").expect("a file");
}

fn was_permitted<T>(outcome: &Result<T, Error>) -> bool {
    outcome.as_ref().err().is_none_or(|error| error.state != SqlState::InsufficientPrivilege)
}

/// Whether cell and table agree; what was wrong.
fn compare<T>(what: &str, who: char, allowed: &str, outcome: &Result<T, Error>) -> Option<String> {
    let expected = allowed.contains(who);
    if was_permitted(outcome) == expected {
        return None;
    }
    let said = outcome.as_ref().err().map_or_else(|| "done".to_string(), spelled);
    Some(format!("{who} {} do {what}: {said}", if expected { "may" } else { "must not" }))
}

async fn check(cases: &[Case]) {
    let world = World::new().await;
    files(world.database.folder());
    let mut wrong = Vec::new();
    for (statement, allowed) in cases {
        for who in ALL.chars() {
            let session = world.session(who);
            let outcome = run(&session, &world.placed(statement)).await;
            wrong.extend(compare(statement, who, allowed, &outcome));
            if allowed.contains(who) && outcome.is_ok() {
                world.restore().await;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reading() {
    check(READING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changing() {
    check(CHANGING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defining() {
    check(DEFINING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeping() {
    check(KEEPING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn computed_tables_are_everybodys_but_for_the_events() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for table in computed_tables() {
        let allowed = if table.name == "events" { "EAOP" } else { ALL };
        for who in ALL.chars() {
            let query = format!("SELECT * FROM {}.{}", table.schema_name, table.name);
            wrong.extend(compare(&query, who, allowed, &run(&world.session(who), &query).await));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The ways that do not go through a statement's text, and what happens to them when a right goes.
#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements() {
    let id = [ScalarValue::Int32(Some(1))];
    let world = World::new().await;
    let mut wrong = Vec::new();
    for who in ALL.chars() {
        let session = world.session(who);
        let get = session.prepare("SELECT v FROM t WHERE id = $1").and_then(|mut query| query.get(&id, |_, _| {}));
        wrong.extend(compare("prepared SELECT", who, "EAWRP", &get));
        let update = match session.prepare_update("UPDATE t SET v = v + 1 WHERE id = $1") {
            Ok(update) => update.execute(&id).await,
            Err(error) => Err(error),
        };
        wrong.extend(compare("prepared UPDATE", who, "EAW", &update));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_of_statement_is_in_the_table() {
    let cases = || READING.iter().chain(CHANGING).chain(DEFINING).chain(KEEPING);
    for statement in keywords::STATEMENTS {
        let there = cases().any(|(text, _)| text.split(' ').next() == Some(statement.name));
        assert!(there, "no case for {}", statement.name);
    }
    for (text, allowed) in cases() {
        assert!(allowed.contains(BUILT_IN) && allowed.contains('A'), "admins may do everything: {text}");
        evenkeel_pql::parse_statement(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}
