//! Who may do what: a cell that says no is 42501 and nothing else; one that says yes is anything else.

/// Who there is: a letter, a name, what made them so. `t`, `s` and the view `w` of `t` are olga's.
pub const USERS: &[(char, &str, &[&str])] = &[
    ('A', "ada", &["GRANT admin TO ada"]),
    ('O', "otto", &["GRANT operator TO otto"]),
    ('P', "petra", &["ALTER USER petra SET ROLE operator", "GRANT SELECT, INSERT ON t TO petra"]),
    ('W', "olga", &[]),
    ('R', "rita", &["GRANT SELECT ON t TO rita"]),
    ('I', "inga", &["GRANT INSERT ON t TO inga"]),
    ('U', "udo", &["GRANT UPDATE ON t TO udo"]),
    ('D', "dora", &["GRANT DELETE ON t TO dora"]),
    ('C', "carl", &["GRANT INSERT, UPDATE, DELETE ON t TO carl"]),
    ('B', "bert", &["GRANT SELECT, UPDATE ON t TO bert"]),
    ('S', "stan", &["GRANT SELECT ON w TO stan"]),
    ('N', "nora", &[]),
];

/// The letter of sessions that need not say whose they are.
pub const BUILT_IN: char = 'E';
pub const ALL: &str = "EAOPWRIUDCBSN";
/// Those who keep the database running.
pub const OPERATORS: &str = "EAOP";
/// Everybody who has a right on `t`, or may look at everything.
const LOOKING: &str = "EAOPWRIUDCB";
/// Those who may insert, update and delete without having to read.
const INSERTING: &str = "EAWPIC";
const UPDATING: &str = "EAWUCB";
/// Those who may read what they update.
pub const CHOOSING: &str = "EAWB";
const DELETING: &str = "EAWDC";
/// Those who may do everything with olga's tables.
const OWNING: &str = "EAW";
/// Those who may read `t`, and those who may read `w`.
pub const READING_T: &str = "EAWRPB";
const READING_W: &str = "EAWS";
const ADMINS: &str = "EA";

/// A statement and who may carry it out.
pub type Row = (&'static str, &'static str);

