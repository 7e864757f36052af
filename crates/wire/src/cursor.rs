//! DECLARE, FETCH and CLOSE: portals that have a name and are fetched by statements.
//!
//! A cursor is a portal. What DECLARE makes, Describe and Execute find by the same name, as drivers expect; what Bind has
//! made, FETCH finds. A cursor sees what its block saw when it was declared. One that is held outlasts its block: its rows are
//! read at once, and kept.
//!
//! WHAT MAY NEVER HAPPEN: a row is fetched twice, or left out; a cursor of a block that was rolled back goes on.

use crate::connection::Connection;
use crate::encode::{Format, describe};
use crate::error::Fault;
use crate::portal::{Held, Outcome, Portal, Running, Work};
use crate::stream::End;
use arrow::datatypes::SchemaRef;
use evenkeel_engine::{Parsed, ScalarValue, TransactionState};
use evenkeel_model::{ColumnType, SqlState};
use evenkeel_pql::StatementKind;
use evenkeel_pql::ast::CursorStatement;
use std::sync::Arc;

/// A statement about cursors, of a connection.
pub(crate) struct AboutCursor {
    /// As it was given.
    pub(crate) text: String,
    pub(crate) verb: Verb,
}

pub(crate) enum Verb {
    Declare {
        name: String,
        hold: bool,
        query: Arc<Parsed>,
        /// Where the query begins in the text.
        offset: usize,
    },
    Fetch {
        name: String,
        /// `None` are all rows.
        rows: Option<usize>,
        /// Those of the cursor when the statement was read.
        columns: Option<SchemaRef>,
    },
    /// `None` are all cursors.
    Close(Option<String>),
}

impl AboutCursor {
    pub(crate) fn is_fetch(&self) -> bool {
        matches!(self.verb, Verb::Fetch { .. })
    }

    /// The types of `$1`, `$2` ….
    pub(crate) fn parameters(&self) -> &[ColumnType] {
        match &self.verb {
            Verb::Declare { query, .. } => query.parameters(),
            Verb::Fetch { .. } | Verb::Close(_) => &[],
        }
    }
}

/// What a text says about cursors; `None` where it is about something else, or can't be read.
pub(crate) fn statement(text: &str) -> Option<CursorStatement> {
    const VERBS: [&str; 3] = ["DECLARE", "FETCH", "CLOSE"];
    evenkeel_pql::first_word(text).filter(|word| VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb)))?;
    match evenkeel_pql::parse_statement(text).ok()?.kind {
        StatementKind::Cursor(statement) => Some(statement),
        _ => None,
    }
}

impl Connection {
    /// Reads a statement about cursors. `declared` are the types that the client gives some of its parameters.
    ///
    /// # Errors
    /// What is wrong with its query; 25P02 in a block that has failed.
    pub(crate) async fn about_cursor(
        &mut self,
        statement: CursorStatement,
        text: &str,
        declared: &[Option<ColumnType>],
    ) -> Result<AboutCursor, Fault> {
        let verb = match statement {
            CursorStatement::Declare { name, hold, query } => {
                self.keep_portals().await?;
                let within = &text[query.span.clone()];
                let offset = query.span.start;
                let parsed = self.session.parse(within, declared).await;
                let query = Arc::new(parsed.map_err(|error| placed(error.into(), Some(offset)))?);
                Verb::Declare { name: folded(&name.value, name.quote_style), hold, query, offset }
            }
            CursorStatement::Fetch { name, rows } => {
                let (name, rows) = (folded(&name.value, name.quote_style), rows.map(|rows| rows as usize));
                let columns = self.cursor_columns(&name).map(Arc::clone);
                Verb::Fetch { name, rows, columns }
            }
            CursorStatement::Close(name) => Verb::Close(name.map(|name| folded(&name.value, name.quote_style))),
        };
        Ok(AboutCursor { text: text.to_string(), verb })
    }

    /// Carries it out as a Query message: without parameters, and with its columns in front of the rows.
    pub(crate) async fn simple_cursor(&mut self, about: &AboutCursor) -> Result<Outcome, End> {
        if !about.parameters().is_empty() {
            return Err(Fault::new(SqlState::UndefinedParameter, "there is no parameter $1")
                .with_hint("values are given when a statement is prepared and bound")
                .into());
        }
        if let Verb::Fetch { columns: Some(columns), .. } = &about.verb
            && self.session.transaction() != TransactionState::Failed
        {
            describe(columns, &[], &mut self.stream.output);
        }
        self.carry_out_cursor(about, &[], &[], 0, 0).await
    }

