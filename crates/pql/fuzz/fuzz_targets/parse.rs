//! Any text: the parser answers, and what it accepts survives printing.
#![no_main]

use evenkeel_pql::{parse, parse_statement, render, split, tokens};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    tokens(&text);
    split(&text);
    match parse(&text) {
        Ok(statements) => {
            for statement in statements {
                let printed = statement.to_string();
                if let Ok(again) = parse_statement(&printed) {
                    assert!(again.without_spans() == statement.without_spans(), "printed as another: {printed}");
                }
            }
        }
        Err(errors) => {
            for error in errors {
                render(&error, &text, None);
            }
        }
    }
});