pub const READING: &[Row] = &[
    ("SELECT * FROM t", READING_T),
    ("SELECT v FROM public.t WHERE id = 1", READING_T),
    ("QUERY t WHERE id = 1 SELECT v", READING_T),
    ("QUERY t SELECT n = COUNT(*)", READING_T),
    ("SELECT a.id FROM system.tables AS s CROSS JOIN t AS a", READING_T),
    ("SELECT (SELECT max(v) FROM t) AS m", READING_T),
    ("SELECT 1 AS one WHERE 1 IN (SELECT id FROM t)", READING_T),
    ("SELECT 1 AS one WHERE EXISTS (SELECT 1 FROM t)", READING_T),
    ("WITH x AS (SELECT * FROM t) SELECT * FROM x", READING_T),
    ("WITH t AS (SELECT 1 AS id) SELECT * FROM t", ALL),
    ("SELECT 1 AS id UNION ALL (QUERY t SELECT id)", READING_T),
    ("QUERY (QUERY t) AS x SELECT id", READING_T),
    ("QUERY t AS OF now()", READING_T),
    ("SELECT v FROM t AS OF now() WHERE id = 1", READING_T),
    ("VALUES (1, (SELECT max(v) FROM t))", READING_T),
    ("SELECT t.v FROM t JOIN s ON t.id = s.id", OWNING),
    ("SELECT * FROM t WHERE id IN (SELECT id FROM s)", OWNING),
    ("QUERY w", READING_W),
    ("SELECT * FROM w AS OF now()", READING_W),
    ("SELECT count(*) FROM w WHERE id IN (SELECT id FROM t)", OWNING),
    ("SELECT v FROM t WHERE id = 1 FOR UPDATE", CHOOSING),
    ("SELECT id FROM t WHERE v = 1 ORDER BY id LIMIT 1 FOR SHARE SKIP LOCKED", CHOOSING),
    ("SELECT a.v FROM t AS a JOIN t AS b USING (id) FOR UPDATE OF b NOWAIT", CHOOSING),
    ("SELECT t.v FROM t JOIN s ON t.id = s.id FOR UPDATE OF t", OWNING),
    ("SELECT w.id FROM w FOR UPDATE", OWNING),
    ("EXPLAIN SELECT v FROM t WHERE id = 1 FOR UPDATE", CHOOSING),
    ("EXPLAIN SELECT * FROM t WHERE id = 1", READING_T),
    ("EXPLAIN QUERY w", READING_W),
    ("EXPLAIN ANALYZE QUERY t", READING_T),
    ("EXPLAIN ANALYZE QUERY w", READING_W),
    ("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM t", READING_T),
    ("EXPLAIN UPDATE t SET v = 1", CHOOSING),
    ("EXPLAIN DELETE FROM t WHERE id = 1", OWNING),
    ("EXPLAIN INSERT INTO t QUERY t", "EAWP"),
    ("EXPLAIN INSERT INTO t QUERY s", OWNING),
    ("EXPLAIN REBALANCE SHARDS", OPERATORS),
    ("DESCRIBE t", LOOKING),
    ("DESC w", "EAOPWS"),
    ("SHOW COLUMNS FROM t", LOOKING),
    ("DESCRIBE \"here.csv\"", OPERATORS),
    ("LOCATE t KEY (1)", LOOKING),
    ("QUERY 'here.csv'", OPERATORS),
    ("SELECT (SELECT count(*) FROM 'here.csv') AS n", OPERATORS),
    ("SELECT current_user, session_user, user", ALL),
    ("QUERY SYSTEM.SHARDS", ALL),
    ("QUERY SYSTEM.SHARD_METRICS", ALL),
    ("QUERY SYSTEM.SLOTS LIMIT 5", ALL),
    ("QUERY SYSTEM.JOBS", ALL),
    ("QUERY SYSTEM.REBALANCE_STATUS", ALL),
    ("QUERY SYSTEM.SETTINGS", ALL),
    ("QUERY SYSTEM.BALANCER_DECISIONS", ALL),
    ("QUERY SYSTEM.EVENTS", OPERATORS),
    ("SELECT count(*) FROM information_schema.tables", ALL),
    ("SELECT count(*) FROM pg_class", ALL),
    ("WITH x AS (SELECT 1 AS n) UPDATE t SET v = n FROM x", READING_T),
    ("SELECT * INTO made FROM t", READING_T),
    ("PREPARE x AS SELECT * FROM t", ALL),
    ("DECLARE x CURSOR FOR SELECT * FROM t", READING_T),
    ("DECLARE y CURSOR WITH HOLD FOR QUERY w", READING_W),
    ("FETCH 1 FROM y", ALL),
    ("CLOSE y", ALL),
];

pub const CHANGING: &[Row] = &[
    ("INSERT INTO t VALUES (100, 1)", INSERTING),
    ("INSERT INTO t {id: 101, v: 1}", INSERTING),
    ("INSERT INTO t SELECT id + 1000, v FROM t", "EAWP"),
    ("INSERT INTO t SELECT id + 2000, v FROM s", OWNING),
    ("INSERT INTO t VALUES (102, (SELECT max(v) FROM t))", "EAWP"),
    ("INSERT INTO t VALUES (103, 1) RETURNING v", "EAWP"),
    ("INSERT INTO t VALUES (104, 1) RETURNING (SELECT 1)", "EAWP"),
    ("INSERT INTO t VALUES (1, 1) ON CONFLICT DO NOTHING", INSERTING),
    ("INSERT INTO t VALUES (1, 1) ON CONFLICT (id) DO NOTHING", "EAWP"),
    ("INSERT INTO t VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET v = 5", OWNING),
    ("INSERT INTO w VALUES (1)", OWNING),
    ("UPSERT INTO t VALUES (1, 1)", "EAWC"),
    ("UPSERT INTO t SELECT id, v FROM s", OWNING),
    ("UPDATE t SET v = 7", UPDATING),
    ("UPDATE t SET v = v + 1", CHOOSING),
    ("UPDATE t SET v = 7 WHERE id = 1", CHOOSING),
    ("UPDATE t SET v = 7 WHERE v = 1", CHOOSING),
    ("UPDATE t SET v = 7 WHERE id IN (SELECT id FROM s)", OWNING),
    ("UPDATE t SET v = (SELECT max(id) FROM t)", CHOOSING),
    ("UPDATE t SET v = 7 RETURNING v", CHOOSING),
    ("UPDATE t SET v = 7 FROM generate_series(1, 2) AS g(n) WHERE id = n", CHOOSING),
    ("UPDATE t SET v = s.v FROM s WHERE t.id = s.id", OWNING),
    ("DELETE FROM t", DELETING),
    ("DELETE FROM t WHERE id = 1", OWNING),
    ("DELETE FROM t WHERE id IN (SELECT id FROM s)", OWNING),
    ("DELETE FROM t USING generate_series(1, 2) AS g(n) WHERE id = n", OWNING),
    ("DELETE FROM t RETURNING v", OWNING),
    ("TRUNCATE t", OWNING),
    ("COPY t FROM 'here.csv'", "EAP"),
    ("COPY t TO 'there.csv'", "EAP"),
    ("COPY (QUERY t) TO 'there.csv'", "EAP"),
    ("COPY (SELECT 1 AS one) TO 'there.csv'", OPERATORS),
    ("COPY t FROM STDIN", INSERTING),
    ("COPY t TO STDOUT", READING_T),
    ("COPY (QUERY t) TO STDOUT", READING_T),
    ("COPY (QUERY w) TO STDOUT", READING_W),
    ("COPY (SELECT * FROM t JOIN s USING (id)) TO STDOUT", OWNING),
];