    /// Carries it out. Of a FETCH, `fetched` rows have been sent before, and `max` are to be sent now at the most, where that is
    /// not 0.
    pub(crate) async fn carry_out_cursor(
        &mut self,
        about: &AboutCursor,
        parameters: &[ScalarValue],
        formats: &[Format],
        fetched: usize,
        max: usize,
    ) -> Result<Outcome, End> {
        if self.session.transaction() == TransactionState::Failed {
            return Err(in_failed_block().into());
        }
        match &about.verb {
            Verb::Declare { name, hold, query, offset } => {
                let declared = self.declare(name, *hold, query, parameters.to_vec()).await;
                declared.map_err(|fault| placed(fault, Some(*offset)))?;
                Ok(Outcome::Complete("DECLARE CURSOR".to_string()))
            }
            Verb::Fetch { name, rows, columns } => {
                if columns.is_some() && self.cursor_columns(name).is_some_and(|now| Some(now) != columns.as_ref()) {
                    let message = format!("the cursor \"{name}\" has other columns by now");
                    return Err(Fault::new(SqlState::FeatureNotSupported, message)
                        .with_hint("prepare the FETCH again")
                        .into());
                }
                let left = rows.map_or(usize::MAX, |rows| rows - fetched);
                let most = if max == 0 { left } else { left.min(max) };
                let sent = match self.fetch_of_cursor(name, formats, most).await {
                    // Its place is one in another text.
                    Err(End::Fault(fault)) => return Err(placed(*fault, None).into()),
                    outcome => outcome?,
                };
                // As many as there was room for, and not as many as were asked for.
                let suspends = sent == most && most < left;
                Ok(if suspends { Outcome::Suspended } else { Outcome::Complete(format!("FETCH {sent}")) })
            }
            Verb::Close(Some(name)) => {
                self.portals.remove(name).ok_or_else(|| no_cursor(name))?.close();
                Ok(Outcome::Complete("CLOSE CURSOR".to_string()))
            }
            Verb::Close(None) => {
                self.portals.drain().for_each(|(_, portal)| portal.close());
                Ok(Outcome::Complete("CLOSE CURSOR ALL".to_string()))
            }
        }
    }

    async fn declare(
        &mut self,
        name: &str,
        hold: bool,
        query: &Arc<Parsed>,
        parameters: Vec<ScalarValue>,
    ) -> Result<(), Fault> {
        let in_block = self.session.transaction() != TransactionState::Idle;
        if !hold && !in_block {
            return Err(Fault::new(
                SqlState::NoActiveTransaction,
                "a cursor ends with its transaction, and there is none",
            )
            .with_hint("BEGIN first, or declare it WITH HOLD"));
        }
        self.check_new_portal(name)?;
        let left = self.keep_portals().await?;
        let mut running = Running::new(self.session.carry_out(query, parameters), vec![], false);
        if hold {
            running.keep(left).await?;
        } else {
            running.begin().await?;
        }
        let held = match (hold, in_block) {
            (true, true) => Some(Held::IfCommitted),
            (true, false) => Some(Held::Kept),
            (false, _) => None,
        };
        let (work, parameters, formats) = (Work::Statement(Arc::clone(query)), vec![], vec![]);
        let portal = Portal { work, parameters, formats, running: Some(running), held, fetched: 0 };
        self.portals.insert(name.to_string(), portal);
        Ok(())
    }

    /// Sends rows of a cursor, so many at the most; returns how many there were.
    async fn fetch_of_cursor(&mut self, name: &str, formats: &[Format], most: usize) -> Result<usize, End> {
        let query = self.cursor_query(name).map(Arc::clone).ok_or_else(|| no_cursor(name))?;
        let mut portal = self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
        if portal.running.is_none() {
            self.keep_portals().await?;
            let answer = self.session.carry_out(&query, portal.parameters.clone());
            portal.running = Some(Running::new(answer, portal.formats.clone(), false));
        }
        let Some(running) = &mut portal.running else { return Ok(0) };
        running.change_formats(formats)?;
        let limit = if most == usize::MAX { 0 } else { most };
        let sent = match running.send(&mut self.stream, limit).await? {
            Outcome::Complete(tag) => tag.rsplit(' ').next().and_then(|rows| rows.parse().ok()).unwrap_or(0),
            Outcome::Suspended => most,
        };
        self.portals.insert(name.to_string(), portal);
        Ok(sent)
    }

    /// The columns of what FETCH would fetch.
    pub(crate) fn cursor_columns(&self, name: &str) -> Option<&SchemaRef> {
        self.cursor_query(name)?.columns()
    }

    /// The query that FETCH would fetch rows of.
    fn cursor_query(&self, name: &str) -> Option<&Arc<Parsed>> {
        match &self.portals.get(name)?.work {
            Work::Statement(query) if query.is_query() => Some(query),
            Work::Statement(_) | Work::Nothing | Work::Cursor(_) => None,
        }
    }
}

/// With its place moved to where the query is, or without one.
fn placed(mut fault: Fault, offset: Option<usize>) -> Fault {
    let span = fault.error.span.take().zip(offset);
    fault.error.span = span.map(|(span, offset)| span.start + offset..span.end + offset);
    fault
}

pub(crate) fn in_failed_block() -> Fault {
    Fault::new(SqlState::InFailedTransaction, "the transaction has failed")
        .with_hint("ROLLBACK ends it; ROLLBACK TO goes back to a savepoint")
}

fn no_cursor(name: &str) -> Fault {
    Fault::new(SqlState::InvalidCursorName, format!("there is no cursor \"{name}\""))
        .with_hint("a cursor ends with its transaction, unless it is declared WITH HOLD")
}

fn folded(name: &str, quote: Option<char>) -> String {
    if quote.is_some() { name.to_string() } else { name.to_lowercase() }
}
