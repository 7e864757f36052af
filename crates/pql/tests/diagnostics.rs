//! Typical mistakes, and exactly what is said about them.

use evenkeel_pql::{line_column, parse, render};

#[track_caller]
fn assert_says(script: &str, expected: &str) {
    let errors = parse(script).expect_err("wrong");
    let said: Vec<_> = errors.iter().map(|error| render(error, script, None)).collect();
    assert_eq!(said.join("\n"), expected.trim_matches('\n'), "{script}");
}

#[test]
fn statement_keyword() {
    assert_says(
        "SELCT 1",
        r#"
ERROR 42601: expected a statement, found SELCT
  --> 1:1
   |
 1 | SELCT 1
   | ^^^^^
HINT: did you mean SELECT?
"#,
    );
}

#[test]
fn missing_keyword() {
    assert_says(
        "flights",
        r#"
ERROR 42601: expected a statement, found flights
  --> 1:1
   |
 1 | flights
   | ^^^^^^^
HINT: a statement begins with a word such as QUERY, SELECT, INSERT, CREATE or SHOW
"#,
    );
}

#[test]
fn pipeline_operator() {
    assert_says(
        "QUERY flights\nWEHRE month = 1",
        r#"
ERROR 42601: WEHRE is not a keyword or operator here
  --> 2:1
   |
 2 | WEHRE month = 1
   | ^^^^^
HINT: did you mean WHERE?
"#,
    );
}

#[test]
fn cut_off_expression() {
    assert_says(
        "QUERY flights WHERE month = ORDER BY x",
        r#"
ERROR 42601: expected an expression, found ORDER
  --> 1:29
   |
 1 | QUERY flights WHERE month = ORDER BY x
   |                             ^^^^^
"#,
    );
}

#[test]
fn aggregate_without_group() {
    assert_says(
        "QUERY flights COMPUTE n = COUNT(*)",
        r#"
ERROR 42803: COUNT needs a GROUP BY, or OVER (…) to be computed for each row
  --> 1:27
   |
 1 | QUERY flights COMPUTE n = COUNT(*)
   |                           ^^^^^
DETAIL: COMPUTE without GROUP BY adds a column to each row
HINT: GROUP BY () COMPUTE … makes one row of the whole table
"#,
    );
}

#[test]
fn missing_bracket() {
    assert_says(
        "SELECT (1",
        r#"
ERROR 42601: expected ), but the statement ends here
  --> 1:10
   |
 1 | SELECT (1
   |          ^
"#,
    );
}

#[test]
fn open_string() {
    assert_says(
        "SELECT 'it;\nSELECT 2;",
        r#"
ERROR 42601: this string is never closed
  --> 1:8
   |
 1 | SELECT 'it;
   |        ^
HINT: close it with ', and write '' for a quote inside it
"#,
    );
}

#[test]
fn unknown_option() {
    assert_says(
        "REBALANCE SHARDS WITH strategi = 'rows'",
        r#"
ERROR 42601: REBALANCE SHARDS has no option strategi
  --> 1:23
   |
 1 | REBALANCE SHARDS WITH strategi = 'rows'
   |                       ^^^^^^^^
DETAIL: the options are strategy, max_migrations_per_hour, target_imbalance
HINT: did you mean strategy?
"#,
    );
}

#[test]
fn value_out_of_shape() {
    assert_says(
        "SPLIT SHARD 99999999999999999999 INTO 2",
        r#"
ERROR 42601: 99999999999999999999 is not the number of a shard
  --> 1:13
   |
 1 | SPLIT SHARD 99999999999999999999 INTO 2
   |             ^^^^^^^^^^^^^^^^^^^^
"#,
    );
}

#[test]
fn repeated_column() {
    assert_says(
        "INSERT INTO t {a: 1, a: 2}",
        r#"
ERROR 42701: column a is given twice
  --> 1:22
   |
 1 | INSERT INTO t {a: 1, a: 2}
   |                      ^
"#,
    );
}

#[test]
fn copy_into_a_query() {
    assert_says(
        "COPY (QUERY t) FROM 'x.csv'",
        r#"
ERROR 42601: a query can't be copied into
  --> 1:1
   |
 1 | COPY (QUERY t) FROM 'x.csv'
   | ^^^^
HINT: COPY (QUERY …) TO 'file', or COPY t FROM 'file'
"#,
    );
}

#[test]
fn union_without_brackets() {
    assert_says(
        "QUERY t UNION QUERY u",
        r#"
ERROR 42601: UNION needs a query in brackets
  --> 1:15
   |
 1 | QUERY t UNION QUERY u
   |               ^^^^^
HINT: UNION (QUERY …)
"#,
    );
}

#[test]
fn error_inside_a_query() {
    assert_says(
        "SELECT * FROM (QUERY t WHERE a =) AS x",
        r#"
ERROR 42601: expected an expression, found )
  --> 1:33
   |
 1 | SELECT * FROM (QUERY t WHERE a =) AS x
   |                                 ^
"#,
    );
}

#[test]
fn two_errors() {
    assert_says(
        "SELECT 1 FROM;\nPIN 3;",
        r#"
ERROR 42601: expected a name, but the statement ends here
  --> 1:14
   |
 1 | SELECT 1 FROM;
   |              ^
ERROR 42601: expected SHARD, found 3
  --> 2:5
   |
 2 | PIN 3;
   |     ^
"#,
    );
}

#[test]
fn missing_name() {
    assert_says(
        "QUERY t UNNEST tags",
        r#"
ERROR 42601: UNNEST needs a name for the elements
  --> 1:9
   |
 1 | QUERY t UNNEST tags
   |         ^^^^^^
HINT: UNNEST tags AS tag
"#,
    );
}

#[test]
fn the_origin_and_tabs_are_kept() {
    let script = "BEGIN;\n\tSELECT é FORM t;\n";
    let errors = parse(script).expect_err("wrong");
    let expected = "\
ERROR 42601: FORM is not a keyword or operator here
  --> load.pql:2:11
   |
 2 | \tSELECT é FORM t;
   | \t         ^^^^
HINT: did you mean FROM?";
    assert_eq!(render(&errors[0], script, Some("load.pql")), expected);
}

#[test]
fn places_outside_the_source_are_clamped() {
    assert_eq!(line_column("a\né", 3), (2, 1));
    assert_eq!(line_column("a\né", 99), (2, 2));
    assert_eq!(line_column("", 5), (1, 1));
}

#[test]
fn a_password_is_not_said() {
    assert_says(
        "CREATE USER ada PASSWORD 'secret' ROLE king",
        r#"
ERROR 42601: expected ADMIN, OPERATOR or USER, found king
  --> 1:40
   |
 1 | CREATE USER ada PASSWORD ******** ROLE king
   |                                        ^^^^
"#,
    );
    assert_says(
        "ALTER USER ada PASSWORD secret",
        r#"
ERROR 42601: expected a password in quotes, found '***'
  --> 1:25
   |
 1 | ALTER USER ada PASSWORD ******
   |                         ^^^^^^
"#,
    );
}
