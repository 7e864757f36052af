//! One client: statements in, answers out, until one of the two goes.
//!
//! WHAT MAY NEVER HAPPEN: an answer to one statement is taken for another's; after an error in a pipeline anything is
//! carried out before the Sync; a client that goes leaves a statement running.

use crate::copying;
use crate::cursor::{self, Verb};
use crate::decode;
use crate::encode::{describe, formats};
use crate::error::{self, Fault};
use crate::portal::{Held, KEPT_BYTES_MAX, Outcome, Portal, Running, Work, complete};
use crate::server::Shared;
use crate::stream::{End, Stream};
use crate::types::declared;
use arrow::datatypes::SchemaRef;
use bytes::{BufMut, BytesMut};
use evenkeel_engine::{
    CopyStream, Forgotten, Parsed, Session, TransactionState, copy_stream_of, ends_block, forgotten_by,
    may_share_a_block,
};
use evenkeel_model::{ColumnType, SqlState};
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::extendedquery::{Bind, Close, Describe, Execute, Parse};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Statements and portals that a client may have at once.
const PREPARED_MAX: usize = 10_000;

pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) session: Session,
    shared: Arc<Shared>,
    statements: HashMap<String, Statement>,
    pub(crate) portals: HashMap<String, Portal>,
    /// An error in a pipeline: everything up to the Sync is passed over.
    skips: bool,
}

/// A statement that was prepared.
#[derive(Clone)]
struct Statement {
    work: Work,
    /// The types that the client declared its parameters with; 0 for those that it left to the server.
    declared: Arc<[u32]>,
}

impl Statement {
    /// The types of its parameters, as the client knows them: those it declared are not told as others.
    fn parameter_oids(&self) -> Vec<u32> {
        let types = self.work.parameters();
        let oid = |(at, column): (usize, &ColumnType)| {
            let own = self.declared.get(at).copied().filter(|own| declared(*own).is_some());
            own.unwrap_or_else(|| column.oid().oid)
        };
        types.iter().enumerate().map(oid).collect()
    }
}

impl Connection {
    pub(crate) fn new(stream: Stream, session: Session, shared: Arc<Shared>) -> Self {
        Self { stream, session, shared, statements: HashMap::new(), portals: HashMap::new(), skips: false }
    }

    /// Answers until the client or the server goes.
    pub(crate) async fn run(mut self) {
        self.ready();
        loop {
            match self.turn().await {
                Ok(true) => {}
                Ok(false) | Err(End::Gone) => return,
                Err(End::Fault(fault)) => {
                    if fault.fatal {
                        self.report(&fault, "", "");
                        // Nobody may be there to read it.
                        let _ = self.stream.flush().await;
                        return;
                    }
                    self.refuse(&fault, "", "").await;
                    self.skips = true;
                }
            }
        }
    }

    /// Takes one message; `false` at the end.
    async fn turn(&mut self) -> Result<bool, End> {
        let message = self.next().await?;
        if self.skips && !matches!(message, Message::Sync(_) | Message::Terminate(_)) {
            return Ok(true);
        }
        match message {
            Message::Query(query) => {
                let outcome = self.query(&query.query).await;
                match outcome {
                    Err(End::Fault(fault)) if fault.fatal => return Err(End::Fault(fault)),
                    Err(End::Gone) => return Err(End::Gone),
                    _ => {}
                }
                self.ready();
            }
            Message::Parse(parse) => self.parse(parse).await?,
            Message::Bind(bind) => self.bind(&bind).await?,
            Message::Describe(what) => self.describe(&what)?,
            Message::Execute(execute) => self.execute(&execute).await?,
            Message::Close(close) => self.close(&close),
            Message::Flush(_) => self.stream.flush().await?,
            Message::Sync(_) => {
                self.skips = false;
                self.ready();
            }
            Message::Terminate(_) => return Ok(false),
            // What a client still sends of a COPY that has failed.
            Message::CopyData(_) | Message::CopyDone(_) | Message::CopyFail(_) => {}
            other => return Err(Fault::protocol(format!("this message has no place here: {}", kind(&other))).into()),
        }
        Ok(true)
    }

