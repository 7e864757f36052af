//! Errors as RFC 9457 has them: `application/problem+json`, with what PQL's errors have beside it.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use evenkeel_model::{Error, SqlState};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower_http::timeout::TimeoutError;
use utoipa::ToSchema;

/// What went wrong, as it is answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// `about:blank`: the title says no more than the status does.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// One line: what is wrong.
    detail: String,
    /// What a program looks at. Absent where the request has not come as far as a statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlstate: Option<&'static str>,
    /// More about the case: the key, the line, the values.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// What can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Where in the statement, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    /// How the client can say who it is.
    #[serde(skip)]
    challenge: Option<&'static str>,
}

/// What went wrong.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Problem(Box<ProblemBody>);

impl Problem {
    /// Of a request that is no statement.
    pub(crate) fn http(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemBody {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            sqlstate: None,
            cause: None,
            hint: None,
            position: None,
            challenge: None,
        }))
    }

    /// Of a statement.
    pub(crate) fn of(error: Error, statement: &str) -> Self {
        let before = error.span.as_ref().and_then(|span| statement.get(..span.start));
        let mut problem = Self::http(status(error.state), error.message);
        problem.0.sqlstate = Some(error.state.code());
        problem.0.cause = error.detail;
        problem.0.hint = error.hint;
        problem.0.position = before.map(|text| text.chars().count() + 1);
        problem
    }

    /// Of somebody who has to say who it is, in this way.
    pub(crate) fn challenge(mut self, scheme: &'static str) -> Self {
        self.0.challenge = Some(scheme);
        self
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::of(error, "")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(challenge) = self.0.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// The status of an error, by what the caller does next.
fn status(state: SqlState) -> StatusCode {
    use SqlState as S;
    match state {
        S::InvalidAuthorization | S::InvalidPassword => StatusCode::UNAUTHORIZED,
        S::InsufficientPrivilege => StatusCode::FORBIDDEN,
        S::UndefinedTable | S::UndefinedObject | S::UndefinedFile => StatusCode::NOT_FOUND,
        S::SerializationFailure
        | S::DeadlockDetected
        | S::UniqueViolation
        | S::DuplicateTable
        | S::DuplicateColumn
        | S::DuplicateObject
        | S::DependentObjectsStillExist
        | S::ObjectNotInPrerequisiteState
        | S::LockNotAvailable
        | S::OperatorIntervention => StatusCode::CONFLICT,
        S::ProgramLimitExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        S::FeatureNotSupported => StatusCode::NOT_IMPLEMENTED,
        S::QueryCanceled => StatusCode::GATEWAY_TIMEOUT,
        S::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        S::OutOfMemory | S::TooManyConnections | S::AdminShutdown | S::CannotConnectNow => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        S::IoError | S::DataCorrupted | S::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// A body in JSON; what is none is a problem.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(error) if was_silent(&error) => {
                Err(Problem::http(StatusCode::REQUEST_TIMEOUT, "the rest of the request's body did not come"))
            }
            Err(error) => Err(Problem::http(error.status(), error.body_text())),
        }
    }
}

/// Whether a client paused for too long.
fn was_silent(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<TimeoutError>() || error.source().is_some_and(was_silent)
}

/// What stands behind the `?`.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|error| Problem::http(error.status(), error.body_text()))
    }
}

/// What stands in the path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|error| Problem::http(error.status(), error.body_text()))
    }
}
