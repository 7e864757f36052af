//! Whatever the text, the parser answers: no panic, no overflow of the stack, no long wait, no place outside the text.

use evenkeel_model::SqlState;
use evenkeel_pql::{keywords, line_column, parse, parse_expr, parse_statement, render, split, tokens};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Every run reads the same texts; `make fuzz` looks for others.
const SEED: u64 = 20_261_122;

/// Runs everything that takes text, and checks what holds for any.
fn check(text: &str) {
    let pieces = tokens(text);
    let mut end = 0;
    for (span, _) in &pieces {
        assert_eq!(span.start, end, "pieces are adjacent");
        end = span.end;
    }
    assert_eq!(end, text.len(), "pieces cover the text");
    for span in split(text).all() {
        assert!(text.get(span.clone()).is_some(), "a statement is whole characters");
    }
    match parse(text) {
        Ok(statements) => statements.iter().for_each(|statement| {
            assert!(text.get(statement.span.clone()).is_some());
            let printed = statement.to_string();
            if let Ok(again) = parse_statement(&printed) {
                assert!(again.without_spans() == statement.without_spans(), "printed as another: {printed}");
            }
        }),
        Err(errors) => errors.iter().for_each(|error| {
            let span = error.span.clone().expect("an error has a place");
            assert!(span.start <= span.end && text.get(span.clone()).is_some(), "{span:?} is in the text");
            drop(render(error, text, None));
            line_column(text, span.start);
        }),
    }
    drop(parse_expr(text));
}

fn soup() -> impl Strategy<Value = String> {
    let signs = vec![
        "(", ")", "[", "]", "{", "}", ",", ";", ":", "::", ".", "=", "<", ">", "*", "-", "--\n", "/*", "*/", "'", "\"",
        "$$", "@x", "$1", "|>", "1", "2.5", "'text'", "\"Name\"", "a", "b", "query", "FILTER", "INTERVAL", "NOT", "é",
    ];
    let word = prop_oneof![
        proptest::sample::select(keywords::KEYWORDS.to_vec()),
        proptest::sample::select(signs),
        proptest::sample::select(keywords::OPERATORS.iter().map(|operator| operator.name).collect::<Vec<_>>()),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_500,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_characters(text in "\\PC{0,60}") {
        check(&text);
        check(&format!("QUERY t WHERE {text} SELECT a"));
    }

    #[test]
    fn any_words(text in soup()) {
        check(&text);
        check(&format!("QUERY {text}"));
        check(&format!("SELECT * FROM {text}"));
    }
}

/// Texts that were once printed as something else.
#[test]
fn what_is_printed_is_read_as_the_same() {
    for text in ["SELECT a # @ b", "SELECT @ @ a", "SELECT @ -1", "QUERY t WHERE a #@ b SELECT a"] {
        let errors = parse(text).expect_err("a parameter has its name right behind it");
        assert!(errors[0].message.contains('@'), "{text}: {}", errors[0].message);
    }
    for text in ["SELECT a # @b", "SELECT - - 1", "SELECT @b - -1", "QUERY t WHERE a #@b SELECT a"] {
        check(text);
        let statement = parse_statement(text).expect("it is read");
        let again = parse_statement(&statement.to_string());
        assert!(again.is_ok(), "{text} is printed as {statement}");
    }
}

/// Deep and long texts, on a thread whose stack is as small as a server's.
fn on_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(test).expect("a thread");
    assert!(thread.join().is_ok());
}

#[test]
fn deep_nesting_is_refused() {
    on_small_stack(|| {
        for (open, close) in
            [("(", ")"), ("(SELECT ", ")"), ("(QUERY (", "))"), ("CASE WHEN ", " END"), ("f(", ")"), ("a[", "]")]
        {
            let text = format!("SELECT {}1{}", open.repeat(100_000), close.repeat(100_000));
            let error = parse_statement(&text).expect_err("too deep");
            assert_eq!(error.state, SqlState::ProgramLimitExceeded, "{open}");
            assert!(error.message.contains("nested deeper than"), "{}", error.message);
        }
        for prefix in ["NOT ", "- ", "+ ", "INTERVAL ", "EXPLAIN ", "ARRAY<", "DATE "] {
            assert!(parse_statement(&format!("SELECT {}1", prefix.repeat(100_000))).is_err(), "{prefix}");
            assert!(parse_statement(&format!("SELECT {}1", prefix.repeat(1_900))).is_err(), "{prefix}");
        }
    });
}