    /// The next message, as long as the client may be silent and the server goes on.
    async fn next(&mut self) -> Result<Message, End> {
        let suspended = |portal: &Portal| portal.running.as_ref().is_some_and(Running::is_suspended);
        let patience = self.patience(self.portals.values().any(suspended));
        let mut stopping = self.shared.stopping();
        let in_block = self.session.transaction() != TransactionState::Idle;
        tokio::select! {
            biased;
            message = self.stream.message() => message,
            fault = patience.ends() => Err(fault.into()),
            () = stopping.wait(in_block) => Err(Fault::fatal(SqlState::AdminShutdown, "the server stops").into()),
        }
    }

    /// How long the client may be silent now; `in_statement`: while one of its statements waits for it.
    fn patience(&self, in_statement: bool) -> Patience {
        let in_block = self.session.transaction() != TransactionState::Idle;
        let limit = |applies: bool, setting: &str| {
            let limit = if applies { self.shared.duration(setting) } else { Duration::ZERO };
            (!limit.is_zero()).then_some(limit)
        };
        let in_block = limit(in_block, "idle_in_transaction_timeout");
        let in_statement = limit(in_statement, "idle_in_statement_timeout");
        match (in_block, in_statement) {
            (Some(block), statement) if statement.is_none_or(|statement| block <= statement) => {
                let fault = Fault::fatal(SqlState::IdleInTransactionTimeout, "the transaction was idle for too long");
                let hint = "idle_in_transaction_timeout says how long; the transaction is rolled back";
                Patience(Some((block, fault.with_hint(hint))))
            }
            (_, statement) => Patience(statement.map(|statement| {
                let message = "a statement waited for its client for too long";
                let fault = Fault::fatal(SqlState::IdleInTransactionTimeout, message);
                (statement, fault.with_hint("idle_in_statement_timeout says how long; the statement is taken back"))
            })),
        }
    }

    /// Says that the next statement may come, and whether a transaction is open.
    fn ready(&mut self) {
        let state = self.session.transaction();
        if state == TransactionState::Idle {
            // Portals end with their transaction.
            self.close_unless(|portal| portal.held == Some(Held::Kept));
        }
        let status = match state {
            TransactionState::Idle => b'I',
            TransactionState::Open => b'T',
            TransactionState::Failed => b'E',
        };
        self.stream.output.extend_from_slice(&[b'Z', 0, 0, 0, 5, status]);
    }

    fn report(&mut self, fault: &Fault, statement: &str, before: &str) {
        error::write(fault, statement, before, &mut self.stream);
    }

    /// Reports what went wrong; an open transaction block is failed by it, whatever it was.
    async fn refuse(&mut self, fault: &Fault, statement: &str, before: &str) {
        self.report(fault, statement, before);
        if self.session.transaction() == TransactionState::Open {
            // Statements that wait to be fetched hold the session.
            self.portals.retain(|_, portal| portal.held == Some(Held::Kept));
            self.session.fail_block().await;
        }
    }

