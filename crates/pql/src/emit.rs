//! Operators put together into one query that the planner understands.
//!
//! Most operators are one pipe operator. Some are not: DataFusion's pipes compute row by row, so a SELECT with aggregates,
//! windows, DISTINCT or unnest has to be a SELECT of plain SQL, and so has one whose ORDER BY names what it dropped.
//!
//! ```text
//!  source JOIN… WHERE…   ──▶  SELECT items FROM source JOIN… WHERE …              qualifiers (t.a) still mean something
//!  anything else         ──▶  SELECT items FROM (SELECT * FROM … |> …) AS pql_1   only the columns' names do
//! ```
//!
//! What comes after is piped onto that again. WHAT MAY NEVER HAPPEN: an operator sees anything but the output of the one
//! before.

use evenkeel_model::Error;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::lex::Place;
use crate::pipeline::{Operator, Step, needs_group};
use crate::scope::{aggregate_call, is_plain, names_dropped};
use crate::sql::syntax;
use crate::tokens::{comma_separated, is, made, mark};

/// The clauses of a SELECT of plain SQL, apart from its source.
#[derive(Default)]
struct Clauses {
    items: Vec<TokenWithSpan>,
    group_by: Vec<TokenWithSpan>,
    having: Vec<TokenWithSpan>,
    order_by: Vec<TokenWithSpan>,
    offset: Vec<TokenWithSpan>,
}

/// The query so far.
pub(crate) struct Emitter {
    query: Span,
    /// The source and the joins right behind it.
    from: Vec<TokenWithSpan>,
    /// The conditions right behind those.
    wheres: Vec<(Span, Vec<TokenWithSpan>)>,
    /// A finished SELECT of plain SQL that took `from` and `wheres` in.
    head: Option<Vec<TokenWithSpan>>,
    /// Pipe operators behind all that.
    pipes: Vec<TokenWithSpan>,
    derived: usize,
}

impl Emitter {
    pub fn new(query: Span, from: Vec<TokenWithSpan>) -> Self {
        Self { query, from, wheres: vec![], head: None, pipes: vec![], derived: 0 }
    }

    /// The whole pipeline.
    pub fn emit(mut self, steps: &[Step], place: &Place<'_>) -> Result<Vec<TokenWithSpan>, Error> {
        let mut rest = steps;
        while let Some((step, after)) = rest.split_first() {
            rest = match step.operator {
                Operator::GroupBy => self.group_by(step, after, place)?,
                Operator::Select => self.select(step, after),
                Operator::Limit | Operator::Offset => self.limit(step, after),
                _ => {
                    self.single(step, place)?;
                    after
                }
            };
        }
        Ok(self.finish())
    }

    /// An operator that does not look at the ones behind it.
    fn single(&mut self, step: &Step, place: &Place<'_>) -> Result<(), Error> {
        match step.operator {
            Operator::Where | Operator::Having if self.is_direct() => {
                self.wheres.push((step.span(), step.body.clone()));
            }
            Operator::Where | Operator::Having => self.pipe(&["WHERE"], &step.body, step.span()),
            Operator::Join => self.join(step),
            Operator::Compute => self.compute(step, place)?,
            Operator::Unnest => self.unnest(step, place)?,
            Operator::OrderBy => self.pipe(&["ORDER", "BY"], &step.body, step.span()),
            Operator::SetOperation => self.set_operation(step),
            Operator::GroupBy | Operator::Select | Operator::Limit | Operator::Offset => {}
        }
        Ok(())
    }

    /// Whether there is nothing yet but sources, joins and conditions.
    fn is_direct(&self) -> bool {
        self.head.is_none() && self.pipes.is_empty()
    }

    fn join(&mut self, step: &Step) {
        if self.is_direct() && self.wheres.is_empty() {
            self.from.extend_from_slice(&step.body);
        } else if is(&step.keyword, "NATURAL") {
            self.derive(step.span());
            self.from.extend_from_slice(&step.body);
        } else {
            self.pipe(&[], &step.body, step.span());
        }
    }

