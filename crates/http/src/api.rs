//! What can be asked for, and its description in OpenAPI.
//!
//! One call is one statement: whoever may make the statement may make the call, and what it says is what the statement
//! answers. What a list's items look like is made from the catalog's tables.

use crate::answer::{ARROW, Column, Format, JSON, NDJSON, Notice, Reading};
use crate::events;
use crate::login::{self, Caller, TOKEN_LIFETIME};
use crate::page::{
    DECISIONS, JOBS, LISTS, List, MEASUREMENTS, MIGRATIONS, Page, Part, Row, SETTINGS, SHARDS, SLOTS, quoted,
};
use crate::problem::{Body, Path, Problem, ProblemBody, Query};
use crate::server::{Authentication, Peer, Shared};
use arrow::datatypes::DataType;
use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use evenkeel_engine::{ScalarValue, copy_stream_of, parse_value};
use evenkeel_model::{ColumnType, Error, SqlState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoParams, Modify, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A request's body is not longer than this.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Evenkeel",
        description = "One call is one statement of PQL, with the same rights and the same answer. Errors are problems \
                       (RFC 9457) with the statement's SQLSTATE. Lists are read page by page: `limit` says how many, \
                       `after` goes on behind the page whose `next` it was.",
    ),
    modifiers(&Finish),
    tags(
        (name = "statements", description = "Any statement"),
        (name = "login", description = "Tokens"),
        (name = "shards", description = "Where rows are, and what they do there"),
        (name = "jobs", description = "What moves rows"),
        (name = "settings", description = "What ALTER SYSTEM sets"),
        (name = "watching", description = "What happens, and how the process is")
    )
)]
struct Description;

/// What the derived description lacks.
struct Finish;

impl Modify for Finish {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme("password", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
        for list in LISTS {
            components.schemas.insert(list.item.to_string(), RefOr::T(Schema::Object(item(list).build())));
            let items = ArrayBuilder::new().items(Ref::from_schema_name(list.item));
            let page = ObjectBuilder::new()
                .property("items", items)
                .required("items")
                .property("next", text("What `after` has to be for the next page; absent on the last."));
            components.schemas.insert(format!("{}Page", list.item), RefOr::T(Schema::Object(page.build())));
        }
    }
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

/// An item of a list: a row of its table.
fn item(list: &List) -> ObjectBuilder {
    let table = list.system_table();
    let mut item = ObjectBuilder::new().description(Some(table.doc));
    for column in (table.columns)() {
        let (kind, format) = match column.data_type {
            DataType::Int64 => (Type::Integer, Some(KnownFormat::Int64)),
            DataType::Float64 => (Type::Number, Some(KnownFormat::Double)),
            DataType::Boolean => (Type::Boolean, None),
            DataType::Timestamp(..) => (Type::String, Some(KnownFormat::DateTime)),
            _ => (Type::String, None),
        };
        let kind = match column.nullable {
            true => SchemaType::from_iter([kind, Type::Null]),
            false => SchemaType::Type(kind),
        };
        let value = ObjectBuilder::new()
            .schema_type(kind)
            .format(format.map(SchemaFormat::KnownFormat))
            .description(Some(column.doc));
        item = item.property(column.name, value).required(column.name);
    }
    item
}

/// The routes of `/api/v1`.
pub(crate) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(pql))
        .routes(routes!(give_token, end_token))
        .routes(routes!(shards))
        .routes(routes!(shard))
        .routes(routes!(slots))
        .routes(routes!(locate))
        .routes(routes!(measurements))
        .routes(routes!(jobs, start_job))
        .routes(routes!(job))
        .routes(routes!(change_job))
        .routes(routes!(migrations))
        .routes(routes!(settings, change_settings))
        .routes(routes!(setting))
        .routes(routes!(decisions))
        .routes(routes!(events::events))
}

/// A statement.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatementBody {
    /// One statement of PQL or SQL.
    #[schema(example = "QUERY SYSTEM.SHARDS WHERE row_count > $1")]
    statement: String,
    /// The values of `$1`, `$2` … in their order: as JSON has them, or as text.
    #[serde(default)]
    #[schema(example = json!([1000]))]
    parameters: Vec<serde_json::Value>,
}

/// An answer as one document.
#[derive(Debug, Serialize, ToSchema)]
struct AnswerBody {
    /// PostgreSQL's command tag.
    #[schema(example = "SELECT 4")]
    tag: String,
    columns: Vec<Column>,
    /// Values in the order of the columns.
    rows: Vec<Vec<serde_json::Value>>,
    notices: Vec<Notice>,
}

