//! Fifteen questions about all flights that left New York in 2013, whose answers are known.

use evenkeel_engine::Session;
use evenkeel_tests::{Temporary, lines, run, spelled, text};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The tables beside the flights.
pub const SCHEMA: &[&str] = &[
    "CREATE TABLE airlines (carrier text PRIMARY KEY, name text NOT NULL)",
    "CREATE TABLE airports (faa text PRIMARY KEY, name text NOT NULL, lat double precision NOT NULL,
        lon double precision NOT NULL, alt integer, tz smallint, dst text, tzone text)",
    "CREATE TABLE planes (tailnum text PRIMARY KEY, year smallint, type text, manufacturer text, model text,
        engines smallint, seats smallint, speed smallint, engine text)",
    "CREATE TABLE weather (origin text, year smallint, month smallint, day smallint, hour smallint,
        temp double precision, dewp double precision, humid double precision, wind_dir smallint,
        wind_speed double precision, wind_gust double precision, precip double precision, pressure double precision,
        visib double precision, time_hour timestamptz, PRIMARY KEY (origin, time_hour))",
];

/// The flights.
pub const FLIGHTS: &str =
    "CREATE TABLE flights (year smallint NOT NULL, month smallint NOT NULL, day smallint NOT NULL,
    dep_time smallint, sched_dep_time smallint NOT NULL, dep_delay smallint, arr_time smallint,
    sched_arr_time smallint NOT NULL, arr_delay smallint, carrier text, flight integer, tailnum text,
    origin text NOT NULL, dest text NOT NULL, air_time smallint, distance integer NOT NULL, hour smallint NOT NULL,
    minute smallint NOT NULL, time_hour timestamptz, PRIMARY KEY (time_hour, carrier, flight))";

const LOADED: [(&str, &str, u64); 5] = [
    ("airlines", "airlines.csv", 16),
    ("airports", "airports.csv", 1_458),
    ("planes", "planes.csv", 3_322),
    ("weather", "weather.csv", 26_115),
    ("flights", "flights.csv.gz", 336_776),
];

/// Where the files are.
pub fn folder() -> PathBuf {
    std::path::absolute("data/flights").expect("tests run in their package's directory")
}

/// Loads a file into a table.
pub fn copy(table: &str, file: &str) -> String {
    format!("COPY {table} FROM '{}' WITH (null 'NA')", folder().join(file).display())
}

/// The tables, with their rows.
pub async fn loaded(database: &Temporary, flights: &str) -> Session {
    let session = database.session();
    for statement in SCHEMA.iter().copied().chain([flights]) {
        lines(&session, statement).await;
    }
    for (table, file, rows) in LOADED {
        let answered = run(&session, &copy(table, file)).await.expect("a file that fits");
        assert_eq!(answered.tag, format!("COPY {rows}"), "{table}");
    }
    session
}

/// The answer to a question as the file of answers has it.
async fn answer(session: &Session, question: &str) -> String {
    let answered = match run(session, question.trim().trim_end_matches(';')).await {
        Ok(answered) => answered,
        Err(error) => return spelled(&error),
    };
    let mut csv = answered.columns().join(",") + "\n";
    for batch in &answered.batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| match column.data_type() {
                kind if kind.is_floating() => text(column, row).map_or_else(String::new, |number| rounded(&number)),
                _ => text(column, row).unwrap_or_default(),
            });
            csv += &(cells.collect::<Vec<_>>().join(",") + "\n");
        }
    }
    csv
}

/// A float at six places, without the zeros behind.
pub fn rounded(number: &str) -> String {
    let number: f64 = number.parse().expect("a float");
    format!("{number:.6}").trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Asks every question in both languages. `circumstances` are told where an answer is wrong.
pub async fn ask(session: &Session, circumstances: &str) {
    ask_by(async |question| answer(session, question).await, circumstances).await;
}

/// As [`ask`], of whoever answers.
pub async fn ask_by(answer: impl AsyncFn(&str) -> String, circumstances: &str) {
    let folder = folder().join("answers");
    let files = std::fs::read_dir(&folder).expect("the folder of answers");
    let names: BTreeSet<PathBuf> = files.map(|file| file.expect("a file").path().with_extension("")).collect();
    assert_eq!(names.len(), 15);
    for name in names {
        let expected = std::fs::read_to_string(name.with_extension("csv")).expect("the answer");
        for language in ["sql", "pql"] {
            let path = name.with_extension(language);
            let question = std::fs::read_to_string(&path).expect("the question");
            let given = answer(&question).await;
            assert_eq!(given, expected, "{} {circumstances}", path.display());
        }
    }
}
