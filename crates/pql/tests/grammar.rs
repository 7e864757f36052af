//! The grammar against the parser: random sentences of `grammar/pql.ebnf` are accepted and survive printing; every
//! production and keyword has an example; every wrong example is refused for the reason it gives.

mod ebnf;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use ebnf::{Derivation, Grammar};
use evenkeel_pql::{keywords, parse, parse_statement, render, split};

/// Another seed derives other sentences.
const SEED: u64 = 0x5eed_2026;
const SENTENCES: usize = 10_000;

/// Tests run in their package's directory, which may be another than the one they were built in.
fn folder() -> PathBuf {
    PathBuf::from("../../grammar")
}

fn grammar() -> Grammar {
    let path = folder().join("pql.ebnf");
    Grammar::read(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Parses, prints, parses: the same statement.
fn assert_survives_printing(sentence: &str, origin: &str) {
    let statement =
        parse_statement(sentence).unwrap_or_else(|error| panic!("{}", render(&error, sentence, Some(origin))));
    let printed = statement.to_string();
    let again = parse_statement(&printed)
        .unwrap_or_else(|error| panic!("printed from {sentence}\n{}", render(&error, &printed, Some(origin))));
    let same = again.without_spans() == statement.without_spans();
    assert!(same, "{origin}: another statement\n{sentence}\n{printed}");
}

#[test]
fn random_sentences_are_accepted_and_survive_printing() {
    let grammar = grammar();
    let statements = grammar.alternatives("statement");
    for number in 0..SENTENCES {
        let seed = SEED + number as u64;
        let mut derivation = Derivation::new(&grammar, seed);
        // Every kind of statement in turn, so that rare ones are not rare here.
        let sentence = derivation.sentence(&statements[number % statements.len()]);
        assert_survives_printing(&sentence, &format!("seed {seed:#x}"));
    }
}

fn examples(kind: &str) -> Vec<(String, String)> {
    let folder = folder().join("examples").join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("UTF-8"))
    };
    files.into_iter().map(read).collect()
}

#[test]
fn valid_examples_survive_printing() {
    for (name, text) in examples("valid") {
        let statements = parse(&text).unwrap_or_else(|errors| panic!("{}", render(&errors[0], &text, Some(&name))));
        assert!(!statements.is_empty(), "{name} has no statement");
        for statement in statements {
            assert_survives_printing(&text[statement.span], &name);
        }
    }
}

#[test]
fn invalid_examples_are_refused_for_the_reason_they_give() {
    for (name, text) in examples("invalid") {
        let spans = split(&text).statements;
        assert!(!spans.is_empty(), "{name} has no statement");
        for (at, span) in spans.iter().enumerate() {
            let until = spans.get(at + 1).map_or(text.len(), |next| next.start);
            let reason = text[span.end..until].lines().find_map(|line| line.trim().strip_prefix("-- error: "));
            let reason = reason.unwrap_or_else(|| panic!("{name}: no reason behind {}", &text[span.clone()]));
            match parse_statement(&text[span.clone()]) {
                Ok(_) => panic!("{name}: accepted {}", &text[span.clone()]),
                Err(error) => {
                    assert!(error.message.contains(reason), "{name}: {} instead of {reason}", error.message);
                    assert!(error.span.is_some(), "{name}: no place for {reason}");
                }
            }
        }
    }
}

#[test]
fn every_production_has_examples() {
    let names = |kind| examples(kind).into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
    let (valid, invalid) = (names("valid"), names("invalid"));
    let productions: BTreeSet<String> = grammar().productions().map(str::to_lowercase).collect();
    assert_eq!(valid, productions, "grammar/examples/valid has a file for each production");
    assert!(invalid.is_subset(&productions), "{:?}", invalid.difference(&productions).collect::<Vec<_>>());
}

#[test]
fn every_keyword_has_an_example() {
    let text: String = examples("valid").into_iter().map(|(_, text)| text.to_uppercase()).collect();
    let words: BTreeSet<&str> = text.split(|ch: char| !ch.is_alphanumeric() && ch != '_').collect();
    let missing: Vec<_> = keywords::KEYWORDS.iter().filter(|word| !words.contains(**word)).collect();
    assert!(missing.is_empty(), "without example: {missing:?}");
}

#[test]
fn keywords_are_those_of_the_grammar() {
    let grammar = grammar();
    let written = grammar.keywords();
    let listed: BTreeSet<String> = keywords::KEYWORDS.iter().map(|word| (*word).to_string()).collect();
    assert_eq!(listed, written);
    assert!(keywords::KEYWORDS.is_sorted(), "is_keyword searches by halves");
}

#[test]
fn helped_words_are_keywords() {
    for help in keywords::STATEMENTS.iter().chain(keywords::OPERATORS) {
        assert!(help.name.split(' ').all(keywords::is_keyword), "{}", help.name);
        assert!(help.syntax.contains(help.name), "{}", help.name);
    }
}