#[utoipa::path(
    post,
    path = "/api/v1/pql",
    tag = "statements",
    operation_id = "statement",
    summary = "Carry out a statement",
    description = "`Accept` says how rows come: one JSON document, NDJSON (one object a line) or an Arrow IPC stream; the \
                   last two are sent as they are found, and break off where the statement fails later.",
    request_body = StatementBody,
    responses(
        (status = 200, description = "The answer", content(
            (AnswerBody = "application/json"),
            (String = "application/x-ndjson"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
async fn pql(caller: Caller, headers: HeaderMap, Body(body): Body<StatementBody>) -> Result<Response, Problem> {
    let format = Format::wanted(&headers)?;
    let (session, statement) = (caller.session, body.statement);
    if copy_stream_of(&statement).is_some() {
        let error = Error::unsupported("rows are not copied through this call")
            .with_hint(format!("a query answers in {JSON}, {NDJSON} or {ARROW}; the PostgreSQL protocol copies"));
        return Err(error.into());
    }
    let answer = if body.parameters.is_empty() {
        session.answer(&statement)
    } else {
        let said = |error| Problem::of(error, &statement);
        let parsed = session.parse(&statement, &[]).await.map_err(said)?;
        let (wanted, given) = (parsed.parameters(), &body.parameters);
        if wanted.len() != given.len() {
            let message = format!("the statement has {} parameters, not {}", wanted.len(), given.len());
            return Err(Error::new(SqlState::UndefinedParameter, message).into());
        }
        let values = wanted.iter().zip(given).map(|(column, value)| scalar(column, value));
        let values = values.collect::<Result<_, _>>()?;
        session.carry_out(&Arc::new(parsed), values)
    };
    Reading::begin(session, answer, &statement).await?.respond(format).await
}

/// A parameter's value.
fn scalar(column: &ColumnType, value: &serde_json::Value) -> Result<ScalarValue, Error> {
    match value {
        serde_json::Value::Null => Ok(ScalarValue::Null),
        serde_json::Value::String(text) => parse_value(column, text.as_bytes()),
        other => parse_value(column, other.to_string().as_bytes()),
    }
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
struct TokenBody {
    /// `Authorization: Bearer …` of the calls that follow.
    token: String,
    /// Seconds that it is good for.
    expires_in: u64,
}

#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    tag = "login",
    operation_id = "give_token",
    summary = "Give a token for a user and a password",
    description = "It ends after 12 hours, when the server ends, and when the user is dropped or gets another password.",
    responses(
        (status = 201, description = "A token", body = TokenBody),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("password" = []))
)]
async fn give_token(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    shared.takes_statements()?;
    if shared.authentication == Authentication::Trust {
        return Err(Error::new(SqlState::ObjectNotInPrerequisiteState, "the server asks nobody who they are")
            .with_hint("leave the token out")
            .into());
    }
    let token = login::token(&shared, &headers, peer).await?;
    let body = TokenBody { token, expires_in: TOKEN_LIFETIME.as_secs() };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

#[utoipa::path(
    delete,
    path = "/api/v1/tokens",
    tag = "login",
    operation_id = "end_token",
    summary = "End the token that the call is made with",
    responses(
        (status = 204, description = "It is good no more"),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
async fn end_token(State(shared): State<Arc<Shared>>, _caller: Caller, headers: HeaderMap) -> StatusCode {
    if let Some(token) = login::bearer(&headers) {
        shared.logins.forget(token);
    }
    StatusCode::NO_CONTENT
}

type Listed = Result<Json<Page>, Problem>;
type Found = Result<Json<Row>, Problem>;

macro_rules! list {
    ($name:ident, $list:ident, $path:literal, $tag:literal, $page:literal, $summary:literal) => {
        #[utoipa::path(
            get,
            path = $path,
            tag = $tag,
            summary = $summary,
            params(Part),
            responses(
                (status = 200, description = "A page", body = ref($page)),
                (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
            ),
            security((), ("token" = []))
        )]
        async fn $name(caller: Caller, Query(part): Query<Part>) -> Listed {
            $list.page(caller.session, &part, &[]).await.map(Json)
        }
    };
}

list!(shards, SHARDS, "/api/v1/shards", "shards", "#/components/schemas/ShardPage", "Shards");
list!(jobs, JOBS, "/api/v1/jobs", "jobs", "#/components/schemas/JobPage", "Jobs, oldest first");
list!(
    migrations,
    MIGRATIONS,
    "/api/v1/migrations",
    "jobs",
    "#/components/schemas/MigrationPage",
    "Migrations, oldest first"
);
list!(settings, SETTINGS, "/api/v1/settings", "settings", "#/components/schemas/SettingPage", "Settings");
list!(
    decisions,
    DECISIONS,
    "/api/v1/balancer/decisions",
    "watching",
    "#/components/schemas/DecisionPage",
    "What the balancer has decided, oldest first"
);
list!(
    measurements,
    MEASUREMENTS,
    "/api/v1/shards/measurements",
    "watching",
    "#/components/schemas/MeasurementPage",
    "Measurements of shards, oldest first"
);

macro_rules! one {
    ($name:ident, $list:ident, $path:literal, $tag:literal, $item:literal, $summary:literal) => {
        #[utoipa::path(
            get,
            path = $path,
            tag = $tag,
            summary = $summary,
            params(("id" = String, Path, description = "Its number, or its name")),
            responses(
                (status = 200, description = "It", body = ref($item)),
                (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
            ),
            security((), ("token" = []))
        )]
        async fn $name(caller: Caller, Path(id): Path<String>) -> Found {
            $list.one(caller.session, &id).await.map(Json)
        }
    };
}

one!(shard, SHARDS, "/api/v1/shards/{id}", "shards", "#/components/schemas/Shard", "A shard");
one!(job, JOBS, "/api/v1/jobs/{id}", "jobs", "#/components/schemas/Job", "A job");
one!(setting, SETTINGS, "/api/v1/settings/{id}", "settings", "#/components/schemas/Setting", "A setting");

/// Which slots.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SlotsOf {
    /// Only this shard's.
    shard: Option<i64>,
    /// Rows at most: 100 unless said, 1,000 at the most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Goes on behind the page that had this as its `next`.
    after: Option<String>,
}

#[utoipa::path(
    get,
    path = "/api/v1/slots",
    tag = "shards",
    summary = "Slots",
    params(SlotsOf),
    responses(
        (status = 200, description = "A page", body = ref("#/components/schemas/SlotPage")),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
async fn slots(caller: Caller, Query(SlotsOf { shard, limit, after }): Query<SlotsOf>) -> Listed {
    let conditions: Vec<_> = shard.map(|shard| format!("shard_id = {shard}")).into_iter().collect();
    SLOTS.page(caller.session, &Part { limit, after }, &conditions).await.map(Json)
}

/// Which row.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct KeyOf {
    /// The values of its primary key, or of its shard key, in JSON: `["UA", 1545]`; one value may stand by itself.
    key: String,
}

/// Where a row is, or would be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Place {
    /// The hash of the shard key, in hexadecimal.
    token: String,
    slot: i64,
    shard_id: i64,
    node_id: i64,
}

#[utoipa::path(
    get,
    path = "/api/v1/tables/{table}/locate",
    tag = "shards",
    summary = "Where a row is, by its key",
    params(("table" = String, Path, description = "A table's name"), KeyOf),
    responses(
        (status = 200, description = "Its place", body = Place),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
async fn locate(
    caller: Caller,
    Path(table): Path<String>,
    Query(KeyOf { key }): Query<KeyOf>,
) -> Result<Json<Place>, Problem> {
    // What is no JSON is a string without its quotes.
    let key = serde_json::from_str(&key).unwrap_or(serde_json::Value::String(key));
    let values = match &key {
        serde_json::Value::Array(values) => values.iter().map(literal).collect::<Result<Vec<_>, _>>()?,
        value => vec![literal(value)?],
    };
    let statement = format!("LOCATE {} KEY ({})", name(&table), values.join(", "));
    let answer = caller.session.answer(&statement);
    let found = Reading::begin(caller.session, answer, &statement).await?.objects().await?.pop();
    let place = found.map(|row| serde_json::from_value(serde_json::Value::Object(row)));
    let place = place.and_then(Result::ok).ok_or_else(|| Error::internal("LOCATE answers otherwise"))?;
    Ok(Json(place))
}

/// A name in PQL.
fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A value in PQL.
///
/// # Errors
/// 22023 for what no single value is.
fn literal(value: &serde_json::Value) -> Result<String, Error> {
    match value {
        serde_json::Value::String(text) => Ok(quoted(text)),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) | serde_json::Value::Null => Ok(value.to_string()),
        _ => Err(Error::new(SqlState::InvalidParameterValue, format!("{value} is not one value"))),
    }
}

/// What is to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum JobBody {
    /// `REBALANCE SHARDS WITH …`
    Rebalance {
        /// Options by name, such as `strategy`.
        #[serde(default)]
        #[schema(example = json!({"strategy": "adaptive"}))]
        options: BTreeMap<String, serde_json::Value>,
    },
    /// `SPLIT SHARD … INTO … AT LOAD MIDPOINT`
    Split {
        shard: u32,
        /// Two unless said.
        into: Option<u32>,
        #[serde(default)]
        at_load_midpoint: bool,
    },
    /// `MERGE SHARDS …`
    Merge { shards: Vec<u32> },
    /// `MOVE SLOTS … FROM SHARD … TO SHARD …`
    Move { slots: Vec<Slots>, from: u32, to: u32 },
    /// `REMOVE SHARD …`
    Remove { shard: u32 },
}

