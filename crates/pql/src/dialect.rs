//! The SQL that stands inside PQL: PostgreSQL's, with pipe operators, table versions and a few spellings DataFusion takes.
//!
//! sqlparser asks a dialect two kinds of question: yes-or-no features, answered one by one below, and "are you
//! PostgreSQL?", answered with yes. What is left out of PostgreSQL is left out on purpose: custom operators and
//! geometric types would swallow the `@` of a parameter, and `f(name: value)` would have sqlparser read every argument twice,
//! those of nested calls twice at each level.

use std::any::TypeId;

use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};

/// The dialect that sqlparser is given for everything inside PQL.
#[derive(Debug)]
pub(crate) struct PqlDialect;

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// Features that are simply there.
macro_rules! supported {
    ($($feature:ident)*) => { $(fn $feature(&self) -> bool { true })* };
}

impl Dialect for PqlDialect {
    fn dialect(&self) -> TypeId {
        POSTGRES.dialect()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        is_word_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        is_word_part(ch)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('"')
    }

    fn is_reserved_for_identifier(&self, kw: Keyword) -> bool {
        // As in PostgreSQL. sqlparser reads `CAST(a b)` again as a call of a function that is named so, and what is in
        // its brackets again at each level: words that may be names have a limit of their own in the lexer.
        let always = matches!(kw, Keyword::CASE | Keyword::CAST | Keyword::TRY_CAST | Keyword::NOT);
        always || POSTGRES.is_reserved_for_identifier(kw)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        POSTGRES.get_next_precedence(parser)
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        POSTGRES.prec_value(prec)
    }

    supported! {
        allow_extract_custom
        allow_extract_single_quotes
        supports_alter_column_type_using
        supports_array_typedef_with_brackets
        supports_bitwise_shift_operators
        supports_comma_separated_trim
        supports_comment_on
        supports_create_index_with_clause
        supports_create_table_like_parenthesized
        supports_empty_projections
        supports_filter_during_aggregation
        supports_group_by_expr
        supports_insert_table_alias
        supports_interval_options
        supports_nested_comments
        supports_notnull_operator
        supports_numeric_literal_underscores
        supports_order_by_all
        supports_pipe_operator
        supports_select_wildcard_except
        supports_select_wildcard_exclude
        supports_select_wildcard_replace
        supports_set_names
        supports_string_escape_constant
        supports_table_versioning
        supports_unicode_string_literal
        supports_window_clause_named_window_reference
        supports_window_function_null_treatment_arg
    }
}

/// Whether an unquoted name may begin with this character.
pub(crate) fn is_word_start(ch: char) -> bool {
    ch == '_' || ch.is_alphabetic() || (!ch.is_ascii() && !ch.is_whitespace())
}

/// Whether an unquoted name may go on with this character.
pub(crate) fn is_word_part(ch: char) -> bool {
    is_word_start(ch) || ch.is_ascii_digit() || ch == '$'
}
