//! The grammar of PQL's own statements: shards, jobs, settings, and what is shown.
//!
//! nom combinators over tokens; each function reads one statement behind its first words. What stands here is plain data
//! when it is read: nothing is looked up, so that a statement about shard 99 parses whether or not there is one.

use evenkeel_model::{Error, SqlState, did_you_mean};
use nom::Parser;
use nom::branch::alt;
use nom::combinator::{cut, map, opt, value};
use nom::multi::many0;
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use sqlparser::ast as sql;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::ast::{Assignment, JobReference, ShardStatement, Show, SlotRange, StatementKind};
use crate::keywords::REBALANCE_OPTIONS;
use crate::tokens::*;

const SHARD: &str = "the number of a shard";
const JOB: &str = "the number of a job";
const SLOT: &str = "the number of a slot";

/// Statements about shards and jobs.
pub(crate) fn shards(input: Tokens<'_>) -> Parsed<'_, StatementKind> {
    let moves = alt((rebalance, split, merge, move_slots));
    let kept = alt((
        map(preceded(keywords(&["PIN", "SHARD"]), number(SHARD)), ShardStatement::Pin),
        map(preceded(keywords(&["UNPIN", "SHARD"]), number(SHARD)), ShardStatement::Unpin),
        value(ShardStatement::AddShard, keywords(&["ADD", "SHARD"])),
        map(preceded(keywords(&["REMOVE", "SHARD"]), number(SHARD)), ShardStatement::RemoveShard),
        map(preceded(keywords(&["VERIFY", "SHARD"]), number(SHARD)), ShardStatement::VerifyShard),
    ));
    map(alt((moves, kept, jobs)), StatementKind::Shard).parse(input)
}

fn jobs(input: Tokens<'_>) -> Parsed<'_, ShardStatement> {
    alt((
        map(preceded(keywords(&["PAUSE", "JOB"]), number(JOB)), ShardStatement::PauseJob),
        map(preceded(keywords(&["RESUME", "JOB"]), number(JOB)), ShardStatement::ResumeJob),
        map(preceded(keywords(&["CANCEL", "JOB"]), number(JOB)), ShardStatement::CancelJob),
        map(preceded(keywords(&["UNDO", "JOB"]), number(JOB)), ShardStatement::UndoJob),
        wait,
    ))
    .parse(input)
}

/// `SHARD n` behind EXPLAIN.
pub(crate) fn explain_shard(input: Tokens<'_>) -> Parsed<'_, StatementKind> {
    map(preceded(keyword("SHARD"), number(SHARD)), |shard| StatementKind::Shard(ShardStatement::ExplainShard(shard)))
        .parse(input)
}

fn rebalance(input: Tokens<'_>) -> Parsed<'_, ShardStatement> {
    let (input, ()) = keywords(&["REBALANCE", "SHARDS"])(input)?;
    let between = alt((value((), keyword("AND")), comma));
    let more = many0(preceded(between, cut(rebalance_option)));
    let (input, options) = clause("WITH", (rebalance_option, more)).parse(input)?;
    let options = options.map_or(vec![], |(first, more)| std::iter::once(first).chain(more).collect());
    Ok((input, ShardStatement::Rebalance { options }))
}

fn rebalance_option(input: Tokens<'_>) -> Parsed<'_, Assignment> {
    let (rest, assignment) = assignment("an option")(input)?;
    let name = &assignment.name.value;
    if REBALANCE_OPTIONS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok((rest, assignment));
    }
    let known = format!("the options are {}", REBALANCE_OPTIONS.join(", "));
    let error = Error::new(SqlState::SyntaxError, format!("REBALANCE SHARDS has no option {name}")).with_detail(known);
    refuse(
        input,
        match did_you_mean(name, REBALANCE_OPTIONS.iter().copied()) {
            Some(meant) => error.with_hint(format!("did you mean {meant}?")),
            None => error,
        },
    )
}

fn split(input: Tokens<'_>) -> Parsed<'_, ShardStatement> {
    let (input, shard) = preceded(keywords(&["SPLIT", "SHARD"]), number(SHARD)).parse(input)?;
    let (input, into) = clause("INTO", number("a number of shards")).parse(input)?;
    let (input, midpoint) = clause("AT", keywords(&["LOAD", "MIDPOINT"])).parse(input)?;
    Ok((input, ShardStatement::Split { shard, into, at_load_midpoint: midpoint.is_some() }))
}

fn merge(input: Tokens<'_>) -> Parsed<'_, ShardStatement> {
    let (start, ()) = keywords(&["MERGE", "SHARDS"])(input)?;
    let (rest, shards) = list(number(SHARD))(start)?;
    if shards.len() < 2 {
        let error = crate::sql::syntax("MERGE SHARDS needs at least two shards").with_hint("MERGE SHARDS 3, 4");
        return refuse(start, error);
    }
    Ok((rest, ShardStatement::Merge { shards }))
}

fn move_slots(input: Tokens<'_>) -> Parsed<'_, ShardStatement> {
    let slots = preceded(keywords(&["MOVE", "SLOTS"]), list(slot_range));
    let from = preceded(keywords(&["FROM", "SHARD"]), number(SHARD));
    let to = preceded(keywords(&["TO", "SHARD"]), number(SHARD));
    map((slots, from, to), |(slots, from, to)| ShardStatement::MoveSlots { slots, from, to }).parse(input)
}

fn slot_range(input: Tokens<'_>) -> Parsed<'_, SlotRange> {
    let (rest, first) = number(SLOT)(input)?;
    let (rest, last) = clause("TO", number(SLOT)).parse(rest)?;
    let last = last.unwrap_or(first);
    if last < first {
        let error = crate::sql::syntax(format!("the slots {first} TO {last} run backwards"));
        return refuse(input, error.with_hint(format!("{last} TO {first}")));
    }
    Ok((rest, SlotRange { first, last }))
}

fn wait(input: Tokens<'_>) -> Parsed<'_, ShardStatement> {
    let job = alt((
        value(JobReference::Last, keyword("LAST")),
        value(JobReference::All, keyword("ALL")),
        map(number(JOB), JobReference::Id),
    ));
    let (input, job) = preceded(keywords(&["WAIT", "FOR", "JOB"]), job).parse(input)?;
    let seconds = map(number::<u64>("a duration"), |seconds| seconds.to_string());
    let duration = alt((string("a duration such as '60s'"), seconds));
    let (input, timeout) = clause("TIMEOUT", duration).parse(input)?;
    Ok((input, ShardStatement::WaitForJob { job, timeout }))
}

/// `ALTER SYSTEM SET …` and `ALTER SYSTEM RESET …`
pub(crate) fn alter_system(input: Tokens<'_>) -> Parsed<'_, StatementKind> {
    let set = preceded(keyword("SET"), list(assignment("a setting")));
    let all = value(None, keyword("ALL"));
    let reset = preceded(keyword("RESET"), alt((all, map(identifier("a setting"), Some))));
    let change = alt((map(set, StatementKind::AlterSystemSet), map(reset, StatementKind::AlterSystemReset)));
    preceded(keywords(&["ALTER", "SYSTEM"]), change).parse(input)
}

/// `name = value` or `name TO value`
fn assignment<'a>(what: &'static str) -> impl Fn(Tokens<'a>) -> Parsed<'a, Assignment> + Copy {
    move |input| {
        let equals = alt((symbol(Token::Eq, "="), value((), keyword("TO"))));
        let pair = separated_pair(identifier(what), equals, literal);
        map(pair, |(name, value)| Assignment { name, value }).parse(input)
    }
}

/// A string, a number with or without sign, TRUE, FALSE, NULL, or a bare word.
pub(crate) fn literal(input: Tokens<'_>) -> Parsed<'_, sql::Expr> {
    let Some((first, rest)) = input.0.split_first() else { return fail(input, "a value") };
    let plain = |value: sql::Value| sql::Expr::Value(value.with_span(first.span));
    let value = match &first.token {
        Token::SingleQuotedString(text) => plain(sql::Value::SingleQuotedString(text.clone())),
        Token::Number(digits, long) => plain(sql::Value::Number(digits.clone(), *long)),
        Token::Placeholder(name) => plain(sql::Value::Placeholder(name.clone())),
        Token::Minus => return negative(Tokens(rest)),
        Token::Word(_) if is(first, "TRUE") => plain(sql::Value::Boolean(true)),
        Token::Word(_) if is(first, "FALSE") => plain(sql::Value::Boolean(false)),
        Token::Word(_) if is(first, "NULL") => plain(sql::Value::Null),
        Token::Word(word) => {
            let ident = sql::Ident { value: word.value.clone(), quote_style: word.quote_style, span: first.span };
            sql::Expr::Identifier(ident)
        }
        _ => return fail(input, "a value"),
    };
    Ok((Tokens(rest), value))
}

fn negative(input: Tokens<'_>) -> Parsed<'_, sql::Expr> {
    match input.0.split_first() {
        Some((TokenWithSpan { token: Token::Number(digits, long), span }, rest)) => {
            let number = sql::Expr::Value(sql::Value::Number(digits.clone(), *long).with_span(*span));
            Ok((Tokens(rest), sql::Expr::UnaryOp { op: sql::UnaryOperator::Minus, expr: Box::new(number) }))
        }
        _ => fail(input, "a number"),
    }
}

/// `KILL QUERY id`
pub(crate) fn kill(input: Tokens<'_>) -> Parsed<'_, StatementKind> {
    let id = preceded(keywords(&["KILL", "QUERY"]), number("the number of a running query"));
    map(id, StatementKind::KillQuery).parse(input)
}

/// `DESCRIBE t`, `DESC t`
pub(crate) fn describe(input: Tokens<'_>) -> Parsed<'_, StatementKind> {
    let table = preceded(alt((keyword("DESCRIBE"), keyword("DESC"))), object_name("a table"));
    map(table, StatementKind::Describe).parse(input)
}

/// `SHOW …`; a word that is nothing else is a setting.
pub(crate) fn show(input: Tokens<'_>) -> Parsed<'_, StatementKind> {
    let columns = (keyword("COLUMNS"), cut(alt((keyword("FROM"), keyword("IN")))));
    let what = alt((
        map(preceded(columns, object_name("a table")), Show::Columns),
        value(Show::Tables, keyword("TABLES")),
        value(Show::Shards, keyword("SHARDS")),
        value(Show::Jobs, keyword("JOBS")),
        value(Show::Nodes, keyword("NODES")),
        value(Show::Settings, keyword("SETTINGS")),
        value(Show::Balancer, keyword("BALANCER")),
        // PostgreSQL's clients ask for these two in words.
        value(
            Show::Variable(sql::Ident::new("transaction_isolation")),
            keywords(&["TRANSACTION", "ISOLATION", "LEVEL"]),
        ),
        value(Show::Variable(sql::Ident::new("timezone")), keywords(&["TIME", "ZONE"])),
        map(identifier("a setting"), Show::Variable),
    ));
    map(preceded(keyword("SHOW"), what), StatementKind::Show).parse(input)
}

/// `LOCATE t KEY (…)`: the table, and the tokens between the brackets.
pub(crate) fn locate(input: Tokens<'_>) -> Parsed<'_, (sql::ObjectName, &[TokenWithSpan])> {
    let table = terminated(object_name("a table"), keyword("KEY"));
    let (input, table) = preceded(keyword("LOCATE"), table).parse(input)?;
    let (input, key) = bracketed(input)?;
    Ok((input, (table, key)))
}

/// The tokens between `(` and its `)`.
pub(crate) fn bracketed(input: Tokens<'_>) -> Parsed<'_, &[TokenWithSpan]> {
    let (_, ()) = symbol(Token::LParen, "(")(input)?;
    let end = closing(input.0, 0);
    if end == input.0.len() {
        return refuse(input, crate::sql::syntax("( is never closed"));
    }
    Ok((Tokens(&input.0[end + 1..]), &input.0[1..end]))
}

/// `(a, b)`
pub(crate) fn names(input: Tokens<'_>) -> Parsed<'_, Vec<sql::Ident>> {
    let columns = opt(list(identifier("a column")));
    let end = symbol(Token::RParen, ")");
    map(delimited(symbol(Token::LParen, "("), columns, end), Option::unwrap_or_default).parse(input)
}