#[test]
fn long_chains_are_refused() {
    on_small_stack(|| {
        for (first, next) in [
            ("SELECT 1", " + 1"),
            ("SELECT a", " OR a"),
            ("SELECT 1", " UNION SELECT 1, 2"),
            ("SELECT a", "::int"),
            ("SELECT a", "[1]"),
        ] {
            let error = parse_statement(&format!("{first}{}", next.repeat(100_000))).expect_err("too long");
            assert_eq!(error.state, SqlState::ProgramLimitExceeded, "{next}");
            // Just below the limit everything that walks the tree still has stack enough.
            for count in [80, 300, 600, 990] {
                check(&format!("{first}{}", next.repeat(count)));
            }
        }
    });
}

/// Each word again and again, where sqlparser may recurse for it.
#[test]
fn repeated_words_do_not_overflow() {
    on_small_stack(|| {
        for word in sqlparser::keywords::ALL_KEYWORDS {
            for text in [format!("{word} ").repeat(1_900), format!("SELECT {}", format!("{word} ").repeat(1_900))] {
                drop(parse_statement(&text));
            }
        }
        for words in ["DECLARE a CURSOR FOR ", "EXPLAIN ", "EXPLAIN ANALYZE "] {
            drop(parse_statement(&words.repeat(1_900 / words.split(' ').count())));
        }
    });
}

/// Takes milliseconds; what is exponential does not end before the test runner ends it.
#[test]
fn nesting_within_the_limit_takes_no_exponential_time() {
    on_small_stack(|| {
        for (open, middle, close) in [
            ("(", "1", ")"),
            ("(SELECT ", "1", ")"),
            ("(QUERY (SELECT * FROM t) AS t WHERE a IN ", "(1)", ")"),
            ("f(", "1", ")"),
            ("f(a => ", "1", ")"),
            ("CASE WHEN ", "1", " THEN 1 END"),
            ("(1, ", "1", ")"),
            ("CAST(", "1", " AS INT)"),
            ("(SELECT * FROM (", "t", ") AS x)"),
            ("(SELECT * FROM ", "t", ") AS x"),
            ("((SELECT * FROM ", "t", ") AS x)"),
            ("(QUERY t JOIN ", "u", ") AS x USING (a)"),
            ("(a JOIN ", "b", " ON c)"),
            ("extract(year FROM ", "a", ")"),
            ("ceil(", "a", ")"),
            ("substring(", "a", " FROM 1)"),
            ("NOT (", "a", ")"),
            ("trim(", "a", ")"),
            ("INTERVAL (", "1", ")"),
            ("a IN (", "1", ")"),
            ("(a, ", "b", ")::int"),
            ("sum(a) OVER (ORDER BY ", "a", ")"),
            ("(VALUES (", "1", "))"),
            ("a LIKE (", "1", ")"),
            ("LATERAL (", "SELECT 1", ")"),
            ("CREATE TABLE a (b INT CHECK (", "c", "))"),
            ("EXISTS (SELECT ", "1", ")"),
            ("ARRAY[", "1", "]"),
            ("{a: ", "1", "}"),
        ] {
            for prefix in ["SELECT ", "SELECT * FROM ", "QUERY ", "QUERY t WHERE ", "INSERT INTO t "] {
                for tail in ["", " ?? error", " JOIN"] {
                    let (opened, closed) = (open.repeat(31), close.repeat(31));
                    check(&format!("{prefix}{opened}{middle}{closed}{tail}"));
                    check(&format!("{prefix}{opened}{middle}{tail}"));
                    check(&format!("{prefix}{opened}{middle} wrong here{closed}{tail}"));
                }
            }
        }
    });
}

/// Takes seconds; what is quadratic does not end before the test runner ends it.
#[test]
fn long_scripts_are_read_in_linear_time() {
    let one_line = "SELECT 1; ".repeat(20_000);
    assert_eq!(parse(&one_line).expect("valid").len(), 20_000);
    let rows = format!("INSERT INTO t VALUES {}(1, 'x')", "(1, 'x'), ".repeat(50_000));
    parse_statement(&rows).expect("valid");
    let objects = format!("INSERT INTO t [{}{{a: 1}}]", "{a: 1, b: 'x'}, ".repeat(20_000));
    parse_statement(&objects).expect("valid");
    for mark in ["$$", "$a$", "/*", "'", "\"", "$", "@", "-", "/* */", "$a"] {
        drop(parse(&mark.repeat(20_001)));
        tokens(&mark.repeat(20_001));
    }
}
