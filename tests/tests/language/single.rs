//! Single rows go a short way: what it writes, and what it refuses, is what the planner's way writes and refuses.

use evenkeel_engine::Session;
use evenkeel_tests::{Temporary, lines, run};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

const STATEMENTS: usize = 600;
const COLUMNS: &str = "id integer PRIMARY KEY, s smallint, i integer NOT NULL, b bigint DEFAULT -7, x text DEFAULT 'none', \
                       y boolean, f double precision, v varchar(3)";

/// Numbers at the ends of types, and others.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "7",
    "32767",
    "32768",
    "-32768",
    "-32769",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "9223372036854775807",
    "-9223372036854775807",
    "1.5",
    "NULL",
];

fn expression(dice: &mut StdRng, columns: &[&str], depth: u32) -> String {
    match dice.random_range(0..if depth == 0 { 2 } else { 5 }) {
        0 if !columns.is_empty() => (*columns.choose(dice).expect("a column")).to_string(),
        0 | 1 => (*NUMBERS.choose(dice).expect("a number")).to_string(),
        2 => format!("({})", expression(dice, columns, depth - 1)),
        3 => format!("{} + {}", expression(dice, columns, depth - 1), expression(dice, columns, depth - 1)),
        _ => format!("{} - {}", expression(dice, columns, depth - 1), expression(dice, columns, depth - 1)),
    }
}

/// A value of a column of any type, or none of it.
fn value(dice: &mut StdRng, columns: &[&str]) -> String {
    match dice.random_range(0..12) {
        0 => "true".to_string(),
        1 => "'abc'".to_string(),
        2 => "'it''s longer'".to_string(),
        3 => "'12'".to_string(),
        4 => "DEFAULT".to_string(),
        5 => "NULL".to_string(),
        _ => expression(dice, columns, 2),
    }
}

/// The tag, or the error's state.
async fn outcome(session: &Session, statement: &str) -> String {
    run(session, statement).await.map_or_else(|error| error.state.code().to_string(), |answered| answered.tag)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_row_is_what_the_planner_makes_of_it() {
    let seed = std::env::var("EVENKEEL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x51_60);
    println!("EVENKEEL_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let database = Temporary::new(2);
    let session = database.session();
    for name in ["short", "planned"] {
        lines(&session, &format!("CREATE TABLE {name} ({COLUMNS})")).await;
        lines(&session, &format!("ALTER TABLE {name} ADD COLUMN old integer")).await;
        lines(&session, &format!("INSERT INTO {name} (id, i) VALUES (1, 1), (2, 2), (3, 3)")).await;
        // Rows of an older version, and a column that is not there any more.
        lines(&session, &format!("ALTER TABLE {name} DROP COLUMN old")).await;
    }
    let columns = ["s", "i", "b", "x", "y", "f", "v"];
    let (mut done, mut refused) = (0, 0);
    for _ in 0..STATEMENTS {
        let (column, other) = (columns.choose(&mut dice).expect("one"), columns.choose(&mut dice).expect("one"));
        let (short, planned) = if dice.random_bool(0.6) {
            let mut set = format!("{column} = {}", value(&mut dice, &["s", "i", "b", "id"]));
            if other != column {
                set += &format!(", {other} = {}", value(&mut dice, &["s", "i", "b"]));
            }
            let id = dice.random_range(1..5);
            // An UPDATE that is not only of a key is planned.
            (
                format!("UPDATE short SET {set} WHERE id = {id}"),
                format!("UPDATE planned SET {set} WHERE id = {id} AND id > 0"),
            )
        } else {
            let id = dice.random_range(1..30);
            let mut names = vec!["id", "i", column, other];
            names.sort_unstable();
            names.dedup();
            let values: Vec<_> =
                names.iter().map(|name| if *name == "id" { id.to_string() } else { value(&mut dice, &[]) }).collect();
            let row = format!("({}) VALUES ({})", names.join(", "), values.join(", "));
            // So is an INSERT that says what becomes of a conflict, or answers.
            (format!("INSERT INTO short {row}"), format!("INSERT INTO planned {row} RETURNING id"))
        };
        let (found, expected) = (outcome(&session, &short).await, outcome(&session, &planned).await);
        assert_eq!(found, expected, "{short}\n{planned}");
        if found.contains(' ') {
            done += 1
        } else {
            refused += 1
        }
        let rows = |name: &str| format!("SELECT * FROM {name} ORDER BY id");
        let (found, expected) = (lines(&session, &rows("short")).await, lines(&session, &rows("planned")).await);
        assert_eq!(found, expected, "after {short}");
    }
    assert!(done > STATEMENTS / 10 && refused > STATEMENTS / 10, "{done} done, {refused} refused");
}
