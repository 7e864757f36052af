//! A statement's answer, as bytes that an HTTP client takes.
//!
//! Nothing is said about the status before the first rows are there: what fails until then is a problem. Later there is
//! no status to give any more; the answer breaks off, which a client sees from the missing end.

use crate::problem::Problem;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use evenkeel_engine::{Answer, Event, JsonRows, Session, TransactionState, field_type};
use evenkeel_model::{Error, SqlState};
use futures::StreamExt;
use serde::Serialize;
use std::io;
use std::sync::Arc;
use utoipa::ToSchema;

/// An answer in one JSON document is not longer than this: it is gathered before it is sent.
const JSON_BYTES_MAX: usize = 64 << 20;

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const ARROW: &str = "application/vnd.apache.arrow.stream";

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Ndjson,
    Arrow,
}

impl Format {
    /// What the client takes most willingly, JSON where it does not care.
    ///
    /// # Errors
    /// 406 where it takes nothing that there is.
    pub(crate) fn wanted(headers: &HeaderMap) -> Result<Self, Problem> {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let all = values.collect::<Vec<_>>().join(",");
        if all.trim().is_empty() {
            return Ok(Self::Json);
        }
        let mut best: Option<(f32, Self)> = None;
        for part in all.split(',') {
            let mut words = part.split(';').map(str::trim);
            let format = match words.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "*/*" | "application/*" | JSON => Self::Json,
                NDJSON | "application/ndjson" | "application/jsonl" => Self::Ndjson,
                ARROW => Self::Arrow,
                _ => continue,
            };
            let quality = words.find_map(|word| word.strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0);
            if quality > best.map_or(0.0, |(best, _)| best) {
                best = Some((quality, format));
            }
        }
        let nothing = || Problem::http(StatusCode::NOT_ACCEPTABLE, format!("rows come as {JSON}, {NDJSON} or {ARROW}"));
        best.map(|(_, format)| format).ok_or_else(nothing)
    }
}

/// Something worth saying that is not an error.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Notice {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// A column of an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Column {
    name: String,
    /// Its type in PQL.
    r#type: String,
}

impl Column {
    fn of(field: &Field) -> Self {
        let r#type = field_type(field).map_or_else(|| field.data_type().to_string(), |found| found.to_string());
        Self { name: field.name().clone(), r#type }
    }
}

/// A statement that is being answered.
pub(crate) struct Reading {
    session: Session,
    answer: Answer,
    statement: String,
    pub(crate) schema: Option<SchemaRef>,
    pub(crate) notices: Vec<Notice>,
    /// PostgreSQL's command tag, at the end.
    pub(crate) tag: Option<String>,
    first: Option<RecordBatch>,
}

impl Reading {
    /// Reads up to the first rows, or to the end.
    pub(crate) async fn begin(session: Session, answer: Answer, statement: &str) -> Result<Self, Problem> {
        let (notices, statement) = (Vec::new(), statement.to_string());
        let mut reading = Self { session, answer, statement, schema: None, notices, tag: None, first: None };
        reading.first = reading.next().await?;
        Ok(reading)
    }

