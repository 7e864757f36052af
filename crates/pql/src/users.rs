//! The grammar of users and rights: CREATE, ALTER and DROP USER, GRANT, REVOKE.
//!
//! PostgreSQL's spellings are understood: ROLE for USER, WITH, LOGIN, ENCRYPTED. A password stands in quotes; whatever is
//! said about a statement of these, the password is not said (see [`crate::secrets`]).

use std::collections::BTreeSet;

use evenkeel_model::{Privilege, Role};
use nom::Parser;
use nom::branch::alt;
use nom::combinator::{cut, map, opt, value};
use nom::sequence::{preceded, terminated};
use sqlparser::ast as sql;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::ast::{Password, Right, StatementKind, UserChange, UserStatement};
use crate::tokens::*;

/// Whether a CREATE, ALTER or DROP is about a user.
pub(crate) fn is_about_users(tokens: &[TokenWithSpan]) -> bool {
    tokens.get(1).is_some_and(|object| is(object, "USER") || is(object, "ROLE"))
}

/// Statements about users and rights.
pub(crate) fn users(input: Tokens<'_>) -> Parsed<'_, StatementKind> {
    map(alt((create, alter, drop, grant, revoke)), StatementKind::User).parse(input)
}

fn user(input: Tokens<'_>) -> Parsed<'_, ()> {
    value((), alt((keyword("USER"), keyword("ROLE")))).parse(input)
}

fn table(input: Tokens<'_>) -> Parsed<'_, sql::ObjectName> {
    object_name("a table")(input)
}

fn name(input: Tokens<'_>) -> Parsed<'_, sql::Ident> {
    identifier("the name of a user")(input)
}

fn create(input: Tokens<'_>) -> Parsed<'_, UserStatement> {
    let (input, ()) = preceded(keyword("CREATE"), user).parse(input)?;
    let (input, absent) = clause("IF", keywords(&["NOT", "EXISTS"])).parse(input)?;
    let (input, name) = name(input)?;
    let (input, _) = (opt(keyword("WITH")), opt(keyword("LOGIN"))).parse(input)?;
    let (input, password) = password(input)?;
    let (input, role) =
        opt(alt((preceded(keyword("ROLE"), cut(role)), preceded(keywords(&["SET", "ROLE"]), role)))).parse(input)?;
    Ok((
        input,
        UserStatement::Create { name, if_not_exists: absent.is_some(), password, role: role.unwrap_or_default() },
    ))
}

fn alter(input: Tokens<'_>) -> Parsed<'_, UserStatement> {
    let (input, name) = preceded((keyword("ALTER"), user), name).parse(input)?;
    let new_password = map(preceded(opt(keyword("WITH")), password), UserChange::Password);
    let new_role = map(preceded((opt(keyword("SET")), keyword("ROLE")), cut(role)), UserChange::Role);
    let words = preceded(opt(keyword("WITH")), keywords(&["CONNECTION", "LIMIT"]));
    let new_limit = map(preceded(words, cut(limit)), UserChange::ConnectionLimit);
    let (input, change) = alt((new_password, new_role, new_limit)).parse(input)?;
    Ok((input, UserStatement::Alter { name, change }))
}

/// A number of connections, or -1 for no limit of the user's own.
fn limit(input: Tokens<'_>) -> Parsed<'_, Option<u32>> {
    let (rest, minus) = opt(symbol(Token::Minus, "-")).parse(input)?;
    let (rest, limit) = number("a number of connections")(rest)?;
    match minus {
        None => Ok((rest, Some(limit))),
        Some(()) if limit == 1 => Ok((rest, None)),
        Some(()) => {
            refuse(input, crate::sql::syntax(format!("-{limit} is not a number of connections")).with_hint("-1"))
        }
    }
}

fn password(input: Tokens<'_>) -> Parsed<'_, Password> {
    let text = preceded((opt(keyword("ENCRYPTED")), keyword("PASSWORD")), cut(string("a password in quotes")));
    map(text, Password::new).parse(input)
}

fn role(input: Tokens<'_>) -> Parsed<'_, Role> {
    alt((great_role, value(Role::User, keyword("USER")))).parse(input)
}

/// The roles that can be granted.
fn great_role(input: Tokens<'_>) -> Parsed<'_, Role> {
    alt((value(Role::Admin, keyword("ADMIN")), value(Role::Operator, keyword("OPERATOR")))).parse(input)
}

fn drop(input: Tokens<'_>) -> Parsed<'_, UserStatement> {
    let (input, ()) = preceded(keyword("DROP"), user).parse(input)?;
    let (input, exists) = clause("IF", keyword("EXISTS")).parse(input)?;
    let (input, names) = list(name)(input)?;
    Ok((input, UserStatement::Drop { names, if_exists: exists.is_some() }))
}

fn grant(input: Tokens<'_>) -> Parsed<'_, UserStatement> {
    let right = terminated(preceded(keyword("GRANT"), right), keyword("TO"));
    map((right, list(name)), |(right, to)| UserStatement::Grant { right, to }).parse(input)
}

fn revoke(input: Tokens<'_>) -> Parsed<'_, UserStatement> {
    let right = terminated(preceded(keyword("REVOKE"), right), keyword("FROM"));
    map((right, list(name)), |(right, from)| UserStatement::Revoke { right, from }).parse(input)
}

fn right(input: Tokens<'_>) -> Parsed<'_, Right> {
    let all = value(Privilege::ALL.into(), (keyword("ALL"), opt(keyword("PRIVILEGES"))));
    let some = map(list(privilege), BTreeSet::from_iter);
    let tables = preceded((keyword("ON"), opt(keyword("TABLE"))), list(table));
    let on_tables = map((alt((all, some)), tables), |(privileges, tables)| Right::On { privileges, tables });
    alt((map(great_role, Right::Role), on_tables)).parse(input)
}

fn privilege(input: Tokens<'_>) -> Parsed<'_, Privilege> {
    alt((
        value(Privilege::Select, keyword("SELECT")),
        value(Privilege::Insert, keyword("INSERT")),
        value(Privilege::Update, keyword("UPDATE")),
        value(Privilege::Delete, keyword("DELETE")),
    ))
    .parse(input)
}