pub const DEFINING: &[Row] = &[
    ("CREATE TABLE made (id integer PRIMARY KEY)", ALL),
    ("CREATE TABLE made AS QUERY t", READING_T),
    ("CREATE TABLE made AS QUERY w", READING_W),
    ("CREATE VIEW seen AS SELECT 1 AS one", ALL),
    ("CREATE VIEW seen AS QUERY t", READING_T),
    ("CREATE VIEW seen AS SELECT w.id FROM w JOIN s USING (id)", OWNING),
    ("CREATE OR REPLACE VIEW w AS SELECT 1 AS id", OWNING),
    ("CREATE INDEX i ON t (v)", ALL),
    ("ALTER TABLE t ADD COLUMN more integer", OWNING),
    ("ALTER TABLE t ALTER COLUMN v SET DEFAULT 3", OWNING),
    ("ALTER TABLE t RENAME TO other", OWNING),
    ("ALTER TABLE t OWNER TO stan", ADMINS),
    ("DROP TABLE t", OWNING),
    ("DROP TABLE IF EXISTS nothing", ALL),
    ("DROP VIEW w", OWNING),
    ("GRANT SELECT ON t TO stan", OWNING),
    ("GRANT ALL ON t, w TO stan", OWNING),
    ("REVOKE SELECT ON t FROM rita", OWNING),
];

pub const KEEPING: &[Row] = &[
    ("BEGIN", ALL),
    ("START TRANSACTION", ALL),
    ("COMMIT", ALL),
    ("END", ALL),
    ("ROLLBACK", ALL),
    ("SAVEPOINT s", ALL),
    ("RELEASE SAVEPOINT s", ALL),
    ("SET statement_timeout = '1h'", ALL),
    ("SET TRANSACTION READ ONLY", ALL),
    ("SET TIME ZONE 'UTC'", ALL),
    ("SET NAMES 'UTF8'", ALL),
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
    ("ALTER SYSTEM SET slow_query_threshold = '1h'", OPERATORS),
    ("ALTER SYSTEM RESET ALL", OPERATORS),
    ("ALTER SYSTEM RESET slow_query_threshold", OPERATORS),
    ("VACUUM t", OPERATORS),
    ("REBALANCE SHARDS", OPERATORS),
    ("EXPLAIN SHARD 1", OPERATORS),
    ("SPLIT SHARD 99", OPERATORS),
    ("MERGE SHARDS 98, 99", OPERATORS),
    ("MOVE SLOTS 1 TO 2 FROM SHARD 98 TO SHARD 99", OPERATORS),
    ("PIN SHARD 1", OPERATORS),
    ("UNPIN SHARD 1", OPERATORS),
    ("ADD SHARD", OPERATORS),
    ("REMOVE SHARD 99", OPERATORS),
    ("VERIFY SHARD 1", OPERATORS),
    ("PAUSE JOB 99", OPERATORS),
    ("RESUME JOB 99", OPERATORS),
    ("CANCEL JOB 99", OPERATORS),
    ("UNDO JOB 99", OPERATORS),
    ("WAIT FOR JOB 99", OPERATORS),
    ("CREATE USER fresh PASSWORD 'SCRAM'", ADMINS),
    ("ALTER USER rita PASSWORD 'SCRAM'", "EAR"),
    ("ALTER USER rita SET ROLE operator", ADMINS),
    ("ALTER USER rita CONNECTION LIMIT 7", ADMINS),
    ("DROP USER rita", ADMINS),
    ("GRANT operator TO rita", ADMINS),
    ("GRANT admin TO rita", ADMINS),
    ("REVOKE operator FROM otto", ADMINS),
];

