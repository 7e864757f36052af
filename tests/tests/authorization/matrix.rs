//! The table, row by row: whoever may not is told so on every way in, and nothing has happened; whoever may gets the same
//! outcome on every way in.

use crate::kinds::Kind;
use crate::table::{
    ALL, BUILT_IN, CALLS, CHANGING, CHOOSING, DEFINING, KEEPING, OPERATORS, OTHER_CALLS, READING, READING_T, Row, rows,
};
use crate::ways::{DENIED, Failure, Way};
use crate::world::World;
use evenkeel_catalog::{SYSTEM, computed_tables};
use evenkeel_engine::ScalarValue;
use evenkeel_pql::keywords;
use evenkeel_tests::lines;
use std::collections::BTreeSet;

fn kind(statement: &str) -> Kind {
    let parsed = evenkeel_pql::parse_statement(statement);
    Kind::of(&parsed.unwrap_or_else(|error| panic!("{statement}: {error}")).kind)
}

fn was_denied<T>(outcome: &Result<T, Failure>) -> bool {
    outcome.as_ref().is_err_and(|failure| failure.state == DENIED)
}

/// The SQLSTATE of an outcome.
fn state<T>(outcome: &Result<T, Failure>) -> &str {
    outcome.as_ref().err().map_or("00000", |failure| &failure.state)
}

fn said<T>(outcome: &Result<T, Failure>) -> &str {
    outcome.as_ref().err().map_or("done", |failure| &failure.text)
}

/// A row of the table for everybody on every way; what was wrong.
async fn check_row(world: &World, (statement, may): &Row) -> Vec<String> {
    let kind = kind(statement);
    let (ways, mut wrong) = (Way::of(statement, kind), Vec::new());
    for who in ALL.chars().filter(|who| !may.contains(*who)) {
        for way in &ways {
            let outcome = world.carry_out(*way, who, kind, statement, false).await;
            if !was_denied(&outcome) {
                wrong.push(format!("{who} must not do {statement} by {way:?}: {}", said(&outcome)));
            }
        }
    }
    if let Some(change) = world.settle().await {
        wrong.push(format!("{statement} was refused and has done something: {change}"));
    }
    for who in may.chars() {
        let mut states = BTreeSet::new();
        for way in &ways {
            let outcome = world.carry_out(*way, who, kind, statement, true).await;
            if was_denied(&outcome) {
                wrong.push(format!("{who} may do {statement} by {way:?}: {}", said(&outcome)));
            }
            // Rows that stream come and go on some ways only; a list may lack what a call is about; and a request over
            // HTTP is a transaction of its own, which leaves none open.
            let alike = match way {
                Way::Call(_) => false,
                Way::Pql => kind != Kind::Begin,
                // A cursor that one way has made is there already on the next.
                Way::Embedded | Way::Simple | Way::Extended => !kind.is_stream() && !kind.is_cursor(),
            };
            if alike {
                states.insert(state(&outcome).to_string());
            }
            match outcome {
                Ok(()) if kind.changes_rows() => world.put_back().await,
                Ok(()) if !kind.only_reads() => drop(world.settle().await),
                _ => {}
            }
        }
        if states.len() > 1 {
            wrong.push(format!("{statement} ends in different ways for {who}: {states:?}"));
        }
        if kind == Kind::Unsupported && states.iter().any(|state| state != "0A000") {
            wrong.push(format!("{statement} is supported: it needs a kind"));
        }
    }
    if let Some(change) = world.settle().await {
        wrong.push(format!("{statement} has left something that it is not known to change: {change}"));
    }
    wrong
}