/// Slots from one to another, both included.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Slots {
    first: u32,
    last: u32,
}

impl JobBody {
    fn statement(&self) -> Result<String, Error> {
        Ok(match self {
            Self::Rebalance { options } => {
                let given = options.iter().map(|(option, value)| assignment(option, value));
                let given = given.collect::<Result<Vec<_>, _>>()?.join(" AND ");
                let with = if given.is_empty() { "" } else { " WITH " };
                format!("REBALANCE SHARDS{with}{given}")
            }
            Self::Split { shard, into, at_load_midpoint } => {
                let into = into.map(|into| format!(" INTO {into}")).unwrap_or_default();
                let at = if *at_load_midpoint { " AT LOAD MIDPOINT" } else { "" };
                format!("SPLIT SHARD {shard}{into}{at}")
            }
            Self::Merge { shards } => {
                let shards: Vec<_> = shards.iter().map(ToString::to_string).collect();
                format!("MERGE SHARDS {}", shards.join(", "))
            }
            Self::Move { slots, from, to } => {
                let slots: Vec<_> = slots.iter().map(|Slots { first, last }| format!("{first} TO {last}")).collect();
                format!("MOVE SLOTS {} FROM SHARD {from} TO SHARD {to}", slots.join(", "))
            }
            Self::Remove { shard } => format!("REMOVE SHARD {shard}"),
        })
    }
}