    /// The next rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, Problem> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while self.tag.is_none() {
            match self.answer.next().await {
                Some(Ok(Event::Schema(schema))) => self.schema = Some(schema),
                Some(Ok(Event::Batch(batch))) => return Ok(Some(batch)),
                Some(Ok(Event::Notice { message, hint })) => self.notices.push(Notice { message, hint }),
                Some(Ok(Event::Progress(_) | Event::Copy(_) | Event::Copying(_))) => {}
                Some(Ok(Event::Complete(tag))) => self.tag = Some(tag),
                Some(Err(error)) => return Err(Problem::of(error, &self.statement)),
                None => return Err(Error::internal("the answer has no end").into()),
            }
        }
        if self.session.transaction() != TransactionState::Idle {
            return Err(Error::unsupported("a transaction block ends with its call, and nothing of it is kept")
                .with_hint("a statement is a transaction of its own; over the PostgreSQL protocol there are blocks")
                .into());
        }
        Ok(None)
    }

    /// All rows as objects.
    pub(crate) async fn objects(mut self) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, Problem> {
        let mut objects = Vec::new();
        while let Some(batch) = self.next().await? {
            let lines = JsonRows::new(batch.schema_ref()).objects(&batch)?;
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let object = serde_json::from_slice(line);
                objects.push(object.map_err(|error| Error::internal(format!("a row is no object: {error}")))?);
            }
        }
        Ok(objects)
    }

    /// The answer in a format.
    pub(crate) async fn respond(self, format: Format) -> Result<Response, Problem> {
        match format {
            Format::Json => self.document().await,
            Format::Ndjson => {
                let rows = JsonRows::new(&self.schema_or_none());
                Ok(self.stream(NDJSON, Encoder::Ndjson(rows)))
            }
            Format::Arrow => {
                let failed = |error| Error::internal(format!("the rows are no Arrow stream: {error}"));
                let writer = StreamWriter::try_new(Vec::new(), &self.schema_or_none()).map_err(failed)?;
                Ok(self.stream(ARROW, Encoder::Arrow(Box::new(writer))))
            }
        }
    }

    fn schema_or_none(&self) -> SchemaRef {
        self.schema.clone().unwrap_or_else(|| Arc::new(Schema::empty()))
    }

    async fn document(mut self) -> Result<Response, Problem> {
        let mut rows = Vec::new();
        while let Some(batch) = self.next().await? {
            rows.extend(JsonRows::arrays(&batch)?);
            if rows.len() > JSON_BYTES_MAX {
                let message = format!("the answer has more than {} MiB", JSON_BYTES_MAX >> 20);
                let error = Error::new(SqlState::ProgramLimitExceeded, message);
                return Err(error.with_hint(format!("Accept: {NDJSON} or {ARROW} streams it")).into());
            }
        }
        // The last row's comma.
        rows.pop();
        let columns: Vec<Column> =
            self.schema.iter().flat_map(|schema| schema.fields()).map(|field| Column::of(field)).collect();
        let text = |value: &dyn Fn() -> serde_json::Result<String>| {
            value().map_err(|error| Error::internal(format!("the answer is no JSON: {error}")))
        };
        let mut document = Vec::with_capacity(rows.len() + 256);
        document.extend_from_slice(b"{\"tag\":");
        document.extend_from_slice(text(&|| serde_json::to_string(&self.tag))?.as_bytes());
        document.extend_from_slice(b",\"columns\":");
        document.extend_from_slice(text(&|| serde_json::to_string(&columns))?.as_bytes());
        document.extend_from_slice(b",\"rows\":[");
        document.extend_from_slice(&rows);
        document.extend_from_slice(b"],\"notices\":");
        document.extend_from_slice(text(&|| serde_json::to_string(&self.notices))?.as_bytes());
        document.push(b'}');
        Ok(([(header::CONTENT_TYPE, JSON)], document).into_response())
    }

    fn stream(self, content_type: &'static str, encoder: Encoder) -> Response {
        let chunks = futures::stream::unfold(Some((self, encoder)), |state| async {
            let (mut reading, mut encoder) = state?;
            match reading.next().await {
                Ok(Some(batch)) => Some((encoder.batch(&batch), Some((reading, encoder)))),
                Ok(None) => Some((encoder.finish(), None)),
                Err(problem) => {
                    tracing::info!(?problem, "an answer broke off");
                    Some((Err(io::Error::other("the statement failed")), None))
                }
            }
        });
        ([(header::CONTENT_TYPE, content_type)], Body::from_stream(chunks)).into_response()
    }
}

/// Rows to bytes.
enum Encoder {
    Ndjson(JsonRows),
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Encoder {
    fn batch(&mut self, batch: &RecordBatch) -> io::Result<Bytes> {
        match self {
            Self::Ndjson(rows) => rows.objects(batch).map(Bytes::from).map_err(io::Error::other),
            Self::Arrow(writer) => {
                writer.write(batch).map_err(io::Error::other)?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
        }
    }

    fn finish(self) -> io::Result<Bytes> {
        match self {
            Self::Ndjson(_) => Ok(Bytes::new()),
            Self::Arrow(writer) => writer.into_inner().map(Bytes::from).map_err(io::Error::other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_format_is_taken() {
        let wanted = |accept: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            Format::wanted(&headers).ok()
        };
        assert_eq!(Format::wanted(&HeaderMap::new()).ok(), Some(Format::Json));
        assert_eq!(wanted("*/*"), Some(Format::Json));
        assert_eq!(wanted(NDJSON), Some(Format::Ndjson));
        assert_eq!(wanted("application/json;q=0.5, application/vnd.apache.arrow.stream"), Some(Format::Arrow));
        assert_eq!(wanted("text/html, application/x-ndjson;q=0.3"), Some(Format::Ndjson));
        assert_eq!(wanted("text/html"), None);
        assert_eq!(wanted("application/json;q=0"), None);
    }
}