    /// Carries out the statements of a text, one after another, until one fails.
    async fn query(&mut self, text: &str) -> Result<(), End> {
        self.statements.remove("");
        self.close_portal("");
        let split = evenkeel_pql::split(text);
        let spans: Vec<_> = split.all().cloned().collect();
        if spans.is_empty() {
            self.stream.output.extend_from_slice(&[b'I', 0, 0, 0, 4]);
            return Ok(());
        }
        // Several statements are one transaction, unless they say otherwise themselves.
        let together = spans.len() > 1
            && self.session.transaction() == TransactionState::Idle
            && spans.iter().all(|span| may_share_a_block(&text[span.clone()]));
        if together {
            let begun = match self.keep_portals().await {
                Ok(_) => self.quietly("BEGIN").await,
                Err(fault) => Err(fault.into()),
            };
            if let Err(End::Fault(fault)) = &begun {
                self.refuse(fault, "", "").await;
            }
            begun?;
        }
        for span in spans {
            let statement = &text[span.clone()];
            if let Err(end) = self.one(statement).await {
                if let End::Fault(fault) = &end
                    && !fault.fatal
                {
                    self.refuse(fault, statement, &text[..span.start]).await;
                    if together {
                        self.quietly("ROLLBACK").await?;
                    }
                }
                return Err(end);
            }
        }
        if together {
            let committed = match self.keep_portals().await {
                Ok(_) => self.quietly("COMMIT").await,
                Err(fault) => Err(fault.into()),
            };
            match &committed {
                Ok(()) => self.settle_portals("COMMIT"),
                Err(End::Fault(fault)) => self.refuse(fault, "", "").await,
                Err(End::Gone) => {}
            }
            return committed;
        }
        Ok(())
    }

    /// Carries out a statement of the server's own, whose answer nobody sees.
    async fn quietly(&mut self, statement: &str) -> Result<(), End> {
        use futures::StreamExt;
        let mut answer = self.session.answer(statement);
        while let Some(event) = answer.next().await {
            event.map_err(Fault::from)?;
        }
        Ok(())
    }

    async fn one(&mut self, statement: &str) -> Result<(), End> {
        if let Some(about) = cursor::statement(statement) {
            let about = self.about_cursor(about, statement, &[]).await?;
            if let Outcome::Complete(tag) = self.simple_cursor(&about).await? {
                complete(&tag, &mut self.stream.output);
            }
            return Ok(());
        }
        self.make_way(statement).await?;
        let copies = match copy_stream_of(statement) {
            Some(CopyStream::In) => return self.copy_in(statement).await,
            copies => copies.is_some(),
        };
        let forgotten = self.forgotten(statement)?;
        let mut running = Running::new(self.session.answer(statement), vec![], true);
        if copies {
            running = running.copying(copying::Rows::of(statement));
        }
        if let Outcome::Complete(tag) = running.send(&mut self.stream, 0).await? {
            if copies {
                copying::end_out(&mut self.stream.output);
            }
            self.forget(forgotten);
            self.settle_portals(&tag);
            complete(&tag, &mut self.stream.output);
        }
        Ok(())
    }