/// A call that is a statement of the table: whoever may make the one may make the other.
#[derive(Debug)]
pub struct Call {
    pub statement: &'static str,
    /// As the description of the interface has it.
    pub method: &'static str,
    pub template: &'static str,
    /// What is asked, and with which body.
    pub path: &'static str,
    pub body: Option<&'static str>,
}

const fn get(statement: &'static str, template: &'static str, path: &'static str) -> Call {
    Call { statement, method: "GET", template, path, body: None }
}

const fn job(statement: &'static str, body: &'static str) -> Call {
    let path = "/api/v1/jobs";
    Call { statement, method: "POST", template: path, path, body: Some(body) }
}

const fn change(statement: &'static str, path: &'static str) -> Call {
    Call { statement, method: "POST", template: "/api/v1/jobs/{id}/{change}", path, body: None }
}

const fn set(statement: &'static str, body: &'static str) -> Call {
    let path = "/api/v1/settings";
    Call { statement, method: "PATCH", template: path, path, body: Some(body) }
}

pub const CALLS: &[Call] = &[
    get("QUERY SYSTEM.SHARDS", "/api/v1/shards", "/api/v1/shards"),
    get("QUERY SYSTEM.SHARDS", "/api/v1/shards/{id}", "/api/v1/shards/1"),
    get("QUERY SYSTEM.SHARD_METRICS", "/api/v1/shards/measurements", "/api/v1/shards/measurements"),
    get("QUERY SYSTEM.SLOTS LIMIT 5", "/api/v1/slots", "/api/v1/slots?limit=5"),
    get("LOCATE t KEY (1)", "/api/v1/tables/{table}/locate", "/api/v1/tables/t/locate?key=1"),
    get("QUERY SYSTEM.JOBS", "/api/v1/jobs", "/api/v1/jobs"),
    get("QUERY SYSTEM.JOBS", "/api/v1/jobs/{id}", "/api/v1/jobs/99"),
    get("QUERY SYSTEM.REBALANCE_STATUS", "/api/v1/migrations", "/api/v1/migrations"),
    get("QUERY SYSTEM.SETTINGS", "/api/v1/settings", "/api/v1/settings"),
    get("QUERY SYSTEM.SETTINGS", "/api/v1/settings/{id}", "/api/v1/settings/gc_retention"),
    get("QUERY SYSTEM.BALANCER_DECISIONS", "/api/v1/balancer/decisions", "/api/v1/balancer/decisions"),
    get("QUERY SYSTEM.EVENTS", "/api/v1/events", "/api/v1/events"),
    job("REBALANCE SHARDS", r#"{"kind": "rebalance"}"#),
    job("SPLIT SHARD 99", r#"{"kind": "split", "shard": 99}"#),
    job("MERGE SHARDS 98, 99", r#"{"kind": "merge", "shards": [98, 99]}"#),
    job(
        "MOVE SLOTS 1 TO 2 FROM SHARD 98 TO SHARD 99",
        r#"{"kind": "move", "slots": [{"first": 1, "last": 2}], "from": 98, "to": 99}"#,
    ),
    job("REMOVE SHARD 99", r#"{"kind": "remove", "shard": 99}"#),
    change("PAUSE JOB 99", "/api/v1/jobs/99/pause"),
    change("RESUME JOB 99", "/api/v1/jobs/99/resume"),
    change("CANCEL JOB 99", "/api/v1/jobs/99/cancel"),
    change("UNDO JOB 99", "/api/v1/jobs/99/undo"),
    set("ALTER SYSTEM SET slow_query_threshold = '1h'", r#"{"slow_query_threshold": "1h"}"#),
    set("ALTER SYSTEM RESET slow_query_threshold", r#"{"slow_query_threshold": null}"#),
];

/// Calls that are no statement: any statement at all, who one is, how the process is.
pub const OTHER_CALLS: &[(&str, &str)] = &[
    ("POST", "/api/v1/pql"),
    ("POST", "/api/v1/tokens"),
    ("DELETE", "/api/v1/tokens"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
];

/// Every row.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    READING.iter().chain(CHANGING).chain(DEFINING).chain(KEEPING)
}