    fn compute(&mut self, step: &Step, place: &Place<'_>) -> Result<(), Error> {
        if let Some(aggregate) = aggregate_call(&step.body) {
            return Err(needs_group(step, aggregate, place));
        }
        if is_plain(&step.body) {
            self.extend_plainly(&step.body, step.span());
        } else {
            self.pipe(&["EXTEND"], &step.body, step.span());
        }
        Ok(())
    }

    /// `SELECT *, items FROM …`
    fn extend_plainly(&mut self, items: &[TokenWithSpan], span: Span) {
        let mut all = vec![mark(Token::Mul, span), mark(Token::Comma, span)];
        all.extend_from_slice(items);
        self.plain(Clauses { items: all, ..Clauses::default() }, span);
    }

    fn unnest(&mut self, step: &Step, place: &Place<'_>) -> Result<(), Error> {
        let named =
            step.body.iter().rposition(|token| is(token, "AS")).filter(|at| *at > 0 && at + 2 == step.body.len());
        let Some(named) = named else {
            let error = syntax("UNNEST needs a name for the elements").with_hint("UNNEST tags AS tag");
            return Err(error.at(place.of(&step.keyword)));
        };
        let span = step.span();
        let mut item = vec![made("unnest", span), mark(Token::LParen, span)];
        item.extend_from_slice(&step.body[..named]);
        item.push(mark(Token::RParen, span));
        item.extend_from_slice(&step.body[named..]);
        self.extend_plainly(&item, span);
        Ok(())
    }

    fn set_operation(&mut self, step: &Step) {
        if is(&step.body[1], "ALL") && !is(&step.keyword, "UNION") {
            let span = step.span();
            let mut both = bracketed(self.take(), span);
            both.extend_from_slice(&step.body);
            self.derive_from(both, span);
        } else {
            self.pipe(&[], &step.body, step.span());
        }
    }