async fn check(rows: &[Row]) {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for row in rows {
        wrong.extend(check_row(&world, row).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.end().await;
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
        let may = if table.name == "events" { OPERATORS } else { ALL };
        let query = format!("SELECT count(*) FROM {}.{}", table.schema_name, table.name);
        // What PostgreSQL's catalogs show each user is no question of rights.
        let asking = if table.schema_name == SYSTEM { ALL } else { "EN" };
        for who in asking.chars() {
            for way in [Way::Simple, Way::Extended, Way::Pql] {
                let outcome = world.carry_out(way, who, Kind::Query, &query, true).await;
                if outcome.is_ok() != may.contains(who) || outcome.is_err() && !was_denied(&outcome) {
                    wrong.push(format!("{who} by {way:?}: {query}: {}", said(&outcome)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.end().await;
}

/// What was prepared with a right is refused when the right has gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_asks_again() {
    let world = World::new().await;
    lines(&world.built_in, "GRANT SELECT, INSERT, UPDATE, DELETE ON t TO rita").await;
    let client = world.client('R').await;
    let mut prepared = Vec::new();
    for statement in [
        "SELECT v FROM t WHERE id = 1",
        "SELECT count(*) FROM t",
        "SELECT v FROM t WHERE id = 1 FOR UPDATE",
        "SELECT v FROM t WHERE v = 1 FOR UPDATE",
        "UPDATE t SET v = v + 1 WHERE id = 1",
        "UPDATE t SET v = v + 1",
        "INSERT INTO t VALUES (50, 1)",
        "INSERT INTO t SELECT 51, 1",
        "DELETE FROM t WHERE id > 40",
        "UPSERT INTO t VALUES (52, 1)",
        "EXPLAIN SELECT * FROM t",
        "CREATE TABLE made AS QUERY t",
    ] {
        prepared.push((statement, client.prepare(statement).await.expect(statement)));
    }
    lines(&world.built_in, "REVOKE ALL ON t FROM rita").await;
    let before = lines(&world.built_in, "SELECT * FROM t ORDER BY id").await;
    for (text, statement) in &prepared {
        let error = client.query(statement, &[]).await.expect_err(text);
        assert_eq!(error.code().map(|code| code.code()), Some(DENIED), "{text}: {error:?}");
    }
    assert_eq!(lines(&world.built_in, "SELECT * FROM t ORDER BY id").await, before);
    assert!(lines(&world.built_in, "SELECT 1 FROM SYSTEM.TABLES WHERE table_name = 'made'").await.is_empty());
    world.end().await;
}

/// The two ways to one row that go past statements, within the process.
#[tokio::test(flavor = "multi_thread")]
async fn rows_by_their_keys() {
    let id = [ScalarValue::Int32(Some(1))];
    let world = World::new().await;
    for who in ALL.chars() {
        let session = world.session(who);
        let get = session.prepare("SELECT v FROM t WHERE id = $1").and_then(|mut query| query.get(&id, |_, _| {}));
        let update = match session.prepare_update("UPDATE t SET v = v + 1 WHERE id = $1") {
            Ok(update) => update.execute(&id).await.map(drop),
            Err(error) => Err(error),
        };
        for (what, may, outcome) in [("SELECT", READING_T, get.map(drop)), ("UPDATE", CHOOSING, update)] {
            let state = outcome.err().map_or("00000", |error| error.state.code());
            assert_eq!(state, if may.contains(who) { "00000" } else { DENIED }, "{who}: {what}");
        }
    }
    world.end().await;
}

/// What is measured is numbers without rows, and everybody's who is somebody.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_everybodys() {
    let world = World::new().await;
    for who in ALL.chars() {
        world.ask(who, "GET", "/metrics", None).await.unwrap_or_else(|failure| panic!("{who}: {failure:?}"));
    }
    world.end().await;
}

#[test]
fn every_kind_of_statement_is_in_the_table() {
    for (text, may) in rows() {
        assert!(may.contains(BUILT_IN) && may.contains('A'), "admins may do everything: {text}");
    }
    let kinds: BTreeSet<Kind> = rows().map(|(text, _)| kind(text)).collect();
    assert_eq!(kinds, Kind::ALL.iter().copied().collect(), "left: the table's kinds, right: all there are");
    for statement in keywords::STATEMENTS {
        let there = rows().any(|(text, _)| text.split(' ').next() == Some(statement.name));
        assert!(there, "no row for {}", statement.name);
    }
}

/// What the scripts do must have a kind of its own: the parser knows far more statements than the engine.
#[test]
fn what_scripts_do_has_a_kind() {
    for file in std::fs::read_dir("slt").expect("the folder of scripts") {
        let script = file.expect("a file").path();
        let records = sqllogictest::parse_file::<sqllogictest::DefaultColumnType>(&script).expect("a script");
        for record in records {
            use sqllogictest::{QueryExpect, Record, StatementExpect};
            let text = match record {
                Record::Statement { sql, expected: StatementExpect::Ok | StatementExpect::Count(_), .. } => sql,
                Record::Query { sql, expected: QueryExpect::Results { .. }, .. } => sql,
                _ => continue,
            };
            assert_ne!(kind(text.trim().trim_end_matches(';')), Kind::Unsupported, "{}: {text}", script.display());
        }
    }
}

#[test]
fn every_call_is_in_the_table() {
    let description = include_str!("../../../docs/openapi.json");
    let description: serde_json::Value = serde_json::from_str(description).expect("JSON");
    let mut described = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().expect("paths") {
        let methods = methods.as_object().expect("methods").keys();
        described.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    let calls = CALLS.iter().map(|call| (call.method, call.template)).chain(OTHER_CALLS.iter().copied());
    let known = calls.map(|(method, path)| (method.to_string(), path.to_string())).collect();
    assert_eq!(described, known, "left: what is described, right: what the table has");
    for call in CALLS {
        assert!(rows().any(|(text, _)| *text == call.statement), "{call:?}");
    }
}