/// `name = value`
///
/// # Errors
/// 22023 for what is no name, or no value.
fn assignment(name: &str, value: &serde_json::Value) -> Result<String, Error> {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !plain || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Error::new(SqlState::InvalidParameterValue, format!("\"{name}\" is no name")));
    }
    Ok(format!("{name} = {}", literal(value)?))
}

/// What a statement about jobs has done.
#[derive(Debug, Serialize, ToSchema)]
struct Done {
    /// The command tag: `NOTHING TO DO` where no job was needed.
    tag: String,
    /// The job that was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<StartedJob>,
    notices: Vec<Notice>,
}

/// A job that was started.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct StartedJob {
    job_id: i64,
    migrations: i64,
    rows: i64,
    bytes: i64,
    /// The largest deviation of a shard from its fair share: 0.15 is 15 %.
    imbalance_before: f64,
    imbalance_after: f64,
    /// As long as nothing was ever moved, nobody knows.
    estimated_seconds: Option<f64>,
}

async fn work(caller: Caller, statement: &str) -> Result<Done, Problem> {
    let answer = caller.session.answer(statement);
    let mut reading = Reading::begin(caller.session, answer, statement).await?;
    let mut job = None;
    while let Some(batch) = reading.next().await? {
        let line = evenkeel_engine::JsonRows::new(batch.schema_ref()).objects(&batch)?;
        job = serde_json::from_slice(&line).map(Some).map_err(|error| Error::internal(error.to_string()))?;
    }
    Ok(Done { tag: reading.tag.unwrap_or_default(), job, notices: reading.notices })
}

/// 201 with its place where a job was started, 200 where not.
fn done(done: Done) -> Response {
    match &done.job {
        Some(job) => {
            let place = [(header::LOCATION, format!("/api/v1/jobs/{}", job.job_id))];
            (StatusCode::CREATED, place, Json(done)).into_response()
        }
        None => Json(done).into_response(),
    }
}

#[utoipa::path(
    post,
    path = "/api/v1/jobs",
    tag = "jobs",
    summary = "Start a job",
    request_body = JobBody,
    responses(
        (status = 201, description = "It was started", body = Done),
        (status = 200, description = "There is nothing to do", body = Done),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
async fn start_job(caller: Caller, Body(body): Body<JobBody>) -> Result<Response, Problem> {
    let statement = body.statement()?;
    work(caller, &statement).await.map(done)
}

/// What is done with a job.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Change {
    Pause,
    Resume,
    Cancel,
    Undo,
}