    fn limit<'a>(&mut self, step: &Step, after: &'a [Step]) -> &'a [Step] {
        let (limit, offset, rest) = match (step.operator, after.split_first()) {
            (Operator::Limit, Some((next, rest))) if next.operator == Operator::Offset => (step, Some(next), rest),
            (Operator::Offset, Some((next, rest))) if next.operator == Operator::Limit => (next, Some(step), rest),
            (Operator::Limit, _) => (step, None, after),
            _ => {
                let star = vec![mark(Token::Mul, step.span())];
                self.plain(Clauses { items: star, offset: step.body.clone(), ..Clauses::default() }, step.span());
                return after;
            }
        };
        self.pipe(&["LIMIT"], &limit.body, limit.span());
        if let Some(offset) = offset {
            self.pipes.push(made("OFFSET", offset.span()));
            self.pipes.extend_from_slice(&offset.body);
        }
        rest
    }

    fn group_by<'a>(&mut self, step: &Step, mut after: &'a [Step], place: &Place<'_>) -> Result<&'a [Step], Error> {
        let mut next = |operator| {
            let (first, rest) = after.split_first().filter(|(first, _)| first.operator == operator)?;
            after = rest;
            Some(first)
        };
        let compute = next(Operator::Compute);
        let having = next(Operator::Having);
        let aggregates = compute.map_or(&[][..], |step| &step.body);
        let select = if compute.is_none() { next(Operator::Select) } else { None };
        if let Some(select) = select.filter(|select| aggregate_call(&select.body).is_some()) {
            let group_by = self.computed_keys(&step.body, step.span());
            let mut clauses = Clauses { items: select.body.clone(), group_by, ..Clauses::default() };
            clauses.having = having.map_or(vec![], |having| having.body.clone());
            return Ok(self.select_plainly(clauses, select.span(), after));
        }
        if compute.is_none() && step.body.is_empty() {
            let error = syntax("GROUP BY () needs something to compute").with_hint("GROUP BY () COMPUTE n = COUNT(*)");
            return Err(error.at(place.of(&step.keyword)));
        }
        match having.filter(|having| aggregate_call(&having.body).is_some()) {
            Some(having) => self.group_plainly(step, aggregates, having),
            None => {
                self.aggregate(step, aggregates);
                if let Some(having) = having {
                    self.pipe(&["WHERE"], &having.body, having.span());
                }
            }
        }
        if let Some(select) = select { Ok(self.select(select, after)) } else { Ok(after) }
    }

    /// Group keys for plain SQL: those with names become columns first.
    fn computed_keys(&mut self, keys: &[TokenWithSpan], span: Span) -> Vec<TokenWithSpan> {
        let mut result = vec![];
        let mut computed = vec![];
        for key in comma_separated(keys) {
            if !result.is_empty() {
                result.push(mark(Token::Comma, span));
            }
            let Some((_, name)) = split_name(key) else {
                result.extend_from_slice(key);
                continue;
            };
            if !computed.is_empty() {
                computed.push(mark(Token::Comma, span));
            }
            computed.extend_from_slice(key);
            result.push(name.clone());
        }
        if !computed.is_empty() {
            self.pipe(&["EXTEND"], &computed, span);
        }
        result
    }

    fn aggregate(&mut self, step: &Step, aggregates: &[TokenWithSpan]) {
        self.pipe(&["AGGREGATE"], aggregates, step.span());
        if !step.body.is_empty() {
            self.pipes.extend([made("GROUP", step.span()), made("BY", step.span())]);
            self.pipes.extend_from_slice(&step.body);
        }
    }

    /// A HAVING that aggregates by itself: `SELECT keys, aggregates FROM … GROUP BY keys HAVING …`.
    fn group_plainly(&mut self, step: &Step, aggregates: &[TokenWithSpan], having: &Step) {
        let mut items = step.body.clone();
        if !items.is_empty() && !aggregates.is_empty() {
            items.push(mark(Token::Comma, step.span()));
        }
        items.extend_from_slice(aggregates);
        let group_by = without_names(&step.body, step.span());
        self.plain(Clauses { items, group_by, having: having.body.clone(), ..Clauses::default() }, step.span());
    }

    fn select<'a>(&mut self, step: &Step, after: &'a [Step]) -> &'a [Step] {
        let sorted_by_dropped = after.first().is_some_and(|next| {
            next.operator == Operator::OrderBy && (is_plain(&next.body) || names_dropped(&next.body, &step.body))
        });
        if sorted_by_dropped || is(&step.body[0], "DISTINCT") || is_plain(&step.body) {
            return self.select_plainly(Clauses { items: step.body.clone(), ..Clauses::default() }, step.span(), after);
        }
        self.pipe(&["SELECT"], &step.body, step.span());
        after
    }

    /// A SELECT of plain SQL; it takes the ORDER BY in when only SQL's scoping can find what that names.
    fn select_plainly<'a>(&mut self, mut clauses: Clauses, span: Span, after: &'a [Step]) -> &'a [Step] {
        let order = after.split_first().filter(|(next, _)| {
            next.operator == Operator::OrderBy && (is_plain(&next.body) || names_dropped(&next.body, &clauses.items))
        });
        let rest = match order {
            Some((order, rest)) => {
                clauses.order_by = order.body.clone();
                rest
            }
            None => after,
        };
        self.plain(clauses, span);
        rest
    }

    fn plain(&mut self, clauses: Clauses, span: Span) {
        if !self.is_direct() {
            self.derive(span);
        }
        let mut head = vec![made("SELECT", span)];
        head.extend(clauses.items);
        head.push(made("FROM", self.query));
        head.append(&mut self.from);
        head.extend(conjunction(std::mem::take(&mut self.wheres)));
        let others: [(&[&str], Vec<TokenWithSpan>); 4] = [
            (&["GROUP", "BY"], clauses.group_by),
            (&["HAVING"], clauses.having),
            (&["ORDER", "BY"], clauses.order_by),
            (&["OFFSET"], clauses.offset),
        ];
        for (keywords, body) in others {
            if !body.is_empty() {
                head.extend(keywords.iter().map(|keyword| made(keyword, span)));
                head.extend(body);
            }
        }
        self.head = Some(head);
    }

    fn pipe(&mut self, keywords: &[&str], body: &[TokenWithSpan], span: Span) {
        if self.is_direct() {
            for (span, condition) in std::mem::take(&mut self.wheres) {
                append_pipe(&mut self.pipes, &["WHERE"], &condition, span);
            }
        }
        append_pipe(&mut self.pipes, keywords, body, span);
    }

    /// Everything so far becomes a derived table.
    fn derive(&mut self, span: Span) {
        let whole = self.take();
        self.derive_from(whole, span);
    }

    fn derive_from(&mut self, query: Vec<TokenWithSpan>, span: Span) {
        self.derived += 1;
        self.from = bracketed(query, span);
        self.from.extend([made("AS", span), made(&format!("pql_{}", self.derived), span)]);
    }

    fn finish(mut self) -> Vec<TokenWithSpan> {
        self.take()
    }

    fn take(&mut self) -> Vec<TokenWithSpan> {
        let star = [made("SELECT", self.query), mark(Token::Mul, self.query), made("FROM", self.query)];
        let mut query = self.head.take().unwrap_or_else(|| star.to_vec());
        query.append(&mut self.from);
        for (span, condition) in std::mem::take(&mut self.wheres) {
            append_pipe(&mut query, &["WHERE"], &condition, span);
        }
        query.append(&mut self.pipes);
        query
    }
}

