//! Statements under way: their parameters, and how far the client has fetched their rows.

use crate::copying;
use crate::cursor::AboutCursor;
use crate::encode::{Format, Rows, describe};
use crate::error::Fault;
use crate::stream::{End, Stream};
use arrow::record_batch::RecordBatch;
use bytes::{BufMut, BytesMut};
use evenkeel_engine::{Answer, Event, Parsed, ScalarValue};
use evenkeel_model::{ColumnType, Error, Progress, SqlState};
use futures::StreamExt;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of portals that are not fetched to their end are kept in memory when another statement runs: up to this for all
/// portals of a connection together.
pub(crate) const KEPT_BYTES_MAX: usize = 64 << 20;
/// Progress is told so often to people.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// And so often, of each thing that is under way, to clients that draw it.
const PROGRESS_DRAWN_EVERY: Duration = Duration::from_millis(100);

/// What a prepared statement or a portal does.
#[derive(Clone)]
pub(crate) enum Work {
    /// An empty text.
    Nothing,
    Statement(Arc<Parsed>),
    Cursor(Arc<AboutCursor>),
}

impl Work {
    /// The types of `$1`, `$2` ….
    pub(crate) fn parameters(&self) -> &[ColumnType] {
        match self {
            Work::Nothing => &[],
            Work::Statement(statement) => statement.parameters(),
            Work::Cursor(about) => about.parameters(),
        }
    }
}

/// A statement with its parameters.
pub(crate) struct Portal {
    pub(crate) work: Work,
    pub(crate) parameters: Vec<ScalarValue>,
    pub(crate) formats: Vec<Format>,
    pub(crate) running: Option<Running>,
    /// `None` for one that ends with its transaction.
    pub(crate) held: Option<Held>,
    /// Rows that a FETCH has sent.
    pub(crate) fetched: usize,
}

impl Portal {
    /// Ends it. A query whose other rows nobody wants has failed nothing.
    pub(crate) fn close(self) {
        let is_query = matches!(&self.work, Work::Statement(statement) if statement.is_query());
        if let Some(answer) = self.running.and_then(|running| running.answer).filter(|_| is_query) {
            answer.abandon();
        }
    }
}

/// What becomes of a portal that outlasts its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Its block is open: what is rolled back takes it along.
    IfCommitted,
    Kept,
}

/// A statement whose answer is being read.
pub(crate) struct Running {
    answer: Option<Answer>,
    kept: VecDeque<Event>,
    /// The batch that is being sent.
    rows: Option<(Rows, RecordBatch)>,
    /// Bytes of the batches in `kept`, and of the one that is being sent.
    kept_bytes: usize,
    rows_bytes: usize,
    formats: Vec<Format>,
    /// Whether the columns are described before the rows.
    describes: bool,
    has_rows: bool,
    /// How the rows of a COPY TO STDOUT become messages.
    copied: Option<copying::Rows>,
    /// The tag of an answer that has been read to its end.
    ended: Option<String>,
    /// When progress was last told: of what, where each thing counts by itself.
    told: HashMap<String, Instant>,
}

/// How an answer goes on.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It has ended, with this tag.
    Complete(String),
    /// As many rows as were asked for have been sent.
    Suspended,
}

impl Running {
    pub(crate) fn new(answer: Answer, formats: Vec<Format>, describes: bool) -> Self {
        let (kept, rows, ended, told) = (VecDeque::new(), None, None, HashMap::new());
        let (kept_bytes, rows_bytes, has_rows) = (0, 0, false);
        Self {
            answer: Some(answer),
            kept,
            rows,
            kept_bytes,
            rows_bytes,
            formats,
            describes,
            has_rows,
            copied: None,
            ended,
            told,
        }
    }

    /// The answer of a COPY TO STDOUT.
    pub(crate) fn copying(self, rows: copying::Rows) -> Self {
        Self { copied: Some(rows), ..self }
    }