#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/{change}",
    tag = "jobs",
    summary = "Pause, resume, cancel or undo a job",
    description = "To undo one starts another, which moves back what it has moved.",
    params(("id" = u64, Path, description = "The job's number"), ("change" = inline(Change), Path, description = "What to do")),
    responses(
        (status = 200, description = "It was done", body = Done),
        (status = 201, description = "A job was started that moves back", body = Done),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
async fn change_job(caller: Caller, Path((id, change)): Path<(u64, Change)>) -> Result<Response, Problem> {
    let verb = match change {
        Change::Pause => "PAUSE",
        Change::Resume => "RESUME",
        Change::Cancel => "CANCEL",
        Change::Undo => "UNDO",
    };
    work(caller, &format!("{verb} JOB {id}")).await.map(done)
}

#[utoipa::path(
    patch,
    path = "/api/v1/settings",
    tag = "settings",
    summary = "Set settings, all or none",
    description = "`null` gives a setting its default again: one in a call, because that is a statement of its own.",
    request_body(content = BTreeMap<String, serde_json::Value>, example = json!({"gc_retention": "1h"})),
    responses(
        (status = 204, description = "They are set"),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
async fn change_settings(
    caller: Caller,
    Body(changes): Body<BTreeMap<String, serde_json::Value>>,
) -> Result<StatusCode, Problem> {
    let statement = alter_system(&changes)?;
    work(caller, &statement).await.map(|_| StatusCode::NO_CONTENT)
}

fn alter_system(changes: &BTreeMap<String, serde_json::Value>) -> Result<String, Error> {
    let given = changes.iter().map(|(name, value)| assignment(name, value)).collect::<Result<Vec<_>, _>>()?;
    match (changes.iter().find(|(_, value)| value.is_null()), changes.len()) {
        (_, 0) => Err(Error::new(SqlState::InvalidParameterValue, "no setting is named")),
        (Some((name, _)), 1) => Ok(format!("ALTER SYSTEM RESET {name}")),
        (Some(_), _) => Err(Error::new(SqlState::InvalidParameterValue, "a reset stands by itself")
            .with_hint("one call is one statement: set the others in another")),
        (None, _) => Ok(format!("ALTER SYSTEM SET {}", given.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(body: serde_json::Value) -> String {
        serde_json::from_value::<JobBody>(body).unwrap().statement().unwrap()
    }

    #[test]
    fn jobs_are_statements() {
        assert_eq!(job(json!({"kind": "rebalance"})), "REBALANCE SHARDS");
        let options = json!({"kind": "rebalance", "options": {"strategy": "row'count", "target_imbalance": 0.1}});
        assert_eq!(job(options), "REBALANCE SHARDS WITH strategy = 'row''count' AND target_imbalance = 0.1");
        assert_eq!(job(json!({"kind": "split", "shard": 1})), "SPLIT SHARD 1");
        let split = json!({"kind": "split", "shard": 1, "into": 3, "at_load_midpoint": true});
        assert_eq!(job(split), "SPLIT SHARD 1 INTO 3 AT LOAD MIDPOINT");
        assert_eq!(job(json!({"kind": "merge", "shards": [3, 4]})), "MERGE SHARDS 3, 4");
        let slots = json!({"kind": "move", "slots": [{"first": 1, "last": 9}], "from": 1, "to": 2});
        assert_eq!(job(slots), "MOVE SLOTS 1 TO 9 FROM SHARD 1 TO SHARD 2");
        assert_eq!(job(json!({"kind": "remove", "shard": 4})), "REMOVE SHARD 4");
    }

    #[test]
    fn settings_are_one_statement() {
        let statement = |changes: serde_json::Value| alter_system(&serde_json::from_value(changes).unwrap());
        let set = json!({"gc_retention": "1h", "auto_rebalance": true});
        assert_eq!(statement(set).unwrap(), "ALTER SYSTEM SET auto_rebalance = true, gc_retention = '1h'");
        assert_eq!(statement(json!({"gc_retention": null})).unwrap(), "ALTER SYSTEM RESET gc_retention");
        assert!(statement(json!({"gc_retention": null, "auto_rebalance": true})).is_err());
        assert!(statement(json!({})).is_err());
        assert!(statement(json!({"a = 1, b": 1})).is_err());
        assert!(statement(json!({"a": [1]})).is_err());
    }
}
