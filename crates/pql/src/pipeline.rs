//! A pipeline's tokens, cut into its source and its operators.
//!
//! An operator's keyword counts only outside brackets and outside CASE … END, unquoted, and where it is no column
//! (`t.limit`) and no alias (`AS limit`). What an operator says is left to sqlparser; only names before `=` are turned
//! around here, because `late = AVG(delay)` would be a comparison to SQL.

use evenkeel_model::{Error, SqlState};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::desugar::starts_query;
use crate::emit::Emitter;
use crate::lex::Place;
use crate::sources;
use crate::sql::syntax;
use crate::tokens::{begins, comma_separated, is, made, word};

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Where,
    GroupBy,
    Compute,
    Having,
    Select,
    Unnest,
    SetOperation,
    OrderBy,
    Limit,
    Offset,
    Join,
}

/// One operator as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub operator: Operator,
    /// The keyword's token, for places.
    pub keyword: TokenWithSpan,
    /// What follows the keyword; of a join and a set operation, the keyword too.
    pub body: Vec<TokenWithSpan>,
}

impl Step {
    pub fn span(&self) -> Span {
        self.keyword.span
    }
}

/// `QUERY source operator …` as a SELECT with pipe operators.
pub(crate) fn rewrite(tokens: Vec<TokenWithSpan>, place: &Place<'_>) -> Result<Vec<TokenWithSpan>, Error> {
    let query = &tokens[0];
    let (source, steps) = cut(&tokens[1..]);
    if source.is_empty() {
        let error = syntax("QUERY needs something to query")
            .with_hint("QUERY flights, QUERY 'flights.csv' or QUERY (SELECT …) AS t");
        return Err(error.at(place.of(query)));
    }
    let steps = steps.into_iter().map(|step| prepare(step, place)).collect::<Result<Vec<_>, _>>()?;
    Emitter::new(query.span, sources::rewrite_from(source)).emit(&steps, place)
}

/// Cuts the tokens after QUERY into the source and the operators.
fn cut(tokens: &[TokenWithSpan]) -> (Vec<TokenWithSpan>, Vec<Step>) {
    let mut source = vec![];
    let mut steps: Vec<Step> = vec![];
    let (mut depth, mut cases, mut at) = (0_usize, 0_usize, 0);
    while at < tokens.len() {
        let token = &tokens[at];
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            _ if depth == 0 && is(token, "CASE") => cases += 1,
            _ if depth == 0 && is(token, "END") => cases = cases.saturating_sub(1),
            _ if depth == 0 && cases == 0 => {
                if let Some((operator, skip, keep)) = operator_at(tokens, at) {
                    let body = if keep { tokens[at..at + skip].to_vec() } else { vec![] };
                    steps.push(Step { operator, keyword: token.clone(), body });
                    at += skip;
                    continue;
                }
            }
            _ => {}
        }
        steps.last_mut().map_or(&mut source, |step| &mut step.body).push(token.clone());
        at += 1;
    }
    (source, steps)
}

/// The operator that begins at a token, how many tokens its keywords take, and whether they belong to its body.
fn operator_at(tokens: &[TokenWithSpan], at: usize) -> Option<(Operator, usize, bool)> {
    let rest = &tokens[at..];
    let word = word(&rest[0])?.to_ascii_uppercase();
    let previous = at.checked_sub(1).map(|before| &tokens[before]);
    if previous.is_some_and(|token| token.token == Token::Period || is(token, "AS")) {
        return None;
    }
    let calls = rest.get(1).is_some_and(|next| next.token == Token::LParen);
    match word.as_str() {
        "WHERE" => Some((Operator::Where, 1, false)),
        "HAVING" => Some((Operator::Having, 1, false)),
        "COMPUTE" => Some((Operator::Compute, 1, false)),
        "SELECT" => Some((Operator::Select, 1, false)),
        "LIMIT" => Some((Operator::Limit, 1, false)),
        "OFFSET" => Some((Operator::Offset, 1, false)),
        "GROUP" if begins(rest, &["GROUP", "BY"]) => Some((Operator::GroupBy, 2, false)),
        "ORDER" if begins(rest, &["ORDER", "BY"]) => Some((Operator::OrderBy, 2, false)),
        "UNNEST" | "UNWIND" if !calls => Some((Operator::Unnest, 1, false)),
        "UNION" | "INTERSECT" => Some((Operator::SetOperation, 1, true)),
        // `SELECT * EXCEPT (a, b)` leaves columns out.
        "EXCEPT" if !calls || rest.get(2).is_some_and(starts_query) => Some((Operator::SetOperation, 1, true)),
        _ => join_words(rest).map(|words| (Operator::Join, words, true)),
    }
}

/// How many words `LEFT OUTER JOIN` and the like take.
fn join_words(tokens: &[TokenWithSpan]) -> Option<usize> {
    const BEFORE_JOIN: &[&str] = &["NATURAL", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "SEMI", "ANTI", "OUTER"];
    let words = tokens.iter().take(4).take_while(|token| BEFORE_JOIN.iter().any(|known| is(token, known))).count();
    tokens.get(words).is_some_and(|token| is(token, "JOIN")).then_some(words + 1)
}