    /// What has been carried out, with this tag.
    pub(crate) fn over(tag: String) -> Self {
        let (kept, formats) = (VecDeque::new(), vec![]);
        let (rows, told, ended) = (None, HashMap::new(), Some(tag));
        let (kept_bytes, rows_bytes, describes, has_rows) = (0, 0, false, false);
        let (answer, copied) = (None, None);
        Self { answer, kept, rows, kept_bytes, rows_bytes, formats, describes, has_rows, copied, ended, told }
    }

    /// Carries it out up to where it has rows: whatever is done from here on, its rows are those of now.
    pub(crate) async fn begin(&mut self) -> Result<(), Fault> {
        while let Some(answer) = &mut self.answer {
            let Some(event) = answer.next().await.transpose()? else { break };
            let has_begun = matches!(event, Event::Schema(_) | Event::Complete(_));
            if !matches!(event, Event::Progress(_)) {
                self.kept.push_back(event);
            }
            if has_begun {
                break;
            }
        }
        Ok(())
    }

    /// From the next row on, values go in these formats; in those of before where there are none.
    ///
    /// # Errors
    /// XX000 for a batch that is not of its schema.
    pub(crate) fn change_formats(&mut self, formats: &[Format]) -> Result<(), Fault> {
        if self.formats != formats {
            self.formats = formats.to_vec();
            if let Some((rows, batch)) = &mut self.rows {
                *rows = rows.in_formats(batch, formats)?;
            }
        }
        Ok(())
    }

    /// Sends rows: all, or `max` at the most, where that is not 0. Where there are no more, it says once more that it is
    /// complete, with no rows.
    ///
    /// # Errors
    /// Those of the statement; 55000 where it has been carried out and has no rows that more could be fetched of.
    pub(crate) async fn send(&mut self, stream: &mut Stream, max: usize) -> Result<Outcome, End> {
        if let Some(tag) = &self.ended {
            return Ok(self.again(tag)?);
        }
        let most = if max == 0 { usize::MAX } else { max };
        let mut sent = 0;
        loop {
            if let Some((rows, _)) = &mut self.rows {
                while sent < most && rows.write(&mut stream.output)? {
                    sent += 1;
                    stream.relieve().await?;
                }
                if !rows.is_empty() {
                    return Ok(Outcome::Suspended);
                }
                (self.rows, self.rows_bytes) = (None, 0);
            }
            match self.next(stream).await? {
                None => return Err(Fault::from(Error::internal("an answer has no end")).into()),
                Some(Event::Schema(schema)) => {
                    self.has_rows = true;
                    if self.describes {
                        describe(&schema, &self.formats, &mut stream.output);
                    }
                }
                Some(Event::Batch(batch)) => {
                    self.rows_bytes = batch.get_array_memory_size();
                    self.rows = Some((Rows::new(&batch, &self.formats)?, batch));
                }
                Some(Event::Notice { message, hint }) => {
                    crate::error::notice(&message, hint.as_deref(), &mut stream.output);
                }
                Some(Event::Progress(progress)) => self.tell(&progress, stream).await?,
                Some(Event::Copying(columns)) => {
                    copying::begin_out(columns, &mut stream.output);
                }
                Some(Event::Copy(bytes)) => {
                    if let Some(copied) = &mut self.copied {
                        copied.put(&bytes, &mut stream.output);
                    }
                    stream.relieve().await?;
                }
                Some(Event::Complete(tag)) => {
                    self.answer = None;
                    self.ended = Some(tag.clone());
                    return Ok(Outcome::Complete(self.tag(tag, sent)));
                }
            }
        }
    }

    /// What is fetched in parts is counted in parts: each says how many rows it had.
    fn tag(&self, tag: String, sent: usize) -> String {
        match tag.split_once(' ') {
            Some(("SELECT", _)) if self.has_rows => format!("SELECT {sent}"),
            _ => tag,
        }
    }