fn append_pipe(pipes: &mut Vec<TokenWithSpan>, keywords: &[&str], body: &[TokenWithSpan], span: Span) {
    pipes.push(mark(Token::VerticalBarRightAngleBracket, span));
    pipes.extend(keywords.iter().map(|keyword| made(keyword, span)));
    pipes.extend_from_slice(body);
}

fn bracketed(tokens: Vec<TokenWithSpan>, span: Span) -> Vec<TokenWithSpan> {
    let mut result = Vec::with_capacity(tokens.len() + 2);
    result.push(mark(Token::LParen, span));
    result.extend(tokens);
    result.push(mark(Token::RParen, span));
    result
}

/// Several WHEREs as one, each in brackets.
fn conjunction(mut wheres: Vec<(Span, Vec<TokenWithSpan>)>) -> Vec<TokenWithSpan> {
    let Some((first, _)) = wheres.first() else { return vec![] };
    let mut result = vec![made("WHERE", *first)];
    if wheres.len() == 1 {
        result.extend(wheres.remove(0).1);
        return result;
    }
    for (at, (span, condition)) in wheres.into_iter().enumerate() {
        if at > 0 {
            result.push(made("AND", span));
        }
        result.extend(bracketed(condition, span));
    }
    result
}

/// The name that an item gets, and what comes before `AS`.
fn split_name(item: &[TokenWithSpan]) -> Option<(&[TokenWithSpan], &TokenWithSpan)> {
    match item {
        [expression @ .., keyword, name] if is(keyword, "AS") && !expression.is_empty() => Some((expression, name)),
        _ => None,
    }
}

/// Group keys without the names that they are given.
fn without_names(keys: &[TokenWithSpan], span: Span) -> Vec<TokenWithSpan> {
    let mut result = vec![];
    for key in comma_separated(keys) {
        if !result.is_empty() {
            result.push(mark(Token::Comma, span));
        }
        result.extend_from_slice(split_name(key).map_or(key, |(expression, _)| expression));
    }
    result
}
