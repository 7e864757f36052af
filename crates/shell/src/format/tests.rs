//! Every format, letter by letter.

use super::*;
use crate::fake::batch;
use crate::rows::{Column, Kind};

const ROWS: [[Option<&str>; 4]; 2] = [
    [Some("1"), Some("plain"), Some("a,\"b\"|c"), Some("1")],
    [Some("20"), None, Some("two\nlines\u{1b}"), Some("NaN")],
];

fn sample_of(rows: &[[Option<&str>; 4]]) -> Batch {
    batch([("id", 20), ("name", 25), ("text", 25), ("ratio", 701)], rows)
}

fn sample() -> Batch {
    sample_of(&ROWS)
}

/// Its first two columns.
fn narrow(rows: &[[Option<&str>; 4]]) -> Batch {
    batch([("id", 20), ("name", 25)], &rows.iter().map(|row| [row[0], row[1]]).collect::<Vec<_>>())
}

fn written(layout: Layout, batches: &[Batch]) -> String {
    let mut out = Vec::new();
    let mut rows = rows(layout, batches[0].columns());
    for batch in batches {
        rows.batch(&mut out, batch).expect("memory takes everything");
    }
    rows.finish(&mut out).expect("memory takes everything");
    String::from_utf8(out).expect("text")
}

fn piped(format: Format) -> Layout {
    Layout { format, expanded: Expanded::Auto, terminal_width: None }
}

fn terminal(expanded: Expanded, width: usize) -> Layout {
    Layout { format: Format::Table, expanded, terminal_width: Some(width) }
}

fn wide(columns: usize) -> Batch {
    let column = |number| Column { name: format!("column_{number}"), kind: Kind::of_oid(25) };
    let mut batch = Batch::new((0..columns).map(column).collect());
    batch.push(vec![Some("a rather long value"); columns]);
    batch
}

#[test]
fn a_piped_table_is_plain() {
    let expected = " id | name  | text           | ratio\n\
                    ----+-------+----------------+-------\n\
                    \x20 1 | plain | a,\"b\"|c        |     1\n\
                    \x2020 | NULL  | two\\nlines\\x1b |   NaN\n\
                    (2 rows)\n";
    assert_eq!(written(piped(Format::Table), &[sample()]), expected);
}

#[test]
fn a_terminal_gets_lines_and_dimmed_nulls() {
    let batch = narrow(&ROWS);
    let expected = "┌────┬───────┐\n│ id │ name  │\n├────┼───────┤\n│  1 │ plain │\n│ 20 │ \u{1b}[2mNULL\u{1b}[22m  │\n└────┴───────┘\n(2 rows)\n";
    assert_eq!(written(terminal(Expanded::Auto, 80), &[batch]), expected);
}

#[test]
fn wide_columns_are_cut_to_the_terminal() {
    let expected = "┌────────────┬────────────┐\n│ column_0   │ column_1   │\n├────────────┼────────────┤\n\
                    │ a rather … │ a rather … │\n└────────────┴────────────┘\n(1 row)\n";
    assert_eq!(written(terminal(Expanded::Auto, 27), &[wide(2)]), expected);
}

#[test]
fn hopelessly_wide_rows_become_blocks_in_auto_mode_only() {
    let blocks = "-[ RECORD 1 ]---\ncolumn_0 | a rather long value\ncolumn_1 | a rather long value\n\
                  column_2 | a rather long value\n(1 row)\n";
    assert_eq!(written(terminal(Expanded::Auto, 24), &[wide(3)]), blocks);
    assert!(written(terminal(Expanded::Off, 24), &[wide(3)]).contains("│ a rat… │ a rat… │ a rat… │"));
    assert_eq!(written(terminal(Expanded::On, 200), &[wide(3)]), blocks);
}

#[test]
fn later_pages_keep_the_widths_of_the_first() {
    let numbers = |range: std::ops::Range<i64>| {
        let texts: Vec<_> = range.map(|number| number.to_string()).collect();
        batch([("n", 20)], &texts.iter().map(|text| [Some(text.as_str())]).collect::<Vec<_>>())
    };
    let text = written(terminal(Expanded::Auto, 80), &[numbers(0..700), numbers(700..1_000)]);
    assert_eq!(text.lines().count(), 1_000 + 5);
    let text = written(terminal(Expanded::Auto, 80), &[numbers(0..600), numbers(600..1_002)]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[3], "│   0 │");
    assert_eq!(lines[1_002..], ["│ 999 │", "│ 10… │", "│ 10… │", "└─────┘", "(1002 rows)"]);
    let text = written(piped(Format::Table), &[numbers(0..1_001)]);
    assert_eq!(text.lines().skip(1_001).collect::<Vec<_>>(), [" 999", " 1000", "(1001 rows)"]);
}

#[test]
fn results_without_rows_still_name_their_columns() {
    let none = [narrow(&[])];
    assert_eq!(written(piped(Format::Table), &none), " id | name\n----+------\n(0 rows)\n");
    assert_eq!(written(piped(Format::Csv), &none), "id,name\n");
    assert_eq!(written(piped(Format::Json), &none), "[]\n");
    assert_eq!(written(piped(Format::Ndjson), &none), "");
    assert_eq!(written(piped(Format::Markdown), &none), "| id | name |\n| ---: | --- |\n");
    assert_eq!(written(piped(Format::Vertical), &none), "(0 rows)\n");
}

#[test]
fn csv_quotes_what_needs_it_and_leaves_null_empty() {
    let expected = "id,name,text,ratio\n1,plain,\"a,\"\"b\"\"|c\",1\n20,,\"two\nlines\u{1b}\",NaN\n";
    assert_eq!(written(piped(Format::Csv), &[sample()]), expected);
}

#[test]
fn json_keeps_types_and_the_order_of_columns() {
    let first = r#"{"id":1,"name":"plain","text":"a,\"b\"|c","ratio":1}"#;
    let second = r#"{"id":20,"name":null,"text":"two\nlines\u001b","ratio":"NaN"}"#;
    assert_eq!(written(piped(Format::Ndjson), &[sample()]), format!("{first}\n{second}\n"));
    let halves = [sample_of(&ROWS[..1]), sample_of(&ROWS[1..])];
    assert_eq!(written(piped(Format::Json), &halves), format!("[\n{first},\n{second}\n]\n"));
}

#[test]
fn markdown_escapes_its_own_lines() {
    let expected = "| id | name | text | ratio |\n| ---: | --- | --- | ---: |\n| 1 | plain | a,\"b\"\\|c | 1 |\n\
                    | 20 | NULL | two<br>lines\\x1b | NaN |\n";
    assert_eq!(written(piped(Format::Markdown), &[sample()]), expected);
}

#[test]
fn vertical_is_a_block_a_row() {
    let batch = batch([("at", 1184), ("is_ok", 16)], &[[Some("1970-01-01 00:00:00+00"), Some("t")]]);
    let expected = "-[ RECORD 1 ]---\nat    | 1970-01-01 00:00:00+00\nis_ok | true\n(1 row)\n";
    assert_eq!(written(piped(Format::Vertical), &[batch]), expected);
}

#[test]
fn formats_are_found_by_name_or_suggested() {
    assert_eq!("CSV".parse(), Ok(Format::Csv));
    let error = "jsno".parse::<Format>().expect_err("no such format");
    assert_eq!(error.hint.as_deref(), Some("Did you mean json?"));
}