/// Checks that an operator says something, and puts its own spellings into SQL's.
fn prepare(mut step: Step, place: &Place<'_>) -> Result<Step, Error> {
    let written = usize::from(step.operator == Operator::SetOperation);
    if step.body.len() <= written {
        return Err(empty(&step, place));
    }
    step.body = match step.operator {
        Operator::Join => sources::rewrite_from_join(join(step.body)),
        Operator::Compute => named_items(&step.body),
        Operator::GroupBy if is_empty_brackets(&step.body) => vec![],
        Operator::GroupBy => named_items(&step.body),
        Operator::Select if is(&step.body[0], "DISTINCT") => {
            let mut body = vec![step.body[0].clone()];
            body.extend(named_items(&step.body[1..]));
            body
        }
        Operator::Select => named_items(&step.body),
        Operator::SetOperation => return set_operation(step, place),
        _ => step.body,
    };
    Ok(step)
}

fn empty(step: &Step, place: &Place<'_>) -> Error {
    let (name, needs) = match step.operator {
        Operator::Where => ("WHERE", "a condition"),
        Operator::Having => ("HAVING", "a condition"),
        Operator::GroupBy => ("GROUP BY", "at least one key, or () for the whole table"),
        Operator::Compute => ("COMPUTE", "at least one name = expression"),
        Operator::Select => ("SELECT", "at least one column"),
        Operator::Unnest => ("UNNEST", "a column and a name: UNNEST tags AS tag"),
        Operator::SetOperation => ("UNION, INTERSECT or EXCEPT", "a query in brackets: UNION (QUERY …)"),
        Operator::OrderBy => ("ORDER BY", "at least one expression"),
        Operator::Limit => ("LIMIT", "a number of rows"),
        Operator::Offset => ("OFFSET", "a number of rows"),
        Operator::Join => ("JOIN", "something to join"),
    };
    syntax(format!("{name} needs {needs}")).at(place.of(&step.keyword))
}

fn is_empty_brackets(tokens: &[TokenWithSpan]) -> bool {
    matches!(tokens, [open, close] if open.token == Token::LParen && close.token == Token::RParen)
}

/// `SEMI JOIN` and `ANTI JOIN` keep rows of what came before, the left.
fn join(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if is(&tokens[0], "SEMI") || is(&tokens[0], "ANTI") {
        let span = tokens[0].span;
        return std::iter::once(made("LEFT", span)).chain(tokens).collect();
    }
    tokens
}

/// `name = expr, …` as `expr AS name, …`.
fn named_items(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut result = Vec::with_capacity(tokens.len() + 4);
    let mut start = 0;
    for item in comma_separated(tokens) {
        match item {
            [name, equals, rest @ ..]
                if equals.token == Token::Eq && is_name(name) && !rest.is_empty() && !is_named(rest) =>
            {
                result.extend_from_slice(rest);
                result.extend([made("AS", equals.span), name.clone()]);
            }
            _ => result.extend_from_slice(item),
        }
        start += item.len() + 1;
        result.extend(tokens.get(start - 1).cloned());
    }
    result
}

fn is_name(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Word(_)) && !["TRUE", "FALSE", "NULL"].iter().any(|value| is(token, value))
}

/// Whether an item has its name behind it: `a = b AS same` is a comparison.
fn is_named(tokens: &[TokenWithSpan]) -> bool {
    matches!(tokens, [.., keyword, name] if is(keyword, "AS") && matches!(name.token, Token::Word(_)))
}

/// INTERSECT and EXCEPT say DISTINCT to sqlparser's pipes; the second query stands in brackets.
fn set_operation(mut step: Step, place: &Place<'_>) -> Result<Step, Error> {
    let quantified = ["ALL", "DISTINCT"].iter().any(|known| is(&step.body[1], known));
    let query = 1 + usize::from(quantified);
    let open = step.body.get(query).is_some_and(|token| token.token == Token::LParen);
    if !open || !step.body.get(query + 1).is_some_and(starts_query) {
        let name = word(&step.keyword).unwrap_or_default().to_ascii_uppercase();
        let error = syntax(format!("{name} needs a query in brackets")).with_hint(format!("{name} (QUERY …)"));
        return Err(error.at(place.of(step.body.get(query).unwrap_or(&step.keyword))));
    }
    if !quantified && !is(&step.keyword, "UNION") {
        step.body.insert(1, made("DISTINCT", step.span()));
    }
    Ok(step)
}

/// An aggregate in a COMPUTE that has no GROUP BY can never be computed row by row.
pub(crate) fn needs_group(step: &Step, aggregate: &TokenWithSpan, place: &Place<'_>) -> Error {
    let name = word(aggregate).unwrap_or_default();
    Error::new(SqlState::GroupingError, format!("{name} needs a GROUP BY, or OVER (…) to be computed for each row"))
        .with_hint("GROUP BY () COMPUTE … makes one row of the whole table")
        .with_detail(format!("{} without GROUP BY adds a column to each row", word(&step.keyword).unwrap_or_default()))
        .at(place.of(aggregate))
}
