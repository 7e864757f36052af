//! Statements under way: their parameters, and how far the client has fetched their rows.

use crate::encode::{Format, Rows, describe};
use crate::error::Fault;
use crate::stream::{End, Stream};
use bytes::{BufMut, BytesMut};
use evenkeel_engine::{Answer, Event, Parsed, Progress, ScalarValue};
use evenkeel_model::{Error, SqlState};
use futures::StreamExt;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of a portal that is not fetched to its end are kept in memory, up to this, when another statement runs.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Progress is told so often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A statement with its parameters.
pub(crate) struct Portal {
    /// `None` for an empty text.
    pub(crate) statement: Option<Arc<Parsed>>,
    pub(crate) parameters: Vec<ScalarValue>,
    pub(crate) formats: Vec<Format>,
    pub(crate) running: Option<Running>,
}

/// A statement whose answer is being read.
pub(crate) struct Running {
    answer: Option<Answer>,
    kept: VecDeque<Event>,
    rows: Option<Rows>,
    formats: Vec<Format>,
    /// Whether the columns are described before the rows.
    describes: bool,
    sent: u64,
    has_rows: bool,
    told: Option<Instant>,
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
        let (kept, rows, sent, told) = (VecDeque::new(), None, 0, None);
        Self { answer: Some(answer), kept, rows, formats, describes, sent, has_rows: false, told }
    }

    /// Sends rows: all, or `max` at the most, where that is not 0.
    pub(crate) async fn send(&mut self, stream: &mut Stream, max: usize) -> Result<Outcome, End> {
        let mut left = if max == 0 { usize::MAX } else { max };
        loop {
            if let Some(rows) = &mut self.rows {
                while left > 0 && rows.write(&mut stream.output)? {
                    left -= 1;
                    self.sent += 1;
                    stream.relieve().await?;
                }
                if !rows.is_empty() {
                    return Ok(Outcome::Suspended);
                }
                self.rows = None;
            }
            match self.next(stream).await? {
                None => return Err(Fault::from(Error::internal("an answer has no end")).into()),
                Some(Event::Schema(schema)) => {
                    self.has_rows = true;
                    if self.describes {
                        describe(&schema, &self.formats, &mut stream.output);
                    }
                }
                Some(Event::Batch(batch)) => self.rows = Some(Rows::new(&batch, &self.formats)?),
                Some(Event::Notice { message, hint }) => {
                    crate::error::notice(&message, hint.as_deref(), &mut stream.output);
                }
                Some(Event::Progress(progress)) => self.tell(&progress, stream).await?,
                Some(Event::CopyIn(_)) => {}
                Some(Event::Copy(bytes)) => {
                    stream.output.put_u8(b'd');
                    stream.output.put_i32(bytes.len() as i32 + 4);
                    stream.output.extend_from_slice(&bytes);
                    stream.relieve().await?;
                }
                Some(Event::Complete(tag)) => {
                    self.answer = None;
                    return Ok(Outcome::Complete(self.tag(tag)));
                }
            }
        }
    }

    /// What is fetched in parts is counted in parts.
    fn tag(&self, tag: String) -> String {
        match tag.split_once(' ') {
            Some(("SELECT", _)) if self.has_rows => format!("SELECT {}", self.sent),
            _ => tag,
        }
    }

    async fn next(&mut self, stream: &mut Stream) -> Result<Option<Event>, End> {
        if let Some(event) = self.kept.pop_front() {
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
        let due = self.told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY);
        if due {
            // A short statement says nothing.
            if self.told.replace(Instant::now()).is_some() {
                crate::error::notice(&progress.to_string(), None, &mut stream.output);
                stream.flush().await?;
            }
        }
        Ok(())
    }

    /// Reads the rest of the answer, so that another statement can run.
    ///
    /// # Errors
    /// 53200 when there is too much of it.
    pub(crate) async fn keep(&mut self) -> Result<(), Fault> {
        let mut bytes = 0;
        while let Some(answer) = &mut self.answer {
            let Some(event) = answer.next().await.transpose()? else { break };
            if let Event::Batch(batch) = &event {
                bytes += batch.get_array_memory_size();
            }
            if bytes > KEPT_BYTES_MAX {
                self.answer = None;
                return Err(Fault::new(SqlState::OutOfMemory, "a portal has too many rows left to keep them")
                    .with_hint("fetch it to its end, or close it, before another statement runs"));
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

/// Appends a CommandComplete.
pub(crate) fn complete(tag: &str, out: &mut BytesMut) {
    out.put_u8(b'C');
    out.put_i32(tag.len() as i32 + 5);
    out.put_slice(tag.as_bytes());
    out.put_u8(0);
}