    /// Lets another statement have the session.
    ///
    /// # Errors
    /// 53200 when portals have too many rows left.
    async fn make_way(&mut self, statement: &str) -> Result<(), Fault> {
        match self.keep_portals().await {
            // What ends the block ends its portals.
            Err(_) if ends_block(statement) => {
                self.close_unless(|portal| !portal.running.as_ref().is_some_and(Running::is_suspended));
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// What is committed leaves only what was declared to outlast it, and what is rolled back, to a savepoint too, not even that.
    fn settle_portals(&mut self, tag: &str) {
        if tag == "COMMIT" {
            self.close_unless(|portal| portal.held.is_some());
            self.portals.values_mut().for_each(|portal| portal.held = Some(Held::Kept));
        } else if tag == "ROLLBACK" {
            self.close_unless(|portal| portal.held == Some(Held::Kept));
        }
    }

    fn close_unless(&mut self, stays: impl Fn(&Portal) -> bool) {
        self.portals.extract_if(|_, portal| !stays(portal)).for_each(|(_, portal)| portal.close());
    }

    fn close_portal(&mut self, name: &str) {
        self.portals.remove(name).into_iter().for_each(Portal::close);
    }

    /// What a statement has the connection forget.
    ///
    /// # Errors
    /// 26000 for what is not there.
    fn forgotten(&self, statement: &str) -> Result<Option<Forgotten>, Fault> {
        let forgotten = forgotten_by(statement);
        if let Some(Forgotten::One(name)) = &forgotten {
            self.statement(name)?;
        }
        Ok(forgotten)
    }

    fn forget(&mut self, forgotten: Option<Forgotten>) {
        match forgotten {
            Some(Forgotten::All) => self.statements.clear(),
            Some(Forgotten::One(name)) => drop(self.statements.remove(&name)),
            None => {}
        }
    }

    async fn copy_in(&mut self, statement: &str) -> Result<(), End> {
        let patience = self.patience(true);
        let tag = copying::receive(&mut self.stream, &self.session, statement, &patience).await?;
        complete(&tag, &mut self.stream.output);
        Ok(())
    }

    async fn parse(&mut self, parse: Parse) -> Result<(), End> {
        let name = parse.name.unwrap_or_default();
        if !name.is_empty() && self.statements.contains_key(&name) {
            let message = format!("there is a prepared statement \"{name}\" already");
            return Err(Fault::new(SqlState::DuplicatePreparedStatement, message).into());
        }
        if self.statements.len() >= PREPARED_MAX {
            let message = format!("a connection has {PREPARED_MAX} prepared statements at the most");
            return Err(Fault::new(SqlState::ProgramLimitExceeded, message).into());
        }
        let types: Vec<_> = parse.type_oids.iter().map(|oid| declared(*oid)).collect();
        let work = match self.read(&parse.query, &types).await {
            Ok(work) => work,
            Err(fault) => {
                self.refuse(&fault, &parse.query, "").await;
                self.skips = true;
                return Ok(());
            }
        };
        self.statements.insert(name, Statement { work, declared: parse.type_oids.into() });
        self.stream.output.extend_from_slice(&[b'1', 0, 0, 0, 4]);
        Ok(())
    }

    async fn read(&mut self, text: &str, types: &[Option<ColumnType>]) -> Result<Work, Fault> {
        if evenkeel_pql::split(text).all().next().is_none() {
            return Ok(Work::Nothing);
        }
        if let Some(about) = cursor::statement(text) {
            return Ok(Work::Cursor(Arc::new(self.about_cursor(about, text, types).await?)));
        }
        self.make_way(text).await?;
        Ok(Work::Statement(Arc::new(self.session.parse(text, types).await?)))
    }

    /// # Errors
    /// 42P03 where there is one of this name, 54000 where there are too many.
    pub(crate) fn check_new_portal(&self, name: &str) -> Result<(), Fault> {
        if !name.is_empty() && self.portals.contains_key(name) {
            let message = format!("there is a portal \"{name}\" already");
            return Err(Fault::new(SqlState::DuplicateCursor, message));
        }
        if self.portals.len() >= PREPARED_MAX {
            let message = format!("a connection has {PREPARED_MAX} portals at the most");
            return Err(Fault::new(SqlState::ProgramLimitExceeded, message));
        }
        Ok(())
    }

    async fn bind(&mut self, bind: &Bind) -> Result<(), End> {
        let name = bind.portal_name.clone().unwrap_or_default();
        self.check_new_portal(&name)?;
        let work = self.statement(bind.statement_name.as_deref().unwrap_or_default())?.work.clone();
        let types = work.parameters();
        if bind.parameters.len() != types.len() {
            let message = format!(
                "the statement has {} parameters, and {} values were given",
                types.len(),
                bind.parameters.len()
            );
            return Err(Fault::new(SqlState::ProtocolViolation, message).into());
        }
        let codes = formats(&bind.parameter_format_codes, types.len())?;
        let values = types.iter().zip(codes).zip(&bind.parameters);
        let parameters = values
            .map(|((column, format), bytes)| decode::value(column, format, bytes.as_deref()))
            .collect::<Result<_, Fault>>()?;
        let columns = self.columns(&work).map_or(0, |columns| columns.fields().len());
        let formats = match columns {
            0 => vec![],
            columns => formats(&bind.result_column_format_codes, columns)?,
        };
        self.close_portal(&name);
        self.portals.insert(name, Portal { work, parameters, formats, running: None, held: None, fetched: 0 });
        self.stream.output.extend_from_slice(&[b'2', 0, 0, 0, 4]);
        Ok(())
    }

    /// The columns of what an Execute would send.
    fn columns<'c>(&'c self, work: &'c Work) -> Option<&'c SchemaRef> {
        match work {
            Work::Nothing => None,
            Work::Statement(statement) => statement.columns(),
            Work::Cursor(about) => match &about.verb {
                Verb::Fetch { name, .. } => self.cursor_columns(name),
                Verb::Declare { .. } | Verb::Close(_) => None,
            },
        }
    }

    fn statement(&self, name: &str) -> Result<&Statement, Fault> {
        self.statements.get(name).ok_or_else(|| {
            Fault::new(SqlState::InvalidStatementName, format!("there is no prepared statement \"{name}\""))
        })
    }

    fn describe(&mut self, what: &Describe) -> Result<(), End> {
        let name = what.name.as_deref().unwrap_or_default();
        let (work, formats) = match what.target_type {
            b'S' => {
                let statement = self.statement(name)?;
                let (work, types) = (statement.work.clone(), statement.parameter_oids());
                let out = &mut self.stream.output;
                out.put_u8(b't');
                out.put_i32(types.len() as i32 * 4 + 6);
                out.put_i16(types.len() as i16);
                types.iter().for_each(|oid| out.put_u32(*oid));
                (work, vec![])
            }
            b'P' => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.work.clone(), portal.formats.clone())
            }
            _ => return Err(Fault::protocol("only statements and portals are described").into()),
        };
        let columns = self.columns(&work).map(Arc::clone);
        let out = &mut self.stream.output;
        match columns {
            Some(columns) => describe(&columns, &formats, out),
            None => out.extend_from_slice(&[b'n', 0, 0, 0, 4]),
        }
        Ok(())
    }

    async fn execute(&mut self, execute: &Execute) -> Result<(), End> {
        let name = execute.name.clone().unwrap_or_default();
        let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        let max = execute.max_rows.max(0) as usize;
        let work = portal.work.clone();
        let (text, outcome) = match &work {
            Work::Nothing => {
                self.stream.output.extend_from_slice(&[b'I', 0, 0, 0, 4]);
                self.portals.insert(name, portal);
                return Ok(());
            }
            Work::Statement(statement) => {
                let forgotten = self.forgotten(statement.text())?;
                let outcome = self.fetch(&mut portal, statement, max).await;
                if matches!(outcome, Ok(Outcome::Complete(_))) {
                    self.forget(forgotten);
                }
                (statement.text(), outcome)
            }
            Work::Cursor(about) => {
                let Portal { parameters, formats, fetched, running, .. } = &mut portal;
                let outcome = match running {
                    None => self.carry_out_cursor(about, parameters, formats, *fetched, max).await,
                    // As of any answer that is at its end.
                    Some(_) if about.is_fetch() => Ok(Outcome::Complete("FETCH 0".to_string())),
                    Some(over) => over.send(&mut self.stream, max).await,
                };
                match &outcome {
                    Ok(Outcome::Suspended) => *fetched += max,
                    Ok(Outcome::Complete(tag)) => *running = Some(Running::over(tag.clone())),
                    Err(_) => {}
                }
                (about.text.as_str(), outcome)
            }
        };
        match outcome {
            Ok(Outcome::Complete(tag)) => {
                self.settle_portals(&tag);
                complete(&tag, &mut self.stream.output);
            }
            Ok(Outcome::Suspended) => self.stream.output.extend_from_slice(&[b's', 0, 0, 0, 4]),
            Err(End::Fault(fault)) if !fault.fatal => {
                drop(portal);
                self.refuse(&fault, text, "").await;
                self.skips = true;
                return Ok(());
            }
            Err(end) => return Err(end),
        }
        self.portals.insert(name, portal);
        Ok(())
    }

    async fn fetch(&mut self, portal: &mut Portal, statement: &Arc<Parsed>, max: usize) -> Result<Outcome, End> {
        if portal.running.is_none() {
            self.keep_portals().await?;
            if statement.copy_stream() == Some(CopyStream::In) {
                let patience = self.patience(true);
                let tag = copying::receive(&mut self.stream, &self.session, statement.text(), &patience).await?;
                portal.running = Some(Running::over(tag.clone()));
                return Ok(Outcome::Complete(tag));
            }
            let answer = self.session.carry_out(statement, portal.parameters.clone());
            let mut running = Running::new(answer, portal.formats.clone(), false);
            if statement.copy_stream().is_some() {
                running = running.copying(copying::Rows::of(statement.text()));
            }
            portal.running = Some(running);
        }
        if self.session.transaction() == TransactionState::Failed && !statement.ends_block() {
            return Err(cursor::in_failed_block().into());
        }
        let Some(running) = &mut portal.running else { return Ok(Outcome::Suspended) };
        running.change_formats(&portal.formats)?;
        let outcome = running.send(&mut self.stream, max).await?;
        if statement.copy_stream() == Some(CopyStream::Out) {
            copying::end_out(&mut self.stream.output);
        }
        Ok(outcome)
    }

    /// Reads what is left of portals that are not fetched to their end: a session carries out one statement at a time. Returns
    /// how many bytes more could be kept.
    ///
    /// # Errors
    /// 53200 when there is too much left; what does not fit is closed.
    pub(crate) async fn keep_portals(&mut self) -> Result<usize, Fault> {
        let running = self.portals.iter_mut().filter_map(|(name, portal)| Some((name, portal.running.as_mut()?)));
        let (open, kept): (Vec<_>, Vec<_>) = running.partition(|(_, running)| running.is_suspended());
        let mut left = KEPT_BYTES_MAX.saturating_sub(kept.iter().map(|(_, running)| running.bytes()).sum());
        for (name, running) in open {
            if let Err(mut fault) = running.keep(left).await {
                let name = name.clone();
                self.close_portal(&name);
                // Its place is one in another text.
                fault.error.span = None;
                return Err(fault);
            }
            left = left.saturating_sub(running.bytes());
        }
        Ok(left)
    }

    fn close(&mut self, close: &Close) {
        let name = close.name.as_deref().unwrap_or_default();
        // Closing what is not there is no error.
        if close.target_type == b'S' {
            self.statements.remove(name);
        } else {
            self.close_portal(name);
        }
        self.stream.output.extend_from_slice(&[b'3', 0, 0, 0, 4]);
    }
}

/// How long a client may be silent, and what it is told then; `None` for as long as it likes.
pub(crate) struct Patience(Option<(Duration, Fault)>);

impl Patience {
    /// Resolves when it has ended, from now on.
    pub(crate) async fn ends(&self) -> Fault {
        match &self.0 {
            Some((limit, fault)) => {
                tokio::time::sleep(*limit).await;
                fault.clone()
            }
            None => std::future::pending().await,
        }
    }
}

fn no_portal(name: &str) -> Fault {
    Fault::new(SqlState::InvalidCursorName, format!("there is no portal \"{name}\""))
        .with_hint("portals end with their transaction; BEGIN keeps one open")
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Startup(_) | Message::SslNegotiation(_) => "start-up",
        Message::PasswordMessageFamily(_) => "password",
        Message::CancelRequest(_) => "cancel request",
        _ => "unknown",
    }
}

/// Appends a message that is nothing but a kind and a text.
pub(crate) fn put_text(kind: u8, parts: &[&str], out: &mut BytesMut) {
    out.put_u8(kind);
    out.put_i32(parts.iter().map(|part| part.len() as i32 + 1).sum::<i32>() + 4);
    for part in parts {
        out.put_slice(part.as_bytes());
        out.put_u8(0);
    }
}