    /// What is said of an answer that has been read to its end, with this tag.
    fn again(&self, tag: &str) -> Result<Outcome, Fault> {
        if self.has_rows {
            return Ok(Outcome::Complete(self.tag(tag.to_string(), 0)));
        }
        Err(Fault::new(SqlState::ObjectNotInPrerequisiteState, "the portal has been carried out already")
            .with_hint("bind the statement again to carry it out once more"))
    }

    async fn next(&mut self, stream: &mut Stream) -> Result<Option<Event>, End> {
        if let Some(event) = self.kept.pop_front() {
            if let Event::Batch(batch) = &event {
                self.kept_bytes -= batch.get_array_memory_size();
            }
            return Ok(Some(event));
        }
        let Some(answer) = &mut self.answer else { return Ok(None) };
        // What is there at once needs no look at the socket.
        if let Some(event) = futures::FutureExt::now_or_never(answer.next()) {
            return Ok(event.transpose().map_err(Fault::from)?);
        }
        let gone = {
            let watched = stream.watch();
            tokio::select! {
                biased;
                event = answer.next() => return Ok(event.transpose().map_err(Fault::from)?),
                () = watched => true,
            }
        };
        debug_assert!(gone, "the other way out has returned");
        answer.cancel();
        while answer.next().await.is_some() {}
        Err(End::Gone)
    }

    /// Progress as a notice, now and then: whoever waits sees that something happens.
    async fn tell(&mut self, progress: &Progress, stream: &mut Stream) -> Result<(), End> {
        let (what, every) = match stream.extended {
            true => (progress.label.as_str(), PROGRESS_DRAWN_EVERY),
            false => ("", PROGRESS_EVERY),
        };
        if self.told.get(what).is_some_and(|told| told.elapsed() < every) {
            return Ok(());
        }
        let first = self.told.insert(what.to_string(), Instant::now()).is_none();
        // To people a short statement says nothing.
        if stream.extended || !first {
            crate::error::progress(progress, stream);
            stream.flush().await?;
        }
        Ok(())
    }

    /// Whether the statement waits for its rows to be fetched, and keeps what it reads from going away.
    pub(crate) fn is_suspended(&self) -> bool {
        self.answer.is_some()
    }

    /// Bytes of rows that are in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.kept_bytes + self.rows_bytes
    }

    /// Reads the rest of the answer, so that another statement can run: so many bytes of it at the most.
    ///
    /// # Errors
    /// 53200 when there is more.
    pub(crate) async fn keep(&mut self, bytes_max: usize) -> Result<(), Fault> {
        while let Some(answer) = &mut self.answer {
            let Some(event) = answer.next().await.transpose()? else { break };
            if let Event::Batch(batch) = &event {
                self.kept_bytes += batch.get_array_memory_size();
            }
            if self.bytes() > bytes_max {
                return Err(Fault::new(SqlState::OutOfMemory, "portals have too many rows left to keep them")
                    .with_detail(format!("{} MiB may be kept for a connection", KEPT_BYTES_MAX >> 20))
                    .with_hint("fetch portals to their end, or close them, before another statement runs"));
            }
            let complete = matches!(event, Event::Complete(_));
            if !matches!(event, Event::Progress(_)) {
                self.kept.push_back(event);
            }
            if complete {
                self.answer = None;
            }
        }
        Ok(())
    }
}

/// Appends a CommandComplete. Clients count the rows of the commands that they know: an UPSERT is an INSERT to them.
pub(crate) fn complete(tag: &str, out: &mut BytesMut) {
    let tag = tag.strip_prefix("UPSERT ").map_or(Cow::Borrowed(tag), |rows| Cow::Owned(format!("INSERT 0 {rows}")));
    out.put_u8(b'C');
    out.put_i32(tag.len() as i32 + 5);
    out.put_slice(tag.as_bytes());
    out.put_u8(0);
}
